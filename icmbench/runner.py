"""Planning the missing cells and computing them in worker processes, side by side on a CPU."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.queues import Queue
from typing import Any

import torch

from icmbench.cell import Cell, CellRun, Place
from icmbench.errors import UserError
from icmbench.files import sha256
from icmbench.plugins import Plugins, options
from icmbench.protocol import Protocol, Strict
from icmbench.record import Store


@dataclass(frozen=True)
class Event:
    """Something a cell reports: `phase` is train, ceiling, evaluate, done or failed (then `message` says why)."""

    cell: int
    phase: str
    done: int = 0
    total: int = 0
    terms: tuple[tuple[str, float], ...] = ()
    message: str = ""


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
    """All cells of these methods (name -> given parameters), seed by seed."""
    own = {name: tuple(own_parameters(plugins, name, given).items()) for name, given in methods.items()}
    return [
        Cell(protocol, name, parameters, rate, seed)
        for seed in range(seeds)
        for rate in rates
        for name, parameters in own.items()
    ]


def missing(cells: Sequence[Cell], store: Store, plugins: Plugins) -> list[Cell]:
    """The cells that have no record yet, or one made by another version of a loose plugin file."""
    sources = {p.name: sha256(p.path) for p in plugins.find("methods").values() if p.path and p.path in plugins.files}

    def finished(cell: Cell) -> bool:
        path = cell.record_path(store)
        return path.exists() and (cell.method not in sources or sources[cell.method] in path.read_text())

    return [cell for cell in cells if not finished(cell)]


def workers_for(place: Place, cells: int) -> int:
    """Cells that are computed side by side: one a core on a CPU (one thread each), else one."""
    cores = len(os.sched_getaffinity(0)) if place.accelerator == "cpu" and place.devices == 1 else 1
    return max(1, min(cores, cells))


def compute(cells: Sequence[Cell], place: Place) -> Iterator[Event]:
    """Compute the cells, yielding what they report; the last event of a cell is `done` or `failed`.

    Raises UserError when a worker process dies. Leaving the iterator early stops the workers.
    """
    context = multiprocessing.get_context("spawn")
    events: Queue[Event] = context.Queue()
    count = workers_for(place, len(cells))
    pool = ProcessPoolExecutor(count, context, _start_worker, (events, place.accelerator))
    try:
        futures = {pool.submit(_compute_one, number, cell, place): number for number, cell in enumerate(cells)}
        pending: set[Future[None]] = set(futures)
        while pending:
            finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            yield from _drain(events)
            for future in finished:
                yield _outcome(futures[future], future)
        pool.shutdown()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()


def _outcome(number: int, future: "Future[None]") -> Event:
    try:
        future.result()
    except BrokenProcessPool as error:
        raise UserError("a worker process died (out of memory?); the same command goes on where it was.") from error
    except UserError as error:
        return Event(number, "failed", message=str(error))
    except Exception as error:  # one broken cell must not take the others down
        return Event(number, "failed", message=f"{type(error).__name__}: {error}")
    return Event(number, "done")


def _drain(events: "Queue[Event]") -> Iterator[Event]:
    while not events.empty():
        yield events.get()


_events: "Queue[Event]"


def _start_worker(events: "Queue[Event]", accelerator: str) -> None:
    global _events  # noqa: PLW0603  (one per worker process, set once as it starts)
    _events = events
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_die_with_parent, daemon=True).start()
    warnings.filterwarnings("ignore")
    if accelerator == "cpu":
        torch.set_num_threads(1)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _compute_one(number: int, cell: Cell, place: Place) -> None:
    def report(phase: str, done: int, total: int, terms: dict[str, float]) -> None:
        _events.put(Event(number, phase, done, total, tuple(terms.items())))

    CellRun(cell, place, report).run()
