"""Confidence intervals of a mean over seeds when both the seeds and the images could have been different.

Every seed is scored on the same images, so seeds and images are crossed. With a_s, b_i and (ab)_si the effects of
seeds, of images and of both together, a mean over S seeds and I images has the variance

    Var = (σ_a² + σ_ab² / I) / S + σ_b² / I

The first term is the variance between seeds over S. The second is what a resampling of the images does to all seeds
alike: the mean covariance between seeds over bootstrap resamples of the images (the pigeonhole bootstrap for crossed
factors, Owen, Annals of Applied Statistics 2007, without resampling the few seeds, whose percentile interval would be far
too narrow: studies/interval_coverage.py). The interval is Student's t with the degrees of freedom of Satterthwaite
(Biometrics Bulletin 1946).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icmbench.base import seeds

Array = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
MAX_UNDEFINED = 0.05


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval; no interval for one seed. `covers_images`: else it covers the seeds only."""

    value: float
    low: float | None = None
    high: float | None = None
    covers_images: bool = False

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high), or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def resolved(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def as_percent(self) -> "Estimate":
        """From a natural logarithm of a ratio to the change in percent."""
        value, low, high = (None if v is None else 100 * math.expm1(v) for v in (self.value, self.low, self.high))
        return Estimate(0.0 if value is None else value, low, high, self.covers_images)


def image_weights(images: int, *axes: object, count: int = RESAMPLES) -> Array:
    """How often each image occurs in `count` resamples of size `images`: float64 [count, images].

    The same axes (which name the images) give the same resamples, so comparisons are paired by image.
    """
    draws = seeds.generator("resample images", images, *axes).multinomial(images, [1 / images] * images, size=count)
    return draws.astype(np.float64)


def estimate(values: Sequence[float] | Array, resampled: Sequence[Array | None], images: int) -> Estimate:
    """Mean of one value a seed, [S], with its interval.

    `resampled`: for each seed the value under every resample of the images, [B], in the same order of resamples; None
    where the images cannot be resampled. Then, or where more than 5 % of the resamples have no value, the interval covers
    the seeds only. `images`: how many there are. Raises ValueError without values.
    """
    from scipy.special import stdtrit  # as scipy.stats.t.ppf, which takes a hundred times as long to load and call

    count = len(values)
    if count == 0:
        raise ValueError("no values")
    mean = float(np.mean(values))
    if count == 1:
        return Estimate(mean)
    between = float(np.var(values, ddof=1)) / count
    shared, covered = _shared_variance(resampled)
    shared *= images / max(1, images - 1)  # a resample of few images varies too little
    total = between + shared
    freedom = total**2 / (between**2 / (count - 1) + shared**2 / max(1, images - 1)) if total > 0 else count - 1
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(total)
    return Estimate(mean, mean - half, mean + half, covered)


def _shared_variance(resampled: Sequence[Array | None]) -> tuple[float, bool]:
    """Mean covariance between seeds over the resamples (at least 0), and whether there were resamples."""
    present = [values for values in resampled if values is not None]
    if len(present) < len(resampled):
        return 0.0, False
    table = np.stack(present)
    table = table[:, np.isfinite(table).all(0)]
    if table.shape[1] < (1 - MAX_UNDEFINED) * present[0].size:
        return 0.0, False
    covariance = np.cov(table)
    count = len(present)
    off_diagonal = (covariance.sum() - np.trace(covariance)) / (count * (count - 1))
    return max(0.0, float(off_diagonal)), True
