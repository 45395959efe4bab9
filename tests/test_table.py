"""The BD-rate table from small hand-made records."""

import csv
import io
import json
import math
import statistics

import pytest
from scipy.stats import t as student

from builders import make_curve, make_protocol, make_record
from icmbench.record import Record
from icmbench.table import HEADERS, curves, interval, notes, rows, to_csv, to_json, to_latex, to_markdown

RATES, SCORES = (0.1, 0.2, 0.4, 0.8), (20.0, 28.0, 34.0, 37.0)


def curve(method: str, factor: float = 1.0, **changes: object) -> list[Record]:
    """The anchor's curve at `factor` times its rate: a BD-rate of exactly 100 (factor - 1) percent."""
    return make_curve(method, [factor * rate for rate in RATES], SCORES, **changes)  # type: ignore[arg-type]


ANCHOR = curve("task_loss")


def test_a_method_is_compared_with_the_anchor() -> None:
    anchor, row = rows([*curve("other", 0.8), *ANCHOR])
    assert (anchor.method, anchor.reason, anchor.bd_rate, anchor.seeds) == ("task_loss", "anchor", None, 1)
    assert (row.method, row.metric, row.ceiling, row.seeds) == ("other", "AP", 50.0, 1)
    assert row.bd_rate == pytest.approx(-20)
    assert row.akima == pytest.approx(-20)
    assert (row.overlap, row.interval, row.reason) == (1.0, None, "")
    assert any("one seed" in note for note in notes(row))
    assert row.points[0] == (0.1, pytest.approx(0.08), 20.0)


def test_seeds_are_paired_and_give_a_t_interval() -> None:
    # the anchor itself varies tenfold from seed to seed: only pairing shows the small differences
    factors, offsets = (0.9, 0.8, 0.85), (1.0, 10.0, 0.1)
    records = [
        record
        for seed, (factor, offset) in enumerate(zip(factors, offsets, strict=True))
        for record in (*curve("task_loss", offset, seed=seed), *curve("other", factor * offset, seed=seed))
    ]
    _, row = rows(records)
    half = float(student.ppf(0.975, 2)) * statistics.stdev([-10, -20, -15]) / math.sqrt(3)
    assert row.bd_rate == pytest.approx(-15)
    assert row.interval == pytest.approx((-15 - half, -15 + half))
    assert row.seeds == 3
    assert notes(row) == []


def test_only_seeds_that_both_have_are_compared() -> None:
    _, row = rows([*ANCHOR, *curve("other", 0.8, seed=0), *curve("other", 0.1, seed=1)])
    assert row.bd_rate == pytest.approx(-20)
    assert row.interval is None
    _, alone = rows([*ANCHOR, *curve("other", 0.8, seed=1)])
    assert (alone.bd_rate, alone.reason) == (None, "no seed in common with the anchor")


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], None), ([3.0], None), ([1.0, 3.0], (2 - 12.7062047, 2 + 12.7062047)), ([2.0, 2.0, 2.0], (2.0, 2.0))],
)
def test_the_interval_is_students(values: list[float], expected: tuple[float, float] | None) -> None:
    assert interval(values) == (None if expected is None else pytest.approx(expected))


def test_the_anchor_comes_first_then_the_best_then_those_without_a_number() -> None:
    records = [
        *curve("worse", 1.2), *make_curve("short", RATES[:2], SCORES[:2]), *curve("a_bit", 0.95), *ANCHOR,
        *curve("best", 0.5), *curve("best", 0.6, parameters={"alpha": 1.0}),
    ]  # fmt: skip
    assert [row.method for row in rows(records)] == ["task_loss", "best", "best,alpha=1.0", "a_bit", "worse", "short"]


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
    for rendered in (to_markdown(rows(records)), to_latex(rows(records))):
        assert rendered.count(ANCHOR[0].protocol.identity) == rendered.count(longer.identity) == 1


def test_a_summary_may_change_without_parting_the_records() -> None:
    reworded = make_protocol(summary="other words")
    assert len(curves([*ANCHOR, *curve("other", 0.8, protocol=reworded)])) == 1


def test_the_protocol_names_the_anchor() -> None:
    protocol = make_protocol(anchor="other")
    first, second = rows([*curve("task_loss", protocol=protocol), *curve("other", 0.8, protocol=protocol)])
    assert (first.method, first.reason) == ("other", "anchor")
    assert second.bd_rate == pytest.approx(25)


def test_without_the_anchor_there_is_a_reason_and_no_number() -> None:
    (row,) = rows(curve("other"))
    assert (row.bd_rate, row.overlap, row.interval) == (None, None, None)
    assert notes(row) == ["no BD-rate: the anchor task_loss has no records"]


