"""Data sets, crops and metrics of the built-in tasks, on small pictures made here."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from icmbench.api import crops
from icmbench.api.classes import make_task
from icmbench.api.task import Sample, Task
from icmbench.base.errors import UserError
from icmbench.plugins.find import Plugins
from icmbench.tasks._data import shapes as shapes_data
from icmbench.tasks._data.coco import Boxes, CocoFolder
from icmbench.tasks._data.folders import MaskFolder
from icmbench.tasks._data.images import read_image, read_mask
from icmbench.tasks._openmmlab import models
from icmbench.tasks._procedural import leaves, shapes
from icmbench.tasks.detection.metric import AveragePrecision
from icmbench.tasks.segmentation.metric import MeanIoU


def object_row(number: int, image: int, category: int, bbox: list[float], **more: Any) -> dict[str, Any]:
    row = {"id": number, "image_id": image, "category_id": category, "bbox": bbox, "area": bbox[2] * bbox[3]}
    return row | {"iscrowd": 0} | more


def coco_fields() -> dict[str, Any]:
    """Three pictures, the last without objects; category ids with a gap, as in COCO."""
    sizes = {7: (40, 30), 3: (64, 64), 9: (20, 20)}
    return {
        "images": [{"id": k, "file_name": f"{k}.png", "width": w, "height": h} for k, (w, h) in sizes.items()],
        "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "bicycle"}],
        "annotations": [
            object_row(1, 7, 18, [5, 6, 10, 12]),
            object_row(2, 3, 2, [0, 0, 64, 64]),
            object_row(3, 3, 18, [10.5, 20.25, 30, 8]),
            object_row(4, 3, 18, [1, 1, 60, 60], iscrowd=1),
            object_row(5, 3, 18, [1, 1, 0, 60]),
        ],
    }


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A COCO-format folder."""
    (tmp_path / "images").mkdir()
    for row in coco_fields()["images"]:
        Image.new("RGB", (row["width"], row["height"]), (row["id"], 100, 200)).save(tmp_path / "images" / row["file_name"])
    (tmp_path / "boxes.json").write_text(json.dumps(coco_fields()))
    return tmp_path


def open_coco(folder: Path) -> CocoFolder:
    return CocoFolder(folder / "images", folder / "boxes.json")


def test_a_coco_folder_gives_pictures_with_corner_boxes_and_dense_labels(coco: Path) -> None:
    dataset = open_coco(coco)
    assert [dataset[k].name for k in range(len(dataset))] == ["3.png", "7.png", "9.png"]
    first, second, empty = (dataset[k] for k in range(3))
    assert second.image.shape == (3, 30, 40)
    assert second.image[:, 0, 0].tolist() == [7, 100, 200]  # RGB
    assert first.target.boxes.tolist() == [[0, 0, 64, 64], [10.5, 20.25, 40.5, 28.25]]
    assert first.target.labels.tolist() == [0, 1]  # by category id, whatever their order in the file
    assert (second.target.size, second.target.image_id) == ((30, 40), 7)
    assert (empty.target.boxes.shape, empty.target.labels.shape) == ((0, 4), (0,))
    assert dataset[0] is first


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f["annotations"].append(object_row(6, 99, 2, [0, 0, 5, 5])), "annotation 6 belongs to no image"),
        (lambda f: f["annotations"].append(object_row(6, 7, 1, [0, 0, 5, 5])), "annotation 6 has the unknown category 1"),
        (lambda f: f.pop("categories"), "it has no categories"),
        (lambda f: f["annotations"][0].pop("bbox"), "boxes.json"),
        (lambda f: f["annotations"][0].update(bbox=[1, 2]), "boxes.json"),
        (lambda f: f["annotations"][0].update(bbox=None), "boxes.json"),
        (lambda f: f["images"][0].pop("id"), "boxes.json"),
        (lambda f: f["images"][0].pop("file_name"), "boxes.json"),
        (lambda f: f.update(images=None), "boxes.json"),
        (lambda f: f.update(annotations=[3]), "boxes.json"),
    ],
)
def test_annotations_that_make_no_sense_are_named(coco: Path, change: Any, reason: str) -> None:
    fields = coco_fields()
    change(fields)
    (coco / "boxes.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match=reason):
        open_coco(coco)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"3", b"null"])
def test_an_annotation_file_that_is_none_is_a_sentence(coco: Path, content: bytes) -> None:
    (coco / "boxes.json").write_bytes(content)
    with pytest.raises(UserError, match=r"boxes\.json is not"):
        open_coco(coco)


