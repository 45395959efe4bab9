"""The resolution of comparisons: the anchor against itself under other seeds (A/A), where every difference is random.

A real comparison pairs its seeds, so what both methods share at one seed index cancels. A/A pairs share only the images,
so these figures are cautious.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import nct
from scipy.stats import t as student

from icmbench.base import seeds
from icmbench.stats.confidence import LEVEL, Array, estimate

TARGETS = (1.0, 2.0, 5.0, 10.0)
POWER = 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Power:
    """`pairs`: A/A BD-rates in percent of all pairs of seeds. `spread`: their root mean square.

    `half_width`: half of the 95 % interval that `group` paired seeds give at this spread. `coverage`: share of the intervals
    of A/A comparisons of `group` against `group` seeds that contain 0, over `comparisons` of them; None with too few
    seeds. `needed`: for each difference in percent the number of seeds that shows it in 80 % of the experiments.
    """

    seeds: int
    pairs: tuple[float, ...]
    spread: float
    group: int
    half_width: float
    coverage: float | None
    comparisons: int
    needed: dict[float, int | None]


def half_width(spread: float, count: int) -> float:
    """Half of the 95 % interval of a mean of `count` >= 2 differences with standard deviation `spread`, in its unit."""
    return float(student.ppf((1 + LEVEL) / 2, count - 1)) * spread / math.sqrt(count)


def seeds_needed(difference: float, spread: float) -> int | None:
    """Fewest seeds at which a t-test shows `difference` in 80 % of the experiments; None above 1,000."""
    for count in range(2, MOST_SEEDS + 1):
        critical = float(student.ppf((1 + LEVEL) / 2, count - 1))
        shown = float(nct.sf(critical, count - 1, difference * math.sqrt(count) / spread)) if spread > 0 else 1.0
        if shown >= POWER:
            return count
    return None


def power(log_rates: Array, resampled: Array | None, images: int, group: int = 3) -> Power:
    """Resolving power from the log rate ratios of all ordered pairs of seeds, [S, S] (antisymmetric).

    `resampled`: the same under every resample of the images, [S, S, B]. Raises ValueError for fewer than two seeds.
    """
    count = len(log_rates)
    if count < 2:
        raise ValueError("A/A comparisons need at least two seeds")
    upper = log_rates[np.triu_indices(count, 1)]
    spread = 100 * float(np.sqrt(np.mean(upper**2)))
    hits = _covered(log_rates, resampled, images, group) if count >= 2 * group else []
    return Power(
        seeds=count,
        pairs=tuple(100 * math.expm1(value) for value in upper),
        spread=spread,
        group=group,
        half_width=half_width(spread, group),
        coverage=sum(hits) / len(hits) if hits else None,
        comparisons=len(hits),
        needed={target: seeds_needed(target, spread) for target in TARGETS},
    )


def _covered(log_rates: Array, resampled: Array | None, images: int, group: int, draws: int = 200) -> list[bool]:
    """Whether the interval contains 0, for random comparisons of `group` seeds against as many others."""
    rng, hits = seeds.generator("A/A", len(log_rates), group), []
    for _ in range(draws):
        order = rng.permutation(len(log_rates))
        pairs: Sequence[tuple[int, int]] = list(zip(order[:group], order[group : 2 * group], strict=True))
        clouds = [None if resampled is None else resampled[i, j] for i, j in pairs]
        hits.append(not estimate([log_rates[i, j] for i, j in pairs], clouds, images).resolved)
    return hits
