"""The figure of `icmbench transfer`: a matrix of BD-rates, trained under by scored with."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from icmbench.extras.ablation.report import Entry
from icmbench.show.figure import plain
from icmbench.show.markup import broken
from icmbench.show.sheet import interval

COLOURS = "RdBu_r"  # blue saves bits, red costs them; suits colour blindness
EMPTY = "gainsboro"
CELL = (2.5, 1.15)  # inches
WRAP = 26
FAINTEST = 0.1  # log rate ratio: less than about 10 % is never in full colour
SCALE = "BD-rate (%), log scale of the rate"


def _log(entry: Entry) -> float:
    """Log of the rate ratio; 0 for the anchor, not a number where there is no BD-rate."""
    return 0.0 if entry.is_anchor else math.log1p(entry.bd_rate.value / 100) if entry.bd_rate else math.nan


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


def plot(entries: Sequence[Entry], title: str) -> Figure:
    """A row for each protocol that trained, a column for each that scores, of all pairs of protocols, column by column."""
    size = math.isqrt(len(entries))
    grid = np.array(entries, dtype=object).reshape(size, size).T
    values = np.array([[_log(entry) for entry in row] for row in grid])
    most = float(np.nanmax(np.abs(np.append(values, FAINTEST))))
    width = CELL[0] * size + 2.6
    figure, axes = plt.subplots(figsize=(width, CELL[1] * size + 1.7), layout="constrained")
    colours = colormaps[COLOURS].with_extremes(bad=EMPTY)
    shading = axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=-most, vmax=most, aspect="auto")
    for (y, x), entry in np.ndenumerate(grid):
        first, *rest = _text(entry)
        ink = "white" if abs(values[y, x]) > 0.6 * most else "black"
        axes.text(x, y, first, ha="center", va="bottom" if rest else "center", color=ink, fontsize=12, fontweight="bold")
        axes.text(x, y + 0.03, plain("\n".join(rest)), ha="center", va="top", color=ink, fontsize=8)
    metrics = [next((entry.row.metric for entry in column if entry.row), "") for column in grid.T]
    scored_with, trained_under = entries[0].names
    names = [_name(entry.names[scored_with], metric) for entry, metric in zip(grid[0], metrics, strict=True)]
    axes.set_xticks(range(size), names, fontsize=9)
    axes.set_yticks(range(size), [_name(entry.names[trained_under]) for entry in grid[:, 0]], fontsize=9)
    axes.set(xlabel="scored with (metric)", ylabel="trained under")
    axes.set_title(plain("\n".join(textwrap.wrap(title, int(width / 0.1)))), fontsize=11)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shading, ax=axes, ticks=most * np.linspace(-1, 1, 5), format=lambda tick, _: _percent(tick))
    bar.set_label(SCALE)
    return figure


def _percent(log_ratio: float) -> str:
    return f"{100 * math.expm1(log_ratio):+.3g}" if log_ratio else "0"
