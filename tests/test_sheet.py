"""The writers of a table: whatever a cell says, it stays text."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from icmbench.show.markup import FORMULA, for_spreadsheet, to_csv
from icmbench.show.sheet import Cell, Column, Sheet, print_line

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
LINES = st.lists(st.tuples(TEXT, st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none()))


def sheet(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> Sheet:
    """A table of text whose first column names the lines."""
    columns = [Column(header, names=number == 0, numeric=number > 0) for number, header in enumerate(headers)]
    return Sheet("name", "caption", columns, [[Cell(text) for text in line] for line in lines])


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.tuples(TEXT, TEXT), LINES)
def test_csv_gives_back_what_was_written(headers: tuple[str, str], lines: list[tuple[str, float | None]]) -> None:
    first, *rest = read(to_csv(headers, lines))
    assert first == [for_spreadsheet(header) for header in headers]
    assert [(one, None if two == "" else float(two)) for one, two in rest] == [
        (for_spreadsheet(text), None if number is None else float(number)) for text, number in lines
    ]


@given(TEXT)
def test_no_cell_of_text_begins_like_a_formula(text: str) -> None:
    ((header, _), (cell, _)) = read(sheet([text, ""], [[text, ""]]).csv())
    assert header == cell
    assert not cell.startswith((*FORMULA, "\r"))
    assert cell.removeprefix("'") == text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("'")


def test_numbers_stay_numbers() -> None:
    cells = [Cell("-1.5 %", -1.5), Cell("3", 3), Cell("—", None), Cell("text")]
    assert Sheet("", "", [Column(name) for name in "abcd"], [cells]).csv() == "a,b,c,d\n-1.5,3,,text\n"


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2)))
def test_markdown_has_a_line_a_row_with_as_many_cells(lines: list[list[str]]) -> None:
    written = sheet(["one", "two"], lines).markdown()
    *table, blank, caption = written.splitlines()
    assert (written.count("\n"), len(table), blank, caption) == (4 + len(lines), 2 + len(lines), "", "caption")
    for line in table:
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
    assert sheet(["h"], [[text]]).markdown().splitlines()[2] == f"| {shown} |"


@given(st.lists(TEXT, min_size=3, max_size=3))
def test_latex_has_as_many_columns_as_cells_and_no_command_of_theirs(cells: list[str]) -> None:
    begin, top, header, line, bottom, end, *below = sheet(["a", "b", "c"], [cells]).latex().split("\n")
    assert (begin, top, bottom, end) == (r"\begin{tabular}{lrr}", r"\hline", r"\hline", r"\end{tabular}")
    assert below == [r"{\footnotesize", r"\par caption", r"\par}", ""]
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
    assert r"{[}1, 2] & x \\" in sheet(["a", "b"], [["[1, 2]", "x"]]).latex()


NOTES = {"details", "summary", "dl", "dt", "dd"}


class Reader(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"class", "role", "tabindex", "aria-label", "scope", "title", "href", "target"}
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(TEXT)
def test_html_has_no_tag_or_attribute_of_a_text(text: str) -> None:
    table = Sheet(text, text, [Column(text, about=text, names=True)], [[Cell(text, href=text, badge=text, title=text)]], [[text]])
    found = Reader(table.html())
    assert found.tags <= {"div", "table", "caption", "thead", "tbody", "tr", "th", "a", "span", "wbr"} | NOTES
    assert unescape(found.text).replace("Notes on 1 rows", "") == unescape(text * 5)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[bold red]x[/]", "[bold red]x[/]"),
        ("[link=http://localhost]x", "[link=http://localhost]x"),
        ("[/]", "[/]"),
        (":smile:", ":smile:"),
        ("\x1b[31mred\x1b]0;title\x07", "�[31mred�]0;title�"),
        ("a\x9b2Jb\rc", "a�2Jb�c"),
    ],
)
def test_a_terminal_shows_markup_and_control_characters_as_text(text: str, shown: str) -> None:
    out = io.StringIO()
    console = Console(file=out, width=300, force_terminal=True, color_system=None)
    table = Sheet("", text, [Column("h"), Column(text)], [[Cell(text), Cell("x")]])
    table.show(console)
    print_line(text, console)
    written = out.getvalue().replace("\x1b[3m", "").replace("\x1b[1m", "").replace("\x1b[0m", "")  # the table's own styles
    assert "\x1b" not in written
    assert written.count(shown) == 4


def test_long_names_are_broken_on_a_terminal_and_numbers_end_below_each_other() -> None:
    out = io.StringIO()
    lines = [["feature_loss,position=before_last_layer", "-1.0 %"], ["b", "+100.0 %"]]
    sheet(["method", "BD-rate"], lines).show(Console(file=out, width=40))
    written = [line.strip() for line in out.getvalue().splitlines()]
    assert written[4:] == ["feature_loss,       -1.0 %", "position=before_", "last_layer", "b                 +100.0 %", ""]


def test_every_form_of_a_table_carries_its_notes() -> None:
    table = replace(sheet(["method", "x"], [["a_b", "1"], ["c", "2"]]), notes=[["5 % & more", "twice"], []])
    assert read(table.csv()) == [["method", "x", "notes"], ["a_b", "1", "5 % & more; twice"], ["c", "2", ""]]
    assert table.markdown().endswith("\n\ncaption\n\n- a_b: 5 % &amp; more\n- a_b: twice\n")
    assert r"\par a\_b: 5 \% \& more" + "\n" + r"\par a\_b: twice" in table.latex()
    assert "<dt>a_b</dt><dd>5 % &amp; more</dd><dd>twice</dd>" in table.html()
    assert "<dt>c</dt>" not in table.html()
    out = io.StringIO()
    table.only("method").show(Console(file=out, width=80))
    assert out.getvalue().endswith("  a_b: 5 % & more\n  a_b: twice\n")


def test_some_columns_of_a_table() -> None:
    assert sheet("abc", ["123", "456"]).only("c", "a").csv() == "c,a\n3,1\n6,4\n"
