"""A row of the BD-rate table. Quick to import, so a cached table can be shown without the code that computes one."""

import math
from dataclasses import dataclass

from icmbench.stats.confidence import LEVEL, Estimate, detectable

ANCHOR = "anchor"  # the reason why the anchor's row has no BD-rate


@dataclass(frozen=True)
class Point:
    """One rate point (λ=0.3, quality=10, "" for an external curve): bits per pixel and score in percent, over the seeds.

    `assessed`: the score of what was thrown away after training, such as a branch, if the method measures it.
    """

    name: str
    bpp: Estimate
    score: Estimate
    assessed: float | None = None


@dataclass(frozen=True)
class Row:
    """One method under one protocol against the protocol's anchor.

    `bd_rate` in percent and `bd_metric` in percentage points are means over the seeds that both have. `akima`: the BD-rate by
    the other interpolation. `stability`: the least and the greatest BD-rate when any one rate point is left out. `overlap` is
    the smallest over the seeds. `anchor_doubled`: BD-rate of the anchor with twice its step budget against itself, where it
    was measured. `seeds` is 0 for what was not trained.

    `rank`: methods of one rank are not shown to differ from the best of them. `p`: the p-value of the BD-rate, corrected for
    all `comparisons` of the table. `lacking`: what is missing ("6 of 7 points", "2 of 3 seeds"); such a row has no rank and no
    verdict. `marks`: why its BD-rate is to be doubted. `external`: a published curve, never ranked.
    """

    protocol: str
    method: str
    metric: str
    ceiling: float
    seeds: int
    points: tuple[Point, ...]
    bd_rate: Estimate | None
    bd_metric: Estimate | None
    rank: int | None
    akima: float | None
    overlap: float | None
    anchor_doubled: Estimate | None = None
    stability: tuple[float, float] | None = None
    p: float | None = None
    comparisons: int = 0
    reason: str = ""
    lacking: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    device: str = ""
    external: bool = False

    @property
    def resolved(self) -> bool:
        """Whether the BD-rate is shown to differ from 0, corrected for the number of comparisons."""
        return self.p is not None and self.p < 1 - LEVEL

    @property
    def resolvable(self) -> float | None:
        """The smallest saving in percent that such a row, among as many, shows in 80 % of the experiments."""
        if self.bd_rate is None or self.p is None:
            return None
        return -100 * math.expm1(-detectable(self.bd_rate.error, self.bd_rate.freedom, self.comparisons))
