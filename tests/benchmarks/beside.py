"""Ratios of two times that are measured side by side, so that whatever else the machine does falls on both."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]  # [..., 2]: on the clock on the wall, and of this process on a processor
CLOCKS = ("wall", "processor")


def now() -> Seconds:
    """Both clocks. A processor's time leaves out what a busy machine gives to others, and also what is waited for."""
    return np.array([time.perf_counter(), time.process_time()])


def seconds(work: Callable[[], object]) -> Seconds:
    """How long `work` takes."""
    start = now()
    work()
    return now() - start


def ratios(ours: Sequence[Seconds], theirs: Sequence[Seconds], block: int = 1) -> Seconds:
    """Ours over theirs, for each block of rounds that followed each other."""
    starts = np.arange(0, len(ours), block)
    both: Seconds = np.add.reduceat(ours, starts) / np.add.reduceat(theirs, starts)
    return both


def spread(values: Any, digits: int = 3) -> str:
    """`median (first quartile … third quartile)` of values [N]."""
    low, middle, high = (f"{value:.{digits}f}" for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return f"{middle} ({low} … {high})"


def by_clock(what: str, values: Seconds) -> dict[str, str]:
    """The spread of values [N, 2], clock by clock."""
    return {f"{what}, {clock}": spread(column) for clock, column in zip(CLOCKS, values.T, strict=True)}


def machine() -> dict[str, object]:
    """What a reader of figures must know about the machine."""
    return {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
