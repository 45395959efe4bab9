"""From records to rows: pairing, intervals, ranks, and what is refused."""

import json
import math
import statistics
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from builders import RATES, SCORES, SHA, curve, make_curve, make_protocol, make_record, protocol_fields
from icmbench.compare.comparison import Row, curves, rows
from icmbench.compare.resamples import Resampled, Source
from icmbench.extras.curves.external import ExternalCurve, with_external
from icmbench.schema.protocol import doubled
from icmbench.schema.record import Record
from icmbench.show.bdrate_table import notes, print_table, to_json, to_markdown


def value(row: Row) -> float:
    """The BD-rate of a row that has one."""
    assert row.bd_rate is not None
    return row.bd_rate.value


ANCHOR = curve("task_loss")


def three_seeds(method: str, *factors: float) -> list[Record]:
    """A method at seeds 0, 1, 2, at these multiples of the anchor's rate."""
    return [record for seed, factor in enumerate(factors) for record in curve(method, factor, seed=seed)]


def test_a_method_is_compared_with_the_anchor() -> None:
    row, anchor = rows([*curve("other", 0.8), *ANCHOR])
    assert (anchor.method, anchor.reason, anchor.bd_rate, anchor.seeds) == ("task_loss", "anchor", None, 1)
    assert (row.method, row.metric, row.ceiling, row.seeds) == ("other", "AP", 50.0, 1)
    assert value(row) == pytest.approx(-20)
    assert row.akima == pytest.approx(-20)
    assert row.bd_rate is not None
    assert (row.overlap, row.bd_rate.interval, row.reason) == (1.0, None, "")
    assert row.bd_metric is not None
    assert row.bd_metric.value > 0
    assert any("one seed" in note for note in notes(row))
    first = row.points[0]
    assert (first.name, first.bpp.value, first.score.value) == ("λ=0.1", pytest.approx(0.08), 20.0)


def test_seeds_are_paired_and_give_a_t_interval() -> None:
    # the anchor itself varies tenfold from seed to seed: only pairing shows the small differences
    factors, offsets = (0.9, 0.8, 0.85), (1.0, 10.0, 0.1)
    records = [
        record
        for seed, (factor, offset) in enumerate(zip(factors, offsets, strict=True))
        for record in (*curve("task_loss", offset, seed=seed), *curve("other", factor * offset, seed=seed))
    ]
    row, _ = rows(records)
    logs = [math.log(factor) for factor in factors]
    half = float(student.ppf(0.975, 2)) * statistics.stdev(logs) / math.sqrt(3)
    mean = statistics.fmean(logs)
    assert row.bd_rate is not None
    assert value(row) == pytest.approx(100 * math.expm1(mean))
    assert row.bd_rate.interval == pytest.approx((100 * math.expm1(mean - half), 100 * math.expm1(mean + half)))
    assert row.seeds == 3
    assert not row.bd_rate.covers_images
    assert notes(row) == ["the interval covers the seeds only: the images cannot be resampled"]


def test_only_seeds_that_both_have_are_compared() -> None:
    row, _ = rows([*ANCHOR, *curve("other", 0.8, seed=0), *curve("other", 0.1, seed=1)])
    assert value(row) == pytest.approx(-20)
    assert row.bd_rate is not None
    assert row.bd_rate.interval is None
    _, alone = rows([*ANCHOR, *curve("other", 0.8, seed=1)])
    assert (alone.bd_rate, alone.reason) == (None, "no seed in common with the anchor")


def test_the_best_comes_first_and_those_without_a_number_last() -> None:
    records = [
        *curve("worse", 1.2), *make_curve("short", RATES[:2], SCORES[:2]), *curve("a_bit", 0.95), *ANCHOR,
        *curve("best", 0.5), *curve("best", 0.6, parameters={"alpha": 1.0}),
    ]  # fmt: skip
    order = [row.method for row in rows(records)]
    assert order == ["best", "best,alpha=1.0", "a_bit", "task_loss", "worse", "short"]


