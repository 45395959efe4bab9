"""The figures of the leaderboard, made of the tables; drawn alike in the app and on the static site."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.io import to_json

from icmbench.leaderboard import views
from icmbench.leaderboard.views import View
from icmbench.show.palette import BLACK, BLUE, MARKERS, Style, style_of

SYMBOLS = dict(zip(MARKERS, ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star"), strict=True))
RATE = "rate (bits per pixel, whole container)"
NAMED = "<extra>%{fullData.name}</extra>"
MEAN = -1  # the seed that stands for the mean of all


@dataclass(frozen=True)
class Drawn:
    """A figure, its name in files, the numbers in it, and what it shows in words."""

    figure: go.Figure
    name: str
    data: pd.DataFrame
    alt: str


IN_FILE = "the numbers are in the data of the figure."


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
    return ", ".join(methods) if len(methods) <= views.FIRST_SHOWN else f"{len(methods)} methods"


def curves(view: View, methods: Sequence[str], log: bool = False, each_seed: bool = True) -> Drawn:
    """Rate-accuracy curves with 95 % bands, the ceiling, and every seed's own curve if wanted."""
    table, facts = views.points(view.tables, view.choice.protocol, methods), view.facts
    metric, ceiling, figure = facts["metric"], facts["ceiling"], go.Figure()
    means = {method: table[(table["method"] == method) & (table["seed"] == MEAN)].sort_values("bpp") for method in methods}
    styles = {method: style_of(method, view.choice.anchor) for method in methods}
    for method, mean in means.items():
        _add_band(figure, mean, styles[method], method)
    for method, mean in means.items():  # over all bands
        for seed, curve in table[(table["method"] == method) & (table["seed"] != MEAN)].groupby("seed") if each_seed else ():
            _add_curve(figure, curve, styles[method], method, metric, f", seed {seed}")
        _add_curve(figure, mean, styles[method], method, metric)
    figure.add_hline(ceiling, line_dash="dot", line_color="grey", annotation_text=f"uncompressed {ceiling:.1f}")
    figure.update_xaxes(title=RATE, type="log" if log else "linear")
    figure.update_yaxes(title=f"{metric} (%)")
    alt = f"{metric} against rate of {_listed(methods)}; {IN_FILE}"
    return Drawn(_laid_out(figure, facts), f"curves-{facts['name']}", table, alt)


