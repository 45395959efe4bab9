"""Chosen rows side by side, each under names of its own: what `icmbench sweep` and `icmbench transfer` end in."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from icmbench.base.files import write_text
from icmbench.compare.row import Row
from icmbench.show import markup
from icmbench.show.table import HEADERS, cells, notes
from icmbench.stats.confidence import Estimate

SHOWN = ("seeds", "BD-rate", "95 % interval", "BD-metric", "Akima", "overlap")
NO_RECORDS = "no BD-rate: there are no records"
NAME, LONGEST = 18, 150


@dataclass(frozen=True)
class Entry:
    """A row under the two names that tell it from the others (axis and value, say); no row where there are no records.

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
        """BD-rate in percent, where there is one."""
        return self.row.bd_rate if self.row else None

    @property
    def is_anchor(self) -> bool:
        """Whether it is the anchor itself, which has no BD-rate."""
        return self.row is not None and self.row.reason == "anchor"

    @property
    def notes(self) -> list[str]:
        """What a reader must know about it."""
        return notes(self.row) if self.row else [NO_RECORDS]

    def text(self) -> dict[str, str]:
        """Its cells as text, as in the BD-rate table."""
        blank = dict.fromkeys(SHOWN, "—") | {"BD-rate": "none"}
        found = dict(zip(HEADERS, cells(self.row), strict=True)) if self.row else blank
        first, second = self.names
        return {first: str(self.names[first]), second: self.short} | {name: found[name] for name in SHOWN}


def write(entries: Sequence[Entry], folder: Path) -> list[Path]:
    """Write table.csv, table.json and table.md; returns their paths."""
    renderings = {"csv": to_csv(entries), "json": to_json(entries), "md": to_markdown(entries)}
    for ending, text in renderings.items():
        write_text(folder / f"table.{ending}", text)
    return [folder / f"table.{ending}" for ending in renderings]


def to_json(entries: Sequence[Entry]) -> str:
    """A list with the names, the whole row (null where there are no records) and the notes of each entry."""
    found = [e.names | {"mark": e.mark, "row": asdict(e.row) if e.row else None, "notes": e.notes} for e in entries]
    return json.dumps(found, indent=1, ensure_ascii=False)


def to_csv(entries: Sequence[Entry]) -> str:
    """One line an entry, numbers unrounded."""
    lines = [_flat(entry) for entry in entries]
    return markup.to_csv(list(lines[0]), [list(line.values()) for line in lines])


def _flat(entry: Entry) -> dict[str, Any]:
    row = entry.row
    estimates = {"bd_rate": row.bd_rate, "bd_metric": row.bd_metric} if row else {"bd_rate": None, "bd_metric": None}
    numbers: dict[str, Any] = {}
    for name, found in estimates.items():
        values = (found.value, found.low, found.high) if found else (None, None, None)
        numbers |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    rest = {name: getattr(row, name, None) for name in ("akima", "overlap", "protocol", "method")}
    return (
        entry.names | {"mark": entry.mark, "seeds": row.seeds if row else 0} | numbers | rest | {"note": "; ".join(entry.notes)}
    )


def to_markdown(entries: Sequence[Entry]) -> str:
    """One table."""
    lines = [entry.text() | {"note": "; ".join(entry.notes)} for entry in entries]
    return markup.to_markdown(list(lines[0]), [list(line.values()) for line in lines])


def show(entries: Sequence[Entry], console: Console) -> None:
    """One table on the terminal for each first name, with the notes below."""
    first, second = entries[0].names
    for title in dict.fromkeys(str(entry.names[first]) for entry in entries):
        group = [entry for entry in entries if str(entry.names[first]) == title]
        table = Table(title=f"{first}: {title}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column(second, overflow="fold")  # 80 characters are few
        for header in SHOWN:
            table.add_column(header, no_wrap=True)
        for entry in group:
            text = entry.text()
            table.add_row(broken(text[second], NAME), *(text[name] for name in SHOWN))
        console.print(table, markup=False)
        for entry in group:
            for note in entry.notes:
                console.print(f"  {entry.short}: {note}", highlight=False, markup=False, soft_wrap=True)


def say_where(paths: Sequence[Path], console: Console) -> None:
    """Name the files that were written."""
    for path in paths:
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)


def broken(text: str, width: int) -> str:
    """A name in lines of at most `width` characters where it can be broken: after spaces, `_`, `-`, `,` and `@`."""
    lines = [""]
    for piece in re.findall(r"[^ _,@-]*[ _,@-]*", text):
        if lines[-1] and len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def folder_name(*parts: str) -> str:
    """A folder's name made of `parts`, without characters that file systems dislike; a long one is cut and gets a digest."""
    name = re.sub(r"[^\w.,=+@%-]", "_", "-".join(parts))
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
