"""Showing a run: a live display on a terminal, plain log lines elsewhere."""

import time
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from icmbench.running.pace import ELSEWHERE, ENDED, START, Event, Pace

LOG_SECONDS = 10.0
SHOWN = ("loss", "rate", "task", "aux")


def follow(events: Iterable[Event], pace: Pace, console: Console, tell: Callable[[Pace], None]) -> dict[int, str]:
    """Show the events of the cells of `pace` until they end, and `tell` of each; returns the message of each failed cell."""
    with _Live(pace, console) if console.is_terminal else _Log(pace, console) as display:
        failed: dict[int, str] = {}
        for event in events:
            if not pace.hear(event):
                continue
            if event.phase == "failed":
                failed[event.cell] = event.message
            display.show(event)
            tell(pace)
    return failed


def _terms(event: Event) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in event.terms if name in SHOWN)


def _says(event: Event) -> str:
    """An event that is no step of a phase, in words."""
    return event.message or {ELSEWHERE: "another run computes it"}.get(event.phase, event.phase)


class _Live:
    """A bar for all cells and one for each that is being computed; what ended stays as a line above them."""

    def __init__(self, pace: Pace, console: Console) -> None:
        self.pace = pace
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn())
        self.progress = Progress(*columns, console=console)
        self.bars: dict[int, tuple[str, TaskID]] = {}

    def __enter__(self) -> "_Live":
        self.progress.start()
        self.everything = self.progress.add_task("cells", total=len(self.pace.units), text="")
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def show(self, event: Event) -> None:
        """Take in an event."""
        name = self.pace.units[event.cell].name
        if event.phase in (*ENDED, ELSEWHERE, "note"):
            self.progress.console.print(f"{name}: {_says(event)}", highlight=False, markup=False)
        if event.phase != "note":
            self._bar(event, name)
        ended = self.pace.count(*ENDED)
        text = f"{ended}/{len(self.pace.units)}  {self.pace.left_of_all()}"
        self.progress.update(self.everything, completed=ended, text=text)

    def _bar(self, event: Event, name: str) -> None:
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
        text = "  ".join(filter(None, [steps, _terms(event), str(self.pace.left(event.cell))]))
        self.progress.update(bar, completed=event.done, text=text)


class _Log:
    """A line when a phase begins or ends, and every few seconds."""

    def __init__(self, pace: Pace, console: Console) -> None:
        self.pace, self.console, self.start = pace, console, time.monotonic()
        self.shown: dict[int, tuple[str, float]] = {}

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, event: Event) -> None:
        """Take in an event."""
        now, cells = time.monotonic(), len(self.pace.units)
        if event.phase in ENDED:
            every = f"{self.pace.count(*ENDED)} of {cells} cells"
            self._print(event, f"{_says(event)}  ({', '.join(filter(None, [every, str(self.pace.left_of_all())]))})")
        elif event.phase in (ELSEWHERE, "note"):
            self._print(event, _says(event))
        elif event.phase != START:
            phase, last = self.shown.get(event.cell, ("", 0.0))
            if phase == event.phase and now - last < LOG_SECONDS:
                return
            self.shown[event.cell] = (event.phase, now)
            self._print(event, self._step(event))

    def _step(self, event: Event) -> str:
        left, all_left = self.pace.left(event.cell), self.pace.left_of_all()
        times = f"{left} (all cells: {all_left})" if str(left) and str(all_left) else str(left)
        return "  ".join(filter(None, [f"{event.phase} {event.done}/{event.total}", _terms(event), times]))

    def _print(self, event: Event, text: str) -> None:
        seconds, name = time.monotonic() - self.start, self.pace.units[event.cell].name
        self.console.print(f"[{seconds:6.0f} s] {name}: {text}", highlight=False, markup=False, soft_wrap=True)
