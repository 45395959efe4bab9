"""The figures of the leaderboard, made of the tables; drawn alike in the app and on the static site."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.io import to_json

from icmbench.leaderboard.lines import where
from icmbench.leaderboard.views import COSTS, FIRST_SHOWN, View
from icmbench.show.palette import BLACK, BLUE, MARKERS, Style, style_of

SYMBOLS = dict(zip(MARKERS, ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star"), strict=True))
RATE = "rate (bits per pixel, whole container)"
LOWER = "BD-rate (%), lower is better"
NAMED = "<extra>%{fullData.name}</extra>"
MEAN = -1  # the seed that stands for the mean of all
IN_FILE = "the numbers are in the data of the figure."


@dataclass(frozen=True)
class Drawn:
    """A figure, its name in files, the numbers in it, and what it shows in words.

    `rates`: its x axis has rates, which the switch of a page makes logarithmic.
    """

    figure: go.Figure
    name: str
    data: pd.DataFrame
    alt: str
    rates: bool = False


def on_dark(figure: go.Figure) -> go.Figure:
    """The figure for a dark page: what is black on white is white there."""
    return go.Figure(json.loads(to_json(figure).replace(f'"{BLACK}"', '"#ffffff"').replace("rgba(0,0,0,", "rgba(255,255,255,")))


def _line(style: Style, width: int) -> dict[str, Any]:
    return {"color": style.colour, "dash": "dash" if style.dashed else "solid", "width": width}


def _see_through(colour: str, alpha: float) -> str:
    return f"rgba({int(colour[1:3], 16)},{int(colour[3:5], 16)},{int(colour[5:7], 16)},{alpha})"


def plain(text: str) -> str:
    """Text for a figure, which would take tags for markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _listed(methods: Sequence[str]) -> str:
    return ", ".join(methods) if len(methods) <= FIRST_SHOWN else f"{len(methods)} methods"


def _laid_out(figure: go.Figure, title: str, x: str, y: str, x_type: str = "linear") -> go.Figure:
    """The figure with titles, and a legend below it."""
    return figure.update_layout(
        title={"text": plain(title), "font": {"size": 14}},
        xaxis={"title": {"text": plain(x)}, "type": x_type},
        yaxis={"title": {"text": plain(y)}},
        legend={"orientation": "h", "y": -0.22, "x": 0},
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        height=520,
        hovermode="closest",
    )


def curves(view: View, methods: Sequence[str], log: bool = False, each_seed: bool = True) -> Drawn:
    """Rate-accuracy curves with 95 % bands, the ceiling, and every seed's own curve if wanted."""
    table, facts, figure = view.points(methods), view.facts, go.Figure()
    metric, ceiling = facts["metric"], facts["ceiling"]
    means = {method: where(table, method=method, seed=MEAN).sort_values("bpp") for method in methods}
    styles = {method: style_of(method, view.choice.anchor) for method in methods}
    for method, mean in means.items():
        _add_band(figure, mean, styles[method], method)
    for method, mean in means.items():  # over all bands
        for seed, curve in where(table[table["seed"] != MEAN], method=method).groupby("seed") if each_seed else ():
            _add_curve(figure, curve, styles[method], method, metric, f", seed {seed}")
        _add_curve(figure, mean, styles[method], method, metric)
    figure.add_hline(ceiling, line_dash="dot", line_color="grey", annotation_text=f"uncompressed {ceiling:.1f}")
    _laid_out(figure, facts["protocol"], RATE, f"{metric} (%)", "log" if log else "linear")
    alt = f"{metric} against rate of {_listed(methods)}; {IN_FILE}"
    return Drawn(figure, f"curves-{facts['name']}", table, alt, rates=True)


