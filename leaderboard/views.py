"""What pages are about, chosen from the tables: protocols, ranked lines, curves, axes. Knows neither Streamlit nor files."""

import ast
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from icmbench.leaderboard.derived import Tables, asdicts
from icmbench.plugins.find import Plugins
from icmbench.show import markup

FIRST_SHOWN = 5  # methods that a figure shows before anybody chose


@dataclass(frozen=True)
class Choice:
    """What all pages are about: a protocol's identity, the method that BD-rates are taken against, and the score.

    `metric`: "" where there is no choice: then it is the protocol's primary score.
    """

    protocol: str
    anchor: str
    metric: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """The same as parameters of an address."""
        score = {"metric": self.metric} if self.metric else {}
        return {"protocol": self.protocol, "anchor": self.anchor} | score


@dataclass
class View:
    """What a page is about, in the app and on the static site. `tables`: those of the chosen score."""

    tables: Tables
    choice: Choice

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The protocol's line."""
        return about(self.tables, self.choice.protocol)

    @cached_property
    def methods(self) -> list[str]:
        """The methods in the order of the ranking."""
        return method_names(self.tables, self.choice)


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


def metric_names(tables: Tables, protocol: str) -> list[str]:
    """The scores that the records of a protocol have, the primary one first."""
    return list(json.loads(about(tables, protocol)["metrics"]))


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


def doubled(tables: Tables, choice: Choice) -> str:
    """How far the anchor still moves with twice its budget, in a sentence; "" where it was not measured."""
    lines = [line for line in ranking(tables, choice) if line["anchor_doubled"] is not None]
    if not lines:
        return ""
    value, low, high = (lines[0][f"anchor_doubled{end}"] for end in ("", "_low", "_high"))
    spread = "" if low is None else f" (95 % interval {low:+.1f} … {high:+.1f} %)"
    found = "it has not converged" if low is not None and not low <= 0 <= high else "that is not resolved"
    return f"With twice its training budget the anchor {choice.anchor} moves by {value:+.1f} %{spread}: {found}."


def fixed_rates(tables: Tables, protocol: str) -> list[float]:
    """The rates in bits per pixel at which accuracies are compared."""
    table = tables.at_rates
    return sorted(float(rate) for rate in table[table["protocol"] == protocol]["bpp"].unique())


def scores_at(tables: Tables, protocol: str) -> dict[tuple[str, float], float | None]:
    """Accuracy in percent by method and rate; None where a curve does not reach the rate."""
    table = tables.at_rates
    return {(line["method"], line["bpp"]): line["score"] for line in asdicts(table[table["protocol"] == protocol])}


def costs(tables: Tables, protocol: str) -> dict[str, dict[str, Any]]:
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
    known = costs(tables, choice.protocol)
    return [line | known[line["method"]] for line in ranking(tables, choice) if line["method"] in known]


def placed(lines: Sequence[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """Those of the lines that have a BD-rate (the anchor has its 0) and this cost."""
    return [line for line in lines if line.get(by) is not None and (line["bd_rate"] is not None or line["reason"] == "anchor")]


def plugin_of(tables: Tables, choice: Choice, method: str) -> dict[str, Any] | None:
    """Plugin, parameters and provenance of a method; None for a published curve."""
    found = asdicts(records(tables, choice.protocol, method).head(1))
    return found[0] if found else None


def docstring(plugins: Plugins, name: str, submitted: Mapping[str, str] | None = None) -> tuple[str, str]:
    """What a method says of itself and its source file's name, read without importing it; "" where there is no source.

    `submitted`: the source that came with its submission, by path. Without it the installed plugin speaks.
    """
    for path, source in (submitted or {}).items():
        if PurePosixPath(path).stem == name or path.endswith(f"/{name}/__init__.py"):
            return _docstring(source), path
    plugin = plugins.find("methods").get(name)
    if plugin is None or plugin.path is None:
        return "", ""
    try:
        return _docstring(plugin.path.read_text()), "/".join(plugin.path.parts[-2:])
    except (OSError, ValueError):
        return "", ""


def _docstring(source: str) -> str:
    try:
        return ast.get_docstring(ast.parse(source)) or ""
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # it may be anybody's
        return ""


def command(line: Mapping[str, Any], task: str, protocol: str, seeds: int) -> str:
    """The command that computes a method's records anew."""
    words = ["icmbench", "run", line["plugin"], task, "--protocol", protocol.split("@", maxsplit=1)[0]]
    words += [word for name, value in json.loads(line["parameters"]).items() for word in ("--set", f"{name}={value}")]
    words += ["--seeds", str(max(1, seeds))]
    return shlex.join(words)


def submission(tables: Tables, protocol: str, method: str) -> dict[str, Any] | None:
    """What is known of the submission of a method; None for one whose records came otherwise."""
    table = tables.submissions
    found = asdicts(table[(table["protocol"] == protocol) & (table["method"] == method)])
    return found[0] if found else None


def retracted(tables: Tables, protocol: str) -> list[tuple[str, str]]:
    """Methods whose records were taken out, with the reason."""
    table = tables.submissions
    found = asdicts(table[(table["protocol"] == protocol) & (table["status"] == "retracted")])
    return [(line["method"], line["reason"]) for line in found]


def submit_steps(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The way from a method's file to a row of a protocol: sentences, each with its command."""
    task, name, file = facts["task"], facts["name"], "my_method"
    known = f"--protocol {shlex.quote(name)} --plugin {file}.py"
    return [
        ("Begin with a method of one file that works, and make it yours:", f"icmbench new method {file} --file"),
        ("Try its contract:", f"icmbench check {file} --plugin {file}.py --task {task}"),
        (
            "Compute its records under this protocol, with at least three seeds:",
            f"icmbench run {file} {task} {known} --seeds 3 --keep-bitstreams",
        ),
        (
            "Pack them into a bundle, with the plugin, the codecs and the bitstreams:",
            f"icmbench submit {file} {task} {known} --out {file}.zip --author 'Your Name' --licence Apache-2.0",
        ),
        ("See whether somebody else would get the same from it:", f"icmbench verify {file}.zip"),
        (
            "Send the bundle to whoever keeps this leaderboard. They verify it and add its records:",
            f"icmbench accept {file}.zip --results RESULTS",
        ),
    ]


STATUSES = (
    "A row is verified where all of its records came in a bundle whose bitstreams were decoded and scored again, with the scores "
    "that it claims. Other rows are claimed: they show what their author computed. Curves published elsewhere are external.",
    "Records can also be copied into the results folder: their paths spell what they are. One that was edited, is out of place "
    "or has impossible values is set aside with the reason.",
)


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


def as_csv(table: pd.DataFrame) -> str:
    """The numbers of a figure as CSV."""
    return markup.to_csv(list(table.columns), table.astype(object).where(table.notna(), None).to_numpy().tolist())