def test_missing_files_are_named(coco: Path) -> None:
    (coco / "images" / "3.png").unlink()
    with pytest.raises(UserError, match=r"3\.png is missing"):
        open_coco(coco)[0]
    with pytest.raises(UserError, match=r"cannot read .*nowhere\.json"):
        CocoFolder(coco / "images", coco / "nowhere.json")
    with pytest.raises(UserError, match="nowhere is missing"):
        CocoFolder(coco / "nowhere", coco / "boxes.json")


def test_a_picture_of_another_size_than_annotated_is_refused(coco: Path) -> None:
    Image.new("RGB", (64, 48)).save(coco / "images" / "3.png")
    with pytest.raises(UserError, match=r"3\.png is 64x48, but the annotations say 64x64"):
        open_coco(coco)[0]


@pytest.mark.parametrize("content", [b"", b"no picture", b"half"])
def test_a_damaged_picture_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000] if content == b"half" else content)
    for read in (read_image, read_mask):
        with pytest.raises(UserError, match=r"a\.png is not a readable image"):
            read(path)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK"])
def test_pictures_of_every_mode_are_read_as_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (5, 4), (102, 102, 102)).convert(mode).save(path)
    image = read_image(path)
    assert (image.shape, image.dtype) == ((3, 4, 5), torch.uint8)
    assert (image.int() - 102).abs().max() <= 1


def test_a_mask_keeps_its_stored_indices(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2], [254, 255, 7]], np.uint8)
    palette = Image.fromarray(indices).convert("P")
    palette.putdata(indices.ravel().tolist())
    palette.putpalette([(37 * k) % 256 for k in range(768)])
    for picture in (Image.fromarray(indices), palette):
        picture.save(tmp_path / "mask.png")
        assert read_mask(tmp_path / "mask.png").tolist() == indices.tolist()


@pytest.mark.parametrize("mask", [np.full((4, 4), 300, np.uint16), np.zeros((4, 4, 3), np.uint8)])
def test_a_mask_that_is_no_index_mask_is_refused(tmp_path: Path, mask: Any) -> None:
    Image.fromarray(mask).save(tmp_path / "mask.png")
    with pytest.raises(UserError, match=r"mask\.png is not .*mask"):
        read_mask(tmp_path / "mask.png")


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Two pictures with masks."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for k, name in enumerate(("b", "a")):
        Image.new("RGB", (6, 4), (k, k, k)).save(tmp_path / "images" / f"{name}.png")
        Image.new("L", (6, 4), k).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def open_masks(folder: Path, names: list[str] | None = None) -> MaskFolder:
    return MaskFolder(folder / "images", folder / "masks", lambda mask: mask.long() + 1, names)


def test_a_mask_folder_pairs_by_stem_in_order(masks: Path) -> None:
    (masks / "images" / "notes.txt").write_text("no picture")
    dataset = open_masks(masks)
    assert [dataset[k].name for k in range(len(dataset))] == ["a.png", "b.png"]
    assert dataset[0].image.unique().tolist() == [1]
    assert (dataset[0].target.unique().tolist(), dataset[0].target.dtype) == ([2], torch.int64)
    assert [open_masks(masks, ["b"])[0].name] == ["b.png"]


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def renamed(folder: Path) -> None:
    (folder / "images" / "7.png").rename(folder / "images" / "8.png")
    edited(folder / "boxes.json", lambda fields: next(r for r in fields["images"] if r["id"] == 7).update(file_name="8.png"))


CHANGES_OF_COCO: dict[str, Callable[[Path], None]] = {
    "a box": lambda folder: edited(folder / "boxes.json", lambda fields: fields["annotations"][0].update(bbox=[5, 6, 10, 13])),
    "a label": lambda folder: edited(folder / "boxes.json", lambda fields: fields["annotations"][0].update(category_id=2)),
    "an object less": lambda folder: edited(folder / "boxes.json", lambda fields: fields["annotations"].pop()),
    "an image of another size": lambda folder: Image.new("RGB", (400, 300), (1, 2, 3)).save(folder / "images" / "7.png"),
    "an image renamed": renamed,
}


@pytest.mark.parametrize("change", CHANGES_OF_COCO)
def test_a_changed_coco_folder_has_another_fingerprint(coco: Path, change: str) -> None:
    before = open_coco(coco).fingerprint()
    (coco / "boxes.json").write_text(json.dumps(coco_fields() | {"info": "new"}, indent=2))
    assert open_coco(coco).fingerprint() == before
    CHANGES_OF_COCO[change](coco)
    assert open_coco(coco).fingerprint() != before


def renamed_everywhere(folder: Path, old: str, new: str) -> None:
    for kind in ("images", "masks"):
        (folder / kind / old).rename(folder / kind / new)


