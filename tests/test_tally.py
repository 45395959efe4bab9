"""Scores of images against pycocotools, and of weighted images against data sets in which they really are there several times."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from detections import Array, Case, Image, Kind, case, reference

from icmbench.api.task import Sample
from icmbench.plugins.find import INSTALLED
from icmbench.stats.tally import Mean, Tally
from icmbench.tasks.detection import tally as detections
from icmbench.tasks.detection.metric import NAMES, AveragePrecision, Truths, match
from icmbench.tasks.detection.tally import Detections
from icmbench.tasks.segmentation.metric import MeanIoU
from icmbench.tasks.segmentation.tally import Confusion

ALL = 2**10 - 1
KINDS = {
    "plain": Kind(),
    "one category": Kind(categories=1, images=30),
    "more categories than objects": Kind(categories=40, truths=2),
    "crowds": Kind(crowd=0.3),
    "nothing but crowds": Kind(crowd=1),
    "equal overlaps": Kind(grid=16, crowd=0.2, categories=2),
    "equal scores": Kind(scores=4),
    "more than 100 detections": Kind(images=4, categories=2, truths=40, elsewhere=300),
    "boxes without area or too large": Kind(odd=True, crowd=0.2),
}
DISTINCT = [name for name in KINDS if name != "equal scores"]


def scores(rows: pd.DataFrame, weights: Array) -> Array:
    """AP, AP50 and AP75 of the tally under each weighting: [B, 3]."""
    tally = Detections(rows)
    return np.stack([tally.score(name, weights) for name in NAMES[:3]], 1)


def same(found: Array, expected: Any) -> bool:
    return bool(np.allclose(found, expected, rtol=0, atol=1e-9, equal_nan=True))


def measured(kind: str, seed: int) -> pd.DataFrame:
    """The rows of images of a kind."""
    return case(KINDS[kind], seed).measured()[1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", KINDS)
def test_scores_of_images_that_count_once_are_those_of_pycocotools(name: str, seed: int) -> None:
    made = case(KINDS[name], seed)
    (metric, rows), expected = made.measured(), list(reference(made).values())
    assert same(scores(rows, np.ones((1, len(rows))))[0], expected[:3])
    own = metric.compute()
    assert same(np.array([own.get(score, math.nan) for score in NAMES]), expected)
    assert np.isnan(expected).all() if name == "nothing but crowds" else 0 < expected[0] < 98


@pytest.mark.parametrize("name", DISTINCT)
def test_a_weight_is_a_number_of_copies_of_the_image(name: str) -> None:
    made = case(KINDS[name], 7)
    count = len(made.images)
    weights = np.random.default_rng(0).multinomial(count, [1 / count] * count, size=6).astype(np.float64)
    weights[-1] *= 3
    found = scores(made.measured()[1], weights)
    copies = [[one for one, many in zip(made.images, row, strict=True) for _ in range(int(many))] for row in weights]
    expected = [Case(several, made.categories).measured()[0].compute() for several in copies]
    assert same(found, [[of.get(name, math.nan) for name in NAMES[:3]] for of in expected])
    assert name == "nothing but crowds" or len({tuple(row) for row in found.round(9)}) > 3


def single(at: float) -> Image:
    """One object, and one detection of its size with its corner at (`at`, `at`): the object's own is at 10."""
    truth, box, label = np.array([[10.0, 10, 20, 20]]), np.array([[at, at, 20, 20]], np.float32), np.array([0])
    return Image((truth, label, np.array([False])), (box, np.array([0.5]), label))


def test_equal_scores_of_different_images_keep_the_order_of_the_images() -> None:
    right, wrong = single(10), single(90)
    for images, expected in (([right, wrong], 51 / 101), ([wrong, right], 51 / 101 / 2)):
        made = Case(images, 1)
        assert same(scores(made.measured()[1], np.ones((1, 2)))[0], [100 * expected] * 3)
        assert same(np.array(list(reference(made).values())[:3]), [100 * expected] * 3)


