"""From records to the BD-rate table: curves, paired comparison against the anchor, and its renderings."""

import csv
import io
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise

from scipy.stats import t as student

from icmbench.protocol import Protocol
from icmbench.record import Record
from icmbench.stats.bdrate import BDRate, bd_rate


@dataclass(frozen=True)
class Row:
    """One method under one protocol against the protocol's anchor.

    `bd_rate` is the mean over the seeds that both have, in percent; `interval` its 95 % interval over seeds
    (Student's t, paired by seed; none with one seed). `points` are (λ, bpp, score), averaged over seeds.
    """

    protocol: str
    method: str
    metric: str
    ceiling: float
    seeds: int
    points: tuple[tuple[float, float, float], ...]
    bd_rate: float | None
    interval: tuple[float, float] | None
    akima: float | None
    overlap: float | None
    reason: str = ""
    warnings: tuple[str, ...] = ()
    device: str = ""


@dataclass
class Curves:
    """The records of one protocol, by method label and seed."""

    protocol: Protocol
    records: dict[str, dict[int, list[Record]]] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """The primary score's name."""
        return self.protocol.evaluation.metric

    @property
    def ceiling(self) -> float:
        """The primary score on uncompressed pictures."""
        record = next(record for seeds in self.records.values() for curve in seeds.values() for record in curve)
        return record.ceiling[self.metric]

    def curve(self, label: str, seed: int) -> list[tuple[float, float]]:
        """(bpp, score) of a method at one seed, by λ."""
        return [(record.bpp, record.quality) for record in self.records[label][seed]]


def curves(records: Sequence[Record]) -> list[Curves]:
    """Group records by protocol (name and hash), method and seed; protocols never mix."""
    groups: dict[str, Curves] = {}
    for record in sorted(records, key=lambda r: (r.protocol.identity, r.label, r.seed, r.lmbda)):
        group = groups.setdefault(record.protocol.identity, Curves(record.protocol))
        group.records.setdefault(record.label, {}).setdefault(record.seed, []).append(record)
    return list(groups.values())


def rows(records: Sequence[Record]) -> list[Row]:
    """The table: the anchor first, then by BD-rate, methods without one last."""
    made = [_row(group, label) for group in curves(records) for label in group.records]

    def order(row: Row) -> tuple[str, bool, float]:
        is_anchor = row.reason == "anchor"
        return row.protocol, not is_anchor, row.bd_rate if row.bd_rate is not None else math.inf

    return sorted(made, key=order)


def _row(group: Curves, label: str) -> Row:
    seeds = group.records[label]
    results = _against_anchor(group, label)
    values = [result.percent for result in results.values() if result.percent is not None]
    akimas = [result.akima for result in results.values() if result.akima is not None]
    warnings = [text for result in results.values() for text in result.warnings]
    warnings += [text for curve in seeds.values() for record in curve for text in record.warnings]
    warnings += [text for seed in seeds for text in _falling_rate(group, label, seed)]
    return Row(
        protocol=group.protocol.identity,
        method=label,
        metric=group.metric,
        ceiling=group.ceiling,
        seeds=len(seeds),
        points=_mean_points(seeds),
        bd_rate=statistics.fmean(values) if values else None,
        interval=interval(values),
        akima=statistics.fmean(akimas) if akimas else None,
        overlap=min((result.overlap for result in results.values()), default=None),
        reason=_reason(group, label, results),
        warnings=tuple(dict.fromkeys(warnings)),
        device="; ".join(sorted({record.environment.device for curve in seeds.values() for record in curve})),
    )


def _against_anchor(group: Curves, label: str) -> dict[int, BDRate]:
    """BD-rate per seed that both methods have: at one seed both saw the same batches."""
    anchor = group.protocol.anchor
    if label == anchor or anchor not in group.records:
        return {}
    common = sorted(set(group.records[label]) & set(group.records[anchor]))
    return {seed: bd_rate(group.curve(anchor, seed), group.curve(label, seed)) for seed in common}


def _reason(group: Curves, label: str, results: dict[int, BDRate]) -> str:
    if label == group.protocol.anchor:
        return "anchor"
    if group.protocol.anchor not in group.records:
        return f"the anchor {group.protocol.anchor} has no records"
    if not results:
        return "no seed in common with the anchor"
    return "; ".join(dict.fromkeys(result.reason for result in results.values() if result.reason))


