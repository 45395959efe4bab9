"""Made-up annotations and detections, for the metric and its benchmarks."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from icmbench.api.task import Sample
from icmbench.tasks._data.coco import Boxes
from icmbench.tasks.detection.metric import NAMES

Prediction = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """`coco`: images, annotations and categories. `predictions` by image id: what a network would give."""

    coco: dict[str, Any]
    predictions: dict[int, Prediction]

    @property
    def dataset(self) -> Any:
        """What the metric reads of a data set."""
        ids = [row["id"] for row in self.coco["categories"]]
        return SimpleNamespace(coco=self.coco, categories=self.coco["categories"], label_of={one: k for k, one in enumerate(ids)})

    def pictures(self) -> Iterator[tuple[Sample, Prediction]]:
        """What the metric is given, image after image."""
        blank = torch.zeros(0)
        for image, prediction in self.predictions.items():
            yield Sample(blank, Boxes(blank, blank, (480, 640), image), str(image)), prediction

    @property
    def found(self) -> list[dict[str, Any]]:
        """The detections as COCO's rows, of the same numbers in float32 as the metric gets."""
        return [
            {"image_id": image, "category_id": int(label) + 1, "bbox": box, "score": score}
            for image, (boxes, scores, labels) in self.predictions.items()
            for box, score, label in zip(_sizes(boxes).tolist(), scores.tolist(), labels.tolist(), strict=True)
        ]


def _sizes(boxes: torch.Tensor) -> torch.Tensor:
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def case(images: int, categories: int, seed: int = 0) -> Case:
    """7 objects an image, one in twenty a crowd, each found more or less exactly, and 23 detections elsewhere."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    predictions: dict[int, Prediction] = {}
    for image in range(1, images + 1):
        boxes, elsewhere = (np.concatenate([rng.uniform(0, 400, (n, 2)), rng.uniform(4, 150, (n, 2))], 1) for n in (7, 23))
        labels = rng.integers(0, categories, 30)
        for label, box in zip(labels.tolist(), boxes.tolist(), strict=False):
            row = {"image_id": image, "category_id": label + 1, "id": len(annotations) + 1, "bbox": box}
            annotations.append(row | {"area": box[2] * box[3], "iscrowd": int(rng.random() < 0.05)})
        near = boxes + rng.normal(0, 0.06, boxes.shape) * boxes[:, [2, 3, 2, 3]]
        found = torch.from_numpy(np.concatenate([near, elsewhere])).float()
        found[:, 2:] += found[:, :2]
        scores = torch.from_numpy(np.concatenate([rng.beta(4, 2, 7), rng.beta(1, 4, 23)])).float()
        predictions[image] = found, scores, torch.from_numpy(labels)
    coco = {
        "images": [{"id": image, "width": 640, "height": 480, "file_name": f"{image}.png"} for image in predictions],
        "annotations": annotations,
        "categories": [{"id": number + 1, "name": str(number)} for number in range(categories)],
    }
    return Case(coco, predictions)


def reference(of: Case) -> dict[str, float]:
    """The six scores by pycocotools, from annotations and detections in memory."""
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
    return {name: 100 * float(value) for name, value in zip(NAMES, evaluation.stats, strict=False)}
