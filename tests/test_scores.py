"""The metrics beside counts by hand. AP beside pycocotools is in test_tally."""

import json
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from icmbench.api.task import Sample
from icmbench.tasks._data.coco import CocoFolder
from icmbench.tasks.detection.metric import AveragePrecision
from icmbench.tasks.segmentation.metric import MeanIoU


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> CocoFolder:
    """Image 1 has two objects, image 2 one, image 3 none; one of the three classes occurs nowhere."""
    folder = tmp_path_factory.mktemp("objects")
    boxes = [(1, 18, [0, 0, 64, 64]), (1, 2, [10.5, 20.25, 30, 8]), (2, 18, [5, 6, 10, 12])]
    for number in (1, 2, 3):
        Image.new("RGB", (64, 64)).save(folder / f"{number}.png")
    fields: dict[str, Any] = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 64} for number in (1, 2, 3)],
        "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "bicycle"}],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": box}
            for number, (image, category, box) in enumerate(boxes)
        ],
    }
    (folder / "boxes.json").write_text(json.dumps(fields))
    return CocoFolder(folder, folder / "boxes.json", classes=("bicycle", "cat", "dog"))


def found(sample: Sample, shift: float = 0, label: int = 0, width: float = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Every object of the image with a score of 1: shifted, narrowed, or with another label."""
    boxes, labels = sample.target.boxes + shift, (sample.target.labels + label) % 3
    boxes[:, 2] -= (1 - width) * (boxes[:, 2] - boxes[:, 0])
    return boxes, torch.ones(len(labels)), labels


def scores(dataset: CocoFolder, **how: float) -> dict[str, float]:
    metric = AveragePrecision(dataset)
    for index in range(len(dataset)):
        metric.update(dataset[index], found(dataset[index], **how))  # type: ignore[arg-type]
    return metric.compute()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, (100, 100, 100)),
        ({"shift": 1000}, (0, 0, 0)),
        ({"label": 1}, (0, 0, 0)),  # among them the class that no object has
        ({"width": 0.62}, (30, 100, 0)),  # right at the thresholds 0.50, 0.55 and 0.60 of ten
    ],
)
def test_average_precision_of_detections_made_by_hand(objects: CocoFolder, how: Any, expected: tuple[float, ...]) -> None:
    made = scores(objects, **how)
    assert (made["AP"], made["AP50"], made["AP75"]) == pytest.approx(expected)


def test_objects_without_area_have_that_of_their_box(objects: CocoFolder) -> None:
    made = scores(objects)
    assert (made["APs"], made["APm"]) == pytest.approx((100, 100))
    assert "APl" not in made


def test_images_that_were_not_seen_do_not_count_nor_does_silence_help(objects: CocoFolder) -> None:
    one, silent = AveragePrecision(objects), AveragePrecision(objects)
    one.update(objects[1], found(objects[1]))
    assert one.compute()["AP"] == pytest.approx(100)
    silent.update(objects[1], (torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)))
    assert silent.compute()["AP"] == 0


def test_merged_average_precision_equals_one_pass(objects: CocoFolder) -> None:
    generator = torch.Generator().manual_seed(0)
    parts, whole = [AveragePrecision(objects), AveragePrecision(objects)], AveragePrecision(objects)
    for k in range(3):
        boxes, _, labels = found(objects[k], shift=1)
        false = torch.rand(4, 4, generator=generator).sort(1).values * 30
        mixed = (torch.cat([boxes, false]), torch.rand(len(boxes) + 4, generator=generator),
                 torch.cat([labels, torch.tensor([0, 2, 0, 2])]))  # fmt: skip
        for metric in (parts[k % 2], whole):
            metric.update(objects[k], mixed)
    parts[0].merge(parts[1])
    once = whole.compute()
    assert parts[0].compute() == pytest.approx(once)
    assert whole.compute() == once
    assert 0 < once["AP"] < 100


def test_mean_iou_is_that_of_a_confusion_matrix_counted_by_hand() -> None:
    truth = torch.tensor([[0, 0, 0, 1], [1, 1, 2, 255]])
    prediction = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 2]])
    metric = MeanIoU(["a", "b", "c", "absent"])
    own = metric.update(Sample(torch.zeros(3, 2, 4), truth, "x"), prediction)
    # truth by prediction: a: 2 a, 1 b; b: 1 a, 2 b; c: 1 a. Unions: a 5, b 4, c 1.
    assert metric.confusion[:3, :3].tolist() == [[2, 1, 0], [1, 2, 0], [1, 0, 0]]
    assert own["score"] == pytest.approx(100 * 4 / 7)
    means = {"mIoU": 100 * (2 / 5 + 2 / 4 + 0) / 3, "aAcc": 100 * 4 / 7, "mAcc": 100 * (2 / 3 + 2 / 3 + 0) / 3}
    assert metric.compute() == pytest.approx(means | {"IoU.a": 40.0, "IoU.b": 50.0, "IoU.c": 0.0})


def test_a_class_found_where_there_is_none_counts_in_the_mean_iou_but_not_in_the_recall() -> None:
    metric = MeanIoU(["a", "b"])
    metric.update(Sample(torch.zeros(3, 1, 4), torch.tensor([[0, 0, 0, 0]]), "x"), torch.tensor([[0, 0, 0, 1]]))
    assert metric.compute() == pytest.approx({"mIoU": 37.5, "aAcc": 75, "mAcc": 75, "IoU.a": 75, "IoU.b": 0})


def test_merged_mean_iou_equals_one_pass() -> None:
    generator = torch.Generator().manual_seed(0)
    parts, whole = [MeanIoU("abc"), MeanIoU("abc")], MeanIoU("abc")
    for k in range(6):
        truth, prediction = torch.randint(0, 3, (2, 8, 9), generator=generator)
        truth[0, :k] = 255
        for metric in (parts[k % 2], whole):
            metric.update(Sample(torch.zeros(3, 8, 9), truth, "x"), prediction)
    parts[0].merge(parts[1])
    assert parts[0].compute() == whole.compute()
