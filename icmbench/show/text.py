"""The BD-rate table on a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from icmbench.compare.row import Row
from icmbench.show.table import HEADERS, cells, notes

COLUMNS = ("rank", "method", "seeds", "BD-rate", "95 % interval", "anchor ×2")  # 80 characters are few
BELOW = ("BD-metric", "Akima", "overlap")


def print_table(table: Sequence[Row], console: Console | None = None) -> None:
    """The rows as text, one table per protocol, with what does not fit and the notes below."""
    console = console or Console()
    for protocol in dict.fromkeys(row.protocol for row in table):
        group = [row for row in table if row.protocol == protocol]
        first, devices = group[0], "; ".join(sorted({row.device for row in group if row.device}))
        title = f"{protocol}\n{first.metric}, uncompressed {first.ceiling:.1f}; computed on {devices}"
        shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for header in COLUMNS:
            shown.add_column(header, no_wrap=True)
        for row in group:
            values = dict(zip(HEADERS, cells(row), strict=True))
            shown.add_row(*(values[name].replace(",", "\n  ") if name == "method" else values[name] for name in COLUMNS))
        console.print(shown)
        for row in group:
            for line in (_details(row), *notes(row)):
                console.print(f"  {row.method}: {line}", highlight=False, markup=False, soft_wrap=True)


def _details(row: Row) -> str:
    values = dict(zip(HEADERS, cells(row), strict=True))
    judged = "" if row.bd_rate is None else ", ".join(f"{name} {values[name]}" for name in BELOW) + "; "
    return f"{judged}bpp → score: {values['bpp → score']}"
