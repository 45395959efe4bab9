"""What a record would have measured on other choices of the images: its rate and score under every resample."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from icmbench import __version__
from icmbench.base.files import cache_root, replacing, sha256
from icmbench.schema.protocol import Protocol
from icmbench.schema.record import Record, Store
from icmbench.stats.confidence import RESAMPLES, Array, image_weights
from icmbench.stats.tally import KINDS


@dataclass(frozen=True)
class Resampled:
    """`bpp` and `score`, float64 [B] each, in the order of the resamples, which all records on the same images share."""

    bpp: Array
    score: Array


Source = Callable[[Record], Resampled | None]


def none(record: Record) -> None:
    """The source of records that stand alone, without rows."""


def source(store: Store) -> Source:
    """Resampled rates and scores of the store's records; None for one without a tally or with other rows than it says.

    What is computed once is kept in the cache folder, under the digest of the rows.
    """

    def of(record: Record) -> Resampled | None:
        if record.tally not in KINDS:
            return None
        rows = store.path_of(record).with_suffix(".parquet")
        if not rows.is_file() or sha256(rows) != record.rows_sha256:
            return None
        metric = record.protocol.evaluation.metric
        images = hashlib.sha256(_images(record.protocol).encode()).hexdigest()[:12]
        key = f"{record.rows_sha256[:32]}-{images}-{metric}-{RESAMPLES}-{__version__}"
        kept = cache_root() / "resamples" / f"{key}.npy"
        if not kept.is_file():
            try:
                _keep(resample(pd.read_parquet(rows), record), kept)
            except KeyError:  # a score that the tally does not know, or rows without its columns
                return None
        bpp, score = np.load(kept)
        return Resampled(bpp, score)

    return of


def _images(protocol: Protocol) -> str:
    """What names the images: protocols that share them (the anchor's with a doubled budget) share the resamples."""
    return json.dumps([protocol.task, protocol.data], sort_keys=True)


def resample(rows: pd.DataFrame, record: Record) -> Resampled:
    """Rate (sum of bits over sum of pixels) and primary score of the rows under every resample of the images."""
    weights = image_weights(len(rows), _images(record.protocol))
    bits, pixels = (rows[column].to_numpy(np.float64) for column in ("bits", "pixels"))
    score = KINDS[record.tally](rows).score(record.protocol.evaluation.metric, weights)
    return Resampled(weights @ bits / (weights @ pixels), score)


def _keep(resampled: Resampled, path: Path) -> None:
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.stack([resampled.bpp, resampled.score]))
