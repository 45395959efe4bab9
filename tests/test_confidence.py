"""Intervals over seeds and images, and whether they contain the truth as often as they say."""

import math

import numpy as np
import pytest

from icmbench.stats.confidence import Estimate, estimate, image_weights
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


def test_resolved_means_that_the_interval_leaves_out_0() -> None:
    assert Estimate(1.0, 0.1, 2.0).resolved
    assert Estimate(-1.0, -2.0, -0.1).resolved
    assert not Estimate(1.0, -0.1, 2.0).resolved
    assert not Estimate(1.0).resolved


def test_percent_of_a_logarithm() -> None:
    found = Estimate(math.log(0.8), math.log(0.7), math.log(1.1), True).as_percent()
    assert (found.value, *(found.interval or ())) == pytest.approx((-20, -30, 10))
    assert found.covers_images
    assert Estimate(math.log(2)).as_percent() == Estimate(pytest.approx(100))


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
