"""What the page that compares two methods shows: their difference, their scores, and image by image. Knows no Streamlit."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from icmbench.base.errors import UserError
from icmbench.compare.comparable import read_comparable
from icmbench.compare.comparison import Curves, curves, group_rows
from icmbench.compare.resamples import Source, source
from icmbench.compare.row import Row
from icmbench.leaderboard import classes, listings, pairs
from icmbench.leaderboard.lines import Line, asdicts
from icmbench.leaderboard.listings import Field, decimal, text
from icmbench.leaderboard.pages import Facts, Notes, Part, Words, spelt
from icmbench.leaderboard.views import View
from icmbench.plugins.find import INSTALLED
from icmbench.schema.record import Record
from icmbench.schema.store import Store, rows_path
from icmbench.show import bdrate_table
from icmbench.show.sheet import NOTHING, Cell, Column, Sheet, number
from icmbench.stats.bdrate import BDRate
from icmbench.stats.confidence import Array

Matched = dict[int, tuple[Line, Line]]  # seed → the records of A and of B at one rate point
RATE, PSNR = "bits per pixel", "PSNR in dB"  # which stand among the scores
OF_CLASS = "."  # in the name of a class's score: IoU.road
NO_SEED = "The two methods have no seed in common at this rate point."
EXTREMES = 5  # images at either end that the tables show
BLOCK = 64  # images that a tally scores at a time


@dataclass(frozen=True)
class Pair:
    """Method B against method A: over the seeds, and seed by seed."""

    row: Row
    by_seed: dict[int, BDRate]


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


def difference(found: Pair) -> Iterator[Part]:
    """The difference in a few figures, with its notes, and seed by seed."""
    row, line = found.row, bdrate_table.numbers(found.row)
    rate, interval, verdict = spelt(line)
    gain, low, high = (number(line[f"bd_metric{end}"], "+.2f").text for end in ("", "_low", "_high"))
    gains = NOTHING if low == NOTHING else f"{low} … {high}"
    overlap = number(row.overlap, ".0%").text
    values = {
        "BD-rate of B against A": Cell(rate, title=f"mean change of the rate at equal {row.metric}"),
        "95 % interval": Cell(interval, title=f"over {line['over']}" if row.bd_rate else ""),
        "Verdict": Cell(verdict, title="whether the difference is more than chance"),
        "BD-metric": Cell(gain, title=f"mean change of {row.metric} at equal rate, percentage points; 95 % interval {gains}"),
        "Overlap": Cell(overlap, title=f"of the ranges of {row.metric}, the least of all seeds"),
    }
    yield Facts(values, large=True)
    if notes := bdrate_table.notes(row):
        yield Notes(notes)
    if found.by_seed:
        yield seeds_sheet(found)
    yield Words("note", "Negative BD-rates: B needs fewer bits. In notes A is the anchor.")


def seeds_sheet(found: Pair) -> Sheet:
    """The difference seed by seed."""
    fields: list[Field] = [
        (Column("seed", names=True), lambda line: Cell(str(line["seed"]), line["seed"])),
        decimal("BD-rate", "percent", "+.1f", "of B against A, in percent", " %"),
        decimal("Akima", "akima", "+.1f", "the same with the other interpolation", " %"),
        decimal("BD-metric", "metric", "+.2f", "percentage points"),
        decimal("overlap", "overlap", ".0%", f"of the ranges of {found.row.metric}"),
        decimal("overlap of rates", "rate_overlap", ".0%", "of the ranges of the logarithm of the rate"),
        (
            Column("points", short=True, about="of A and B that were used"),
            lambda line: Cell(" and ".join(map(str, line["points"]))),
        ),
        (Column("notes", prose=True), lambda line: Cell("; ".join(filter(None, [line["reason"], *line["warnings"]])))),
    ]
    lines = (asdict(one) | {"seed": seed, "akima": one.akima} for seed, one in sorted(found.by_seed.items()))
    return listings.sheet("difference-by-seed", "B against A, seed by seed", fields, lines)


def rate_points(view: View, method: str) -> dict[str, float]:
    """A method's rate points from the lowest on, with their mean rates."""
    table = view.records(method=method).sort_values("position")
    return {str(point): float(rate) for point, rate in table.groupby("point", sort=False)["bpp"].mean().items()}


