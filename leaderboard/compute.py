"""From a protocol's records to the lines of the leaderboard's tables: all that takes time, done where nobody waits."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator

from icmbench.compare.comparable import read_comparable
from icmbench.compare.comparison import Curves, curves, group_rows, only_anchor
from icmbench.compare.difference import elsewhere, trained
from icmbench.compare.resamples import source
from icmbench.compare.row import Row
from icmbench.extras.curves.external import ExternalCurve, external_rows
from icmbench.leaderboard import pairs
from icmbench.leaderboard.lines import Line, as_json
from icmbench.plugins.find import INSTALLED
from icmbench.schema.protocol import doubled
from icmbench.schema.record import Record
from icmbench.schema.store import Store
from icmbench.show.bdrate_table import notes, numbers, with_ends
from icmbench.stats.bdrate import MIN_POINTS, Curve, relative_difference
from icmbench.stats.monotone import rising

FIXED = (0.1, 0.5, 0.9)  # where in the anchor's range of ln rate accuracies are compared
Lines = list[Line]


def lines(results: Path, identity: str, metric: str | None, published: Sequence[ExternalCurve]) -> dict[str, Lines]:
    """The lines of every table that `derived.Tables` names, of the records of one protocol and the curves published for it.

    `metric`: the score to compare by; None: the protocol's primary one.
    """
    store = Store(results)
    records, aside = read_comparable(store, INSTALLED, identity)
    tables = {"broken": broken(results, aside)}
    for group in curves(records, metric):
        longer, _ = read_comparable(store, INSTALLED, doubled(group.protocol).identity)
        twice = next(iter(curves(longer, group.metric)), None)
        theirs = [_named_apart(curve, group) for curve in published]
        found = _rows(group, twice, store, theirs)
        tables["ranking"] = [_flat(row, anchor) for anchor, rows in found.items() for row in rows]
        tables["points"] = _points(group, {row.method: row for rows in found.values() for row in rows}.values())
        tables["at_rates"] = _at_rates(group)
        tables["gains"] = [line for anchor, rows in found.items() for line in _gains(anchor, rows)]
        tables["records"] = [_record(record, store, group.metric) for record in records]
        tables["protocols"] = [_protocol(group, list(found), records)]
    return tables


def broken(results: Path, aside: Mapping[Path, str]) -> Lines:
    """Files that were set aside, with the reason."""
    return [{"path": str(path.relative_to(results)), "reason": reason} for path, reason in aside.items()]


def anchors(group: Curves) -> list[str]:
    """What BD-rates can be taken against: the protocol's anchor first, then all codecs that were not trained for the task."""
    fixed = [label for label, seeds in group.records.items() if not trained(seeds) and not elsewhere(seeds)]
    return [group.protocol.anchor, *sorted(set(fixed) - {group.protocol.anchor})]


def _named_apart(curve: ExternalCurve, group: Curves) -> ExternalCurve:
    """A published curve that shares no name with a method."""
    return curve.model_copy(update={"name": f"{curve.name} (external)"}) if curve.name in group.records else curve


def _rows(group: Curves, twice: Curves | None, store: Store, published: Sequence[ExternalCurve]) -> dict[str, list[Row]]:
    """The rows against every anchor that can be chosen, with the published curves that compare with it."""
    resampled = pairs.remembering(source(store, INSTALLED))
    found = {anchor: group_rows(replace(group, anchor=anchor), twice, resampled, pairs.kept) for anchor in anchors(group)}
    return {anchor: [*rows, *external_rows(published, rows)] for anchor, rows in found.items()}


def _flat(row: Row, anchor: str) -> Line:
    status = {"status": "external" if row.external else "claimed", "notes": as_json(notes(row))}
    return {"anchor": anchor} | numbers(row) | status


def _points(group: Curves, rows: Iterable[Row]) -> Lines:
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
        | {"bpp": record.bpp, "score": record.scores[group.metric]}
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


