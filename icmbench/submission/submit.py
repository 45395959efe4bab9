"""Packs a bundle: a method's records of one protocol with everything that others need to verify them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import distributions
from pathlib import Path

import pandas as pd

from icmbench.api.classes import method_class
from icmbench.api.method import TrainedMethod
from icmbench.base import seeds
from icmbench.base.errors import UserError
from icmbench.base.files import sha256
from icmbench.experiment.bitstreams import SUFFIX, FileNames, make_bitstreams
from icmbench.experiment.build import load_task, method_source
from icmbench.experiment.cell import Cell
from icmbench.experiment.evaluate import pixels_sha256
from icmbench.experiment.folders import Device, Folders
from icmbench.plugins.find import Plugin, Plugins
from icmbench.plugins.source import source_files, source_root
from icmbench.running.runner import own_parameters
from icmbench.schema.protocol import Protocol
from icmbench.schema.record import LAMBDA, MEASUREMENT, Record, method_label, point_name
from icmbench.schema.store import rows_path
from icmbench.submission import archive, manifest
from icmbench.submission.manifest import ENVIRONMENT, TRAINING_IMAGES, About, Manifest, sample


@dataclass
class _Content:
    """The files of the bundle, by their name in it."""

    files: dict[str, Path | bytes] = field(default_factory=dict)

    def add(self, name: str, source: Path | bytes) -> str:
        self.files[name] = source
        return name


def pack(
    plugins: Plugins, folders: Folders, device: Device, protocol: Protocol, method: str, given: dict[str, object], about: About,
    out: Path,
) -> Manifest:  # fmt: skip
    """Write the bundle of a method with its parameters: all its seeds under the protocol. The same inputs give the same bytes.

    Bitstreams that were not kept are made again with the trained codecs. Raises UserError if records or codecs are missing,
    or if records are of another version of the plugin.
    """
    parameters = own_parameters(plugins, method, dict(given))
    records = _records(plugins, folders, protocol, method, parameters)
    content = _Content()
    source = _add_plugin(content, plugins.find("methods")[method])
    cells = tuple(_add_cell(content, record, cell, plugins, folders, device) for record, cell in records)
    if hashes := training_images([cell for _, cell in records], plugins, device):
        content.add(TRAINING_IMAGES, "".join(f"{digest}\n" for digest in hashes).encode())
    content.add(ENVIRONMENT, _installed().encode())
    written = Manifest(
        about=about,
        protocol=protocol.identity,
        parameters=parameters,
        label=method_label(method, parameters),
        plugin=source,
        cells=cells,
        files={name: archive.describe(item) for name, item in content.files.items()},
    )
    archive.write(out, written, content.files)
    return written


def _records(
    plugins: Plugins, folders: Folders, protocol: Protocol, method: str, parameters: dict[str, object]
) -> list[tuple[Record, Cell]]:
    """The records and their cells, seed by seed. Raises UserError if the curve of a seed has holes."""
    label = method_label(method, parameters)
    records, broken = folders.store.read(protocol.identity)
    for path, reason in broken.items():
        if path.parent.name == label:
            raise UserError(f"{path} cannot be submitted: {reason}.")
    own = [record for record in records if record.label == label]
    if not own:
        raise UserError(f"there are no records of {label} under {protocol.identity} in {folders.store}; run it first.")
    records = sorted(own, key=lambda record: (record.seed, record.rate_index))
    _require_whole(protocol, records)
    pairs = tuple(parameters.items())
    cells = [_cell(protocol, record, pairs) for record in records]
    if stale := [cell.name for record, cell in zip(records, cells, strict=True) if not _current(record, cell, plugins)]:
        raise UserError(f"{stale[0]} was made by another version of the plugin {method}, or on other val images: run it again.")
    return list(zip(records, cells, strict=True))


def _current(record: Record, cell: Cell, plugins: Plugins) -> bool:
    same_source = record.method_sha256 == method_source(cell, plugins)
    return same_source and record.protocol.bound.val == cell.protocol.bound.val and record.measurement == MEASUREMENT


def _cell(protocol: Protocol, record: Record, parameters: tuple[tuple[str, object], ...]) -> Cell:
    own = None if LAMBDA in record.rate_point else next(iter(record.rate_point.items()))
    return Cell(protocol, record.method, parameters, record.rate_index, record.seed, own)


def _require_whole(protocol: Protocol, records: Sequence[Record]) -> None:
    if LAMBDA not in records[0].rate_point:
        return
    present = {(record.rate_index, record.seed) for record in records}
    for seed in sorted({record.seed for record in records}):
        for number, point in enumerate(protocol.rates):
            if (number, seed) not in present:
                raise UserError(f"the curve has a hole: seed {seed} has no record at λ={point.lmbda:g}; run it first.")


def _add_plugin(content: _Content, plugin: Plugin) -> manifest.Plugin:
    """Add the plugin's whole source. Its `module` is empty if it is loose or built in."""
    root = source_root(plugin)
    files = [content.add(f"plugin/{path.relative_to(root).as_posix()}", path) for path in source_files(plugin)]
    return manifest.Plugin(name=plugin.name, module="" if plugin.loose or plugin.built_in else plugin.module, files=tuple(files))


