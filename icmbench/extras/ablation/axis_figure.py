"""The figure of `icmbench sweep`: one panel per axis, its values against the BD-rate with its interval."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from icmbench.compare.row import Row
from icmbench.extras.ablation.report import Entry
from icmbench.show.figure import plain
from icmbench.show.markup import broken
from icmbench.show.palette import BLACK, BLUE, VERMILLION

CHARACTER = 0.085  # inches, with room around a label
NARROWEST, WIDEST_NUMERIC, WIDEST_ROW = 2.6, 5.0, 11.0
DECADE = 10
WRAP = 13
RESOLVED, UNRESOLVED, ONE_SEED = "resolved (Holm)", "not resolved (Holm)", "one seed: no interval"
STYLES: dict[str, dict[str, Any]] = {
    RESOLVED: {"color": BLUE, "marker": "o"},
    UNRESOLVED: {"color": VERMILLION, "marker": "o", "markerfacecolor": "white"},
    ONE_SEED: {"color": "dimgrey", "marker": "D", "markerfacecolor": "white"},
}
MARK: dict[str, Any] = {"linestyle": "none", "markeredgewidth": 1.6}
MISSING = "dimgrey"


@dataclass(frozen=True)
class Panel:
    """One axis: its entries, their positions x, and the panel's width in inches. `log`: x is the logarithm to base 10."""

    name: str
    entries: tuple[Entry, ...]
    x: tuple[float, ...]
    numeric: bool
    log: bool
    width: float


def panel_of(name: str, entries: Sequence[Entry]) -> Panel:
    """Numbers are drawn at their values (at their logarithm if they span more than a decade), unless labels would overlap."""
    values = [entry.names["value"] for entry in entries]
    numeric = len(values) > 1 and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numeric:
        order = sorted(entries, key=lambda entry: float(entry.names["value"]))
        values = [entry.names["value"] for entry in order]
        log = values[0] > 0 and values[-1] / values[0] > DECADE
        x = [math.log10(value) if log else float(value) for value in values]
        if (width := _width(values, x)) <= WIDEST_NUMERIC:
            return Panel(name, tuple(order), tuple(x), True, log, width)
    x = [float(number) for number in range(len(values))]
    return Panel(name, tuple(order if numeric else entries), tuple(x), False, False, _width(values, x))


def _width(values: Sequence[Any], x: Sequence[float]) -> float:
    """Inches that keep the labels of neighbours apart."""
    longest = max(len(line) for value in values for line in _label(value).splitlines())
    return max(NARROWEST, CHARACTER * longest * ((x[-1] - x[0]) / _gap(x) + 1))


def _gap(x: Sequence[float]) -> float:
    return min((b - a for a, b in pairwise(x)), default=1.0)


def _label(value: Any) -> str:
    return plain(broken(f"{value:g}" if isinstance(value, float) else str(value), WRAP))


def _style(row: Row) -> str:
    """How a row with a BD-rate is drawn."""
    return RESOLVED if row.resolved else UNRESOLVED if row.bd_rate and row.bd_rate.interval else ONE_SEED


def _limits(entries: Sequence[Entry]) -> tuple[float, float]:
    """The range of BD-rates of all panels. Intervals are cut at ± 100 % unless a value lies beyond."""
    estimates = [entry.bd_rate for entry in entries if entry.bd_rate]
    values = [0.0, *(estimate.value for estimate in estimates)]
    ends = [end for estimate in estimates for end in estimate.interval or ()]
    low = min([*values, *(max(end, -100.0) for end in ends)])
    high = max([*values, *(min(end, 100.0) for end in ends)])
    room = 0.08 * (high - low) or 1.0
    return low - room, high + room


def _rows(panels: Sequence[Panel]) -> list[list[Panel]]:
    """The panels side by side, in as many rows as their widths need."""
    rows: list[list[Panel]] = [[]]
    for panel in panels:
        if rows[-1] and sum(beside.width for beside in rows[-1]) + panel.width > WIDEST_ROW:
            rows.append([])
        rows[-1].append(panel)
    return rows


