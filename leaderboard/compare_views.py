"""What the page that compares two methods shows: their difference, their scores, and image by image. Knows no Streamlit."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from icmbench.comparison import Row, curves, group_rows
from icmbench.errors import UserError
from icmbench.leaderboard import pairs, views
from icmbench.leaderboard.derived import Tables, asdicts
from icmbench.leaderboard.figures import COLOURS
from icmbench.leaderboard.sheet import Cell, Column, Sheet
from icmbench.leaderboard.views import NOTHING
from icmbench.record import Record, Store, parse
from icmbench.resamples import source
from icmbench.stats.bdrate import BDRate
from icmbench.stats.confidence import Estimate
from icmbench.stats.tally import KINDS

Line = dict[str, Any]
Matched = dict[int, tuple[Line, Line]]  # seed → the records of A and of B at one rate point
EXTREMES = 5  # images at either end that the tables show
BLOCK = 64  # images that a tally scores at a time


@dataclass(frozen=True)
class Pair:
    """Method B against method A: over the seeds, and seed by seed."""

    row: Row
    by_seed: dict[int, BDRate]


def methods(tables: Tables, choice: views.Choice) -> list[str]:
    """The methods that have records here, in the order of the ranking."""
    known = set(views.records(tables, choice.protocol)["method"])
    return [method for method in views.method_names(tables, choice) if method in known]


def pair(results: Path, protocol: str, a: str, b: str) -> Pair:
    """The difference of two methods of a protocol, from the cache folder where it was computed before.

    Takes seconds where it was not. Raises UserError where records are gone.
    """
    store = Store(results)
    records, _ = store.read(protocol)
    chosen = [record for record in records if record.label in (a, b)]
    if {record.label for record in chosen} != {a, b}:
        raise UserError("the records of these methods are no longer there.")
    group = replace(curves(chosen)[0], anchor=a)
    rows = group_rows(group, resampled=source(store), comparer=pairs.kept)
    difference = pairs.kept(group.records[a], group.records[b], source(store))
    return Pair(next(row for row in rows if row.method == b), difference.results)


def verdict(found: Pair) -> str:
    """What the difference and its interval say, in words."""
    rate = found.row.bd_rate
    low, high = (None, None) if rate is None else (rate.low, rate.high)
    ends = {"bd_rate": rate and rate.value, "bd_rate_low": low, "bd_rate_high": high, "resolved": bool(rate and rate.resolved)}
    return views.verdict(ends | {"reason": found.row.reason, "external": False}).text


def spelt(value: Estimate | None, form: str, unit: str = "") -> tuple[str, str]:
    """A value and its 95 % interval as text, each "—" where there is none."""
    if value is None:
        return NOTHING, NOTHING
    ends = value.interval
    return f"{value.value:+{form}}{unit}", f"{ends[0]:+{form}} … {ends[1]:+{form}}{unit}" if ends else NOTHING


def seeds_sheet(found: Pair) -> Sheet:
    """The difference seed by seed."""
    columns = [
        Column("seed", names=True),
        Column("BD-rate", True, "of B against A, in percent"),
        Column("Akima", True, "the same with the other interpolation"),
        Column("BD-metric", True, "percentage points"),
        Column("overlap", True, f"of the ranges of {found.row.metric}"),
        Column("overlap of rates", True, "of the ranges of the logarithm of the rate"),
        Column("points", short=True, about="of A and B that were used"),
        Column("notes"),
    ]
    lines = [
        [
            Cell(str(seed), seed),
            _number(one.percent, "+.1f", " %"),
            _number(one.akima, "+.1f", " %"),
            _number(one.metric, "+.2f"),
            _number(one.overlap, ".0%"),
            _number(one.rate_overlap, ".0%"),
            Cell(" and ".join(map(str, one.points))),
            Cell("; ".join(filter(None, [one.reason, *one.warnings]))),
        ]
        for seed, one in sorted(found.by_seed.items())
    ]
    return Sheet("difference-by-seed", "B against A, seed by seed. In the notes A is the anchor.", columns, lines)


def rate_points(tables: Tables, protocol: str, method: str) -> dict[str, float]:
    """A method's rate points from the lowest on, with their mean rates."""
    table = views.records(tables, protocol, method).sort_values("position")
    return {str(point): float(lines["bpp"].mean()) for point, lines in table.groupby("point", sort=False)}


