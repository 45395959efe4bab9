"""From a protocol's records to the lines of the leaderboard's tables: all that takes time, done where nobody waits."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from icmbench.compare.comparison import Curves, as_group, curves, group_rows, only_anchor
from icmbench.compare.difference import plain, trained
from icmbench.compare.resamples import read, source
from icmbench.compare.row import Row
from icmbench.extras.curves import external
from icmbench.extras.curves.external import ExternalCurve
from icmbench.leaderboard import pairs
from icmbench.plugins.find import INSTALLED
from icmbench.schema.protocol import Protocol, doubled
from icmbench.schema.record import Record, Store
from icmbench.show.bdrate_table import notes, numbers, with_ends
from icmbench.stats.bdrate import MIN_POINTS, Curve, relative_difference
from icmbench.stats.monotone import rising

FIXED = (0.1, 0.5, 0.9)  # where in the anchor's range of ln rate accuracies are compared
Lines = list[dict[str, Any]]


def lines(results: Path, identity: str, published: Sequence[ExternalCurve]) -> dict[str, Lines]:
    """The lines of every table that `derived.Tables` names, of the records of one protocol and the curves published for it."""
    store = Store(results)
    records, broken = read(store, INSTALLED, identity)
    tables = {"broken": [{"path": str(path.relative_to(results)), "reason": reason} for path, reason in broken.items()]}
    for group in curves(records):
        longer, _ = read(store, INSTALLED, doubled(group.protocol).identity)
        twice = next(iter(curves(longer)), None)
        theirs = [_named_apart(curve, group) for curve in published]
        found = _rows(group, twice, store, theirs)
        tables["ranking"] = [_flat(row, anchor) for anchor, rows in found.items() for row in rows]
        tables["points"] = _points(group, {row.method: row for rows in found.values() for row in rows}.values())
        tables["at_rates"] = _at_rates(group)
        tables["gains"] = _gains(group, list(found), theirs)
        tables["records"] = [_record(record, store) for record in records]
        tables["protocols"] = [_protocol(group, list(found))]
    return tables


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
    resampled = pairs.remembering(source(store, INSTALLED))
    return {
        anchor: group_rows(replace(group, anchor=anchor), twice, resampled, published, pairs.kept) for anchor in anchors(group)
    }


def _flat(row: Row, anchor: str) -> dict[str, Any]:
    status = {"status": "external" if row.external else "claimed", "notes": json.dumps(notes(row), ensure_ascii=False)}
    return {"anchor": anchor} | numbers(row) | status


def _points(group: Curves, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Every rate point over the seeds (seed −1, with intervals) and at each of them."""
    mean = [
        {"protocol": row.protocol, "method": row.method, "seed": -1, "position": number, "point": point.name}
        | with_ends("bpp", point.bpp)
        | with_ends("score", point.score)
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
    cost, path = record.cost, store.path_of(record)
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
        "device": record.environment.device + (f", {cost.packed} cells at once" if cost.packed > 1 else ""),
        "icmbench": record.environment.icmbench,
        "commit": record.environment.commit,
        "method_sha256": record.method_sha256,
        "start_sha256": record.start_sha256,
        "created": record.created,
        "warnings": json.dumps(record.warnings, ensure_ascii=False),
        "path": str(path.relative_to(store.folder)),
        "seal": json.loads(path.read_text())["content_sha256"],
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
