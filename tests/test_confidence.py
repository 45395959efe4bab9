"""Intervals over seeds and images, and whether they contain the truth as often as they say."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from icmbench.stats.confidence import Estimate, detectable, estimate, holm, image_weights
from studies.interval_coverage import WORLDS, World, coverage

RNG = np.random.default_rng(7)


def test_one_seed_has_no_interval() -> None:
    assert estimate([3.0], [np.zeros(10)], 64) == Estimate(3.0)
    with pytest.raises(ValueError, match="no values"):
        estimate([], [], 64)


@pytest.mark.parametrize(("values", "half"), [([1.0, 3.0], 12.7062047), ([2.0, 2.0, 2.0], 0.0), ([1.0, 2.0, 3.0], 2.48413771)])
def test_without_resamples_the_interval_is_students_over_seeds(values: list[float], half: float) -> None:
    found = estimate(values, [None] * len(values), 64)
    assert found.interval == pytest.approx((2 - half, 2 + half))
    assert not found.covers_images


def test_what_images_do_to_all_seeds_alike_widens_the_interval() -> None:
    shared = RNG.normal(0, 2, 20_000)
    found = estimate([5.0, 5.0, 5.0], [5 + shared] * 3, 1000)
    assert found.covers_images
    assert found.interval == pytest.approx((5 - 1.96 * 2, 5 + 1.96 * 2), rel=0.03)


def test_what_images_do_to_each_seed_on_its_own_is_in_the_spread_of_seeds_already() -> None:
    own = [5 + RNG.normal(0, 2, 20_000) for _ in range(3)]
    alone = estimate([4.0, 5.0, 6.0], [None] * 3, 1000).interval
    both = estimate([4.0, 5.0, 6.0], own, 1000).interval
    assert both == pytest.approx(alone, rel=0.05)


def test_few_images_make_a_wider_interval_of_the_same_resamples() -> None:
    shared = RNG.normal(0, 2, 5000)
    widths = []
    for images in (4, 1000):
        low, high = estimate([5.0, 5.0, 5.0], [5 + shared] * 3, images).interval or (0, 0)
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1]


def test_resamples_without_a_value_are_left_out_while_they_are_few() -> None:
    shared = RNG.normal(0, 2, 1000)
    for missing, covered in ((40, True), (60, False)):
        holes = shared.copy()
        holes[:missing] = math.nan
        found = estimate([5.0, 5.0, 5.0], [holes, shared, shared], 1000)
        assert found.covers_images == covered
        assert found.interval is not None
        assert (found.interval[1] > 6) == covered


def test_one_record_without_rows_leaves_the_images_out() -> None:
    assert not estimate([1.0, 2.0], [np.zeros(10), None], 64).covers_images


def test_the_p_value_is_that_of_students_test_and_fits_the_interval() -> None:
    values = [0.5, 1.5, 0.9, 1.4]
    found = estimate(values, [None] * 4, 64)
    assert found.p == pytest.approx(ttest_1samp(values, 0).pvalue)
    assert found.interval is not None
    at_the_end = estimate(np.array(values) - found.interval[0], [None] * 4, 64)
    assert at_the_end.p == pytest.approx(0.05)
    assert (estimate([2.0, 2.0], [None] * 2, 64).p, estimate([0.0, 0.0], [None] * 2, 64).p) == (0, 1)


def test_what_is_not_trained_has_an_interval_over_the_images() -> None:
    found = estimate([5.0], [5 + RNG.normal(0, 2, 20_000)], 1000, trained=False)
    assert found.interval == pytest.approx((5 - 1.96 * 2, 5 + 1.96 * 2), rel=0.03)
    assert (found.over, found.freedom) == ("images", 999)
    assert estimate([5.0], [None], 1000, trained=False) == Estimate(5.0)


def test_percent_of_a_logarithm() -> None:
    found = Estimate(math.log(0.8), math.log(0.7), math.log(1.1), p=0.2, error=0.1, over="seeds").as_percent()
    assert (found.value, *(found.interval or ())) == pytest.approx((-20, -30, 10))
    assert (found.p, found.error, found.over) == (0.2, 0.1, "seeds")
    assert Estimate(math.log(2)).as_percent() == Estimate(pytest.approx(100))


def test_holm_gives_the_worked_example() -> None:
    """Of four tests, 0.01, 0.04, 0.03 and 0.005 (as in the help of R's p.adjust and everywhere)."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_is_between_no_correction_and_bonferronis_and_keeps_the_order(p: list[float], random: Random) -> None:
    found = holm(p)
    assert all(one <= two <= min(1, len(p) * one) + 1e-12 for one, two in zip(p, found, strict=True))
    assert all(found[i] <= found[j] for i in range(len(p)) for j in range(len(p)) if p[i] <= p[j])
    order = random.sample(range(len(p)), len(p))
    assert holm([p[k] for k in order]) == [found[k] for k in order]


def test_among_true_zeros_holm_calls_one_a_difference_in_5_percent_of_the_tables() -> None:
    draws = RNG.normal(0, 1, (2000, 8, 3)) + RNG.normal(0, 1, (2000, 1, 3))  # all share the noise of one anchor
    p = ttest_1samp(draws, 0, axis=2).pvalue
    assert np.mean([min(holm(list(table))) < 0.05 for table in p]) <= 0.06
    assert np.mean(p.min(1) < 0.05) > 0.15  # uncorrected


@pytest.mark.parametrize(("seeds", "comparisons"), [(3, 1), (6, 1), (3, 10), (6, 10)])
def test_the_detectable_difference_is_shown_in_80_percent_of_the_experiments(seeds: int, comparisons: int) -> None:
    difference = detectable(1 / math.sqrt(seeds), seeds - 1, comparisons)
    p = ttest_1samp(RNG.normal(difference, 1, (20_000, seeds)), 0, axis=1).pvalue
    assert np.mean(p < 0.05 / comparisons) == pytest.approx(0.8, abs=0.015)


def test_weights_are_resamples_that_depend_on_their_axes_alone() -> None:
    weights = image_weights(64, "protocol", count=50)
    assert weights.shape == (50, 64)
    assert (weights.sum(1) == 64).all()
    assert weights.min() == 0
    assert (weights == image_weights(64, "protocol", count=50)).all()
    assert (weights != image_weights(64, "another", count=50)).any()


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS.keys())
def test_95_percent_intervals_of_three_seeds_contain_the_truth_in_92_to_98_percent(world: World) -> None:
    share, _ = coverage(world, seeds=3, images=64, experiments=1000)["crossed"]
    assert 0.92 <= share <= 0.98


@pytest.mark.slow
def test_the_usual_percentile_bootstrap_of_three_seeds_does_not() -> None:
    share, _ = coverage(WORLDS["seeds matter"], seeds=3, images=64, experiments=300)["percentile"]
    assert share < 0.8
