"""Computes the cells that have no record yet: gives them to workers, shares them with other runs, shows progress."""

import logging
import time
import typing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import torch
from rich.console import Console

from icmbench.api.classes import method_class
from icmbench.api.method import TrainedMethod
from icmbench.base.errors import UserError
from icmbench.base.files import require_writable
from icmbench.experiment import cost
from icmbench.experiment.build import build_method
from icmbench.experiment.cell import Cell
from icmbench.experiment.checkpoint import LOGGER
from icmbench.experiment.compute import Busy, ComputeCell
from icmbench.experiment.devices import torch_device
from icmbench.experiment.folders import Device, Folders, Share
from icmbench.experiment.report import Report
from icmbench.experiment.train import out_of_memory
from icmbench.experiment.train_cell import training_batches
from icmbench.plugins.find import Plugins
from icmbench.running.pool import Pool, StartPool, machine_cores, send
from icmbench.running.progress import ELSEWHERE, Event, Listener, Tracker, Unit, follow

DIED = "a worker process died (out of memory?); run the same command again to continue."
NO_MEMORY = (
    "the device ran out of memory outside of the training steps, and only those can be split; use a device with more memory."
)
POLL_SECONDS = 0.2
RETRY_SECONDS = 1.0  # between looks at cells that another run computes


class Work(typing.Protocol):
    """Work on a cell, which is sent to the workers, such as `ComputeCell`, which makes its record."""

    @property
    def plugins(self) -> Plugins:
        """The plugins with methods and tasks."""

    @property
    def device(self) -> Device:
        """The device of the work."""

    def finished(self, cell: Cell) -> bool:
        """Whether a cell has its result."""

    def __call__(self, cell: Cell, share: Share, report: Report = ..., wait: bool = ...) -> bool:
        """Do the work. False if another process did it in the meantime; raises Busy if another process is doing it."""


def ignore(tracker: Tracker) -> None:
    """A listener that does nothing."""


@dataclass(frozen=True)
class Runner:
    """Everything that computing cells needs, made once by a command: plugins, folders, device, workers and display."""

    plugins: Plugins
    folders: Folders
    device: Device
    start_pool: StartPool
    console: Console
    listen: Listener = ignore
    pack: int | None = None

    def fill(self, cells: Sequence[Cell], work: Work | None = None) -> bool:
        """Compute the cells that are not finished, and show progress. Returns whether all are finished now.

        Raises UserError if the folders cannot be written, or if a batch has fewer images than there are devices.
        """
        if work is None:
            work = ComputeCell(self.plugins, self.folders, self.device)
        for folder in (self.folders.store.folder, self.folders.runs):
            require_writable(folder)
        absent = [cell for cell in cells if not work.finished(cell)]
        for protocol in dict.fromkeys(cell.protocol.identity for cell in cells):
            own, new = ([cell for cell in some if cell.protocol.identity == protocol] for some in (cells, absent))
            counts = f"{len(own)} cells, {len(own) - len(new)} already there"
            self.console.print(f"{protocol} on {self.device.accelerator}: {counts}", highlight=False)
        smallest = min(cell.protocol.training.batch_size for cell in cells)
        if smallest < self.device.count:
            raise UserError(f"--devices {self.device.count} would leave devices without images: the batches have {smallest}.")
        if not absent:
            return True
        self.console.print("starting: missing images are made, every method gets one batch", highlight=False)
        tracker = Tracker(_units(absent, self.plugins))
        self.listen(tracker)
        failed = follow(compute(absent, work, self.start_pool(len(absent)), self.pack), tracker, self.console, self.listen)
        self.folders.store.refresh()  # another machine may have computed some of the cells
        return not failed


def _units(cells: Sequence[Cell], plugins: Plugins) -> list[Unit]:
    """The cells in the display; their names contain the protocol if there are several."""
    several = len({cell.protocol.identity for cell in cells}) > 1

    def unit(cell: Cell) -> Unit:
        trains = not cell.trained_under and issubclass(method_class(plugins, cell.method), TrainedMethod)
        return Unit(f"{cell.protocol.name} {cell.name}" if several else cell.name, trains)

    return [unit(cell) for cell in cells]


def compute(cells: Sequence[Cell], work: Work, pool: Pool, pack: int | None = None) -> Iterator[Event]:
    """Compute the cells, yielding what they report; the last event of a cell is `done` or `failed`.

    A cell that another run computes is left to it and tried again later. So two runs share the work, and one continues what the
    other leaves when it dies. `pack`: cells at once on each device; None: as many as fit. Raises UserError if a worker process
    dies (on a cluster its cell is tried again), and for a method that does not fit. Leaving the iterator early stops the workers.
    """
    try:
        fitting = _try_out(pool, cells, work)
        if pack is None and fitting:
            pool.pack(fitting)
        yield from _share(pool, cells, work)
    except BrokenProcessPool as error:
        raise UserError(DIED) from error
    finally:
        pool.close()