def test_a_falling_rate_is_flagged_and_noise_is_not() -> None:
    falling = make_curve("falling", (0.1, 0.2, 0.15, 0.8), (20, 28, 34, 37))
    noisy = make_curve("noisy", (0.1, 0.2, 0.199, 0.8), (20, 28, 34, 37))
    table = {row.method: row for row in rows([*ANCHOR, *falling, *noisy])}
    assert "seed 0: the rate falls from λ=0.3 to λ=1" in table["falling"].warnings
    assert not any("falls" in text for text in table["noisy"].warnings)


def test_warnings_of_records_and_of_the_comparison_reach_the_notes_once() -> None:
    marked = [record.model_copy(update={"warnings": ["marked"]}) for record in curve("other", 0.8)]
    saturated = make_record(method="other", bpp=0.9, scores={"AP": 36.0}, lmbda=10.0)
    _, row = rows([*ANCHOR, *marked, saturated])
    assert sum(text == "marked" for text in notes(row)) == 1
    assert any("dominated point" in text for text in notes(row))


def test_points_are_means_over_seeds() -> None:
    second = make_curve("task_loss", [2 * rate for rate in RATES], [score + 2 for score in SCORES], seed=1)
    (row,) = rows([*ANCHOR, *second])
    assert row.points[1] == (0.3, pytest.approx(0.3), pytest.approx(29.0))


def test_devices_are_named() -> None:
    elsewhere = ANCHOR[0].environment.model_copy(update={"device": "gpu"})
    (row,) = rows([*ANCHOR, *(record.model_copy(update={"environment": elsewhere, "seed": 1}) for record in ANCHOR)])
    assert row.device == "gpu; test cpu"


def test_json_carries_every_row() -> None:
    table = rows([*ANCHOR, *curve("other", 0.8)])
    content = json.loads(to_json(table), parse_constant=pytest.fail)
    assert [row["method"] for row in content] == ["task_loss", "other"]
    assert content[1]["bd_rate"] == pytest.approx(-20)
    assert content[1]["points"][0] == [0.1, pytest.approx(0.08), 20.0]
    assert content[0]["bd_rate"] is None


def test_csv_is_one_line_a_row_with_numbers_unrounded() -> None:
    table = rows([*ANCHOR, *curve("a,b", 0.8), *make_curve("short", RATES[:2], SCORES[:2])])
    header, *lines = csv.reader(io.StringIO(to_csv(table)))
    assert len(header) == len(set(header))
    assert {len(line) for line in lines} == {len(header)}
    found = [dict(zip(header, line, strict=True)) for line in lines]
    assert [line["method"] for line in found] == ["task_loss", "a,b", "short"]
    assert float(found[1]["bd_rate_percent"]) == table[1].bd_rate
    assert (found[2]["bd_rate_percent"], found[2]["low"]) == ("", "")
    assert found[0]["bpp"].split() == ["0.1000", "0.2000", "0.4000", "0.8000"]
    assert "fewer than 3 points" in found[2]["notes"]


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@sum", "\t=1"])
def test_a_method_name_is_no_formula_in_a_spreadsheet(name: str) -> None:
    _, line = csv.reader(io.StringIO(to_csv(rows(make_curve(name, RATES, SCORES))), newline=""))
    assert line[1] == "'" + name


def test_markdown_has_a_line_a_row_and_escapes_bars() -> None:
    lines = to_markdown(rows([*ANCHOR, *curve("a|b", 0.8)])).splitlines()
    assert lines[0] == f"**{ANCHOR[0].protocol.identity}**: AP, uncompressed 50.0"
    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 4
    assert {line.replace("\\|", "").count("|") for line in body} == {len(HEADERS) + 1}
    assert "| a\\|b | 1 | -20.0 % | — | -20.0 % | 100% | 0.080 → 20.0, " in body[3]
    assert "| anchor |" in body[2]
    assert any(line.startswith("- a|b: one seed") for line in lines)


def test_latex_escapes_what_it_would_take_for_commands() -> None:
    text = to_latex(rows([*ANCHOR, *curve(r"a_b%c&d#e$f{g}h\i~j^k", 0.8)]))
    assert r"a\_b\%c\&d\#e\$f\{g\}h\textbackslash{}i\textasciitilde{}j\textasciicircum{}k & 1 & -20.0 \% & --" in text
    assert r"0.080 $\to$ 20.0" in text
    lines = [line for line in text.splitlines() if r"\\" in line]
    assert {line.replace(r"\&", "").count("&") for line in lines} == {len(HEADERS) - 1}
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


def test_no_records_give_an_empty_table() -> None:
    assert rows([]) == []
    assert to_markdown([]) == to_latex([]) == ""
    assert json.loads(to_json([])) == []
