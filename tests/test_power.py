"""What a protocol can resolve, from A/A comparisons."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from builders import curve, make_protocol
from icmbench.base.errors import UserError
from icmbench.compare.comparison import curves
from icmbench.compare.resamples import no_resamples
from icmbench.extras.power.power import describe_power, power_of
from icmbench.extras.power.statistics import Paired, power, seeds_needed, smallest
from icmbench.schema.record import Record

RNG = np.random.default_rng(3)


def pairs_of(levels: np.ndarray) -> np.ndarray:
    """Log rate ratios [S, S] between seeds whose log rates are `levels`."""
    return levels[None, :] - levels[:, None]


def test_the_spread_is_that_of_the_pairs_where_there_is_nothing_else() -> None:
    found = power(pairs_of(np.array([0.0, 0.01, -0.01])), None, 64, {})
    assert found.same == pytest.approx(100 * np.sqrt((0.01**2 + 0.01**2 + 0.02**2) / 3))
    assert sorted(found.pairs) == pytest.approx([-1.98, -0.995, 1.005], abs=0.01)
    assert (found.spread, found.freedom) == (found.same, 2)
    assert (found.coverage, found.comparisons) == (None, 0)


def test_the_spread_of_pairs_estimates_the_standard_deviation_of_a_difference() -> None:
    found = [power(pairs_of(RNG.normal(0, 0.01, 6)), None, 64, {}, group=4).same ** 2 for _ in range(40)]
    assert np.sqrt(np.mean(found)) == pytest.approx(np.sqrt(2), rel=0.12)


def test_real_comparisons_count_instead_and_are_pooled_by_their_degrees_of_freedom() -> None:
    paired = {"one": Paired(3, 1.0, None), "other": Paired(6, 2.0, 0.5)}
    found = power(pairs_of(np.array([0.0, 0.01, -0.01])), None, 64, paired)
    assert (found.spread, found.freedom) == (pytest.approx(np.sqrt((2 * 1 + 5 * 4) / 7)), 7)
    assert found.images == pytest.approx(np.sqrt(0.5**2 / 2))


def test_one_seed_is_not_enough() -> None:
    with pytest.raises(ValueError, match="at least two seeds"):
        power(np.zeros((1, 1)), None, 64, {})


def test_coverage_counts_intervals_that_contain_no_difference() -> None:
    assert power(pairs_of(RNG.normal(0, 0.01, 12)), None, 64, {}).coverage == pytest.approx(0.95, abs=0.06)
    apart = pairs_of(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    apart += 0.05 * (1 - np.eye(6)) + RNG.normal(0, 1e-4, (6, 6))  # every pair differs, always the same way
    assert power(apart, None, 64, {}).coverage == 0


def test_the_seeds_that_a_spread_of_1_3_percent_needs() -> None:
    """The spread of real comparisons, and that of A/A, which promised too much."""
    assert [seeds_needed(target, 1.3) for target in (1, 2, 5)] == [16, 6, 3]
    assert [seeds_needed(target, 0.86) for target in (1, 2, 5)] == [8, 4, 3]


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


def test_seeds_do_not_help_against_the_choice_of_the_images() -> None:
    assert seeds_needed(1.0, 1.3, images=0.2, size=500) > seeds_needed(1.0, 1.3)
    assert seeds_needed(1.0, 0.1, images=0.5, size=500) is None
    assert smallest(1000, 0.1, images=0.5, size=500) == pytest.approx(2.8 * 0.5, rel=0.01)


def seeds_of(method: str, *factors: float, **changes: Any) -> list[Record]:
    return [record for seed, factor in enumerate(factors) for record in curve(method, factor, seed=seed, **changes)]


def test_power_from_records() -> None:
    anchor = seeds_of("task_loss", 1.0, 1.01, 0.99)
    alone = power_of(curves(anchor)[0], no_resamples)
    assert sorted(alone.pairs) == pytest.approx([-1.980, -1.0, 1.0], abs=0.02)
    assert "a real comparison may vary more or less" in describe_power(alone, make_protocol())
    found = power_of(curves([*anchor, *seeds_of("other", 0.9, 0.95, 0.92)])[0], no_resamples)
    logs = np.log([0.9, 0.95 / 1.01, 0.92 / 0.99])
    assert found.paired == {"other": Paired(3, pytest.approx(100 * np.std(logs, ddof=1)), None)}
    text = describe_power(found, make_protocol())
    assert f"other against task_loss, paired: ± {found.spread:.2f} % between 3 seeds" in text
    assert f"3 seeds show {found.smallest[3]:.1f} %" in text
    assert "to show 1 %" in text
    assert "needs at least 6 seeds" in text


def test_what_is_not_a_whole_comparison_of_trained_methods_does_not_count() -> None:
    jpeg = [r.model_copy(update={"cost": r.cost.model_copy(update={"steps": 0})}) for r in curve("jpeg", 2.0)]
    foreign = [r.model_copy(update={"trained_under": "b@0"}) for r in seeds_of("task_loss", 1.1, 1.2, 1.4)]
    others = [*seeds_of("hole", 0.9, 0.8, 0.85)[1:], *curve("single", 0.9), *jpeg, *foreign]
    assert power_of(curves([*seeds_of("task_loss", 1.0, 1.01, 0.99), *others])[0], no_resamples).paired == {}


def test_seeds_without_a_common_range_are_said_so() -> None:
    records = [
        *curve("task_loss"),
        *[r.model_copy(update={"scores": {"AP": r.scores["AP"] / 10}}) for r in curve("task_loss", seed=1)],
    ]
    with pytest.raises(UserError, match="no BD-rate between the seeds 0 and 1"):
        power_of(curves(records)[0], no_resamples)
