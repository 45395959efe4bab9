"""The tables that pages show: ranked lists, cards, records. Knows neither Streamlit nor files.

A table is written down column by column: what stands in the head, and which cell a line has there.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from icmbench.leaderboard.derived import Tables
from icmbench.leaderboard.lines import asdicts
from icmbench.leaderboard.views import View, protocol_names
from icmbench.show.bdrate_table import bd_rate, legend
from icmbench.show.sheet import NOTHING, Cell, Column, Sheet, interval, number, whole

Line = Mapping[str, Any]
Field = tuple[Column, Callable[[Line], Cell]]  # a column, and its cell in a line


def sheet(name: str, caption: str, fields: Sequence[Field], lines: Iterable[Line], noted: bool = False) -> Sheet:
    """A table of these columns with a row for each line. `name`: of its files, with what no file name may have replaced.

    `noted`: the lines are of the ranking, and what a reader must know about them stands below.
    """
    safe = "".join(character if character.isalnum() or character in "._-" else "_" for character in name)[:160]
    lines = list(lines)
    cells = [[cell(line) for _, cell in fields] for line in lines]
    notes = [json.loads(line["notes"]) for line in lines] if noted else []
    return Sheet(safe, caption, [column for column, _ in fields], cells, notes)


def decimal(header: str, key: str, form: str, about: str = "", unit: str = "") -> Field:
    """A column of numbers that are written as `form` says."""
    return Column(header, True, about), lambda line: number(line.get(key), form, unit)


def integer(header: str, key: str, about: str = "") -> Field:
    """A column of whole numbers."""
    return Column(header, True, about), lambda line: whole(line[key])


def text(header: str, key: str, names: bool = False, short: bool = False, prose: bool = False) -> Field:
    """A column of texts, of the style that Column explains."""
    return Column(header, names=names, short=short, prose=prose), lambda line: Cell(str(line[key]))


def fact_sheet(name: str, caption: str, cells: Mapping[str, Cell]) -> Sheet:
    """A table of what is known of one thing."""
    fields: list[Field] = [text("what", "what", names=True), (Column("is", prose=True), lambda line: line["is"])]
    return sheet(name, caption, fields, ({"what": what, "is": cell} for what, cell in cells.items()))


def verdict(line: Line) -> Cell:
    """What the BD-rate and its interval say, in words."""
    if line["reason"] == "anchor":
        return Cell(NOTHING, "")
    if line["resolved"]:
        return Cell("fewer bits", badge="better") if line["bd_rate"] < 0 else Cell("more bits")
    missing = {
        "no BD-rate": (line["bd_rate"] is None, line["reason"]),
        "no interval": (line["external"], "published elsewhere, not ranked"),
        "incomplete": (line["lacking"], line["lacking"]),
        "one seed": (line["p"] is None, "no interval, so the difference is not shown to be resolved"),
        "not resolved": (True, f"p = {line['p'] or 1:.2g}, corrected for {line['comparisons']:.0f} comparisons"),
    }
    return next(Cell(text, title=str(why)) for text, (so, why) in missing.items() if so)


def linked(view: View, header: str, page: str, key: str = "method") -> Field:
    """A column of names that lead to a page about what they name."""
    return Column(header, names=True), lambda line: Cell(line[key], href=view.link(page, **{key: line[key]}))


RANK = integer("rank", "rank", "methods that share a rank are not shown to differ from the best of them")
BD_RATE: Field = (Column("BD-rate", True, "mean change of the rate at equal accuracy; negative: bits saved"), bd_rate)
INTERVAL: Field = (
    Column("95 % interval", True, "over seeds and images"),
    lambda line: interval(line["bd_rate_low"], line["bd_rate_high"]),
)
VERDICT: Field = (
    Column("verdict", about="whether the difference is more than chance, corrected for all rows of the table (Holm)", short=True),
    verdict,
)
RESOLVABLE = decimal(
    "resolvable", "resolvable", ".1f", "the smallest saving that the row would show in 80 % of such experiments", " %"
)
SEEDS: Field = (Column("seeds", True), lambda line: whole(line["seeds"] or None))
DIFFERENCE = (BD_RATE, INTERVAL, VERDICT, RESOLVABLE)
AGREEMENT = (
    decimal("BD-metric", "bd_metric", "+.2f", "percentage points"),
    decimal("overlap", "overlap", ".0%", "of the ranges of accuracy"),
    SEEDS,
)
STATUS: Field = (
    Column(
        "status",
        about="verified: its bitstreams were decoded and scored again, with the scores that it claims; "
        "claimed: as its author computed it; external: as published elsewhere",
    ),
    lambda line: Cell(line["status"], badge=line["status"]),
)
BPP = decimal("bpp", "bpp", ".4f", "bits of the whole container over the pixels of the image")
PSNR = decimal("PSNR", "psnr", ".2f", "dB")


def overview(view: View) -> Sheet:
    """The ranked table."""
    about, metric = view.facts, view.facts["metric"]
    macs, seconds = "thousand multiply-accumulates a pixel", "median seconds an image, on the device of the records"
    fields = [
        RANK,
        linked(view, "method", "method"),
        *DIFFERENCE,
        STATUS,
        SEEDS,
        *(decimal(f"{metric} @ {rate:g} bpp", f"@{rate}", ".1f", "in percent, by interpolation") for rate in view.at_rates),
        decimal("encode kMAC/px", "encoder_kilo", ".1f", macs),
        decimal("decode kMAC/px", "decoder_kilo", ".1f", macs),
        decimal("encode s", "encode_seconds", ".3f", seconds),
        decimal("decode s", "decode_seconds", ".3f", seconds),
        decimal("training s", "train_seconds", ".0f", "seconds a rate point, on the device of the records"),
    ]
    what = f"{metric} on {about['images']} images, {about['ceiling']:.1f} without compression. Anchor: {view.choice.anchor}"
    caption = "; ".join([what, *legend(view.ranking)])
    lines = (line | _beside(view, line["method"]) for line in view.ranking)
    return sheet(f"ranking-{about['name']}", caption, fields, lines, noted=True)


def _beside(view: View, method: str) -> dict[str, Any]:
    """What stands beside a method's BD-rate: its accuracies at the rates, and what it costs."""
    costs = view.costs.get(method, {})
    macs = {side: costs.get(f"{side}_macs") for side in ("encoder", "decoder")}
    kilo = {f"{side}_kilo": None if value is None else value / 1000 for side, value in macs.items()}
    return costs | kilo | {f"@{rate}": scores.get(method) for rate, scores in view.at_rates.items()}


