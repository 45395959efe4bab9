"""Checks the contents of a bundle: shape, digests and possible values. Runs no code of it and needs no torch."""

import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
from pydantic import ValidationError

from icmbench.compare.comparable import disordered
from icmbench.plugins.find import INSTALLED, Plugins
from icmbench.plugins.source import digest
from icmbench.schema.protocol import Protocol, describe_errors
from icmbench.schema.record import LAMBDA, Record, flaws
from icmbench.schema.store import Store
from icmbench.stats.tally import Tally
from icmbench.submission import archive
from icmbench.submission.archive import Archive, Refused
from icmbench.submission.manifest import ENVIRONMENT, TRAINING_IMAGES, Cell, Manifest, sample

RECORD_BYTES = 8 * 2**20
ROWS_BYTES = 2**29
LIST_BYTES = 2**28
PLUGIN_BYTES = 2**20  # source is text; more than this is suspicious
ROUNDING = 1e-6
NEEDED = ("image", "pixels", "bits", "estimated_bits", "decoded_sha256", "psnr")


@dataclass(frozen=True)
class Claim:
    """One record of a bundle, with the rows of its images."""

    cell: Cell
    record: Record
    rows: pd.DataFrame


@dataclass(frozen=True)
class Contents:
    """The claims of a valid bundle. `training_images`: SHA-256 of the pixels of every image that was trained on."""

    manifest: Manifest
    claims: tuple[Claim, ...]
    training_images: frozenset[str]

    @property
    def protocol(self) -> Protocol:
        """The protocol in the records."""
        return self.claims[0].record.protocol


def inspect(path: Path) -> Contents:
    """The contents of the bundle at `path`.

    Raises Refused, with the reason, for one that cannot be true; UserError if the file cannot be read.
    """
    with archive.opened(path) as bundle:
        return contents(bundle)


def contents(bundle: Archive, plugins: Plugins = INSTALLED) -> Contents:
    """The contents of an open bundle; `plugins` know the tallies. Raises Refused as `inspect` does."""
    manifest = bundle.manifest
    _check_files(manifest)
    claims = tuple(_claim(bundle, cell, plugins) for cell in manifest.cells)
    _check_identity(manifest, claims)
    _check_plugin(bundle, claims[0].record)
    _check_curves(claims)
    for claim in claims:
        _check_bitstreams(bundle, claim)
    trained = any(claim.record.trained for claim in claims)
    return Contents(manifest, claims, _training_images(bundle) if trained else frozenset())


def _check_files(manifest: Manifest) -> None:
    """Every file of the bundle has a use, and every file in use exists."""
    used = [*manifest.plugin.files, ENVIRONMENT]
    for cell in manifest.cells:
        used += [name for name in (cell.record, cell.rows, cell.codec, cell.log) if name]
        used += [cell.bitstream(number) for number in cell.shipped]
    if double := [name for name, count in Counter(used).items() if count > 1]:
        raise Refused(f"the manifest uses {double[0]!r} for two things.")
    needed = set(used)
    if missing := sorted(needed - set(manifest.files)):
        raise Refused(f"the bundle lacks {missing[0]!r}.")
    if unused := sorted(set(manifest.files) - needed - {TRAINING_IMAGES}):
        raise Refused(f"the manifest has no use for {unused[0]!r}.")


def _claim(bundle: Archive, cell: Cell, plugins: Plugins) -> Claim:
    fields = _json(bundle, cell.record)
    try:
        record = Record.model_validate(fields)
    except ValidationError as error:
        raise Refused(f"{cell.record} is not a valid record: {describe_errors(error)}.") from error
    except ValueError as error:
        raise Refused(f"{cell.record} is not a valid record: {error}.") from error
    if problems := flaws(record, fields):
        raise Refused(f"{cell.record} cannot be true: {'; '.join(problems)}.")
    path = Store(Path("records")).path_of(record)
    if cell.record != f"records/{path.parent.name}/{path.name}":
        raise Refused(f"{cell.record} is not where the record of its cell belongs.")
    if bundle.manifest.files[cell.rows].sha256 != record.rows_sha256:
        raise Refused(f"{cell.rows} is not the file with the rows of {cell.record}.")
    tally = plugins.tally(record.tally)
    if problems := disordered(record, tally):
        raise Refused(f"{cell.record} cannot be true: {'; '.join(problems)}.")
    rows = _rows(bundle, cell, record, tally)
    _check_sums(cell, record, rows, tally)
    return Claim(cell, record, rows)


