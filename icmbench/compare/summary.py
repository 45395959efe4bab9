"""The summary of a results folder: the BD-rate table and the files set aside, cached until any file changes.

The cache has one file per results folder and score. A cached table is shown without loading the code that makes one.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from glob import glob
from pathlib import Path
from typing import Any

from icmbench.base import cache
from icmbench.base.errors import UserError
from icmbench.base.files import sha256, write_text
from icmbench.compare.row import Point, Row
from icmbench.plugins.find import Plugins
from icmbench.schema.store import Store
from icmbench.stats.confidence import Estimate

READ = ("*@*/*/*",)  # the files that the table depends on


@dataclass(frozen=True)
class Summary:
    """`rows`: the table. `aside`: (path in the results folder, reason) of the files that are not compared."""

    rows: list[Row]
    aside: list[tuple[str, str]]


def summary(store: Store, plugins: Plugins, metric: str | None = None) -> Summary:
    """The summary of a results folder, from the cache if no file has changed.

    `metric`: the score to compare by; None: each protocol's own.
    """
    state = cache.key(signature(store.folder, READ), [sha256(path) for path in plugins.files])
    name = hashlib.sha256(f"{store.folder.resolve()} {metric}".encode()).hexdigest()[:32]
    path = cache.place("tables", f"{name}.json")
    try:
        kept = json.loads(path.read_text())
        if kept["state"] == state:
            return _parse(kept["summary"])
    except (OSError, ValueError, KeyError, TypeError):  # no file, or a damaged one
        pass
    table = _make(store, plugins, metric)
    with suppress(UserError):  # a table that cannot be kept can still be shown
        write_text(path, json.dumps({"state": state, "summary": asdict(table)}))
    return table


def signature(folder: Path, patterns: Iterable[str]) -> str:
    """Digest of the names, sizes and times of all files, which changes if any of them does."""
    names = sorted(name for pattern in patterns for name in glob(pattern, root_dir=folder, recursive=True))
    stats = [(name, _stat(f"{folder}/{name}")) for name in names]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def _stat(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _make(store: Store, plugins: Plugins, metric: str | None) -> Summary:
    from icmbench.compare.comparable import read_comparable
    from icmbench.compare.comparison import rows
    from icmbench.compare.resamples import source

    for kind in ("tables", "resamples"):
        cache.clear_away(kind)
    records, aside = read_comparable(store, plugins)
    named = [(str(path.relative_to(store.folder)), reason) for path, reason in aside.items()]
    return Summary(rows(records, source(store, plugins), metric) if records else [], named)


def _parse(fields: dict[str, Any]) -> Summary:
    return Summary([_row(row) for row in fields["rows"]], [(name, reason) for name, reason in fields["aside"]])


def _row(fields: dict[str, Any]) -> Row:
    estimates = {name: _estimate(fields[name]) for name in ("bd_rate", "bd_metric", "anchor_doubled")}
    points = tuple(
        Point(point["name"], Estimate(**point["bpp"]), Estimate(**point["score"]), point["assessed"])
        for point in fields["points"]
    )
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return Row(**fields | estimates | lists | {"points": points})


def _estimate(fields: dict[str, Any] | None) -> Estimate | None:
    return None if fields is None else Estimate(**fields)
