"""What pages show, chosen from the tables: ranked lists, curves, cards. Knows neither Streamlit nor files."""

import ast
import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from icmbench import markup
from icmbench.leaderboard.derived import Tables, asdicts
from icmbench.leaderboard.sheet import Cell, Column, Sheet
from icmbench.plugins import Plugins

Link = Callable[[str, Mapping[str, str]], str]  # page and its parameters → address
NOTHING = "—"


def no_links(page: str, parameters: Mapping[str, str]) -> str:
    """Links for a place that has no pages."""
    return ""


@dataclass(frozen=True)
class Choice:
    """What all pages are about: a protocol's identity, and the method that BD-rates are taken against."""

    protocol: str
    anchor: str

    @property
    def parameters(self) -> dict[str, str]:
        """The same as parameters of an address."""
        return {"protocol": self.protocol, "anchor": self.anchor}


def protocol_names(tables: Tables) -> list[str]:
    """Identities of the protocols, those with most methods first."""
    order = tables.protocols.sort_values(["methods", "protocol"], ascending=[False, True])
    return [str(name) for name in order["protocol"]]


def about(tables: Tables, protocol: str) -> dict[str, Any]:
    """The protocol's line."""
    return asdicts(tables.protocols[tables.protocols["protocol"] == protocol])[0]


def anchor_names(tables: Tables, protocol: str) -> list[str]:
    """What BD-rates can be taken against, the protocol's own anchor first."""
    return list(json.loads(about(tables, protocol)["anchors"]))


def ranking(tables: Tables, choice: Choice) -> list[dict[str, Any]]:
    """The lines of the ranking against the chosen anchor, best first."""
    table = tables.ranking
    return asdicts(table[(table["protocol"] == choice.protocol) & (table["anchor"] == choice.anchor)])


def method_names(tables: Tables, choice: Choice) -> list[str]:
    """The methods in the order of the ranking."""
    return [line["method"] for line in ranking(tables, choice)]


def all_method_names(tables: Tables, protocol: str) -> list[str]:
    """What is ranked against any anchor, in the order against the protocol's own; a published curve may have another."""
    choices = [Choice(protocol, anchor) for anchor in anchor_names(tables, protocol)]
    return list(dict.fromkeys(name for choice in choices for name in method_names(tables, choice)))


def overview(tables: Tables, choice: Choice, link: Link = no_links) -> Sheet:
    """The ranked table."""
    facts = about(tables, choice.protocol)
    rates = _rates(tables, choice.protocol)
    costs = _costs(tables, choice.protocol)
    columns = [
        Column("rank", True, "methods that share a rank are not shown to differ from the best of them"),
        Column("method", names=True),
        Column(
            "BD-rate", True, f"mean change of the rate at equal {facts['metric']} against {choice.anchor}; negative: bits saved"
        ),
        Column("95 % interval", True, "over seeds and images"),
        Column("verdict", about="whether the interval leaves out 0", short=True),
        Column("seeds", True),
        *(Column(f"{facts['metric']} @ {rate:g} bpp", True, "in percent, by interpolation") for rate in rates),
        Column("encode kMAC/px", True, "thousand multiply-accumulates a pixel"),
        Column("decode kMAC/px", True, "thousand multiply-accumulates a pixel"),
        Column("encode s", True, "median seconds an image, on the device of the records"),
        Column("decode s", True, "median seconds an image, on the device of the records"),
        Column("training s", True, "seconds a rate point, on the device of the records"),
        Column("status", about="claimed: as its author computed it; external: as published elsewhere"),
    ]
    scores = _scores_at(tables, choice.protocol)
    lines = [_overview_line(line, choice, rates, scores, costs.get(line["method"], {}), link) for line in ranking(tables, choice)]
    name = choice.protocol.split("@", maxsplit=1)[0]
    caption = (
        f"{facts['metric']} on {facts['images']} images, {facts['ceiling']:.1f} without compression. Anchor: {choice.anchor}."
    )
    return Sheet(f"ranking-{name}", caption, columns, lines)


def _overview_line(
    line: dict[str, Any],
    choice: Choice,
    rates: Sequence[float],
    scores: Mapping[tuple[str, float], float | None],
    cost: Mapping[str, Any],
    link: Link,
) -> list[Cell]:
    method = line["method"]
    found = " ".join(json.loads(line["notes"]))
    return [
        _whole(line["rank"]),
        Cell(method, href=link("method", choice.parameters | {"method": method})),
        Cell("anchor", None) if line["reason"] == "anchor" else _number(line["bd_rate"], "+.1f", " %", found),
        _interval(line["bd_rate_low"], line["bd_rate_high"]),
        verdict(line),
        _whole(line["seeds"] or None),
        *(_number(scores.get((method, rate)), ".1f") for rate in rates),
        _number(_kilo(cost.get("encoder_macs")), ".1f"),
        _number(_kilo(cost.get("decoder_macs")), ".1f"),
        _number(cost.get("encode_seconds"), ".3f"),
        _number(cost.get("decode_seconds"), ".3f"),
        _number(cost.get("train_seconds"), ".0f"),
        Cell(line["status"], badge=line["status"]),
    ]


