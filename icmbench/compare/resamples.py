"""What a record would have measured on other choices of the images: its rate and score under every resample."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from icmbench import __version__
from icmbench.base.files import cache_root, replacing, sha256
from icmbench.plugins.find import Plugins
from icmbench.schema.protocol import Protocol
from icmbench.schema.record import Record, Store
from icmbench.stats.confidence import RESAMPLES, Array, image_weights
from icmbench.stats.tally import Tally


@dataclass(frozen=True)
class Resampled:
    """`bpp` and `score`, float64 [B] each, in the order of the resamples, which all records on the same images share."""

    bpp: Array
    score: Array


Source = Callable[[Record], Resampled | None]


def none(record: Record) -> None:
    """The source of records that stand alone, without rows."""


def read(store: Store, plugins: Plugins, protocol: str = "*@*") -> tuple[list[Record], dict[Path, str]]:
    """As `Store.read`, without records whose scores contradict each other by the tally of their task."""
    records, broken = store.read(protocol)
    tally, sound = cache(plugins.tally), []
    for record in records:
        if problems := disordered(record, tally(record.tally)):
            broken[store.path_of(record)] = "; ".join(problems)
        else:
            sound.append(record)
    return sound, broken


def disordered(record: Record, tally: type[Tally] | None) -> list[str]:
    """Reasons, by the record's tally, why its scores or its ceiling cannot be true; empty where there are none."""
    groups = {"the score": record.scores, "the ceiling of": record.ceiling}
    return [f"{what} {text}" for what, scores in groups.items() for text in (tally.disordered(scores) if tally else ())]


def source(store: Store, plugins: Plugins) -> Source:
    """Resampled rates and scores of the store's records; None for one without a tally or with other rows than it says.

    What is computed once is kept in the cache folder, under the digest of the rows.
    """

    tally_called = cache(plugins.tally)

    def of(record: Record) -> Resampled | None:
        tally = tally_called(record.tally)
        if tally is None:
            return None
        rows = store.path_of(record).with_suffix(".parquet")
        if not rows.is_file() or sha256(rows) != record.rows_sha256:
            return None
        metric = record.protocol.evaluation.metric
        images = hashlib.sha256(_images(record.protocol).encode()).hexdigest()[:12]
        key = f"{record.rows_sha256[:32]}-{images}-{record.tally}-{metric}-{RESAMPLES}-{__version__}"
        kept = cache_root() / "resamples" / f"{key}.npy"
        if not kept.is_file():
            try:
                _keep(resample(pd.read_parquet(rows), record, tally), kept)
            except KeyError:  # a score that the tally does not know, or rows without its columns
                return None
        bpp, score = np.load(kept)
        return Resampled(bpp, score)

    return of


def _images(protocol: Protocol) -> str:
    """What names the images: protocols that share them (the anchor's with a doubled budget) share the resamples."""
    return json.dumps([protocol.task, protocol.data], sort_keys=True)


def resample(rows: pd.DataFrame, record: Record, tally: type[Tally]) -> Resampled:
    """Rate (sum of bits over sum of pixels) and primary score of the rows under every resample of the images."""
    weights = image_weights(len(rows), _images(record.protocol))
    bits, pixels = (rows[column].to_numpy(np.float64) for column in ("bits", "pixels"))
    score = tally(rows).score(record.protocol.evaluation.metric, weights)
    return Resampled(weights @ bits / (weights @ pixels), score)


def _keep(resampled: Resampled, path: Path) -> None:
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.stack([resampled.bpp, resampled.score]))
