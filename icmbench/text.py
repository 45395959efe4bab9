"""The BD-rate table on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from icmbench.table import HEADERS, Row, cells, notes


def print_table(table: Sequence[Row], console: Console | None = None) -> None:
    """The rows as text, one table per protocol, with notes."""
    console = console or Console()
    for protocol in dict.fromkeys(row.protocol for row in table):
        group = [row for row in table if row.protocol == protocol]
        first, devices = group[0], "; ".join(sorted({row.device for row in group}))
        title = f"{protocol}\n{first.metric}, uncompressed {first.ceiling:.1f}; computed on {devices}"
        shown = Table(title=title, title_justify="left")
        for header in HEADERS[:-1]:
            shown.add_column(header, no_wrap=header == HEADERS[0], overflow="fold")
        for row in group:
            shown.add_row(row.method.replace(",", "\n  "), *cells(row)[1:-1])
        console.print(shown)
        for row in group:
            for line in (f"{HEADERS[-1]}: {cells(row)[-1]}", *notes(row)):
                console.print(f"  {row.method}: {line}", highlight=False, markup=False, soft_wrap=True)
