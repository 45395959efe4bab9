"""One cell, from the start codec to the record: train, code, recognise, record.

The result of each step is in the run folder, so an interrupted cell continues from there.
"""

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from icmbench.api.classes import method_class
from icmbench.api.method import ClassicalMethod
from icmbench.api.task import Task
from icmbench.base.errors import UserError
from icmbench.base.files import locked, remove_leftovers, replacing, sha256, write_text
from icmbench.codecs.neural import Codec, NeuralCodec
from icmbench.experiment import bitstreams, cost, environment
from icmbench.experiment.build import build_method, load_codec, load_task, method_source, parameters_of
from icmbench.experiment.cell import Cell
from icmbench.experiment.checkpoint import Ledger, delete_checkpoints
from icmbench.experiment.devices import device_name, torch_device
from icmbench.experiment.evaluate import Evaluation, Keep, evaluate, evaluate_uncompressed, networks
from icmbench.experiment.folders import Device, Folders, Share
from icmbench.experiment.report import START, Report, no_report
from icmbench.experiment.train_cell import saved_training, train_cell
from icmbench.plugins.find import Plugins
from icmbench.plugins.weights import verified_path
from icmbench.schema.record import MEASUREMENT, Cost, Record
from icmbench.schema.store import rows_path

HOUR = 3600.0
ALONE = Share()


class Busy(Exception):
    """Another process computes this cell."""


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
        with locked(self.folders.lock(cell), wait) as mine:
            if not mine:
                raise Busy
            if self.finished(cell):
                return False
            report(START, 0, 0, {})
            remove_half_written(cell, self.folders)
            train_cell(cell, self.plugins, self.folders, self.device, share, report)
            ceiling = measure_ceiling(cell, self.plugins, self.folders, self.device, report)
            folder = self.folders.bitstreams(cell)
            shutil.rmtree(folder, ignore_errors=True)  # those of an earlier record
            with bitstreams.writer(folder if self.keep_bitstreams else None) as keep:
                result, codec = evaluate_cell(cell, self.plugins, self.folders, self.device, share, keep, report)
            record_cell(cell, self.plugins, self.folders, self.device, share, result, codec, ceiling)
            delete_checkpoints(self.folders.checkpoint(cell))
            return True


def remove_half_written(cell: Cell, folders: Folders) -> None:
    """Remove half-written files of killed processes."""
    if cell.origin is cell:
        for path in (folders.checkpoint(cell), folders.codec(cell)):
            remove_leftovers(path)
    record = folders.record(cell)
    for path in (record, rows_path(record)):
        remove_leftovers(path, age=HOUR)  # a run with another runs folder, and so another lock, may be writing


def saved_codec(cell: Cell, plugins: Plugins, folders: Folders, device: Device) -> Codec:
    """The codec to evaluate: the classical codec, or the trained one from its file."""
    if issubclass(method_class(plugins, cell.method), ClassicalMethod):
        method = build_method(cell, plugins, device)
        assert isinstance(method, ClassicalMethod)
        return method
    return load_codec(folders.codec(cell), plugins, torch_device(device))


def evaluate_cell(
    cell: Cell, plugins: Plugins, folders: Folders, device: Device, share: Share, keep: Keep, report: Report = no_report
) -> tuple[Evaluation, Codec]:
    """Rate and scores of the cell's saved codec on the val images, and that codec; `keep` gets the bitstreams."""
    codec = saved_codec(cell, plugins, folders, device)
    task = load_task(cell.protocol, plugins, device)
    cost.reset_peak_memory(torch_device(device))
    return evaluate(codec, task, partial(_progress, report, "evaluate"), keep, share.cores), codec


def measure_ceiling(
    cell: Cell, plugins: Plugins, folders: Folders, device: Device, report: Report = no_report
) -> dict[str, float]:
    """Scores on uncompressed images, from their file if they were measured before."""
    path = folders.ceiling(cell, device)
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            task = load_task(cell.protocol, plugins, device)
            write_text(path, json.dumps(evaluate_uncompressed(task, partial(_progress, report, "ceiling"))))
    content: dict[str, float] = json.loads(path.read_text())
    return content


def _progress(report: Report, phase: str, done: int, total: int) -> None:
    report(phase, done, total, {})


def record_cell(
    cell: Cell, plugins: Plugins, folders: Folders, device: Device, share: Share, result: Evaluation, codec: Codec,
    ceiling: dict[str, float],
) -> Record:  # fmt: skip
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
    return record


def _rate_warnings(result: Evaluation, tolerance: float) -> list[str]:
    ratio = result.bpp / result.estimated_bpp  # nan for a codec without likelihoods: no warning
    return [f"real over estimated bits is {ratio:.3f}, outside 1 ± {tolerance:g}"] if abs(ratio - 1) > tolerance else []


def measure_cost(
    result: Evaluation, codec: Codec, task: Task, ledger: Ledger, training_only: int, device: Device, share: Share
) -> Cost:
    """Times and memory of the evaluation that has just ended; operations and parameters counted on the first image."""
    model = codec.model if isinstance(codec, NeuralCodec) else torch.nn.Module()
    peak = cost.peak_memory_mib(codec.device if isinstance(codec, NeuralCodec) else torch.device("cpu"))
    encoder, decoder, recognizer = networks(codec, task)
    return Cost(
        steps=ledger.steps,
        images=ledger.images,
        train_seconds=ledger.seconds,
        train_joules=ledger.joules,
        peak_memory_mib=ledger.peak_memory_mib,
        train_device=ledger.device,
        train_devices=device.count,
        packed=share.packed,
        codec_parameters=sum(p.numel() for p in model.parameters()),
        training_only_parameters=training_only,
        encoder=cost.coding(encoder, result.column("encode_seconds")),
        decoder=cost.coding(decoder, result.column("decode_seconds")),
        recognizer=recognizer,
        coding_peak_memory_mib=peak,
    )


def make_bitstreams(cell: Cell, plugins: Plugins, folders: Folders, device: Device) -> Path:
    """The folder with the bitstreams of a finished cell, made with its codec if it is absent. The record does not change.

    Raises UserError if the codec or the record's rows are missing, or if the codec's bytes are not those of the record.
    """
    rows, folder = rows_path(folders.record(cell)), folders.bitstreams(cell)
    with locked(folders.lock(cell)):
        if folder.exists():
            return folder
        classical = issubclass(method_class(plugins, cell.method), ClassicalMethod)
        trained = classical or bool(saved_training(cell, plugins, folders))
        for needed, exists in ((folders.codec(cell), trained), (rows, rows.exists())):
            if not exists:
                raise UserError(f"{cell.name} has a record, but its bitstreams cannot be made: {needed} is missing.")
        codec, dataset = saved_codec(cell, plugins, folders, device), load_task(cell.protocol, plugins, device).dataset("val")
        with bitstreams.writer(folder) as keep:
            for index, bits in enumerate(pd.read_parquet(rows)["bits"]):
                sample = dataset[index]
                data = codec.encode(sample.image)
                if 8 * len(data) != bits:
                    now = f"{sample.name} is coded to {8 * len(data)} bits here, its record says {bits}"
                    raise UserError(f"the bitstreams of {cell.name} cannot be made: {now}.")
                keep(sample.name, data)
    return folder