def _try_out(pool: Pool, cells: Sequence[Cell], work: Work) -> int | None:
    """Give every method one batch before any is trained. Returns how many cells fit on a GPU at once, None without a GPU.

    Raises UserError for the first method that does not fit the protocol.
    """
    first = {(cell.protocol.identity, cell.label): cell for cell in reversed(cells)}
    fitting = []
    for future in [pool.submit(_try_one, cell, work.plugins, work.device) for cell in first.values()]:
        try:
            fitting.append(future.result())
        except (BrokenProcessPool, UserError):
            raise
        except Exception:  # the method's cells will fail with it and report it
            continue
    return min((number for number in fitting if number), default=None)


def _share(pool: Pool, cells: Sequence[Cell], work: Work) -> Iterator[Event]:
    """The events of the cells. Those that another run computes are tried again whenever a worker is free."""
    running: dict[Future[Event], int] = {}
    todo, again = list(range(len(cells))), list[int]()
    reported, tried = set[int](), -RETRY_SECONDS
    while todo or again or running:
        if not todo and len(running) < pool.workers and time.monotonic() - tried >= RETRY_SECONDS:
            todo, again, tried = sorted(again), [], time.monotonic()
        while todo and not any(future.done() for future in running):  # `InlinePool` has computed what it was given
            number = todo.pop(0)
            running[pool.submit(_compute_one, number, cells[number], work, pool.share)] = number
        ended, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        yield from pool.drain()
        for future in ended:
            event = _outcome(number := running.pop(future), future)
            if event.phase != ELSEWHERE or number not in reported:
                yield event
            if event.phase == ELSEWHERE:
                again.append(number)
                reported.add(number)
        if not running and again:
            time.sleep(POLL_SECONDS)


def _outcome(number: int, future: "Future[Event]") -> Event:
    """The last event of a cell. Its own error makes only this cell fail; the others continue."""
    try:
        return future.result()
    except BrokenProcessPool:
        raise
    except Exception as raised:
        error = getattr(raised, "cause", raised)  # Ray wraps what a task raised
    if isinstance(error, UserError):
        return Event(number, "failed", message=str(error))
    lacking = isinstance(error, RuntimeError) and out_of_memory(error)
    return Event(number, "failed", message=NO_MEMORY if lacking else f"{type(error).__name__}: {error}")


def _try_one(cell: Cell, plugins: Plugins, device: Device) -> int | None:
    """In a worker: build the method and give it a batch. Returns how many such trainings fit on the GPU at once."""
    cell = cell.origin
    method = build_method(cell, plugins, device)
    if not isinstance(method, TrainedMethod):
        return None
    where, on_gpu = torch_device(device), device.accelerator == "cuda"
    if on_gpu:  # do not count the memory of the previous method
        torch.cuda.empty_cache()
        cost.reset_peak_memory(where)
    batch = training_batches(cell, plugins, device, Share())[0].to(where, torch.contiguous_format)
    loss = method.to(where).loss(batch)["loss"]
    if not on_gpu:
        return None
    torch.autograd.backward(loss)
    return cells_that_fit(*cost.gpu_memory(method), machine_cores())


def cells_that_fit(needed: int, free: int, cores: int) -> int:
    """How many trainings of `needed` bytes fit into `free` bytes, with two cores each, which keep a GPU busy.

    A fifth is added for what was not measured: other batches, the optimiser's workspace, evaluation.
    """
    return max(1, min(int(free / (1.2 * needed)), cores // 2))


def _compute_one(number: int, cell: Cell, work: Work, share: Share) -> Event:
    """In a worker: compute a cell unless another run does or did. Returns its last event."""

    def report(phase: str, done: int, total: int, terms: dict[str, float]) -> None:
        send(Event(number, phase, done, total, tuple(terms.items())))

    LOGGER.handlers, LOGGER.propagate = [_Notes(number)], False
    try:
        here = work(cell, share, report, wait=False)
    except Busy:
        return Event(number, ELSEWHERE)
    return Event(number, "done", message="" if here else "done by another run")


class _Notes(logging.Handler):
    """Sends log messages of a cell's computation as its events."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def emit(self, record: logging.LogRecord) -> None:
        send(Event(self.number, "note", message=record.getMessage()))
