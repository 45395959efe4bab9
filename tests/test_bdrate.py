"""BD-rate against its definition, published values, its symmetries and the cases where there must be no number."""

import math
from collections.abc import Callable, Sequence

import bjontegaard
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from icmbench.stats.bdrate import MIN_OVERLAP, Curve, Method, bd_metrics, bd_rate, log_bd_rates, relative_difference, stability

ANCHOR = [(0.1, 20.0), (0.2, 28.0), (0.4, 34.0), (0.8, 37.0)]
TEST = [(0.09, 21.0), (0.17, 29.0), (0.33, 34.5), (0.7, 37.5)]


@st.composite
def rising_curves(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Three to eight points, rate and quality rising."""
    return draw(rising_curves_of(draw(st.integers(3, 8))))


@st.composite
def rising_curves_of(draw: st.DrawFn, count: int) -> list[tuple[float, float]]:
    steps = st.lists(st.floats(0.05, 1.0), min_size=count, max_size=count)
    rates, qualities = np.exp(np.cumsum(draw(steps)) - 2), 20 + 5 * np.cumsum(draw(steps))
    return list(zip(rates.tolist(), qualities.tolist(), strict=True))


# Whatever a measurement may give: ties, falling curves, repeated points.
any_curves = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 100)), max_size=8) | st.lists(
    st.tuples(st.sampled_from([0.1, 0.2, 0.4, 0.8]), st.sampled_from([20.0, 28.0, 28.5, 34.0])), max_size=8
)


def percent(anchor: Curve, test: Curve) -> float:
    value = bd_rate(anchor, test).percent
    assert value is not None
    return value


def scaled(curve: Curve, rate: float = 1.0, quality: Callable[[float], float] = lambda q: q) -> Curve:
    return [(rate * r, quality(q)) for r, q in curve]


def test_a_curve_against_itself_is_exactly_zero() -> None:
    result = bd_rate(ANCHOR, ANCHOR)
    assert (result.percent, result.akima, result.overlap) == (0.0, 0.0, 1.0)
    assert (result.metric, result.rate_overlap) == (0.0, 1.0)
    assert (result.points, result.monotone, result.reason, result.warnings) == ((4, 4), True, "", ())
    assert result.method == "pchip"


@given(rising_curves(), st.floats(0.1, 10))
def test_a_scaled_rate_gives_the_exact_percentage(curve: Curve, factor: float) -> None:
    result = bd_rate(curve, scaled(curve, factor))
    assert result.percent == pytest.approx(100 * (factor - 1), rel=1e-9, abs=1e-9)
    assert result.akima == pytest.approx(100 * (factor - 1), rel=1e-9, abs=1e-9)


@example([(1.0, 0.0), (2.0, 0.0), (3.0, 1.0)], [(4.0, 1.0), (4.25, 0.0), (0.015625, 0.0)])  # Akima: −100 %
@example([(1.0, 0.0), (2.0, 0.0), (3.0, 1.0)], [(4.0, 1.0), (4.25, 0.0), (0.125, 0.0)])  # Akima: a millionth above that
@given(st.one_of(rising_curves(), any_curves), st.one_of(rising_curves(), any_curves))
def test_forth_and_back_multiply_to_one(a: Curve, b: Curve) -> None:
    """Also where the policy acts, because it sees each curve on its own."""
    forth, back = bd_rate(a, b), bd_rate(b, a)
    assert (forth.percent is None) == (back.percent is None)
    assert (forth.metric is None) == (back.metric is None)
    assert forth.metric is None or back.metric is None or forth.metric == pytest.approx(-back.metric, rel=1e-9, abs=1e-9)
    for there, again in ((forth.percent, back.percent), (forth.akima, back.akima)):
        if there is None or again is None or min(there, again) < -99.999:
            continue  # no answer, or so near −100 % that its digits do not bear the product
        assert (1 + there / 100) * (1 + again / 100) == pytest.approx(1, rel=1e-9)


BENT = [(0.09, 21.0), (0.17, 29.0), (0.33, 34.5), (0.7, 34.4), (0.7, 34.6), (1.0, 34.6), (1.0, 34.6)]


@given(st.permutations(ANCHOR), st.permutations(TEST), st.permutations(BENT))
def test_the_order_of_the_points_does_not_matter(a: Curve, b: Curve, bent: Curve) -> None:
    assert bd_rate(a, b) == bd_rate(ANCHOR, TEST)
    assert bd_rate(a, bent) == bd_rate(ANCHOR, BENT)


@given(rising_curves(), rising_curves(), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_the_unit_of_quality_does_not_matter(a: Curve, b: Curve, unit: float, shift: float) -> None:
    assume(abs(bd_rate(a, b).overlap - MIN_OVERLAP) > 1e-6)
    before = bd_rate(a, b)
    after = bd_rate(*(scaled(curve, quality=lambda q: unit * q + shift) for curve in (a, b)))
    assert (before.percent is None) == (after.percent is None)
    assert before.percent is None or after.percent == pytest.approx(before.percent, rel=1e-5, abs=1e-5)
    assert before.metric is None or after.metric == pytest.approx(unit * before.metric, rel=1e-5, abs=1e-5 * unit)


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
    assert result.marks == ("small overlap",)


def test_interpolations_that_disagree_are_reported() -> None:
    bent = [(0.1, 20.0), (0.103, 27.0), (3.0, 28.0), (3.1, 37.0)]
    result = bd_rate(ANCHOR, bent)
    assert result.percent is not None
    assert result.akima is not None
    assert abs(result.percent - result.akima) > 1 + 0.1 * abs(result.percent)
    assert any("disagree" in text for text in result.warnings)
    assert result.marks == ("PCHIP and Akima disagree",)


@pytest.mark.parametrize("rate", [0.0, -0.1, math.nan, math.inf, -math.inf])
def test_a_rate_that_cannot_be_is_refused(rate: float) -> None:
    for pair in (([*ANCHOR, (rate, 30.0)], TEST), (ANCHOR, [(rate, 30.0), *TEST])):
        with pytest.raises(ValueError, match="not a rate-quality point"):
            bd_rate(*pair)


@pytest.mark.parametrize("quality", [math.nan, math.inf, -math.inf])
def test_a_quality_that_is_not_finite_is_refused(quality: float) -> None:
    with pytest.raises(ValueError, match="not a rate-quality point"):
        bd_rate(ANCHOR, [*TEST, (1.0, quality)])


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="known: pchip, akima"):
        bd_rate(ANCHOR, TEST, method="cubic")  # type: ignore[arg-type]


# Published values. The two pairs of curves are of JCTVC-E137, as in Netflix's vmaf, python/test/bd_rate_calculator_test.py,
# and in Android's BdRateCalculatorTests and BdQualityCalculatorTests.
E137 = [
    (
        [(108048.8736, 43.6471), (61279.976, 40.3953), (33905.6656, 37.247), (18883.6928, 34.2911)],
        [(108061.2784, 43.6768), (61299.9936, 40.4232), (33928.7472, 37.2761), (18910.912, 34.3147)],
    ),
    (
        [(40433.8848, 37.5761), (7622.7456, 35.3756), (2394.488, 33.8977), (1017.6184, 32.0603)],
        [(40370.12, 37.5982), (7587.0024, 35.4025), (2390.0944, 33.9194), (1017.0984, 32.0822)],
    ),
]


@pytest.mark.parametrize(("pair", "fraction"), zip(E137, (-0.00465215420752807, -0.018779823450567612), strict=True))
def test_bd_rate_agrees_with_jctvc_e137(pair: tuple[Curve, Curve], fraction: float) -> None:
    """PCHIP with the same slopes, as in the proposal's own sheet: the published fractions to their last digits."""
    assert percent(*pair) / 100 == pytest.approx(fraction, abs=1e-12)


def test_bd_metric_agrees_with_android_on_jctvc_e137() -> None:
    """Android interpolates by Akima and adds a fifth point that it made by PCHIP, hence its own tolerance and not ours.

    Its value for the first pair, −0.0031 dB, is left out: its made points turn the sign, while rate and quality both gain.
    """
    assert bd_rate(*E137[1]).metric == pytest.approx(0.028504, abs=5e-5)


# Measured with libx265, from the README of FAU's bjontegaard; and sample 1 of Anserw's Bjontegaard_metric, demo.py.
X265 = (
    [(9487.76, 40.037), (4593.60, 38.615), (2486.44, 36.845), (1358.24, 34.851)],
    [(9787.80, 40.121), (4469.00, 38.651), (2451.52, 36.970), (1356.24, 34.987)],
)
SAMPLE = (
    [(686.76, 40.28), (309.58, 37.18), (157.11, 34.24), (85.95, 31.42)],
    [(893.34, 40.39), (407.8, 37.21), (204.93, 34.17), (112.75, 31.24)],
)


@pytest.mark.parametrize("pair", [X265, SAMPLE])
def test_bd_rate_is_near_the_global_cubic_on_smooth_curves(pair: tuple[Curve, Curve]) -> None:
    """VCEG-M33 lays one cubic through all points; a piecewise curve differs between them, by little where it is smooth."""
    low, high = max(min(q for _, q in curve) for curve in pair), min(max(q for _, q in curve) for curve in pair)
    integrals = [np.polyint(np.polyfit([q for _, q in curve], np.log([r for r, _ in curve]), 3)) for curve in pair]
    means = [(np.polyval(integral, high) - np.polyval(integral, low)) / (high - low) for integral in integrals]
    cubic = 100 * math.expm1(means[1] - means[0])
    assert percent(*pair) == pytest.approx(cubic, abs=0.1)
    assert percent(*pair) != pytest.approx(cubic, abs=1e-3)


@st.composite
def pairs_of_a_length(draw: st.DrawFn) -> tuple[Curve, Curve]:
    count = draw(st.integers(4, 8))
    return draw(rising_curves_of(count)), draw(rising_curves_of(count))


@pytest.mark.parametrize("method", ["pchip", "akima"])
@given(pair=pairs_of_a_length())
def test_bd_rate_and_bd_metric_equal_those_of_the_bjontegaard_package(method: Method, pair: tuple[Curve, Curve]) -> None:
    """FAU's package (Herglotz and others), an independent implementation of the same two interpolations."""
    columns = [np.array(column) for curve in pair for column in zip(*curve, strict=True)]
    found = bd_rate(*pair, method=method)
    assert found.method == method
    if found.percent is not None:
        theirs = bjontegaard.bd_rate(*columns, method=method, min_overlap=0)
        assert found.percent == pytest.approx(theirs, rel=1e-6, abs=1e-6)
    if found.metric is not None and found.rate_overlap > 1e-3:  # the package divides by the common range as it is
        theirs = bjontegaard.bd_psnr(*columns, method=method, min_overlap=0)
        assert found.metric == pytest.approx(theirs, rel=1e-6, abs=1e-6)


def test_the_other_method_is_the_cross_check() -> None:
    one, other = bd_rate(ANCHOR, TEST), bd_rate(ANCHOR, TEST, method="akima")
    assert one.percent != one.cross_check
    assert (one.percent, one.cross_check) == (other.cross_check, other.percent)
    assert one.akima == other.akima == one.cross_check


def test_bd_metric_is_there_where_only_the_rates_overlap() -> None:
    found = bd_rate(ANCHOR, scaled(ANCHOR, quality=lambda q: q + 50))
    assert (found.percent, found.overlap, found.rate_overlap) == (None, 0.0, 1.0)
    assert found.metric == pytest.approx(50)


def test_bd_metric_is_none_without_a_common_range_of_rate() -> None:
    found = bd_rate(ANCHOR, scaled(ANCHOR, 100))
    assert (found.metric, found.rate_overlap) == (None, 0.0)
    assert found.percent == pytest.approx(9900)


def test_the_rate_overlap_is_in_log_rate() -> None:
    found = bd_rate([(1.0, 0.0), (2.0, 5.0), (4.0, 10.0)], [(2.0, 0.0), (4.0, 5.0), (8.0, 10.0)])
    assert found.rate_overlap == pytest.approx(1 / 3)


@pytest.mark.parametrize("bent", [(0, 1), (1, 0), (1, 1)])
def test_a_curve_that_is_not_monotone_is_named_with_what_it_became(bent: tuple[int, int]) -> None:
    curves = [BENT if is_bent else ANCHOR for is_bent in bent]
    found = bd_rate(*curves)
    assert found.percent is not None
    assert not found.monotone
    assert "refitted curve" in found.marks
    for name, is_bent in zip(("anchor", "test"), bent, strict=True):
        said = [text for text in found.warnings if f"the {name} curve is not monotone: its 5 points became" in text]
        assert ["constrained_cubic" in text for text in said] == [True] * is_bent
        assert any(f"the {name} curve has rates within 2 %" in text for text in found.warnings) == bool(is_bent)


@given(rising_curves(), st.data())
def test_a_point_measured_twice_counts_as_the_point_itself(curve: Curve, data: st.DataObject) -> None:
    """Whatever the error of the two, if it is the same up and down."""
    rate, quality = curve[place := data.draw(st.integers(0, len(curve) - 1))]
    stretch, error = data.draw(st.floats(1, 1.005)), data.draw(st.floats(-5, 5))
    twice = [*curve[:place], (rate / stretch, quality - error), (rate * stretch, quality + error), *curve[place + 1 :]]
    assert bd_rate(ANCHOR, twice).percent == pytest.approx(bd_rate(ANCHOR, curve).percent, abs=1e-6)
    assert bd_rate(ANCHOR, twice).marks == bd_rate(ANCHOR, curve).marks


@given(rising_curves(), st.data())
def test_a_point_within_1_percent_of_a_neighbour_on_the_curve_moves_little(curve: Curve, data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(curve) - 2))
    near = curve[place][0] * data.draw(st.floats(0.99, 1.01))
    quality = float(np.interp(np.log(near), np.log([rate for rate, _ in curve]), [q for _, q in curve]))
    assert abs(percent(curve, [*curve, (near, quality)])) < 3


