"""The rate-accuracy plot of one protocol."""

from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from icmbench.compare.comparison import Curves
from icmbench.show.figure import plain, save
from icmbench.show.palette import style_of

DECADE = 10
FEW = 8  # methods whose names fit beside the curves

Points = list[tuple[float, float]]  # (bits per pixel, score), from the lowest rate point on


def draw(group: Curves, folder: Path) -> list[Path]:
    """Write curves.png, curves.svg and curves.pdf of one protocol's records into `folder`; returns the paths."""
    return save(plot(group), folder, "curves")


def plot(group: Curves) -> Figure:
    """Each method's mean over its seeds, the single seeds as thin lines, and the ceiling."""
    labels = sorted(group.records, key=lambda label: (label != group.anchor, label))
    figure, axes = plt.subplots(figsize=(7 if len(labels) <= FEW else 9, 4.8), layout="constrained")
    rates = []
    for label in labels:
        style = style_of(label, group.anchor)
        line: dict[str, Any] = {"color": style.colour, "linestyle": style.line, "zorder": style.order}
        seeds = [group.curve(label, seed) for seed in group.records[label]]
        for curve in seeds if len(seeds) > 1 else ():
            axes.plot(*zip(*curve, strict=True), **line, linewidth=0.8, alpha=0.4)
        mean = _mean(group, label)
        axes.plot(*zip(*mean, strict=True), **line, marker=style.marker, markersize=5, label=plain(label))
        rates += [bpp for curve in seeds for bpp, _ in curve]
    if max(rates) > DECADE * min(rates):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axhline(group.ceiling, color="grey", linestyle=":", label=f"uncompressed {group.ceiling:.1f}")
    axes.set(xlabel="rate (bits per pixel, whole container)", ylabel=plain(f"{group.metric} (%)"))
    axes.set_title(plain(f"{group.protocol.name} ({group.protocol.hash})"), fontsize=11)
    axes.grid(alpha=0.3)
    if len(labels) <= FEW:
        axes.legend(fontsize=9)
    else:
        figure.legend(loc="outside right upper", fontsize=9)
    return figure


def _mean(group: Curves, label: str) -> Points:
    """Over the seeds that have a rate point."""
    points_at: dict[int, Points] = {}
    for seed, records in group.records[label].items():
        for record, point in zip(records, group.curve(label, seed), strict=True):
            points_at.setdefault(record.rate_index, []).append(point)
    return [(fmean(bpp for bpp, _ in points), fmean(score for _, score in points)) for _, points in sorted(points_at.items())]