def test_methods_that_are_not_shown_to_differ_share_a_rank() -> None:
    records = [
        *three_seeds("task_loss", 1, 1, 1), *three_seeds("clear", 0.50, 0.51, 0.49), *three_seeds("close", 0.52, 0.50, 0.50),
        *three_seeds("noisy", 0.98, 1.02, 0.97), *three_seeds("bad", 1.5, 1.51, 1.49),
        *make_curve("short", RATES[:2], SCORES[:2]),
    ]  # fmt: skip
    table = {row.method: row for row in rows(records)}
    assert {name: row.rank for name, row in table.items()} == {
        "clear": 1, "close": 1, "noisy": 3, "task_loss": 3, "bad": 5, "short": None,
    }  # fmt: skip
    assert any("not resolved" in note for note in notes(table["noisy"]))
    assert not any("not resolved" in note for note in notes(table["clear"]))


def test_with_one_seed_nobody_is_ahead() -> None:
    assert {row.rank for row in rows([*ANCHOR, *curve("half", 0.5), *curve("double", 2.0)])} == {1}


def test_pairing_separates_two_methods_that_both_follow_the_seed() -> None:
    # both move by 20 % from seed to seed against the anchor, and differ by 2 % at every seed
    drift = (1.0, 0.8, 1.2)
    records = [
        *three_seeds("task_loss", 1, 1, 1),
        *three_seeds("one", *drift),
        *three_seeds("other", *(0.98 * d * e for d, e in zip(drift, (1, 1.001, 0.999), strict=True))),
    ]
    table = {row.method: row.rank for row in rows(records)}
    assert (table["other"], table["one"]) == (1, 2)


def test_a_comparison_across_start_codecs_is_refused() -> None:
    fields = protocol_fields()
    fields["rates"] = [{**rate, "start": {**rate["start"], "sha256": SHA[:8]}} for rate in fields["rates"]]
    protocol = make_protocol(**fields)
    other = [r.model_copy(update={"start_sha256": SHA[:8] + "f" * 56}) for r in curve("other", 0.8, protocol=protocol)]
    table = {row.method: row for row in rows([*curve("task_loss", protocol=protocol), *other])}
    assert table["other"].bd_rate is None
    assert "start codec" in table["other"].reason
    same = {row.method: row for row in rows([*curve("task_loss", protocol=protocol), *curve("other", 0.8, protocol=protocol)])}
    assert value(same["other"]) == pytest.approx(-20)


def test_the_anchor_with_a_doubled_budget_stands_beside_every_bd_rate() -> None:
    twice = doubled(ANCHOR[0].protocol)
    longer = [
        r.model_copy(update={"cost": r.cost.model_copy(update={"steps": 20})}) for r in curve("task_loss", 0.9, protocol=twice)
    ]
    table = rows([*ANCHOR, *curve("other", 0.8), *longer])
    assert [row.method for row in table] == ["other", "task_loss"]
    moved = table[0].anchor_doubled
    assert moved is not None
    assert moved.value == pytest.approx(-10)
    assert rows([*ANCHOR, *curve("other", 0.8)])[0].anchor_doubled is None


def test_many_comparisons_are_corrected() -> None:
    """The same two methods alone and among others; one with p = 0.02 is no longer told from the anchor."""
    anchor, close = three_seeds("task_loss", 1, 1, 1), three_seeds("close", 0.97, 0.975, 0.96)
    alone = next(row for row in rows([*anchor, *close]) if row.method == "close")
    assert alone.bd_rate is not None
    assert (alone.comparisons, alone.p) == (1, alone.bd_rate.p)
    assert alone.resolved
    others = [record for k in range(4) for record in three_seeds(f"noisy_{k}", 1.1, 0.9, 1.01)]
    among = {row.method: row for row in rows([*anchor, *close, *others])}
    row = among["close"]
    assert row.bd_rate == alone.bd_rate
    assert (row.comparisons, row.p) == (5, pytest.approx(5 * alone.p))
    assert not row.resolved
    assert {row.rank for row in among.values()} == {1}
    assert row.resolvable is not None
    assert alone.resolvable is not None
    assert 0 < alone.resolvable < -value(alone) < row.resolvable
    assert (
        f"not resolved: p = {row.p:.2g} after correction for 5 comparisons; a saving of {row.resolvable:.1f} %" in notes(row)[-1]
    )


def test_akima_is_averaged_like_the_bd_rate() -> None:
    row = next(row for row in rows([*three_seeds("task_loss", 1, 1, 1), *three_seeds("other", 0.5, 2.0, 1.0)]) if row.rank)
    assert (value(row), row.akima) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))


