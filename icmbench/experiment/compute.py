"""One cell, from the start codec to the record: train, code, recognise, record.

The result of each step is in the run folder, so an interrupted cell continues from there.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
import torch

from icmbench.api.classes import method_class
from icmbench.api.method import ClassicalMethod, Method, TrainedMethod
from icmbench.base.errors import UserError, unknown
from icmbench.base.files import locked, remove_leftovers, replacing, sha256, write_text, writing
from icmbench.codecs.neural import Codec, NeuralCodec
from icmbench.experiment import bitstreams, cost, environment
from icmbench.experiment.build import (
    build_method,
    load_task,
    method_source,
    parameters_of,
    saved_codec,
    saved_training,
    training_identity,
)  # fmt: skip
from icmbench.experiment.cell import Cell
from icmbench.experiment.cell_cost import measure_cost
from icmbench.experiment.checkpoint import Ledger, delete_checkpoints
from icmbench.experiment.devices import device_name, torch_device
from icmbench.experiment.evaluate import Evaluation, evaluate, evaluate_uncompressed
from icmbench.experiment.folders import Device, Folders, Share
from icmbench.experiment.report import START, Report, no_report
from icmbench.experiment.train import LOADERS, Batches, train
from icmbench.plugins.find import Plugins
from icmbench.plugins.weights import verified_path
from icmbench.schema.record import MEASUREMENT, Record
from icmbench.schema.store import rows_path

if TYPE_CHECKING:  # takes a second to import
    from lightning_fabric import Fabric

HOUR = 3600.0
ALONE = Share()


class Busy(Exception):
    """Another process computes this cell."""


@contextmanager
def claim(cell: Cell, folders: Folders, finished: Callable[[Cell], bool], wait: bool) -> Iterator[bool]:
    """Hold the lock of a cell. Yields whether it is still to be computed: another process may have done it by now.

    If another process holds the lock, this one waits for it, or, without `wait`, raises Busy.
    """
    with locked(folders.lock(cell), wait) as mine:
        if not mine:
            raise Busy
        yield not finished(cell)


@dataclass(frozen=True)
class ComputeCell:
    """The work that makes a record. Workers get one of these and call it for one cell after the other."""

    plugins: Plugins
    folders: Folders
    device: Device
    keep_bitstreams: bool = False

    def finished(self, cell: Cell) -> bool:
        """Whether the cell has a record of the current method source, val data and measurement version."""
        try:
            fields = json.loads(self.folders.record(cell).read_text())
            measured = fields["method_sha256"], fields["protocol"]["content"]["val"], fields["measurement"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return measured == (method_source(cell, self.plugins), cell.protocol.bound.val, MEASUREMENT)

    def __call__(self, cell: Cell, share: Share = ALONE, report: Report = no_report, wait: bool = True) -> bool:
        """Train, evaluate and record a cell. Returns False if another process has finished it in the meantime.

        Raises UserError for what the user can fix, and, without `wait`, Busy for a cell that another process computes.
        """
        plugins, folders, device = self.plugins, self.folders, self.device
        with claim(cell, folders, self.finished, wait) as missing:
            if missing:
                report(START, 0, 0, {})
                remove_half_written(cell, folders)
                train_cell(cell, plugins, folders, device, share, report)
                ceiling = measure_ceiling(cell, plugins, folders, device, report)
                result, codec = evaluate_cell(cell, plugins, folders, device, share, self.keep_bitstreams, report)
                record_cell(cell, plugins, folders, device, share, result, codec, ceiling)
                delete_checkpoints(folders.checkpoint(cell))
        return missing


def remove_half_written(cell: Cell, folders: Folders) -> None:
    """Remove half-written files of killed processes."""
    if cell.origin is cell:
        for path in (folders.checkpoint(cell), folders.codec(cell)):
            remove_leftovers(path)
    record = folders.record(cell)
    for path in (record, rows_path(record)):
        remove_leftovers(path, age=HOUR)  # a run with another runs folder, and so another lock, may be writing


def train_cell(cell: Cell, plugins: Plugins, folders: Folders, device: Device, share: Share, report: Report = no_report) -> None:
    """Train to the end of the budget and save the codec, unless that was done before."""
    if cell.origin is not cell:
        with locked(folders.lock(cell.origin)):
            train_cell(cell.origin, plugins, folders, device, share, report)
        return
    kind, precision = method_class(plugins, cell.method), cell.protocol.training.precision
    if issubclass(kind, ClassicalMethod) or saved_training(cell, plugins, folders):
        return
    if not issubclass(kind, TrainedMethod):
        save_codec(cell, plugins, folders, build_method(cell, plugins, device), Ledger(device=device_name(torch.device("cpu"))))
        return
    train_on = partial(_train_on, cell, plugins, folders, device, share)
    if device.count > 1:
        from icmbench.experiment.several_devices import launch

        launch(train_on, device, precision, report)
    else:
        from lightning_fabric import Fabric

        train_on(report, Fabric(accelerator=device.accelerator, devices=1, precision=precision))


def _train_on(
    cell: Cell, plugins: Plugins, folders: Folders, device: Device, share: Share, report: Report, fabric: "Fabric"
) -> None:
    """Train on the devices of `fabric`; the first of them saves the codec."""
    load_task(cell.protocol, plugins, device).to(fabric.device)
    method = build_method(cell, plugins, device)
    assert isinstance(method, TrainedMethod)
    batches = training_batches(cell, plugins, device, share, fabric.global_rank, fabric.world_size)
    log = _log(cell, folders, report) if fabric.is_global_zero else (lambda step, terms: None)
    ledger = train(method, batches, fabric, folders.checkpoint(cell), training_identity(cell, plugins), log)
    if share.packed > 1:
        ledger.joules = None  # a device's meter does not separate the cells
    if fabric.is_global_zero:
        save_codec(cell, plugins, folders, method, ledger)


def training_batches(cell: Cell, plugins: Plugins, device: Device, share: Share, rank: int = 0, world: int = 1) -> Batches:
    """The cell's training batches, or this rank's share of them."""
    task, workers = load_task(cell.protocol, plugins, device), min(LOADERS, share.cores // world)
    seed = cell.derive_seed("batches")
    return Batches(task.batch, task.dataset("train"), cell.protocol.training, seed, rank, world, workers)


def _log(cell: Cell, folders: Folders, report: Report) -> Callable[[int, dict[str, float]], None]:
    """Writes the training's terms to TensorBoard and reports them."""
    from torch.utils.tensorboard import SummaryWriter

    folder, steps = folders.of(cell) / "tensorboard", cell.protocol.training.steps
    with writing(folder):
        writer = SummaryWriter(str(folder))

    def log(step: int, terms: dict[str, float]) -> None:
        with writing(folder):
            for name, value in terms.items():
                writer.add_scalar(name, value, step)
            writer.flush()
        report("train", step + 1, steps, terms)

    return log


