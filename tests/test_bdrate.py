"""BD-rate against its definition, its symmetries and the cases where there must be no number."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from icmbench.stats.bdrate import MIN_OVERLAP, Curve, bd_rate, front

ANCHOR = [(0.1, 20.0), (0.2, 28.0), (0.4, 34.0), (0.8, 37.0)]
TEST = [(0.09, 21.0), (0.17, 29.0), (0.33, 34.5), (0.7, 37.5)]


@st.composite
def rising_curves(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Three to six points, rate and quality rising."""
    count = draw(st.integers(3, 6))
    steps = st.lists(st.floats(0.05, 1.0), min_size=count, max_size=count)
    rates, qualities = np.exp(np.cumsum(draw(steps)) - 2), 20 + 5 * np.cumsum(draw(steps))
    return list(zip(rates.tolist(), qualities.tolist(), strict=True))


def percent(anchor: Curve, test: Curve) -> float:
    value = bd_rate(anchor, test).percent
    assert value is not None
    return value


def scaled(curve: Curve, rate: float = 1.0, quality: Callable[[float], float] = lambda q: q) -> Curve:
    return [(rate * r, quality(q)) for r, q in curve]


def test_a_curve_against_itself_is_exactly_zero() -> None:
    result = bd_rate(ANCHOR, ANCHOR)
    assert (result.percent, result.akima, result.overlap) == (0.0, 0.0, 1.0)
    assert (result.points, result.dropped, result.reason, result.warnings) == ((4, 4), 0, "", ())


@given(rising_curves(), st.floats(0.1, 10))
def test_a_scaled_rate_gives_the_exact_percentage(curve: Curve, factor: float) -> None:
    result = bd_rate(curve, scaled(curve, factor))
    assert result.percent == pytest.approx(100 * (factor - 1), rel=1e-9, abs=1e-9)
    assert result.akima == pytest.approx(100 * (factor - 1), rel=1e-9, abs=1e-9)


@given(rising_curves(), rising_curves())
def test_forth_and_back_multiply_to_one(a: Curve, b: Curve) -> None:
    forth, back = bd_rate(a, b), bd_rate(b, a)
    assert (forth.percent is None) == (back.percent is None)
    assume(forth.percent is not None and back.percent is not None)
    for there, again in ((forth.percent, back.percent), (forth.akima, back.akima)):
        assert there is not None
        assert again is not None
        assert (1 + there / 100) * (1 + again / 100) == pytest.approx(1, rel=1e-9)


@given(st.permutations(ANCHOR), st.permutations(TEST))
def test_the_order_of_the_points_does_not_matter(a: Curve, b: Curve) -> None:
    assert bd_rate(a, b) == bd_rate(ANCHOR, TEST)