def _add_curve(figure: go.Figure, curve: pd.DataFrame, style: Style, method: str, metric: str, seed: str = "") -> None:
    ends = curve[["bpp_low", "bpp_high", "score_low", "score_high"]].itertuples(index=False)
    spread = [
        f"<br>95 %: {low:.4f} … {high:.4f} bpp<br>95 %: {least:.2f} … {most:.2f} %"
        if not seed and pd.notna(low) and pd.notna(least)
        else ""
        for low, high, least, most in ends
    ]
    figure.add_scatter(
        x=curve["bpp"], y=curve["score"], mode="lines" if seed else "lines+markers", name=plain(method + seed),
        legendgroup=plain(method), meta="seed" if seed else None, showlegend=not seed, opacity=0.5 if seed else 1.0,
        line=_line(style, 1 if seed else 2), marker={"symbol": SYMBOLS[style.marker], "size": 8},
        customdata=np.stack([curve["point"], spread], 1) if len(curve) else None,
        hovertemplate=f"%{{customdata[0]}}<br>%{{x:.4f}} bpp, {metric} %{{y:.2f}} %%{{customdata[1]}}{NAMED}",
    )  # fmt: skip


def _add_band(figure: go.Figure, mean: pd.DataFrame, style: Style, method: str) -> None:
    known = mean.dropna(subset=["score_low", "score_high"])
    if len(known) < 2:
        return
    figure.add_scatter(
        mode="lines", x=[*known["bpp"], *known["bpp"][::-1]], y=[*known["score_low"], *known["score_high"][::-1]], fill="toself",
        fillcolor=_see_through(style.colour, 0.15), line={"width": 0}, hoverinfo="skip", showlegend=False,
        legendgroup=plain(method),
    )  # fmt: skip


def gains(view: View, methods: Sequence[str]) -> Drawn | None:
    """Change of rate at equal accuracy along the curves; None where none of the methods compares with the anchor so."""
    anchor, facts, figure = view.choice.anchor, view.facts, go.Figure()
    table = view.gains(methods)
    shown = [method for method in methods if method in set(table["method"])]
    if not shown:
        return None
    for method in shown:
        curve = where(table, method=method)
        figure.add_scatter(
            x=curve["score"], y=curve["percent"], mode="lines", name=plain(method), legendgroup=plain(method),
            line=_line(style_of(method, anchor), 2),
            hovertemplate=f"{facts['metric']} %{{x:.2f}} %: %{{y:+.1f}} % bits{NAMED}",
        )  # fmt: skip
    figure.add_hline(0, line_color=BLACK, line_dash="dash", line_width=1)
    _laid_out(figure, facts["protocol"], f"{facts['metric']} (%)", f"change of rate against {anchor} (%)")
    alt = f"Change of rate of {_listed(shown)} against {anchor}, accuracy by accuracy; {IN_FILE}"
    return Drawn(figure, f"gains-{facts['name']}", table, alt)


def cost(view: View, lines: Sequence[Mapping[str, Any]], by: str) -> Drawn:
    """BD-rate against what a method costs, with the Pareto front of those that nothing beats in both.

    `lines`: those of `views.placed`.
    """
    figure = go.Figure()
    front = pareto([(line[by], _saving(line)) for line in lines])
    if len(front) > 1:
        x, y = zip(*front, strict=True)
        figure.add_scatter(
            x=x, y=y, mode="lines", line={"color": "grey", "dash": "dot", "shape": "hv"}, name="Pareto front", hoverinfo="skip"
        )
    for line in lines:
        style = style_of(line["method"], view.choice.anchor)
        figure.add_scatter(
            x=[line[by]], y=[_saving(line)], mode="markers", name=plain(line["method"]),
            error_y=None if line["bd_rate_low"] is None else _bars([line]),
            marker={"color": style.colour, "symbol": SYMBOLS[style.marker], "size": 11},
            hovertemplate=f"%{{x:.4g}}: BD-rate %{{y:+.1f}} %{NAMED}",
        )  # fmt: skip
    _laid_out(figure, view.facts["protocol"], COSTS[by], LOWER, "log" if min(line[by] for line in lines) > 0 else "linear")
    data = pd.DataFrame(lines)[["method", by, "bd_rate", "bd_rate_low", "bd_rate_high"]]
    return Drawn(
        figure, f"cost-{view.facts['name']}-{by}", data, f"BD-rate against {COSTS[by]} of {len(lines)} methods; {IN_FILE}"
    )


