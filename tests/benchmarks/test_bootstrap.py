"""How fast resamples of the images are scored, beside evaluating them anew, and how fast a whole comparison is."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from detections import Array, Case, Kind, case
from faster_coco_eval import COCO, COCOeval_faster
from pytest_benchmark.fixture import BenchmarkFixture

from builders import RATES, SCORES, curve
from icmbench.base.files import sha256
from icmbench.compare.comparison import Row, rows
from icmbench.compare.resamples import source
from icmbench.plugins.find import INSTALLED
from icmbench.schema.record import Record
from icmbench.schema.store import Store
from icmbench.stats.bdrate import bd_rate, log_bd_rates
from icmbench.tasks.detection.tally import Detections

IMAGES, RESAMPLES, EVALUATIONS = 500, 1000, 3


def made(categories: int) -> Case:
    """7 objects an image, each found more or less exactly, and 13 detections elsewhere."""
    return case(Kind(IMAGES, categories, truths=7, elsewhere=13, varied=False))


def evaluation_seconds(of: Case) -> tuple[float, float]:
    """The quickest of a few evaluations with faster-coco-eval, and its AP."""
    fields, found, seconds, score = of.coco, of.found, [], 0.0
    for _ in range(EVALUATIONS):
        start = time.perf_counter()
        truth = COCO(fields)
        evaluation = COCOeval_faster(truth, truth.loadRes([dict(row) for row in found]), "bbox")
        evaluation.run()
        seconds.append(time.perf_counter() - start)
        score = 100 * evaluation.stats[0]
    return min(seconds), score


@pytest.mark.parametrize("categories", [10, 80])
def test_average_precision_of_1000_resamples(benchmark: BenchmarkFixture, categories: int) -> None:
    of = made(categories)
    rows = of.measured()[1]
    weights = np.random.default_rng(0).multinomial(IMAGES, [1 / IMAGES] * IMAGES, RESAMPLES).astype(np.float64)

    def resampled() -> Array:
        return Detections(rows).score("AP", weights)

    seconds, score = evaluation_seconds(of)
    assert Detections(rows).score("AP", np.ones((1, IMAGES))) == pytest.approx(score, abs=1e-9)
    assert len(benchmark.pedantic(resampled, rounds=5, warmup_rounds=1)) == RESAMPLES
    anew = seconds * RESAMPLES
    benchmark.extra_info |= {
        "seconds of as many evaluations": round(anew, 1),
        "times as fast": round(anew / benchmark.stats.stats.min),
    }


def stored(store: Store, seeds: int, images: pd.DataFrame) -> list[Record]:
    """Records of two methods at four rate points, each with its rows of detections."""
    made = []
    for record in [r for seed in range(seeds) for name in ("task_loss", "other") for r in curve(name, seed=seed)]:
        noise = np.random.default_rng([record.seed, record.rate_index, record.method == "other"])
        found = 0.5 + 0.12 * record.rate_index  # share of the objects that are still found at this rate
        kept = images.assign(
            bits=noise.integers(50_000, 60_000, IMAGES) * (1 + record.rate_index),
            detection_hits=[np.where(noise.random(len(hits)) < found, hits, 0) for hits in images["detection_hits"]],
        )
        path = store.path_of(record).with_suffix(".parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        kept.to_parquet(path)
        update = {"tally": "detections", "rows_sha256": sha256(path), "images": IMAGES}
        made.append(record.model_copy(update=update))
    return made


def test_comparison_of_3_seeds_and_4_points(benchmark: BenchmarkFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path / "cache"))
    images = made(80).measured()[1].assign(pixels=640 * 480)
    store = Store(tmp_path / "results")
    records = stored(store, 3, images)

    def compared() -> list[Row]:
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        return rows(records, source(store, INSTALLED))

    table = benchmark.pedantic(compared, rounds=3)
    row = next(row for row in table if row.method == "other")
    assert row.bd_rate is not None
    assert row.bd_rate.covers_images
    start = time.perf_counter()
    rows(records, source(store, INSTALLED))
    benchmark.extra_info |= {"seconds with the resamples kept": round(time.perf_counter() - start, 2), "cores": os.cpu_count()}


@pytest.mark.parametrize("one_by_one", [False, True], ids=["batch", "one by one"])
def test_bd_rate_of_3000_pairs(benchmark: BenchmarkFixture, one_by_one: bool) -> None:
    points = np.column_stack([RATES, SCORES])
    anchor, factors = np.broadcast_to(points, (3000, 4, 2)), np.linspace(0.5, 2, 3000)
    test = points * (factors[:, None, None] * [1.0, 0.0] + [0.0, 1.0])

    def in_turn(anchors: Array, tests: Array) -> Array:
        found = [bd_rate(a.tolist(), b.tolist()).percent for a, b in zip(anchors, tests, strict=True)]
        return np.log1p(np.array(found, float) / 100)

    values = benchmark.pedantic(in_turn if one_by_one else log_bd_rates, (anchor, test), rounds=3)
    assert values == pytest.approx(np.log(factors))