def protocols(view: View) -> Sheet:
    """What was measured: a line a protocol, with the best against its own anchor."""
    fields: list[Field] = [
        (Column("protocol", names=True), lambda line: Cell(line["protocol"], href=_to(view, "overview", line))),
        text("task", "task", short=True),
        text("metric", "metric", short=True),
        decimal("uncompressed", "ceiling", ".1f", "the metric without compression, in percent"),
        *(integer(key, key) for key in ("images", "methods", "records")),
        text("anchor", "anchor"),
        (Column("best", about="leads the ranking against the anchor"), lambda line: _best(view, line)),
        (
            Column("BD-rate", True, "of the best against the anchor; negative: bits saved"),
            lambda line: bd_rate(line) if "method" in line else Cell(NOTHING, None),
        ),
        (INTERVAL[0], lambda line: interval(line.get("bd_rate_low"), line.get("bd_rate_high"))),
        integer("tied with it", "tied", "other methods that share its rank: they are not shown to differ from it"),
    ]
    lines = map(_with_best, (View.own(view.tables, name) for name in protocol_names(view.tables)))
    caption = "Protocols and their best methods. Only rows of one protocol are ranked together."
    return sheet("protocols", caption, fields, lines)


def _with_best(view: View) -> dict[str, Any]:
    """The protocol's line, with the line of the best method, if there is one, beside it."""
    first = [line for line in view.ranking if line["rank"] == 1]
    return (first[0] if first else {}) | view.facts | {"tied": len(first) - 1 if first else None}


def _to(view: View, page: str, line: Line, **more: str) -> str:
    return view.link(page, protocol=line["protocol"], anchor=line["anchor"], **more)


def _best(view: View, line: Line) -> Cell:
    name = line.get("method")
    return Cell(name, href=_to(view, "method", line, method=name)) if name else Cell(NOTHING, "")


def standings(view: View, method: str) -> Sheet:
    """Where a method stands against every anchor that can be chosen."""
    fields = [linked(view, "against", "overview", "anchor"), *DIFFERENCE, RANK, SEEDS]
    lines = filter(None, (view.against(anchor).ranked(method) for anchor in view.anchors))
    return sheet(f"standings-{method}", f"{method} against every anchor", fields, lines, noted=True)


