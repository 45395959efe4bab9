"""Training the codec of a cell, on one device or on several."""

import json
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from multiprocessing.queues import Queue
from typing import TYPE_CHECKING, Any

import safetensors
import torch

from icmbench.api.classes import method_class
from icmbench.api.method import ClassicalMethod, Method, TrainedMethod
from icmbench.base.files import locked, replacing, writing
from icmbench.codecs.neural import NeuralCodec
from icmbench.experiment.build import build_method, load_task, parameters_of, training_identity
from icmbench.experiment.cell import Cell
from icmbench.experiment.checkpoint import Ledger
from icmbench.experiment.devices import device_name
from icmbench.experiment.folders import Device, Folders, Share
from icmbench.experiment.report import Report, no_report
from icmbench.experiment.train import LOADERS, Batches, train
from icmbench.plugins.find import Plugins

if TYPE_CHECKING:  # takes a second to import
    from lightning_fabric import Fabric


def saved_training(cell: Cell, plugins: Plugins, folders: Folders) -> dict[str, str]:
    """Metadata of the trained codec if it has this cell's training identity; else empty."""
    try:
        with safetensors.safe_open(folders.codec(cell), "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, safetensors.SafetensorError):
        return {}
    return metadata if metadata.get("identity") == training_identity(cell.origin, plugins) else {}


def train_cell(cell: Cell, plugins: Plugins, folders: Folders, device: Device, share: Share, report: Report = no_report) -> None:
    """Train to the end of the budget and save the codec, unless that was done before."""
    if cell.origin is not cell:
        with locked(folders.lock(cell.origin)):
            train_cell(cell.origin, plugins, folders, device, share, report)
        return
    kind = method_class(plugins, cell.method)
    if issubclass(kind, ClassicalMethod) or saved_training(cell, plugins, folders):
        return
    if not issubclass(kind, TrainedMethod):
        method = build_method(cell, plugins, device)
        save_codec(cell, plugins, folders, method, Ledger(device=device_name(torch.device("cpu"))))
        return
    fabric = _fabric(cell, device)
    if device.count > 1:
        with _relayed(report) as reports:
            fabric.launch(partial(_train_share, cell, plugins, folders, device, share, reports))
    else:
        _train_on(fabric, cell, plugins, folders, device, share, report)


def _fabric(cell: Cell, device: Device) -> "Fabric":
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    return Fabric(
        accelerator=device.accelerator,
        devices=device.count,
        precision=cell.protocol.training.precision,
        strategy=DDPStrategy(start_method="spawn", find_unused_parameters=True) if device.count > 1 else "auto",
    )


def _train_on(
    fabric: "Fabric", cell: Cell, plugins: Plugins, folders: Folders, device: Device, share: Share, report: Report
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


@contextmanager
def _relayed(report: Report) -> Iterator["Queue[Any]"]:
    """A queue for the processes of a training; what they put there is reported here."""
    reports: Queue[Any] = multiprocessing.get_context("spawn").Queue()

    def relay() -> None:
        while arguments := reports.get():
            report(*arguments)

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield reports
    finally:
        reports.put(None)
        thread.join(timeout=5)  # a process that was killed may have left the queue locked


def _train_share(
    cell: Cell, plugins: Plugins, folders: Folders, device: Device, share: Share, reports: "Queue[Any]", fabric: "Fabric"
) -> None:
    """One process of a training on several devices."""
    _train_on(fabric, cell, plugins, folders, device, share, lambda *arguments: reports.put(arguments))
