"""The policies for curves that are not monotone: what each makes of a curve, and what holds for all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from icmbench.stats.monotone import NEAR, Points, constrained_cubic, is_rising, is_spread, merged, rising
from studies.policies import POLICIES, envelope, isotonic

ANSWERING = [policy for policy in POLICIES if policy != "refuse"]
# Rates a factor e apart; the third point falls back.
BENT = np.array([[0.0, 20.0], [1.0, 30.0], [2.0, 28.0], [3.0, 36.0]])


def curve(points: list[tuple[float, float]]) -> Points:
    return np.array(sorted(points))


measured = st.tuples(st.floats(-5, 2), st.floats(0, 100)) | st.tuples(
    st.sampled_from([-2.0, -1.0, -1.0 + 1e-13, -1.0 + 1e-11, 0.0]), st.sampled_from([20.0, 20.0 + 1e-13, 28.0, 28.5, 34.0])
)
measured_curves = st.lists(measured, min_size=2, max_size=8).map(curve)
curves = measured_curves.map(merged)


@pytest.mark.parametrize("policy", ANSWERING)
@given(points=curves)
def test_every_policy_gives_a_rising_curve_of_no_more_points_within_the_rates(policy: str, points: Points) -> None:
    made = POLICIES[policy](points)
    assert made is not None
    assert 1 <= len(made) <= len(points)
    assert is_rising(made)
    assert np.isfinite(made).all()
    assert points[0, 0] <= made[0, 0] + 1e-12
    assert made[-1, 0] <= points[-1, 0] + 1e-12


@pytest.mark.parametrize("policy", ANSWERING)
@given(points=curves, rate=st.floats(-3, 3), unit=st.floats(0.1, 10), shift=st.floats(-10, 10))
def test_the_units_do_not_matter(policy: str, points: Points, rate: float, unit: float, shift: float) -> None:
    points = np.round(points, 3)  # differences at the limit of what counts as a tie may fall on either side
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    made, moved = POLICIES[policy](points), POLICIES[policy](points * [1, unit] + [rate, shift])
    assert made is not None
    assert moved is not None
    if len(made) == len(moved):  # a fit that is flat to 1e-6 may keep or lose a point
        assert moved == pytest.approx(made * [1, unit] + [rate, shift], rel=1e-6, abs=1e-5)
    else:
        assert policy == "constrained_cubic"


def test_isotonic_pools_what_falls_at_mean_log_rate_and_mean_quality() -> None:
    assert isotonic(BENT) == pytest.approx(np.array([[0, 20], [1.5, 29], [3, 36]]))


@given(curves)
def test_isotonic_is_the_nearest_curve_that_does_not_fall(points: Points) -> None:
    """Against the max-min formula for isotonic regression (Barlow and others, 1972)."""
    points = np.column_stack([np.arange(len(points), dtype=float), points[:, 1]])
    values = points[:, 1]
    expected = [
        max(min(values[low : high + 1].mean() for high in range(k, len(values))) for low in range(k + 1))
        for k in range(len(values))
    ]
    tie = 1e-9 * (1 + np.ptp(values))
    levels = [value for k, value in enumerate(expected) if k == 0 or value > expected[k - 1] + tie]
    made = isotonic(points)[:, 1]
    made = made[np.append(True, np.diff(made) > tie)]
    assert made == pytest.approx(levels, rel=1e-9, abs=1e-9)


def test_envelope_drops_what_is_dominated() -> None:
    assert envelope(BENT).tolist() == [[0, 20], [1, 30], [3, 36]]


def test_the_cubic_is_kept_where_it_rises_already() -> None:
    rates = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    points = np.column_stack([rates, 20 + rates + rates**3])
    assert constrained_cubic(points) == pytest.approx(points)


@pytest.mark.parametrize(
    "qualities", [[20, 30, 28, 36], [20, 35, 36, 35.5], [30, 20, 29, 33], [20, 31, 30, 35, 34, 36], [3, 1, 2]]
)
def test_the_cubic_is_the_least_squares_fit_with_no_negative_slope(qualities: list[float]) -> None:
    """Against a general optimiser on the same grid of slopes."""
    rates = np.linspace(0, 2, len(qualities))
    powers = np.arange(min(4, len(qualities)))
    basis, grid = (rates[:, None] / 2) ** powers, np.linspace(0, 1, 41)[:, None]
    slopes = powers * grid ** np.maximum(powers - 1, 0)
    found = minimize(
        lambda b: ((basis @ b - qualities) ** 2).sum(),
        np.append(np.mean(qualities), np.zeros(len(powers) - 1)),
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda b: slopes @ b},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    made = constrained_cubic(np.column_stack([rates, qualities]))
    fitted = np.interp(rates, made[:, 0], made[:, 1])  # a flat stretch leaves its first point only
    assert fitted == pytest.approx(basis @ found.x, abs=1e-3)
    assert ((fitted - qualities) ** 2).sum() == pytest.approx(found.fun, rel=1e-4)


def test_the_cubic_of_a_falling_curve_is_flat() -> None:
    made = constrained_cubic(BENT * [1, -1])
    assert made == pytest.approx(np.array([[0, -28.5]]))


@pytest.mark.parametrize(
    ("points", "answer"),
    [
        ([[0, 1], [1, 2], [2, 3]], True),
        ([[0, 1], [1, 1], [2, 3]], False),
        ([[0, 1], [0, 2], [2, 3]], False),
        ([[0, 3], [1, 2], [2, 1]], False),
        ([[0, 1], [1, 1 + 1e-13], [2, 2]], False),
        ([[0, 1]], True),
    ],
)
def test_is_rising_asks_for_a_rise_of_both_at_every_step(points: list[list[float]], answer: bool) -> None:
    assert bool(is_rising(np.array(points, float))) is answer


def test_is_rising_judges_many_curves_at_once() -> None:
    assert is_rising(np.array([BENT, BENT * [1, 0], BENT[[0, 1, 3, 3]], np.sort(BENT, axis=0)])).tolist() == [
        False,
        False,
        False,
        True,
    ]


def test_rising_applies_the_cubic_where_it_is_needed() -> None:
    assert rising(BENT).tolist() == constrained_cubic(BENT).tolist()
    straight = np.sort(BENT, axis=0)
    assert rising(straight) is straight


@given(measured_curves)
def test_what_is_near_in_rate_is_merged_within_what_was_measured(points: Points) -> None:
    made = merged(points)
    assert is_spread(made)
    assert is_rising(rising(points))
    assert merged(made).tolist() == made.tolist()
    for column in (0, 1):
        assert points[:, column].min() - 1e-9 <= made[:, column].min()
        assert made[:, column].max() <= points[:, column].max() + 1e-9
    if is_spread(points):
        assert made.tolist() == points.tolist()


def test_a_group_of_near_points_becomes_their_mean() -> None:
    near = 0.9 * NEAR
    points = np.array([[0.0, 20.0], [near, 22.0], [1.0, 30.0], [1.0, 31.0], [1 + near / 2, 32.0], [2.0, 35.0]])
    assert merged(points) == pytest.approx(np.array([[near / 2, 21], [1 + near / 6, 31], [2, 35]]))
    chain = np.array([[0.0, 1.0], [near, 2.0], [2 * near, 3.0], [1.0, 4.0]])  # the third is near the second, not the first
    assert merged(chain) == pytest.approx(np.array([[near / 2, 1.5], [2 * near, 3], [1, 4]]))