def _add_cell(content: _Content, record: Record, cell: Cell, plugins: Plugins, folders: Folders, device: Device) -> manifest.Cell:
    if record.trained_under:
        raise UserError("a codec that was trained under another protocol must be submitted to that protocol.")
    path = folders.record(cell)
    name = f"{record.label}/{point_name(record.rate_point)},seed={record.seed}"
    folder = make_bitstreams(cell, plugins, folders, device)
    rows = pd.read_parquet(rows_path(path), columns=["image", "bits"])
    names = FileNames()
    streams = [folder / (names.name(image) + SUFFIX) for image in rows["image"]]
    added = manifest.Cell(
        record=content.add(f"records/{name}.json", path),
        rows=content.add(f"records/{name}.parquet", rows_path(path)),
        codec=content.add(f"codecs/{name}.safetensors", folders.codec(cell)) if LAMBDA in record.rate_point else None,
        log=_add_log(content, f"logs/{name}.csv", folders.of(cell) / "tensorboard"),
        folder=f"bitstreams/{name}",
        bitstreams=tuple(_digests(streams, rows["bits"], cell)),
        shipped=sample(record.protocol, len(streams)),
    )
    for number in added.shipped:
        content.add(added.bitstream(number), streams[number])
    return added


def _digests(streams: Iterable[Path], bits: Iterable[int], cell: Cell) -> Iterator[str]:
    for path, length in zip(streams, bits, strict=True):
        if not path.is_file() or 8 * path.stat().st_size != length:
            raise UserError(f"{path} is not the bitstream that the record of {cell.name} was made from; delete its folder.")
        yield sha256(path)


def _add_log(content: _Content, name: str, folder: Path) -> str | None:
    """Add the training curves as CSV: step, term, value. None if nothing was trained."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not any(folder.glob("events.*")):
        return None
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    terms = sorted(events.Tags()["scalars"])
    values = {(scalar.step, term): scalar.value for term in terms for scalar in events.Scalars(term)}
    lines = ["step,term,value", *(f"{step},{term},{value!r}" for (step, term), value in sorted(values.items()))]
    return content.add(name, ("\n".join(lines) + "\n").encode())


def training_images(cells: Sequence[Cell], plugins: Plugins, device: Device) -> list[str]:
    """SHA-256 of the pixels of every image that the trainings used, sorted; empty if nothing was trained."""
    if not issubclass(method_class(plugins, cells[0].method), TrainedMethod):
        return []
    training = cells[0].protocol.training
    dataset = load_task(cells[0].protocol, plugins, device).dataset("train")
    draw = partial(seeds.batch_indices, batch_size=training.batch_size, length=len(dataset))
    seen = {int(i) for cell in cells for step in range(training.steps) for i in draw(cell.derive_seed("batches"), step)}
    return sorted({pixels_sha256(dataset[index].image) for index in seen})


def _installed() -> str:
    """`name==version` of all installed packages, one per line."""
    names = {f"{item.metadata['Name']}=={item.version}" for item in distributions()}
    return "".join(f"{line}\n" for line in sorted(names, key=str.casefold))