def verdict(line: Mapping[str, Any]) -> Cell:
    """What the BD-rate and its interval say, in words."""
    if line["reason"] == "anchor":
        return Cell(NOTHING, "")
    if line["bd_rate"] is None:
        return Cell("no BD-rate", title=str(line["reason"]))
    if line["external"]:
        return Cell("no interval", title="published elsewhere, not ranked")
    if line["bd_rate_low"] is None:
        return Cell("one seed", title="no interval, so the difference is not shown to be resolved")
    if not line["resolved"]:
        return Cell("not resolved", title="the interval contains 0")
    return Cell("fewer bits", badge="better") if line["bd_rate"] < 0 else Cell("more bits")


def remarks(tables: Tables, choice: Choice) -> list[tuple[str, list[str]]]:
    """What a reader must know about the rows: method and notes."""
    found = [(line["method"], json.loads(line["notes"])) for line in ranking(tables, choice)]
    return [(method, notes) for method, notes in found if notes]


def doubled(tables: Tables, choice: Choice) -> str:
    """How far the anchor still moves with twice its budget, in a sentence; "" where it was not measured."""
    lines = [line for line in ranking(tables, choice) if line["anchor_doubled"] is not None]
    if not lines:
        return ""
    value, low, high = (lines[0][f"anchor_doubled{end}"] for end in ("", "_low", "_high"))
    spread = "" if low is None else f" (95 % interval {low:+.1f} … {high:+.1f} %)"
    found = "it has not converged" if low is not None and not low <= 0 <= high else "that is not resolved"
    return f"With twice its training budget the anchor {choice.anchor} moves by {value:+.1f} %{spread}: {found}."


def _number(value: float | None, form: str, unit: str = "", title: str = "") -> Cell:
    return Cell(NOTHING, None) if value is None else Cell(f"{value:{form}}{unit}", value, title=title)


def _whole(value: float | None) -> Cell:
    return Cell(NOTHING, None) if value is None else Cell(f"{value:.0f}", int(value))


def _interval(low: float | None, high: float | None) -> Cell:
    return Cell(NOTHING, None) if low is None or high is None else Cell(f"{low:+.1f} … {high:+.1f}")


