"""What the page that compares two methods shows: their difference, their scores, and image by image. Knows no Streamlit."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from icmbench.base.errors import UserError
from icmbench.compare.comparable import read_comparable
from icmbench.compare.comparison import Curves, curves, group_rows
from icmbench.compare.resamples import Source, source
from icmbench.compare.row import Row
from icmbench.leaderboard import classes, listings, pairs, views
from icmbench.leaderboard.derived import Tables, asdicts
from icmbench.leaderboard.figures import IN_FILE, Drawn
from icmbench.plugins.find import INSTALLED
from icmbench.schema.record import Record
from icmbench.schema.store import Store, rows_path
from icmbench.show import bdrate_table
from icmbench.show.palette import BLUE
from icmbench.show.sheet import NOTHING, Cell, Column, Sheet, number
from icmbench.stats.bdrate import BDRate
from icmbench.stats.confidence import Estimate

Line = dict[str, Any]
Matched = dict[int, tuple[Line, Line]]  # seed → the records of A and of B at one rate point
Both = tuple[float | None, float | None]  # a score of A and of B
OF_CLASS = "."  # in the name of a class's score: IoU.road
NO_CLASSES = "Neither the records nor the rows of their images tell single classes apart."
FEW_OBJECTS = "A class with few objects moves a lot by chance."
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


@dataclass(frozen=True)
class Measured:
    """The records of a protocol, read once, of which any two methods can be compared."""

    group: Curves | None
    resampled: Source

    @classmethod
    def read(cls, results: Path, protocol: str, metric: str | None = None) -> "Measured":
        """The records of a protocol that may be compared. `metric`: the score to compare by; None: the primary one."""
        store = Store(results)
        records, _ = read_comparable(store, INSTALLED, protocol)
        return cls(next(iter(curves(records, metric)), None), pairs.remembering(source(store, INSTALLED)))

    def pair(self, a: str, b: str) -> Pair:
        """The difference of two methods, from the cache folder where it was computed before.

        Takes seconds where it was not. Raises UserError where records are gone.
        """
        known = self.group.records if self.group else {}
        if self.group is None or not {a, b} <= set(known):
            raise UserError("the records of these methods are no longer there.")
        group = replace(self.group, records={label: known[label] for label in (a, b)}, anchor=a)
        rows = group_rows(group, resampled=self.resampled, comparer=pairs.kept)
        difference = pairs.kept(known[a], known[b], self.resampled, group.metric)
        return Pair(next(row for row in rows if row.method == b), difference.results)


def pair(results: Path, protocol: str, a: str, b: str, metric: str | None = None) -> Pair:
    """The difference of two methods of a protocol; see `Measured`."""
    return Measured.read(results, protocol, metric).pair(a, b)


def verdict(found: Pair) -> str:
    """What the difference and its interval say, in words."""
    return listings.verdict(bdrate_table.numbers(found.row)).text


def spelt(value: Estimate | None, form: str, unit: str = "") -> tuple[str, str]:
    """A value and its 95 % interval as text, each "—" where there is none."""
    if value is None:
        return NOTHING, NOTHING
    ends = value.interval
    return f"{value.value:+{form}}{unit}", f"{ends[0]:+{form}} … {ends[1]:+{form}}{unit}" if ends else NOTHING


def numbers(found: Pair) -> dict[str, tuple[str, str]]:
    """The difference in a few figures: what it is → its text, and what that means."""
    row = found.row
    rate, rates = spelt(row.bd_rate, ".1f", " %")
    gain, gains = spelt(row.bd_metric, ".2f")
    overlap = NOTHING if row.overlap is None else f"{row.overlap:.0%}"
    return {
        "BD-rate of B against A": (rate, f"mean change of the rate at equal {row.metric}"),
        "95 % interval": (rates, f"over {row.bd_rate.over}" if row.bd_rate else ""),
        "Verdict": (verdict(found), "whether the difference is more than chance"),
        "BD-metric": (gain, f"mean change of {row.metric} at equal rate, percentage points; 95 % interval {gains}"),
        "Overlap": (overlap, f"of the ranges of {row.metric}, the least of all seeds"),
    }


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
        Column("notes", prose=True),
    ]
    lines = [
        [
            Cell(str(seed), seed),
            number(one.percent, "+.1f", " %"),
            number(one.akima, "+.1f", " %"),
            number(one.metric, "+.2f"),
            number(one.overlap, ".0%"),
            number(one.rate_overlap, ".0%"),
            Cell(" and ".join(map(str, one.points))),
            Cell("; ".join(filter(None, [one.reason, *one.warnings]))),
        ]
        for seed, one in sorted(found.by_seed.items())
    ]
    return Sheet("difference-by-seed", "B against A, seed by seed", columns, lines)


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


def with_classes(results: Path, found: Matched, metric: str) -> Matched:
    """The same records, with the scores of single classes that only the rows of their images tell."""
    return {seed: (_with_classes(results, a, metric), _with_classes(results, b, metric)) for seed, (a, b) in found.items()}


def _with_classes(results: Path, line: Line, metric: str) -> Line:
    path = results / line["path"]
    more = classes.scores(read(path), rows_path(path), metric)
    return line | {"scores": json.dumps(json.loads(line["scores"]) | more)}


def scores_sheet(found: Matched, metric: str) -> Sheet:
    """Rate, PSNR and scores of both methods at one rate point; means over the seeds."""
    rate = [(a["bpp"], b["bpp"]) for a, b in found.values()]
    scores = {name: values for name, values in _scores_of(found).items() if OF_CLASS not in name}
    lines = [
        _score_line("bits per pixel", rate, ".4f"),
        _score_line("PSNR in dB", [(a["psnr"], b["psnr"]) for a, b in found.values()], ".2f"),
        *(_score_line(name, scores[name], ".2f") for name in sorted(scores, key=lambda name: name != metric)),
    ]
    return Sheet("scores", _at(found), _score_columns(found, "score"), lines)


def classes_sheet(found: Matched, metric: str) -> Sheet | None:
    """The scores of single classes of both methods at one rate point, those that gain most first; None where none are known.

    They are those of the score `metric`, else of whatever score the records tell by class.
    """
    known = {name: values for name, values in _scores_of(found).items() if OF_CLASS in name}
    if not known:
        return None
    chosen = f"{metric}{OF_CLASS}"
    of = chosen if any(name.startswith(chosen) for name in known) else next(iter(known)).partition(OF_CLASS)[0] + OF_CLASS
    lines = [_score_line(name.removeprefix(of), values, ".2f") for name, values in known.items() if name.startswith(of)]
    lines.sort(key=lambda cells: -math.inf if cells[3].value is None else cells[3].value, reverse=True)
    return Sheet("classes", f"{of.removesuffix(OF_CLASS)} of each class. {_at(found)}", _score_columns(found, "class"), lines)


def _at(found: Matched) -> str:
    a, b = next(iter(found.values()))
    count = f"means over {len(found)} seeds" if len(found) > 1 else "one seed"
    return f"A at {a['point']} and B at {b['point']}, {count}; scores in percent"


def _score_columns(found: Matched, what: str) -> list[Column]:
    a, b = next(iter(found.values()))
    return [
        Column(what, names=True),
        Column(f"A: {a['method']}", True, f"at {a['point']}"),
        Column(f"B: {b['method']}", True, f"at {b['point']}"),
        Column("B − A", True),
        Column("over the seeds", True, "the least and the greatest difference"),
    ]


def _scores_of(found: Matched) -> dict[str, list[Both]]:
    """Every score by name, A's and B's at each seed."""
    scores = [(json.loads(a["scores"]), json.loads(b["scores"])) for a, b in found.values()]
    names = dict.fromkeys(name for both in scores for one in both for name in one)
    return {name: [(one.get(name), other.get(name)) for one, other in scores] for name in names}


def _score_line(name: str, values: Sequence[Both], form: str) -> list[Cell]:
    known = [(one, other) for one, other in values if one is not None and other is not None]
    if not known:
        return [Cell(name), *[Cell(NOTHING, None)] * 4]
    means, gaps = np.mean(known, axis=0), [other - one for one, other in known]
    spread = f"{min(gaps):+{form}} … {max(gaps):+{form}}" if len(gaps) > 1 else NOTHING
    return [Cell(name), *(number(float(mean), form) for mean in means), number(float(np.mean(gaps)), f"+{form}"), Cell(spread)]


def images(results: Path, a: str, b: str, metric: str) -> pd.DataFrame:
    """Two records (their paths below `results`), image by image: bits, PSNR and score of both, and what B changes.

    `score`: that of the image alone; nan where it has none. Raises UserError where rows are missing.
    """
    ours, theirs = (_rows(results / path, metric) for path in (a, b))
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
        return Record.model_validate_json(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read.") from error


def _rows(path: Path, metric: str) -> pd.DataFrame:
    record, rows = read(path), rows_path(path)
    if not rows.is_file():
        raise UserError(f"the rows of the images, {rows}, are missing: they lie beside the record.")
    table = pd.read_parquet(rows)
    return table[["image", "bits", "psnr"]].assign(score=_scores(table, record, metric))


def _scores(table: pd.DataFrame, record: Record, metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The score of each image alone, from its tally; nan where the tally does not say."""
    tally = INSTALLED.tally(record.tally)
    if tally is None:
        return np.full(len(table), np.nan)
    blocks = [table.iloc[first : first + BLOCK] for first in range(0, len(table), BLOCK)]
    try:
        return np.concatenate([tally(block).score(metric, np.eye(len(block))) for block in blocks])
    except KeyError:
        return np.full(len(table), np.nan)


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
            number(line["bits_a"], ",.0f"),
            number(line["bits_b"], ",.0f"),
            number(line["bits"], "+.1f", " %"),
            number(line["score_a"], ".1f"),
            number(line["score_b"], ".1f"),
            number(line["score"], "+.1f"),
            number(line["psnr"], "+.2f"),
        ]
        for line in asdicts(ends)
    ]
    what = "bits" if by == "bits" else metric
    return Sheet(f"images-by-{by}", f"Images on which B gains and loses most against A, by {what}", columns, lines)


