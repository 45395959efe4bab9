"""COCO average precision with faster-coco-eval, and the columns for recomputing it under any weighting of the images."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as coco_mask
from numpy.typing import NDArray
from torch import Tensor

from icmbench.api import Metric, Sample
from icmbench.tasks._data.coco import CocoFolder
from icmbench.tasks.detection.tally import IOU_THRESHOLDS, Detections

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
MOST = 100  # detections of an image and category that count
LARGEST = 1e5**2  # upper end of COCO's area range "all", in pixels
BITS = 1 << np.arange(len(IOU_THRESHOLDS))

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Truths:
    """Objects of one image: `boxes` float64 [N, 4] (x, y, width, height), `labels` [N] (0-based).

    `crowd` [N]: regions that match any number of detections. `ignored` [N]: need not be found; a detection that matches one
    counts neither as right nor as wrong.
    """

    boxes: Floats
    labels: Ints
    crowd: Bools
    ignored: Bools

    def of(self, label: int) -> "Truths":
        """Those with one label."""
        own = self.labels == label
        return Truths(self.boxes[own], self.labels[own], self.crowd[own], self.ignored[own])


class AveragePrecision(Metric):
    """AP over IoU 0.50:0.95, AP50, AP75, and AP of small, medium and large objects (areas under 32², under 96², above)."""

    tally = Detections

    def __init__(self, dataset: CocoFolder) -> None:
        self.dataset = dataset
        self.detections: list[dict[str, Any]] = []
        self.images: list[int] = []
        # Numbered anew, because the evaluation reads the id 0 as "no match".
        rows = enumerate(dataset.coco["annotations"], 1)
        self.annotations: list[dict[str, Any]] = [{**row, "id": number} for number, row in rows]
        self.truths: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in self.annotations:
            self.truths[row["image_id"]].append(row)

    def update(self, sample: Sample, prediction: tuple[Tensor, Tensor, Tensor]) -> dict[str, Any]:
        """Add an image; returns its columns of the tally."""
        boxes, scores, labels = (value.numpy() for value in prediction)
        sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        self.images.append(sample.target.image_id)
        for box, score, label in zip(sizes.tolist(), scores.tolist(), labels.tolist(), strict=True):
            category = self.dataset.categories[label]["id"]
            row = {"image_id": sample.target.image_id, "category_id": category, "bbox": box, "score": score}
            self.detections.append(row)
        return _columns(self._truths(sample.target.image_id), sizes.astype(np.float64), scores, labels)

    def _truths(self, image: int) -> Truths:
        rows = self.truths[image]
        labels = np.array([self.dataset.label_of[row["category_id"]] for row in rows], np.int64)
        areas = np.array([row["area"] for row in rows], np.float64)
        crowd = np.array([bool(row.get("iscrowd", 0)) for row in rows], np.bool_)
        boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
        return Truths(boxes, labels, crowd, crowd | (areas < 0) | (areas > LARGEST))

    def merge(self, other: "AveragePrecision") -> None:
        self.detections += other.detections
        self.images += other.images

    def compute(self) -> dict[str, float]:
        """The six scores in percent over the images seen; a score without any ground truth is left out."""
        if not self.detections:
            return dict.fromkeys(NAMES, 0.0)
        truth = COCO({**self.dataset.coco, "annotations": self.annotations, "categories": self.dataset.categories})
        evaluation = COCOeval_faster(truth, truth.loadRes(self.detections), "bbox")
        evaluation.params.imgIds = sorted(self.images)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        scores = zip(NAMES, evaluation.stats, strict=False)
        return {name: 100 * float(value) for name, value in scores if value >= 0}


def _columns(truths: Truths, boxes: Floats, scores: NDArray[np.float32], labels: Ints) -> dict[str, Any]:
    """The tally's columns for one image; boxes float64 [D, 4] (x, y, width, height), scores and labels [D]."""
    order = np.lexsort((-scores, labels))
    order = order[_places(labels[order]) < MOST]
    boxes, labels = boxes[order], labels[order]
    hits, ignored = np.zeros(len(order), np.int64), _outside(boxes) * BITS.sum()
    for label in np.unique(truths.labels):  # detections of other labels hit nothing
        own = slice(*np.searchsorted(labels, (label, label + 1)))
        hits[own], ignored[own] = match(truths.of(label), boxes[own])
    return {
        "detection_score": scores[order].astype(np.float32),
        "detection_label": labels.astype(np.int16),
        "detection_hits": hits.astype(np.int16),
        "detection_ignored": ignored.astype(np.int16),
        "truth_label": truths.labels[~truths.ignored].astype(np.int16),
    }


def _places(labels: Ints) -> Ints:
    """The number of each of sorted labels among its equals, from 0."""
    places: Ints = np.arange(len(labels)) - np.searchsorted(labels, labels)
    return places


def _outside(boxes: Floats) -> Bools:
    """Which detections have a size that does not count unless they find an object."""
    areas = boxes[:, 2] * boxes[:, 3]
    outside: Bools = (areas < 0) | (areas > LARGEST)
    return outside


def match(truths: Truths, boxes: Floats) -> tuple[Ints, Ints]:
    """Which detections of an image and category, float64 [D, 4] and best first, find an object: (hits, ignored) [D].

    Bit t belongs to the t-th IoU threshold. As in COCO's evaluation, each detection in turn takes the free object of the
    highest IoU, the last of equal ones, and an ignored one only if no other is left.
    """
    hits, ignored = np.zeros((2, len(boxes)), np.int64)
    if len(truths.labels) and len(boxes):
        free = np.ones((len(BITS), len(truths.labels)), np.bool_)
        for number, ious in enumerate(_overlaps(truths, boxes)):
            hits[number], ignored[number] = _take_best(truths, ious, free)
    return hits, np.where(_outside(boxes), BITS.sum() - hits, ignored)


def _overlaps(truths: Truths, boxes: Floats) -> Floats:
    """IoU [D, N], intersection over the detection's area for crowds: the evaluation's own, equal to the last bit."""
    overlaps: Floats = coco_mask.iou(boxes.tolist(), truths.boxes.tolist(), truths.crowd.astype(int).tolist())
    return overlaps


def _take_best(truths: Truths, ious: Floats, free: Bools) -> tuple[int, int]:
    """Match one detection at all thresholds; ious [N]; free [thresholds, N] is updated. Returns (hits, ignored) in bits."""
    fits = free & (ious >= IOU_THRESHOLDS[:, None])
    counted = fits & ~truths.ignored
    hit = np.asarray(counted.any(1))
    candidates = np.where(hit[:, None], counted, fits)
    matched = np.asarray(candidates.any(1))
    best = len(ious) - 1 - np.where(candidates, ious, -1)[:, ::-1].argmax(1)
    free[matched, best[matched]] = truths.crowd[best[matched]]
    return int(BITS[hit].sum()), int(BITS[matched & ~hit].sum())
