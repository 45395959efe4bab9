"""Progress reports of a cell that is being computed. Imports no torch."""

from collections.abc import Callable

Report = Callable[[str, int, int, dict[str, float]], None]  # phase, done, total, terms to show
START = "start"


def no_report(phase: str, done: int, total: int, terms: dict[str, float]) -> None:
    """A report that shows nothing."""