def test_a_point_that_nearly_coincides_with_its_neighbour_does_not_move_a_bd_rate_by_points() -> None:
    near = [*TEST, (0.1717, 29.3)]  # 1 % above the second rate; unmerged it moves 2.4 points
    assert percent(ANCHOR, near) == pytest.approx(percent(ANCHOR, TEST), abs=0.5)


@given(rising_curves(), rising_curves())
def test_the_stability_of_the_inverse_is_the_inverse(a: Curve, b: Curve) -> None:
    forth, back = bd_rate(a, b), bd_rate(b, a)
    one, other = stability([forth.left_out]), stability([back.left_out])
    count = len(a) if len(a) == len(b) else len(a) + len(b)
    assert len(forth.left_out) == (0 if forth.percent is None else count)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert [(1 + x / 100) * (1 + y / 100) for x, y in zip(one, reversed(other), strict=True)] == pytest.approx([1, 1])


def test_leaving_out_a_point_is_as_if_it_had_not_been_measured() -> None:
    found = bd_rate(ANCHOR, TEST).left_out
    less, without = ([[*curve[:k], *curve[k + 1 :]] for k in range(4)] for curve in (ANCHOR, TEST))
    assert found == tuple(pytest.approx(math.log1p(percent(*pair) / 100)) for pair in zip(less, without, strict=True))
    longer = [*TEST, (1.0, 38.0)]
    pairs = [*((one, longer) for one in less), *((ANCHOR, longer[:k] + longer[k + 1 :]) for k in range(5))]
    assert bd_rate(ANCHOR, longer).left_out == tuple(pytest.approx(math.log1p(percent(*pair) / 100)) for pair in pairs)
    assert stability([found]) == pytest.approx((100 * math.expm1(min(found)), 100 * math.expm1(max(found))))