def test_the_stability_is_the_range_without_any_one_rate_point() -> None:
    scores = [*SCORES[:2], 35.0, SCORES[3]]  # one lucky point
    row = next(row for row in rows([*ANCHOR, *make_curve("other", RATES, scores)]) if row.method == "other")
    assert row.stability is not None
    assert row.stability[0] < value(row) < row.stability[1]
    assert row.stability[1] == pytest.approx(0)
    assert next(row for row in rows([*ANCHOR, *curve("other", 0.8)]) if row.rank == 1).stability == pytest.approx((-20, -20))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda anchor, other: (anchor, other[:-1]), ("3 of 4 points",)),
        (lambda anchor, other: (anchor[:1] + anchor[2:], other), ("3 of 4 points of the anchor",)),
        (lambda anchor, other: (anchor[:8], other), ("2 of 3 seeds",)),
        (lambda anchor, other: (anchor, other[:8] + flat(other[8:])), ("2 of 3 seeds",)),
        (lambda anchor, other: (anchor[:8], other[1:]), ("3 of 4 points", "2 of 3 seeds")),
        (lambda anchor, other: (anchor + curve("task_loss", seed=3)[:2], other), ()),
    ],
)
def test_a_row_that_lacks_something_says_so_and_has_no_rank_and_no_verdict(changed: Any, said: tuple[str, ...]) -> None:
    anchor, other = changed(three_seeds("task_loss", 1, 1.01, 0.99), three_seeds("other", 0.5, 0.51, 0.5))
    table = {row.method: row for row in rows([*anchor, *other, *three_seeds("noisy", 0.9, 1.1, 1)])}
    row = table["other"]
    assert row.lacking == said
    assert row.bd_rate is not None
    assert (row.rank is None, row.p is None, row.resolved) == (bool(said), bool(said), not said)
    assert not said or f"{', '.join(said)}: no rank and no verdict" in notes(row)
    whole = table["noisy"].lacking == ()
    assert table["noisy"].comparisons == (0 if not whole else 1 if said else 2)


def flat(records: list[Record]) -> list[Record]:
    """Curves without a range of scores."""
    return [record.model_copy(update={"scores": {"AP": 20.0}}) for record in records]


def images_source(spread: float, shared: bool) -> Source:
    """Resamples that move the scores of all methods alike, or those of each record on its own."""
    rng = np.random.default_rng(0)
    common = rng.normal(0, spread, 400)

    def of(record: Record, metric: str) -> Resampled:
        moves = common if shared else rng.normal(0, spread, 400)
        return Resampled(np.full(400, record.bpp), record.scores[metric] + moves)

    return of


def test_the_interval_covers_the_images_and_pairs_them() -> None:
    records = [*three_seeds("task_loss", 1, 1, 1), *three_seeds("other", 0.8, 0.8, 0.8)]
    paired = {row.method: row for row in rows(records, images_source(1.0, shared=True))}["other"].bd_rate
    assert paired is not None
    assert paired.interval is not None
    assert paired.covers_images
    assert paired.interval == pytest.approx((-20, -20), abs=0.05)  # what moves both alike does not move their ratio
    own = {row.method: row for row in rows(records, images_source(1.0, shared=True))}["other"].points[0].score
    assert own.interval is not None
    assert own.interval[1] - own.interval[0] == pytest.approx(2 * 1.96, rel=0.15)


def test_the_order_of_the_records_does_not_matter() -> None:
    records = [*ANCHOR, *curve("other", 0.8), *curve("other", 0.7, seed=1), *curve("task_loss", seed=1)]
    assert rows(records[::-1]) == rows(records)


def test_protocols_of_one_name_and_different_hash_never_mix() -> None:
    longer = make_protocol(training={"steps": 20, "batch_size": 2, "crop": 64, "lr": 1e-3})
    records = [*ANCHOR, *curve("other", 0.5, protocol=longer)]
    assert longer.name == ANCHOR[0].protocol.name
    assert len(curves(records)) == 2
    table = {row.method: row for row in rows(records)}
    assert table["other"].bd_rate is None
    assert table["other"].reason == "the anchor task_loss has no records"
    assert table["other"].protocol != table["task_loss"].protocol