def _saving(line: Mapping[str, Any]) -> float:
    return 0.0 if line["reason"] == "anchor" else float(line["bd_rate"])


def _bars(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The intervals of BD-rates as error bars, of length 0 where there is none."""
    low, high = (
        [line["bd_rate"] if line[end] is None else line[end] for line in lines] for end in ("bd_rate_low", "bd_rate_high")
    )
    values = np.array([line["bd_rate"] for line in lines])
    return {"type": "data", "array": (high - values).tolist(), "arrayminus": (values - low).tolist()}


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats or equals in both values, from the left on; lower is better in both."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def ablation(view: View, lines: Sequence[Mapping[str, Any]], plugin: str, axis: str) -> Drawn:
    """BD-rate with its interval along a parameter; filled where it is resolved. Text is evenly spaced."""
    anchor, figure = view.choice.anchor, go.Figure()
    placed = [line for line in lines if line["bd_rate"] is not None]
    values = [line["value"] for line in placed]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    for name, wanted in (("resolved (Holm)", True), ("not resolved", False)):
        if shown := [line for line in placed if line["resolved"] == wanted]:
            figure.add_scatter(
                x=[line["value"] if numbers else plain(str(line["value"])) for line in shown],
                y=[line["bd_rate"] for line in shown], mode="markers", name=name, error_y=_bars(shown),
                marker={"color": BLUE, "symbol": "circle" if wanted else "circle-open", "size": 12, "line": {"width": 2}},
                hovertemplate="%{x}: BD-rate %{y:+.1f} %<extra></extra>",
            )  # fmt: skip
    figure.add_hline(0, line_color=BLACK, line_dash="dash", line_width=1, annotation_text=plain(anchor))
    wide = numbers and values and min(values) > 0 and max(values) / min(values) > 10
    _laid_out(figure, view.facts["protocol"], axis, LOWER, ("log" if wide else "linear") if numbers else "category")
    data = pd.DataFrame(lines)[["value", "default", "bd_rate", "bd_rate_low", "bd_rate_high", "seeds"]]
    alt = f"BD-rate of {plugin} against {anchor} along {axis}; the numbers are in the table below."
    return Drawn(figure, f"ablation-{plugin}-{axis}", data, alt)


def images(table: pd.DataFrame, metric: str, title: str) -> Drawn:
    """Every image: change of its bits against change of its score (of its PSNR where images have no score).

    `table`: that of `compare_views.images`.
    """
    column, what, unit = ("score", metric, "points") if table["score"].notna().any() else ("psnr", "PSNR", "dB")
    figure = go.Figure()
    figure.add_scatter(
        x=table["bits"], y=table[column], mode="markers", text=[plain(name) for name in table["image"]],
        marker={"color": BLUE, "size": 9, "opacity": 0.75},
        hovertemplate=f"%{{text}}<br>bits %{{x:+.1f}} %<br>{what} %{{y:+.2f}} {unit}<extra></extra>",
    )  # fmt: skip
    figure.add_hline(0, line_color="grey", line_width=1)
    figure.add_vline(0, line_color="grey", line_width=1)
    corner = {"xref": "paper", "yref": "paper", "showarrow": False, "opacity": 0.7}
    figure.add_annotation(x=0, y=1, xanchor="left", yanchor="top", text="fewer bits, better", **corner)
    figure.add_annotation(x=1, y=0, xanchor="right", yanchor="bottom", text="more bits, worse", **corner)
    _laid_out(figure, title, "change of the bits (%)", f"change of {what} ({unit})").update_layout(height=480, showlegend=False)
    return Drawn(figure, "images", table, f"Change of {what} against change of bits, {len(table)} images; {IN_FILE}")
