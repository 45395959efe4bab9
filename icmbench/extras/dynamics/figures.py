"""Figures of `icmbench dynamics`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from icmbench.extras.dynamics.watch import PARTS, Dynamics
from icmbench.show.figure import plain, save
from icmbench.show.palette import BLACK, COLOURS, VERMILLION, Style, style_of

START = "start codec"
TERMS = {"loss": "total loss", "rate": "rate", "task": "task loss", "aux": "auxiliary loss"}
UNITS = {"rate": "bits per pixel"}
NOT_TERMS = {"gradient_norm", "lr"}
DIVERGING, SEQUENTIAL = "PuOr", "viridis"


@dataclass(frozen=True)
class ImageMaps:
    """An image uint8 [H, W, 3], where its objects are ([H, W] of 0 and 1), and bits per pixel [H, W] by codec."""

    image: NDArray[np.uint8]
    mask: NDArray[Any] | None
    maps: dict[str, NDArray[Any]]

    def share(self, codec: str) -> float:
        """Share of the bits inside objects; nan without a mask."""
        bits = self.maps[codec]
        return math.nan if self.mask is None else float((bits * self.mask).sum() / bits.sum())


@dataclass(frozen=True)
class Study:
    """The results of one rate point by method, one per seed, the anchor first."""

    protocol: str
    lmbda: float
    results: dict[str, list[Dynamics]]
    images: list[ImageMaps]

    @property
    def title(self) -> str:
        """Protocol, λ and seeds."""
        seeds = len(next(iter(self.results.values())))
        return f"{self.protocol}, λ = {self.lmbda:g}, {seeds} seed{'s' * (seeds > 1)}"

    def style(self, label: str) -> Style:
        """How a method is drawn."""
        return style_of(label, next(iter(self.results)))

    @property
    def terms(self) -> list[str]:
        """The loss terms of all methods."""
        return list(dict.fromkeys(t for runs in self.results.values() for t in runs[0].curves if t not in NOT_TERMS))


def over_seeds(values: Sequence[Sequence[float]]) -> pd.DataFrame:
    """Mean, lowest and highest of the seeds at each step, from the values of each seed."""
    table = np.array(values)
    return pd.DataFrame({"mean": table.mean(0), "low": table.min(0), "high": table.max(0)})


def draw(study: Study, folder: Path) -> list[Path]:
    """Write the figures losses, gradients, cosines (if there are any) and bits; returns the paths."""
    figures = {"losses": _losses(study), "gradients": _gradients(study), "cosines": _cosines(study), "bits": _bits(study)}
    return [path for name, figure in figures.items() if figure is not None for path in save(figure, folder, name)]


def _panels(count: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(1, count, figsize=(width * count, height), layout="constrained", squeeze=False, **options)
    return figure, list(axes[0])


def _line(axes: Axes, steps: Sequence[int], curve: pd.DataFrame, **style: Any) -> None:
    """A mean with the range of the seeds."""
    axes.plot(steps, curve["mean"], **style)
    axes.fill_between(steps, curve["low"], curve["high"], color=style["color"], alpha=0.15, linewidth=0)


def _losses(study: Study) -> Figure:
    figure, panels = _panels(len(study.terms), 3.6, 3.4)
    for axes, term in zip(panels, study.terms, strict=True):
        for label, runs in study.results.items():
            if term in runs[0].curves:
                style, steps, curve = study.style(label), runs[0].steps, over_seeds([run.curves[term] for run in runs])
                axes.plot(steps, curve["mean"], color=style.colour, alpha=0.25, linewidth=0.8)
                smooth = curve.rolling(max(1, len(steps) // 20), center=True, min_periods=1).mean()
                look = {"color": style.colour, "linestyle": style.line, "zorder": style.order}
                _line(axes, steps, smooth, label=plain(label), **look)
        axes.set(title=TERMS.get(term, term), xlabel="training step", ylabel=UNITS.get(term, "loss"))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(f"Loss terms (thin: each batch; thick: running mean)\n{study.title}", fontsize=11)
    return figure


def _gradients(study: Study) -> Figure:
    figure, panels = _panels(len(PARTS), 4.2, 4.2, sharey=True)
    for axes, part in zip(panels, PARTS, strict=True):
        for label, runs in study.results.items():
            for term in runs[0].parts[part].norms if part in runs[0].parts else ():
                curve = over_seeds([run.parts[part].norms[term] for run in runs])
                if curve["mean"].notna().any():
                    _line(axes, runs[0].probed, curve, linestyle=study.style(label).line, **_term_style(study, term))
        axes.set(title=part, xlabel="training step", yscale="log")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("gradient norm (loss per unit of weight)")
    keys = [Line2D([], [], label=TERMS.get(term, term), **_term_style(study, term)) for term in study.terms]
    keys += [Line2D([], [], color=BLACK, linestyle=study.style(label).line, label=plain(label)) for label in study.results]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=9)
    figure.suptitle(f"Gradient of each loss term, without λ and other weights\n{study.title}", fontsize=11)
    return figure


def _term_style(study: Study, term: str) -> dict[str, Any]:
    """The total is broad and pale, because it often coincides with its largest term."""
    if term == "loss":
        return {"color": "grey", "linewidth": 5, "alpha": 0.35}
    return {"color": COLOURS[study.terms.index(term) % len(COLOURS)], "linewidth": 1.5}


def cosine_maps(study: Study) -> dict[str, pd.DataFrame]:
    """Cosines [layer, probed step] of the task's gradient and another term's, by title for each method and term but the total.

    All have the layers where any of them has a value; nan where one has none.
    """
    maps = {}
    for label, runs in study.results.items():
        for term in next(iter(runs[0].layers.values())).cosines:
            if term != "loss":
                rows = {layer: np.mean([run.layers[layer].cosines[term] for run in runs], axis=0) for layer in runs[0].layers}
                maps[f"{TERMS.get(term, term)}, {label}"] = pd.DataFrame(rows, index=runs[0].probed).T
    if not maps:
        return {}
    layers = pd.concat(maps.values(), axis=1).dropna(how="all").index
    return {title: cosines.reindex(layers) for title, cosines in maps.items()} if len(layers) else {}


def _cosines(study: Study) -> Figure | None:
    maps = cosine_maps(study)
    if not maps:
        return None
    layers = next(iter(maps.values())).index
    figure, panels = _panels(len(maps), 4.0, 1.9 + 0.27 * len(layers), sharey=True)
    for axes, (title, cosines) in zip(panels, maps.items(), strict=True):
        axes.set_facecolor("lightgrey")
        axes.spines[:].set_visible(False)
        image = axes.imshow(cosines, cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
        steps = list(cosines.columns)
        ticks = np.linspace(0, len(steps) - 1, min(5, len(steps))).astype(int)
        axes.set_xticks(ticks, [str(steps[tick]) for tick in ticks])
        axes.set_yticks(range(len(layers)), layers, fontsize=8)
        mean = np.nanmean(cosines) if cosines.notna().any(axis=None) else None
        axes.set_title(f"task loss and {title}\nmean {'none' if mean is None else f'{mean:+.2f}'}", fontsize=10)
        axes.set_xlabel("training step")
    panels[0].set_ylabel("layer")
    figure.colorbar(image, ax=panels, label="cosine", shrink=0.9)
    figure.suptitle(f"Do the gradients agree? (grey: a term does not reach the layer) {study.title}", fontsize=11)
    return figure


def _bits(study: Study) -> Figure:
    codecs, rows = [START, *study.results], len(study.images)
    figure = plt.figure(figsize=(2.3 * (1 + len(codecs)) + 3.2, 2.35 * rows + 0.8), layout="constrained")
    left, right = cast(Any, figure.subfigures(1, 2, width_ratios=(2.3 * (1 + len(codecs)) + 0.6, 2.6)))
    panels = left.subplots(rows, 1 + len(codecs), squeeze=False)
    most = np.quantile(np.concatenate([bits.ravel() for image in study.images for bits in image.maps.values()]), 0.99)
    for row, image in zip(panels, study.images, strict=True):
        row[0].imshow(image.image)
        for axes, codec in zip(row[1:], codecs, strict=True):
            bits = axes.imshow(image.maps[codec], cmap=SEQUENTIAL, vmin=0, vmax=most, interpolation="nearest")
            inside = "" if image.mask is None else f", {image.share(codec):.0%} inside"
            axes.set_title(f"{image.maps[codec].mean():.3f} bpp{inside}", fontsize=8)
        for axes in row:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if image.mask is not None and image.mask.min() < image.mask.max():
                axes.contour(image.mask, levels=[0.5], colors=[VERMILLION], linewidths=1)
    for axes, name in zip(panels[0], ["image", *codecs], strict=True):
        axes.set_title(f"{name}\n{axes.get_title()}".rstrip("\n"), fontsize=9)
    left.colorbar(bits, ax=panels.ravel().tolist(), label="estimated bits per pixel, all latents", location="bottom", aspect=50)
    _shares(right.subplots(), study)
    figure.suptitle(f"Where the bits go (outlined: objects)  {study.title}", fontsize=11)
    return figure


def _shares(axes: Axes, study: Study) -> None:
    """Bars: the share of bits inside objects over all `val` images, beside their share of the area."""
    start = next(iter(study.results.values()))[0].before
    if not math.isfinite(start.area_share):
        axes.text(0.5, 0.5, "the task does not say\nwhere objects are", ha="center", va="center")
        axes.set_axis_off()
        return
    bars = {"area": [100 * start.area_share], START: [100 * start.bits_share]}
    bars |= {label: [100 * run.after.bits_share for run in runs] for label, runs in study.results.items()}
    colours = ["white", "grey", *(study.style(label).colour for label in study.results)]
    for number, values in enumerate(bars.values()):
        mean = float(np.mean(values))
        spread = [[mean - min(values)], [max(values) - mean]] if len(values) > 1 else None
        axes.bar(number, mean, color=colours[number], edgecolor="black", yerr=spread, ecolor="darkgrey", capsize=4)
        axes.annotate(f"{mean:.1f}", (number, max(values)), (0, 3), textcoords="offset points", ha="center", fontsize=9)
    axes.axhline(100 * start.area_share, color="black", linestyle=":", linewidth=1)
    axes.margins(y=0.1)
    axes.set_xticks(range(len(bars)), list(bars), rotation=30, ha="right", fontsize=9)
    axes.set_ylabel("share inside objects (%)")
    axes.set_title(f"area and bits inside objects,\nall {len(start.bits)} val images", fontsize=9)
