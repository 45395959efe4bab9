"""A record's rate and score under every resample of the images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from icmbench.base.cache import key, place
from icmbench.base.files import replacing, sha256
from icmbench.plugins.find import Plugins
from icmbench.schema.record import Record
from icmbench.schema.store import Store, rows_path
from icmbench.stats.confidence import RESAMPLES, Array, image_weights
from icmbench.stats.tally import Tally


@dataclass(frozen=True)
class Resampled:
    """`bpp` and `score`, float64 [B] each, in the order of the resamples, which all records on the same images share."""

    bpp: Array
    score: Array


Source = Callable[[Record, str], Resampled | None]  # a record and the name of a score


def no_resamples(record: Record, metric: str) -> None:
    """A source that has no resamples, for records without rows."""


def source(store: Store, plugins: Plugins) -> Source:
    """Resampled rates and scores of the store's records.

    It gives None for a record without a tally, with a tally that is not installed or does not know the score, and with other
    rows than the record names. Results are kept in the cache folder.
    """

    tally_called = cache(plugins.tally)

    def of(record: Record, metric: str) -> Resampled | None:
        tally = tally_called(record.tally)
        rows = rows_path(store.path_of(record))
        if tally is None or not rows.is_file() or sha256(rows) != record.rows_sha256:
            return None
        kept = place("resamples", f"{key(record.rows_sha256, record.protocol.bound.val, metric, RESAMPLES)}.npy")
        if not kept.is_file():
            try:
                _keep(resample(pd.read_parquet(rows), tally, record.protocol.bound.val, metric), kept)
            except KeyError:  # an unknown score, or rows without the tally's columns
                return None
        bpp, score = np.load(kept)
        return Resampled(bpp, score)

    return of


def resample(rows: pd.DataFrame, tally: type[Tally], images: str, metric: str) -> Resampled:
    """Rate (sum of bits over sum of pixels) and score of the rows under every resample of the images.

    `images`: a name of the images, so protocols with the same images have the same resamples.
    """
    weights = image_weights(len(rows), images)
    bits, pixels = (rows[column].to_numpy(np.float64) for column in ("bits", "pixels"))
    return Resampled(weights @ bits / (weights @ pixels), tally(rows).score(metric, weights))


def _keep(resampled: Resampled, path: Path) -> None:
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.stack([resampled.bpp, resampled.score]))
