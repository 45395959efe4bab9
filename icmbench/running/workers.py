"""Computes cells in workers side by side, and shares them with other runs."""

import logging
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue
from typing import Any, Protocol

import torch

from icmbench.api.method import TrainedMethod
from icmbench.base.errors import UserError
from icmbench.experiment import cost
from icmbench.experiment.build import build_method
from icmbench.experiment.cell import Cell
from icmbench.experiment.checkpoint import LOGGER
from icmbench.experiment.compute import ALONE, Busy, check_experiment, training_batches
from icmbench.experiment.devices import torch_device
from icmbench.experiment.folders import Device, Folders, Share
from icmbench.experiment.report import Report
from icmbench.experiment.train import out_of_memory
from icmbench.plugins.find import Plugins
from icmbench.running.progress import ELSEWHERE, NOTE, Event

DIED = "a worker process died (out of memory?); run the same command again to continue."
NO_MEMORY = (
    "the device ran out of memory outside of the training steps, and only those can be split; use a device with more memory."
)
POLL_SECONDS = 0.2
RETRY_SECONDS = 1.0  # between looks at a cell that another run computes


class Work(Protocol):
    """Work on a cell, which is sent to the workers, such as `ComputeCell`, which makes its record."""

    @property
    def plugins(self) -> Plugins:
        """The plugins with methods and tasks."""

    @property
    def folders(self) -> Folders:
        """Where results and runs are."""

    @property
    def device(self) -> Device:
        """The device of the work."""

    def finished(self, cell: Cell) -> bool:
        """Whether a cell has its result."""

    def __call__(self, cell: Cell, share: Share = ..., report: Report = ..., wait: bool = ...) -> bool:
        """Do the work. False if another process did it in the meantime; raises Busy if another process is doing it."""


class Pool(Protocol):
    """Workers that compute cells, each with its `share` of the machine: `LocalPool`, or another of `icmbench.extras`."""

    share: Share

    @property
    def workers(self) -> int:
        """Cells at once."""

    def pack(self, cells: int) -> None:
        """Compute that many cells at once on each device from now on. No cell may be running."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Call a function in a worker."""

    def drain(self) -> Iterator[Event]:
        """The events that the workers have reported since the last call."""

    def close(self) -> None:
        """Stop the workers."""


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
        yield from _share_out(pool, cells, work)
    except BrokenProcessPool as error:
        raise UserError(DIED) from error
    finally:
        pool.close()


def _try_out(pool: Pool, cells: Sequence[Cell], work: Work) -> int | None:
    """Check every protocol, and give every method one batch, before any is trained.

    Returns how many cells fit on a GPU at once, None without a GPU. Raises UserError for a protocol whose data, metric or ceiling
    are wrong, and for the first method that does not fit its protocol.
    """
    protocols = {cell.protocol.identity: cell for cell in reversed(cells)}
    first = {(cell.protocol.identity, cell.label): cell for cell in reversed(cells)}
    checks = [pool.submit(check_experiment, c, work.plugins, work.folders, work.device) for c in protocols.values()]
    for check in checks:
        check.result()
    fitting = []
    for future in [pool.submit(_try_one, cell, work.plugins, work.device) for cell in first.values()]:
        try:
            fitting.append(future.result())
        except (BrokenProcessPool, UserError):
            raise
        except Exception:  # the method's cells will fail with it and report it
            continue
    return min((number for number in fitting if number), default=None)


def _share_out(pool: Pool, cells: Sequence[Cell], work: Work) -> Iterator[Event]:
    """The events of the cells, as many at once as there are workers. Those that another run computes are tried again later."""
    todo = deque((number, 0.0) for number in range(len(cells)))  # with the earliest time for it
    running: dict[Future[Event], int] = {}
    elsewhere: set[int] = set()
    while todo or running:
        while todo and len(running) < pool.workers and todo[0][1] <= time.monotonic():
            number, _ = todo.popleft()
            running[pool.submit(_compute_one, number, cells[number], work, pool.share)] = number
        if not running:
            time.sleep(POLL_SECONDS)
        ended, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        yield from pool.drain()
        for future in ended:
            event = _outcome(number := running.pop(future), future)
            if event.phase != ELSEWHERE or number not in elsewhere:
                yield event
            if event.phase == ELSEWHERE:
                elsewhere.add(number)
                todo.append((number, time.monotonic() + RETRY_SECONDS))


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
    batch = training_batches(cell, plugins, device, ALONE)[0].to(where, torch.contiguous_format)
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
        send(Event(self.number, NOTE, message=record.getMessage()))


_events: Any  # an object with `put`


def send(event: Event) -> None:
    """In a worker: report to the process that shows the progress."""
    _events.put(event)


def report_to(events: Any, threads: int) -> None:
    """In a worker, first of all: report to the queue `events`, and compute with that many threads."""
    global _events  # noqa: PLW0603  (one per process, set once before it computes)
    _events = events
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)


def _start_worker(events: "Queue[Event]", threads: int) -> None:
    report_to(events, threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def machine_cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


class LocalPool:
    """A pool of worker processes of this machine, whose cores (or whose GPU) are one device.

    On a CPU each uses one thread: sums depend on the number of threads, and a cell must not depend on other cells.
    `pack`: cells that are computed at once on the device; None: as many as fit.
    """

    def __init__(self, device: Device, pack: int | None, cells: int) -> None:
        self._on_cpu, self._cells = device.accelerator == "cpu", cells
        self._context = multiprocessing.get_context("spawn")
        self.events: Queue[Event] = self._context.Queue()
        self._start(pack or (machine_cores() if self._on_cpu and device.count == 1 else 1))

    def _start(self, workers: int) -> None:
        self.workers = max(1, min(workers, self._cells))
        self.share = Share(cores=max(1, machine_cores() // self.workers), packed=self.workers)
        threads = 1 if self._on_cpu else self.share.cores
        self._processes = ProcessPoolExecutor(self.workers, self._context, _start_worker, (self.events, threads))

    def pack(self, cells: int) -> None:
        """Start as many processes, if there are others."""
        if min(cells, self._cells) != self.workers:
            self._processes.shutdown()
            self._start(cells)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Call a function in a worker process."""
        return self._processes.submit(function, *arguments)

    def drain(self) -> Iterator[Event]:
        """The events that the processes have reported since the last call."""
        while not self.events.empty():
            yield self.events.get()

    def close(self) -> None:
        """Stop the processes at once."""
        self._processes.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
