"""Results folders for the tests of the leaderboard."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from builders import RATES, SCORES, curve, make_protocol, make_record
from icmbench.base.files import sha256
from icmbench.schema.protocol import Protocol
from icmbench.schema.record import Record
from icmbench.schema.store import Store, rows_path

IMAGES = 70  # more than one block of a tally
MAIN = make_protocol(name="main-v1", summary="objects in images that were drawn for the tests")


def keep(folder: Path, records: Sequence[Record], gain: float = 0.0, images: int = IMAGES) -> list[Path]:
    """Write records with the rows of their images: number k has k + `gain` points and (1000 + k) bits for every bit per pixel."""
    store, paths = Store(folder), []
    numbers = np.arange(images)
    for record in records:
        rows = rows_path(store.path_of(record))
        rows.parent.mkdir(parents=True, exist_ok=True)
        bits = (record.bpp * (1000 + numbers)).round().astype(int) + 1
        score = numbers + gain
        table = {"image": [f"{k}.png" for k in numbers], "bits": bits, "pixels": 1000, "psnr": 30.0, "decoded_sha256": ""}
        pd.DataFrame(table | dict.fromkeys(("score", "AP", "AP50"), score)).to_parquet(rows)
        digest = {"rows_sha256": sha256(rows), "tally": "mean", "images": images}
        paths.append(store.write(record.model_copy(update=digest)))
    return paths


def classical(quality: int, bpp: float, score: float, protocol: Protocol | None = None) -> Record:
    """A record of JPEG."""
    record = make_record(protocol)
    return record.model_copy(
        update={
            "method": "jpeg", "start_sha256": "", "rate_index": quality // 10, "rate_point": {"quality": float(quality)},
            "bpp": 1.1 * bpp, "scores": {"AP": score}, "cost": record.cost.model_copy(update={"steps": 0}),
        }
    )  # fmt: skip


def fill(folder: Path) -> Path:
    """Records of MAIN at two seeds: the anchor, aux_loss (better by AP, worse by AP50) at two settings, and JPEG."""
    for seed in (0, 1):
        for method, factor, gain, given in (
            ("task_loss", 1.0, 0.0, {}),
            ("aux_loss", 0.8, -5.0, {"alpha": 1.0}),
            ("aux_loss", 0.95, -4.0, {"alpha": 3.0}),
        ):
            records = curve(method, factor + 0.01 * seed, protocol=MAIN, seed=seed, parameters=given)
            keep(folder, [_with_scores(record, gain) for record in records], gain=float(gain < 0))
    jpegs = [classical(q, bpp, score, MAIN) for q, bpp, score in zip((10, 20, 40, 80), RATES, SCORES, strict=True)]
    keep(folder, [_with_scores(record, -2.0) for record in jpegs])
    return folder


def _with_scores(record: Record, gain: float) -> Record:
    ap = record.scores["AP"]
    more = {"AP50": 20 + ap + gain, "AP.person": ap + 5, "AP.dog": ap - 5 - gain / 10}
    return record.model_copy(update={"scores": {"AP": ap} | more})
