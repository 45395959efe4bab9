"""How fast resamples of the images are scored, beside evaluating them anew, and how fast a whole comparison is."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from builders import RATES, SCORES, curve
from icmbench.base.files import sha256
from icmbench.compare.comparison import Row, rows
from icmbench.compare.resamples import source
from icmbench.plugins.find import INSTALLED
from icmbench.schema.record import Record
from icmbench.schema.store import Store
from icmbench.stats.bdrate import bd_rate, log_bd_rates
from icmbench.tasks.detection.metric import MOST, Truths, match
from icmbench.tasks.detection.tally import Detections

IMAGES, RESAMPLES, EVALUATIONS = 500, 1000, 3
Array = NDArray[np.float64]


def made(categories: int, rng: np.random.Generator) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Annotations and detections: 7 objects an image, each found more or less exactly, and 13 detections elsewhere."""
    truths, found = [], []
    for image in range(1, IMAGES + 1):
        boxes, elsewhere = (np.concatenate([rng.uniform(0, 400, (n, 2)), rng.uniform(10, 150, (n, 2))], 1) for n in (7, 13))
        near = boxes + rng.normal(0, 0.06, boxes.shape) * boxes[:, [2, 3, 2, 3]]
        labels = rng.integers(1, categories + 1, 20).tolist()
        scores = np.concatenate([rng.beta(4, 2, 7), rng.beta(1, 4, 13)]).tolist()
        common = [{"image_id": image, "category_id": label} for label in labels]
        for row, box in zip(common, boxes.tolist(), strict=False):
            truths.append(row | {"id": len(truths) + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
        for row, box, score in zip(common, np.concatenate([near, elsewhere]).tolist(), scores, strict=True):
            found.append(row | {"bbox": box, "score": score})
    return truths, found


def columns(truths: list[dict[str, Any]], found: list[dict[str, Any]]) -> dict[str, Any]:
    """The tally's columns of one image."""
    row: dict[str, list[Any]] = {name: [] for name in Detections.columns}
    row["truth_label"] = [item["category_id"] for item in truths]
    for label in sorted({item["category_id"] for item in found}):
        own = [item["bbox"] for item in truths if item["category_id"] == label]
        best = sorted((item for item in found if item["category_id"] == label), key=lambda item: -item["score"])[:MOST]
        none = np.zeros(len(own), np.bool_)
        objects = Truths(np.array(own).reshape(-1, 4), np.full(len(own), label), none, none)
        hits, ignored = match(objects, np.array([item["bbox"] for item in best]))
        row["detection_score"] += [item["score"] for item in best]
        row["detection_label"] += [label] * len(best)
        row["detection_hits"] += hits.tolist()
        row["detection_ignored"] += ignored.tolist()
    return row


def evaluation_seconds(truths: list[dict[str, Any]], found: list[dict[str, Any]], categories: int) -> tuple[float, float]:
    """The quickest of a few evaluations with faster-coco-eval, and its AP."""
    fields = {"images": [{"id": k + 1} for k in range(IMAGES)], "annotations": truths}
    seconds, score = [], 0.0
    for _ in range(EVALUATIONS):
        start = time.perf_counter()
        truth = COCO(fields | {"categories": [{"id": k + 1} for k in range(categories)]})
        evaluation = COCOeval_faster(truth, truth.loadRes([dict(row) for row in found]), "bbox")
        evaluation.run()
        seconds.append(time.perf_counter() - start)
        score = 100 * evaluation.stats[0]
    return min(seconds), score


@pytest.mark.parametrize("categories", [10, 80])
def test_average_precision_of_1000_resamples(benchmark: BenchmarkFixture, categories: int) -> None:
    rng = np.random.default_rng(0)
    truths, found = made(categories, rng)
    split = [[[row for row in rows if row["image_id"] == k + 1] for rows in (truths, found)] for k in range(IMAGES)]
    rows = pd.DataFrame([columns(*one) for one in split])
    weights = rng.multinomial(IMAGES, [1 / IMAGES] * IMAGES, RESAMPLES).astype(np.float64)

    def resampled() -> Array:
        return Detections(rows).score("AP", weights)

    seconds, score = evaluation_seconds(truths, found, categories)
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
    truths, found = made(80, np.random.default_rng(0))
    split = [[[row for row in some if row["image_id"] == k + 1] for some in (truths, found)] for k in range(IMAGES)]
    images = pd.DataFrame([columns(*one) for one in split]).assign(pixels=640 * 480)
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