def partner(point: str, ours: Mapping[str, float], theirs: Mapping[str, float]) -> str:
    """The rate point of the other method that goes with this one: of the same name, else the nearest in rate."""
    return point if point in theirs else min(theirs, key=lambda other: abs(math.log(theirs[other] / ours[point])))


def matched(view: View, a: tuple[str, str], b: tuple[str, str]) -> Matched:
    """The records of two methods, each with its rate point, that belong together: one that was not trained goes with all."""
    found = (view.records(method=method, point=point).sort_values("seed") for method, point in (a, b))
    ours, theirs = ({line["seed"]: line for line in asdicts(table)} for table in found)
    if not any(line["steps"] for line in theirs.values()):
        theirs = dict.fromkeys(ours, theirs[min(theirs)])
    elif not any(line["steps"] for line in ours.values()):
        ours = dict.fromkeys(theirs, ours[min(ours)])
    return {seed: (ours[seed], theirs[seed]) for seed in sorted(set(ours) & set(theirs))}


def with_classes(results: Path, found: Matched, metric: str) -> Matched:
    """The same records, with the scores of single classes that only the rows of their images tell."""

    def whole(line: Line) -> Line:
        path = results / line["path"]
        more = classes.scores(read(path), rows_path(path), metric)
        return line | {"scores": json.dumps(json.loads(line["scores"]) | more)}

    return {seed: (whole(a), whole(b)) for seed, (a, b) in found.items()}


def scores_sheet(found: Matched, metric: str) -> Sheet:
    """Rate, PSNR and scores of both methods at one rate point; means over the seeds."""
    lines = [line for line in _compared(found) if OF_CLASS not in line["name"]]
    lines.sort(key=lambda line: (line["name"] not in (RATE, PSNR), line["name"] != metric))
    return listings.sheet("scores", _at(found), _fields(found, "score"), lines)


def classes_sheet(found: Matched, metric: str) -> Sheet | None:
    """The scores of single classes of both methods at one rate point, those that gain most first; None where none are known.

    They are those of the score `metric`, else of whatever score the records tell by class.
    """
    known = [(*line["name"].split(OF_CLASS, maxsplit=1), line) for line in _compared(found) if OF_CLASS in line["name"]]
    if not known:
        return None
    shown = metric if any(score == metric for score, _, _ in known) else known[0][0]
    lines = [line | {"name": name} for score, name, line in known if score == shown]
    lines.sort(key=lambda line: -math.inf if line["gap"] is None else line["gap"], reverse=True)
    return listings.sheet("classes", f"{shown} of each class. {_at(found)}", _fields(found, "class"), lines)


def by_class(found: Matched, metric: str) -> list[Part]:
    """The scores of single classes, or that there are none. `found`: that of `with_classes`."""
    if (sheet := classes_sheet(found, metric)) is None:
        return [Words("info", "Neither the records nor the rows of their images tell single classes apart.")]
    return [sheet, Words("note", "A class with few objects moves a lot by chance.")]


def _compared(found: Matched) -> list[Line]:
    """Rate, PSNR and every score: both methods' means over the seeds at which both have it, and the differences."""
    frames = [pd.DataFrame({seed: _named(both[side]) for seed, both in found.items()}) for side in (0, 1)]
    names = list(dict.fromkeys(name for frame in frames for name in frame.index))
    a, b = (frame.reindex(names) for frame in frames)
    gaps = b - a
    means = {"a": a.where(gaps.notna()).mean(axis=1), "b": b.where(gaps.notna()).mean(axis=1), "gap": gaps.mean(axis=1)}
    ends = {"least": gaps.min(axis=1), "most": gaps.max(axis=1), "seeds": gaps.count(axis=1)}
    return asdicts(pd.DataFrame({"name": names} | means | ends))