def _at_rates(group: Curves) -> Lines:
    """Accuracy at each of those rates, averaged over the seeds; None where a curve does not reach the rate."""
    found = []
    for label, seeds in group.records.items():
        for rate in fixed_rates(group):
            scores = [_score_at(group.curve(label, seed), rate) for seed in seeds]
            known = [score for score in scores if score is not None]
            mean = float(np.mean(known)) if len(known) == len(scores) else None
            found.append({"protocol": group.protocol.identity, "method": label, "bpp": rate, "score": mean})
    return found


def _score_at(curve: Curve, rate: float) -> float | None:
    """By PCHIP over ln rate."""
    points = rising(np.array([(np.log(bpp), score) for bpp, score in sorted(curve)]))
    if len(points) < MIN_POINTS or not points[0, 0] <= np.log(rate) <= points[-1, 0]:
        return None
    return float(PchipInterpolator(points[:, 0], points[:, 1])(np.log(rate)))


def _gains(anchor: str, rows: Sequence[Row]) -> Lines:
    """Change of rate at equal accuracy along the curves, of the means over the seeds."""
    means = {row.method: [(point.bpp.value, point.score.value) for point in row.points] for row in rows}
    return [
        {"protocol": rows[0].protocol, "anchor": anchor, "method": label, "score": score, "percent": percent}
        for label, curve in means.items()
        if label != anchor and anchor in means
        for score, percent in _along(means[anchor], curve)
    ]


def _along(anchor: Curve, curve: Curve) -> list[tuple[float, float]]:
    try:
        scores, percents = relative_difference(anchor, curve, count=41)
    except (ArithmeticError, ValueError):  # differences of finite figures may still overflow
        return []
    return [(s, p) for s, p in zip(scores.tolist(), percents.tolist(), strict=True) if np.isfinite(p)]


def _record(record: Record, store: Store, metric: str) -> Line:
    """A record's figures in a line, and the rest of it as JSON."""
    cost, environment, path = record.cost, record.environment, store.path_of(record)
    same = "trained_under point seed images bpp estimated_bpp psnr method_sha256 start_sha256 created"
    costs = "codec_parameters training_only_parameters steps train_seconds train_device"
    return {
        "protocol": record.protocol.identity,
        "method": record.label,
        "plugin": record.method,
        "position": record.rate_index,
        "score": record.scores.get(metric),
        **{name: getattr(record, name) for name in same.split()},
        **{name: getattr(cost, name) for name in costs.split()},
        **{name: as_json(getattr(record, name)) for name in ("parameters", "defaults", "scores", "warnings")},
        "encoder_macs": cost.encoder.macs_per_pixel,
        "decoder_macs": cost.decoder.macs_per_pixel,
        "encode_seconds": cost.encoder.seconds,
        "decode_seconds": cost.decoder.seconds,
        "device": environment.device + (f", {cost.packed} cells at once" if cost.packed > 1 else ""),
        "icmbench": environment.icmbench,
        "commit": environment.commit,
        "path": str(path.relative_to(store.folder)),
        "seal": json.loads(path.read_text())["content_sha256"],
    }


def _protocol(group: Curves, chosen: Sequence[str], records: Sequence[Record]) -> Line:
    protocol, primary = group.protocol, group.protocol.evaluation.metric
    metrics = dict.fromkeys([primary, *(name for record in records for name in record.scores if name in record.ceiling)])
    return {
        "protocol": protocol.identity,
        **{name: getattr(protocol, name) for name in ("name", "hash", "task", "summary", "anchor")},
        "metric": group.metric,
        "metrics": as_json(list(metrics)),
        "ceiling": group.ceiling,
        "anchors": as_json(chosen),
        "methods": len(group.records),
        "records": len(records),
        "images": max(record.images for record in records),
        "doubled": doubled(protocol).identity,
        "only_anchor": only_anchor(group),
        "definition": protocol.model_dump_json(by_alias=True),
        "ceilings": as_json(records[0].ceiling),
    }