@given(rising_curves_of(5), st.floats(0.1, 10))
def test_a_scaled_rate_is_as_stable_as_can_be(curve: Curve, factor: float) -> None:
    ends = stability([bd_rate(curve, scaled(curve, factor)).left_out])
    assert ends == pytest.approx([100 * (factor - 1)] * 2, rel=1e-9, abs=1e-9)


def test_a_rate_point_is_left_out_at_all_seeds_at_once() -> None:
    assert stability([(0.1, -0.2, None), (0.3, 0.0, 0.5)]) == pytest.approx((100 * math.expm1(-0.1), 100 * math.expm1(0.2)))
    assert stability([(0.1, 0.2), (0.3,)]) is None  # a curve with a hole
    assert stability([]) is None
    assert stability([(None, None)]) is None


@given(any_curves, any_curves)
def test_no_curve_crashes_and_no_answer_has_a_reason(a: Curve, b: Curve) -> None:
    for method in ("pchip", "akima"):
        found = bd_rate(a, b, method=method)
        assert (found.percent is None) == bool(found.reason)
        for number in (found.percent, found.cross_check, found.metric, found.overlap, found.rate_overlap):
            assert number is None or math.isfinite(number)
        assert 0 <= found.overlap <= 1
        assert 0 <= found.rate_overlap <= 1


