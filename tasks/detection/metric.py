"""COCO average precision with faster-coco-eval."""

from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor

from icmbench.task import Metric, Sample
from icmbench.tasks._data.coco import CocoFolder

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class AveragePrecision(Metric):
    """AP over IoU 0.50:0.95, AP50, AP75, and AP of small, medium and large objects (areas under 32², under 96², above)."""

    def __init__(self, dataset: CocoFolder) -> None:
        self.dataset = dataset
        self.found: list[dict[str, Any]] = []
        self.images: list[int] = []

    def update(self, sample: Sample, prediction: tuple[Tensor, Tensor, Tensor]) -> None:
        boxes, scores, labels = (value.numpy() for value in prediction)
        sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        self.images.append(sample.target.image_id)
        for box, score, label in zip(sizes.tolist(), scores.tolist(), labels.tolist(), strict=True):
            category = self.dataset.categories[label]["id"]
            row = {"image_id": sample.target.image_id, "category_id": category, "bbox": box, "score": score}
            self.found.append(row)

    def merge(self, other: "AveragePrecision") -> None:
        self.found += other.found
        self.images += other.images

    def compute(self) -> dict[str, float]:
        """The six scores in percent over the pictures seen; a score without any ground truth is left out."""
        if not self.found:
            return dict.fromkeys(NAMES, 0.0)
        truth = COCO(self.dataset.coco)
        evaluation = COCOeval_faster(truth, truth.loadRes(self.found), "bbox")
        evaluation.params.imgIds = sorted(self.images)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        scores = zip(NAMES, evaluation.stats, strict=False)
        return {name: 100 * float(value) for name, value in scores if value >= 0}
