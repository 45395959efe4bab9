"""Confidence intervals of a mean over seeds when both the seeds and the images could have been different.

Every seed is scored on the same images, so seeds and images are crossed. With a_s, b_i and (ab)_si the effects of
seeds, of images and of both together, a mean over S seeds and I images has the variance

    Var = (σ_a² + σ_ab² / I) / S + σ_b² / I

The first term is the variance between seeds over S. The second is what a resampling of the images does to all seeds
alike: the mean covariance between seeds over bootstrap resamples of the images (the pigeonhole bootstrap for crossed
factors, Owen, Annals of Applied Statistics 2007, without resampling the few seeds, whose percentile interval would be far
too narrow: studies/interval_coverage.py). The interval is Student's t with the degrees of freedom of Satterthwaite
(Biometrics Bulletin 1946). Codecs that are not trained have no seeds, and only the images are resampled.

Of many differences some look certain by chance. `holm` corrects their p-values, so that among all true zeros of a table any
is called a difference in at most 5 % of the cases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from icmbench.base import seeds

Array = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
POWER = 0.8
MAX_UNDEFINED = 0.05
Over = Literal["", "seeds", "images", "seeds and images"]


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval and the two-sided p-value of 0; a trained codec's single seed has neither.

    `over`: what could have been different: "seeds", "images", "seeds and images", or "" without an interval. `error`,
    `freedom`: standard error and degrees of freedom; those of the logarithm after `as_percent`.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    error: float = 0.0
    freedom: float = 0.0
    over: Over = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high), or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def covers_images(self) -> bool:
        """Whether another choice of the images is allowed for."""
        return "images" in self.over

    def as_percent(self) -> "Estimate":
        """From a natural logarithm of a ratio to the change in percent."""
        value, low, high = (None if one is None else 100 * math.expm1(one) for one in (self.value, self.low, self.high))
        return replace(self, value=value or 0.0, low=low, high=high)


def image_weights(images: int, *axes: object, count: int = RESAMPLES) -> Array:
    """How often each image occurs in `count` resamples of size `images`: float64 [count, images].

    The same axes (which name the images) give the same resamples, so comparisons are paired by image.
    """
    draws = seeds.generator("resample images", images, *axes).multinomial(images, [1 / images] * images, size=count)
    return draws.astype(np.float64)


def estimate(values: Sequence[float] | Array, resampled: Sequence[Array | None], images: int, trained: bool = True) -> Estimate:
    """Mean of one value a seed, [S], with its interval.

    `resampled`: for each seed the value under every resample of the images, [B], in the same order of resamples; None
    where the images cannot be resampled. Then, or where more than 5 % of the resamples have no value, the interval covers
    the seeds only. `images`: how many there are. `trained`: else there is one value, which no seed could have changed. Raises
    ValueError without values.
    """
    count = len(values)
    if count == 0:
        raise ValueError("no values")
    mean, shared = float(np.mean(values)), shared_variance(resampled, images)
    if not trained:
        return Estimate(mean) if shared is None else _student(mean, shared, max(1, images - 1), "images")
    if count == 1:
        return Estimate(mean)
    between = float(np.var(values, ddof=1)) / count
    freedom = pooled_freedom(between, count, shared or 0.0, images)
    return _student(mean, between + (shared or 0.0), freedom, "seeds" if shared is None else "seeds and images")


def pooled_freedom(between: float, seeds: int, shared: float, images: int) -> float:
    """Satterthwaite's degrees of freedom of the sum of what the seeds and what the images add to a mean's variance."""
    total = between + shared
    return total**2 / (between**2 / (seeds - 1) + shared**2 / max(1, images - 1)) if total > 0 else seeds - 1


def _student(mean: float, variance: float, freedom: float, over: Over) -> Estimate:
    from scipy.special import stdtr, stdtrit  # as scipy.stats.t, which takes a hundred times as long to load and call

    error = math.sqrt(variance)
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    p = 2 * float(stdtr(freedom, -abs(mean) / error)) if error > 0 else float(mean == 0)
    return Estimate(mean, mean - half, mean + half, p, error, freedom, over)


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in their order (Holm, Scandinavian Journal of Statistics 1979).

    Whatever the dependence between the tests, and whichever differences are real, the chance that any of the others falls
    below 0.05 is at most 5 %.
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(np.asarray(p, float)[order] * np.arange(len(p), 0, -1))
    return [float(min(1.0, value)) for value in steps[np.argsort(order)]]


def detectable(error: float, freedom: float, comparisons: int = 1) -> float:
    """The smallest true difference that is shown in 80 % of the experiments, in the unit of the standard error.

    "Shown": Student's t leaves out 0 at 5 %, divided by the number of comparisons. The minimum detectable effect of Bloom
    (Evaluation Review 1995), by the noncentral t distribution.
    """
    from scipy.special import nctdtrinc, stdtrit

    critical = stdtrit(freedom, 1 - (1 - LEVEL) / (2 * comparisons))
    return error * float(nctdtrinc(freedom, 1 - POWER, critical))


def shared_variance(resampled: Sequence[Array | None], images: int) -> float | None:
    """Variance by the choice of the images of what all seeds share: the mean covariance between them over the resamples.

    For one curve its own variance. At least 0; None where there are no resamples.
    """
    present = [values for values in resampled if values is not None]
    if len(present) < len(resampled):
        return None
    table = np.stack(present)
    table = table[:, np.isfinite(table).all(0)]
    if table.shape[1] < (1 - MAX_UNDEFINED) * present[0].size:
        return None
    covariance, count = np.atleast_2d(np.cov(table)), len(present)
    shared = covariance[0, 0] if count == 1 else (covariance.sum() - np.trace(covariance)) / (count * (count - 1))
    return max(0.0, float(shared)) * images / max(1, images - 1)  # a resample of few images varies too little