def test_a_summary_may_change_without_parting_the_records() -> None:
    reworded = make_protocol(summary="other words")
    assert len(curves([*ANCHOR, *curve("other", 0.8, protocol=reworded)])) == 1


def test_the_protocol_names_the_anchor() -> None:
    protocol = make_protocol(anchor="other")
    first, second = rows([*curve("task_loss", protocol=protocol), *curve("other", 0.8, protocol=protocol)])
    assert (first.method, first.reason) == ("other", "anchor")
    assert value(second) == pytest.approx(25)


def test_without_the_anchor_there_is_a_reason_and_no_number() -> None:
    (row,) = rows(curve("other"))
    assert (row.bd_rate, row.overlap, row.rank) == (None, None, None)
    assert notes(row) == ["no BD-rate: the anchor task_loss has no records"]


def test_a_falling_rate_is_flagged_and_noise_is_not() -> None:
    falling = make_curve("falling", (0.1, 0.2, 0.15, 0.8), (20, 28, 34, 37))
    noisy = make_curve("noisy", (0.1, 0.2, 0.199, 0.8), (20, 28, 34, 37))
    table = {row.method: row for row in rows([*ANCHOR, *falling, *noisy])}
    assert "seed 0: the rate falls from λ=0.3 to λ=1" in table["falling"].warnings
    assert not any("falls" in text for text in table["noisy"].warnings)


def test_warnings_of_records_and_of_the_comparison_reach_the_notes_once() -> None:
    marked = [record.model_copy(update={"warnings": ["marked"]}) for record in curve("other", 0.8)]
    saturated = make_record(method="other", bpp=0.9, scores={"AP": 30.0}, rate_point={"lambda": 10.0}, rate_index=4)
    row = next(row for row in rows([*ANCHOR, *marked, saturated]) if row.method == "other")
    assert sum(text == "marked" for text in notes(row)) == 1
    assert any("monotone" in text for text in notes(row))


def test_a_training_beyond_its_budget_or_rules_is_named_in_its_row() -> None:
    training = ANCHOR[0].protocol.training
    crops = training.steps * training.batch_size
    spent = {"optimizer_steps": training.steps, "codec_crops": crops, "recognizer_crops": crops}
    greedy = {"optimizer_steps": 500, "prior_steps": 7, "codec_crops": 2 * crops, "recognizer_crops": 3 * crops}
    expected = {
        "took 500 optimiser steps; the protocol's budget is 10",
        "took 7 more steps on the entropy model alone",
        "each crop went through the codec 2.0 times",
        "each crop went through the recogniser 3.0 times",
        "trained with quantisation 'rounding'; the protocol's is 'noise'",
    }
    for cost, quantisation, texts in ((spent, "", set()), (greedy, "rounding", expected)):
        records = [
            r.model_copy(update={"cost": r.cost.model_copy(update=cost), "quantisation": quantisation})
            for r in curve("other", 0.8)
        ]
        row = next(row for row in rows([*ANCHOR, *records]) if row.method == "other")
        assert expected & set(row.warnings) == texts


def test_the_score_of_a_branch_stands_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    records = [r.model_copy(update={"assessed": {"AP": 1.0 + r.rate_index}}) for r in curve("other", 0.8)]
    table = rows([*ANCHOR, *records])
    assert [p.assessed for row in table if row.method == "other" for p in row.points] == [1.0, 2.0, 3.0, 4.0]
    print_table(table)
    printed = " ".join(capsys.readouterr().out.split())
    assert "scored alone, what was thrown away after training: 1.0, 2.0, 3.0, 4.0" in printed


def untrained(records: list[Record]) -> list[Record]:
    return [record.model_copy(update={"cost": record.cost.model_copy(update={"steps": 0})}) for record in records]


def test_what_is_not_trained_has_one_curve_that_goes_with_every_seed_of_the_anchor() -> None:
    anchor = three_seeds("task_loss", 1.0, 1.1, 1.25)
    row = next(row for row in rows([*anchor, *untrained(curve("mse", 1.5))]) if row.method == "mse")
    assert row.seeds == 0
    assert row.bd_rate is not None
    assert value(row) == pytest.approx(100 * (1.5 / statistics.geometric_mean([1.0, 1.1, 1.25]) - 1))
    assert row.bd_rate.interval is not None
    trained = next(row for row in rows([*anchor, *curve("mse", 1.5)]) if row.method == "mse")
    assert value(trained) == pytest.approx(50)  # seed 0 alone


