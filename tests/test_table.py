"""The renderings of the BD-rate table."""

import csv
import io
import json
from collections.abc import Callable, Sequence

import pytest
from rich.console import Console

from builders import curve, make_curve
from icmbench.compare.comparison import Row, rows
from icmbench.show.bdrate_table import COLUMNS, print_table, to_csv, to_json, to_latex, to_markdown

ANCHOR = curve("task_loss")


def printed(table: Sequence[Row]) -> str:
    out = io.StringIO()
    print_table(table, Console(file=out, width=100))
    return out.getvalue()


def test_json_carries_every_row() -> None:
    table = rows([*ANCHOR, *curve("other", 0.8)])
    content = json.loads(to_json(table), parse_constant=pytest.fail)
    assert [row["method"] for row in content] == ["other", "task_loss"]
    assert content[0]["bd_rate"]["value"] == pytest.approx(-20)
    assert content[0]["points"][0]["bpp"]["value"] == pytest.approx(0.08)
    assert (content[1]["bd_rate"], content[1]["rank"]) == (None, 1)


def test_csv_is_one_line_a_row_with_numbers_unrounded() -> None:
    table = rows([*ANCHOR, *curve("a,b", 1.2), *make_curve("short", (0.1, 0.2), (20, 28))])
    header, *lines = csv.reader(io.StringIO(to_csv(table)))
    assert len(header) == len(set(header))
    assert {len(line) for line in lines} == {len(header)}
    found = [dict(zip(header, line, strict=True)) for line in lines]
    assert [line["method"] for line in found] == ["task_loss", "a,b", "short"]
    assert table[1].bd_rate is not None
    assert float(found[1]["bd_rate"]) == table[1].bd_rate.value
    assert (found[2]["bd_rate"], found[2]["bd_rate_low"], found[2]["rank"]) == ("", "", "")
    assert found[0]["bpp"].split() == ["0.1000", "0.2000", "0.4000", "0.8000"]
    assert "fewer than 3 points" in found[2]["notes"]


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@sum", "\t=1"])
def test_a_method_name_is_no_formula_in_a_spreadsheet(name: str) -> None:
    _, line = csv.reader(io.StringIO(to_csv(rows(curve(name))), newline=""))
    assert line[2] == "'" + name


def test_markdown_has_a_line_a_row_and_escapes_bars() -> None:
    lines = to_markdown(rows([*ANCHOR, *curve("a|b", 0.8)])).splitlines()
    assert lines[0] == f"**{ANCHOR[0].protocol.identity}**"
    assert lines[-3] == "AP, uncompressed 50.0"
    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 4
    assert {line.replace("\\|", "").count("|") for line in body} == {len(COLUMNS) + 1}
    assert "| 1 | a\\|b | 1 | -20.0 % | — | — | -20.0 … -20.0 | +1.84 | -20.0 % | 100% | — | 0.080 → 20.0, " in body[2]
    assert "| anchor |" in body[3]
    assert any(line.startswith("- a\\|b: one seed") for line in lines)


def test_latex_escapes_what_it_would_take_for_commands() -> None:
    text = to_latex(rows([*ANCHOR, *curve(r"a_b%c&d#e$f{g}h\i~j^k", 0.8)]))
    assert r"a\_b\%c\&d\#e\$f\{g\}h\textbackslash{}i\textasciitilde{}j\textasciicircum{}k & 1 & -20.0 \% & --" in text
    assert r"0.080 $\to$ 20.0" in text
    assert r"anchor $\times$2" in text
    lines = [line for line in text.splitlines() if r"\\" in line]
    assert {line.replace(r"\&", "").count("&") for line in lines} == {len(COLUMNS) - 1}
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


@pytest.mark.parametrize("write", [to_csv, to_markdown, to_latex, printed])
def test_every_form_carries_what_is_doubtful(write: Callable[[Sequence[Row]], str]) -> None:
    """A refitted curve, a small overlap, and a curve with a hole."""
    falling = make_curve("falling", (0.1, 0.2, 0.4, 0.8), (20, 28, 34, 33))
    far = [r.model_copy(update={"scores": {"AP": r.scores["AP"] + 8}}) for r in curve("far")]
    table = rows([*ANCHOR, *falling, *far, *curve("hole", 0.8)[1:]])
    text = " ".join(write(table).split()).replace("\\%", "%")
    for words in ("curve is not monotone", "the quality ranges overlap by only", "3 of 4 points: no rank and no verdict"):
        assert words in text
    if write is to_csv:
        for mark in ("refitted curve", "small overlap", "3 of 4 points"):
            assert mark in text
    else:
        mark = r"\textdagger{}" if write is to_latex else "†"
        assert text.count(f" %{mark}") == 3
        assert f"{mark}: rests on something doubtful, see the notes" in text


def test_the_table_says_what_it_is_corrected_for() -> None:
    records = [*ANCHOR, *curve("task_loss", seed=1)]
    records += [record for method in "ab" for seed in (0, 1) for record in curve(method, 0.8 - 0.01 * seed, seed=seed)]
    for write in (to_markdown, to_latex, printed):
        assert "verdicts corrected for 2 comparisons (Holm); ranks for all other pairs too" in " ".join(
            write(rows(records)).split()
        )


def test_no_records_give_an_empty_table() -> None:
    assert rows([]) == []
    assert to_markdown([]) == to_latex([]) == ""
    assert json.loads(to_json([])) == []