def _falling_rate(group: Curves, label: str, seed: int) -> list[str]:
    """A rate that falls by more than 2 % as λ rises."""
    curve = group.records[label][seed]
    pairs = [(low, high) for low, high in pairwise(curve) if high.bpp < 0.98 * low.bpp]
    return [f"seed {seed}: the rate falls from λ={low.lmbda:g} to λ={high.lmbda:g}" for low, high in pairs]


def _mean_points(seeds: dict[int, list[Record]]) -> tuple[tuple[float, float, float], ...]:
    by_rate: dict[float, list[Record]] = {}
    for curve in seeds.values():
        for record in curve:
            by_rate.setdefault(record.lmbda, []).append(record)
    return tuple(
        (lmbda, statistics.fmean(r.bpp for r in group), statistics.fmean(r.quality for r in group))
        for lmbda, group in sorted(by_rate.items())
    )


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean by Student's t over paired seeds; None for fewer than two."""
    if len(values) < 2:
        return None
    half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean - half, mean + half


HEADERS = ("method", "seeds", "BD-rate", "95 % interval", "Akima", "overlap", "bpp → score")


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of HEADERS."""
    number = "anchor" if row.reason == "anchor" else "none" if row.bd_rate is None else f"{row.bd_rate:+.1f} %"
    spread = "—" if row.interval is None else f"{row.interval[0]:+.1f} … {row.interval[1]:+.1f} %"
    akima = "—" if row.akima is None else f"{row.akima:+.1f} %"
    overlap = "—" if row.overlap is None else f"{row.overlap:.0%}"
    points = ", ".join(f"{bpp:.3f} → {score:.1f}" for _, bpp, score in row.points)
    return row.method, str(row.seeds), number, spread, akima, overlap, points


def notes(row: Row) -> list[str]:
    """What a reader must know about a row."""
    found = list(row.warnings)
    if row.reason not in ("", "anchor"):
        found.insert(0, f"no BD-rate{'' if row.bd_rate is None else ' at some seeds'}: {row.reason}")
    if row.bd_rate is not None and row.interval is None:
        found.append("one seed: no interval, so the difference is not shown to be resolved")
    return found


def to_json(table: Sequence[Row]) -> str:
    """The rows as a JSON list."""
    return json.dumps([asdict(row) for row in table], indent=1)


def to_csv(table: Sequence[Row]) -> str:
    """One line a method; text that a spreadsheet would take for a formula is quoted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fields = (
        "bd_rate_percent",
        "low",
        "high",
        "akima_percent",
        "overlap",
        "metric",
        "ceiling",
        "bpp",
        "score",
        "notes",
    )
    writer.writerow(("protocol", "method", "seeds", *fields))
    for row in table:
        low, high = row.interval or ("", "")
        bpps, scores = (" ".join(f"{point[k]:.4f}" for point in row.points) for k in (1, 2))
        text = [_safe(value) for value in (row.protocol, row.method)]
        numbers = ["" if v is None else v for v in (row.bd_rate, low, high, row.akima, row.overlap)]
        writer.writerow([*text, row.seeds, *numbers, row.metric, row.ceiling, bpps, scores, _safe("; ".join(notes(row)))])
    return out.getvalue()


def _safe(text: str) -> str:
    return f"'{text}" if text[:1] in tuple("=+-@\t") else text


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
    lines = [f"**{first.protocol}**: {first.metric}, uncompressed {first.ceiling:.1f}", ""]
    lines += ["| " + " | ".join(HEADERS) + " |", "|" + " --- |" * len(HEADERS)]
    lines += ["| " + " | ".join(text.replace("|", "\\|") for text in cells(row)) + " |" for row in table]
    lines += [""] + [f"- {row.method}: {note}" for row in table for note in notes(row)]
    return "\n".join(lines) + "\n"


def _latex(table: Sequence[Row]) -> str:
    special = {"\\": r"\textbackslash{}", "→": r"$\to$", "…": r"\ldots{}", "—": "--"} | {c: "\\" + c for c in "_%&#${}"}
    special |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}

    def escaped(text: str) -> str:
        return "".join(special.get(character, character) for character in text)

    lines = [f"% {table[0].protocol}", r"\begin{tabular}{l" + "r" * (len(HEADERS) - 2) + "l}", r"\hline"]
    lines += [" & ".join(map(escaped, HEADERS)) + r" \\ \hline"]
    lines += [" & ".join(map(escaped, cells(row))) + r" \\" for row in table]
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])
