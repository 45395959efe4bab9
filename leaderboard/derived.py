"""The leaderboard's tables: made of the records once, kept as Parquet, and made anew only where records changed.

A protocol's tables are keyed by the content of its records, so that a folder that was copied, cloned or added to needs
no more work than what is new in it. Pages read these tables and never compute a BD-rate.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from icmbench.base import cache
from icmbench.base.files import build_once, sha256
from icmbench.compare import summary
from icmbench.extras.curves import external
from icmbench.leaderboard import compute, submitted
from icmbench.schema.protocol import CHANGED
from icmbench.schema.store import Store

READ = ("*@*/*/*", "external/*.json", "submissions/**/*")  # what the tables are made of
MOST = {"leaderboard": 1000, "pairs": 20_000, "classes": 20_000}  # files and folders of each kind that are kept
Report = Callable[[str], None]


ABOUT = {
    "protocols": "what was measured under which rules",
    "ranking": "the rows of the ranking, once for every anchor",
    "points": "rate points, over the seeds (seed −1) and at each of them",
    "at_rates": "accuracy at rates of the anchor",
    "gains": "change of rate at equal accuracy along the curves",
    "records": "one line a record",
    "submissions": "who submitted a method, and whether it was verified",
    "broken": "files that were set aside, with the reason",
}
NAMES = tuple(ABOUT)


@dataclass(frozen=True)
class Tables:
    """Everything that pages show, as `ABOUT` says, joined by the columns `protocol`, `anchor` and `method`."""

    protocols: pd.DataFrame
    ranking: pd.DataFrame
    points: pd.DataFrame
    at_rates: pd.DataFrame
    gains: pd.DataFrame
    records: pd.DataFrame
    submissions: pd.DataFrame
    broken: pd.DataFrame


COLUMNS = {  # of tables that may be empty
    "ranking": ["protocol", "anchor", "method"],
    "points": ["protocol", "method", "seed", "position", "point", "bpp", "score"],
    "at_rates": ["protocol", "method", "bpp", "score"],
    "gains": ["protocol", "anchor", "method", "score", "percent"],
    "records": ["protocol", "method", "seal"],
    "submissions": ["protocol", "method", "status"],
    "broken": ["path", "reason"],
    "protocols": ["protocol", "methods", "doubled", "only_anchor"],
}


def no_report(text: str) -> None:
    """A report that says nothing."""


def build(results: Path, report: Report = no_report, metrics: Mapping[str, str] | None = None) -> Tables:
    """The tables of a results folder, computed where they are not kept yet. `report` hears which protocol is computed.

    `metrics`: the score to compare by, by the identity of the protocol; the primary one of those that it leaves out.
    Raises UserError where the cache folder cannot be written.
    """
    chosen = metrics or {}
    found = [_tables(results, identity, chosen.get(identity), report) for identity in _identities(results)]
    for kind, most in MOST.items():
        cache.clear_away(kind, most)
    tables = {name: _joined(name, [one[name] for one in found]) for name in NAMES}
    submissions, no_submissions = submitted.read(results)
    tables["submissions"] = _joined("submissions", [pd.DataFrame(submissions)])
    tables["ranking"] = submitted.with_status(tables["ranking"], tables["records"], submissions)
    broken = compute.broken(results, external.read(results)[1] | no_submissions)
    tables["broken"] = _joined("broken", [tables["broken"], pd.DataFrame(broken)])
    beside = _beside(tables["protocols"])
    return Tables(**{name: _without(table, beside) for name, table in tables.items()})


def signature(results: Path) -> str:
    """Digest of the names, sizes and times of all files, by which tables that may be out of date are known."""
    return summary.signature(results, READ)


def _identities(results: Path) -> list[str]:
    return sorted(path.name for path in results.glob("*@*") if path.is_dir())


def _tables(results: Path, identity: str, metric: str | None, report: Report) -> dict[str, pd.DataFrame]:
    published = [curve for curve in external.read(results)[0] if curve.protocol == identity]
    read = [_content(results, identity), _twice(results, identity), [curve.model_dump_json() for curve in published]]
    folder = cache.place("leaderboard", f"{identity}-{cache.key(identity, metric, read)}")

    def make(made: Path) -> None:
        report(identity)
        lines = compute.lines(results, identity, metric, published)
        for name in NAMES:
            _joined(name, [pd.DataFrame(lines.get(name, []))]).to_parquet(made / f"{name}.parquet", index=False)

    build_once(folder, make)
    try:
        return _read(folder)
    except (OSError, ValueError):  # not whole
        shutil.rmtree(folder)
        return _read(build_once(folder, make))


def _read(folder: Path) -> dict[str, pd.DataFrame]:
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in NAMES}


def _content(results: Path, identity: str) -> list[Any]:
    """What stands for a protocol's records: the content of each, and for the rows of their images sizes and times.

    The rows' own digest is in the record, and is checked whenever a table is made.
    """
    records = [(str(path.relative_to(results)), sha256(path)) for path in Store(results).files(identity)]
    return [records, summary.signature(results, [f"{identity}/*/*.parquet"])]


def _twice(results: Path, identity: str) -> list[Any]:
    """The content of whatever may be the same protocol with a doubled budget."""
    changed = f"{identity.split('@', maxsplit=1)[0].removesuffix(CHANGED)}{CHANGED}@"
    return [_content(results, other) for other in _identities(results) if other.startswith(changed)]


def _joined(name: str, tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLUMNS[name])


def _beside(protocols: pd.DataFrame) -> set[str]:
    """Protocols that are there only to say how far an anchor still moves with a doubled budget."""
    alone = protocols[protocols["only_anchor"].astype(bool)]
    return set(protocols["doubled"]) & set(alone["protocol"])


def _without(table: pd.DataFrame, protocols: set[str]) -> pd.DataFrame:
    return table[~table["protocol"].isin(protocols)].reset_index(drop=True) if "protocol" in table else table