def test_classical_codecs_rank_with_the_others_whatever_their_number_of_points() -> None:
    start = {"start_sha256": "", "estimated_bpp": math.nan, "curve_points": 6}
    jpeg = [
        make_record(method="jpeg", rate_point={"quality": 10 * k}, rate_index=k, bpp=2 * rate, scores={"AP": score}, **start)
        for k, (rate, score) in enumerate(zip((0.05, *RATES, 2.0), (10.0, *SCORES, 38.0), strict=True))
    ]
    made = rows([*three_seeds("task_loss", 1.0, 1.02, 0.99), *untrained(jpeg)])
    assert [(row.method, row.rank) for row in made] == [("task_loss", 1), ("jpeg", 2)]
    assert value(made[1]) == pytest.approx(100, rel=0.05)
    assert made[1].points[0].name == "quality=0"


def test_two_codecs_that_are_not_trained_have_an_interval_over_the_images() -> None:
    protocol = make_protocol(anchor="jpeg")
    table = [*untrained(curve("jpeg", protocol=protocol)), *untrained(curve("webp", 0.8, protocol=protocol))]
    trained = [*curve("task_loss", 0.5, protocol=protocol), *curve("task_loss", 0.52, protocol=protocol, seed=1)]
    source = images_source(0.3, shared=False)
    made = {row.method: row for row in rows([*table, *trained], source)}
    estimate = made["webp"].bd_rate
    assert estimate is not None
    assert estimate.interval is not None
    assert estimate.interval[0] < -20 < estimate.interval[1]
    assert (estimate.over, made["task_loss"].bd_rate and made["task_loss"].bd_rate.over) == ("images", "seeds and images")
    assert "the interval covers the images only: neither codec is trained" in notes(made["webp"])
    without = next(row for row in rows(table) if row.method == "webp")
    assert without.bd_rate is not None
    assert without.bd_rate.interval is None


def test_codecs_of_another_protocol_are_compared_and_not_ranked() -> None:
    foreign = [record.model_copy(update={"trained_under": "b@0", "start_sha256": "f" * 64}) for record in curve("task_loss", 0.5)]
    made = {row.method: row for row in rows([*ANCHOR, *foreign])}
    assert value(made["task_loss,trained_under=b@0"]) == pytest.approx(-50)
    assert made["task_loss,trained_under=b@0"].rank is None


def test_points_are_means_over_seeds() -> None:
    second = make_curve("task_loss", [2 * rate for rate in RATES], [score + 2 for score in SCORES], seed=1)
    (row,) = rows([*ANCHOR, *second])
    point = row.points[1]
    assert (point.name, point.bpp.value, point.score.value) == ("λ=0.3", pytest.approx(0.3), pytest.approx(29.0))
    assert point.bpp.interval is not None


def test_devices_are_named() -> None:
    elsewhere = ANCHOR[0].environment.model_copy(update={"device": "gpu"})
    (row,) = rows([*ANCHOR, *(record.model_copy(update={"environment": elsewhere, "seed": 1}) for record in ANCHOR)])
    assert row.device == "gpu; test cpu"


def test_an_external_curve_stands_beside_ours_without_interval_or_rank() -> None:
    fields = {"name": "doe", "source": "Doe 2024", "metric": "AP", "created": "2025-01-01"}
    points = tuple((0.9 * rate, score) for rate, score in zip(RATES, SCORES, strict=True))
    doe = ExternalCurve(**fields, points=points, protocol=ANCHOR[0].protocol.identity)
    table = with_external([doe], rows([*ANCHOR, *curve("other", 0.8)]))
    assert [(row.method, row.rank, row.external) for row in table] == [
        ("other", 1, False), ("task_loss", 1, False), ("doe", None, True),
    ]  # fmt: skip
    assert value(table[2]) == pytest.approx(-10)
    assert "doe (external)" in to_markdown(table)
    json.loads(to_json(table), parse_constant=pytest.fail)
