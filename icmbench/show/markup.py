"""Tables of text as CSV, Markdown and LaTeX, so that what a cell says stays text in each of them."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA = tuple("=+-@\t\n＝＋－＠")  # the wide ones count in some spreadsheets
MARKDOWN = re.compile(r"[\\|`*~$\[\]]|(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word is text
LATEX = (
    {
        "\\": r"\textbackslash{}",
        "→": r"$\to$",
        "…": r"\ldots{}",
        "—": "--",
        "−": "$-$",
        "×": r"$\times$",
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


def safe(text: str) -> str:
    """Text that no spreadsheet takes for a formula, and whose lines stay in one cell."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # the csv module leaves a lone \r unquoted
    return f"'{text}" if text.startswith(FORMULA) else text


def to_csv(headers: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Text is made `safe`, numbers stay numbers, None is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([safe(header) for header in headers])
    writer.writerows([safe(v) if isinstance(v, str) else "" if v is None else v for v in line] for line in lines)
    return out.getvalue()


def to_markdown(headers: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table; the last line ends with a newline."""
    table = [headers, ["---"] * len(headers), *lines]
    return "".join("| " + " | ".join(_markdown(text) for text in line) + " |\n" for line in table)


def _markdown(text: str) -> str:
    shown = MARKDOWN.sub(r"\\\g<0>", text.replace("&", "&amp;").replace("<", "&lt;"))
    return " ".join(shown.splitlines())


def to_latex(headers: Sequence[str], lines: Iterable[Sequence[str]], alignment: str) -> str:
    """A `tabular` with one letter of `alignment` a column; the last line ends with a newline."""
    table = [r"\begin{tabular}{" + alignment + "}", r"\hline", _latex(headers) + r" \hline"]
    return "\n".join([*table, *map(_latex, lines), r"\hline", r"\end{tabular}", ""])


def _latex(line: Sequence[str]) -> str:
    return " & ".join("".join(LATEX.get(character, character) for character in text) for text in line) + r" \\"
