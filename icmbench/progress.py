"""Showing a run: a live display on a terminal, plain log lines elsewhere."""

import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from icmbench.runner import Event

LOG_SECONDS = 10.0
SHOWN = ("loss", "rate", "task", "aux")


def follow(events: Iterable[Event], names: Sequence[str], console: Console) -> dict[int, str]:
    """Show the events of the cells `names` until they end; returns the message of each failed cell."""
    return _live(events, names, console) if console.is_terminal else _log(events, names, console)


def _terms(event: Event) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in event.terms if name in SHOWN)


def _live(events: Iterable[Event], names: Sequence[str], console: Console) -> dict[int, str]:
    failed: dict[int, str] = {}
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} {task.fields[terms]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        everything = progress.add_task("cells", total=len(names), terms="")
        bars: dict[int, tuple[str, object]] = {}
        ended: set[int] = set()
        for event in events:
            name = names[event.cell]
            if event.cell in ended:  # a report that came late
                continue
            if event.phase in ("done", "failed"):
                _, bar = bars.pop(event.cell, ("", None))
                if bar is not None:
                    progress.remove_task(bar)  # type: ignore[arg-type]
                progress.advance(everything)
                ended.add(event.cell)
                if event.phase == "failed":
                    failed[event.cell] = event.message
                console.print(f"{name}: {event.message or 'done'}", highlight=False, markup=False)
                continue
            phase, bar = bars.get(event.cell, ("", None))
            if phase != event.phase:
                if bar is not None:
                    progress.remove_task(bar)  # type: ignore[arg-type]
                bar = progress.add_task(f"{name}: {event.phase}", total=event.total, terms="")
                bars[event.cell] = (event.phase, bar)
            progress.update(bar, completed=event.done, terms=_terms(event))  # type: ignore[arg-type]
    return failed


def _log(events: Iterable[Event], names: Sequence[str], console: Console) -> dict[int, str]:
    failed: dict[int, str] = {}
    shown: dict[int, tuple[str, float]] = {}
    start, finished = time.monotonic(), 0
    for event in events:
        now = time.monotonic()
        if event.phase in ("done", "failed"):
            finished += 1
            if event.phase == "failed":
                failed[event.cell] = event.message
            text = f"{event.message or 'done'}  ({finished} of {len(names)} cells)"
        else:
            phase, last = shown.get(event.cell, ("", 0.0))
            if phase == event.phase and now - last < LOG_SECONDS:
                continue
            shown[event.cell] = (event.phase, now)
            text = f"{event.phase} {event.done}/{event.total}  {_terms(event)}".rstrip()
        console.print(f"[{now - start:6.0f} s] {names[event.cell]}: {text}", highlight=False, markup=False, soft_wrap=True)
    return failed