CHANGES_OF_MASKS: dict[str, Callable[[Path], None]] = {
    "a pixel of a mask": lambda folder: Image.new("L", (6, 4), 3).save(folder / "masks" / "a.png"),
    "an image of another size": lambda folder: Image.new("RGB", (60, 40), (1, 2, 3)).save(folder / "images" / "a.png"),
    "an image renamed": lambda folder: renamed_everywhere(folder, "b.png", "c.png"),
    "an image less": lambda folder: (folder / "images" / "b.png").unlink(),
}


@pytest.mark.parametrize("change", CHANGES_OF_MASKS)
def test_a_changed_mask_folder_has_another_fingerprint(masks: Path, change: str) -> None:
    before = open_masks(masks).fingerprint()
    CHANGES_OF_MASKS[change](masks)
    assert open_masks(masks).fingerprint() != before


def test_the_fingerprint_of_masks_names_the_split_and_the_labels_but_no_order_on_disk(masks: Path, tmp_path: Path) -> None:
    made = open_masks(masks).fingerprint()
    assert open_masks(masks, ["a"]).fingerprint() != made
    assert MaskFolder(masks / "images", masks / "masks", lambda mask: mask.long()).fingerprint() != made
    copy = tmp_path / "elsewhere"
    for kind in ("images", "masks"):
        (copy / kind).mkdir(parents=True)
        for name in ("b", "a") if kind == "images" else ("a", "b"):
            shutil.copy(masks / kind / f"{name}.png", copy / kind)
    assert open_masks(copy).fingerprint() == made


def test_generated_images_are_named_by_what_makes_them_and_not_by_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    made = shapes_data.pictures("val")
    monkeypatch.setattr(made, "coco", {})
    assert made.fingerprint() == shapes_data.pictures("val").fingerprint()
    others = [shapes_data.pictures("train").fingerprint(), shapes_data.masks("val", lambda mask: mask).fingerprint()]
    assert len({made.fingerprint(), *others}) == 3
    monkeypatch.setattr(shapes_data, "VERSION", shapes.VERSION + 1)
    assert shapes_data.pictures("val").fingerprint() != made.fingerprint()


def test_an_edited_base_config_is_another_recognizer(tmp_path: Path) -> None:
    base = "model = dict(type='Any', backbone=dict(type='ResNet', depth=18, init_cfg=None))\n"
    found = []
    for folder, content in (("one", base), ("two", base), ("three", base.replace("18", "34"))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "base.py").write_text(content)
        (tmp_path / folder / "config.py").write_text("_base_ = ['./base.py']\nmodel = dict(neck=None)\n")
        found.append(models.config_fingerprint(str(tmp_path / folder / "config.py")))
    assert found[0] == found[1] != found[2]


def test_mask_folder_errors_name_the_file(masks: Path) -> None:
    with pytest.raises(UserError, match="no image called c"):
        open_masks(masks, ["a", "c"])
    Image.new("L", (4, 6)).save(masks / "masks" / "b.png")
    with pytest.raises(UserError, match=r"b\.png and its image differ in size"):
        open_masks(masks)[1]
    (masks / "masks" / "b.png").unlink()
    with pytest.raises(UserError, match=r"b\.png is missing"):
        open_masks(masks)
    with pytest.raises(UserError, match="nowhere is missing"):
        MaskFolder(masks / "images", masks / "nowhere", lambda mask: mask)
    (masks / "empty").mkdir()
    with pytest.raises(UserError, match="has no images"):
        MaskFolder(masks / "empty", masks / "masks", lambda mask: mask)


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


def test_mean_iou_is_that_of_a_confusion_matrix_counted_by_hand() -> None:
    truth = torch.tensor([[0, 0, 0, 1], [1, 1, 2, 255]])
    found = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 2]])
    metric = MeanIoU(["a", "b", "c", "absent"])
    own = metric.update(Sample(torch.zeros(3, 2, 4), truth, "x"), found)
    # truth by prediction: a: 2 a, 1 b; b: 1 a, 2 b; c: 1 a. Unions: a 5, b 4, c 1.
    assert metric.confusion[:3, :3].tolist() == [[2, 1, 0], [1, 2, 0], [1, 0, 0]]
    assert own["score"] == pytest.approx(100 * 4 / 7)
    assert metric.compute() == pytest.approx(
        {
            "mIoU": 100 * (2 / 5 + 2 / 4 + 0) / 3,
            "aAcc": 100 * 4 / 7,
            "mAcc": 100 * (2 / 3 + 2 / 3 + 0) / 3,
            "IoU.a": 40.0,
            "IoU.b": 50.0,
            "IoU.c": 0.0,
        }
    )


