"""External curves: published figures shown beside computed ones and never ranked with them. Needs no torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from icmbench.base.errors import UserError
from icmbench.base.files import write_text
from icmbench.compare.row import ANCHOR, Point, Row
from icmbench.schema.protocol import Strict
from icmbench.schema.store import read_models
from icmbench.stats.bdrate import BDRate, Curve, bd_rate, stability
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


@dataclass(frozen=True)
class Group:
    """The side of a comparison with external curves: a protocol's identity, score and anchor.

    `curve`: (bpp, score) of the anchor, averaged over seeds; empty without records of it.
    """

    identity: str
    metric: str
    anchor: str
    ceiling: float
    curve: Curve


def groups_of(table: Sequence[Row]) -> list[Group]:
    """A group for each protocol of the rows."""
    groups = {}
    for row in table:
        if row.protocol not in groups or row.reason == ANCHOR:
            curve = [(point.bpp.value, point.score.value) for point in row.points] if row.reason == ANCHOR else []
            anchor = row.method if row.reason == ANCHOR else ""
            groups[row.protocol] = Group(row.protocol, row.metric, anchor, row.ceiling, curve)
    return list(groups.values())


def why_not(curve: ExternalCurve, group: Group) -> str:
    """Why a curve cannot be compared with the group's anchor; "" if it can."""
    if curve.protocol != group.identity:
        return _other_protocol(curve)
    if curve.metric != group.metric:
        return f"other metric: {curve.metric} instead of {group.metric}"
    if curve.anchor and group.anchor and curve.anchor != group.anchor:
        return f"other anchor: {curve.anchor} instead of {group.anchor}"
    return ""


def external_rows(curves: Iterable[ExternalCurve], table: Sequence[Row]) -> list[Row]:
    """A row for every curve that can be compared with the anchor in `table`, the rows of one protocol."""
    return [_row(curve, group) for group in groups_of(table) for curve in curves if not why_not(curve, group)]


def with_external(curves: Sequence[ExternalCurve], table: Sequence[Row]) -> list[Row]:
    """The rows of `table`, each protocol's followed by its external curves."""
    protocols = dict.fromkeys(row.protocol for row in table)
    groups = [[row for row in table if row.protocol == protocol] for protocol in protocols]
    return [row for group in groups for row in (*group, *external_rows(curves, group))]


def not_comparable(curves: Iterable[ExternalCurve], table: Sequence[Row]) -> list[tuple[ExternalCurve, str]]:
    """The curves that cannot be compared with any protocol of `table`, with the reason."""
    groups = {group.identity: group for group in groups_of(table)}
    reasons = [
        (curve, why_not(curve, groups[curve.protocol]) if curve.protocol in groups else _other_protocol(curve))
        for curve in curves
    ]
    return [(curve, reason) for curve, reason in reasons if reason]


def _other_protocol(curve: ExternalCurve) -> str:
    return f"other protocol: {curve.protocol}" if curve.protocol else "other protocol: it names no protocol of icmbench"


def _row(curve: ExternalCurve, group: Group) -> Row:
    result = _against(group, curve)
    note = f"external: as published by {curve.source}, not computed here; no interval, not ranked"
    return Row(
        protocol=group.identity,
        method=curve.name,
        metric=group.metric,
        ceiling=group.ceiling,
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


def _against(group: Group, curve: ExternalCurve) -> BDRate:
    if not group.curve:
        return BDRate(None, reason="the anchor has no records")
    try:
        return bd_rate(group.curve, curve.points)
    except (ArithmeticError, ValueError):  # differences of finite figures may still overflow
        return BDRate(None, reason="the points are too far apart for a calculation")
