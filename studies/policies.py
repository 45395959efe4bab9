"""The policies for curves that are not monotone that `monotone_policy.py` compares. Rates are distinct.

`constrained_cubic` is the one that icmbench uses (`icmbench.stats.monotone`).
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import isotonic_regression

from icmbench.stats.monotone import TIE, Points, climbing, constrained_cubic, is_rising


def isotonic(points: Points) -> Points:
    """Isotonic regression of quality over rate: the non-falling curve nearest to the points (least squares).

    Each block of points that the regression pools becomes one point at its mean log rate and its fitted quality.
    (Barlow and others, Statistical Inference under Order Restrictions, 1972.)
    """
    fitted = isotonic_regression(points[:, 1]).x
    blocks = np.flatnonzero(np.append(True, np.diff(fitted) > TIE * np.ptp(points[:, 1])))
    sizes = np.diff(np.append(blocks, len(points)))
    return np.column_stack([np.add.reduceat(points[:, 0], blocks) / sizes, fitted[blocks]])


def envelope(points: Points) -> Points:
    """The points that no other point dominates with no more rate and no less quality."""
    return climbing(points, np.ptp(points[:, 1]))


def refuse(points: Points) -> Points | None:
    """No answer for a curve that is not monotone."""
    return points if is_rising(points) else None


POLICIES: dict[str, Callable[[Points], Points | None]] = {
    "isotonic": isotonic,
    "envelope": envelope,
    "constrained_cubic": constrained_cubic,
    "refuse": refuse,
}
