"""Computing cells side by side: handing them to workers, sharing them with other runs, and telling how each ends."""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import torch

from icmbench.api.method import TrainedMethod
from icmbench.base.errors import UserError
from icmbench.experiment import cost
from icmbench.experiment.cell import Busy, Cell, CellRun, Place
from icmbench.experiment.train import SAY, out_of_memory
from icmbench.running.pace import ELSEWHERE, Event
from icmbench.running.pool import Pool, machine_cores, pool_for, tell

DIED = "a worker process died (out of memory?); the same command goes on where it was."
NO_MEMORY = "the device's memory ran out outside of the training steps, which can be split; take a device with more of it."
POLL_SECONDS = 0.2
RETRY_SECONDS = 1.0  # how often a cell that another run computes is looked at


def compute(cells: Sequence[Cell], place: Place) -> Iterator[Event]:
    """Compute the cells, yielding what they report; the last event of a cell is `done` or `failed`.

    A cell that another run computes is left to it and looked at again when there is nothing else to do: two runs share the
    work, and what one that dies leaves behind, the other takes up.
    Raises UserError when a worker process dies (on a cluster its cell is tried again), and for a method that cannot do with
    what is there. Leaving the iterator early stops the workers.
    """
    pool = pool_for(place, len(cells))
    try:
        fitting = _try_out(pool, cells, place)
        if place.pack is None and fitting:
            pool.pack(fitting)
        yield from _share(pool, cells, replace(place, cores=pool.cores, pack=pool.packed))
    except BrokenProcessPool as error:
        raise UserError(DIED) from error
    finally:
        pool.close()


def _try_out(pool: Pool, cells: Sequence[Cell], place: Place) -> int | None:
    """Give every method one batch before any is trained; how many cells a GPU bears at once, None where there is none.

    Raises UserError for the first method that cannot do with what is there.
    """
    first = {(cell.protocol.identity, cell.label): cell for cell in reversed(cells)}
    fitting = []
    for future in [pool.submit(_try_one, cell, place) for cell in first.values()]:
        try:
            fitting.append(future.result())
        except (BrokenProcessPool, UserError):
            raise
        except Exception:  # it will be told as the end of its cells
            continue
    return min((number for number in fitting if number), default=None)


def _share(pool: Pool, cells: Sequence[Cell], place: Place) -> Iterator[Event]:
    """The events of the cells; those that another run computes are tried again whenever a worker is free."""
    running: dict[Future[Event], int] = {}
    todo, told, tried = set(range(len(cells))), set[int](), -RETRY_SECONDS
    while todo or running:
        if len(running) < pool.workers and time.monotonic() - tried >= RETRY_SECONDS:
            running |= {pool.submit(_compute_one, number, cells[number], place): number for number in sorted(todo)}
            todo, tried = set(), time.monotonic()
        ended, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        yield from pool.drain()
        for future in ended:
            event = _outcome(number := running.pop(future), future)
            if event.phase != ELSEWHERE or number not in told:
                yield event
            if event.phase == ELSEWHERE:
                todo.add(number)
                told.add(number)
        if not running:
            time.sleep(POLL_SECONDS)


def _outcome(number: int, future: "Future[Event]") -> Event:
    """How a cell ended. An error that is its own fails it alone; the others go on."""
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


def _try_one(cell: Cell, place: Place) -> int | None:
    """In a worker: build the method and give it a batch; how many such trainings the GPU bears at once."""
    run = CellRun(cell.origin(), place)
    method = run.method()
    if not isinstance(method, TrainedMethod):
        return None
    on_gpu = place.accelerator == "cuda"
    if on_gpu:  # what the method before this one took is not its
        torch.cuda.empty_cache()
        cost.reset_peak_memory(place.device)
    batch = run.batches()[0].to(place.device, torch.contiguous_format)
    loss = method.to(place.device).loss(batch)["loss"]
    if not on_gpu:
        return None
    torch.autograd.backward(loss)
    return cells_that_fit(*cost.gpu_memory(method), machine_cores())


def cells_that_fit(needed: int, free: int, cores: int) -> int:
    """How many trainings that need so many bytes each go into the `free` ones; two cores each keep a GPU busy.

    A fifth more than was seen is reckoned for each: other batches, the optimiser's workspace, evaluation.
    """
    return max(1, min(int(free / (1.2 * needed)), cores // 2))


def _compute_one(number: int, cell: Cell, place: Place) -> Event:
    """In a worker: compute a cell unless another run does or did; how it ended."""

    def report(phase: str, done: int, total: int, terms: dict[str, float]) -> None:
        tell(Event(number, phase, done, total, tuple(terms.items())))

    SAY.handlers, SAY.propagate = [_Notes(number)], False
    try:
        here = CellRun(cell, place, report).run(wait=False)
    except Busy:
        return Event(number, ELSEWHERE)
    return Event(number, "done", message="" if here else "done by another run")


class _Notes(logging.Handler):
    """Sends what is logged while a cell is computed to where its events go."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def emit(self, record: logging.LogRecord) -> None:
        tell(Event(self.number, "note", message=record.getMessage()))