def partner(point: str, ours: Mapping[str, float], theirs: Mapping[str, float]) -> str:
    """The rate point of the other method that goes with this one: of the same name, else the nearest in rate."""
    return point if point in theirs else min(theirs, key=lambda other: abs(math.log(theirs[other] / ours[point])))


def matched(tables: Tables, protocol: str, a: tuple[str, str], b: tuple[str, str]) -> Matched:
    """The records of two methods, each with its rate point, that belong together: one that was not trained goes with all."""
    ours, theirs = (_by_seed(tables, protocol, *one) for one in (a, b))
    if not _trained(theirs):
        return {seed: (line, theirs[min(theirs)]) for seed, line in ours.items()}
    if not _trained(ours):
        return {seed: (ours[min(ours)], line) for seed, line in theirs.items()}
    return {seed: (ours[seed], theirs[seed]) for seed in sorted(set(ours) & set(theirs))}


def _by_seed(tables: Tables, protocol: str, method: str, point: str) -> dict[int, Line]:
    table = views.records(tables, protocol, method)
    return {line["seed"]: line for line in asdicts(table[table["point"] == point].sort_values("seed"))}


def _trained(lines: Mapping[int, Line]) -> bool:
    return any(line["steps"] for line in lines.values())


def scores_sheet(found: Matched, metric: str) -> Sheet:
    """All scores of both methods at one rate point, those of single classes among them; means over the seeds."""
    a, b = next(iter(found.values()))
    scores = [tuple(json.loads(line["scores"]) for line in both) for both in found.values()]
    names = sorted(dict.fromkeys(name for both in scores for one in both for name in one), key=lambda name: name != metric)
    count = f"means over {len(found)} seeds" if len(found) > 1 else "one seed"
    columns = [
        Column("score", names=True),
        Column(f"A: {a['method']}", True, f"at {a['point']}"),
        Column(f"B: {b['method']}", True, f"at {b['point']}"),
        Column("B − A", True),
        Column("over the seeds", True, "the least and the greatest difference"),
    ]
    rate = [(line_a["bpp"], line_b["bpp"]) for line_a, line_b in found.values()]
    lines = [
        _score_line("bits per pixel", rate, ".4f"),
        _score_line("PSNR in dB", [(line_a["psnr"], line_b["psnr"]) for line_a, line_b in found.values()], ".2f"),
        *(_score_line(name, [(one.get(name), other.get(name)) for one, other in scores], ".2f") for name in names),
    ]
    caption = f"A at {a['point']} and B at {b['point']}, {count}; scores in percent"
    return Sheet("scores", caption, columns, lines)


def _score_line(name: str, values: Sequence[tuple[float | None, float | None]], form: str) -> list[Cell]:
    known = [(one, other) for one, other in values if one is not None and other is not None]
    if not known:
        return [Cell(name), *[Cell(NOTHING, None)] * 4]
    means, gaps = np.mean(known, axis=0), [other - one for one, other in known]
    spread = f"{min(gaps):+{form}} … {max(gaps):+{form}}" if len(gaps) > 1 else NOTHING
    return [Cell(name), *(_number(float(mean), form) for mean in means), _number(float(np.mean(gaps)), f"+{form}"), Cell(spread)]


def images(results: Path, a: str, b: str) -> pd.DataFrame:
    """Two records (their paths below `results`), image by image: bits, PSNR and score of both, and what B changes.

    `score`: the protocol's metric on the image alone; nan where it has none. Raises UserError where rows are missing.
    """
    ours, theirs = (_rows(results / path) for path in (a, b))
    if list(ours["image"]) != list(theirs["image"]):
        raise UserError("the two records are of different images.")
    table = ours.merge(theirs.drop(columns="image"), left_index=True, right_index=True, suffixes=("_a", "_b"))
    return table.assign(
        bits=100 * (table["bits_b"] / table["bits_a"] - 1),
        psnr=table["psnr_b"] - table["psnr_a"],
        score=table["score_b"] - table["score_a"],
    )