def method_records(view: View, method: str) -> Sheet:
    """Every record of a method, with where it comes from."""
    fields: list[Field] = [
        text("rate point", "point", names=True),
        (Column("seed", True), lambda line: whole(line["seed"] if line["steps"] else None)),
        BPP,
        decimal("estimated bpp", "estimated_bpp", ".4f", "what the likelihoods promise"),
        decimal(view.facts["metric"], "score", ".2f", "in percent"),
        PSNR,
        decimal("encode s", "encode_seconds", ".3f"),
        decimal("decode s", "decode_seconds", ".3f"),
        decimal("training s", "train_seconds", ".0f"),
        text("device", "device"),
        text("icmbench", "icmbench"),
        (Column("commit"), lambda line: Cell(line["commit"][:10], line["commit"], title=line["commit"])),
        text("record", "path", prose=True),
    ]
    lines = asdicts(view.records(method=method).sort_values(["seed", "position"]))
    return sheet(f"records-{method}", f"{len(lines)} records of {method}", fields, lines)


def comparisons(view: View, methods: Sequence[str]) -> Sheet:
    """Some methods against the anchor, each with where the comparison of the two is."""
    fields = [linked(view, "method", "pair"), *DIFFERENCE, *AGREEMENT]
    caption = f"Each method against {view.choice.anchor}, paired by seed and image"
    return sheet("comparisons", caption, fields, (line for line in view.ranking if line["method"] in methods), noted=True)


def ablation(view: View, lines: Iterable[Line], plugin: str, axis: str) -> Sheet:
    """The settings of a method along one axis as a table."""

    def setting(line: Line) -> Cell:
        return Cell(f"{line['value']}{' (default)' if line['default'] else ''}", line["value"])

    caption = f"{plugin} along {axis} against {view.choice.anchor}, all else at its default"
    fields = [(Column(axis, names=True), setting), *DIFFERENCE, *AGREEMENT]
    return sheet(f"ablation-{plugin}-{axis}", caption, fields, lines, noted=True)


def submission(line: Line, records: int) -> Sheet:
    """What is known of a submission: who, under which licence, how it was verified. `records`: of its method, all there are."""
    link = line["link"] if line["link"].startswith(("https://", "http://")) else ""
    cells = {
        "status": Cell(line["status"], badge=line["status"]),
        "why": Cell(line["reason"]),
        "authors": Cell(", ".join(json.loads(line["authors"]))),
        "title": Cell(line["title"]),
        "link": Cell(line["link"], href=link),
        "licence": Cell(line["licence"]),
        "verified on" if line["status"] == "verified" else "accepted on": Cell(line["accepted"]),
        "changed on": Cell(line["changed"]),
        "records that this covers": Cell(f"{len(json.loads(line['covered']))} of {records}"),
        "bitstreams decoded": whole(line["bitstreams"] or None),
        "of them to the same pixels": whole(line["same"] if line["bitstreams"] else None),
        "where": Cell(f"{line['device']}, icmbench {line['icmbench']}" if line["device"] else ""),
        "bundle SHA-256": Cell(line["bundle_sha256"]),
    }
    known = {name: cell for name, cell in cells.items() if cell.text not in ("", NOTHING)}
    return fact_sheet(f"submission-{line['method']}", f"Submission of {line['method']}", known)


def set_aside(tables: Tables) -> Sheet:
    """The files that count nowhere, with the reason."""
    caption = "Files that are no sound record, or none that may be compared with the others. They count nowhere."
    fields = [text("file", "path", names=True), text("why", "reason", prose=True)]
    return sheet("set-aside", caption, fields, asdicts(tables.broken))


def ceilings(about: Line) -> Sheet:
    """A protocol's scores without compression."""
    fields = [text("score", "score", names=True), decimal("%", "ceiling", ".2f")]
    lines = ({"score": name, "ceiling": value} for name, value in json.loads(about["ceilings"]).items())
    return sheet(f"ceiling-{about['name']}", "Scores without compression, in percent", fields, lines)


def needed(about: Line) -> Sheet | None:
    """The files that a protocol reads; None where its images are generated and its weights come with icmbench."""
    files = json.loads(about["definition"])["files"]
    fields: list[Field] = [
        text("path below ICMBENCH_DATA", "path", names=True),
        (Column("bytes", True), lambda line: whole(line["bytes"] or None)),
        (Column("digest"), lambda line: Cell(line["digest"] or NOTHING)),
        text("where to get it", "source"),
    ]
    return sheet("data", "Files that must lie on the machine", fields, files) if files else None