def test_a_category_without_objects_under_a_weighting_does_not_count_in_its_mean() -> None:
    rows = pd.DataFrame(
        {
            "detection_score": [[0.9], [0.8], []],
            "detection_label": [[0], [0], []],
            "detection_hits": [[ALL], [0], []],
            "detection_ignored": [[0], [0], []],
            "truth_label": [[0], [5], []],
        }
    )
    weights = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0], [0, 2, 0]], np.float64)
    assert same(Detections(rows).score("AP", weights), [50, 100, 0, math.nan, math.nan, 0])


def test_recalls_at_which_precision_is_read_are_compared_as_floats() -> None:
    recalls = np.linspace(0, 1, 101)
    for right in range(101):
        columns = {
            "detection_score": [[1 - 0.001 * k] for k in range(right)],
            "detection_label": [[0]] * right,
            "detection_hits": [[ALL]] * right,
            "detection_ignored": [[0]] * right,
        }
        rows = pd.DataFrame(
            {name: values + [[]] * (100 - right) for name, values in columns.items()} | {"truth_label": [[0]] * 100}
        )
        expected = 100 * np.mean(right / 100 >= recalls) if right else 0
        assert same(Detections(rows).score("AP", np.full((1, 100), 3.0)), expected), right
    assert recalls[35] > 35 / 100  # some are missed by their own fraction, else the above would show nothing


def test_the_number_of_weightings_at_a_time_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = measured("crowds", 3)
    weights = np.random.default_rng(0).integers(0, 4, (11, len(rows))).astype(np.float64)
    together = scores(rows, weights)
    assert len(np.unique(together[:, 0])) == 11
    for name, value in (("BLOCK", 1), ("BLOCK", 4), ("BLOCK", 11), ("CELLS", 1)):
        monkeypatch.setattr(detections, name, value)
        assert same(scores(rows, weights), together)
    assert scores(rows, weights[:0]).shape == (0, 3)


def test_scores_are_ordered_as_the_tally_says() -> None:
    tally = Detections(measured("plain", 5))
    weights = np.random.default_rng(0).integers(0, 3, (200, KINDS["plain"].images)).astype(np.float64)
    for lower, upper in Detections.ordered:
        assert (tally.score(lower, weights) <= tally.score(upper, weights)).all()
        assert (tally.score(lower, weights) < tally.score(upper, weights)).any()


def test_detections_survive_parquet_in_small_types(tmp_path: Path) -> None:
    made = case(KINDS["crowds"], 1)
    empty = replace(made.images[0], found=(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, np.int64)))
    metric, rows = Case([empty, *made.images[1:]], made.categories).measured()
    rows.to_parquet(tmp_path / "rows.parquet")
    read = pd.read_parquet(tmp_path / "rows.parquet")
    assert metric.tally is INSTALLED.tally("detections") is Detections
    assert set(Detections.columns) == set(read.columns)
    weights = np.random.default_rng(0).integers(0, 4, (5, len(rows))).astype(np.float64)
    assert np.array_equal(scores(read, weights), scores(rows, weights))
    types = {column: {str(items.dtype) for items in read[column]} for column in read.columns}
    assert types.pop("detection_score") == {"float32"}
    assert set().union(*types.values()) == {"int16"}


def test_at_most_100_detections_of_an_image_and_category_are_kept() -> None:
    made = case(KINDS["more than 100 detections"])
    rows = made.measured()[1]
    for one, labels, kept in zip(made.images, rows["detection_label"], rows["detection_score"], strict=True):
        for label in range(made.categories):
            best = np.sort(one.found[1][one.found[2] == label].astype(np.float32))[::-1][:100]
            assert np.array_equal(kept[labels == label], best)
    assert max(len(kept) for kept in rows["detection_score"]) == 200


def truths_of(boxes: list[list[float]], crowd: list[bool]) -> Truths:
    region = np.array(crowd)
    return Truths(np.array(boxes, np.float64), np.zeros(len(boxes), np.int64), region, region)


def test_a_crowd_takes_any_number_of_detections_but_only_those_without_an_object() -> None:
    truths = truths_of([[0, 0, 100, 100], [10, 10, 20, 20]], [True, False])
    boxes = np.array([[10, 10, 20, 20], [10, 10, 20, 20], [60, 60, 10, 10], [90, 0, 20, 10], [300, 0, 9, 9]], np.float64)
    hits, ignored = match(truths, boxes)
    assert hits.tolist() == [ALL, 0, 0, 0, 0]
    assert ignored.tolist() == [0, ALL, ALL, 1, 0]  # half of the fourth lies in the crowd


