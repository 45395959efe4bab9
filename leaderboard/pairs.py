"""Differences between two methods, computed once and kept: bootstrapping hundreds of pairs takes minutes."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from icmbench.base.cache import key, place
from icmbench.base.files import replacing
from icmbench.compare.difference import Difference, Seeds, compare
from icmbench.compare.resamples import Resampled, Source
from icmbench.schema.record import Record
from icmbench.stats.bdrate import BDRate
from icmbench.stats.confidence import Array

DAMAGED = (OSError, EOFError, ValueError, KeyError, BadZipFile)


def kept(anchor: Seeds, test: Seeds, resampled: Source, metric: str) -> Difference:
    """`difference.compare`, from the cache folder where the same two methods' records were compared before.

    Its resamples are rounded to float32, alike at the first time and later.
    """
    read = [_read_of(curves, resampled, metric) for curves in (anchor, test)]
    path = place("pairs", f"{key(metric, read)}.npz")
    try:
        return _read(path)
    except DAMAGED:  # or not there
        _write(compare(anchor, test, resampled, metric), path)
        return _read(path)


def remembering(resampled: Source) -> Source:
    """The same, reading what a record left once."""
    known: dict[tuple[str, str, str, int, str], Resampled | None] = {}

    def of(record: Record, metric: str) -> Resampled | None:
        name = record.protocol_hash, record.label, record.point, record.seed, metric
        if name not in known:
            known[name] = resampled(record, metric)
        return known[name]

    return of


def _read_of(seeds: Seeds, resampled: Source, metric: str) -> Sequence[Any]:
    """All that a comparison reads of a method's records."""
    names = ("rate_index", "bpp", "rows_sha256", "start_sha256", "trained_under", "trained", "images", "protocol_hash")
    return [
        (seed, *(getattr(record, name) for name in names), record.scores[metric], resampled(record, metric) is not None)
        for seed, curve in sorted(seeds.items())
        for record in curve
    ]


def _write(found: Difference, path: Path) -> None:
    """The numbers as JSON and the resamples as arrays, in one file."""
    named = {"log_rates": found.log_rates, "scores": found.scores}
    values = {name: {seed: value for seed, (value, _) in by_seed.items()} for name, by_seed in named.items()}
    results = {seed: asdict(result) for seed, result in found.results.items()}
    text = json.dumps({"images": found.images, "trained": found.trained, "results": results} | values)
    arrays: dict[str, Any] = {
        f"{name}-{seed}": cloud.astype(np.float32)
        for name, by_seed in named.items()
        for seed, (_, cloud) in by_seed.items()
        if cloud is not None
    }
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, text=np.array(text), **arrays)


def _read(path: Path) -> Difference:
    with np.load(path) as arrays:
        content = json.loads(str(arrays["text"]))

        def by_seed(name: str) -> dict[int, tuple[float, Array | None]]:
            return {int(seed): (value, _cloud(arrays, f"{name}-{seed}")) for seed, value in content[name].items()}

        results = {int(seed): _result(values) for seed, values in content["results"].items()}
        return Difference(results, content["images"], by_seed("log_rates"), by_seed("scores"), content["trained"])


def _cloud(arrays: Any, name: str) -> Array | None:
    return arrays[name].astype(np.float64) if name in arrays else None


def _result(values: dict[str, Any]) -> BDRate:
    return BDRate(**values | {name: tuple(value) for name, value in values.items() if isinstance(value, list)})
