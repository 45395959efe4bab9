"""The leaderboard's tables: made of the records once, kept as Parquet, and made anew only where records changed.

A protocol's tables are keyed by the content of its records, so that a folder that was copied, cloned or added to needs
no more work than what is new in it. Pages read these tables and never compute a BD-rate.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator

from icmbench import __version__, external
from icmbench.comparison import Curves, Row, as_group, curves, group_rows, only_anchor
from icmbench.difference import plain, trained
from icmbench.external import ExternalCurve
from icmbench.files import build_once, cache_root
from icmbench.leaderboard import pairs
from icmbench.protocol import Protocol, doubled
from icmbench.record import Record, Store
from icmbench.resamples import Resampled, Source, source
from icmbench.stats.bdrate import MIN_POINTS, Curve, relative_difference
from icmbench.stats.confidence import Estimate
from icmbench.stats.monotone import rising
from icmbench.table import notes

SCHEMA = 1  # of these tables: another one makes all of them anew
CHANGED = "+changed"
MONTH = 30 * 86400  # seconds
FIXED = (0.1, 0.5, 0.9)  # where in the anchor's range of ln rate accuracies are compared
Report = Callable[[str], None]


@dataclass(frozen=True)
class Tables:
    """Everything that pages show, one line of a table a thing, joined by the columns `protocol`, `anchor` and `method`.

    `protocols`: what was measured under which rules. `ranking`: `comparison.Row` flattened, once for every anchor that can be
    chosen. `points`: a rate point of a method, over the seeds. `at_rates`: accuracy at the anchor's rates. `gains`: change of
    rate, quality by quality. `records`: one a record. `broken`: files that are no sound record, with the reason.
    """

    protocols: pd.DataFrame
    ranking: pd.DataFrame
    points: pd.DataFrame
    at_rates: pd.DataFrame
    gains: pd.DataFrame
    records: pd.DataFrame
    broken: pd.DataFrame


NAMES = tuple(field.name for field in fields(Tables))
COLUMNS = {  # of tables that may be empty
    "ranking": ["protocol", "anchor", "method"],
    "points": ["protocol", "method", "seed", "position", "point", "bpp", "score"],
    "at_rates": ["protocol", "method", "bpp", "score"],
    "gains": ["protocol", "anchor", "method", "score", "percent"],
    "records": ["protocol", "method"],
    "broken": ["path", "reason"],
    "protocols": ["protocol", "methods", "doubled", "only_anchor"],
}


def silent(text: str) -> None:
    """A report that says nothing."""


def build(results: Path, report: Report = silent) -> Tables:
    """The tables of a results folder, computed where they are not kept yet. `report` hears which protocol is computed.

    Raises UserError where the cache folder cannot be written.
    """
    found = [_tables(results, identity, report) for identity in _identities(results)]
    tables = {name: _joined(name, [one[name] for one in found]) for name in NAMES}
    tables["broken"] = _joined("broken", [tables["broken"], _broken_external(results)])
    beside = _beside(tables["protocols"])
    return Tables(**{name: _without(table, beside) for name, table in tables.items()})


def signature(results: Path) -> str:
    """Digest of the names, sizes and times of all files, by which tables that may be out of date are known."""
    names = [*glob("*@*/*/*", root_dir=results), *glob("external/*.json", root_dir=results)]
    return _digest([(name, _stat(os.path.join(results, name))) for name in sorted(names)])


def _identities(results: Path) -> list[str]:
    return sorted(path.name for path in results.glob("*@*") if path.is_dir())


def _tables(results: Path, identity: str, report: Report) -> dict[str, pd.DataFrame]:
    published = [curve for curve in external.read(results)[0] if curve.protocol == identity]
    read = [_content(results, identity), _twice(results, identity), [curve.model_dump_json() for curve in published]]
    folder = cache_root() / "leaderboard" / f"{identity}-{_digest([SCHEMA, __version__, identity, *read])[:16]}"

    def make(made: Path) -> None:
        report(identity)
        for name, table in _compute(results, identity, published).items():
            table.to_parquet(made / f"{name}.parquet", index=False)
        _clear_away(folder.parent)

    build_once(folder, make)
    os.utime(folder)  # last used
    try:
        return _read(folder)
    except (OSError, ValueError):  # not whole
        shutil.rmtree(folder)
        return _read(build_once(folder, make))


def _read(folder: Path) -> dict[str, pd.DataFrame]:
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in NAMES}


def _clear_away(folder: Path) -> None:
    """Remove the tables that nobody used for a month."""
    for path in folder.glob("*@*"):
        if path.is_dir() and time.time() - path.stat().st_mtime > MONTH:
            shutil.rmtree(path, ignore_errors=True)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _content(results: Path, identity: str) -> list[Any]:
    """What stands for a protocol's records: the content of each, and for the rows of its images their size and time.

    The rows' own digest is in the record, and is checked whenever a table is made.
    """
    paths = Store(results).files(identity)
    return [(str(path.relative_to(results)), _sha256(path), _stat(path.with_suffix(".parquet"))) for path in paths]


def _twice(results: Path, identity: str) -> list[Any]:
    """The content of whatever may be the same protocol with a doubled budget."""
    changed = f"{identity.split('@', maxsplit=1)[0].removesuffix(CHANGED)}{CHANGED}@"
    return [_content(results, other) for other in _identities(results) if other.startswith(changed)]


def _stat(path: str | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _sha256(path: Path) -> str:
    return _sha256_at(path, _stat(path))


@cache
def _sha256_at(path: Path, when: tuple[int, int] | None) -> str:
    """A file is read again only where its size or time is another."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _compute(results: Path, identity: str, published: Sequence[ExternalCurve]) -> dict[str, pd.DataFrame]:
    store = Store(results)
    records, broken = store.read(identity)
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    tables["broken"] = [{"path": str(path.relative_to(results)), "reason": reason} for path, reason in broken.items()]
    for group in curves(records):
        longer, _ = store.read(doubled(group.protocol).identity)
        twice = next(iter(curves(longer)), None)
        theirs = [_named_apart(curve, group) for curve in published]
        found = _rows(group, twice, store, theirs)
        tables["ranking"] += [_flat(row, anchor) for anchor, rows in found.items() for row in rows]
        tables["points"] += _points(group, {row.method: row for rows in found.values() for row in rows}.values())
        tables["at_rates"] += _at_rates(group)
        tables["gains"] += _gains(group, list(found), theirs)
        tables["records"] += [_record(record, store) for record in records]
        tables["protocols"].append(_protocol(group, list(found)))
    return {name: _frame(name, lines) for name, lines in tables.items()}


