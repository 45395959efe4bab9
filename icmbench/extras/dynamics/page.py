"""The figures of `icmbench dynamics` as one HTML page, for looking closer."""

import base64
import io
import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image
from plotly.subplots import make_subplots

from icmbench.extras.dynamics.figures import (
    DASHES,
    DIVERGING,
    SEQUENTIAL,
    START,
    Picture,
    Study,
    colour_scale,
    cosine_maps,
    smooth,
    term_colour,
    term_name,
)
from icmbench.extras.dynamics.watch import PARTS, Values
from icmbench.show.curves import COLOURS


def page(study: Study) -> str:
    """One HTML page with all figures, which needs no network."""
    figures = [_losses_html(study), _gradients_html(study), _cosines_html(study), _bits_html(study)]
    shown = [figure for figure in figures if figure is not None]
    parts = [figure.to_html(full_html=False, include_plotlyjs=number == 0) for number, figure in enumerate(shown)]
    head = f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{study.title}</title></head>'
    return f'{head}<body style="font-family: sans-serif"><h2>{study.title}</h2>{"".join(parts)}</body></html>'


def _losses_html(study: Study) -> go.Figure:
    figure = make_subplots(1, len(study.terms), subplot_titles=[term_name(term) for term in study.terms])
    for column, term in enumerate(study.terms, start=1):
        for number, (label, runs) in enumerate(study.results.items()):
            for run in runs:
                if term in run.curves:
                    figure.add_scatter(
                        x=run.steps, y=smooth(np.array(run.curves[term])), customdata=run.curves[term], row=1, col=column,
                        line={"color": COLOURS[number], "dash": DASHES[number][1]}, name=f"{label}, seed {run.seed}",
                        legendgroup=f"{label}{run.seed}", showlegend=column == 1,
                        hovertemplate="step %{x}<br>running mean %{y:.4g}<br>this batch %{customdata:.4g}",
                    )  # fmt: skip
    figure.update_xaxes(title_text="training step")
    return figure.update_layout(title="Loss terms, running means", height=420)


def _gradients_html(study: Study) -> go.Figure:
    figure = make_subplots(1, len(PARTS), subplot_titles=PARTS, shared_yaxes=True)
    for column, part in enumerate(PARTS, start=1):
        for (label, runs), (_, dash) in zip(study.results.items(), DASHES, strict=False):
            for run in runs:
                for term, values in run.parts[part].norms.items() if part in run.parts else ():
                    figure.add_scatter(
                        x=run.probed, y=values, row=1, col=column, name=f"{term_name(term)}, {label}, seed {run.seed}",
                        line={"color": term_colour(study, term), "dash": dash},
                        legendgroup=f"{term}{label}{run.seed}", showlegend=column == 1,
                    )  # fmt: skip
    figure.update_xaxes(title_text="training step")
    figure.update_yaxes(type="log", exponentformat="power")
    figure.update_yaxes(title_text="gradient norm", col=1)
    return figure.update_layout(title="Gradient of each loss term, without λ and other weights", height=460)


def _cosines_html(study: Study) -> go.Figure | None:
    maps = cosine_maps(study)
    if not maps:
        return None
    figure = make_subplots(1, len(maps), subplot_titles=[f"task loss and {found.title}" for found in maps], shared_yaxes=True)
    for column, found in enumerate(maps, start=1):
        values: list[Values] = [[None if math.isnan(v) else float(v) for v in row] for row in found.values]
        figure.add_heatmap(
            z=values, x=[str(step) for step in found.steps], y=found.layers, zmin=-1, zmax=1, colorscale=DIVERGING,
            colorbar={"title": "cosine"}, showscale=column == 1, row=1, col=column,
            hovertemplate="%{y}, step %{x}: %{z:.3f}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="training step")
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(title="Cosine between gradients", height=240 + 24 * len(maps[0].layers))


def _bits_html(study: Study) -> go.Figure:
    codecs = [START, *study.results]
    titles = ["picture", *codecs] + [""] * ((len(study.pictures) - 1) * (1 + len(codecs)))
    figure = make_subplots(
        len(study.pictures), 1 + len(codecs), subplot_titles=titles, horizontal_spacing=0.02, vertical_spacing=0.03
    )
    scale = colour_scale(study)
    for row, picture in enumerate(study.pictures, start=1):
        figure.add_image(source=_data_uri(_outlined(picture)), row=row, col=1)
        for column, codec in enumerate(codecs, start=2):
            bits, side = _coarse(picture.maps[codec])
            figure.add_heatmap(
                z=bits, dx=side, dy=side, x0=side / 2, y0=side / 2, zmin=0, zmax=scale, colorscale=SEQUENTIAL,
                row=row, col=column, showscale=row == 1 and column == 2, colorbar={"title": "bits per pixel"},
                hovertemplate="x %{x}, y %{y}: %{z:.3f} bits per pixel<extra></extra>",
            )  # fmt: skip
    figure.update_xaxes(showticklabels=False, constrain="domain")
    figure.update_yaxes(showticklabels=False, autorange="reversed", constrain="domain")
    for number in range(len(study.pictures) * (1 + len(codecs))):
        figure.update_yaxes(scaleanchor=f"x{number + 1}", selector={"anchor": "x" if number == 0 else f"x{number + 1}"})
    return figure.update_layout(title="Where the bits go", height=80 + 240 * len(study.pictures))


def _coarse(bits: NDArray[Any], longest: int = 80) -> tuple[list[list[float]], int]:
    """Means over squares of the map, so that the page stays small, and their side in pixels (the last ones may be cut)."""
    side = max(1, math.ceil(max(bits.shape) / longest))
    rows, columns = (range(0, length, side) for length in bits.shape)
    return [[round(float(bits[y : y + side, x : x + side].mean()), 4) for x in columns] for y in rows], side


def _outlined(picture: Picture) -> NDArray[np.uint8]:
    """The picture with its objects' outlines."""
    image = picture.image.copy()
    if picture.mask is not None:
        inside = np.pad(picture.mask > 0.5, 1, mode="edge")
        kept = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
        image[inside[1:-1, 1:-1] & ~kept] = tuple(bytes.fromhex(COLOURS[1][1:]))
    return image


def _data_uri(image: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
