"""The one model of a table, and its writers: terminal, CSV, Markdown, LaTeX, HTML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from icmbench.show import markup

Format = Literal["csv", "md", "tex"]
FORMATS: dict[Format, str] = {"csv": "CSV", "md": "Markdown", "tex": "LaTeX"}
NOTHING = "—"
BREAK = re.compile(r"(?<=\w)[,=_/@](?=\w)")  # where a long name may be broken into lines
NAME = 20  # width of names in a terminal, which has 80 characters for all columns


@dataclass(frozen=True)
class Cell:
    """`text`: as shown. `value`: unrounded, as downloaded in CSV (by default the text).

    `href`: link. `badge`: style class of a small label. `title`: tooltip.
    """

    text: str
    value: Any = ...
    href: str = ""
    badge: str = ""
    title: str = ""

    def html(self) -> str:
        """The cell's content, escaped."""
        inner = BREAK.sub(r"\g<0><wbr>", escape(self.text))
        if self.badge:
            inner = f'<span class="icm-badge icm-{escape(self.badge)}">{inner}</span>'
        if self.href:
            inner = f'<a href="{escape(self.href)}" target="_self">{inner}</a>'
        return f'<span title="{escape(self.title)}">{inner}</span>' if self.title else inner


@dataclass(frozen=True)
class Column:
    """`numeric`: aligned at the right. `about`: explanation of the header.

    `names`: it names the line (one column per table). `short`: its texts stay on one line. `prose`: it contains sentences.
    """

    header: str
    numeric: bool = False
    about: str = ""
    names: bool = False
    short: bool = False
    prose: bool = False

    @property
    def style(self) -> str:
        """The attribute that styles its cells in HTML."""
        kind = "num" if self.numeric else "short" if self.short else "prose" if self.prose else ""
        return f' class="icm-{kind}"' if kind else ""