def _json(bundle: Archive, name: str) -> Any:
    try:
        return json.loads(bundle.read(name, RECORD_BYTES))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{name} is not JSON: {error}.") from error


def _rows(bundle: Archive, cell: Cell, record: Record, tally: type[Tally] | None) -> pd.DataFrame:
    """The rows of the images, as many as in the record, read without the metadata that could name Python objects."""
    name = cell.rows
    columns = [*NEEDED, *(tally.columns if tally else ())]
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(bundle.read(name, ROWS_BYTES)))
        groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
        size = sum(group.total_byte_size for group in groups)
        if file.metadata.num_rows != record.images or size > ROWS_BYTES:
            raise Refused(f"{name} has {file.metadata.num_rows} rows of {size} bytes; its record has {record.images} images.")
        if missing := [column for column in columns if column not in file.schema_arrow.names]:
            raise Refused(f"{name} has no column '{missing[0]}'.")
        columns += [score for score in record.scores if score in file.schema_arrow.names and score not in columns]
        rows: pd.DataFrame = file.read(columns).replace_schema_metadata(None).to_pandas()
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, MemoryError, OverflowError) as error:
        raise Refused(f"{name} is not a file of rows: {_first_line(error)}.") from error
    return rows


def _check_sums(cell: Cell, record: Record, rows: pd.DataFrame, tally: type[Tally] | None) -> None:
    """Raises Refused unless the record's values are those of its rows."""
    try:
        bits, pixels, estimated, psnr = (
            rows[column].to_numpy(np.float64) for column in ("bits", "pixels", "estimated_bits", "psnr")
        )
        named = all(isinstance(text, str) for column in ("image", "decoded_sha256") for text in rows[column])
    except (TypeError, ValueError) as error:
        raise Refused(f"{cell.rows} is not a file of rows: {_first_line(error)}.") from error
    if not named or rows["image"].duplicated().any():
        raise Refused(f"{cell.rows} names an image twice, or not at all.")
    if not (np.isfinite(bits).all() and np.isfinite(pixels).all() and (bits > 0).all() and (pixels > 0).all()):
        raise Refused(f"{cell.rows} has an image without bits or without pixels.")
    sums = {
        "bpp": bits.sum() / pixels.sum(),
        "bpp_mean": (bits / pixels).mean(),
        "estimated_bpp": estimated.sum() / pixels.sum(),
        "psnr": psnr.mean(),
    }
    for name, computed in sums.items():
        claimed = getattr(record, name)
        if not math.isclose(claimed, computed, rel_tol=ROUNDING) and not (math.isnan(claimed) and math.isnan(computed)):
            raise Refused(f"{cell.record} claims {name} {claimed:.6g}, the rows of its images give {computed:.6g}.")
    for name, computed in tallied(record, rows, tally).items():
        if not abs(computed - record.scores[name]) < ROUNDING * 100:
            claimed = record.scores[name]
            raise Refused(f"{cell.record} claims {name} {claimed:.4f}, the rows of its images give {computed:.4f}.")


