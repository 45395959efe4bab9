"""Rate-accuracy plots, and how every plot is written: PNG for papers and terminals, HTML for looking closer."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import plotly.graph_objects as go
from matplotlib.figure import Figure

from icmbench.base.files import replacing
from icmbench.compare.comparison import Curves

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")  # Okabe and Ito
MARKERS = "osD^vPX*"


def draw(group: Curves, folder: Path) -> list[Path]:
    """Write curves.png and curves.html of one protocol's records into `folder`; returns the two paths."""
    return save(_png(group), _html(group), folder, "curves")


def save(png: Figure, html: go.Figure, folder: Path, name: str) -> list[Path]:
    """Write a plot as NAME.png, and close that figure, and as NAME.html; returns the two paths."""
    paths = [folder / f"{name}.png", folder / f"{name}.html"]
    with replacing(paths[0]) as temporary:
        png.savefig(temporary, format="png", dpi=150)
        plt.close(png)
    with replacing(paths[1]) as temporary:
        temporary.write_text(html.to_html(include_plotlyjs=True))
    return paths


def _title(group: Curves) -> str:
    return f"{group.protocol.name} ({group.protocol.hash})"


def _png(group: Curves) -> Figure:
    figure, axes = plt.subplots(figsize=(7, 4.8), layout="constrained")
    for number, (label, seeds) in enumerate(group.records.items()):
        for position, seed in enumerate(seeds):
            bpp, score = zip(*group.curve(label, seed), strict=True)
            axes.plot(
                bpp, score, color=COLOURS[number % 8], marker=MARKERS[number % 8], alpha=0.9 if position == 0 else 0.5,
                label=label if position == 0 else None,
            )  # fmt: skip
    axes.axhline(group.ceiling, color="grey", linestyle="--", linewidth=1, label=f"uncompressed {group.ceiling:.1f}")
    axes.set(xlabel="rate (bits per pixel, whole container)", ylabel=f"{group.metric} (%)", title=_title(group))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _html(group: Curves) -> go.Figure:
    figure = go.Figure()
    for number, (label, seeds) in enumerate(group.records.items()):
        for seed, records in seeds.items():
            figure.add_scatter(
                x=[r.bpp for r in records], y=[r.quality for r in records], mode="lines+markers",
                name=f"{label}, seed {seed}", line={"color": COLOURS[number % 8]},
                marker={"symbol": number}, customdata=[r.point for r in records],
                hovertemplate="%{customdata}<br>%{x:.4f} bpp<br>%{y:.2f} %<extra>%{fullData.name}</extra>",
            )  # fmt: skip
    figure.add_hline(group.ceiling, line_dash="dash", line_color="grey", annotation_text=f"uncompressed {group.ceiling:.1f}")
    return figure.update_layout(
        title=_title(group),
        xaxis_title="rate (bits per pixel, whole container)",
        yaxis_title=f"{group.metric} (%)",
        legend={"orientation": "h", "y": -0.2},
    )