def plot(entries: Sequence[Entry], title: str, anchor: str) -> Figure:
    """The panels in rows, and below them the values without a BD-rate."""
    names = dict.fromkeys(entry.names["axis"] for entry in entries)
    panels = [panel_of(name, [entry for entry in entries if entry.names["axis"] == name]) for name in names]
    rows = _rows(panels)
    width = max(6.5, max(sum(panel.width for panel in row) for row in rows) + 0.8)
    missing = [
        f"{e.names['axis']} = {e.names['value']}: {'the anchor itself' if e.is_anchor else e.notes[0]}"
        for e in entries
        if e.bd_rate is None
    ]
    below = [line for text in missing for line in textwrap.wrap(text, int(width / 0.075))]
    figure = plt.figure(figsize=(width, 3.1 * len(rows) + 0.9 + 0.16 * len(below)), layout="constrained")
    limits = _limits(entries)
    outer = figure.add_gridspec(len(rows), 1)
    for number, row in enumerate(rows):
        grid = outer[number].subgridspec(1, len(row), width_ratios=[panel.width for panel in row])
        for column, panel in enumerate(row):
            axes = figure.add_subplot(grid[column])
            _draw_panel(axes, panel)
            axes.set_ylim(limits)
            if column == 0:
                axes.set_ylabel(plain(f"BD-rate against {anchor} (%)"))
            else:
                axes.tick_params(labelleft=False)
    _legend(figure, entries, anchor, plain("\n".join(textwrap.wrap(title, int(width / 0.09)))))
    if below:
        figure.supxlabel(plain("\n".join(below)), x=0.01, ha="left", fontsize=8, color=MISSING)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.axhline(0, color=BLACK, linestyle="--", linewidth=1)
    if panel.numeric:
        shown = [(x, entry.bd_rate.value) for x, entry in zip(panel.x, panel.entries, strict=True) if entry.bd_rate]
        axes.plot(*zip(*shown, strict=True), color="lightgrey", linewidth=1.2, zorder=1)
    for x, entry in zip(panel.x, panel.entries, strict=True):
        if entry.row is None or (estimate := entry.bd_rate) is None:
            axes.text(
                x, 0.03, "anchor" if entry.is_anchor else "none", transform=axes.get_xaxis_transform(), rotation=90,
                ha="center", va="bottom", fontsize=9, color=MISSING,
            )  # fmt: skip
            continue
        low, high = estimate.interval or (estimate.value, estimate.value)
        spread = [[estimate.value - low], [high - estimate.value]] if estimate.interval else None
        look = STYLES[_style(entry.row)] | MARK
        axes.errorbar(x, estimate.value, yerr=spread, markersize=7, elinewidth=1.6, capsize=4, zorder=3, **look)
    margin = 0.5 * _gap(panel.x) + 0.02 * (panel.x[-1] - panel.x[0])
    axes.set_xlim(panel.x[0] - margin, panel.x[-1] + margin)
    axes.set_xticks(panel.x, [_label(entry.names["value"]) for entry in panel.entries], fontsize=9)
    for tick, entry in zip(axes.get_xticklabels(), panel.entries, strict=True):
        tick.set_fontweight("bold" if entry.mark else "normal")
    axes.set_xlabel(plain(f"{panel.name} (log scale)" if panel.log else panel.name))
    axes.grid(axis="y", alpha=0.3)


def _legend(figure: Figure, entries: Sequence[Entry], anchor: str, title: str) -> None:
    """The title is part of the legend, because the layout does not separate a legend from a `suptitle`."""
    used = {_style(entry.row) for entry in entries if entry.row and entry.bd_rate}
    handles = [Line2D([], [], color=BLACK, linestyle="--", linewidth=1, label=plain(f"anchor {anchor}"))]
    handles += [Line2D([], [], label=style, **look, **MARK) for style, look in STYLES.items() if style in used]
    if any(entry.mark for entry in entries):
        handles.append(Line2D([], [], linestyle="none", label="bold: default"))
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=8, frameon=False, title=title, title_fontsize=11)
