"""What a protocol can resolve, from A/A comparisons."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from builders import curve, make_protocol
from icmbench.base.errors import UserError
from icmbench.compare.comparison import curves
from icmbench.compare.resamples import no_resamples
from icmbench.extras.power.power import describe_power, power_of
from icmbench.extras.power.statistics import half_width, power, seeds_needed

RNG = np.random.default_rng(3)


def pairs_of(levels: np.ndarray) -> np.ndarray:
    """Log rate ratios [S, S] between seeds whose log rates are `levels`."""
    return levels[None, :] - levels[:, None]


def test_the_spread_is_that_of_the_pairs() -> None:
    found = power(pairs_of(np.array([0.0, 0.01, -0.01])), None, 64)
    assert found.spread == pytest.approx(100 * np.sqrt((0.01**2 + 0.01**2 + 0.02**2) / 3))
    assert sorted(found.pairs) == pytest.approx([-1.98, -0.995, 1.005], abs=0.01)
    assert found.half_width == pytest.approx(4.302653 * found.spread / np.sqrt(3))
    assert (found.coverage, found.comparisons) == (None, 0)


def test_the_spread_estimates_the_standard_deviation_of_a_difference() -> None:
    found = [power(pairs_of(RNG.normal(0, 0.01, 6)), None, 64, group=4).spread ** 2 for _ in range(400)]
    assert np.sqrt(np.mean(found)) == pytest.approx(np.sqrt(2), rel=0.05)


def test_one_seed_is_not_enough() -> None:
    with pytest.raises(ValueError, match="at least two seeds"):
        power(np.zeros((1, 1)), None, 64)


def test_coverage_counts_intervals_that_contain_no_difference() -> None:
    assert power(pairs_of(RNG.normal(0, 0.01, 12)), None, 64).coverage == pytest.approx(0.95, abs=0.06)
    apart = pairs_of(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    apart += 0.05 * (1 - np.eye(6)) + RNG.normal(0, 1e-4, (6, 6))  # every pair differs, always the same way
    assert power(apart, None, 64).coverage == 0


@pytest.mark.parametrize(("difference", "spread"), [(2.0, 1.0), (1.0, 1.0), (5.0, 1.5), (1.0, 0.2)])
def test_the_seeds_needed_show_the_difference_in_80_percent_of_experiments(difference: float, spread: float) -> None:
    count = seeds_needed(difference, spread)
    assert count is not None
    shown = {}
    for number in (count - 1, count):
        draws = RNG.normal(difference, spread, (4000, number)) if number > 1 else np.zeros((1, 2))
        shown[number] = float(np.mean(ttest_1samp(draws, 0, axis=1).pvalue < 0.05)) if number > 1 else 0.0
    assert shown[count] > 0.78
    assert shown[count - 1] < 0.82


def test_too_noisy_for_any_number_of_seeds() -> None:
    assert seeds_needed(1.0, 100.0) is None
    assert seeds_needed(1.0, 0.0) == 2


def test_the_half_width_shrinks_with_seeds() -> None:
    assert [half_width(1.0, n) for n in (2, 3, 10)] == pytest.approx([8.984, 2.484, 0.7154], abs=1e-3)


def test_power_from_records() -> None:
    records = [record for seed, factor in enumerate((1.0, 1.01, 0.99)) for record in curve("task_loss", factor, seed=seed)]
    found = power_of(curves(records)[0], no_resamples)
    assert sorted(found.pairs) == pytest.approx([-1.980, -1.0, 1.0], abs=0.02)
    text = describe_power(found, make_protocol())
    assert f"{found.spread:.2f} %" in text
    assert "to show 1 %" in text
    assert "needs at least 6 seeds" in text


def test_seeds_without_a_common_range_are_said_so() -> None:
    records = [
        *curve("task_loss"),
        *[r.model_copy(update={"scores": {"AP": r.scores["AP"] / 10}}) for r in curve("task_loss", seed=1)],
    ]
    with pytest.raises(UserError, match="no BD-rate between the seeds 0 and 1"):
        power_of(curves(records)[0], no_resamples)
