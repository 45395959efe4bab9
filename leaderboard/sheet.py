"""Tables as readers see them: HTML text with links and badges, and the same content to download."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

from icmbench.show import markup

Format = Literal["csv", "md", "tex"]
FORMATS: dict[Format, str] = {"csv": "CSV", "md": "Markdown", "tex": "LaTeX"}
NOTHING = "—"
BREAK = re.compile(r"(?<=\w)[,=_/@](?=\w)")  # where a long name may go on in the next line


@dataclass(frozen=True)
class Cell:
    """`text` as it is shown; `value`, unrounded, as it is downloaded in CSV (the text itself where it is left out).

    `href`: where it leads. `badge`: the style class of a small label. `title`: what a pointer that rests on it reads.
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
    """`numeric` columns are aligned at the right; `about` explains the header.

    `names`: it names the line (one column of a table). `short`: its texts stay on one line. `prose`: it holds sentences.
    """

    header: str
    numeric: bool = False
    about: str = ""
    names: bool = False
    short: bool = False
    prose: bool = False

    @property
    def style(self) -> str:
        """The attribute that styles its cells."""
        kind = "num" if self.numeric else "short" if self.short else "prose" if self.prose else ""
        return f' class="icm-{kind}"' if kind else ""


@dataclass(frozen=True)
class Sheet:
    """A table. `name`: of its files. `caption`: what it is; read aloud before it."""

    name: str
    caption: str
    columns: Sequence[Column]
    lines: Sequence[Sequence[Cell]] = field(default=())

    @property
    def headers(self) -> list[str]:
        """The columns' headers."""
        return [column.header for column in self.columns]

    def html(self) -> str:
        """A `table` in a region that scrolls sideways and can be reached by keyboard."""
        head = "".join(
            f'<th scope="col"{c.style}{f" title={chr(34)}{escape(c.about)}{chr(34)}" if c.about else ""}>{escape(c.header)}</th>'
            for c in self.columns
        )
        body = "".join(f"<tr>{''.join(map(_cell, self.columns, line))}</tr>" for line in self.lines)
        return (
            f'<div class="icm-scroll" role="region" tabindex="0" aria-label="{escape(self.caption)}">'
            f'<table class="icm-table"><caption>{escape(self.caption)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def download(self, kind: Format) -> str:
        """The table as a file's text: CSV with unrounded numbers, Markdown and LaTeX as it is shown."""
        texts = [[cell.text for cell in line] for line in self.lines]
        if kind == "csv":
            return markup.to_csv(self.headers, [[c.text if c.value is ... else c.value for c in line] for line in self.lines])
        if kind == "md":
            return markup.to_markdown(self.headers, texts)
        return markup.to_latex(self.headers, texts, "".join("r" if column.numeric else "l" for column in self.columns))


def _cell(column: Column, cell: Cell) -> str:
    tag, scope = ("th", ' scope="row"') if column.names else ("td", "")
    return f"<{tag}{scope}{column.style}>{cell.html()}</{tag}>"


def number(value: float | None, form: str, unit: str = "", title: str = "") -> Cell:
    """A number as `form` shows it, "—" for none."""
    return Cell(NOTHING, None) if value is None else Cell(f"{value:{form}}{unit}", value, title=title)


def whole(value: float | None) -> Cell:
    """A whole number, "—" for none."""
    return Cell(NOTHING, None) if value is None else Cell(f"{value:.0f}", int(value))


def interval(low: float | None, high: float | None) -> Cell:
    """Both ends of an interval, "—" for none."""
    return Cell(NOTHING, None) if low is None or high is None else Cell(f"{low:+.1f} … {high:+.1f}")
