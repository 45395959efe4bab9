"""One method against another: their curves paired by seed and by image, with every resample of the images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from icmbench.compare.resamples import Source
from icmbench.schema.record import Record
from icmbench.stats.bdrate import BDRate, bd_metrics, bd_rate, log_bd_rates
from icmbench.stats.confidence import Array, Estimate, estimate


@dataclass(frozen=True)
class Difference:
    """A method against another, by seed: log of the rate ratio and difference of score, plain and under every resample."""

    results: dict[int, BDRate]
    images: int
    log_rates: dict[int, tuple[float, Array | None]]
    scores: dict[int, tuple[float, Array | None]]

    @property
    def bd_rate(self) -> Estimate | None:
        """BD-rate in percent."""
        mean = mean_of(self.log_rates, self.images)
        return mean.as_percent() if mean else None

    @property
    def bd_metric(self) -> Estimate | None:
        """BD-metric in points of the score."""
        return mean_of(self.scores, self.images)


Seeds = dict[int, list[Record]]  # a method's curves by seed
Comparer = Callable[[Seeds, Seeds, Source, str], Difference]


def mean_of(by_seed: dict[int, tuple[float, Array | None]], images: int) -> Estimate | None:
    """Mean over the seeds with its interval; None without seeds."""
    if not by_seed:
        return None
    values, resampled = zip(*by_seed.values(), strict=True)
    return estimate(values, resampled, images)


def compare(anchor: Seeds, test: Seeds, resampled: Source, metric: str) -> Difference:
    """Two methods' curves of a score, paired by seed and by image. Curves from different start codecs are not compared."""
    results: dict[int, BDRate] = {}
    log_rates: dict[int, tuple[float, Array | None]] = {}
    scores: dict[int, tuple[float, Array | None]] = {}
    for seed, (a, b) in _pairs(anchor, test).items():
        result = _refused(a, b) or bd_rate(plain(a, metric), plain(b, metric))
        results[seed] = result
        if result.percent is None:
            continue
        clouds = (_cloud(a, resampled, metric), _cloud(b, resampled, metric))
        both = None if clouds[0] is None or clouds[1] is None else (clouds[0], clouds[1])
        log_rates[seed] = math.log1p(result.percent / 100), log_bd_rates(*both) if both else None
        if result.metric is not None:
            scores[seed] = result.metric, bd_metrics(*both) if both else None
    images = next((record.images for curve in test.values() for record in curve), 0)
    return Difference(results, images, log_rates, scores)


def _pairs(anchor: Seeds, test: Seeds) -> dict[int, tuple[list[Record], list[Record]]]:
    """The pairs of curves by seed. A method that was not trained has one curve, which is paired with every seed of the other."""
    if not trained(test):
        return {seed: (anchor[seed], test[min(test)]) for seed in sorted(anchor)}
    if not trained(anchor):
        return {seed: (anchor[min(anchor)], test[seed]) for seed in sorted(test)}
    return {seed: (anchor[seed], test[seed]) for seed in sorted(set(anchor) & set(test))}


def trained(curves: Seeds) -> bool:
    """Whether any of a method's codecs was trained. If not, it has one seed."""
    return any(record.trained for curve in curves.values() for record in curve)


def plain(curve: Sequence[Record], metric: str) -> list[tuple[float, float]]:
    """(bpp, score) of every record."""
    return [(record.bpp, record.scores[metric]) for record in curve]


def _refused(anchor: Sequence[Record], test: Sequence[Record]) -> BDRate | None:
    """The result without a BD-rate for curves from different start codecs, which differ as much as methods do; else None."""
    starts = {record.rate_index: record.start_sha256 for record in anchor if _starts(record)}
    differing = [r for r in test if _starts(r) and starts.get(r.rate_index, r.start_sha256) != r.start_sha256]
    if not differing:
        return None
    return BDRate(None, reason=f"the start codec at {differing[0].point} is not the anchor's")


def _starts(record: Record) -> bool:
    """Whether the record's codec must come from the protocol's start codec."""
    return bool(record.start_sha256) and not record.trained_under


def _cloud(curve: Sequence[Record], resampled: Source, metric: str) -> Array | None:
    """The curve under every resample, [B, points, (bpp, score)]; None if a record cannot be resampled."""
    resamples = [resampled(record, metric) for record in curve]
    present = [np.stack([resample.bpp, resample.score], 1) for resample in resamples if resample is not None]
    return np.stack(present, 1) if len(present) == len(resamples) else None