def test_an_interpolation_that_runs_away_gives_no_number() -> None:
    """Akima is not bounded by the points, and a near-vertical piece can send it anywhere."""
    steep = [(0.1, 20.0), (0.2, 24.0), (0.4, 28.0), (900.0, 28.0 + 1e-9), (1000.0, 37.0)]
    assert bd_rate(ANCHOR, steep).percent is not None
    found = bd_rate(ANCHOR, steep, method="akima")
    assert (found.percent, found.reason) == (None, "the Akima interpolation diverges")
    assert any("no cross-check" in text for text in bd_rate(ANCHOR, steep).warnings)


@given(rising_curves(), st.floats(0.1, 10))
def test_the_relative_difference_of_a_scaled_rate_is_the_same_everywhere(curve: Curve, factor: float) -> None:
    qualities, percents = relative_difference(curve, scaled(curve, factor), count=7)
    assert qualities == pytest.approx(np.linspace(curve[0][1], curve[-1][1], 7))
    assert percents == pytest.approx(np.full(7, 100 * (factor - 1)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("method", ["pchip", "akima"])
def test_bd_rate_is_the_log_mean_of_the_relative_difference(method: Method) -> None:
    qualities, percents = relative_difference(ANCHOR, TEST, count=20001, method=method)
    assert (qualities[0], qualities[-1]) == (21.0, 37.0)
    mean = np.trapezoid(np.log1p(percents / 100), qualities) / (qualities[-1] - qualities[0])
    assert 100 * np.expm1(mean) == pytest.approx(bd_rate(ANCHOR, TEST, method=method).percent, abs=1e-5)


@pytest.mark.parametrize("test", [scaled(TEST, quality=lambda q: q + 100), TEST[:2], []])
def test_without_a_common_range_the_relative_difference_is_empty(test: Curve) -> None:
    assert [len(part) for part in relative_difference(ANCHOR, test)] == [0, 0]


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Curve], list[Curve]]:
    """One to five pairs, rising or not, each side with one number of points."""
    point = st.tuples(st.floats(0.01, 10), st.floats(0, 100)) | st.sampled_from(BENT)
    count = draw(st.integers(1, 5))
    sides: list[list[Curve]] = []
    for _ in range(2):
        length = draw(st.integers(0, 6))
        bent = st.lists(point, min_size=length, max_size=length)
        curve = bent | rising_curves_of(length) if length else bent
        sides.append(draw(st.lists(curve, min_size=count, max_size=count)))
    return sides[0], sides[1]


