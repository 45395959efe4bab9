"""The resolution of comparisons: how far the BD-rate of one comparison varies from seed to seed, and what follows from it.

The anchor against itself under other seeds (A/A) shows what chance alone does. A real comparison has two methods, each with
chance of its own, and pairing cancels only what both share at one seed index. Which of the two spreads is the greater is not
known beforehand, so the paired one is measured wherever a method has records.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from icmbench.base import seeds
from icmbench.stats.confidence import LEVEL, Array, detectable, estimate, pooled_freedom

TARGETS = (1.0, 2.0, 5.0, 10.0)
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Paired:
    """A method against the anchor, seed by seed: standard deviation of the BD-rate between `seeds` seeds, in percent.

    `images`: standard error by the choice of the images, in percent; None where they cannot be resampled.
    """

    seeds: int
    spread: float
    images: float | None


@dataclass(frozen=True)
class Power:
    """`pairs`: A/A BD-rates in percent of all pairs of seeds. `same`: their root mean square.

    `coverage`: share of the intervals of A/A comparisons of `group` against `group` seeds that contain 0, over `comparisons`
    of them; None with too few seeds. `paired`: the real comparisons. `spread`, `freedom`: the standard deviation between the
    seeds of one comparison that the rest is based on, and its degrees of freedom: pooled over the real comparisons, or that of
    A/A without any. `images`: the standard error by the choice of the images. `smallest`: for each number of seeds the
    smallest difference in percent that is shown in 80 % of the experiments. `needed`: for each difference in percent the
    number of seeds that shows it; None above 1,000, and where the choice of the images alone hides it.
    """

    seeds: int
    pairs: tuple[float, ...]
    same: float
    group: int
    coverage: float | None
    comparisons: int
    paired: Mapping[str, Paired]
    spread: float
    freedom: int
    images: float
    smallest: dict[int, float]
    needed: dict[float, int | None]


def smallest(count: int, spread: float, images: float = 0.0, size: int = 1) -> float:
    """The smallest true difference that `count` >= 2 seeds show in 80 % of the experiments, in the unit of the arguments.

    `spread`: standard deviation of a comparison between seeds. `images`: standard error by the choice of the `size` images.
    """
    between, shared = spread**2 / count, images**2
    return detectable(math.sqrt(between + shared), pooled_freedom(between, count, shared, size))


def seeds_needed(difference: float, spread: float, images: float = 0.0, size: int = 1) -> int | None:
    """Fewest seeds that show a true difference in 80 % of the experiments (two-sided t-test at 5 %); None above 1,000."""
    counts = range(2, MOST_SEEDS + 1)
    return next((count for count in counts if smallest(count, spread, images, size) <= difference), None)


def power(log_rates: Array, resampled: Array | None, size: int, paired: Mapping[str, Paired], group: int = 3) -> Power:
    """Resolving power from the log rate ratios of all ordered pairs of the anchor's seeds, [S, S] (antisymmetric).

    `resampled`: the same under every resample of the `size` images, [S, S, B]. Raises ValueError for fewer than two seeds.
    """
    count = len(log_rates)
    if count < 2:
        raise ValueError("A/A comparisons need at least two seeds")
    upper = log_rates[np.triu_indices(count, 1)]
    same = 100 * float(np.sqrt(np.mean(upper**2)))
    hits = _covered(log_rates, resampled, size, group) if count >= 2 * group else []
    weights = [one.seeds - 1 for one in paired.values()]
    spread = math.sqrt(np.average([one.spread**2 for one in paired.values()], weights=weights)) if paired else same
    images = math.sqrt(np.mean([(one.images or 0.0) ** 2 for one in paired.values()])) if paired else 0.0
    return Power(
        seeds=count,
        pairs=tuple(100 * math.expm1(value) for value in upper),
        same=same,
        group=group,
        coverage=sum(hits) / len(hits) if hits else None,
        comparisons=len(hits),
        paired=paired,
        spread=spread,
        freedom=sum(weights) if paired else count - 1,
        images=images,
        smallest={number: smallest(number, spread, images, size) for number in sorted({group, count})},
        needed={target: seeds_needed(target, spread, images, size) for target in TARGETS},
    )


def _covered(log_rates: Array, resampled: Array | None, images: int, group: int, draws: int = 200) -> list[bool]:
    """Whether the interval contains 0, for random comparisons of `group` seeds against as many others."""
    rng, hits = seeds.generator("A/A", len(log_rates), group), []
    for _ in range(draws):
        order = rng.permutation(len(log_rates))
        pairs: Sequence[tuple[int, int]] = list(zip(order[:group], order[group : 2 * group], strict=True))
        clouds = [None if resampled is None else resampled[i, j] for i, j in pairs]
        p = estimate([log_rates[i, j] for i, j in pairs], clouds, images).p
        hits.append(p is not None and p >= 1 - LEVEL)
    return hits