def _kilo(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _rates(tables: Tables, protocol: str) -> list[float]:
    table = tables.at_rates
    return sorted(float(rate) for rate in table[table["protocol"] == protocol]["bpp"].unique())


def _scores_at(tables: Tables, protocol: str) -> dict[tuple[str, float], float | None]:
    table = tables.at_rates
    return {(line["method"], line["bpp"]): line["score"] for line in asdicts(table[table["protocol"] == protocol])}


def _costs(tables: Tables, protocol: str) -> dict[str, dict[str, Any]]:
    """Medians over a method's records, by method."""
    columns = ["encoder_macs", "decoder_macs", "encode_seconds", "decode_seconds", "train_seconds"]
    table = records(tables, protocol).astype(dict.fromkeys(columns, float))
    found = table.groupby("method")[columns].median()
    return {line["method"]: line for line in asdicts(found.reset_index())}


def records(tables: Tables, protocol: str, method: str | None = None) -> pd.DataFrame:
    """The records of a protocol, or of one method under it."""
    table = tables.records[tables.records["protocol"] == protocol]
    return table if method is None else table[table["method"] == method]


def points(tables: Tables, protocol: str, methods: Sequence[str]) -> pd.DataFrame:
    """The rate points of some methods."""
    table = tables.points
    return table[(table["protocol"] == protocol) & table["method"].isin(methods)]


def gains(tables: Tables, choice: Choice, methods: Sequence[str]) -> pd.DataFrame:
    """Change of rate at equal accuracy of some methods."""
    table = tables.gains
    return table[(table["protocol"] == choice.protocol) & (table["anchor"] == choice.anchor) & table["method"].isin(methods)]


def cost_lines(tables: Tables, choice: Choice) -> list[dict[str, Any]]:
    """The ranking with what each method costs beside it, for methods whose cost is known."""
    costs = _costs(tables, choice.protocol)
    return [line | costs[line["method"]] for line in ranking(tables, choice) if line["method"] in costs]


def method_records(tables: Tables, choice: Choice, method: str) -> Sheet:
    """Every record of a method, with where it comes from."""
    columns = [
        Column("rate point", names=True),
        Column("seed", True),
        Column("bpp", True, "bits of the whole container over the pixels of the image"),
        Column("estimated bpp", True, "what the likelihoods promise"),
        Column(about(tables, choice.protocol)["metric"], True, "in percent"),
        Column("PSNR", True, "dB"),
        Column("encode s", True),
        Column("decode s", True),
        Column("training s", True),
        Column("device"),
        Column("icmbench"),
        Column("commit"),
        Column("record"),
    ]
    table = records(tables, choice.protocol, method).sort_values(["seed", "position"])
    lines = [
        [
            Cell(line["point"]),
            _whole(line["seed"] if line["steps"] else None),
            _number(line["bpp"], ".4f"),
            _number(line["estimated_bpp"], ".4f"),
            _number(line["score"], ".2f"),
            _number(line["psnr"], ".2f"),
            _number(line["encode_seconds"], ".3f"),
            _number(line["decode_seconds"], ".3f"),
            _number(line["train_seconds"], ".0f"),
            Cell(line["device"]),
            Cell(line["icmbench"]),
            Cell(line["commit"][:10], line["commit"], title=line["commit"]),
            Cell(line["path"]),
        ]
        for line in asdicts(table)
    ]
    return Sheet(f"records-{_file_name(method)}", f"{len(lines)} records of {method}", columns, lines)


def _file_name(text: str) -> str:
    return "".join(character if character.isalnum() or character in "._-" else "_" for character in text)[:80]


def plugin_of(tables: Tables, choice: Choice, method: str) -> dict[str, Any] | None:
    """Plugin, parameters and provenance of a method; None for a published curve."""
    found = asdicts(records(tables, choice.protocol, method).head(1))
    return found[0] if found else None


def docstring(plugins: Plugins, name: str) -> tuple[str, str]:
    """What a method says of itself and its source file's name, read without importing it; "" where it is not installed."""
    plugin = plugins.find("methods").get(name)
    if plugin is None or plugin.path is None:
        return "", ""
    try:
        text = ast.get_docstring(ast.parse(plugin.path.read_text())) or ""
    except (OSError, SyntaxError, ValueError):
        return "", ""
    return text, "/".join(plugin.path.parts[-2:])


def command(line: Mapping[str, Any], task: str, protocol: str, seeds: int, anchor: str) -> str:
    """The command that computes a method's records anew."""
    words = ["icmbench", "run", line["plugin"], task, "--protocol", protocol.split("@", maxsplit=1)[0]]
    words += [word for name, value in json.loads(line["parameters"]).items() for word in ("--set", f"{name}={value}")]
    words += ["--seeds", str(max(1, seeds))]
    return shlex.join(words)


def axes(tables: Tables, choice: Choice) -> dict[str, list[str]]:
    """The parameter axes along which at least two settings were measured: plugin → names of the axes."""
    found: dict[str, list[str]] = {}
    for plugin, table in records(tables, choice.protocol).groupby("plugin"):
        given = [json.loads(text) for text in table.drop_duplicates("method")["parameters"]]
        names = sorted({name for parameters in given if len(parameters) == 1 for name in parameters})
        found[str(plugin)] = [name for name in names if len(along(tables, choice, str(plugin), name)) > 1]
    return {plugin: names for plugin, names in found.items() if names}


def along(tables: Tables, choice: Choice, plugin: str, axis: str) -> list[dict[str, Any]]:
    """The ranking's lines of the settings that differ along one axis only, each with its `value`, in the order of values."""
    table = records(tables, choice.protocol).drop_duplicates("method")
    ranked = {line["method"]: line for line in ranking(tables, choice)}
    found = []
    for line in asdicts(table[(table["plugin"] == plugin) & (table["trained_under"] == "")]):
        given, defaults = json.loads(line["parameters"]), json.loads(line["defaults"])
        if set(given) <= {axis} and axis in given | defaults and line["method"] in ranked:
            found.append(ranked[line["method"]] | {"value": (given | defaults)[axis], "default": axis not in given})
    return sorted(found, key=lambda line: _order(line["value"]))


def _order(value: Any) -> tuple[float, str]:
    """Numbers by size, then text."""
    return (value, "") if isinstance(value, int | float) else (math.inf, str(value))


def ablation(lines: Sequence[Mapping[str, Any]], axis: str, choice: Choice, plugin: str) -> Sheet:
    """The settings of a method along one axis as a table."""
    columns = [
        Column(axis, names=True),
        Column("BD-rate", True, f"against {choice.anchor}"),
        Column("95 % interval", True, "over seeds and images"),
        Column("verdict", short=True),
        Column("BD-metric", True, "percentage points"),
        Column("overlap", True, "of the ranges of accuracy"),
        Column("seeds", True),
    ]
    cells = [
        [
            Cell(f"{line['value']}{' (default)' if line['default'] else ''}", line["value"]),
            _number(line["bd_rate"], "+.1f", " %"),
            _interval(line["bd_rate_low"], line["bd_rate_high"]),
            verdict(line),
            _number(line["bd_metric"], "+.2f"),
            _number(line["overlap"], ".0%"),
            _whole(line["seeds"] or None),
        ]
        for line in lines
    ]
    name = f"ablation-{_file_name(plugin)}-{_file_name(axis)}"
    return Sheet(name, f"{plugin} along {axis}, all else at its default", columns, cells)


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
    lines = [_protocol_line(tables, name, link) for name in protocol_names(tables)]
    return Sheet("protocols", "Protocols and their best methods. Only rows of one protocol are ranked together.", columns, lines)


def _protocol_line(tables: Tables, protocol: str, link: Link) -> list[Cell]:
    facts = about(tables, protocol)
    choice = Choice(protocol, facts["anchor"])
    return [
        Cell(protocol, href=link("overview", choice.parameters)),
        Cell(facts["task"]),
        Cell(facts["metric"]),
        _number(facts["ceiling"], ".1f"),
        _whole(facts["images"]),
        _whole(facts["methods"]),
        _whole(facts["records"]),
        Cell(choice.anchor),
        *_best_cells([line for line in ranking(tables, choice) if line["rank"] == 1], choice, link),
    ]


def _best_cells(first: Sequence[Mapping[str, Any]], choice: Choice, link: Link) -> list[Cell]:
    if not first:
        return [Cell(NOTHING, ""), Cell(NOTHING, None), _interval(None, None), _whole(None)]
    best = first[0]
    return [
        Cell(best["method"], href=link("method", choice.parameters | {"method": best["method"]})),
        _bd_rate(best),
        _interval(best["bd_rate_low"], best["bd_rate_high"]),
        _whole(len(first) - 1),
    ]


def _bd_rate(line: Mapping[str, Any]) -> Cell:
    return Cell("anchor", None) if line["reason"] == "anchor" else _number(line["bd_rate"], "+.1f", " %")


def standings(tables: Tables, protocol: str, method: str, link: Link = no_links) -> Sheet:
    """Where a method stands against every anchor that can be chosen."""
    columns = [
        Column("against", names=True),
        Column("BD-rate", True, "mean change of the rate at equal accuracy; negative: bits saved"),
        Column("95 % interval", True, "over seeds and images"),
        Column("verdict", about="whether the interval leaves out 0", short=True),
        Column("rank", True),
        Column("seeds", True),
    ]
    choices = [Choice(protocol, anchor) for anchor in anchor_names(tables, protocol)]
    lines = [
        [
            Cell(choice.anchor, href=link("overview", choice.parameters)),
            _bd_rate(line),
            _interval(line["bd_rate_low"], line["bd_rate_high"]),
            verdict(line),
            _whole(line["rank"]),
            _whole(line["seeds"] or None),
        ]
        for choice in choices
        for line in ranking(tables, choice)
        if line["method"] == method
    ]
    return Sheet(f"standings-{_file_name(method)}", f"{method} against every anchor", columns, lines)


def set_aside(tables: Tables) -> Sheet:
    """The files that are no sound record, with the reason."""
    lines = [[Cell(line["path"]), Cell(line["reason"])] for line in asdicts(tables.broken)]
    columns = [Column("file", names=True), Column("why")]
    return Sheet("set-aside", "Files that are no sound record. They count nowhere.", columns, lines)


def ceilings(facts: Mapping[str, Any]) -> Sheet:
    """A protocol's scores without compression."""
    lines = [[Cell(name), Cell(f"{value:.2f}", value)] for name, value in json.loads(facts["ceilings"]).items()]
    columns = [Column("score", names=True), Column("%", True)]
    return Sheet(f"ceiling-{facts['name']}", "Scores without compression, in percent", columns, lines)


def needed(facts: Mapping[str, Any]) -> Sheet | None:
    """The files that a protocol reads; None where its pictures are generated and its weights come with icmbench."""
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


def as_csv(table: pd.DataFrame) -> str:
    """The numbers of a figure as CSV."""
    return markup.to_csv(list(table.columns), table.astype(object).where(table.notna(), None).to_numpy().tolist())
