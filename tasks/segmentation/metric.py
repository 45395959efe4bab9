"""Mean intersection over union from one confusion matrix of the whole data set."""

from collections.abc import Sequence

import torch
from torch import Tensor

from icmbench.task import Metric, Sample


class MeanIoU(Metric):
    """mIoU, aAcc (pixel accuracy), mAcc (mean recall of the classes) and IoU per class, in percent.

    A class that neither truth nor prediction contains has no IoU and does not count in the mean; one that the truth
    lacks has no recall. Masks hold class numbers; 255 in the truth is ignored.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)  # [truth, prediction]

    def update(self, sample: Sample, prediction: Tensor) -> float:
        """Add a picture; returns its pixel accuracy in percent."""
        counted = sample.target != 255
        size = len(self.classes)
        pairs = size * sample.target[counted] + prediction[counted]
        confusion = torch.bincount(pairs, minlength=size * size).reshape(size, size)
        self.confusion += confusion
        return 100 * float(confusion.diag().sum() / confusion.sum().clamp(min=1))

    def merge(self, other: "MeanIoU") -> None:
        self.confusion += other.confusion

    def compute(self) -> dict[str, float]:
        confusion = self.confusion.double()
        right, truth, found = confusion.diag(), confusion.sum(1), confusion.sum(0)
        union = truth + found - right
        iou = 100 * right / union
        recall = (100 * right / truth)[truth > 0]
        scores = {
            "mIoU": float(iou[union > 0].mean()),
            "aAcc": 100 * float(right.sum() / confusion.sum().clamp(min=1)),
            "mAcc": float(recall.mean()),
        }
        return scores | {f"IoU.{name}": float(v) for name, v, u in zip(self.classes, iou, union, strict=True) if u > 0}
