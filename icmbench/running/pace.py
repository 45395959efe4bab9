"""How far cells are and how long they still take, from what they report. No torch."""

import heapq
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ENDED = ("done", "failed")
WAITING, ELSEWHERE, START = "waiting", "elsewhere", "start"
NOT_RUNNING = (WAITING, ELSEWHERE, *ENDED)


@dataclass(frozen=True)
class Event:
    """Something a cell reports.

    `phase`: start, train, ceiling, evaluate; elsewhere (another run computes it); done or failed (`message` says why); or note,
    where `message` is all there is.
    """

    cell: int
    phase: str
    done: int = 0
    total: int = 0
    terms: tuple[tuple[str, float], ...] = ()
    message: str = ""


@dataclass(frozen=True)
class Unit:
    """A cell as far as its time goes: cells of one `kind` take as long as each other. `steps`: those of its training."""

    name: str
    kind: str
    steps: int


@dataclass(frozen=True)
class Left:
    """Seconds left. Not `complete`: there is more to do whose pace is not known yet."""

    seconds: float
    complete: bool

    def __str__(self) -> str:
        """In words for a line of text: "about 3 min left"; "" where nothing is known, and for nothing."""
        if self.seconds < 1:
            return ""
        return f"{'about' if self.complete else 'more than'} {duration(self.seconds)} left"

    def __add__(self, other: "Left") -> "Left":
        return Left(self.seconds + other.seconds, self.complete and other.complete)

    def after(self, seconds: float) -> "Left":
        """What is left when that much time has gone by."""
        return Left(max(0.0, self.seconds - seconds), self.complete)


def duration(seconds: float) -> str:
    """Time for people: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


@dataclass
class State:
    """Where a cell is: its phase, how much of it is done, and when it said so last."""

    phase: str = WAITING
    done: int = 0
    total: int = 0
    heard: float = 0.0
    rest: float = 0.0  # seconds between the phases that count


class Pace:
    """Listens to the events of cells and reckons from the time that steps and images have taken.

    Where cells of a kind have not said anything yet, those of the other kinds stand for them. There are as many workers as
    cells have been under way at once.
    """

    def __init__(self, units: Sequence[Unit], clock: Callable[[], float] = time.monotonic) -> None:
        self.units, self.workers, self.clock = units, 1, clock
        self.states = [State() for _ in units]
        self._seen: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])  # (phase, kind) -> seconds, units
        self._images: dict[str, int] = {}
        self._rests: dict[str, list[float]] = defaultdict(list)

    def hear(self, event: Event) -> bool:
        """Take in an event; False for a late report of a cell that has ended, which says nothing new."""
        state, kind, now = self.states[event.cell], self.units[event.cell].kind, self.clock()
        if state.phase in ENDED:
            return False
        if event.phase == "note":
            return True
        if event.phase == state.phase and event.phase not in NOT_RUNNING:
            seen = self._seen[event.phase, kind]
            seen[0] += now - state.heard
            seen[1] += event.done - state.done
        elif state.phase not in NOT_RUNNING:
            state.rest += now - state.heard
        else:
            state.rest = 0.0
        if event.phase == "evaluate":
            self._images[kind] = event.total
        if event.phase == "done" and state.phase == "evaluate":
            self._rests[kind].append(state.rest)
        state.phase, state.done, state.total, state.heard = event.phase, event.done, event.total, now
        if event.phase == START:
            self.workers = max(self.workers, len(self.running()))
        return True

    def count(self, *phases: str) -> int:
        """Cells that are in one of these phases."""
        return sum(state.phase in phases for state in self.states)

    def running(self) -> list[int]:
        """The cells that are computed here at the moment."""
        return [number for number, state in enumerate(self.states) if state.phase not in NOT_RUNNING]

    def left(self, cell: int) -> Left:
        """What is left of one cell, from when its work begins if it has not begun."""
        unit, state = self.units[cell], self.states[cell]
        if state.phase in ENDED:
            return Left(0.0, True)
        if state.phase in NOT_RUNNING:
            return self._whole(unit)
        rest = Left(max(0.0, self._rest(unit.kind) - state.rest), True)
        if state.phase == START:
            found = self._whole(unit)
        else:
            found = self._phase(state.phase, unit.kind, state.total - state.done) + rest
            found = found if state.phase == "evaluate" else found + self._evaluation(unit)
        return found.after(self.clock() - state.heard)

    def left_of_all(self) -> Left:
        """What is left until the last cell has ended: the waiting ones go, in order, to the worker that is free first."""
        running = [self.left(number) for number in self.running()]
        ends = [left.seconds for left in running]
        ends += [0.0] * (self.workers - len(ends))
        complete = all(left.complete for left in running)
        heapq.heapify(ends)
        longest_elsewhere = 0.0
        for number, state in enumerate(self.states):
            if state.phase == WAITING:
                left = self.left(number)
                complete &= left.complete
                heapq.heappush(ends, heapq.heappop(ends) + left.seconds)
            elif state.phase == ELSEWHERE:
                longest_elsewhere = max(longest_elsewhere, self.left(number).after(self.clock() - state.heard).seconds)
        return Left(max([longest_elsewhere, *ends]), complete)

    def _whole(self, unit: Unit) -> Left:
        return self._phase("train", unit.kind, unit.steps) + self._evaluation(unit) + Left(self._rest(unit.kind), True)

    def _evaluation(self, unit: Unit) -> Left:
        images = self._images.get(unit.kind) or max(self._images.values(), default=0)
        return self._phase("evaluate", unit.kind, images) if images else Left(0.0, False)

    def _phase(self, phase: str, kind: str, units: int) -> Left:
        own = self._seen.get((phase, kind), [0.0, 0.0])
        if not own[1]:
            others = [seen for (of, _), seen in self._seen.items() if of == phase]
            own = [sum(seen[0] for seen in others), sum(seen[1] for seen in others)]
        if not own[1]:
            return Left(0.0, units == 0)
        return Left(units * own[0] / own[1], True)

    def _rest(self, kind: str) -> float:
        """Seconds of a cell between and around its phases: building it, counting operations, writing."""
        every = self._rests.get(kind) or [rest for rests in self._rests.values() for rest in rests]
        return statistics.median(every) if every else 0.0
