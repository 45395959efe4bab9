"""How fast the detection metric is beside pycocotools, over 5,000 images with the same annotations and detections.

Ours is measured in its two parts: `update`, image by image, which also leaves the tally for the bootstrap, and `compute`, which
gives the scores. From kept rows the tally alone gives AP without either (`icmbench.tasks.detection.tally`).
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from beside import Seconds, by_clock, machine, now, ratios, seconds
from detections import Kind, case, reference
from pytest_benchmark.fixture import BenchmarkFixture

from icmbench.tasks.detection.metric import AveragePrecision
from icmbench.tasks.detection.tally import Detections

IMAGES, CATEGORIES, ROUNDS = 5000, 80, 3


def test_average_precision_beside_pycocotools(benchmark: BenchmarkFixture) -> None:
    made = case(Kind(IMAGES, CATEGORIES, truths=7, elsewhere=23, varied=False, crowd=0.05))
    images, dataset = list(made.pictures()), made.dataset
    other: list[Seconds] = []
    parts: dict[str, list[Seconds]] = {"compute": [], "update": [], "from the tally": []}
    scores: dict[str, Any] = {}

    def before() -> None:
        other.append(seconds(lambda: scores.update(theirs=reference(made))))

    def ours() -> None:
        start = now()
        metric = AveragePrecision(dataset)
        rows = [metric.update(sample, prediction) for sample, prediction in images]
        seen = now()
        scores["ours"] = metric.compute()
        parts["update"].append(seen - start)
        parts["compute"].append(now() - seen)
        table = pd.DataFrame(rows)
        scores["tally"] = {}
        weights = np.ones((1, len(table)))
        parts["from the tally"].append(seconds(lambda: scores.update(tally=Detections(table).score("AP", weights))))

    benchmark.pedantic(ours, setup=before, rounds=ROUNDS)
    assert scores["ours"] == pytest.approx(scores["theirs"], abs=1e-9)
    assert scores["tally"] == pytest.approx(scores["theirs"]["AP"], abs=1e-9)
    whole = [update + compute for update, compute in zip(parts["update"], parts["compute"], strict=True)]
    for name, times in {"update and compute": whole, **parts}.items():
        benchmark.extra_info |= by_clock(f"pycocotools over {name}", ratios(other, times))
    benchmark.extra_info |= {"pycocotools, s": [round(float(t[0]), 1) for t in other], "rounds": ROUNDS} | machine()
