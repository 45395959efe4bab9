"""Workers that compute cells: processes of this machine, or this process itself. `icmbench.extras.ray` has another pool."""

import multiprocessing
import os
import signal
import threading
import typing
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.queues import Queue
from typing import Any

import torch

from icmbench.experiment.folders import Device, Share
from icmbench.running.progress import Event


def machine_cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Pool(typing.Protocol):
    """Workers that compute cells, `workers` at a time, each with its `share` of the machine, and report through `drain`."""

    workers: int
    share: Share

    def pack(self, cells: int) -> None:
        """Compute that many cells at once on each device from now on. No cell may be running."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Call a function in a worker."""

    def drain(self) -> Iterator[Event]:
        """The events that the workers have reported since the last call."""

    def close(self) -> None:
        """Stop the workers."""


StartPool = Callable[[int], Pool]  # from the number of cells


class LocalPool:
    """Worker processes of this machine, whose cores (or whose GPU) are one device.

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
        self._pool = ProcessPoolExecutor(self.workers, self._context, _start_worker, (self.events, threads))

    def pack(self, cells: int) -> None:
        """Compute that many cells at once from now on. No cell may be running."""
        if min(cells, self._cells) != self.workers:
            self._pool.shutdown()
            self._start(cells)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Call a function in a worker process."""
        return self._pool.submit(function, *arguments)

    def drain(self) -> Iterator[Event]:
        """The events that the workers have reported since the last call."""
        while not self.events.empty():
            yield self.events.get()

    def close(self) -> None:
        """Stop the workers at once."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()


class InlinePool:
    """No workers: each cell is computed in this process when it is submitted, so a debugger can be used."""

    workers = 1

    def __init__(self, device: Device) -> None:
        self.share = Share(cores=machine_cores())
        self._reported: list[Event] = []
        self._threads = torch.get_num_threads()
        report_to(self, 1 if device.accelerator == "cpu" else self._threads)

    def put(self, event: Event) -> None:
        """Keep an event for `drain`; called by `send`."""
        self._reported.append(event)

    def pack(self, cells: int) -> None:
        """Nothing changes: one cell is computed at a time."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Call a function at once, in this process."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def drain(self) -> Iterator[Event]:
        """The events that the cells have reported since the last call."""
        reported, self._reported = self._reported, []
        yield from reported

    def close(self) -> None:
        """Restore the process's number of threads."""
        torch.set_num_threads(self._threads)


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
