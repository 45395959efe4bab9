"""Segmentation whose connected regions are segments, scored by panoptic quality."""

from typing import Any

import numpy as np
from scipy.ndimage import label
from torch import Tensor

from icmbench.api import Metric, Sample
from icmbench.tasks.segmentation.task import Segmentation
from panoptic.tally import Panoptic, panoptic_quality


class Quality(Metric):
    """`PQ` in percent."""

    tally = Panoptic

    def __init__(self, classes: int) -> None:
        self.sums = np.zeros((3, classes))

    def update(self, sample: Sample, prediction: Tensor) -> dict[str, Any]:
        columns = np.array([matches(sample.target == k, prediction == k) for k in range(self.sums.shape[1])]).T
        self.sums += columns
        return dict(zip(Panoptic.columns, columns.tolist(), strict=True))

    def merge(self, other: "Quality") -> None:
        self.sums += other.sums

    def compute(self) -> dict[str, float]:
        return {"PQ": float(panoptic_quality(*self.sums))}


def matches(truth: Tensor, found: Tensor) -> tuple[float, int, int]:
    """IoU of the matches, their number, and that of all other segments, of two masks bool [H, W] of a class."""
    (ours, a), (theirs, b) = label(truth.numpy()), label(found.numpy())
    common = np.histogram2d(ours.ravel(), theirs.ravel(), (np.arange(a + 2), np.arange(b + 2)))[0]
    ious = common[1:, 1:] / (common.sum(1)[1:, None] + common.sum(0)[None, 1:] - common[1:, 1:])
    hits = ious[ious > 0.5]  # at most one for each segment
    return float(hits.sum()), len(hits), a + b - 2 * len(hits)


class PanopticSegmentation(Segmentation):
    default_protocol = "panoptic-v1"

    def metric(self) -> Metric:
        return Quality(len(self.data.classes))
