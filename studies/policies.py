"""The policies for curves that are not monotone that `monotone_policy.py` compares.

`constrained_cubic` is the one that icmbench uses (`icmbench.stats.monotone`).
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import isotonic_regression

from icmbench.stats.monotone import TIE, Points, climbing, constrained_cubic, is_rising, starts


def isotonic(points: Points) -> Points:
    """Isotonic regression of quality over rate: the non-falling curve nearest to the points (least squares).

    Each block of points that the regression pools becomes one point at its mean log rate and mean quality; points of equal
    rate are averaged first. (Barlow and others, Statistical Inference under Order Restrictions, 1972.)
    """
    first = starts(points)
    weights = np.diff(np.append(first, len(points))).astype(float)
    lowest, highest = np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)
    # clipped, because a mean of equal values may be another one in the last digit
    rates, qualities = np.clip(np.add.reduceat(points, first) / weights[:, None], lowest, highest).T
    fitted = isotonic_regression(qualities, weights=weights).x
    blocks = np.flatnonzero(np.append(True, np.diff(fitted) > TIE * np.ptp(points[:, 1])))
    means = np.add.reduceat(rates * weights, blocks) / np.add.reduceat(weights, blocks)
    return np.column_stack([means, fitted[blocks]])


def envelope(points: Points) -> Points:
    """The points that no other point dominates with no more rate and no less quality."""
    first = starts(points)
    best = np.column_stack([points[first, 0], np.maximum.reduceat(points[:, 1], first)])
    return climbing(best, np.ptp(points[:, 1]))


def refuse(points: Points) -> Points | None:
    """No answer for a curve that is not monotone."""
    return points if is_rising(points) else None


POLICIES: dict[str, Callable[[Points], Points | None]] = {
    "isotonic": isotonic,
    "envelope": envelope,
    "constrained_cubic": constrained_cubic,
    "refuse": refuse,
}