def _add_curve(figure: go.Figure, curve: pd.DataFrame, style: Style, method: str, metric: str, seed: str = "") -> None:
    spread = [
        f"<br>95 %: {low:.4f} … {high:.4f} bpp<br>95 %: {least:.2f} … {most:.2f} %"
        if not seed and pd.notna(low) and pd.notna(least)
        else ""
        for low, high, least, most in zip(
            *(curve[column] for column in ("bpp_low", "bpp_high", "score_low", "score_high")), strict=True
        )
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
    table = views.gains(view.tables, view.choice, methods)
    if table.empty:
        return None
    shown = [method for method in methods if method in set(table["method"])]
    for method in shown:
        curve = table[table["method"] == method]
        figure.add_scatter(
            x=curve["score"], y=curve["percent"], mode="lines", name=plain(method), legendgroup=plain(method),
            line=_line(style_of(method, anchor), 2),
            hovertemplate=f"{facts['metric']} %{{x:.2f}} %: %{{y:+.1f}} % bits<extra>%{{fullData.name}}</extra>",
        )  # fmt: skip
    figure.add_hline(0, line_color=BLACK, line_dash="dash", line_width=1)
    figure.update_xaxes(title=f"{facts['metric']} (%)")
    figure.update_yaxes(title=f"change of rate against {plain(anchor)} (%)")
    alt = f"Change of rate of {_listed(shown)} against {anchor}, accuracy by accuracy; {IN_FILE}"
    return Drawn(_laid_out(figure, facts), f"gains-{facts['name']}", table, alt)


COSTS = {
    "decode_seconds": "decoding, seconds an image",
    "encode_seconds": "encoding, seconds an image",
    "decoder_macs": "multiply-accumulates a pixel, decoder",
    "encoder_macs": "multiply-accumulates a pixel, encoder",
    "train_seconds": "training, seconds a rate point",
}


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
        low, high = line["bd_rate_low"], line["bd_rate_high"]
        bars = None if low is None else {"array": [high - line["bd_rate"]], "arrayminus": [line["bd_rate"] - low], "type": "data"}
        figure.add_scatter(
            x=[line[by]], y=[_saving(line)], mode="markers", name=plain(line["method"]), error_y=bars,
            marker={"color": style.colour, "symbol": SYMBOLS[style.marker], "size": 11},
            hovertemplate="%{x:.4g}: BD-rate %{y:+.1f} %<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title=COSTS[by], type="log" if lines and min(line[by] for line in lines) > 0 else "linear")
    figure.update_yaxes(title="BD-rate (%), lower is better")
    data = pd.DataFrame(lines)[["method", by, "bd_rate", "bd_rate_low", "bd_rate_high"]]
    alt = f"BD-rate against {COSTS[by]} of {len(lines)} methods; {IN_FILE}"
    return Drawn(_laid_out(figure, view.facts), f"cost-{view.facts['name']}-{by}", data, alt)


def _saving(line: Mapping[str, Any]) -> float:
    return 0.0 if line["reason"] == "anchor" else float(line["bd_rate"])


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats or equals in both values, from the left on; lower is better in both."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:
            front.append((x, y))
    return front


def _laid_out(figure: go.Figure, facts: Mapping[str, Any]) -> go.Figure:
    return figure.update_layout(
        title={"text": plain(facts["protocol"]), "font": {"size": 14}},
        legend={"orientation": "h", "y": -0.22, "x": 0},
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        height=520,
        hovermode="closest",
    )


def ablation(view: View, lines: Sequence[Mapping[str, Any]], plugin: str, axis: str) -> Drawn:
    """BD-rate with its interval along a parameter; filled where it is resolved. Text is evenly spaced."""
    anchor = view.choice.anchor
    placed = [line for line in lines if line["bd_rate"] is not None]
    numbers = all(isinstance(line["value"], int | float) and not isinstance(line["value"], bool) for line in placed)
    figure = go.Figure()
    for name, wanted in (("resolved (Holm)", True), ("not resolved", False)):
        shown = [line for line in placed if line["resolved"] == wanted]
        if not shown:
            continue
        low, high = (
            [line["bd_rate"] if line[end] is None else line[end] for line in shown] for end in ("bd_rate_low", "bd_rate_high")
        )
        figure.add_scatter(
            x=[line["value"] if numbers else plain(str(line["value"])) for line in shown], y=[line["bd_rate"] for line in shown],
            mode="markers", name=name,
            marker={"color": BLUE, "symbol": "circle" if wanted else "circle-open", "size": 12, "line": {"width": 2}},
            error_y={"array": [h - line["bd_rate"] for h, line in zip(high, shown, strict=True)],
                     "arrayminus": [line["bd_rate"] - below for below, line in zip(low, shown, strict=True)]},
            hovertemplate="%{x}: BD-rate %{y:+.1f} %<extra></extra>",
        )  # fmt: skip
    figure.add_hline(0, line_color=BLACK, line_dash="dash", line_width=1, annotation_text=plain(anchor))
    values = [line["value"] for line in placed]
    wide = numbers and placed and min(values) > 0 and max(values) / min(values) > 10
    figure.update_xaxes(title=plain(axis), type=("log" if wide else "linear") if numbers else "category")
    figure.update_yaxes(title="BD-rate (%), lower is better")
    data = pd.DataFrame(lines)[["value", "default", "bd_rate", "bd_rate_low", "bd_rate_high", "seeds"]]
    alt = f"BD-rate of {plugin} against {anchor} along {axis}; the numbers are in the table below."
    return Drawn(_laid_out(figure, view.facts), f"ablation-{plugin}-{axis}", data, alt)