def _frame(name: str, lines: Sequence[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(lines) if lines else pd.DataFrame(columns=COLUMNS[name])


def _joined(name: str, tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLUMNS[name])


def _beside(protocols: pd.DataFrame) -> set[str]:
    """Protocols that are there only to say how far an anchor still moves with a doubled budget."""
    twice = set(protocols["doubled"])
    alone = protocols[protocols["only_anchor"].astype(bool)]
    return twice & set(alone["protocol"])


def _without(table: pd.DataFrame, protocols: set[str]) -> pd.DataFrame:
    if "protocol" not in table or not protocols:
        return table
    return table[~table["protocol"].isin(protocols)].reset_index(drop=True)


def _broken_external(results: Path) -> pd.DataFrame:
    _, broken = external.read(results)
    return _frame("broken", [{"path": str(path.relative_to(results)), "reason": reason} for path, reason in broken.items()])


def anchors(group: Curves) -> list[str]:
    """What BD-rates can be taken against: the protocol's anchor first, then all codecs that were not trained for the task."""
    fixed = [label for label, seeds in group.records.items() if not trained(seeds) and not _elsewhere(seeds)]
    return [group.protocol.anchor, *sorted(set(fixed) - {group.protocol.anchor})]


def _elsewhere(seeds: dict[int, list[Record]]) -> bool:
    return any(record.trained_under for curve in seeds.values() for record in curve)


def _named_apart(curve: ExternalCurve, group: Curves) -> ExternalCurve:
    """A published curve that shares no name with a method."""
    return curve.model_copy(update={"name": f"{curve.name} (external)"}) if curve.name in group.records else curve


def _rows(group: Curves, twice: Curves | None, store: Store, published: Sequence[ExternalCurve]) -> dict[str, list[Row]]:
    """The rows against every anchor that can be chosen."""
    resampled = _remembering(source(store))
    return {
        anchor: group_rows(replace(group, anchor=anchor), twice, resampled, published, pairs.kept) for anchor in anchors(group)
    }


def _remembering(resampled: Source) -> Source:
    """The same, reading what a record left once."""
    known: dict[tuple[str, str, str, int], Resampled | None] = {}

    def of(record: Record) -> Resampled | None:
        key = record.protocol_hash, record.label, record.point, record.seed
        if key not in known:
            known[key] = resampled(record)
        return known[key]

    return of


def _flat(row: Row, anchor: str) -> dict[str, Any]:
    estimates = {"bd_rate": row.bd_rate, "bd_metric": row.bd_metric, "anchor_doubled": row.anchor_doubled}
    plain_fields = (
        "protocol",
        "method",
        "metric",
        "ceiling",
        "seeds",
        "akima",
        "overlap",
        "reason",
        "device",
        "external",
        "policy",
    )
    return (
        {"anchor": anchor, "rank": row.rank}
        | {name: getattr(row, name) for name in plain_fields}
        | {key: value for name, found in estimates.items() for key, value in _three(name, found).items()}
        | {
            "resolved": bool(row.bd_rate and row.bd_rate.resolved),
            "status": "external" if row.external else "claimed",
            "notes": json.dumps(notes(row), ensure_ascii=False),
        }
    )


def _three(name: str, found: Estimate | None) -> dict[str, float | None]:
    value, low, high = (found.value, found.low, found.high) if found else (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _points(group: Curves, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Every rate point over the seeds (seed −1, with intervals) and at each of them."""
    mean = [
        {"protocol": row.protocol, "method": row.method, "seed": -1, "position": number, "point": point.name}
        | _three("bpp", point.bpp)
        | _three("score", point.score)
        for row in rows
        for number, point in enumerate(row.points)
    ]
    single = [
        {"protocol": group.protocol.identity, "method": label, "seed": seed, "position": number, "point": record.point}
        | {"bpp": record.bpp, "score": record.quality}
        for label, seeds in group.records.items()
        for seed, curve in seeds.items()
        for number, record in enumerate(curve)
    ]
    return mean + single


def fixed_rates(group: Curves) -> list[float]:
    """Rates at which accuracies are compared: inside the anchor's range, evenly in ln rate, to two significant digits."""
    label = group.anchor if group.anchor in group.records else next(iter(group.records))
    rates = [record.bpp for curve in group.records[label].values() for record in curve]
    low, high = np.log(min(rates)), np.log(max(rates))
    return sorted({float(f"{np.exp(low + part * (high - low)):.2g}") for part in FIXED})


def _at_rates(group: Curves) -> list[dict[str, Any]]:
    rates = fixed_rates(group)
    return [
        {"protocol": group.protocol.identity, "method": label, "bpp": rate, "score": _score_at(seeds, rate)}
        for label, seeds in group.records.items()
        for rate in rates
    ]


def _score_at(seeds: dict[int, list[Record]], rate: float) -> float | None:
    """Accuracy at a rate by PCHIP over ln rate, averaged over the seeds; None where a curve does not reach the rate."""
    found = [_score_of(curve, rate) for curve in seeds.values()]
    present = [value for value in found if value is not None]
    return float(np.mean(present)) if len(present) == len(found) else None


def _score_of(curve: Sequence[Record], rate: float) -> float | None:
    points = rising(np.array([(np.log(bpp), score) for bpp, score in sorted(plain(curve))]))
    if len(points) < MIN_POINTS or not points[0, 0] <= np.log(rate) <= points[-1, 0]:
        return None
    return float(PchipInterpolator(points[:, 0], points[:, 1])(np.log(rate)))


def _gains(group: Curves, chosen: Sequence[str], published: Sequence[ExternalCurve]) -> list[dict[str, Any]]:
    """Change of rate at equal accuracy along the curves, of the means over the seeds."""
    lines = []
    ours = {label: as_group(replace(group, anchor=label)).curve for label in group.records}
    for anchor in chosen:
        against = as_group(replace(group, anchor=anchor))
        theirs = {curve.name: curve.points for curve in published if not external.why_not(curve, against)}
        for label, curve in (ours | theirs).items():
            lines += [
                {"protocol": group.protocol.identity, "anchor": anchor, "method": label, "score": score, "percent": percent}
                for score, percent in (_along(against.curve, curve) if label != anchor else [])
            ]
    return lines


def _along(anchor: Curve, curve: Curve) -> list[tuple[float, float]]:
    try:
        scores, percents = relative_difference(anchor, curve, count=41)
    except (ArithmeticError, ValueError):  # differences of finite figures may still overflow
        return []
    return [(s, p) for s, p in zip(scores.tolist(), percents.tolist(), strict=True) if np.isfinite(p)]


def _record(record: Record, store: Store) -> dict[str, Any]:
    """A record's figures in a line, and the rest of it as JSON."""
    cost = record.cost
    return {
        "protocol": record.protocol.identity,
        "method": record.label,
        "plugin": record.method,
        "parameters": json.dumps(record.parameters, ensure_ascii=False),
        "defaults": json.dumps(record.defaults, ensure_ascii=False),
        "trained_under": record.trained_under,
        "point": record.point,
        "position": record.rate_index,
        "seed": record.seed,
        "images": record.images,
        "bpp": record.bpp,
        "estimated_bpp": record.estimated_bpp,
        "score": record.quality,
        "psnr": record.psnr,
        "scores": json.dumps(record.scores, ensure_ascii=False),
        "encoder_macs": cost.encoder.macs_per_pixel,
        "decoder_macs": cost.decoder.macs_per_pixel,
        "encode_seconds": cost.encoder.seconds,
        "decode_seconds": cost.decoder.seconds,
        "codec_parameters": cost.codec_parameters,
        "training_only_parameters": cost.training_only_parameters,
        "steps": cost.steps,
        "train_seconds": cost.train_seconds,
        "train_device": cost.train_device,
        "device": record.environment.device,
        "icmbench": record.environment.icmbench,
        "commit": record.environment.commit,
        "method_sha256": record.method_sha256,
        "start_sha256": record.start_sha256,
        "created": record.created,
        "warnings": json.dumps(record.warnings, ensure_ascii=False),
        "path": str(store.path_of(record).relative_to(store.folder)),
    }


def _protocol(group: Curves, chosen: Sequence[str]) -> dict[str, Any]:
    protocol: Protocol = group.protocol
    records = [record for seeds in group.records.values() for curve in seeds.values() for record in curve]
    return {
        "protocol": protocol.identity,
        "name": protocol.name,
        "hash": protocol.hash,
        "task": protocol.task,
        "summary": protocol.summary,
        "metric": group.metric,
        "ceiling": group.ceiling,
        "anchor": protocol.anchor,
        "anchors": json.dumps(chosen, ensure_ascii=False),
        "methods": len(group.records),
        "records": len(records),
        "images": max(record.images for record in records),
        "doubled": doubled(protocol).identity,
        "only_anchor": only_anchor(group),
        "definition": protocol.model_dump_json(by_alias=True),
        "ceilings": json.dumps(records[0].ceiling, ensure_ascii=False),
    }


def asdicts(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The lines of a table, with None where there is no value."""
    names = [str(name) for name in table]
    return [dict(zip(names, values, strict=True)) for values in zip(*(_values(table[name]) for name in names), strict=True)]


def _values(column: "pd.Series[Any]") -> list[Any]:
    return [None if missing else value for value, missing in zip(column.tolist(), column.isna().tolist(), strict=True)]
