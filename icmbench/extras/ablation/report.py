"""Selected rows side by side, each under its own names: the result of `icmbench sweep` and `icmbench transfer`."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

from icmbench.base.files import write_text
from icmbench.compare import verdict
from icmbench.compare.row import ANCHOR, Row
from icmbench.running.runner import Runner
from icmbench.show import bdrate_table, markup
from icmbench.show.figure import interactive, save
from icmbench.show.sheet import Cell, Column, Sheet, print_line
from icmbench.stats.confidence import Estimate

SHOWN = ("seeds", "BD-rate", "95 % interval", "resolvable", "leave one out")
NO_RECORDS = "no BD-rate: there are no records"
LONGEST = 150


@dataclass(frozen=True)
class Entry:
    """A row under two names that identify it (for example axis and value); no row if there are no records.

    `mark`: what is special about the second name, such as `default`.
    """

    names: dict[str, Any]
    row: Row | None
    mark: str = ""

    @property
    def short(self) -> str:
        """The second name with its mark."""
        return f"{list(self.names.values())[1]}{f' ({self.mark})' if self.mark else ''}"

    @property
    def bd_rate(self) -> Estimate | None:
        """BD-rate in percent, or None."""
        return self.row.bd_rate if self.row else None

    @property
    def is_anchor(self) -> bool:
        """Whether it is the anchor itself, which has no BD-rate."""
        return self.row is not None and self.row.reason == ANCHOR

    @property
    def notes(self) -> list[str]:
        """The notes for readers."""
        return bdrate_table.notes(self.row) if self.row else [NO_RECORDS]


def publish(entries: Sequence[Entry], figure: Figure, name: str, folder: Path, runner: Runner) -> None:
    """Print the tables, write them and the figure NAME into `folder`, and print the paths of the files."""
    show(entries, runner.console)
    for path in [*save(figure, folder, name), *write(entries, folder)]:
        print_line(str(path), runner.console)
    print_line(f"interactive view: {interactive(str(runner.folders.store))}", runner.console)


def write(entries: Sequence[Entry], folder: Path) -> list[Path]:
    """Write table.csv (numbers unrounded), table.json (the whole rows) and table.md; returns their paths."""
    first, second = entries[0].names
    lines = [
        entry.names | {"mark": entry.mark, "note": "; ".join(entry.notes)}
        | (bdrate_table.numbers(entry.row) if entry.row else {"seeds": 0})
        for entry in entries
    ]  # fmt: skip
    headers = list(dict.fromkeys(name for line in lines for name in line))
    items = [e.names | {"mark": e.mark, "row": asdict(e.row) if e.row else None, "notes": e.notes} for e in entries]
    texts = {
        "csv": markup.to_csv(headers, [[line.get(name) for name in headers] for line in lines]),
        "json": json.dumps(items, indent=1, ensure_ascii=False),
        "md": sheet(entries, first).only(first, second, *SHOWN, "BD-metric", "Akima", "overlap").markdown(),
    }
    for ending, text in texts.items():
        write_text(folder / f"table.{ending}", text)
    return [folder / f"table.{ending}" for ending in texts]


def corrected(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with the p-values of their rows corrected as one family, whatever protocols they are from."""
    rows = {(e.row.protocol, e.row.method): e.row for e in entries if e.row}  # axes share their common setting
    family = dict(zip(rows, verdict.corrected(list(rows.values())), strict=True))
    return [replace(e, row=family[e.row.protocol, e.row.method]) if e.row else e for e in entries]


def sheet(entries: Sequence[Entry], caption: str) -> Sheet:
    """The entries' names before the columns of the BD-rate table, with their notes; `caption` before its legend."""
    first, second = entries[0].names
    columns = [Column(first), Column(second, names=True), *bdrate_table.COLUMNS]
    lines = [
        [
            Cell(str(entry.names[first])),
            Cell(entry.short),
            *(bdrate_table.cells(entry.row) if entry.row else bdrate_table.blank()),
        ]
        for entry in entries
    ]
    legend = bdrate_table.legend([bdrate_table.numbers(entry.row) for entry in entries if entry.row])
    return Sheet("table", "; ".join([caption, *legend]), columns, lines, [entry.notes for entry in entries])


def show(entries: Sequence[Entry], console: Console) -> None:
    """One table on the terminal for each first name, with the notes below."""
    first, second = entries[0].names
    for title in dict.fromkeys(str(entry.names[first]) for entry in entries):
        group = [entry for entry in entries if str(entry.names[first]) == title]
        sheet(group, f"{first}: {title}").only(second, *SHOWN).show(console)


def folder_name(*parts: str) -> str:
    """A folder's name made of `parts`, without unsafe characters; a long one is cut and gets a digest."""
    name = re.sub(r"[^\w.,=+@%-]", "_", "-".join(parts))
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