def _gain(value: float) -> Cell:
    return Cell("gains", badge="better") if value > 0 else Cell("loses", badge="worse") if value < 0 else Cell("the same")


def legend(colours: Sequence[tuple[str, str]]) -> str:
    """Which class has which colour (#rrggbb), as HTML."""
    swatch = '<li><span style="background-color: {}"></span> {}</li>'
    items = "".join(swatch.format(escape(colour), escape(name)) for name, colour in colours)
    return f'<ul class="icm-legend" aria-label="Colours of the classes, mixed with the image">{items}</ul>'


def scatter(table: pd.DataFrame, metric: str, title: str) -> Drawn:
    """Every image: change of its bits against change of its score (of its PSNR where images have no score)."""
    column, what, unit = ("score", metric, "points") if scored(table) else ("psnr", "PSNR", "dB")
    figure = go.Figure()
    figure.add_scatter(
        x=table["bits"], y=table[column], mode="markers", text=[name.replace("<", "&lt;") for name in table["image"]],
        marker={"color": BLUE, "size": 9, "opacity": 0.75},
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
    figure.update_layout(
        title={"text": title, "font": {"size": 14}}, margin={"l": 60, "r": 20, "t": 50, "b": 50}, height=480, showlegend=False
    )
    return Drawn(figure, "images", table, f"Change of {what} against change of bits, {len(table)} images; {IN_FILE}")
