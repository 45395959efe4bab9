"""Reading and writing curves in files: CSV and CompressAI's RD JSON. Needs no torch."""

import csv
import json
import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from icmbench.base.errors import UserError, unknown
from icmbench.base.files import write_text
from icmbench.schema.record import Record

COLUMNS = ("bpp", "quality")


def read_curve(path: Path) -> list[tuple[float, float]]:
    """The points (bpp, quality) of a CSV file, separated by commas, semicolons or tabs; other columns are ignored.

    Raises UserError with one sentence, and the line if there is one, for anything that cannot be read as a curve.
    """
    try:
        return list(_rows(path, _text(path).splitlines()))
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file: {error}.") from None


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[float, float]]:
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise UserError(f"{path} is empty; a curve needs a line with {','.join(COLUMNS)} and a line for each point.")
    reader = csv.reader(lines, delimiter=max(",;\t", key=first.count), skipinitialspace=True)
    header: list[str] = []
    count = 0
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if not header:
            header = cells
            _check_header(path, header)
            continue
        if any(cells[len(header) :]):  # for example, because of a decimal comma
            raise UserError(f"{path}, line {reader.line_num}: more cells than the header's {len(header)} columns.")
        rate, quality = (_number(path, reader.line_num, name, cells, header.index(name)) for name in COLUMNS)
        if rate <= 0:
            raise UserError(f"{path}, line {reader.line_num}: bpp must be above 0, not {rate:g}.")
        count += 1
        yield rate, quality
    if not count:
        raise UserError(f"{path} has no point below its header.")


def _check_header(path: Path, header: list[str]) -> None:
    for name in COLUMNS:
        if header.count(name) != 1:
            raise UserError(f"{path} needs one column called '{name}'; its columns are: {', '.join(header)}.")


def _number(path: Path, line: int, name: str, cells: list[str], column: int) -> float:
    text = cells[column] if column < len(cells) else ""
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{path}, line {line}: {name} is not a number: '{text}'.") from None
    if not math.isfinite(value):
        raise UserError(f"{path}, line {line}: {name} must be finite, not '{text}'.")
    return value


def read_points(path: Path, metric: str | None) -> tuple[str, list[tuple[float, float]]]:
    """Metric and (bpp, score) of a published curve: CSV with columns `bpp` and `quality`, else CompressAI's RD JSON.

    `metric` may be None if the file has only one. As in CompressAI, `psnr` and `psnr-rgb` are the same.
    Raises UserError if the file cannot be read, has no such metric or has impossible values.
    """
    if path.suffix.lower() == ".csv":
        if metric is None:
            raise UserError(f"{path} does not say what its column 'quality' holds; name it with --metric.")
        return metric, read_curve(path)
    results = _results(_text(path), path)
    key = _key(results, metric, path)
    rates, scores = (_numbers(results[name], f"'{name}' in {path}") for name in ("bpp", key))
    return metric or key, _points(rates, scores, path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not a text file.") from error


def _points(rates: list[float], scores: list[float], path: Path) -> list[tuple[float, float]]:
    if len(rates) != len(scores):
        raise UserError(f"{path} has {len(rates)} rates but {len(scores)} scores.")
    if not rates:
        raise UserError(f"{path} has no points.")
    for rate, score in zip(rates, scores, strict=True):
        if not (math.isfinite(rate) and math.isfinite(score) and rate > 0):
            raise UserError(f"{path} has the impossible point ({rate:g} bits per pixel, score {score:g}).")
    return list(zip(rates, scores, strict=True))


def _results(text: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}.") from error
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict) or "bpp" not in results:
        raise UserError(f"{path} is not CompressAI's RD JSON: it has no 'results' with 'bpp'.")
    return results


def _key(results: dict[str, Any], metric: str | None, path: Path) -> str:
    lists = [name for name, values in results.items() if isinstance(values, list)]
    metrics = [name for name in lists if name != "bpp" and not name.endswith("_time")]
    if metric is None:
        if len(metrics) != 1:
            raise UserError(f"{path} has {len(metrics)} metrics; name one with --metric: {', '.join(metrics) or 'none metrics'}.")
        return metrics[0]
    keys = (metric, f"{metric}-rgb", metric.removesuffix("-rgb"))
    if not any(key in metrics for key in keys):
        raise unknown(f"metric in {path}", metric, metrics)
    return next(key for key in keys if key in metrics)


def _numbers(values: Any, what: str) -> list[float]:
    if not isinstance(values, list) or any(type(value) not in (int, float) for value in values):
        raise UserError(f"{what} is not a list of numbers.")
    try:
        return [float(value) for value in values]
    except OverflowError as error:
        raise UserError(f"{what} holds a number that is too large.") from error


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
    lines = [",".join(map(repr, (record.bpp, record.scores[record.metric], *record.rate_point.values()))) for record in curve]
    return "\n".join([",".join(["bpp", "quality", *curve[0].rate_point]), *lines]) + "\n"
