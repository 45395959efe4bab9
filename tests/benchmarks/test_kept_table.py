"""How long `icmbench table` takes for 10,000 records, each with the rows of its images: 125 methods, four protocols, five seeds.

From a folder that has not changed, beside Python starting alone; and what making the table takes without intervals over images.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from beside import Seconds, by_clock, machine, ratios, seconds, spread
from pytest_benchmark.fixture import BenchmarkFixture

from builders import RATES, SCORES, make_curve, make_protocol
from icmbench.base.files import sha256
from icmbench.compare.comparison import rows
from icmbench.schema.record import Record
from icmbench.schema.store import Store, rows_path

METHODS, SEEDS, IMAGES, ROUNDS = 125, 5, 64, 7
PROTOCOLS = [make_protocol(name=f"many-v{number}") for number in range(1, 5)]


def write(store: Store, record: Record, noise: np.random.Generator) -> None:
    """A record with rows of images of other sizes and other difficulty, the same ones for every record."""
    size, ease = np.random.default_rng(0).normal(0, [[0.1], [5.0]], (2, IMAGES))
    path = rows_path(store.path_of(record))
    path.parent.mkdir(parents=True, exist_ok=True)
    bits = (65536 * record.bpp * (1 + size.clip(-0.5, 0.5))).astype(int)
    score = (record.scores["AP"] + ease + noise.normal(0, 0.5, IMAGES)).clip(0, 100)
    pd.DataFrame({"pixels": 65536, "bits": bits, "AP": score}).to_parquet(path)
    store.write(record.model_copy(update={"tally": "mean", "rows_sha256": sha256(path), "images": IMAGES}))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, noise = tmp_path_factory.mktemp("many"), np.random.default_rng(0)
    store = Store(folder / "results")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda file: None)  # nobody needs these files after a crash
        for protocol in PROTOCOLS:
            for number in range(METHODS):
                for seed in range(SEEDS):
                    rates = (0.6 + 0.8 * number / METHODS) * np.array(RATES) * noise.normal(1, 0.02, len(RATES))
                    scores = np.array(SCORES) + noise.normal(0, 0.1, len(SCORES))
                    name = f"method_{number:03d}" if number else "task_loss"
                    for record in make_curve(name, rates.tolist(), scores.tolist(), protocol, seed):
                        write(store, record, noise)
    return store.folder


@pytest.mark.parametrize("form", ["--json", "text"])
def test_the_kept_table(benchmark: BenchmarkFixture, results: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("ICMBENCH_CACHE", str(results.parent / "cache"))
    command = [sys.executable, "-m", "icmbench", "table", "--results", str(results), *([] if form == "text" else [form])]
    bare: list[Seconds] = []

    def run(words: list[str]) -> None:
        subprocess.run(words, check=True, capture_output=True)

    start = time.perf_counter()
    run(command)  # makes it, unless the other form did
    first = time.perf_counter() - start
    benchmark.pedantic(
        run, (command,), setup=lambda: bare.append(seconds(lambda: run([sys.executable, "-c", "pass"]))), rounds=ROUNDS
    )
    benchmark.extra_info |= {"seconds": spread(benchmark.stats.stats.data, 2), "seconds at first": round(first, 1)}
    ratio = np.array(benchmark.stats.stats.data) / np.array([both[0] for both in bare])
    benchmark.extra_info |= {"over Python alone": spread(ratio, 1), "rounds": ROUNDS} | machine()


def test_the_table_made_without_intervals_over_images(benchmark: BenchmarkFixture, results: Path) -> None:
    reading: list[Seconds] = []
    making: list[Seconds] = []

    def make() -> None:
        records: list[Record] = []
        reading.append(seconds(lambda: records.extend(Store(results).read()[0])))
        making.append(seconds(lambda: rows(records)))
        assert len(records) == len(PROTOCOLS) * METHODS * SEEDS * len(RATES)

    benchmark.pedantic(make, rounds=3)
    benchmark.extra_info |= by_clock("reading over comparing", ratios(reading, making))
    benchmark.extra_info |= {
        "reading, s of processor": spread([both[1] for both in reading], 1),
        "comparing, s of processor": spread([both[1] for both in making], 1),
    } | machine()
