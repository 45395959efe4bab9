"""What pages are about, and what the tables say of it: ranked lines, curves, axes. Knows neither Streamlit nor files."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from icmbench.leaderboard.derived import Tables
from icmbench.leaderboard.lines import Line, asdicts, where

FIRST_SHOWN = 5  # methods that a figure shows before anybody chose
COSTS = {
    "decode_seconds": "decoding, seconds an image",
    "encode_seconds": "encoding, seconds an image",
    "decoder_macs": "multiply-accumulates a pixel, decoder",
    "encoder_macs": "multiply-accumulates a pixel, encoder",
    "train_seconds": "training, seconds a rate point",
}


def protocol_names(tables: Tables) -> list[str]:
    """Identities of the protocols, those with most methods first."""
    return list(tables.protocols.sort_values(["methods", "protocol"], ascending=[False, True])["protocol"])


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
    """What a page is about, and what the tables say of it. `tables`: those of the chosen score."""

    tables: Tables
    choice: Choice

    @classmethod
    def own(cls, tables: Tables, protocol: str) -> "View":
        """A protocol against its own anchor."""
        return cls(tables, Choice(protocol, asdicts(where(tables.protocols, protocol=protocol))[0]["anchor"]))

    def link(self, page: str, **parameters: str) -> str:
        """The address of a page that is about the same but for these parameters; "" where there are no pages."""
        return ""

    def against(self, anchor: str) -> "View":
        """The same against another anchor."""
        return View(self.tables, replace(self.choice, anchor=anchor))

    def _ours(self, table: pd.DataFrame) -> pd.DataFrame:
        return where(table, protocol=self.choice.protocol)

    @cached_property
    def facts(self) -> Line:
        """The protocol's line."""
        return asdicts(self._ours(self.tables.protocols))[0]

    @property
    def anchors(self) -> list[str]:
        """What BD-rates can be taken against, the protocol's own anchor first."""
        return list(json.loads(self.facts["anchors"]))

    @property
    def metrics(self) -> list[str]:
        """The scores that the records of the protocol have, the primary one first."""
        return list(json.loads(self.facts["metrics"]))

    @cached_property
    def ranking(self) -> list[Line]:
        """The lines of the ranking against the chosen anchor, best first."""
        return asdicts(where(self._ours(self.tables.ranking), anchor=self.choice.anchor))

    def ranked(self, method: str) -> Line | None:
        """The method's line of the ranking."""
        return next((line for line in self.ranking if line["method"] == method), None)

    @property
    def methods(self) -> list[str]:
        """The methods in the order of the ranking."""
        return [line["method"] for line in self.ranking]

    @property
    def all_methods(self) -> list[str]:
        """What is ranked against any anchor, in the order against the protocol's own; a published curve may have another."""
        return list(dict.fromkeys(name for anchor in self.anchors for name in self.against(anchor).methods))

    @property
    def recorded(self) -> list[str]:
        """The methods that have records here, in the order of the ranking."""
        known = set(self.records()["method"])
        return [method for method in self.methods if method in known]

    @property
    def doubled(self) -> str:
        """How far the anchor still moves with twice its budget, in a sentence; "" where it was not measured."""
        line = next((line for line in self.ranking if line["anchor_doubled"] is not None), None)
        if line is None:
            return ""
        value, low, high = (line[f"anchor_doubled{end}"] for end in ("", "_low", "_high"))
        spread = "" if low is None else f" (95 % interval {low:+.1f} … {high:+.1f} %)"
        found = "it has not converged" if low is not None and not low <= 0 <= high else "that is not resolved"
        return f"With twice its training budget the anchor {self.choice.anchor} moves by {value:+.1f} %{spread}: {found}."

    @cached_property
    def at_rates(self) -> dict[float, dict[str, float | None]]:
        """Accuracy in percent by rate in bits per pixel and method; None where a curve does not reach the rate."""
        found: dict[float, dict[str, float | None]] = {}
        for line in asdicts(self._ours(self.tables.at_rates).sort_values("bpp", kind="stable")):
            found.setdefault(line["bpp"], {})[line["method"]] = line["score"]
        return found

    @cached_property
    def costs(self) -> dict[str, Line]:
        """Medians over a method's records, by method."""
        found = self.records().astype(dict.fromkeys(COSTS, float)).groupby("method")[list(COSTS)].median()
        return {line["method"]: line for line in asdicts(found.reset_index())}

    @property
    def cost_lines(self) -> list[Line]:
        """The ranking with what each method costs beside it, for methods whose cost is known."""
        return [line | self.costs[line["method"]] for line in self.ranking if line["method"] in self.costs]

    def records(self, **values: str) -> pd.DataFrame:
        """The records of the protocol with these values, by column."""
        return where(self._ours(self.tables.records), **values)

    def points(self, methods: Sequence[str]) -> pd.DataFrame:
        """The rate points of some methods."""
        table = self._ours(self.tables.points)
        return table[table["method"].isin(methods)]

    def gains(self, methods: Sequence[str]) -> pd.DataFrame:
        """Change of rate at equal accuracy of some methods."""
        table = where(self._ours(self.tables.gains), anchor=self.choice.anchor)
        return table[table["method"].isin(methods)]

    def provenance(self, method: str) -> Line | None:
        """Plugin, parameters and provenance of a method; None for a published curve."""
        return next(iter(asdicts(self.records(method=method).head(1))), None)

    def submission(self, method: str) -> Line | None:
        """What is known of the submission of a method; None for one whose records came otherwise."""
        return next(iter(asdicts(where(self._ours(self.tables.submissions), method=method))), None)

    @property
    def retracted(self) -> list[tuple[str, str]]:
        """Methods whose records were taken out, with the reason."""
        found = asdicts(where(self._ours(self.tables.submissions), status="retracted"))
        return [(line["method"], line["reason"]) for line in found]

    @property
    def axes(self) -> dict[str, list[str]]:
        """The parameter axes along which at least two settings were measured: plugin → names of the axes."""
        found: dict[str, list[str]] = {}
        for plugin, table in self.records().groupby("plugin"):
            given = [json.loads(text) for text in table.drop_duplicates("method")["parameters"]]
            names = sorted({name for parameters in given if len(parameters) == 1 for name in parameters})
            found[str(plugin)] = [name for name in names if len(self.along(str(plugin), name)) > 1]
        return {plugin: names for plugin, names in found.items() if names}

    def along(self, plugin: str, axis: str) -> list[Line]:
        """The ranking's lines of the settings that differ along one axis only, each with its `value`, in the order of values."""
        ranked = {line["method"]: line for line in self.ranking}
        found = []
        for line in asdicts(self.records(plugin=plugin, trained_under="").drop_duplicates("method")):
            given, defaults = json.loads(line["parameters"]), json.loads(line["defaults"])
            if set(given) <= {axis} and axis in given | defaults and line["method"] in ranked:
                found.append(ranked[line["method"]] | {"value": (given | defaults)[axis], "default": axis not in given})
        return sorted(found, key=lambda line: _order(line["value"]))


def _order(value: Any) -> tuple[float, str]:
    """Numbers by size, then text."""
    return (value, "") if isinstance(value, int | float) else (math.inf, str(value))


def placed(lines: Sequence[Line], by: str) -> list[Line]:
    """Those of the lines that have a BD-rate (the anchor has its 0) and this cost."""
    return [line for line in lines if line.get(by) is not None and (line["bd_rate"] is not None or line["reason"] == "anchor")]
