"""A row of the BD-rate table. Quick to import, so a cached table can be shown without the code that computes one."""

from dataclasses import dataclass

from icmbench.stats.confidence import Estimate

ANCHOR = "anchor"  # the reason why the anchor's row has no BD-rate


@dataclass(frozen=True)
class Point:
    """One rate point (λ=0.3, quality=10, "" for an external curve): bits per pixel and score in percent, over the seeds."""

    name: str
    bpp: Estimate
    score: Estimate


@dataclass(frozen=True)
class Row:
    """One method under one protocol against the protocol's anchor.

    `bd_rate` in percent and `bd_metric` in percentage points are means over the seeds that both have. Methods of one
    `rank` are not shown to differ from the best of them; no rank without a BD-rate. `overlap` is the smallest over the
    seeds. `anchor_doubled`: BD-rate of the anchor with twice its step budget against itself, where it was measured.
    `seeds` is 0 for what was not trained. `external`: a published curve, never ranked. `monotone`: all curves were used
    as measured, else one was made monotone.
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
    reason: str = ""
    warnings: tuple[str, ...] = ()
    device: str = ""
    external: bool = False
    monotone: bool = True
