"""From records to rows: every method's curve against the anchor's, seed by seed, with intervals and rank bands."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from icmbench.compare.difference import Comparer, Difference, Seeds, compare, elsewhere, plain, trained
from icmbench.compare.resamples import Source, no_resamples
from icmbench.compare.row import ANCHOR, Point, Row
from icmbench.compare.verdict import corrected, lacking, ranking
from icmbench.schema.protocol import Protocol, doubled
from icmbench.schema.record import Record, beyond_budget
from icmbench.stats.bdrate import BDRate
from icmbench.stats.confidence import Estimate, estimate

FALLING = 0.98
ONE_SIDED = {
    "seeds": "the interval covers the seeds only: the images cannot be resampled",
    "images": "the interval covers the images only: neither codec is trained",
}


@dataclass(frozen=True)
class Curves:
    """The records of one protocol by method label and seed, each curve in the order of the rate points.

    `anchor`: the label that all others are compared with, the protocol's anchor unless another was chosen. `metric`: the score
    that they are compared by, the protocol's primary one unless another was chosen.
    """

    protocol: Protocol
    records: dict[str, Seeds]
    anchor: str
    metric: str

    @property
    def ceiling(self) -> float:
        """The score on uncompressed images."""
        record = next(record for seeds in self.records.values() for curve in seeds.values() for record in curve)
        return record.ceiling[self.metric]

    def curve(self, label: str, seed: int) -> list[tuple[float, float]]:
        """(bpp, score) of a method at one seed, in the order of the rate points."""
        return plain(self.records[label][seed], self.metric)


def curves(records: Sequence[Record], metric: str | None = None) -> list[Curves]:
    """Group records by protocol (name and hash), method and seed; protocols never mix.

    `metric`: the score to compare by; None: each protocol's own. Records without that score are left out.
    """
    groups: dict[str, Curves] = {}
    for record in sorted(records, key=lambda r: (r.protocol.identity, r.label, r.seed, r.rate_index)):
        default = Curves(record.protocol, {}, record.protocol.anchor, metric or record.metric)
        group = groups.setdefault(record.protocol.identity, default)
        if group.metric in record.scores and group.metric in record.ceiling:
            group.records.setdefault(record.label, {}).setdefault(record.seed, []).append(record)
    return [group for group in groups.values() if group.records]


def rows(records: Sequence[Record], resampled: Source = no_resamples, metric: str | None = None) -> list[Row]:
    """The table, sorted by protocol, then by rank and BD-rate; methods without a BD-rate are last. `metric`: as in `curves`.

    The anchor's curves under a doubled budget have no rows: they appear as `anchor_doubled`.
    """
    groups = {group.protocol.identity: group for group in curves(records, metric)}
    twice = {identity: groups.get(doubled(group.protocol).identity) for identity, group in groups.items()}
    beside = {longer.protocol.identity for longer in twice.values() if longer is not None and only_anchor(longer)}
    shown = [group for identity, group in groups.items() if identity not in beside]
    return [row for group in shown for row in group_rows(group, twice[group.protocol.identity], resampled)]


def only_anchor(group: Curves) -> bool:
    """Whether only the anchor was computed: with a doubled budget it then serves `anchor_doubled` alone."""
    return set(group.records) == {group.protocol.anchor}


def group_rows(
    group: Curves, twice: Curves | None = None, resampled: Source = no_resamples, comparer: Comparer = compare
) -> list[Row]:
    """The rows of one protocol, in the order of `rows`. `twice`: the curves under its doubled budget.

    `comparer`: a replacement for `difference.compare` that caches differences.
    """
    differences = {label: against_anchor(group, label, resampled, comparer) for label in group.records}
    missing = {label: lacking(group.records.get(group.anchor, {}), group.records[label], d) for label, d in differences.items()}
    moved = _moved(group, twice, resampled, comparer)
    rows = [replace(_row(group, label, d, moved, resampled), lacking=missing[label]) for label, d in differences.items()]
    rows = corrected(rows)
    whole = {label: d for label, d in differences.items() if not missing[label] and not elsewhere(group.records[label])}
    ranks = ranking(whole, group.anchor, {row.method for row in rows if row.resolved})
    rows = [replace(row, rank=None if row.lacking else ranks.get(row.method)) for row in rows]

    def order(row: Row) -> tuple[float, float]:
        value = 0.0 if row.method == group.anchor else row.bd_rate.value if row.bd_rate else math.inf
        return row.rank or math.inf, value

    return sorted(rows, key=order)


def _moved(group: Curves, twice: Curves | None, resampled: Source, comparer: Comparer) -> Estimate | None:
    """BD-rate of the protocol's anchor with twice its budget against itself; None against any other anchor."""
    anchor = group.protocol.anchor
    if twice is None or anchor != group.anchor or anchor not in group.records or anchor not in twice.records:
        return None
    if twice.protocol.bound.val != group.protocol.bound.val:
        return None
    return comparer(group.records[anchor], twice.records[anchor], resampled, group.metric).bd_rate