def save_codec(cell: Cell, plugins: Plugins, folders: Folders, method: Method, ledger: Ledger) -> None:
    """Save the codec without the method's other modules, with the cost of its training in the file's metadata."""
    assert not isinstance(method, ClassicalMethod)
    codec = NeuralCodec(method.codec, cell.protocol.codec)
    codec.refit()
    in_codec = {id(p) for p in method.codec.parameters()}
    parameters = method.parameters() if isinstance(method, TrainedMethod) else ()
    only = sum(p.numel() for p in parameters if id(p) not in in_codec)
    metadata = {"identity": training_identity(cell, plugins), "ledger": json.dumps(asdict(ledger)), "training_only": str(only)}
    metadata |= {"method": cell.method, "parameters": parameters_of(cell, plugins).model_dump_json()}
    if isinstance(method, TrainedMethod):
        with torch.no_grad():
            metadata["assessed"] = json.dumps(method.eval().assess())
        if method.quantisation not in (None, cell.protocol.training.quantisation):
            metadata["quantisation"] = str(method.quantisation)
    shutil.rmtree(folders.bitstreams(cell), ignore_errors=True)  # those of another codec
    with replacing(folders.codec(cell)) as temporary:
        codec.save(temporary, metadata)


def check_experiment(cell: Cell, plugins: Plugins, folders: Folders, device: Device) -> None:
    """Find out before any training whether the data, the metric and the recogniser of a protocol are what they should be.

    Raises UserError for data that cannot be right, for a metric that the task does not have, and for a ceiling that is 0 or not
    the protocol's.
    """
    protocol = cell.protocol
    load_task(protocol, plugins, device).check_data()
    ceiling, metric = measure_ceiling(cell, plugins, folders, device, no_report), protocol.evaluation.metric
    if metric not in ceiling:
        raise unknown("score", metric, ceiling)
    expected, noise, score = protocol.evaluation.ceiling, protocol.evaluation.score_noise, ceiling[metric]
    where = f"on the uncompressed val images of {protocol.name} the recogniser reaches {metric} {score:.1f}"
    hint = "are the checkpoint, its classes and their order those of the annotations?"
    if score <= 0:
        raise UserError(f"{where}; {hint}")
    if expected is not None and abs(score - expected) > noise:
        raise UserError(f"{where} instead of {expected:.1f} ± {noise:g}; {hint}")


