"""The processes that compute cells, and how they report: on this machine, or (see `cluster`) on a Ray cluster."""

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

from icmbench.experiment.cell import Place
from icmbench.running.pace import Event


def machine_cores() -> int:
    """Processor cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0))


class Pool(typing.Protocol):
    """Workers that compute cells, `workers` at a time with `cores` each, and report through `drain`.

    `packed`: cells that are computed at once on one device.
    """

    workers: int
    cores: int
    packed: int

    def pack(self, cells: int) -> None:
        """From now on, compute that many cells at once on each device. Nothing must be under way."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Call a function in a worker."""

    def drain(self) -> Iterator[Event]:
        """What the workers have reported since."""

    def close(self) -> None:
        """Stop the workers."""


class LocalPool:
    """Worker processes of this machine, whose cores (or whose GPU) are one device.

    On a CPU each takes one thread: sums depend on how many threads share them, and a cell must not depend on its neighbours.
    """

    def __init__(self, place: Place, cells: int) -> None:
        self._place, self._cells = place, cells
        self._context = multiprocessing.get_context("spawn")
        self.events: Queue[Event] = self._context.Queue()
        one_each = place.accelerator == "cpu" and place.devices == 1
        self._start(place.pack or (machine_cores() if one_each else 1))

    def _start(self, workers: int) -> None:
        self.workers = self.packed = max(1, min(workers, self._cells))
        self.cores = max(1, machine_cores() // self.workers)
        threads = 1 if self._place.accelerator == "cpu" else self.cores
        self._pool = ProcessPoolExecutor(self.workers, self._context, _start_worker, (self.events, threads))

    def pack(self, cells: int) -> None:
        """From now on, compute that many cells at once. Nothing must be under way."""
        if min(cells, self._cells) != self.workers:
            self._pool.shutdown()
            self._start(cells)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Call a function in a worker process."""
        return self._pool.submit(function, *arguments)

    def drain(self) -> Iterator[Event]:
        """What the workers have reported since."""
        while not self.events.empty():
            yield self.events.get()

    def close(self) -> None:
        """Stop the workers at once."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()


def pool_for(place: Place, cells: int) -> Pool:
    """The workers that `place` asks for, no more than there are cells."""
    if place.engine == "ray":
        from icmbench.extras.ray import RayPool

        return RayPool(place)
    return LocalPool(place, cells)


_events: Any  # a queue with `put`


def tell(event: Event) -> None:
    """In a worker: report to the process that shows how it goes."""
    _events.put(event)


def report_to(events: Any, threads: int) -> None:
    """In a worker, before anything else: report to the queue `events`, and take that many threads."""
    global _events  # noqa: PLW0603  (one per worker process, set once as it starts)
    _events = events
    warnings.filterwarnings("ignore")
    torch.set_num_threads(threads)


def _start_worker(events: "Queue[Event]", threads: int) -> None:
    report_to(events, threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