def _named(line: Line) -> dict[str, float]:
    return {RATE: line["bpp"], PSNR: line["psnr"], **json.loads(line["scores"])}


def _at(found: Matched) -> str:
    a, b = next(iter(found.values()))
    count = f"means over {len(found)} seeds" if len(found) > 1 else "one seed"
    return f"A at {a['point']} and B at {b['point']}, {count}; scores in percent"


def _fields(found: Matched, what: str) -> list[Field]:
    a, b = next(iter(found.values()))

    def shown(key: str, sign: str = "") -> Callable[[Mapping[str, Any]], Cell]:
        return lambda line: number(line[key], f"{sign}.{4 if line['name'] == RATE else 2}f")

    def spread(line: Mapping[str, Any]) -> Cell:
        return Cell(f"{least(line).text} … {most(line).text}" if line["seeds"] > 1 else NOTHING)

    least, most = shown("least", "+"), shown("most", "+")
    return [
        text(what, "name", names=True),
        (Column(f"A: {a['method']}", True, f"at {a['point']}"), shown("a")),
        (Column(f"B: {b['method']}", True, f"at {b['point']}"), shown("b")),
        (Column("B − A", True), shown("gap", "+")),
        (Column("over the seeds", True, "the least and the greatest difference"), spread),
    ]


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


def _scores(table: pd.DataFrame, record: Record, metric: str) -> Array | float:
    """The score of each image alone, from its tally; nan where the tally does not say."""
    tally = INSTALLED.tally(record.tally)
    if tally is None:
        return math.nan
    blocks = [table.iloc[first : first + BLOCK] for first in range(0, len(table), BLOCK)]
    try:
        return np.concatenate([tally(block).score(metric, np.eye(len(block))) for block in blocks])
    except KeyError:
        return math.nan


def by_image(table: pd.DataFrame, metric: str, href: Callable[[str], str] | None = None) -> Iterator[Part]:
    """The images on which B gains and loses most against A, by their score, if they have one, and by bits.

    `table`: that of `images`. `href`: where an image's name leads.
    """
    scored = bool(table["score"].notna().any())
    for by in ("score", "bits") if scored else ("bits",):
        yield extremes(table, by, metric, href)
    if scored:
        more = " A name shows the image below." if href else ""
        yield Words("note", f"{metric} of one image is a coarse number.{more}")


def extremes(table: pd.DataFrame, by: str, metric: str, href: Callable[[str], str] | None) -> Sheet:
    """The images on which B gains and loses most against A, by `score` or `bits`."""
    better = -1 if by == "bits" else 1
    order = table.dropna(subset=[by]).sort_values(by, ascending=better < 0, kind="stable")
    ends = pd.concat([order.head(EXTREMES), order.tail(EXTREMES)]).drop_duplicates("image")

    def gain(line: Mapping[str, float]) -> Cell:
        value = better * line[by]
        return Cell("gains", badge="better") if value > 0 else Cell("loses", badge="worse") if value < 0 else Cell("the same")

    fields: list[Field] = [
        (Column("image", names=True), lambda line: Cell(line["image"], href=href(line["image"]) if href else "")),
        (Column("B", about="whether B is better or worse than A here"), gain),
        decimal("bits of A", "bits_a", ",.0f"),
        decimal("bits of B", "bits_b", ",.0f"),
        decimal("bits", "bits", "+.1f", "change from A to B", " %"),
        decimal(f"{metric} of A", "score_a", ".1f", "on this image alone"),
        decimal(f"{metric} of B", "score_b", ".1f", "on this image alone"),
        decimal(metric, "score", "+.1f", "change from A to B, percentage points"),
        decimal("PSNR", "psnr", "+.2f", "change from A to B, dB"),
    ]
    what = "bits" if by == "bits" else metric
    caption = f"Images on which B gains and loses most against A, by {what}"
    return listings.sheet(f"images-by-{by}", caption, fields, asdicts(ends))