@given(batches())
def test_a_batch_gives_what_one_pair_after_another_gives(sides: tuple[list[Curve], list[Curve]]) -> None:
    arrays = [np.array(side, float).reshape(len(side), len(side[0]), 2) for side in sides]
    logs, metrics = log_bd_rates(*arrays), bd_metrics(*arrays)
    assert logs.shape == metrics.shape == (len(sides[0]),)
    for log, metric, anchor, test in zip(logs, metrics, *sides, strict=True):
        one = bd_rate(anchor, test)
        if one.percent is not None:
            assert log == pytest.approx(math.log1p(one.percent / 100), rel=1e-9, abs=1e-9)
        assert math.isnan(log) == (min(one.points) < 3 or one.overlap == 0)
        assert math.isnan(metric) == (one.metric is None)
        if one.metric is not None and one.rate_overlap > 1e-6:
            assert metric == pytest.approx(one.metric, rel=1e-9, abs=1e-9)


def test_a_batch_answers_below_the_least_overlap() -> None:
    test = scaled(ANCHOR, 2, lambda q: q + 15)
    assert 0 < bd_rate(ANCHOR, test).overlap < MIN_OVERLAP
    value = log_bd_rates(np.array([ANCHOR]), np.array([test]))[0]
    grid = np.linspace(35, 37, 20001)
    curves = [PchipInterpolator([q for _, q in curve], np.log([r for r, _ in curve]))(grid) for curve in (ANCHOR, test)]
    assert value == pytest.approx(np.mean(curves[1] - curves[0]), abs=1e-3)


@pytest.mark.parametrize(
    ("anchor", "test", "words"),
    [
        (np.ones((2, 4, 2)), np.ones((3, 4, 2)), "not pairs of curves"),
        (np.ones((4, 2)), np.ones((4, 2)), "not pairs of curves"),
        (np.ones((1, 4, 3)), np.ones((1, 4, 3)), "not pairs of curves"),
        (np.zeros((1, 4, 2)), np.ones((1, 4, 2)), "not a rate-quality point"),
        (np.full((1, 4, 2), np.nan), np.ones((1, 4, 2)), "not a rate-quality point"),
    ],
)
def test_a_batch_that_is_no_batch_is_refused(anchor: np.ndarray, test: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        log_bd_rates(anchor, test)


def test_a_batch_of_nothing_is_empty() -> None:
    assert log_bd_rates(np.empty((0, 4, 2)), np.empty((0, 4, 2))).shape == (0,)