def measure_ceiling(cell: Cell, plugins: Plugins, folders: Folders, device: Device, report: Report) -> dict[str, float]:
    """Scores on uncompressed images, from their file if they were measured before."""
    path = folders.ceiling(cell, device)
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            task = load_task(cell.protocol, plugins, device)
            scores = evaluate_uncompressed(task, lambda done, total: report("ceiling", done, total, {}))
            write_text(path, json.dumps(scores))
    content: dict[str, float] = json.loads(path.read_text())
    return content


def evaluate_cell(
    cell: Cell, plugins: Plugins, folders: Folders, device: Device, share: Share, keep_bitstreams: bool, report: Report
) -> tuple[Evaluation, Codec]:
    """Rate and scores of the cell's saved codec on the val images, and that codec."""
    folder = folders.bitstreams(cell)
    shutil.rmtree(folder, ignore_errors=True)  # those of an earlier record
    codec, task = saved_codec(cell, plugins, folders, device), load_task(cell.protocol, plugins, device)
    cost.reset_peak_memory(torch_device(device))
    with bitstreams.writer(folder if keep_bitstreams else None) as keep:
        result = evaluate(codec, task, lambda done, total: report("evaluate", done, total, {}), keep, share.cores)
    return result, codec


def record_cell(
    cell: Cell, plugins: Plugins, folders: Folders, device: Device, share: Share, result: Evaluation, codec: Codec,
    ceiling: dict[str, float],
) -> None:  # fmt: skip
    """Write the rows of the images, then the record. Raises UserError for an impossible result, which is not recorded."""
    rows = rows_path(folders.record(cell))
    with replacing(rows) as temporary:
        pd.DataFrame(result.rows).to_parquet(temporary)
    trained = saved_training(cell, plugins, folders) if isinstance(codec, NeuralCodec) else {}
    ledger = Ledger(**json.loads(trained["ledger"])) if trained else Ledger(device=device_name(torch.device("cpu")))
    task = load_task(cell.protocol, plugins, device)
    given = dict(cell.parameters)
    record = Record(
        protocol=cell.protocol,
        protocol_hash=cell.protocol.hash,
        method=cell.method,
        parameters=given,
        defaults={k: v for k, v in parameters_of(cell, plugins).model_dump(mode="json").items() if k not in given},
        method_sha256=method_source(cell, plugins),
        rate_index=cell.rate_index,
        curve_points=len(codec.rates if isinstance(codec, ClassicalMethod) else cell.origin.protocol.rates),
        rate_point=cell.rate_point,
        start_sha256=sha256(verified_path(cell.rate.start)) if isinstance(codec, NeuralCodec) else "",
        trained_under=cell.trained_under.identity if cell.trained_under else "",
        quantisation=trained.get("quantisation", ""),
        assessed=json.loads(trained.get("assessed", "{}")),
        seed=cell.seed,
        images=len(result.rows),
        bpp=result.bpp,
        bpp_mean=result.bpp_mean,
        estimated_bpp=result.estimated_bpp,
        psnr=result.psnr,
        scores=result.scores,
        ceiling=ceiling,
        warnings=[*_rate_warnings(result, cell.protocol.evaluation.rate_tolerance), *ledger.warnings],
        cost=measure_cost(result, codec, task, ledger, int(trained.get("training_only", 0)), device, share),
        environment=environment.describe(device_name(torch_device(device))),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tally=result.tally,
        rows_sha256=sha256(rows),
    )
    try:
        folders.store.write(record)
    except ValueError as error:
        raise UserError(f"the result of {cell.name} is impossible and was not recorded: {error}.") from error


def _rate_warnings(result: Evaluation, tolerance: float) -> list[str]:
    ratio = result.bpp / result.estimated_bpp  # nan for a codec without likelihoods: no warning
    return [f"real over estimated bits is {ratio:.3f}, outside 1 ± {tolerance:g}"] if abs(ratio - 1) > tolerance else []
