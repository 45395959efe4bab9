"""The figure of `icmbench transfer`: a matrix of BD-rates, trained under by scored with."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from icmbench.extras.ablation.report import Entry
from icmbench.show.figure import plain, save
from icmbench.show.markup import broken
from icmbench.show.sheet import interval
from icmbench.stats.confidence import Array

COLOURS = "RdBu_r"  # blue saves bits, red costs them; suits colour blindness
EMPTY = "gainsboro"
CELL = (2.5, 1.15)  # inches
WRAP = 26
FAINTEST = 0.1  # log rate ratio: less than about 10 % is never in full colour
SCALE = "BD-rate (%), log scale of the rate"


def draw(entries: Sequence[Entry], title: str, folder: Path) -> list[Path]:
    """Write transfer.png, transfer.svg and transfer.pdf of all pairs of protocols, column by column; returns the paths."""
    return save(plot(*square(entries), title), folder, "transfer")


def square(entries: Sequence[Entry]) -> tuple[list[list[Entry]], Array]:
    """The entries by column, and the values that the colours show, [row, column]."""
    size = math.isqrt(len(entries))
    columns = [list(entries[start : start + size]) for start in range(0, len(entries), size)]
    return columns, np.array([[_log(column[row]) for column in columns] for row in range(size)])


def _log(entry: Entry) -> float:
    """Log of the rate ratio; 0 for the anchor, not a number where there is no BD-rate."""
    return 0.0 if entry.is_anchor else math.log1p(entry.bd_rate.value / 100) if entry.bd_rate else math.nan


def _scale(values: Array) -> tuple[float, list[float], list[str]]:
    """The largest |log rate ratio|, but at least `FAINTEST`, and ticks between its two signs with their percentages."""
    most = float(np.nanmax(np.abs(np.append(values, FAINTEST))))
    ticks = [most * part for part in (-1, -0.5, 0, 0.5, 1)]
    return most, ticks, [f"{100 * math.expm1(tick):+.3g}" if tick else "0" for tick in ticks]


def _text(entry: Entry) -> list[str]:
    """The lines of a cell: the BD-rate, its interval and whether it is resolved."""
    if entry.is_anchor:
        return ["anchor"]
    if entry.row is None or (estimate := entry.bd_rate) is None:
        return ["none", *textwrap.wrap(entry.notes[0].removeprefix("no BD-rate: "), WRAP)]
    below = interval(*estimate.interval).text if estimate.interval else "one seed: no interval"
    return [f"{estimate.value:+.1f} %", below, *(["not resolved"] if estimate.interval and not entry.row.resolved else [])]


def _name(identity: str, metric: str = "") -> str:
    """A protocol's name and hash below each other, and what it scores."""
    name, _, digest = identity.partition("@")
    return "\n".join([broken(name, WRAP), digest, *([f"({metric})"] if metric else [])])


def _names(columns: Sequence[Sequence[Entry]]) -> tuple[list[str], list[str]]:
    """Labels of the rows and of the columns."""
    metrics = [next((entry.row.metric for entry in column if entry.row), "") for column in columns]
    row_names = [_name(list(entry.names.values())[1]) for entry in columns[0]]
    return row_names, [_name(next(iter(c[0].names.values())), metric) for c, metric in zip(columns, metrics, strict=True)]


def plot(columns: Sequence[Sequence[Entry]], values: Array, title: str) -> Figure:
    """A row for each protocol that trained, a column for each that scores; `values` [row, column] as in `square`."""
    size, (most, ticks, percents), (row_names, column_names) = len(columns), _scale(values), _names(columns)
    width = CELL[0] * size + 2.6
    figure, axes = plt.subplots(figsize=(width, CELL[1] * size + 1.7), layout="constrained")
    colours = colormaps[COLOURS].with_extremes(bad=EMPTY)
    shading = axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=-most, vmax=most, aspect="auto")
    for x, column in enumerate(columns):
        for y, entry in enumerate(column):
            first, *rest = _text(entry)
            ink = "white" if abs(values[y, x]) > 0.6 * most else "black"
            axes.text(x, y, first, ha="center", va="bottom" if rest else "center", color=ink, fontsize=12, fontweight="bold")
            axes.text(x, y + 0.03, plain("\n".join(rest)), ha="center", va="top", color=ink, fontsize=8)
    axes.set_xticks(range(size), column_names, fontsize=9)
    axes.set_yticks(range(size), row_names, fontsize=9)
    axes.set(xlabel="scored with (metric)", ylabel="trained under")
    axes.set_title(plain("\n".join(textwrap.wrap(title, int(width / 0.1)))), fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shading, ax=axes, ticks=ticks)
    bar.ax.set_yticklabels(percents)
    bar.set_label(SCALE)
    return figure
