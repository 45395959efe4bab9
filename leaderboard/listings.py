"""The tables that pages show: ranked lists, cards, records. Knows neither Streamlit nor files."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from icmbench.leaderboard import views
from icmbench.leaderboard.derived import Tables, asdicts
from icmbench.leaderboard.views import Choice
from icmbench.show.bdrate_table import bd_rate, legend
from icmbench.show.sheet import NOTHING, Cell, Column, Sheet, interval, number, whole

STATUS = (
    "verified: its bitstreams were decoded and scored again, with the scores that it claims; "
    "claimed: as its author computed it; external: as published elsewhere"
)
DIFFERENCE = (
    Column("BD-rate", True, "mean change of the rate at equal accuracy; negative: bits saved"),
    Column("95 % interval", True, "over seeds and images"),
    Column("verdict", about="whether the difference is more than chance, corrected for all rows of the table (Holm)", short=True),
    Column("resolvable", True, "the smallest saving that the row would show in 80 % of such experiments"),
)
AGREEMENT = (
    Column("BD-metric", True, "percentage points"),
    Column("overlap", True, "of the ranges of accuracy"),
    Column("seeds", True),
)
Link = Callable[[str, Mapping[str, str]], str]  # page and its parameters → address


def no_links(page: str, parameters: Mapping[str, str]) -> str:
    """Links for a place that has no pages."""
    return ""


def overview(tables: Tables, choice: Choice, link: Link = no_links) -> Sheet:
    """The ranked table."""
    facts = views.about(tables, choice.protocol)
    rates = views.fixed_rates(tables, choice.protocol)
    costs = views.costs(tables, choice.protocol)
    columns = [
        Column("rank", True, "methods that share a rank are not shown to differ from the best of them"),
        Column("method", names=True),
        *DIFFERENCE,
        Column("status", about=STATUS),
        Column("seeds", True),
        *(Column(f"{facts['metric']} @ {rate:g} bpp", True, "in percent, by interpolation") for rate in rates),
        Column("encode kMAC/px", True, "thousand multiply-accumulates a pixel"),
        Column("decode kMAC/px", True, "thousand multiply-accumulates a pixel"),
        Column("encode s", True, "median seconds an image, on the device of the records"),
        Column("decode s", True, "median seconds an image, on the device of the records"),
        Column("training s", True, "seconds a rate point, on the device of the records"),
    ]
    scores = views.scores_at(tables, choice.protocol)
    ranked = views.ranking(tables, choice)
    lines = [_overview_line(line, choice, rates, scores, costs.get(line["method"], {}), link) for line in ranked]
    name = choice.protocol.split("@", maxsplit=1)[0]
    what = f"{facts['metric']} on {facts['images']} images, {facts['ceiling']:.1f} without compression. Anchor: {choice.anchor}"
    caption = "; ".join([what, *legend(ranked)])
    return Sheet(f"ranking-{name}", caption, columns, lines, _notes(ranked))


def _overview_line(
    line: dict[str, Any],
    choice: Choice,
    rates: Sequence[float],
    scores: Mapping[tuple[str, float], float | None],
    cost: Mapping[str, Any],
    link: Link,
) -> list[Cell]:
    method = line["method"]
    return [
        whole(line["rank"]),
        Cell(method, href=link("method", choice.parameters | {"method": method})),
        bd_rate(line),
        interval(line["bd_rate_low"], line["bd_rate_high"]),
        verdict(line),
        number(line["resolvable"], ".1f", " %"),
        Cell(line["status"], badge=line["status"]),
        whole(line["seeds"] or None),
        *(number(scores.get((method, rate)), ".1f") for rate in rates),
        number(_kilo(cost.get("encoder_macs")), ".1f"),
        number(_kilo(cost.get("decoder_macs")), ".1f"),
        number(cost.get("encode_seconds"), ".3f"),
        number(cost.get("decode_seconds"), ".3f"),
        number(cost.get("train_seconds"), ".0f"),
    ]


def verdict(line: Mapping[str, Any]) -> Cell:
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


def _difference(line: Mapping[str, Any]) -> list[Cell]:
    """The cells of DIFFERENCE for a line of the ranking."""
    ends = interval(line["bd_rate_low"], line["bd_rate_high"])
    return [bd_rate(line), ends, verdict(line), number(line["resolvable"], ".1f", " %")]


def _notes(lines: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """What a reader must know about each line of the ranking."""
    return [json.loads(line["notes"]) for line in lines]


def _agreement(line: Mapping[str, Any]) -> list[Cell]:
    """The cells of AGREEMENT for a line of the ranking."""
    return [number(line["bd_metric"], "+.2f"), number(line["overlap"], ".0%"), whole(line["seeds"] or None)]


def protocols(tables: Tables, link: Link = no_links) -> Sheet:
    """What was measured: a line a protocol, with the best against its own anchor."""
    columns = [
        Column("protocol", names=True),
        Column("task", short=True),
        Column("metric", short=True),
        Column("uncompressed", True, "the metric without compression, in percent"),
        Column("images", True),
        Column("methods", True),
        Column("records", True),
        Column("anchor"),
        Column("best", about="leads the ranking against the anchor"),
        Column("BD-rate", True, "of the best against the anchor; negative: bits saved"),
        Column("95 % interval", True, "over seeds and images"),
        Column("tied with it", True, "other methods that share its rank: they are not shown to differ from it"),
    ]
    lines = [_protocol_line(tables, name, link) for name in views.protocol_names(tables)]
    return Sheet("protocols", "Protocols and their best methods. Only rows of one protocol are ranked together.", columns, lines)


def _protocol_line(tables: Tables, protocol: str, link: Link) -> list[Cell]:
    facts = views.about(tables, protocol)
    choice = Choice(protocol, facts["anchor"])
    return [
        Cell(protocol, href=link("overview", choice.parameters)),
        Cell(facts["task"]),
        Cell(facts["metric"]),
        number(facts["ceiling"], ".1f"),
        whole(facts["images"]),
        whole(facts["methods"]),
        whole(facts["records"]),
        Cell(choice.anchor),
        *_best_cells([line for line in views.ranking(tables, choice) if line["rank"] == 1], choice, link),
    ]


def _best_cells(first: Sequence[Mapping[str, Any]], choice: Choice, link: Link) -> list[Cell]:
    if not first:
        return [Cell(NOTHING, ""), Cell(NOTHING, None), interval(None, None), whole(None)]
    best = first[0]
    return [
        Cell(best["method"], href=link("method", choice.parameters | {"method": best["method"]})),
        bd_rate(best),
        interval(best["bd_rate_low"], best["bd_rate_high"]),
        whole(len(first) - 1),
    ]


def standings(tables: Tables, protocol: str, method: str, link: Link = no_links) -> Sheet:
    """Where a method stands against every anchor that can be chosen."""
    columns = [Column("against", names=True), *DIFFERENCE, Column("rank", True), Column("seeds", True)]
    choices = [Choice(protocol, anchor) for anchor in views.anchor_names(tables, protocol)]
    found = [(choice, line) for choice in choices for line in views.ranking(tables, choice) if line["method"] == method]
    lines = [
        [
            Cell(choice.anchor, href=link("overview", choice.parameters)),
            *_difference(line),
            whole(line["rank"]),
            whole(line["seeds"] or None),
        ]
        for choice, line in found
    ]
    notes = _notes([line for _, line in found])
    return Sheet(f"standings-{_file_name(method)}", f"{method} against every anchor", columns, lines, notes)


def method_records(tables: Tables, choice: Choice, method: str) -> Sheet:
    """Every record of a method, with where it comes from."""
    columns = [
        Column("rate point", names=True),
        Column("seed", True),
        Column("bpp", True, "bits of the whole container over the pixels of the image"),
        Column("estimated bpp", True, "what the likelihoods promise"),
        Column(views.about(tables, choice.protocol)["metric"], True, "in percent"),
        Column("PSNR", True, "dB"),
        Column("encode s", True),
        Column("decode s", True),
        Column("training s", True),
        Column("device"),
        Column("icmbench"),
        Column("commit"),
        Column("record", prose=True),
    ]
    table = views.records(tables, choice.protocol, method).sort_values(["seed", "position"])
    lines = [
        [
            Cell(line["point"]),
            whole(line["seed"] if line["steps"] else None),
            number(line["bpp"], ".4f"),
            number(line["estimated_bpp"], ".4f"),
            number(line["score"], ".2f"),
            number(line["psnr"], ".2f"),
            number(line["encode_seconds"], ".3f"),
            number(line["decode_seconds"], ".3f"),
            number(line["train_seconds"], ".0f"),
            Cell(line["device"]),
            Cell(line["icmbench"]),
            Cell(line["commit"][:10], line["commit"], title=line["commit"]),
            Cell(line["path"]),
        ]
        for line in asdicts(table)
    ]
    return Sheet(f"records-{_file_name(method)}", f"{len(lines)} records of {method}", columns, lines)


def comparisons(tables: Tables, choice: Choice, methods: Sequence[str], link: Link = no_links) -> Sheet:
    """Some methods against the anchor, each with where the comparison of the two is."""
    columns = [Column("method", names=True), *DIFFERENCE, *AGREEMENT]
    shown = [line for line in views.ranking(tables, choice) if line["method"] in methods]
    lines = [
        [
            Cell(line["method"], href=link("pair", choice.parameters | {"method": line["method"]})),
            *_difference(line),
            *_agreement(line),
        ]
        for line in shown
    ]
    return Sheet("comparisons", f"Each method against {choice.anchor}, paired by seed and image", columns, lines, _notes(shown))


def ablation(lines: Sequence[Mapping[str, Any]], axis: str, choice: Choice, plugin: str) -> Sheet:
    """The settings of a method along one axis as a table."""
    columns = [Column(axis, names=True), *DIFFERENCE, *AGREEMENT]
    names = [Cell(f"{line['value']}{' (default)' if line['default'] else ''}", line["value"]) for line in lines]
    cells = [[name, *_difference(line), *_agreement(line)] for name, line in zip(names, lines, strict=True)]
    file = f"ablation-{_file_name(plugin)}-{_file_name(axis)}"
    caption = f"{plugin} along {axis} against {choice.anchor}, all else at its default"
    return Sheet(file, caption, columns, cells, _notes(lines))


def submission(line: Mapping[str, Any], records: int) -> Sheet:
    """What is known of a submission: who, under which licence, how it was verified. `records`: of its method, all there are."""
    link = line["link"] if line["link"].startswith(("https://", "http://")) else ""
    facts = {
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
    lines = [[Cell(name), cell] for name, cell in facts.items() if cell.text not in ("", NOTHING)]
    columns = [Column("what", names=True), Column("is", prose=True)]
    return Sheet(f"submission-{_file_name(line['method'])}", f"Submission of {line['method']}", columns, lines)


def set_aside(tables: Tables) -> Sheet:
    """The files that count nowhere, with the reason."""
    lines = [[Cell(line["path"]), Cell(line["reason"])] for line in asdicts(tables.broken)]
    columns = [Column("file", names=True), Column("why", prose=True)]
    return Sheet(
        "set-aside",
        "Files that are no sound record, or none that may be compared with the others. They count nowhere.",
        columns,
        lines,
    )


def ceilings(facts: Mapping[str, Any]) -> Sheet:
    """A protocol's scores without compression."""
    lines = [[Cell(name), Cell(f"{value:.2f}", value)] for name, value in json.loads(facts["ceilings"]).items()]
    columns = [Column("score", names=True), Column("%", True)]
    return Sheet(f"ceiling-{facts['name']}", "Scores without compression, in percent", columns, lines)


def needed(facts: Mapping[str, Any]) -> Sheet | None:
    """The files that a protocol reads; None where its images are generated and its weights come with icmbench."""
    files = json.loads(facts["definition"])["files"]
    if not files:
        return None
    columns = [Column("path below ICMBENCH_DATA", names=True), Column("bytes", True), Column("digest"), Column("where to get it")]
    lines = [
        [
            Cell(one["path"]),
            Cell(str(one["bytes"] or NOTHING), one["bytes"]),
            Cell(one["digest"] or NOTHING),
            Cell(one["source"]),
        ]
        for one in files
    ]
    return Sheet("data", "Files that must lie on the machine", columns, lines)


def _kilo(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _file_name(text: str) -> str:
    return "".join(character if character.isalnum() or character in "._-" else "_" for character in text)[:80]
