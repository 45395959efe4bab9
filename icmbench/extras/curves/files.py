"""Reading and writing curves in files: CSV and CompressAI's RD JSON. Needs no torch."""

import csv
import json
import math
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from icmbench.base.errors import UserError, unknown
from icmbench.base.files import write_text
from icmbench.schema.protocol import describe_errors, validated
from icmbench.schema.record import Record
from icmbench.show.markup import to_csv


class Line(BaseModel):
    """A line of a CSV file; other columns are ignored."""

    bpp: Annotated[FiniteFloat, Field(gt=0)]
    quality: FiniteFloat


class RDFile(BaseModel):
    """What is read of CompressAI's RD JSON: lists of numbers by name, one number for each point."""

    model_config = ConfigDict(strict=True)
    results: dict[str, list[FiniteFloat]]


def read_curve(path: Path) -> list[tuple[float, float]]:
    """The points (bpp, quality) of a CSV file, separated by commas, semicolons or tabs; other columns are ignored.

    Raises UserError with one sentence, and the line if there is one, for anything that cannot be read as a curve.
    """
    lines = _text(path).splitlines()
    first = next(filter(str.strip, lines), "")
    reader = csv.reader(lines, delimiter=max(",;\t", key=first.count), skipinitialspace=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file: {error}.") from None
    rows = [(number, cells) for number, cells in rows if any(cells)]
    if not rows:
        raise UserError(f"{path} is empty; a curve needs a line with bpp,quality and a line for each point.")
    (_, header), *rows = rows
    for name in Line.model_fields:
        if header.count(name) != 1:
            raise UserError(f"{path} needs one column called '{name}'; its columns are: {', '.join(header)}.")
    if not rows:
        raise UserError(f"{path} has no point below its header.")
    points = []
    for number, cells in rows:
        if any(cells[len(header) :]):  # for example, because of a decimal comma
            raise UserError(f"{path}, line {number}: more cells than the header's {len(header)} columns.")
        line = validated(Line, dict(zip(header, cells, strict=False)), f"{path}, line {number}")
        points.append((line.bpp, line.quality))
    return points


def read_points(path: Path, metric: str | None) -> tuple[str, list[tuple[float, float]]]:
    """Metric and (bpp, score) of a published curve: CSV with columns `bpp` and `quality`, else CompressAI's RD JSON.

    `metric` may be None if the file has only one. As in CompressAI, `psnr` and `psnr-rgb` are the same.
    Raises UserError if the file cannot be read or has no such metric.
    """
    if path.suffix.lower() == ".csv":
        if metric is None:
            raise UserError(f"{path} does not say what its column 'quality' holds; name it with --metric.")
        return metric, read_curve(path)
    try:
        results = RDFile.model_validate_json(_text(path)).results
    except ValidationError as error:
        raise UserError(f"{path} is not CompressAI's RD JSON: {describe_errors(error)}.") from error
    metrics = [name for name in results if name != "bpp" and not name.endswith("_time")]
    if metric is None and len(metrics) != 1:
        raise UserError(f"{path} has {len(metrics)} metrics; name one with --metric: {', '.join(metrics) or 'none'}.")
    metric = metric or metrics[0]
    key = next((key for key in (metric, f"{metric}-rgb", metric.removesuffix("-rgb")) if key in metrics), None)
    if key is None:
        raise unknown(f"metric in {path}", metric, metrics)
    rates, scores = results.get("bpp", []), results[key]
    if len(rates) != len(scores):
        raise UserError(f"{path} has {len(rates)} rates ('bpp') but {len(scores)} scores.")
    return metric, list(zip(rates, scores, strict=True))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not a text file.") from error


def export(records: Iterable[Record], folder: Path, form: Literal["compressai", "csv"]) -> list[Path]:
    """Write a file for each protocol, method and seed, with the points in the order of the rate points; returns the paths.

    Raises UserError if the folder cannot be written.
    """
    render, suffix = (_rd_json, "json") if form == "compressai" else (_csv, "csv")
    ordered = sorted(records, key=lambda r: (r.protocol.identity, r.label, r.seed, r.rate_index))
    paths = []
    for (identity, label, seed), group in groupby(ordered, key=lambda r: (r.protocol.identity, r.label, r.seed)):
        paths.append(folder / identity / label / f"seed={seed}.{suffix}")
        write_text(paths[-1], render(list(group)))
    return paths


def _rd_json(curve: list[Record]) -> str:
    first, metric = curve[0], curve[0].protocol.evaluation.metric
    devices = "; ".join(sorted({record.environment.device for record in curve}))
    results = {"bpp": [record.bpp for record in curve], metric: [record.scores[metric] for record in curve]}
    if all(math.isfinite(record.psnr) for record in curve):
        results.setdefault("psnr-rgb", [record.psnr for record in curve])  # the key that CompressAI's plots need
    description = f"icmbench: protocol {first.protocol.identity}, seed {first.seed}, {metric}, computed on {devices}"
    return json.dumps({"name": first.label, "description": description, "results": results}, indent=2) + "\n"


def _csv(curve: list[Record]) -> str:
    points = [(record.bpp, record.scores[record.metric], *record.rate_point.values()) for record in curve]
    return to_csv(["bpp", "quality", *curve[0].rate_point], points)