def test_a_class_found_where_there_is_none_counts_in_the_mean_iou_but_not_in_the_recall() -> None:
    metric = MeanIoU(["a", "b"])
    metric.update(Sample(torch.zeros(3, 1, 4), torch.tensor([[0, 0, 0, 0]]), "x"), torch.tensor([[0, 0, 0, 1]]))
    assert metric.compute() == pytest.approx({"mIoU": 37.5, "aAcc": 75, "mAcc": 75, "IoU.a": 75, "IoU.b": 0})


def test_merged_mean_iou_equals_one_pass() -> None:
    generator = torch.Generator().manual_seed(0)
    parts, whole = [MeanIoU("abc"), MeanIoU("abc")], MeanIoU("abc")
    for k in range(6):
        truth, found = torch.randint(0, 3, (2, 8, 9), generator=generator)
        truth[0, :k] = 255
        for metric in (parts[k % 2], whole):
            metric.update(Sample(torch.zeros(3, 8, 9), truth, "x"), found)
    parts[0].merge(parts[1])
    assert parts[0].compute() == whole.compute()


def score(metric: AveragePrecision) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        return metric.compute()


def perfect(sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
    return sample.target.boxes, torch.ones(len(sample.target.labels)), sample.target.labels


def test_perfect_detections_score_100_with_corner_boxes_and_category_ids_with_gaps(coco: Path) -> None:
    fields = coco_fields()
    fields["annotations"].pop()  # the box without area: COCO counts it, but it is no target
    (coco / "boxes.json").write_text(json.dumps(fields))
    dataset = open_coco(coco)
    metric = AveragePrecision(dataset)
    for k in range(len(dataset)):
        metric.update(dataset[k], perfect(dataset[k]))
    found = score(metric)
    assert {name: found[name] for name in ("AP", "AP50", "AP75")} == pytest.approx({"AP": 100, "AP50": 100, "AP75": 100})


def test_detections_of_the_wrong_place_class_or_none_at_all_score_0(coco: Path) -> None:
    dataset = open_coco(coco)
    shifted, swapped, silent = (AveragePrecision(dataset) for _ in range(3))
    for k in range(len(dataset)):
        boxes, scores, labels = perfect(dataset[k])
        shifted.update(dataset[k], (boxes + 1000, scores, labels))
        swapped.update(dataset[k], (boxes, scores, 1 - labels))
        silent.update(dataset[k], (torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)))
    for metric in (shifted, swapped, silent):
        assert score(metric)["AP"] == score(metric)["AP50"] == 0


def test_a_box_of_half_the_area_counts_up_to_its_overlap(coco: Path) -> None:
    dataset = open_coco(coco)
    metric = AveragePrecision(dataset)
    (box,) = dataset[1].target.boxes
    narrow = box.clone()
    narrow[2] -= 0.38 * (box[2] - box[0])  # IoU 0.62: right at the thresholds 0.50, 0.55 and 0.60 of ten
    metric.update(dataset[1], (narrow[None], torch.ones(1), dataset[1].target.labels))
    found = score(metric)
    assert (found["AP"], found["AP50"], found["AP75"]) == pytest.approx((30, 100, 0))


def test_only_pictures_that_were_seen_count(coco: Path) -> None:
    dataset = open_coco(coco)
    metric = AveragePrecision(dataset)
    metric.update(dataset[1], perfect(dataset[1]))
    assert score(metric)["AP"] == pytest.approx(100)


def test_merged_average_precision_equals_one_pass(coco: Path) -> None:
    dataset = open_coco(coco)
    generator = torch.Generator().manual_seed(0)
    parts, whole = [AveragePrecision(dataset), AveragePrecision(dataset)], AveragePrecision(dataset)
    for k in range(3):
        boxes, _, labels = perfect(dataset[k])
        false = torch.rand(4, 4, generator=generator).sort(1).values * 30
        found = (torch.cat([boxes + 1, false]), torch.rand(len(boxes) + 4, generator=generator),
                 torch.cat([labels, torch.tensor([0, 1, 0, 1])]))  # fmt: skip
        for metric in (parts[k % 2], whole):
            metric.update(dataset[k], found)
    parts[0].merge(parts[1])
    once = score(whole)
    assert score(parts[0]) == pytest.approx(once)
    assert score(whole) == once
    assert 0 < once["AP"] < 100


def test_annotations_without_area_and_crowd_flag_are_scored_too(coco: Path) -> None:
    fields = coco_fields()
    for row in fields["annotations"]:
        del row["area"]
        if not row["iscrowd"]:
            del row["iscrowd"]
    (coco / "boxes.json").write_text(json.dumps(fields))
    dataset = open_coco(coco)
    metric = AveragePrecision(dataset)
    metric.update(dataset[1], perfect(dataset[1]))
    assert score(metric)["AP"] == pytest.approx(100)
