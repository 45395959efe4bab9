"""One method against another: their curves paired by seed and by image, with every resample of the images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from icmbench.compare.resamples import Source
from icmbench.schema.record import Record
from icmbench.stats.bdrate import BDRate, bd_metrics, bd_rate, log_bd_rates, mean_percent, stability
from icmbench.stats.confidence import Array, Estimate, estimate

Seeds = dict[int, list[Record]]  # a method's curves by seed
Drawn = dict[int, tuple[float, Array | None]]  # a number by seed, plain and under every resample of the images


@dataclass(frozen=True)
class Difference:
    """A method against another, by seed: log of the rate ratio and difference of score, plain and under every resample.

    `trained`: whether either was trained, so that another seed would have given other codecs.
    """

    results: dict[int, BDRate]
    images: int
    log_rates: Drawn
    scores: Drawn
    trained: bool = True

    @property
    def bd_rate(self) -> Estimate | None:
        """BD-rate in percent."""
        mean = self.mean_of(self.log_rates)
        return mean.as_percent() if mean else None

    @property
    def bd_metric(self) -> Estimate | None:
        """BD-metric in points of the score."""
        return self.mean_of(self.scores)

    @property
    def akima(self) -> float | None:
        """BD-rate in percent by the cross-check, averaged over the seeds as the BD-rate is; None where a seed has none."""
        found = [result.akima for result in self.results.values() if result.percent is not None]
        return mean_percent([None if value is None or value <= -100 else math.log1p(value / 100) for value in found])

    @property
    def stability(self) -> tuple[float, float] | None:
        """The least and the greatest BD-rate in percent when any one rate point of either method is left out."""
        return stability([result.left_out for result in self.results.values() if result.percent is not None])

    @property
    def marks(self) -> tuple[str, ...]:
        """Why the BD-rate is to be doubted, at any seed."""
        return tuple(dict.fromkeys(mark for result in self.results.values() for mark in result.marks))

    def mean_of(self, by_seed: Drawn) -> Estimate | None:
        """Mean over the seeds with its interval; None without seeds."""
        if not by_seed:
            return None
        values, resampled = zip(*by_seed.values(), strict=True)
        return estimate(values, resampled, self.images, self.trained)

    def minus(self, other: "Difference") -> Estimate | None:
        """The log rate ratio of two methods that were compared with one anchor; None without a seed in common."""
        ours, theirs, gaps = self._at(other), other._at(self), Drawn()
        for seed in sorted(set(ours) & set(theirs)):
            (one, cloud), (two, other_cloud) = ours[seed], theirs[seed]
            gaps[seed] = one - two, None if cloud is None or other_cloud is None else cloud - other_cloud
        return replace(self, trained=self.trained or other.trained).mean_of(gaps)

    def _at(self, other: "Difference") -> Drawn:
        """The log rate ratios at the seeds of another difference too, if no seed changes them."""
        return self.log_rates if self.trained else dict.fromkeys(other.log_rates, *self.log_rates.values())


Comparer = Callable[[Seeds, Seeds, Source, str], Difference]


def compare(anchor: Seeds, test: Seeds, resampled: Source, metric: str) -> Difference:
    """Two methods' curves of a score, paired by seed and by image. Curves from different start codecs are not compared."""
    results: dict[int, BDRate] = {}
    log_rates: Drawn = {}
    scores: Drawn = {}
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
    return Difference(results, images, log_rates, scores, trained(anchor) or trained(test))


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


def elsewhere(curves: Seeds) -> bool:
    """Whether any of a method's codecs was trained under another protocol."""
    return any(record.trained_under for curve in curves.values() for record in curve)


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
