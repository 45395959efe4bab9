"""COCO's average precision for any weighting of the images, from detections that were matched once.

Detections are matched with objects inside one image, so a weighting changes only how often every detection and every
object counts. The scores are those of COCO's evaluation (cocodataset.org/#detection-eval): interpolated
precision at 101 recalls, for ten IoU thresholds and objects of every size, averaged over the categories with objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from icmbench.api import Array, Tally

Ints = NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64)

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
USED = {"AP": tuple(range(10)), "AP50": (0,), "AP75": (5,)}  # numbers of the thresholds that a score averages
RECALLS = np.linspace(0, 1, 101)
# How many of RECALLS a recall of x %, x = 100 tp / n, reaches, at floor(x) + ceil(x). Between two whole numbers it is
# clear; at a whole one the division of the counts may round below the threshold (35 of 100 do not reach RECALLS[35]).
REACHED = np.searchsorted(RECALLS, np.arange(201) / 200, side="right").astype(np.float64)
BLOCK = 1024  # weightings at a time: rows long enough for numpy that still fit the nearest cache
CELLS = 2**21  # largest number of values in a table
TINY = 1e-300


@dataclass(frozen=True)
class _Matches:
    """True positives of one category at one IoU threshold, best first.

    `images` [T]: their images. `rows` [T]: their rows in the category's table. `ignored`: the images of the ignored
    detections, best first. `better` [T]: how many of those come before each true positive.
    """

    images: Ints
    rows: Ints
    ignored: Ints
    better: Ints


@dataclass(frozen=True)
class _Category:
    """`label`: its number. `truths` float64 [images]: objects in each image. `images` [D]: each detection's image, best first.

    `rows`: the detections that are a true positive at some threshold; the category's table has a row for each.
    `matches`: one for each threshold.
    """

    label: int
    truths: Array
    images: Ints
    rows: Ints
    matches: tuple[_Matches, ...]


class Detections(Tally):
    """Detection: AP, AP50 and AP75 over objects of every size.

    Columns, each a list in every row: `detection_score`, `detection_label`, `detection_hits` (bit t: true positive at
    the t-th IoU threshold) and `detection_ignored` (bit t: counts neither as right nor as wrong there) of the D
    detections of the image, those of one label best first; `truth_label`, the labels of the objects to be found. Of
    equal scores the one in the earlier row comes first.
    """

    name = "detections"
    columns = ("detection_score", "detection_label", "detection_hits", "detection_ignored", "truth_label")
    ordered = (("AP", "AP50"), ("AP75", "AP50"))

    def __init__(self, rows: pd.DataFrame) -> None:
        self.images = len(rows)
        self.categories = _categories(rows)

    def score(self, name: str, weights: Array) -> Array:
        return _scores(self.categories, USED[name], weights)

    def per_class(self, name: str) -> dict[int, float]:
        if name not in USED:
            return {}
        once = np.ones((1, self.images))
        return {category.label: float(_scores([category], USED[name], once)[0]) for category in self.categories}


def _scores(categories: Sequence[_Category], used: Sequence[int], weights: Array) -> Array:
    """The mean over the categories with objects, in percent, under weights [B, images]: [B]."""
    most = max([1, *(len(category.rows) for category in categories)])
    block = max(1, min(BLOCK, CELLS // most, len(weights)))
    scratch = _Scratch(most, block)
    parts = [_block(categories, used, weights[first : first + block], scratch) for first in range(0, len(weights), block)]
    return np.concatenate([np.empty(0), *parts])


def _block(categories: Sequence[_Category], used: Sequence[int], weights: Array, scratch: "_Scratch") -> Array:
    by_image = np.ascontiguousarray(weights.T, np.float64)
    total, each = np.zeros(len(weights)), list(by_image)
    # one product for all, because BLAS's threads spin between many small ones
    counts = np.reshape([category.truths for category in categories], (-1, len(each))) @ by_image
    for category, truths in zip(categories, counts, strict=True):
        total += _average_precision(category, used, each, np.where(truths > 0, truths, np.inf), scratch)
    with np.errstate(invalid="ignore"):
        mean: Array = 100 * total / (counts > 0).sum(0)
    return mean


class _Scratch:
    """Memory for tables [rows, B] that is reused, because allocating tables would take longer than the arithmetic."""

    def __init__(self, rows: int, block: int) -> None:
        self.tables = np.empty((4, rows * block))
        self.whole = np.empty(rows * block, np.intp)

    def table(self, number: int, rows: int, width: int) -> Array:
        """Table 0, 1, 2 or 3 with this shape, not initialised."""
        return self.tables[number, : rows * width].reshape(rows, width)

    def indices(self, rows: int, width: int) -> NDArray[np.intp]:
        """The table of indices."""
        return self.whole[: rows * width].reshape(rows, width)


def _flat(column: "pd.Series[Any]", dtype: type[Number]) -> tuple[Ints, NDArray[Number]]:
    """The lists of a column, concatenated: the row number of each item, and the items."""
    parts: list[NDArray[Number]] = [np.asarray(items, dtype) for items in column]
    lengths = np.array([len(part) for part in parts], np.int64)
    return np.repeat(np.arange(len(parts)), lengths), np.concatenate([np.empty(0, dtype), *parts])


def _categories(rows: pd.DataFrame) -> list[_Category]:
    """The categories that have objects in any image."""
    images, scores = _flat(rows["detection_score"], np.float64)
    labels, hits, ignored = (_flat(rows[f"detection_{name}"], np.int64)[1] for name in ("label", "hits", "ignored"))
    truth_images, truths = _flat(rows["truth_label"], np.int64)
    order = np.argsort(-scores, kind="stable")
    categories = []
    for label in np.unique(truths):
        counts = np.bincount(truth_images[truths == label], minlength=len(rows)).astype(np.float64)
        best = order[labels[order] == label]
        categories.append(_category(int(label), counts, images[best], hits[best], ignored[best]))
    return categories


def _category(label: int, truths: Array, images: Ints, hits: Ints, ignored: Ints) -> _Category:
    rows = np.flatnonzero(hits)
    matches = []
    for threshold in range(len(IOU_THRESHOLDS)):
        right, neither = (np.flatnonzero(bits >> threshold & 1) for bits in (hits, ignored))
        places = np.searchsorted(rows, right), np.searchsorted(neither, right)
        matches.append(_Matches(images[right], places[0], images[neither], places[1]))
    return _Category(label, truths, images, rows, tuple(matches))


def _average_precision(category: _Category, used: Sequence[int], weights: list[Array], truths: Array, scratch: _Scratch) -> Array:
    """AP in 0..1 over the thresholds `used`: [B], for `weights`, one [B] an image, and truths [B] to be found.

    Only true positives matter: the recall rises only there, and the precision falls at all other detections.
    """
    width, total = len(truths), np.zeros_like(truths)
    detected = _running_sums(weights, category.images, category.rows, scratch.table(0, len(category.rows), width))
    for matches in (category.matches[threshold] for threshold in used):
        if len(matches.rows):
            here = scratch.table(1, len(matches.rows), width)
            detected.take(matches.rows, 0, out=here, mode="clip")
            total += _one_threshold(matches, weights, here, truths, scratch)
    return total / len(used)


def _one_threshold(matches: _Matches, weights: list[Array], detected: Array, truths: Array, scratch: _Scratch) -> Array:
    """The same at one threshold; `detected` [T, B]: weight of the detections down to each true positive (overwritten)."""
    if len(matches.ignored):
        detected -= _ignored(matches, weights)
    right = _running_sums(weights, matches.images, np.arange(len(detected)), scratch.table(2, *detected.shape))
    precision = np.divide(right, np.maximum(detected, TINY, out=detected), out=detected)
    for worse, better in zip(precision[:0:-1], precision[-2::-1], strict=True):
        np.maximum(worse, better, out=better)
    percent = np.divide(np.multiply(right, 100, out=right), truths, out=right)
    reached = _reached(percent, scratch)
    newly = np.subtract(reached[1:], reached[:-1], out=percent[1:])
    sampled: Array = reached[0] * precision[0] + np.einsum("tb,tb->b", newly, precision[1:])
    return sampled / len(RECALLS)


def _reached(percent: Array, scratch: _Scratch) -> Array:
    """How many of RECALLS recalls in percent [T, B] reach; overwrites percent."""
    reached, index = scratch.table(3, *percent.shape), scratch.indices(*percent.shape)
    np.floor(percent, out=reached)
    np.ceil(percent, out=percent)
    index[:] = np.add(reached, percent, out=reached)
    return REACHED.take(index, out=reached, mode="clip")


def _ignored(matches: _Matches, weights: list[Array]) -> Array:
    """Weight of the ignored detections before each true positive: [T, B]."""
    sums = np.zeros((len(matches.ignored) + 1, len(weights[0])))
    _running_sums(weights, matches.ignored, np.arange(len(matches.ignored)), sums[1:])
    return sums.take(matches.better, 0)


def _running_sums(weights: list[Array], images: Ints, rows: Ints, sums: Array) -> Array:
    """Sums of the weights of images[: row + 1] for ascending `rows`, written to `sums` [rows, B], which is returned.

    Row by row: numpy's cumulative sums do not use vector instructions and take four times as long.
    """
    above, start = np.zeros(sums.shape[1]), 0
    order = images.tolist()
    for row, here in zip(rows.tolist(), sums, strict=True):
        np.add(above, weights[order[start]], out=here)
        for image in order[start + 1 : row + 1]:
            np.add(here, weights[image], out=here)
        above, start = here, row + 1
    return sums
