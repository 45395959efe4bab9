"""Planning the missing cells and computing them in worker processes, side by side on a CPU."""

import logging
import multiprocessing
import os
import signal
import threading
import time
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.queues import Queue
from typing import Any

import torch

from icmbench.cell import Busy, Cell, CellRun, Place
from icmbench.errors import UserError
from icmbench.files import sha256
from icmbench.method import ClassicalMethod, TrainedMethod
from icmbench.pace import ELSEWHERE, Event, Unit
from icmbench.plugins import Plugins, options
from icmbench.protocol import Protocol, Strict
from icmbench.record import Store
from icmbench.train import SAY, out_of_memory

DIED = "a worker process died (out of memory?); the same command goes on where it was."
NO_MEMORY = "the device's memory ran out outside of the training steps, which can be split; take a device with more of it."
RETRY_SECONDS = 1.0  # how often a cell that another run computes is looked at
Pairs = tuple[tuple[str, Any], ...]


def own_parameters(plugins: Plugins, method: str, given: dict[str, Any]) -> dict[str, Any]:
    """The given parameters, checked, without those at their default. Raises UserError for a wrong one.

    So `alpha=0.5` names the same cell as no alpha where that is the default, and a parameter added later renames no cell.
    """
    cls: type[Strict] = plugins.method(method).Parameters
    checked: Strict = options(cls, given, f"the parameters of method {method}")
    return dict(checked.model_dump(mode="json", exclude_defaults=True))


def plan(
    plugins: Plugins, protocol: Protocol, methods: dict[str, dict[str, Any]], rates: Sequence[int], seeds: int
) -> list[Cell]:
    """All cells of these methods (name -> given parameters), seed by seed; what is not trained has seed 0 alone.

    `rates`: numbers of the protocol's rate points. A classical codec has all of its own.
    """
    cells = [
        cell
        for name, given in methods.items()
        for cell in _cells(plugins, protocol, name, tuple(own_parameters(plugins, name, given).items()), rates, seeds)
    ]
    return sorted(cells, key=lambda cell: (cell.seed, cell.rate_index))


def _cells(
    plugins: Plugins, protocol: Protocol, method: str, parameters: Pairs, rates: Sequence[int], seeds: int
) -> Iterator[Cell]:
    kind = plugins.method(method)
    if issubclass(kind, ClassicalMethod):
        for number, value in enumerate(kind.rates):
            yield Cell(protocol, method, parameters, number, 0, own_rate=(kind.rate_parameter, value))
        return
    for seed in range(seeds if issubclass(kind, TrainedMethod) else 1):
        yield from (Cell(protocol, method, parameters, rate, seed) for rate in rates)


def missing(cells: Sequence[Cell], store: Store, plugins: Plugins) -> list[Cell]:
    """The cells that have no record yet, or one made by another version of a loose plugin file."""
    sources = {p.name: sha256(p.path) for p in plugins.find("methods").values() if p.path and p.path in plugins.files}

    def finished(cell: Cell) -> bool:
        path = cell.record_path(store)
        return path.exists() and (cell.method not in sources or sources[cell.method] in path.read_text())

    return [cell for cell in cells if not finished(cell)]


def units(cells: Sequence[Cell], plugins: Plugins) -> list[Unit]:
    """The cells as far as their time goes; the protocol is in the names where there are several."""
    several = len({cell.protocol.identity for cell in cells}) > 1

    def unit(cell: Cell) -> Unit:
        trains = not cell.trained_under and issubclass(plugins.method(cell.method), TrainedMethod)
        name = f"{cell.protocol.name} {cell.name}" if several else cell.name
        return Unit(name, f"{cell.protocol.identity}/{cell.label}", cell.protocol.training.steps if trains else 0)

    return [unit(cell) for cell in cells]


def workers_for(place: Place, cells: int) -> int:
    """Cells that are computed side by side: one a core on a CPU (one thread each), else one."""
    cores = len(os.sched_getaffinity(0)) if place.accelerator == "cpu" and place.devices == 1 else 1
    return max(1, min(cores, cells))


