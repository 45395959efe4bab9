"""Training crops of the built-in tasks, and the generated images."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from icmbench.api import crops
from icmbench.api.classes import make_task
from icmbench.api.task import Sample, Task
from icmbench.plugins.find import Plugins
from icmbench.tasks._data.coco import Boxes, CocoFolder
from icmbench.tasks._procedural import leaves, shapes


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    """The built-in tasks; their recognisers are never built here."""
    plugins, made = Plugins(), {}
    for name in ("detection", "segmentation"):
        fields = plugins.protocol(plugins.default_protocol(name))
        made[name] = make_task(plugins, name, fields.data, fields.recognizer)
    return made


def painted(height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> Sample:
    """A picture in which object k is a rectangle of colour k + 1 on black."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        image[:, y0:y1, x0:x1] = k + 1
    target = Boxes(torch.tensor(boxes, dtype=torch.float32), torch.arange(len(boxes)), (height, width), 5)
    return Sample(image, target, "painted")


def extent(image: Tensor, colour: int) -> list[float]:
    """Smallest box around the pixels of a colour."""
    ys, xs = torch.nonzero(image[0] == colour, as_tuple=True)
    return [float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]


@pytest.mark.parametrize(("height", "width"), [(100, 120), (40, 200), (30, 20)])
@pytest.mark.parametrize("flip", [False, True])
def test_the_boxes_of_a_crop_surround_the_same_pixels(tasks: dict[str, Task], height: int, width: int, flip: bool) -> None:
    grid = [(x, y, x + 9 + y % 4, y + 8 + x % 3) for y in range(0, height - 12, 13) for x in range(0, width - 14, 14)]
    sample, rng = painted(height, width, grid), np.random.default_rng(0)
    mirrored = set()
    for _ in range(20):
        crop = tasks["detection"].crop(sample, 64, flip, rng)
        target: Boxes = crop.target
        assert (crop.image.shape, target.size, target.image_id) == ((3, 64, 64), (64, 64), 5)
        for box, label in zip(target.boxes.tolist(), target.labels.tolist(), strict=True):
            assert box == extent(crop.image, label + 1)
        kept = set(target.labels.tolist())
        for label, (x0, y0, x1, y1) in enumerate(grid):
            seen = int((crop.image[0] == label + 1).sum()) / ((x1 - x0) * (y1 - y0))
            assert (label in kept) or seen < 0.3
            assert (label not in kept) or seen >= 0.25
        columns = [target.boxes[k, 0] for k in range(len(kept))]
        mirrored.add(len(columns) > 1 and bool(columns[1] < columns[0]))
    assert mirrored == ({False, True} if flip else {False})


def test_a_crop_of_a_picture_without_objects_has_none(tasks: dict[str, Task]) -> None:
    target = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (80, 80), 1)
    sample = Sample(torch.zeros(3, 80, 80, dtype=torch.uint8), target, "empty")
    crop = tasks["detection"].crop(sample, 64, True, np.random.default_rng(0))
    assert crop.target.boxes.shape == (0, 4)


@pytest.mark.parametrize(("height", "width"), [(100, 120), (40, 200), (30, 20)])
def test_the_mask_of_a_crop_belongs_to_the_same_pixels(tasks: dict[str, Task], height: int, width: int) -> None:
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 100, (3, height, width), np.uint8))
    sample, rng = Sample(image, image[0].long(), "noise"), np.random.default_rng(0)
    for _ in range(10):
        crop = tasks["segmentation"].crop(sample, 64, True, rng)
        inside = crop.target != 255
        assert (crop.image.shape, crop.target.shape) == ((3, 64, 64), (64, 64))
        assert int(inside.sum()) == min(64, height) * min(64, width)
        assert torch.equal(crop.image[0][inside].long(), crop.target[inside])
        assert set(crop.image[:, ~inside].unique().tolist()) <= {114}


def test_crop_windows_cover_the_picture_and_stay_inside() -> None:
    rng = np.random.default_rng(0)
    drawn = {crops.window(10, 7, 8, rng) for _ in range(200)}
    assert drawn == {(0, 0), (1, 0), (2, 0)}


def test_crops_are_drawn_from_the_given_stream_alone(tasks: dict[str, Task]) -> None:
    sample = painted(100, 120, [(10, 10, 90, 90)])
    first, second = (tasks["detection"].crop(sample, 64, True, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.target.boxes, second.target.boxes)


def test_procedural_pictures_are_functions_of_seed_and_index() -> None:
    for draw in (lambda *axes: shapes.picture(*axes).image, leaves.picture):
        first = draw(0, 5, 128)
        draw(0, 6, 128)
        assert (first.shape, first.dtype) == ((128, 128, 3), np.uint8)
        assert np.array_equal(draw(0, 5, 128), first)
        assert not np.array_equal(draw(0, 6, 128), first)
        assert not np.array_equal(draw(1, 5, 128), first)
        assert first.std() > 5


def test_shapes_are_disjoint_and_agree_with_the_index_mask() -> None:
    for index in range(5):
        made = shapes.picture(0, index, 128)
        assert len(made.masks) == len(made.labels) >= 1
        assert np.sum(made.masks, 0).max() == 1
        rebuilt = sum((label + 1) * mask.astype(np.uint8) for mask, label in zip(made.masks, made.labels, strict=True))
        assert np.array_equal(rebuilt, made.index_mask)


def test_the_shapes_folder_has_tight_boxes_and_lossless_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "SPLITS", {"train": (0, 3, 128), "val": (1_000_000, 2, 256)})
    folder = shapes.shapes_folder(tmp_path, 0)
    for split, (first, count, size) in shapes.SPLITS.items():
        dataset = CocoFolder(folder / "images" / split, folder / "annotations" / f"{split}.json")
        assert len(dataset) == count
        for k in range(count):
            made, sample = shapes.picture(0, first + k, size), dataset[k]
            assert np.array_equal(sample.image.permute(1, 2, 0).numpy(), made.image)
            assert sample.target.labels.tolist() == made.labels
            for box, mask in zip(sample.target.boxes.tolist(), made.masks, strict=True):
                x0, y0, x1, y1 = map(int, box)
                assert mask[y0:y1, x0:x1].sum() == mask.sum()
                assert all(edge.any() for edge in (mask[y0], mask[y1 - 1], mask[:, x0], mask[:, x1 - 1]))
            written = cv2.imread(str(folder / "masks" / split / sample.name), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(written, made.index_mask)
