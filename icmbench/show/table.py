"""Renderings of the BD-rate table: text cells, JSON, CSV, Markdown, LaTeX."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from icmbench.compare.row import Row
from icmbench.show import markup
from icmbench.stats.confidence import Estimate

HEADERS = ("rank", "method", "seeds", "BD-rate", "95 % interval", "BD-metric", "Akima", "overlap", "anchor ×2", "bpp → score")


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of HEADERS."""
    is_anchor = row.reason == "anchor"
    rank = "—" if row.rank is None else str(row.rank)
    number = "anchor" if is_anchor else "none" if row.bd_rate is None else f"{row.bd_rate.value:+.1f} %"
    metric = "—" if row.bd_metric is None else f"{row.bd_metric.value:+.2f}"
    akima = "—" if row.akima is None else f"{row.akima:+.1f} %" if abs(row.akima) < 1000 else f"{row.akima:+.0e} %"
    overlap = "—" if row.overlap is None else f"{row.overlap:.0%}"
    moved = "—" if is_anchor or row.anchor_doubled is None else f"{row.anchor_doubled.value:+.1f} %"
    points = ", ".join(f"{point.bpp.value:.3f} → {point.score.value:.1f}" for point in row.points)
    name = row.method + (" (external)" if row.external else "")
    seeds = str(row.seeds or "—")
    return rank, name, seeds, number, _spread(row.bd_rate), metric, akima, overlap, moved, points


def _spread(estimate: Estimate | None) -> str:
    if estimate is None or estimate.interval is None:
        return "—"
    return f"{estimate.interval[0]:+.1f} … {estimate.interval[1]:+.1f}"


def notes(row: Row) -> list[str]:
    """What a reader must know about a row."""
    found = list(row.warnings)
    if row.reason not in ("", "anchor"):
        found.insert(0, f"no BD-rate{'' if row.bd_rate is None else ' at some seeds'}: {row.reason}")
    if row.bd_rate is not None and not row.external:
        if row.bd_rate.interval is None:
            found.append("one seed: no interval, so the difference is not shown to be resolved")
        elif not row.bd_rate.resolved:
            found.append("not resolved: the interval contains 0")
    return found


def to_json(table: Sequence[Row]) -> str:
    """The rows as a JSON list."""
    return json.dumps([asdict(row) for row in table], indent=1)


def to_csv(table: Sequence[Row]) -> str:
    """One line a method; text that a spreadsheet would take for a formula is quoted."""
    estimates = [f"{name}{part}" for name in ("bd_rate", "bd_metric", "anchor_doubled") for part in ("", "_low", "_high")]
    rest = ("akima", "overlap", "metric", "ceiling", "bpp", "score", "notes")
    return markup.to_csv(("protocol", "rank", "method", "seeds", *estimates, *rest), map(_numbers, table))


def _numbers(row: Row) -> list[Any]:
    estimates = [value for found in (row.bd_rate, row.bd_metric, row.anchor_doubled) for value in _three(found)]
    bpps = " ".join(f"{point.bpp.value:.4f}" for point in row.points)
    scores = " ".join(f"{point.score.value:.4f}" for point in row.points)
    rest = [row.akima, row.overlap, row.metric, row.ceiling, bpps, scores, "; ".join(notes(row))]
    return [row.protocol, row.rank, row.method, row.seeds, *estimates, *rest]


def _three(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)


def to_markdown(table: Sequence[Row]) -> str:
    """A table per protocol, with notes below."""
    return "\n".join(_sections(table, _markdown))


def to_latex(table: Sequence[Row]) -> str:
    """A `tabular` per protocol."""
    return "\n".join(_sections(table, _latex))


def _sections(table: Sequence[Row], render: Callable[[Sequence[Row]], str]) -> list[str]:
    protocols = dict.fromkeys(row.protocol for row in table)
    return [render([row for row in table if row.protocol == protocol]) for protocol in protocols]


def _markdown(table: Sequence[Row]) -> str:
    first = table[0]
    title = f"**{first.protocol}**: {first.metric}, uncompressed {first.ceiling:.1f}\n\n"
    below = "".join(f"- {row.method}: {note}\n" for row in table for note in notes(row))
    return title + markup.to_markdown(HEADERS, map(cells, table)) + "\n" + below


def _latex(table: Sequence[Row]) -> str:
    return f"% {table[0].protocol}\n" + markup.to_latex(HEADERS, map(cells, table), "rl" + "r" * (len(HEADERS) - 3) + "l")