def _row(group: Curves, label: str, difference: Difference, moved: Estimate | None, resampled: Source) -> Row:
    seeds, results = group.records[label], difference.results
    return Row(
        protocol=group.protocol.identity,
        method=label,
        metric=group.metric,
        ceiling=group.ceiling,
        seeds=len(seeds) if trained(seeds) else 0,
        points=_points(seeds, resampled, group.metric),
        bd_rate=difference.bd_rate,
        bd_metric=difference.bd_metric,
        rank=None,
        akima=difference.akima,
        overlap=min((result.overlap for result in results.values()), default=None),
        anchor_doubled=moved,
        stability=difference.stability,
        reason=_reason(group, label, results),
        marks=difference.marks,
        warnings=_warnings(group, label, difference),
        device="; ".join(sorted({record.environment.device for curve in seeds.values() for record in curve})),
    )


def against_anchor(group: Curves, label: str, resampled: Source, comparer: Comparer = compare) -> Difference:
    """A method against the anchor, at the seeds that both have, where both saw the same batches."""
    if label == group.anchor or group.anchor not in group.records:
        return Difference({}, 0, {}, {})
    return comparer(group.records[group.anchor], group.records[label], resampled, group.metric)


def _points(seeds: Seeds, resampled: Source, metric: str) -> tuple[Point, ...]:
    by_rate: dict[int, list[Record]] = {}
    for curve in seeds.values():
        for record in curve:
            by_rate.setdefault(record.rate_index, []).append(record)
    points = []
    for _, group in sorted(by_rate.items()):
        clouds = [resampled(record, metric) for record in group]
        bpp = estimate([r.bpp for r in group], [None if c is None else c.bpp for c in clouds], group[0].images)
        score = estimate([r.scores[metric] for r in group], [None if c is None else c.score for c in clouds], group[0].images)
        assessed = [r.assessed[metric] for r in group if metric in r.assessed]
        points.append(Point(group[0].point, bpp, score, statistics.fmean(assessed) if assessed else None))
    return tuple(points)


def _reason(group: Curves, label: str, results: dict[int, BDRate]) -> str:
    if label == group.anchor:
        return ANCHOR
    if group.anchor not in group.records:
        return f"the anchor {group.anchor} has no records"
    if not results:
        return "no seed in common with the anchor"
    return "; ".join(dict.fromkeys(result.reason for result in results.values() if result.reason))


def _warnings(group: Curves, label: str, difference: Difference) -> tuple[str, ...]:
    seeds = group.records[label]
    warnings = _by_seed({seed: result.warnings for seed, result in difference.results.items()})
    warnings += [text for curve in seeds.values() for record in curve for text in (*record.warnings, *beyond_budget(record))]
    warnings += [text for seed, curve in seeds.items() for text in _falling_rate(seed, curve)]
    warnings += _other_versions(seeds, group.records.get(group.anchor, {}))
    if difference.bd_rate is not None and difference.bd_rate.over in ONE_SIDED:
        warnings.append(ONE_SIDED[difference.bd_rate.over])
    return tuple(dict.fromkeys(warnings))


def _by_seed(texts: dict[int, tuple[str, ...]]) -> list[str]:
    """Texts, each with the seeds that it is about unless it is about all."""
    found: dict[str, list[str]] = {}
    for seed, some in texts.items():
        for text in some:
            found.setdefault(text, []).append(str(seed))
    return [text if len(seeds) == len(texts) else f"seed {', '.join(seeds)}: {text}" for text, seeds in found.items()]


def _falling_rate(seed: int, curve: Sequence[Record]) -> list[str]:
    """A rate that falls by more than 2 % from one rate point to the next."""
    pairs = [(low, high) for low, high in pairwise(curve) if high.bpp < FALLING * low.bpp]
    return [f"seed {seed}: the rate falls from {low.point} to {high.point}" for low, high in pairs]


def _other_versions(seeds: Seeds, anchor: Seeds) -> list[str]:
    """Packages that can move a score and whose versions differ among the records of a method and of the anchor."""
    versions: dict[str, set[str]] = {}
    for curve in (*seeds.values(), *anchor.values()):
        for record in curve:
            for name, version in record.environment.packages.items():
                versions.setdefault(name, set()).add(version)
    text = "its records and the anchor's were made with different versions of {} ({}), which can move a score"
    return [text.format(name, ", ".join(sorted(different))) for name, different in sorted(versions.items()) if len(different) > 1]
