"""Panoptic quality from sums over the images. Torch-free, so that results are read quickly."""

import numpy as np
import pandas as pd

from icmbench.api import Array, Tally


class Panoptic(Tally):
    """PQ (arXiv 1801.00868): IoU summed over the matched segments / (matches + half of all others), mean over the classes.

    Columns, each a list with a number for each class in every row: `pq_iou` and `pq_matched` (the matches), `pq_unmatched`
    (all other segments of truth and prediction).
    """

    name = "panoptic"
    columns = ("pq_iou", "pq_matched", "pq_unmatched")

    def __init__(self, rows: pd.DataFrame) -> None:
        self.sums = [np.array(rows[column].tolist(), np.float64) for column in self.columns]  # [images, classes] each

    def score(self, name: str, weights: Array) -> Array:
        if name != "PQ":
            raise KeyError(name)
        return panoptic_quality(*(weights @ sums for sums in self.sums))


def panoptic_quality(iou: Array, matched: Array, unmatched: Array) -> Array:
    """PQ in percent of sums [..., classes]; a class without segments does not count."""
    segments = matched + unmatched / 2
    with np.errstate(invalid="ignore"):
        mean: Array = 100 * np.where(segments > 0, iou / segments, 0).sum(-1) / (segments > 0).sum(-1)
    return mean
