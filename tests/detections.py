"""Made-up annotations and detections, for the metric and its benchmarks."""

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from icmbench.api.task import Sample
from icmbench.tasks._data.coco import Boxes
from icmbench.tasks.detection.metric import NAMES, AveragePrecision

Array = NDArray[Any]
Prediction = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Kind:
    """What random images are like: how many they are, with how many objects, as many detections of them, and some `elsewhere`.

    `varied`: these numbers are means, and now and then there are no objects or no detections elsewhere. `grid`: coordinates are
    multiples of it, so that equal IoUs occur. `scores`: how many different ones there are (0: any number). `odd`: some boxes have
    no area, a negative one, or one that is too large.
    """

    images: int = 12
    categories: int = 3
    truths: int = 6
    elsewhere: int = 6
    varied: bool = True
    crowd: float = 0
    grid: float = 0
    scores: int = 0
    odd: bool = False


@dataclass(frozen=True)
class Image:
    """`truths`: boxes [N, 4] (x, y, width, height), labels [N], crowd [N]; `found`: boxes [D, 4], scores [D], labels [D]."""

    truths: tuple[Array, Array, Array]
    found: tuple[Array, Array, Array]

    @property
    def prediction(self) -> Prediction:
        """What a network would give: corner boxes, scores, labels."""
        boxes, scores, labels = (torch.from_numpy(part) for part in self.found)
        corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        return corners.float(), scores.float(), labels


def image(kind: Kind, rng: np.random.Generator) -> Image:
    """Objects, and detections near them and elsewhere."""

    def anywhere(count: int) -> Array:
        return np.concatenate([rng.uniform(0, 400, (count, 2)), rng.uniform(4, 150, (count, 2))], 1)

    count, elsewhere = kind.truths, kind.elsewhere
    if kind.varied:
        count, elsewhere = (rng.poisson(mean) * int(rng.random() > 0.1) for mean in (count, elsewhere))
    truths, near = anywhere(count), rng.integers(0, count, count) if count else np.zeros(0, int)
    shifts = rng.normal(0, 0.06, (count, 4)) * truths[near][:, [2, 3, 2, 3]]
    boxes = np.concatenate([truths[near] + shifts, anywhere(elsewhere)])
    labels = rng.integers(0, kind.categories, count)
    found = np.concatenate([labels[near], rng.integers(0, kind.categories, elsewhere)])
    if kind.grid:
        truths, boxes = (np.maximum(np.round(values / kind.grid), 1) * kind.grid for values in (truths, boxes))
    if kind.odd:
        boxes[::4, 2] *= rng.choice([-1, 0, 1e6], len(boxes[::4]))
        boxes[::4, 3] = 3e5
        truths[::3, 3] = 0
        truths[1::5, 2:] = 2e5
    scores = np.concatenate([rng.beta(4, 2, count), rng.beta(1, 4, elsewhere)])
    scores = np.ceil(scores * kind.scores) / kind.scores if kind.scores else scores
    return Image((truths, labels, rng.random(count) < kind.crowd), (boxes.astype(np.float32), scores, found))


@dataclass(frozen=True)
class Case:
    """Images with objects of some categories and detections."""

    images: Sequence[Image]
    categories: int

    @cached_property
    def coco(self) -> dict[str, Any]:
        """The annotations. The categories' ids have gaps."""
        fields: dict[str, Any] = {
            "images": [{"id": k, "file_name": f"{k}.png", "width": 640, "height": 480} for k in self._numbers],
            "categories": [{"id": 2 * k + 3, "name": f"thing {k}"} for k in range(self.categories)],
            "annotations": [],
        }
        for number, one in zip(self._numbers, self.images, strict=True):
            for box, label, crowd in zip(*(part.tolist() for part in one.truths), strict=True):
                row = {"id": len(fields["annotations"]) + 1, "image_id": number, "category_id": 2 * label + 3, "bbox": box}
                fields["annotations"].append(row | {"area": box[2] * box[3], "iscrowd": int(crowd)})
        return fields

    @property
    def _numbers(self) -> range:
        return range(1, len(self.images) + 1)

    @property
    def dataset(self) -> Any:
        """What the metric reads of a data set."""
        categories = self.coco["categories"]
        label_of = {row["id"]: label for label, row in enumerate(categories)}
        return SimpleNamespace(coco=self.coco, categories=categories, label_of=label_of)

    def pictures(self) -> Iterator[tuple[Sample, Prediction]]:
        """What the metric is given, image after image."""
        blank = torch.zeros(0)
        for number, one in zip(self._numbers, self.images, strict=True):
            yield Sample(blank, Boxes(blank, blank, (480, 640), number), str(number)), one.prediction

    def measured(self) -> tuple[AveragePrecision, pd.DataFrame]:
        """The metric after all images, and the rows that it gave."""
        metric = AveragePrecision(self.dataset)
        return metric, pd.DataFrame([metric.update(sample, prediction) for sample, prediction in self.pictures()])

    @property
    def found(self) -> list[dict[str, Any]]:
        """The detections as COCO's rows, of the same numbers in float32 as the metric gets."""
        return [
            {"image_id": number, "category_id": 2 * int(label) + 3, "bbox": box, "score": score}
            for number, (boxes, scores, labels) in zip(self._numbers, (one.prediction for one in self.images), strict=True)
            for box, score, label in zip(_sizes(boxes).tolist(), scores.tolist(), labels.tolist(), strict=True)
        ]


def _sizes(boxes: torch.Tensor) -> torch.Tensor:
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def case(kind: Kind, seed: int = 0) -> Case:
    """Random images of a kind."""
    rng = np.random.default_rng(seed)
    return Case([image(kind, rng) for _ in range(kind.images)], kind.categories)


def reference(of: Case) -> dict[str, float]:
    """The six scores by pycocotools, from annotations and detections in memory; nan without any object of that size."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = of.coco
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(of.found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    scores = zip(NAMES, evaluation.stats, strict=False)
    return {name: 100 * float(value) if value >= 0 else math.nan for name, value in scores}