@given(rising_curves(), rising_curves(), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_the_unit_of_quality_does_not_matter(a: Curve, b: Curve, unit: float, shift: float) -> None:
    assume(abs(bd_rate(a, b).overlap - MIN_OVERLAP) > 1e-6)
    before = bd_rate(a, b)
    after = bd_rate(*(scaled(curve, quality=lambda q: unit * q + shift) for curve in (a, b)))
    assert (before.percent is None) == (after.percent is None)
    assert before.percent is None or after.percent == pytest.approx(before.percent, rel=1e-5, abs=1e-5)


@given(rising_curves(), rising_curves(), st.floats(0.001, 1000))
def test_the_unit_of_rate_does_not_matter(a: Curve, b: Curve, unit: float) -> None:
    before, after = bd_rate(a, b), bd_rate(scaled(a, unit), scaled(b, unit))
    assert before.percent is None or after.percent == pytest.approx(before.percent, rel=1e-6, abs=1e-6)


def pchip_value(knots: Sequence[float], values: Sequence[float], x: float) -> float:
    """Fritsch-Carlson interpolation written out from the definition: harmonic mean slopes, three-point ends."""
    h, d = np.diff(knots), np.diff(values) / np.diff(knots)
    slopes = np.zeros(len(knots))
    for k in range(1, len(knots) - 1):
        if d[k - 1] * d[k] > 0:
            w1, w2 = 2 * h[k] + h[k - 1], h[k] + 2 * h[k - 1]
            slopes[k] = (w1 + w2) / (w1 / d[k - 1] + w2 / d[k])
    for end, (h0, h1, d0, d1) in {0: (h[0], h[1], d[0], d[1]), -1: (h[-1], h[-2], d[-1], d[-2])}.items():
        slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
        if np.sign(slope) != np.sign(d0):
            slope = 0
        elif np.sign(d0) != np.sign(d1) and abs(slope) > 3 * abs(d0):
            slope = 3 * d0
        slopes[end] = slope
    k = min(max(int(np.searchsorted(knots, x)) - 1, 0), len(h) - 1)
    t = (x - knots[k]) / h[k]
    left = values[k] * (1 + 2 * t) * (1 - t) ** 2 + slopes[k] * h[k] * t * (1 - t) ** 2
    return float(left + values[k + 1] * t * t * (3 - 2 * t) + slopes[k + 1] * h[k] * t * t * (t - 1))


@pytest.mark.parametrize(
    ("anchor", "test"),
    [
        (ANCHOR, TEST),
        (ANCHOR, [(0.15, 25.0), (0.2, 27.0), (0.9, 36.0)]),
        (ANCHOR, [(0.05, 15.0), (0.11, 16.0), (0.12, 30.0), (0.13, 30.5), (1.5, 44.0)]),
    ],
)
def test_the_number_is_the_integral_of_an_independent_pchip(anchor: Curve, test: Curve) -> None:
    low, high = max(anchor[0][1], test[0][1]), min(anchor[-1][1], test[-1][1])
    grid = low + (high - low) * (np.arange(4000) + 0.5) / 4000  # midpoint rule
    means = []
    for curve in (anchor, test):
        qualities, rates = [q for _, q in curve], [math.log(r) for r, _ in curve]
        means.append(np.mean([pchip_value(qualities, rates, x) for x in grid]))
    assert percent(anchor, test) == pytest.approx(100 * (math.exp(means[1] - means[0]) - 1), abs=1e-3)


def test_dominated_points_are_left_out_and_reported() -> None:
    worse = [(0.5, 33.0), (0.8, 37.0), (0.4, 30.0)]  # less quality for more rate, a repeated point, less at equal rate
    result = bd_rate(ANCHOR, [*TEST, *worse[:1]])
    assert result.percent == bd_rate(ANCHOR, TEST).percent
    assert (result.dropped, result.points) == (1, (4, 4))
    assert any("1 dominated point left out" in text for text in result.warnings)
    both = bd_rate([*ANCHOR, *worse], TEST)
    assert (both.dropped, both.percent) == (3, bd_rate(ANCHOR, TEST).percent)
    assert any("3 dominated points left out" in text for text in both.warnings)


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 100)), max_size=12))
def test_the_front_keeps_exactly_what_nothing_dominates(points: Curve) -> None:
    kept = front(points)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(kept))
    for rate, quality in points:
        assert any(r <= rate and q >= quality for r, q in kept)


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ([(r, q + 100) for r, q in TEST], "overlap by 0%"),
        ([(r, q + 15) for r, q in TEST], "overlap by"),
        (TEST[:2], "fewer than 3 points"),
        ([], "fewer than 3 points"),
        ([(0.1, 30.0), (0.2, 29.0), (0.4, 28.0), (0.8, 27.0)], "fewer than 3 points"),
    ],
)
def test_without_enough_to_compare_there_is_a_reason_and_no_number(test: Curve, reason: str) -> None:
    for result in (bd_rate(ANCHOR, test), bd_rate(test, ANCHOR)):
        assert (result.percent, result.akima) == (None, None)
        assert reason in result.reason


def test_the_overlap_is_the_common_range_over_the_whole() -> None:
    result = bd_rate([(1.0, 0.0), (2.0, 5.0), (3.0, 10.0)], [(1.0, 5.0), (2.0, 10.0), (3.0, 15.0)])
    assert result.overlap == pytest.approx(1 / 3)
    assert result.percent is not None
    assert any("only 33%" in text for text in result.warnings)


def test_interpolations_that_disagree_are_reported() -> None:
    bent = [(0.1, 20.0), (0.101, 27.0), (3.0, 28.0), (3.01, 37.0)]
    result = bd_rate(ANCHOR, bent)
    assert result.percent is not None
    assert result.akima is not None
    assert abs(result.percent - result.akima) > 1 + 0.1 * abs(result.percent)
    assert any("disagree" in text for text in result.warnings)


@pytest.mark.parametrize("rate", [0.0, -0.1, math.nan, math.inf, -math.inf])
def test_a_rate_that_cannot_be_is_refused(rate: float) -> None:
    for pair in (([*ANCHOR, (rate, 30.0)], TEST), (ANCHOR, [(rate, 30.0), *TEST])):
        with pytest.raises(ValueError, match="not a rate-quality point"):
            bd_rate(*pair)


@pytest.mark.parametrize("quality", [math.nan, math.inf, -math.inf])
def test_a_quality_that_is_not_finite_is_refused(quality: float) -> None:
    with pytest.raises(ValueError, match="not a rate-quality point"):
        bd_rate(ANCHOR, [*TEST, (1.0, quality)])