def tallied(record: Record, rows: pd.DataFrame, kind: type[Tally] | None) -> dict[str, float]:
    """The record's scores computed from the tallies in `rows`, those that the `kind` of tally knows. Raises Refused."""
    if kind is None:
        return {}
    weights, scores = np.ones((1, len(rows))), {}
    try:
        tally = kind(rows)
        for name in record.scores:
            try:
                scores[name] = float(tally.score(name, weights)[0])
            except KeyError:
                continue
    except (KeyError, ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise Refused(f"the rows do not hold a tally of the kind '{record.tally}': {_first_line(error)}.") from error
    return scores


def _check_identity(manifest: Manifest, claims: tuple[Claim, ...]) -> None:
    for record in (claim.record for claim in claims):
        if record.protocol.identity != manifest.protocol:
            raise Refused(f"the manifest names {manifest.protocol}, but a record is of {record.protocol.identity}.")
        if (record.method, record.label) != (manifest.plugin.name, manifest.label):
            raise Refused(f"the manifest names {manifest.label}, but a record is of {record.label}.")
        if record.parameters != manifest.parameters or record.trained_under:
            raise Refused("the manifest has other parameters than a record.")
    if double := [name for name, count in Counter(claim.cell.record for claim in claims).items() if count > 1]:
        raise Refused(f"the manifest lists {double[0]} twice.")


def _check_plugin(bundle: Archive, record: Record) -> None:
    plugin, files = bundle.manifest.plugin, bundle.manifest.files
    if sum(files[name].bytes for name in plugin.files) > PLUGIN_BYTES:
        raise Refused(f"the plugin's source has more than {PLUGIN_BYTES} bytes: source is text, and data belongs in the codec.")
    if odd := [name for name in plugin.files if not (name.startswith("plugin/") and name.endswith(".py"))]:
        raise Refused(f"{odd[0]!r} is not a Python file below plugin/.")
    base = f"plugin/{plugin.module.replace('.', '/') or plugin.name}"
    if not any(name in plugin.files for name in (f"{base}.py", f"{base}/__init__.py")):
        raise Refused(f"the bundle lacks the source of the plugin {plugin.name}.")
    if digest({name.removeprefix("plugin/"): bundle.read(name) for name in plugin.files}) != record.method_sha256:
        raise Refused("the records were made by another version of the plugin than that in the bundle.")


def _check_curves(claims: tuple[Claim, ...]) -> None:
    """Each seed has every rate point, so none can be left out to improve a curve; all have the same images."""
    protocol = claims[0].record.protocol
    points = {(claim.record.rate_index, claim.record.seed) for claim in claims}
    if LAMBDA in claims[0].record.rate_point:
        for seed in sorted({seed for _, seed in points}):
            if missing := [number for number in range(len(protocol.rates)) if (number, seed) not in points]:
                raise Refused(f"the curve has a hole: seed {seed} has no record at λ={protocol.rates[missing[0]].lmbda:g}.")
    images = claims[0].rows["image"].tolist()
    for claim in claims:
        if claim.rows["image"].tolist() != images or claim.record.ceiling != claims[0].record.ceiling:
            raise Refused(f"{claim.cell.record} has other images, or another ceiling, than {claims[0].cell.record}.")


def _check_bitstreams(bundle: Archive, claim: Claim) -> None:
    cell, images = claim.cell, len(claim.rows)
    if len(cell.bitstreams) != images or cell.shipped != sample(claim.record.protocol, images):
        raise Refused(f"{cell.folder} does not hold the bitstreams that the protocol asks for.")
    learned = LAMBDA in claim.record.rate_point
    if learned != (cell.codec is not None):
        raise Refused(f"{cell.record} comes {'without' if learned else 'with'} the weights of a codec.")
    for number in cell.shipped:
        name, bits = cell.bitstream(number), int(claim.rows["bits"].iloc[number])
        file = bundle.manifest.files[name]
        if 8 * file.bytes != bits:
            raise Refused(f"{name} has {8 * file.bytes} bits, but {bits} in the record's rows.")
        if file.sha256 != cell.bitstreams[number]:
            raise Refused(f"{name} is not the bitstream whose digest the manifest gives.")


def _training_images(bundle: Archive) -> frozenset[str]:
    if TRAINING_IMAGES not in bundle.manifest.files:
        raise Refused(f"the bundle lacks {TRAINING_IMAGES}: which images its codecs were trained on.")
    return frozenset(_lines(bundle.read(TRAINING_IMAGES, LIST_BYTES).decode(errors="replace")))


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if len(line) != 64 or set(line) - set("0123456789abcdef"):
            raise Refused(f"{TRAINING_IMAGES} has a line that is not a SHA-256.")
        yield line


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
