"""Results folders for the tests of the leaderboard, and browsers that look at it."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import Browser, sync_playwright

from builders import RATES, SCORES, curve, make_protocol, make_record
from icmbench.base.files import sha256
from icmbench.schema.protocol import Protocol
from icmbench.schema.record import Record
from icmbench.schema.store import Store, rows_path

QUALITIES = (10, 20, 40, 80)  # of the records of JPEG
IMAGES = 70  # more than one block of a tally
MAIN = make_protocol(name="main-v1", summary="objects in images that were drawn for the tests")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@contextmanager
def served(results: Path) -> Iterator[tuple[str, int]]:
    """The leaderboard of a results folder: its address and the process that serves it."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    words = [sys.executable, "-m", "icmbench", "leaderboard", "--results", str(results), "--port", str(port)]
    with subprocess.Popen(words) as process:
        try:
            _wait(f"http://localhost:{port}/_stcore/health")
            yield f"http://localhost:{port}", process.pid
        finally:
            process.terminate()


def _wait(address: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"nothing answers at {address}")


def write(folder: Path, records: Iterable[Record]) -> Path:
    """Write records without rows; returns the path of the last one."""
    return [Store(folder).write(record) for record in records][-1]


def keep(folder: Path, records: Sequence[Record], gain: float = 0.0, images: int = IMAGES) -> None:
    """Write records with the rows of their images: number k has k + `gain` points and (1000 + k) bits for every bit per pixel."""
    store, numbers = Store(folder), np.arange(images)
    for record in records:
        rows = rows_path(store.path_of(record))
        rows.parent.mkdir(parents=True, exist_ok=True)
        bits = (record.bpp * (1000 + numbers)).round().astype(int) + 1
        score = numbers + gain
        table = {"image": [f"{k}.png" for k in numbers], "bits": bits, "pixels": 1000, "psnr": 30.0, "decoded_sha256": ""}
        pd.DataFrame(table | dict.fromkeys(("score", "AP", "AP50"), score)).to_parquet(rows)
        digest = {"rows_sha256": sha256(rows), "tally": "mean", "images": images}
        store.write(record.model_copy(update=digest))


def classical(quality: int, bpp: float, score: float, protocol: Protocol | None = None) -> Record:
    """A record of JPEG."""
    record = make_record(protocol)
    return record.model_copy(
        update={
            "method": "jpeg", "start_sha256": "",
            "rate_index": QUALITIES.index(quality), "rate_point": {"quality": float(quality)},
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
    jpegs = [classical(q, bpp, score, MAIN) for q, bpp, score in zip(QUALITIES, RATES, SCORES, strict=True)]
    keep(folder, [_with_scores(record, -2.0) for record in jpegs])
    return folder


def _with_scores(record: Record, gain: float) -> Record:
    ap = record.scores["AP"]
    more = {"AP50": 20 + ap + gain, "AP.person": ap + 5, "AP.dog": ap - 5 - gain / 10}
    return record.model_copy(update={"scores": {"AP": ap} | more})
