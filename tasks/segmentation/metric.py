"""Mean intersection over union from one confusion matrix of the whole data set."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from icmbench.api import Metric, Sample
from icmbench.tasks.segmentation.tally import Confusion, confusion_scores


class MeanIoU(Metric):
    """mIoU, aAcc (pixel accuracy), mAcc (mean recall of the classes) and IoU per class, in percent.

    A class in neither truth nor prediction has no IoU and does not count in the mean; one that is not in the truth has no
    recall. Masks hold class numbers; 255 in the truth is ignored.
    """

    tally = Confusion

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)  # [truth, prediction]

    def update(self, sample: Sample, prediction: Tensor) -> dict[str, Any]:
        """Add an image; returns its pixel accuracy in percent as `score`, and its `confusion`."""
        counted = sample.target != 255
        size = len(self.classes)
        pairs = size * sample.target[counted] + prediction[counted]
        confusion = torch.bincount(pairs, minlength=size * size).reshape(size, size)
        self.confusion += confusion
        accuracy = 100 * float(confusion.diag().sum() / confusion.sum().clamp(min=1))
        return {"score": accuracy, "confusion": confusion.flatten().tolist()}

    def merge(self, other: "MeanIoU") -> None:
        self.confusion += other.confusion

    def compute(self) -> dict[str, float]:
        confusion = self.confusion.double().numpy()
        scores = {name: float(value) for name, value in confusion_scores(confusion).items()}
        right = confusion.diagonal()
        union = confusion.sum(1) + confusion.sum(0) - right
        classes = zip(self.classes, right, union, strict=True)
        return scores | {f"IoU.{name}": 100 * float(r / u) for name, r, u in classes if u > 0}
