"""The BD-rate table: its rows as numbers, cells and notes, and its output formats."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console

from icmbench.compare.row import Row
from icmbench.show import markup
from icmbench.show.sheet import NOTHING, Cell, Column, Sheet, interval, number, whole
from icmbench.stats.confidence import Estimate

COLUMNS = (
    Column("rank", True, "methods that share a rank are not shown to differ from the best of them"),
    Column("method", names=True),
    Column("seeds", True),
    Column("BD-rate", True),
    Column("95 % interval", True),
    Column("resolvable", True, "the smallest saving that this row shows in 80 % of the experiments"),
    Column("leave one out", True, "the range of the BD-rate when any one rate point is left out"),
    Column("BD-metric", True),
    Column("Akima", True),
    Column("overlap", True),
    Column("anchor ×2", True),
    Column("bpp → score"),
)
SHOWN = ("rank", "method", "seeds", "BD-rate", "95 % interval", "anchor ×2")  # a terminal has 80 characters
BELOW = ("resolvable", "leave one out", "BD-metric", "Akima", "overlap")
MARK = "†"


def numbers(row: Row) -> dict[str, Any]:
    """A row as plain numbers and text, with None for absent ones and without points and notes."""
    estimates = {"bd_rate": row.bd_rate, "bd_metric": row.bd_metric, "anchor_doubled": row.anchor_doubled}
    rest = ("p", "comparisons", "resolvable", "akima", "overlap", "metric", "ceiling", "reason", "device", "external")
    low, high = row.stability or (None, None)
    return (
        {name: getattr(row, name) for name in ("protocol", "rank", "method", "seeds")}
        | {key: value for name, estimate in estimates.items() for key, value in with_ends(name, estimate).items()}
        | {"over": row.bd_rate.over if row.bd_rate else "", "resolved": row.resolved, "left_out_low": low, "left_out_high": high}
        | {name: getattr(row, name) for name in rest}
        | {"lacking": ", ".join(row.lacking), "marks": ", ".join(row.marks)}
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
    if row.lacking:
        texts.append(f"{', '.join(row.lacking)}: no rank and no verdict")
    elif row.bd_rate is not None and not row.external and not row.resolved:
        texts.append(_not_resolved(row))
    return texts


def _not_resolved(row: Row) -> str:
    if row.p is None:
        return "one seed: no interval, so the difference is not shown to be resolved"
    family = "" if row.comparisons == 1 else f" after correction for {row.comparisons} comparisons"
    return f"not resolved: p = {row.p:.2g}{family}; a saving of {row.resolvable:.1f} % would show in 80 % of such experiments"


def bd_rate(line: Mapping[str, Any]) -> Cell:
    """The BD-rate of `numbers`, marked where it is to be doubted."""
    if line["reason"] == "anchor":
        return Cell("anchor", None)
    if line["bd_rate"] is None:
        return Cell("none", None)
    doubts = ", ".join(filter(None, (line["lacking"], line["marks"])))
    return number(line["bd_rate"], "+.1f", f" %{MARK}" if doubts else " %", doubts)


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
        number(row.resolvable, ".1f", " %"),
        interval(line["left_out_low"], line["left_out_high"]),
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
    return [
        (Sheet(group[0].protocol, _caption(group), COLUMNS, list(map(cells, group)), list(map(notes, group))), group)
        for group in groups
    ]


def _caption(group: Sequence[Row]) -> str:
    ranked = ["ranks for all other pairs too"] if max(row.comparisons for row in group) > 1 else []
    return "; ".join([f"{group[0].metric}, uncompressed {group[0].ceiling:.1f}", *legend(list(map(numbers, group))), *ranked])


def legend(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the mark of a BD-rate means and what the verdicts are corrected for, as far as the `numbers` have such."""
    count = max((int(line["comparisons"]) for line in lines), default=0)
    marked = any(line["marks"] or line["lacking"] for line in lines)
    texts = {f"{MARK}: rests on something doubtful, see the notes": marked}
    texts |= {f"verdicts corrected for {count} comparisons (Holm)": count > 1}
    return [text for text, there in texts.items() if there]


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
    return "\n".join(f"**{markup.for_markdown(sheet.name)}**\n\n{sheet.markdown()}" for sheet, _ in bd_rate_sheets(rows))


def to_latex(rows: Sequence[Row]) -> str:
    """A `tabular` per protocol, with notes below."""
    return "\n".join(f"% {' '.join(sheet.name.split())}\n{sheet.latex()}" for sheet, _ in bd_rate_sheets(rows))


def print_table(rows: Sequence[Row], console: Console | None = None) -> None:
    """Print a table per protocol, with further numbers and the notes below."""
    console = console or Console()
    for sheet, group in bd_rate_sheets(rows):
        devices = "; ".join(sorted({row.device for row in group if row.device}))
        text = f"{sheet.name}\n{sheet.caption}; computed on {devices}"
        below = [[_details(row), *notes(row)] for row in group]
        replace(sheet, caption=text, notes=below).only(*SHOWN).show(console)


def _details(row: Row) -> str:
    texts = {column.header: cell.text for column, cell in zip(COLUMNS, cells(row), strict=True)}
    known = [] if row.bd_rate is None else [f"{name} {texts[name]}" for name in BELOW if texts[name] != NOTHING]
    compared = f"{', '.join(known)}; " if known else ""
    assessed = [f"{point.assessed:.1f}" for point in row.points if point.assessed is not None]
    alone = f"; scored alone, what was thrown away after training: {', '.join(assessed)}" if assessed else ""
    return f"{compared}bpp → score: {texts['bpp → score']}{alone}"