class Pool(typing.Protocol):
    """Workers that compute cells: `workers` at a time, which report through `drain`."""

    workers: int

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Call a function in a worker."""

    def drain(self) -> Iterator[Event]:
        """What the workers have reported since."""

    def close(self) -> None:
        """Stop the workers."""


class LocalPool:
    """Worker processes of this machine."""

    def __init__(self, place: Place, cells: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.events: Queue[Event] = context.Queue()
        self.workers = workers_for(place, cells)
        self._pool = ProcessPoolExecutor(self.workers, context, _start_worker, (self.events, place.accelerator))

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


def _pool(place: Place, cells: int) -> Pool:
    if place.engine == "ray":
        from icmbench.cluster import RayPool

        return RayPool(place)
    return LocalPool(place, cells)


def compute(cells: Sequence[Cell], place: Place) -> Iterator[Event]:
    """Compute the cells, yielding what they report; the last event of a cell is `done` or `failed`.

    A cell that another run computes is left to it and looked at again when there is nothing else to do: two runs share the
    work, and what one that dies leaves behind, the other takes up.
    Raises UserError when a worker process dies (on a cluster its cell is tried again). Leaving the iterator early stops the
    workers.
    """
    pool = _pool(place, len(cells))
    place = replace(place, coders=max(1, len(os.sched_getaffinity(0)) // pool.workers))
    try:
        _refuse(pool, cells, place)
        yield from _share(pool, cells, place)
    except BrokenProcessPool as error:
        raise UserError(DIED) from error
    finally:
        pool.close()


def _share(pool: Pool, cells: Sequence[Cell], place: Place) -> Iterator[Event]:
    """The events of the cells; those that another run computes are looked at again and again when a worker is free."""
    versions = [CellRun(cell, place).version() for cell in cells]
    futures: dict[Future[Event], int] = {}
    todo, elsewhere, told, tried = [*range(len(cells))], set[int](), set[int](), time.monotonic()
    while todo or futures or elsewhere:
        futures |= {pool.submit(_compute_one, n, cells[n], place, versions[n]): n for n in todo}
        finished, _ = wait(futures, timeout=0.2, return_when=FIRST_COMPLETED)
        yield from pool.drain()
        for future in finished:
            event = _outcome(number := futures.pop(future), future)
            if event.phase == ELSEWHERE:
                elsewhere.add(number)
            if event.phase != ELSEWHERE or number not in told:
                yield event
            told.add(number)
        todo = []
        if len(futures) < pool.workers and time.monotonic() - tried >= RETRY_SECONDS:
            todo, tried = sorted(elsewhere), time.monotonic()
            elsewhere.clear()
        if not futures:
            time.sleep(0.2)


def _refuse(pool: Pool, cells: Sequence[Cell], place: Place) -> None:
    """Build every method and give it one batch before anything is trained: it may find that it cannot do with what is there.

    Raises UserError for the first that cannot.
    """
    first = {(cell.protocol.identity, cell.label): cell for cell in reversed(cells)}
    for future in [pool.submit(_build_one, cell, place) for cell in first.values()]:
        try:
            future.result()
        except (BrokenProcessPool, UserError):
            raise
        except Exception:
            pass


def _outcome(number: int, future: "Future[Event]") -> Event:
    try:
        return future.result()
    except BrokenProcessPool:
        raise
    except Exception as raised:  # one broken cell must not take the others down
        error = getattr(raised, "cause", raised)  # Ray wraps what a task raised
        if isinstance(error, UserError):
            return Event(number, "failed", message=str(error))
        lacking = isinstance(error, RuntimeError) and out_of_memory(error)
        return Event(number, "failed", message=NO_MEMORY if lacking else f"{type(error).__name__}: {error}")


_events: Any  # a queue with `put`


def report_to(events: Any, accelerator: str) -> None:
    """In a worker: send what happens to the queue `events`, and take one thread on a CPU."""
    global _events  # noqa: PLW0603  (one per worker process, set once as it starts)
    _events = events
    warnings.filterwarnings("ignore")
    if accelerator == "cpu":
        torch.set_num_threads(1)


def _start_worker(events: "Queue[Event]", accelerator: str) -> None:
    report_to(events, accelerator)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _build_one(cell: Cell, place: Place) -> None:
    run = CellRun(cell.origin(), place)
    method = run.method()
    if isinstance(method, TrainedMethod):
        batch = run.batches()[0].to(place.device, torch.contiguous_format)
        method.to(place.device).loss(batch)


class _Notes(logging.Handler):
    """Sends what is logged while a cell is computed to where its events go."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def emit(self, record: logging.LogRecord) -> None:
        _events.put(Event(self.number, "note", message=record.getMessage()))


def _compute_one(number: int, cell: Cell, place: Place, before: int | None) -> Event:
    """Compute a cell whose record had the version `before`; how it ended, or that another run has it."""

    def report(phase: str, done: int, total: int, terms: dict[str, float]) -> None:
        _events.put(Event(number, phase, done, total, tuple(terms.items())))

    SAY.handlers, SAY.propagate = [_Notes(number)], False
    try:
        here = CellRun(cell, place, report).attempt(before, wait=False)
    except Busy:
        return Event(number, ELSEWHERE)
    return Event(number, "done", message="" if here else "done by another run")
