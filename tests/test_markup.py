"""Tables of text as CSV, Markdown and LaTeX: whatever a cell says, it stays text."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icmbench.show.markup import FORMULA, safe, to_csv, to_latex, to_markdown

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
LINES = st.lists(st.tuples(TEXT, st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none()))


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.tuples(TEXT, TEXT), LINES)
def test_csv_gives_back_what_was_written(headers: tuple[str, str], lines: list[tuple[str, float | None]]) -> None:
    first, *rest = read(to_csv(headers, lines))
    assert first == [safe(header) for header in headers]
    assert [(one, None if two == "" else float(two)) for one, two in rest] == [
        (safe(text), None if number is None else float(number)) for text, number in lines
    ]


@given(TEXT)
def test_no_cell_of_text_begins_like_a_formula(text: str) -> None:
    ((header, _), (cell, _)) = read(to_csv([text, ""], [[text, ""]]))
    assert header == cell
    assert not cell.startswith((*FORMULA, "\r"))
    assert cell.removeprefix("'") == text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("'")


def test_numbers_stay_numbers() -> None:
    assert to_csv(["a", "b", "c"], [[-1.5, 3, None]]) == "a,b,c\n-1.5,3,\n"


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2)))
def test_markdown_has_a_line_a_row_with_as_many_cells(lines: list[list[str]]) -> None:
    written = to_markdown(["one", "two"], lines)
    assert written.count("\n") == len(written.splitlines()) == 2 + len(lines)
    for line in written.splitlines():
        assert line.replace(r"\\", "").replace(r"\|", "").count("|") == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("&lt;b>", "&amp;lt;b>"),
        ("a|b", r"a\|b"),
        ("[here](http://localhost)", r"\[here\](http://localhost)"),
        ("`code` *bold* ~gone~", r"\`code\` \*bold\* \~gone\~"),
        ("aux_loss", "aux_loss"),
        ("_all_", r"\_all\_"),
        ("__init__", r"\_\_init\_\_"),
        ("two\nlines\rthree", "two lines three"),
        ("λ=0.3", "λ=0.3"),
    ],
)
def test_markdown_stays_text(text: str, shown: str) -> None:
    assert to_markdown(["h"], [[text]]).splitlines()[-1] == f"| {shown} |"


@given(st.lists(TEXT, min_size=3, max_size=3))
def test_latex_has_as_many_columns_as_cells_and_no_command_of_theirs(cells: list[str]) -> None:
    begin, top, header, line, bottom, end, rest = to_latex(["a", "b", "c"], [cells], "lrr").split("\n")
    assert (begin, top, bottom, end, rest) == (r"\begin{tabular}{lrr}", r"\hline", r"\hline", r"\end{tabular}", "")
    assert header == r"a & b & c \\ \hline"
    assert line.replace(r"\&", "").count("&") == 2
    for name in ("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "ldots"):
        line = line.replace(f"\\{name}{{}}", "")
    for name in ("to", "times", "lambda", "alpha"):
        line = line.replace(f"$\\{name}$", "")
    line = line.replace("{[}", "").replace("{*}", "").replace("$-$", "").removesuffix(r"\\")
    for character in "_%&#${}":
        line = line.replace("\\" + character, "")
    assert not set(line.replace("&", "")) & set("\\_%#${}[*~^<>|")


def test_a_bracket_at_the_start_of_a_line_of_latex_is_no_length() -> None:
    assert r"{[}1, 2] & x \\" in to_latex(["a", "b"], [["[1, 2]", "x"]], "ll")
