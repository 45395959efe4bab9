"""Confusion matrices of the images, which give mIoU for any weighting of the images."""

import numpy as np
import pandas as pd

from icmbench.api import Array, Tally


def confusion_scores(confusion: Array) -> dict[str, Array]:
    """mIoU, aAcc and mAcc in percent of confusion matrices [..., truth, prediction].

    A class in neither truth nor prediction does not count in mIoU; one that is not in the truth does not count in mAcc.
    """
    right, truth, predicted = confusion.diagonal(axis1=-2, axis2=-1), confusion.sum(-1), confusion.sum(-2)
    union = truth + predicted - right
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "mIoU": 100 * np.where(union > 0, right / union, 0).sum(-1) / (union > 0).sum(-1),
            "aAcc": 100 * right.sum(-1) / truth.sum(-1),
            "mAcc": 100 * np.where(truth > 0, right / truth, 0).sum(-1) / (truth > 0).sum(-1),
        }


class Confusion(Tally):
    """Segmentation: column `confusion` holds each image's confusion matrix [truth, prediction] in pixels, flattened."""

    name = "confusion"
    columns = ("confusion",)
    ordered = (("mIoU", "mAcc"),)

    def __init__(self, rows: pd.DataFrame) -> None:
        self.counts = np.stack([np.asarray(image, np.float64) for image in rows["confusion"]])
        self.classes = round(self.counts.shape[1] ** 0.5)

    def score(self, name: str, weights: Array) -> Array:
        return confusion_scores((weights @ self.counts).reshape(-1, self.classes, self.classes))[name]
