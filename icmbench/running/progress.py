"""Progress and remaining time of cells: the one progress display of all commands. Imports no torch."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from icmbench.experiment.report import START, Report

ENDED = ("done", "failed")
WAITING, ELSEWHERE = "waiting", "elsewhere"
NOT_RUNNING = (WAITING, ELSEWHERE, *ENDED)
TRAINING_SHARE = 0.8  # of a cell's time, where it trains
LOG_SECONDS = 10.0
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


@dataclass(frozen=True)
class Unit:
    """A cell in the display: its name, and whether it trains."""

    name: str
    trains: bool = True


@dataclass
class State:
    """The state of a cell: its phase, how much of it is done, and when (and with how much done) the phase began."""

    phase: str = WAITING
    done: int = 0
    total: int = 0
    since: float = 0.0
    done_since: int = 0


class Tracker:
    """Follows the events of cells, and estimates the remaining time from the time that the finished part took."""

    def __init__(self, units: Sequence[Unit], clock: Callable[[], float] = time.monotonic) -> None:
        self.units, self.clock = units, clock
        self.start: float | None = None  # the first report: workers take a while to start
        self.states = [State() for _ in units]

    def update(self, event: Event) -> bool:
        """Process an event. Returns False for a late report of a cell that has ended."""
        state = self.states[event.cell]
        if state.phase in ENDED:
            return False
        if event.phase == "note":
            return True
        self.start = self.clock() if self.start is None else self.start
        if event.phase != state.phase:
            state.phase, state.since, state.done_since = event.phase, self.clock(), event.done
        state.done, state.total = event.done, event.total
        return True

    def count(self, *phases: str) -> int:
        """Number of cells in one of these phases."""
        return sum(state.phase in phases for state in self.states)

    def running(self) -> list[int]:
        """The cells that are computed here at the moment."""
        return [number for number, state in enumerate(self.states) if state.phase not in NOT_RUNNING]

    def left(self, cell: int) -> float | None:
        """Seconds left of a cell's phase; None if not known yet."""
        state = self.states[cell]
        done = state.done - state.done_since
        return (self.clock() - state.since) / done * (state.total - state.done) if done > 0 else None

    def left_of_all(self) -> float | None:
        """Seconds left until the last cell has ended; None if not known yet."""
        done = sum(map(self._fraction, self.units, self.states)) / max(1, len(self.units))
        return (self.clock() - self.start) * (1 - done) / done if done > 0 and self.start is not None else None

    def _fraction(self, unit: Unit, state: State) -> float:
        """The finished part of a cell, 0 to 1."""
        part = state.done / state.total if state.total else 0.0
        training = TRAINING_SHARE if unit.trains else 0.0
        if state.phase in ENDED:
            return 1.0
        return {"train": training * part, "ceiling": training, "evaluate": training + (1 - training) * part}.get(state.phase, 0.0)


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


def follow(events: Iterable[Event], tracker: Tracker, console: Console, listen: Listener) -> dict[int, str]:
    """Show the events of cells until they end, and call `listen` after each. Returns the message of each failed cell."""
    failed: dict[int, str] = {}
    with display(tracker, console) as shown:
        for event in events:
            if not tracker.update(event):
                continue
            if event.phase == "failed":
                failed[event.cell] = event.message
            shown.show(event)
            listen(tracker)
    return failed


def display(tracker: Tracker, console: Console) -> "Live | Log":
    """The display of the events that `tracker` has processed: bars on a terminal, lines elsewhere."""
    return Live(tracker, console) if console.is_terminal else Log(tracker, console)


@contextmanager
def show_progress(name: str, console: Console) -> Iterator[Report]:
    """Show the progress of work that is not a cell, under a name. Yields the function that reports it."""
    tracker = Tracker([Unit(name)])
    with display(tracker, console) as shown:

        def report(phase: str, done: int, total: int, terms: dict[str, float]) -> None:
            event = Event(0, phase, done, total, tuple(terms.items()))
            tracker.update(event)
            shown.show(event)

        yield report


def _terms(event: Event) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in event.terms if name in SHOWN)


def _message(event: Event) -> str:
    """The text of an event that is not a step of a phase."""
    return event.message or {ELSEWHERE: "another run computes it"}.get(event.phase, event.phase)


class Live:
    """A bar for all cells and one for each cell that is being computed, below a line for each that has ended."""

    def __init__(self, tracker: Tracker, console: Console) -> None:
        self.tracker = tracker
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn())
        self.progress = Progress(*columns, console=console)
        self.bars: dict[int, tuple[str, TaskID]] = {}

    def __enter__(self) -> "Live":
        self.progress.start()
        self.all_cells = self.progress.add_task("cells", total=len(self.tracker.units), text="")
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def show(self, event: Event) -> None:
        """Show an event that the tracker has processed."""
        name = self.tracker.units[event.cell].name
        if event.phase in (*ENDED, ELSEWHERE, "note"):
            self.progress.console.print(f"{name}: {_message(event)}", highlight=False, markup=False)
        if event.phase != "note":
            self._update_bar(event, name)
        ended = self.tracker.count(*ENDED)
        text = f"{ended}/{len(self.tracker.units)}  {left_text(self.tracker.left_of_all())}"
        self.progress.update(self.all_cells, completed=ended, text=text)

    def _update_bar(self, event: Event, name: str) -> None:
        phase, bar = self.bars.pop(event.cell, ("", None))
        if bar is not None and phase != event.phase:
            self.progress.remove_task(bar)
            bar = None
        if event.phase in (*ENDED, ELSEWHERE):
            return
        if bar is None:
            bar = self.progress.add_task(f"{name}: {event.phase}", total=event.total or None, text="")
        self.bars[event.cell] = (event.phase, bar)
        steps = f"{event.done}/{event.total}" if event.total else ""
        text = "  ".join(filter(None, [steps, _terms(event), left_text(self.tracker.left(event.cell))]))
        self.progress.update(bar, completed=event.done, text=text)


class Log:
    """A line when a phase begins or ends, and one every few seconds."""

    def __init__(self, tracker: Tracker, console: Console) -> None:
        self.tracker, self.console, self.start = tracker, console, time.monotonic()
        self.shown: dict[int, tuple[str, float]] = {}

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, event: Event) -> None:
        """Show an event that the tracker has processed."""
        if event.phase in ENDED:
            cells = f"{self.tracker.count(*ENDED)} of {len(self.tracker.units)} cells"
            self._print(event, f"{_message(event)}  ({', '.join(filter(None, [cells, left_text(self.tracker.left_of_all())]))})")
        elif event.phase in (ELSEWHERE, "note"):
            self._print(event, _message(event))
        elif event.phase != START:
            now, (phase, last) = time.monotonic(), self.shown.get(event.cell, ("", 0.0))
            if phase == event.phase and now - last < LOG_SECONDS:
                return
            self.shown[event.cell] = (event.phase, now)
            left = left_text(self.tracker.left(event.cell))
            self._print(event, "  ".join(filter(None, [f"{event.phase} {event.done}/{event.total}", _terms(event), left])))

    def _print(self, event: Event, text: str) -> None:
        seconds, name = time.monotonic() - self.start, self.tracker.units[event.cell].name
        self.console.print(f"[{seconds:6.0f} s] {name}: {text}", highlight=False, markup=False, soft_wrap=True)
