"""Bjøntegaard deltas between two rate-quality curves, with everything a reader needs to judge them.

BD-rate: the mean difference of log rate over the common range of quality, as a percentage (Bjøntegaard, VCEG-M33,
2001; piecewise cubic Hermite interpolation as in JCTVC-E137, never one global cubic). Needs no torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

MIN_POINTS = 3
MIN_OVERLAP = 0.25
GOOD_OVERLAP = 0.75
Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class BDRate:
    """`percent` is the mean change of rate at equal quality (negative: bits saved), or None with a `reason`.

    `akima`: the same with Akima interpolation, as a cross-check. `overlap`: common quality range over the union of
    both. `points`: of anchor and test that were used; `dropped`: points left out because another point of the same
    curve has no more rate and no less quality.
    """

    percent: float | None
    akima: float | None = None
    overlap: float = 0.0
    points: tuple[int, int] = (0, 0)
    dropped: int = 0
    reason: str = ""
    warnings: tuple[str, ...] = ()
    method: str = "pchip"


def front(curve: Curve) -> list[tuple[float, float]]:
    """The points that no other point of the curve dominates, by rising rate (and so by strictly rising quality)."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(curve, key=lambda point: (point[0], -point[1])):
        if not kept or quality > kept[-1][1]:
            kept.append((rate, quality))
    return kept


def bd_rate(anchor: Curve, test: Curve) -> BDRate:
    """BD-rate of `test` against `anchor`; points are (rate > 0, quality) in any order and any unit.

    Raises ValueError for rates that are not positive and for values that are not finite.
    """
    for rate, quality in (*anchor, *test):
        if not (math.isfinite(rate) and math.isfinite(quality) and rate > 0):
            raise ValueError(f"not a rate-quality point: ({rate}, {quality})")
    a, b = front(anchor), front(test)
    dropped, points = len(anchor) + len(test) - len(a) - len(b), (len(a), len(b))
    if min(points) < MIN_POINTS:
        return BDRate(None, points=points, dropped=dropped, reason=f"fewer than {MIN_POINTS} points on a monotone curve")
    low, high = max(a[0][1], b[0][1]), min(a[-1][1], b[-1][1])
    overlap = max(0.0, high - low) / (max(a[-1][1], b[-1][1]) - min(a[0][1], b[0][1]))
    if overlap < MIN_OVERLAP:
        reason = f"the quality ranges overlap by {overlap:.0%}, less than {MIN_OVERLAP:.0%}"
        return BDRate(None, overlap=overlap, points=points, dropped=dropped, reason=reason)
    percent, akima = (_percent(a, b, low, high, kind) for kind in (PchipInterpolator, Akima1DInterpolator))
    return BDRate(percent, akima, overlap, points, dropped, warnings=_warnings(percent, akima, overlap, dropped))


def _percent(a: Curve, b: Curve, low: float, high: float, kind: type[PchipInterpolator] | type[Akima1DInterpolator]) -> float:
    means = []
    for curve in (a, b):
        rate, quality = np.array(curve).T
        means.append(float(kind(quality, np.log(rate)).integrate(low, high)) / (high - low))
    return 100 * math.expm1(means[1] - means[0])


def _warnings(percent: float, akima: float, overlap: float, dropped: int) -> tuple[str, ...]:
    found = []
    if overlap < GOOD_OVERLAP:
        found.append(f"the quality ranges overlap by only {overlap:.0%}")
    if dropped:
        found.append(f"{dropped} dominated point{'s' if dropped > 1 else ''} left out: a curve is not monotone")
    if abs(percent - akima) > 1 + 0.1 * abs(percent):
        found.append(f"PCHIP and Akima disagree ({percent:+.1f} % and {akima:+.1f} %)")
    return tuple(found)
