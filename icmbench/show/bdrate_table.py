"""The BD-rate table: its rows as numbers, cells and notes, and its output formats."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from icmbench.compare.row import Row
from icmbench.show import markup
from icmbench.show.sheet import NOTHING, Cell, Column, Sheet, interval, number, print_line, whole
from icmbench.stats.confidence import Estimate

COLUMNS = (
    Column("rank", True),
    Column("method", names=True),
    Column("seeds", True),
    Column("BD-rate", True),
    Column("95 % interval", True),
    Column("BD-metric", True),
    Column("Akima", True),
    Column("overlap", True),
    Column("anchor ×2", True),
    Column("bpp → score"),
)
SHOWN = ("rank", "method", "seeds", "BD-rate", "95 % interval", "anchor ×2")  # a terminal has 80 characters
BELOW = ("BD-metric", "Akima", "overlap")


def numbers(row: Row) -> dict[str, Any]:
    """A row as plain numbers and text, with None for absent ones and without points and notes."""
    estimates = {"bd_rate": row.bd_rate, "bd_metric": row.bd_metric, "anchor_doubled": row.anchor_doubled}
    rest = ("akima", "overlap", "metric", "ceiling", "reason", "device", "external", "monotone")
    return (
        {name: getattr(row, name) for name in ("protocol", "rank", "method", "seeds")}
        | {key: value for name, estimate in estimates.items() for key, value in with_ends(name, estimate).items()}
        | {"resolved": bool(row.bd_rate and row.bd_rate.resolved)}
        | {name: getattr(row, name) for name in rest}
    )


def with_ends(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """An estimate as NAME, NAME_low and NAME_high."""
    value, low, high = (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def notes(row: Row) -> list[str]:
    """The notes on a row for its readers."""
    texts = list(row.warnings)
    if row.reason not in ("", "anchor"):
        texts.insert(0, f"no BD-rate{'' if row.bd_rate is None else ' at some seeds'}: {row.reason}")
    if row.bd_rate is not None and not row.external:
        if row.bd_rate.interval is None:
            texts.append("one seed: no interval, so the difference is not shown to be resolved")
        elif not row.bd_rate.resolved:
            texts.append("not resolved: the interval contains 0")
    return texts


def bd_rate(line: Mapping[str, Any]) -> Cell:
    """The BD-rate of `numbers`."""
    if line["reason"] == "anchor":
        return Cell("anchor", None)
    return Cell("none", None) if line["bd_rate"] is None else number(line["bd_rate"], "+.1f", " %")


def cells(row: Row) -> list[Cell]:
    """A row in the order of COLUMNS."""
    line = numbers(row)
    akima = row.akima
    return [
        whole(row.rank),
        Cell(row.method + (" (external)" if row.external else ""), row.method),
        whole(row.seeds or None),
        bd_rate(line),
        interval(line["bd_rate_low"], line["bd_rate_high"]),
        number(line["bd_metric"], "+.2f"),
        number(akima, "+.0e" if akima is not None and abs(akima) >= 1000 else "+.1f", " %"),
        number(row.overlap, ".0%"),
        number(None if row.reason == "anchor" else line["anchor_doubled"], "+.1f", " %"),
        Cell(", ".join(f"{point.bpp.value:.3f} → {point.score.value:.1f}" for point in row.points)),
    ]


def blank() -> list[Cell]:
    """The cells of a row without records."""
    return [Cell("none" if column.header == "BD-rate" else NOTHING, None) for column in COLUMNS]


def bd_rate_sheets(rows: Sequence[Row]) -> list[tuple[Sheet, list[Row]]]:
    """A table for each protocol, with its rows."""
    groups = [[row for row in rows if row.protocol == protocol] for protocol in dict.fromkeys(row.protocol for row in rows)]
    return [(Sheet(group[0].protocol, _caption(group), COLUMNS, list(map(cells, group))), group) for group in groups]


def _caption(group: Sequence[Row]) -> str:
    return f"{group[0].metric}, uncompressed {group[0].ceiling:.1f}"


def to_json(rows: Sequence[Row]) -> str:
    """The rows as a JSON list."""
    return json.dumps([asdict(row) for row in rows], indent=1)


def to_csv(rows: Sequence[Row]) -> str:
    """One line per method, numbers unrounded."""
    lines = [numbers(row) | _points(row) | {"notes": "; ".join(notes(row))} for row in rows]
    return markup.to_csv(list(lines[0]), [line.values() for line in lines]) if lines else ""


def _points(row: Row) -> dict[str, str]:
    return {name: " ".join(f"{getattr(point, name).value:.4f}" for point in row.points) for name in ("bpp", "score")}


def to_markdown(rows: Sequence[Row]) -> str:
    """A table per protocol, with notes below."""
    return "\n".join(
        f"**{markup.for_markdown(sheet.name)}**: {markup.for_markdown(sheet.caption)}\n\n{sheet.markdown()}\n"
        + "".join(f"- {markup.for_markdown(f'{row.method}: {note}')}\n" for row in group for note in notes(row))
        for sheet, group in bd_rate_sheets(rows)
    )


def to_latex(rows: Sequence[Row]) -> str:
    """A `tabular` per protocol."""
    return "\n".join(f"% {' '.join(sheet.name.split())}\n{sheet.latex()}" for sheet, _ in bd_rate_sheets(rows))


def print_table(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print a table per protocol, with further numbers and the notes below."""
    console = console or Console()
    for sheet, group in bd_rate_sheets(rows):
        devices = "; ".join(sorted({row.device for row in group if row.device}))
        caption = f"{sheet.name}\n{sheet.caption}; computed on {devices}"
        Sheet(sheet.name, caption, sheet.columns, sheet.lines).only(*SHOWN).show(console)
        for row in group:
            for line in (_details(row), *notes(row)):
                print_line(f"  {row.method}: {line}", console)


def _details(row: Row) -> str:
    texts = {column.header: cell.text for column, cell in zip(COLUMNS, cells(row), strict=True)}
    compared = "" if row.bd_rate is None else ", ".join(f"{name} {texts[name]}" for name in BELOW) + "; "
    return f"{compared}bpp → score: {texts['bpp → score']}"
