"""How fast 1,000 resamples of the images are scored, beside evaluating each of them anew with faster-coco-eval."""

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from icmbench.stats.detections import Detections
from icmbench.tasks.detection.metric import MOST, Truths, match

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
