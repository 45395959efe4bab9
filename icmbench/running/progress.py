"""Progress and remaining time of cells: the one progress display of all commands. Imports no torch."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from icmbench.experiment.report import START, Report

ENDED = ("done", "failed")
WAITING, ELSEWHERE, NOTE = "waiting", "elsewhere", "note"
TRAINING_SHARE = 0.8  # of the time of a cell that trains
LINE_SECONDS = 10.0
SHOWN = ("loss", "rate", "task", "aux")


@dataclass(frozen=True)
class Event:
    """Something a cell reports.

    `phase`: start, train, ceiling, evaluate; elsewhere (another run computes it); done or failed (`message` gives the reason);
    or note, which has a `message` and nothing else.
    """

    cell: int
    phase: str
    done: int = 0
    total: int = 0
    terms: tuple[tuple[str, float], ...] = ()
    message: str = ""


@dataclass
class State:
    """The state of a cell: its phase, how much of it is done, when (and with how much done) it began, and whether it trained."""

    phase: str = WAITING
    done: int = 0
    total: int = 0
    since: float = 0.0
    done_since: int = 0
    trained: bool = False

    @property
    def fraction(self) -> float:
        """The finished part of the cell, 0 to 1."""
        part = self.done / self.total if self.total else 0.0
        before = TRAINING_SHARE if self.trained else 0.0
        if self.phase == "train":
            return TRAINING_SHARE * part
        if self.phase in ENDED:
            return 1.0
        return before + (1 - before) * (part if self.phase != "ceiling" else 0.0)


class Tracker:
    """Follows the events of cells with these names, and estimates remaining times from the pace so far."""

    def __init__(self, names: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.names, self.clock = names, clock
        self.start: float | None = None  # the first report: workers take a while to start
        self.states = [State() for _ in names]

    def update(self, event: Event) -> bool:
        """Process an event. Returns False for a late report of a cell that has ended."""
        state = self.states[event.cell]
        if state.phase in ENDED:
            return False
        if event.phase == NOTE:
            return True
        self.start = self.clock() if self.start is None else self.start
        if event.phase != state.phase:
            state.phase, state.since, state.done_since = event.phase, self.clock(), event.done
        state.done, state.total = event.done, event.total
        state.trained |= event.phase == "train"
        return True

    def count(self, *phases: str) -> int:
        """Number of cells in one of these phases."""
        return sum(state.phase in phases for state in self.states)

    def running(self) -> list[int]:
        """The cells that are computed here at the moment."""
        return [number for number, state in enumerate(self.states) if state.phase not in (WAITING, ELSEWHERE, *ENDED)]

    def left(self, cell: int) -> float | None:
        """Seconds left of a cell's phase; None if not known yet."""
        state = self.states[cell]
        return self._left(state.since, state.done - state.done_since, state.total - state.done)

    def left_of_all(self) -> float | None:
        """Seconds left until the last cell has ended; None if not known yet."""
        done = sum(state.fraction for state in self.states)
        return None if self.start is None else self._left(self.start, done, len(self.states) - done)

    def _left(self, start: float, done: float, rest: float) -> float | None:
        return (self.clock() - start) / done * rest if done > 0 else None


def duration(seconds: float) -> str:
    """Time for people: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def left_text(seconds: float | None) -> str:
    """`about 3 min left`; "" if the time is unknown or over."""
    return f"about {duration(seconds)} left" if seconds is not None and seconds >= 1 else ""


Listener = Callable[[Tracker], None]


def follow(events: Iterable[Event], tracker: Tracker, console: Console, listen: Listener) -> bool:
    """Show the events of cells until they end, and call `listen` after each. Returns whether no cell failed."""
    with Display(tracker, console) as display:
        for event in events:
            if tracker.update(event):
                display.show(event)
                listen(tracker)
    return not tracker.count("failed")


@contextmanager
def show_progress(name: str, console: Console) -> Iterator[Report]:
    """Show the progress of work that is not a cell, under a name. Yields the function that reports it."""
    tracker = Tracker([name])
    with Display(tracker, console) as display:

        def report(phase: str, done: int, total: int, terms: dict[str, float]) -> None:
            event = Event(0, phase, done, total, tuple(terms.items()))
            tracker.update(event)
            display.show(event)

        yield report


class Display:
    """Shows the events that a tracker has processed: a line for each cell that ends, and how far the others are.

    On a terminal that is a bar for all cells and one for each that is computed. Elsewhere, it is a line when a phase begins and
    one every few seconds.
    """

    def __init__(self, tracker: Tracker, console: Console) -> None:
        self.tracker, self.console, self.start = tracker, console, time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn())
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.all_cells = self.progress.add_task("cells", total=len(tracker.names), text="")
        self.bars: dict[int, tuple[str, TaskID]] = {}  # of each cell that is computed, with the phase
        self.last_lines: dict[int, float] = {}

    def __enter__(self) -> "Display":
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def show(self, event: Event) -> None:
        """Show an event that the tracker has processed."""
        cells, ended = len(self.tracker.names), self.tracker.count(*ENDED)
        left = left_text(self.tracker.left_of_all())
        if event.phase in ENDED:
            counts = ", ".join(filter(None, [f"{ended} of {cells} cells", left]))
            self._print(event.cell, f"{event.message or event.phase}  ({counts})")
        elif event.phase in (ELSEWHERE, NOTE):
            self._print(event.cell, event.message or "another run computes it")
        if event.phase == NOTE:
            return
        if event.phase in (*ENDED, ELSEWHERE):
            self._remove_bar(event.cell)
        else:
            self._show_phase(event)
        self.progress.update(self.all_cells, completed=ended, text=f"{ended}/{cells}  {left}")

    def _show_phase(self, event: Event) -> None:
        began = self.bars.get(event.cell, ("",))[0] != event.phase
        if began:
            self._remove_bar(event.cell)
            text = f"{self.tracker.names[event.cell]}: {event.phase}"
            self.bars[event.cell] = event.phase, self.progress.add_task(text, total=event.total or None, text="")
        terms = [f"{name} {value:.3f}" for name, value in event.terms if name in SHOWN]
        steps = f"{event.done}/{event.total}" if event.total else ""
        text = "  ".join(filter(None, [steps, *terms, left_text(self.tracker.left(event.cell))]))
        self.progress.update(self.bars[event.cell][1], completed=event.done, text=text)
        due = began or time.monotonic() - self.last_lines.get(event.cell, 0.0) >= LINE_SECONDS
        if due and event.phase != START and not self.console.is_terminal:
            self.last_lines[event.cell] = time.monotonic()
            self._print(event.cell, f"{event.phase} {text}")

    def _remove_bar(self, cell: int) -> None:
        if cell in self.bars:
            self.progress.remove_task(self.bars.pop(cell)[1])

    def _print(self, cell: int, text: str) -> None:
        line = f"[{time.monotonic() - self.start:6.0f} s] {self.tracker.names[cell]}: {text}"
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)