@dataclass(frozen=True)
class Sheet:
    """A table. `name`: of its files. `caption`: its description, also for screen readers.

    `notes`: what a reader must know about each line, as many as lines or none at all.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    lines: Sequence[Sequence[Cell]] = ()
    notes: Sequence[Sequence[str]] = ()

    @property
    def remarks(self) -> list[tuple[str, Sequence[str]]]:
        """The lines that have notes: the text of the cell that names the line, and the notes."""
        named = next((number for number, column in enumerate(self.columns) if column.names), 0)
        return [(line[named].text, notes) for line, notes in zip(self.lines, self.notes, strict=False) if notes]

    @property
    def headers(self) -> list[str]:
        """The columns' headers."""
        return [column.header for column in self.columns]

    def only(self, *headers: str) -> "Sheet":
        """The table with these columns, in this order."""
        numbers = [self.headers.index(header) for header in headers]
        lines = [[line[number] for number in numbers] for line in self.lines]
        return replace(self, columns=[self.columns[number] for number in numbers], lines=lines)

    def html(self) -> str:
        """A `table` in a region that scrolls sideways and can be reached by keyboard."""
        head = "".join(
            f'<th scope="col"{c.style}{f" title={chr(34)}{escape(c.about)}{chr(34)}" if c.about else ""}>{escape(c.header)}</th>'
            for c in self.columns
        )
        body = "".join(f"<tr>{''.join(map(_html_cell, self.columns, line))}</tr>" for line in self.lines)
        return (
            f'<div class="icm-scroll" role="region" tabindex="0" aria-label="{escape(self.caption)}">'
            f'<table class="icm-table"><caption>{escape(self.caption)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{self._html_notes()}"
        )

    def _html_notes(self) -> str:
        if not self.remarks:
            return ""
        found = (
            f"<dt>{escape(name)}</dt>{''.join(f'<dd>{escape(note)}</dd>' for note in notes)}" for name, notes in self.remarks
        )
        return (
            f'<details class="icm-notes"><summary>Notes on {len(self.remarks)} rows</summary><dl>{"".join(found)}</dl></details>'
        )

    def csv(self) -> str:
        """One line per row, numbers unrounded, with the notes in a column of their own."""
        lines = [[c.text if c.value is ... else c.value for c in line] for line in self.lines]
        if not self.notes:
            return markup.to_csv(self.headers, lines)
        noted = [[*line, "; ".join(notes)] for line, notes in zip(lines, self.notes, strict=True)]
        return markup.to_csv([*self.headers, "notes"], noted)

    def markdown(self) -> str:
        """A table as it is shown, with caption and notes below it; the last line ends with a newline."""
        table = [self.headers, ["---"] * len(self.columns), *self._texts()]
        body = "".join("| " + " | ".join(map(markup.for_markdown, line)) + " |\n" for line in table)
        notes = "".join(f"- {markup.for_markdown(note)}\n" for note in self._spelt_notes())
        return f"{body}\n{markup.for_markdown(self.caption)}\n" + (f"\n{notes}" if notes else "")

    def latex(self) -> str:
        """A `tabular` as it is shown, with caption and notes in small print below it; the last line ends with a newline."""
        alignment = "".join("r" if column.numeric else "l" for column in self.columns)
        head, *body = (" & ".join(map(markup.for_latex, line)) + r" \\" for line in [self.headers, *self._texts()])
        lines = [r"\begin{tabular}{" + alignment + "}", r"\hline", rf"{head} \hline", *body, r"\hline", r"\end{tabular}"]
        below = [rf"\par {markup.for_latex(text)}" for text in (self.caption, *self._spelt_notes())]
        return "\n".join([*lines, r"{\footnotesize", *below, r"\par}", ""])

    def _spelt_notes(self) -> list[str]:
        return [f"{name}: {note}" for name, notes in self.remarks for note in notes]

    def _texts(self) -> list[list[str]]:
        return [[cell.text for cell in line] for line in self.lines]

    def download(self, kind: Format) -> str:
        """The table as a file's text."""
        return {"csv": self.csv, "md": self.markdown, "tex": self.latex}[kind]()

    def show(self, console: Console) -> None:
        """Print the table on a terminal under its caption, and the notes below; long names are broken into lines."""
        title = Text(markup.for_terminal(self.caption), style="italic")
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for column in self.columns:
            table.add_column(
                Text(markup.for_terminal(column.header)),
                justify="right" if column.numeric else "left",
                no_wrap=not column.names,
                overflow="fold",
            )
        for line in self.lines:
            table.add_row(*map(_terminal_cell, self.columns, line))
        console.print(table)
        for note in self._spelt_notes():
            print_line(f"  {note}", console)


def _html_cell(column: Column, cell: Cell) -> str:
    tag, scope = ("th", ' scope="row"') if column.names else ("td", "")
    return f"<{tag}{scope}{column.style}>{cell.html()}</{tag}>"


def _terminal_cell(column: Column, cell: Cell) -> Text:
    text = markup.for_terminal(cell.text)
    return Text(markup.broken(text, NAME) if column.names else text)


def print_line(line: str, console: Console) -> None:
    """Print a line unchanged (no markup, emoji codes, highlighting or line breaks) but without control characters."""
    console.print(markup.for_terminal(line), highlight=False, markup=False, emoji=False, soft_wrap=True)


def number(value: float | None, form: str, unit: str = "", title: str = "") -> Cell:
    """A number as `form` shows it, "—" for none."""
    return Cell(NOTHING, None) if value is None else Cell(f"{value:{form}}{unit}", value, title=title)


def whole(value: float | None) -> Cell:
    """A whole number, "—" for none."""
    return Cell(NOTHING, None) if value is None else Cell(f"{value:.0f}", int(value))


def interval(low: float | None, high: float | None) -> Cell:
    """Both ends of an interval, "—" for none."""
    return Cell(NOTHING, None) if low is None or high is None else Cell(f"{low:+.1f} … {high:+.1f}")
