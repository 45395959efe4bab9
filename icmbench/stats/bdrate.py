"""Bjøntegaard deltas between two rate-quality curves, with everything a reader needs to judge them.

BD-rate is the mean difference of ln rate over the common range of quality, as a percentage; BD-metric is the mean difference
of quality over the common range of ln rate (Bjøntegaard, VCEG-M33, 2001). Curves are interpolated piecewise, by PCHIP as in
JCTVC-E137 or by Akima as in Herglotz and others (arXiv 2202.12565), never by one global cubic. Needs no torch.

`bd_rate` judges one pair of curves; `log_bd_rates` and `bd_metrics` give the bare PCHIP numbers of many pairs at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from icmbench.stats.monotone import Points, is_rising, is_spread, merged, rising
from icmbench.stats.pchip import pchip_means

MIN_POINTS = 3
MIN_OVERLAP = 0.25
GOOD_OVERLAP = 0.75
REFITTED, SMALL_OVERLAP, DISAGREEMENT = "refitted curve", "small overlap", "PCHIP and Akima disagree"
RATE, QUALITY = 0, 1  # columns of a curve
Curve = Sequence[tuple[float, float]]
Method = Literal["pchip", "akima"]
FloatArray = NDArray[np.float64]
NAMES: dict[Method, str] = {"pchip": "PCHIP", "akima": "Akima"}
INTERPOLATIONS: dict[str, type[PchipInterpolator] | type[Akima1DInterpolator]] = {
    "pchip": PchipInterpolator,
    "akima": Akima1DInterpolator,
}


@dataclass(frozen=True)
class BDRate:
    """The result of `bd_rate`.

    `percent`: mean change of rate at equal quality in percent (negative: bits saved), or None with a `reason`.
    `cross_check`: the same with the other interpolation; None without an answer, or where the interpolation diverges.
    `metric`: mean change of quality at equal rate, in the unit of quality, by `method`; None without a common range of rate.
    `overlap`: common range of quality over the union of both, 0..1; `rate_overlap`: the same for ln rate.
    `points`: of anchor and test that were used. `monotone`: no curve had to be refitted to rise (`icmbench.stats.monotone`).
    `left_out`: the logarithm of the ratio of rates without one rate point, by PCHIP, from the lowest on: curves with equally
    many points lose one each, others one after the other, the anchor first. None without an answer.
    `warnings`: anything else that a reader must know.
    """

    percent: float | None
    cross_check: float | None = None
    metric: float | None = None
    overlap: float = 0.0
    rate_overlap: float = 0.0
    points: tuple[int, int] = (0, 0)
    monotone: bool = True
    left_out: tuple[float | None, ...] = ()
    reason: str = ""
    warnings: tuple[str, ...] = ()
    method: Method = "pchip"

    @property
    def akima(self) -> float | None:
        """The percentage by Akima interpolation, whichever is the main method."""
        return self.percent if self.method == "akima" else self.cross_check

    @property
    def marks(self) -> tuple[str, ...]:
        """Why the percentage is to be doubted, in a few words each."""
        if self.percent is None:
            return ()
        doubts = {
            REFITTED: not self.monotone,
            SMALL_OVERLAP: self.overlap < GOOD_OVERLAP,
            DISAGREEMENT: disagree(self.percent, self.cross_check),
        }
        return tuple(mark for mark, doubtful in doubts.items() if doubtful)


def bd_rate(anchor: Curve, test: Curve, *, method: Method = "pchip") -> BDRate:
    """BD-rate and BD-metric of `test` against `anchor`; points are (rate > 0, quality) in any order and any unit.

    Raises ValueError for rates that are not positive, values that are not finite and an unknown method.
    """
    if method not in INTERPOLATIONS:
        raise ValueError(f"no interpolation is called {method!r}; known: {', '.join(INTERPOLATIONS)}")
    check_method: Method = "akima" if method == "pchip" else "pchip"
    given = _points(anchor), _points(test)
    a, b = (rising(curve) for curve in given)
    monotone, points, warnings = all(is_rising(merged(curve)) for curve in given), (len(a), len(b)), _changes(given, (a, b))
    if min(points) < MIN_POINTS:
        reason = f"fewer than {MIN_POINTS} points on a monotone curve"
        return BDRate(None, points=points, monotone=monotone, reason=reason, warnings=warnings, method=method)
    overlap = _overlap(a, b, QUALITY)
    percent, cross_check = (_percent(a, b, kind) if overlap >= MIN_OVERLAP else None for kind in (method, check_method))
    reason = "" if percent is not None else f"the {NAMES[method]} interpolation diverges"
    if overlap < MIN_OVERLAP:
        reason = f"the quality ranges overlap by {overlap:.0%}, less than {MIN_OVERLAP:.0%}"
    if percent is not None:
        warnings += _doubts(percent, cross_check, overlap, (method, check_method))
    return BDRate(
        percent=percent,
        cross_check=cross_check if percent is not None else None,
        metric=_finite(_difference(a, b, RATE, method)),
        overlap=overlap,
        rate_overlap=_overlap(a, b, RATE),
        points=points,
        monotone=monotone,
        left_out=_left_out(*given) if percent is not None else (),
        reason=reason,
        warnings=warnings,
        method=method,
    )


def stability(left_out: Sequence[Sequence[float | None]]) -> tuple[float, float] | None:
    """The least and the greatest percentage when any one rate point is left out, from `BDRate.left_out` at every seed.

    A point is left out at all seeds at once, and the logarithms are averaged over the seeds. None if no point can be left out.
    """
    found = [mean for values in zip(*left_out, strict=False) if (mean := mean_percent(values)) is not None]
    return (min(found), max(found)) if found and len(set(map(len, left_out))) == 1 else None


def mean_percent(logs: Sequence[float | None]) -> float | None:
    """The mean of logarithms of ratios as a percentage; None if any is missing."""
    known = [log for log in logs if log is not None]
    return 100 * float(np.expm1(np.mean(known))) if known and len(known) == len(logs) else None


def disagree(percent: float, cross_check: float | None) -> bool:
    """Whether the two interpolations differ by more than 1 + 0.1·|percentage| points, or one of them diverges."""
    return cross_check is None or abs(percent - cross_check) > 1 + 0.1 * abs(percent)


def relative_difference(anchor: Curve, test: Curve, count: int = 101, method: Method = "pchip") -> tuple[FloatArray, FloatArray]:
    """The change of rate quality by quality: `count` qualities over the common range, and the percentage at each.

    BD-rate is the mean of ln(1 + percent / 100) over this range. Both arrays are empty without a common range or with fewer
    than three usable points. Raises ValueError as `bd_rate` does. (Herglotz and others, arXiv 2202.12565.)
    """
    a, b = rising(_points(anchor)), rising(_points(test))
    if min(len(a), len(b)) < MIN_POINTS or not _common(a, b, QUALITY)[0] < _common(a, b, QUALITY)[1]:
        return np.empty(0), np.empty(0)
    low, high = _common(a, b, QUALITY)
    at = np.linspace(0, 1, count)
    first, second = (_interpolated(curve, QUALITY, low, high, method)(at) for curve in (a, b))
    return low + (high - low) * at, 100 * np.expm1(second - first)


def log_bd_rates(anchor: FloatArray, test: FloatArray) -> FloatArray:
    """ln(1 + BD-rate as a fraction) by PCHIP of N pairs of curves, float64 [N, P, 2] and [N, Q, 2] of (rate, quality), to [N].

    NaN without an answer: fewer than three usable points, or no common range of quality. The least overlap of `bd_rate` is
    not required here, because a resampling has to keep or drop a pair as a whole. Raises ValueError as `bd_rate` does.
    """
    return _batch(*_measured(anchor, test), QUALITY)


def bd_metrics(anchor: FloatArray, test: FloatArray) -> FloatArray:
    """BD-metric by PCHIP of N pairs of curves, [N, P, 2] and [N, Q, 2] of (rate, quality), to [N]; NaN without an answer."""
    return _batch(*_measured(anchor, test), RATE)


def _points(curves: Curve | FloatArray) -> Points:
    """Curves [..., P, 2] of (rate, quality) as (ln rate, quality) by rising rate, then quality."""
    points = np.asarray(curves if len(curves) else np.empty((0, 2)), dtype=np.float64)
    good = np.isfinite(points).all(-1) & (points[..., RATE] > 0)
    if not good.all():
        rate, quality = points[~good][0].tolist()
        raise ValueError(f"not a rate-quality point: ({rate}, {quality})")
    points = np.stack([np.log(points[..., RATE]), points[..., QUALITY]], axis=-1)
    order = np.lexsort((points[..., QUALITY], points[..., RATE]), axis=-1)
    return np.take_along_axis(points, order[..., None], axis=-2)


def _common(a: Points, b: Points, on: int) -> tuple[float, float]:
    return float(max(a[0, on], b[0, on])), float(min(a[-1, on], b[-1, on]))


def _overlap(a: Points, b: Points, on: int) -> float:
    low, high = _common(a, b, on)
    return max(0.0, high - low) / float(max(a[-1, on], b[-1, on]) - min(a[0, on], b[0, on]))


def _interpolated(curve: Points, on: int, low: float, high: float, method: Method) -> PchipInterpolator | Akima1DInterpolator:
    """The other column as a function of column `on`, which is scaled so that low..high becomes 0..1."""
    return INTERPOLATIONS[method]((curve[:, on] - low) / (high - low), curve[:, 1 - on])


def _difference(a: Points, b: Points, on: int, method: Method) -> float:
    """The mean of b's other column less a's over the common range of column `on`; NaN without one."""
    low, high = _common(a, b, on)
    if not low < high:
        return np.nan
    first, second = (float(_interpolated(curve, on, low, high, method).integrate(0, 1)) for curve in (a, b))
    return second - first


def _left_out(a: Points, b: Points) -> tuple[float | None, ...]:
    """`BDRate.left_out` of two curves as measured."""
    shorter = [np.array([np.delete(curve, k, 0) for k in range(len(curve))]) for curve in (a, b)]
    pairs = [(shorter[0], shorter[1])]  # of the same rate points both lose one: what the interpolation then misses cancels
    if len(a) != len(b):
        pairs = [(shorter[0], np.repeat(b[None], len(a), 0)), (np.repeat(a[None], len(b), 0), shorter[1])]
    return tuple(_finite(float(log)) for first, second in pairs for log in _batch(first, second, QUALITY, MIN_OVERLAP))


def _percent(a: Points, b: Points, method: Method) -> float | None:
    with np.errstate(over="ignore"):
        return _finite(100 * float(np.expm1(_difference(a, b, QUALITY, method))))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _changes(given: tuple[Points, Points], used: tuple[Points, Points]) -> tuple[str, ...]:
    texts = []
    for name, points, kept in zip(("anchor", "test"), given, used, strict=True):
        apart = merged(points)
        if len(apart) < len(points):
            texts.append(f"the {name} curve has rates within 2 % of each other: its {len(points)} points became {len(apart)}")
        if not is_rising(apart):
            texts.append(f"the {name} curve is not monotone: its {len(apart)} points became {len(kept)} (constrained_cubic)")
    return tuple(texts)


def _doubts(percent: float, check: float | None, overlap: float, methods: tuple[Method, Method]) -> tuple[str, ...]:
    warnings = []
    if overlap < GOOD_OVERLAP:
        warnings.append(f"the quality ranges overlap by only {overlap:.0%}")
    if check is None:
        warnings.append(f"no cross-check: the {NAMES[methods[1]]} interpolation diverges")
    elif disagree(percent, check):
        warnings.append(f"{NAMES[methods[0]]} and {NAMES[methods[1]]} disagree ({percent:+.1f} % and {check:+.1f} %)")
    return tuple(warnings)


def _measured(anchor: FloatArray, test: FloatArray) -> tuple[Points, Points]:
    """The points of N pairs of curves. Raises ValueError for other arrays."""
    if len(anchor) != len(test) or any(curves.ndim != 3 or curves.shape[-1] != 2 for curves in (anchor, test)):
        raise ValueError(f"not pairs of curves: {anchor.shape} and {test.shape}")
    return _points(anchor), _points(test)


def _batch(anchor: Points, test: Points, on: int, least: float = 0.0) -> FloatArray:
    """`_difference` by PCHIP of N pairs of curves as measured, to [N]; NaN for too few points or less overlap than `least`."""
    (a, a_sizes), (b, b_sizes) = _all_rising(anchor), _all_rising(test)
    sizes, result = np.column_stack([a_sizes, b_sizes]), np.full(len(a), np.nan)
    for p, q in np.unique(sizes, axis=0):  # few: curves made monotone differ in length
        rows = (sizes == (p, q)).all(1)
        if min(p, q) >= MIN_POINTS:
            result[rows] = _differences(a[rows, :p], b[rows, :q], on, least)
    return result


def _all_rising(points: Points) -> tuple[Points, NDArray[np.int_]]:
    """All curves rising, [N, P, 2], and how many points of each count, [N]."""
    points = points.copy()
    sizes = np.full(len(points), points.shape[1])
    for row in np.flatnonzero(~(is_rising(points) & is_spread(points))):
        curve = rising(points[row])
        points[row, : len(curve)], sizes[row] = curve, len(curve)
    return points, sizes


def _differences(a: Points, b: Points, on: int, least: float) -> FloatArray:
    """`_difference` by PCHIP of M pairs, [M, P, 2] and [M, Q, 2], to [M]; NaN for less overlap than `least`."""
    low, high = np.maximum(a[:, 0, on], b[:, 0, on]), np.minimum(a[:, -1, on], b[:, -1, on])
    union = np.maximum(a[:, -1, on], b[:, -1, on]) - np.minimum(a[:, 0, on], b[:, 0, on])
    span = np.where((low < high) & (high - low >= least * union), high - low, np.nan)
    first, second = (pchip_means((c[..., on] - low[:, None]) / span[:, None], c[..., 1 - on]) for c in (a, b))
    return second - first
