"""External curves: published figures shown beside computed ones and never ranked with them. Needs no torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from icmbench.base.errors import UserError
from icmbench.base.files import write_text
from icmbench.compare.row import ANCHOR, Point, Row
from icmbench.schema.protocol import Strict
from icmbench.schema.store import read_models
from icmbench.stats.bdrate import BDRate, bd_rate, stability
from icmbench.stats.confidence import Estimate


def _line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be one line of printable text")
    return text


def _file_name(name: str) -> str:
    """A file name that is unique for each name, without slashes and not hidden."""
    safe = name.replace("%", "%25").replace("/", "%2F")
    return (f"%2E{safe[1:]}" if safe.startswith(".") else safe) + ".json"


def _short(name: str) -> str:
    if len(_file_name(name).encode()) > 200:  # file systems allow 255, and temporary names are longer
        raise ValueError("is too long for the name of a file")
    return name


Line = Annotated[str, AfterValidator(_line)]


class ExternalCurve(Strict):
    """A curve that was not computed here. `points`: (rate in bits per pixel, score in the unit of the metric), in any order.

    `source`: citation or address. `protocol`: `name@hash` of the protocol whose rules it claims to follow. `anchor`: the anchor
    of its publication. Each is None if there is none.
    """

    name: Annotated[Line, AfterValidator(_short)]
    source: Line
    metric: Line
    points: Annotated[tuple[tuple[Annotated[float, Field(gt=0)], float], ...], Field(min_length=1)]
    protocol: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._+-]*@[0-9a-f]{12}$")] | None = None
    anchor: Line | None = None
    created: str


def path_of(results: Path, name: str) -> Path:
    """The path of the external curve of this name in a results folder, whether it exists or not."""
    return results / "external" / _file_name(name)


def add(results: Path, curve: ExternalCurve) -> bool:
    """Store a curve; False if the same curve exists already.

    Raises UserError if another curve has the name, or if the folder cannot be written.
    """
    path = path_of(results, curve.name)
    if path.exists():
        known, _ = read(results)
        if any(stored.model_copy(update={"created": curve.created}) == curve for stored in known):
            return False
        raise UserError(f"{path} exists already with other content; choose another name, or delete it first.")
    write_text(path, curve.model_dump_json(indent=1) + "\n")
    return True


def read(results: Path) -> tuple[list[ExternalCurve], dict[Path, str]]:
    """All external curves of a results folder, by file name, and the files that cannot be used, with the reason."""
    paths = (path for path in (results / "external").glob("*.json") if not path.name.startswith("."))
    return read_models(paths, ExternalCurve, lambda curve: path_of(results, curve.name))


def external_rows(curves: Iterable[ExternalCurve], table: Sequence[Row]) -> list[Row]:
    """A row for every curve that can be compared with the anchor of its protocol in `table`."""
    sides = _sides(table)
    return [_row(curve, sides[curve.protocol or ""]) for curve in curves if not _why_not(curve, sides)]


def with_external(curves: Sequence[ExternalCurve], table: Sequence[Row]) -> list[Row]:
    """The rows of `table`, each protocol's followed by its external curves."""
    protocols = list(dict.fromkeys(row.protocol for row in table))
    return sorted([*table, *external_rows(curves, table)], key=lambda row: protocols.index(row.protocol))


def not_comparable(curves: Iterable[ExternalCurve], table: Sequence[Row]) -> list[tuple[ExternalCurve, str]]:
    """The curves that cannot be compared with any protocol of `table`, with the reason."""
    sides = _sides(table)
    return [(curve, reason) for curve in curves if (reason := _why_not(curve, sides))]


def _sides(table: Sequence[Row]) -> dict[str, Row]:
    """What curves are compared with, by protocol: the row of the anchor, or any row if the anchor has no records."""
    return {row.protocol: row for row in sorted(table, key=lambda row: row.reason == ANCHOR)}


def _why_not(curve: ExternalCurve, sides: dict[str, Row]) -> str:
    """Why a curve cannot be compared; "" if it can."""
    side = sides.get(curve.protocol or "")
    if side is None:
        return f"other protocol: {curve.protocol or 'it names no protocol of icmbench'}"
    if curve.metric != side.metric:
        return f"other metric: {curve.metric} instead of {side.metric}"
    if side.reason == ANCHOR and curve.anchor not in (None, side.method):
        return f"other anchor: {curve.anchor} instead of {side.method}"
    return ""


def _row(curve: ExternalCurve, side: Row) -> Row:
    result = _against(side, curve)
    note = f"external: as published by {curve.source}, not computed here; no interval, not ranked"
    return Row(
        protocol=side.protocol,
        method=curve.name,
        metric=side.metric,
        ceiling=side.ceiling,
        seeds=0,
        points=tuple(Point("", Estimate(bpp), Estimate(score)) for bpp, score in sorted(curve.points)),
        bd_rate=None if result.percent is None else Estimate(result.percent),
        bd_metric=None if result.metric is None else Estimate(result.metric),
        rank=None,
        akima=result.akima,
        overlap=result.overlap,
        stability=stability([result.left_out]),
        reason=result.reason,
        warnings=(note, *result.warnings),
        external=True,
        marks=result.marks,
    )


def _against(side: Row, curve: ExternalCurve) -> BDRate:
    if side.reason != ANCHOR:
        return BDRate(None, reason="the anchor has no records")
    try:
        return bd_rate([(point.bpp.value, point.score.value) for point in side.points], curve.points)
    except (ArithmeticError, ValueError):  # differences of finite figures may still overflow
        return BDRate(None, reason="the points are too far apart for a calculation")