def test_a_detection_takes_the_object_of_the_highest_overlap_that_is_free_and_the_last_of_equal_ones() -> None:
    truths = truths_of([[0, 0, 10, 10], [2, 0, 10, 10]], [False, False])
    boxes = np.array([[2, 0, 10, 10], [2, 0, 10, 10], [2, 0, 10, 10]], np.float64)
    hits, ignored = match(truths, boxes)
    assert hits.tolist() == [ALL, 0b1111, 0]  # 8 of 12 is 0.67: at 0.50, 0.55, 0.60, 0.65
    assert not ignored.any()
    hits, _ = match(truths, np.array([[1, 0, 10, 10], [0, 0, 10, 10]], np.float64))
    assert hits.tolist() == [0b1111111, ALL]  # 9 of 11 is 0.82


def test_an_object_numbered_0_is_found_like_any_other() -> None:
    made = Case([single(10)], 1)
    dataset = made.dataset
    dataset.coco["annotations"][0]["id"] = 0
    metric = AveragePrecision(dataset)
    rows = pd.DataFrame([metric.update(*one) for one in made.pictures()])
    assert metric.compute()["AP"] == pytest.approx(100)
    assert scores(rows, np.ones((1, 1))) == pytest.approx(100)


def test_confusion_of_weighted_images_is_that_of_copies(tmp_path: Path) -> None:
    generator, samples = torch.Generator().manual_seed(0), []
    for _ in range(9):  # random masks of four classes, the last rare, some pixels without truth
        truth, guess = torch.multinomial(torch.tensor([5.0, 4, 3, 0.02]), 160, True, generator=generator).reshape(2, 8, 10)
        found = torch.where(torch.rand(8, 10, generator=generator) < 0.6, truth, guess)
        truth[0, :3] = 255
        samples.append((Sample(torch.zeros(3, 8, 10), truth, ""), found))
    metric = MeanIoU(["a", "b", "c", "d"])
    assert metric.tally is INSTALLED.tally("confusion") is Confusion
    pd.DataFrame([metric.update(*one) for one in samples]).to_parquet(tmp_path / "rows.parquet")
    tally = Confusion(pd.read_parquet(tmp_path / "rows.parquet"))
    weights = np.random.default_rng(0).integers(0, 4, (8, 9))
    for number, row in enumerate(weights.tolist()):
        copies = MeanIoU(metric.classes)
        for one in [one for one, many in zip(samples, row, strict=True) for _ in range(many)]:
            copies.update(*one)
        expected = copies.compute()
        for name in ("mIoU", "aAcc", "mAcc"):
            assert tally.score(name, weights)[number] == pytest.approx(expected[name], abs=1e-9)
    assert len(np.unique(tally.score("mIoU", weights))) == 8
    assert np.isnan(tally.score("mIoU", np.zeros((1, 9)))).all()


def test_mean_of_weighted_images_is_that_of_copies() -> None:
    values = np.random.default_rng(0).random(7)
    weights = np.random.default_rng(1).integers(0, 4, (5, 7)).astype(np.float64)
    mean = Mean(pd.DataFrame({"top1": values}))
    assert mean.score("top1", weights) == pytest.approx([np.repeat(values, row.astype(int)).mean() for row in weights])
    assert np.isnan(mean.score("top1", np.zeros((1, 7)))).all()


@pytest.mark.parametrize(
    ("tally", "name"),
    [
        (Detections(measured("plain", 0)), "APs"),
        (Confusion(pd.DataFrame({"confusion": [[1, 0, 0, 1]]})), "AP"),
        (Mean(pd.DataFrame({"score": [1.0], "top1": [1.0]})), "top5"),
    ],
)
def test_unknown_scores_are_refused(tally: Tally, name: str) -> None:
    with pytest.raises(KeyError):
        tally.score(name, np.ones((1, 1)))
