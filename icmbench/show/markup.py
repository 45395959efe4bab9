"""Escaping for the formats of tables, so the text of a cell is always shown as text."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA = tuple("=+-@\t\n＝＋－＠")  # the wide ones count in some spreadsheets
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal would obey them
MARKDOWN = re.compile(r"[\\|`*~$\[\]]|(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word is text
LATEX = (
    {
        "\\": r"\textbackslash{}",
        "→": r"$\to$",
        "…": r"\ldots{}",
        "—": "--",
        "−": "$-$",
        "×": r"$\times$",
        "†": r"\textdagger{}",
        "λ": r"$\lambda$",
        "α": r"$\alpha$",
        "\n": " ",
        "\r": " ",
        "[": "{[}",  # at the start of a line it would belong to the \\ before it
        "*": "{*}",
    }
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {character: "\\" + character for character in "_%&#${}"}
)


def for_spreadsheet(text: str) -> str:
    """Text that no spreadsheet reads as a formula, and whose lines stay in one cell."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # the csv module leaves a lone \r unquoted
    return f"'{text}" if text.startswith(FORMULA) else text


def for_markdown(text: str) -> str:
    """Text on one line without markup."""
    shown = MARKDOWN.sub(r"\\\g<0>", text.replace("&", "&amp;").replace("<", "&lt;"))
    return " ".join(shown.splitlines())


def for_latex(text: str) -> str:
    """Text on one line without commands."""
    return "".join(LATEX.get(character, character) for character in text)


def for_terminal(text: str) -> str:
    """Text in which control characters are visible and do nothing."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def to_csv(headers: Sequence[str], lines: Iterable[Iterable[Any]]) -> str:
    """A table in CSV. Text becomes safe for spreadsheets, numbers stay numbers, None is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for line in (headers, *lines):
        writer.writerow([for_spreadsheet(v) if isinstance(v, str) else "" if v is None else v for v in line])
    return out.getvalue()


def broken(text: str, width: int) -> str:
    """A name in lines of at most `width` characters where it can be broken: after spaces, `_`, `-`, `,` and `@`."""
    lines = [""]
    for piece in re.findall(r"[^ _,@-]*[ _,@-]*", text):
        if lines[-1] and len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)