def read(path: Path) -> Record:
    """A record from its file. Raises UserError where it is none."""
    try:
        return parse(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read.") from error


def _rows(path: Path) -> pd.DataFrame:
    record, rows = read(path), path.with_suffix(".parquet")
    if not rows.is_file():
        raise UserError(f"the rows of the images, {rows}, are missing: they lie beside the record.")
    table = pd.read_parquet(rows)
    return table[["image", "bits", "psnr"]].assign(score=_scores(table, record))


def _scores(table: pd.DataFrame, record: Record) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The protocol's metric on each image alone, from its tally; nan where the tally does not say."""
    if record.tally not in KINDS:
        return np.full(len(table), np.nan)
    blocks = [table.iloc[first : first + BLOCK] for first in range(0, len(table), BLOCK)]
    try:
        found = [KINDS[record.tally](block).score(record.protocol.evaluation.metric, np.eye(len(block))) for block in blocks]
    except KeyError:
        return np.full(len(table), np.nan)
    return np.concatenate(found)


def scored(table: pd.DataFrame) -> bool:
    """Whether single images have scores."""
    return bool(table["score"].notna().any())


def extremes(table: pd.DataFrame, by: str, metric: str, href: Callable[[str], str]) -> Sheet:
    """The images on which B gains and loses most against A, by `score` or `bits`. `href`: where an image's name leads."""
    better = -1 if by == "bits" else 1
    order = table.dropna(subset=[by]).sort_values(by, ascending=better < 0, kind="stable")
    ends = pd.concat([order.head(EXTREMES), order.tail(EXTREMES)]).drop_duplicates("image")
    columns = [
        Column("image", names=True),
        Column("B", about="whether B is better or worse than A here"),
        Column("bits of A", True),
        Column("bits of B", True),
        Column("bits", True, "change from A to B"),
        Column(f"{metric} of A", True, "on this image alone"),
        Column(f"{metric} of B", True, "on this image alone"),
        Column(metric, True, "change from A to B, percentage points"),
        Column("PSNR", True, "change from A to B, dB"),
    ]
    lines = [
        [
            Cell(line["image"], href=href(line["image"])),
            _gain(better * line[by]),
            _number(line["bits_a"], ",.0f"),
            _number(line["bits_b"], ",.0f"),
            _number(line["bits"], "+.1f", " %"),
            _number(line["score_a"], ".1f"),
            _number(line["score_b"], ".1f"),
            _number(line["score"], "+.1f"),
            _number(line["psnr"], "+.2f"),
        ]
        for line in asdicts(ends)
    ]
    what = "bits" if by == "bits" else metric
    return Sheet(f"images-by-{by}", f"Images on which B gains and loses most against A, by {what}", columns, lines)


def _gain(value: float) -> Cell:
    return Cell("gains", badge="better") if value > 0 else Cell("loses", badge="worse") if value < 0 else Cell("the same")


def scatter(table: pd.DataFrame, metric: str, title: str) -> go.Figure:
    """Every image: change of its bits against change of its score (of its PSNR where images have no score)."""
    column, what, unit = ("score", metric, "points") if scored(table) else ("psnr", "PSNR", "dB")
    figure = go.Figure()
    figure.add_scatter(
        x=table["bits"], y=table[column], mode="markers", text=[name.replace("<", "&lt;") for name in table["image"]],
        marker={"color": COLOURS[0], "size": 9, "opacity": 0.75},
        hovertemplate=f"%{{text}}<br>bits %{{x:+.1f}} %<br>{what} %{{y:+.2f}} {unit}<extra></extra>",
    )  # fmt: skip
    figure.add_hline(0, line_color="grey", line_width=1)
    figure.add_vline(0, line_color="grey", line_width=1)
    for (x, x_anchor), (y, y_anchor), text in (
        ((0, "left"), (1, "top"), "fewer bits, better"),
        ((1, "right"), (0, "bottom"), "more bits, worse"),
    ):
        figure.add_annotation(
            x=x, y=y, xref="paper", yref="paper", xanchor=x_anchor, yanchor=y_anchor, text=text, showarrow=False, opacity=0.7
        )
    figure.update_xaxes(title="change of the bits (%)")
    figure.update_yaxes(title=f"change of {what} ({unit})")
    return figure.update_layout(
        title={"text": title, "font": {"size": 14}}, margin={"l": 60, "r": 20, "t": 50, "b": 50}, height=480, showlegend=False
    )


def _number(value: float | None, form: str, unit: str = "") -> Cell:
    return Cell(NOTHING, None) if value is None else Cell(f"{value:{form}}{unit}", value)
