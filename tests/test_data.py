"""Data sets on disk: how they are read, and what is refused before anything is trained."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from icmbench.api.classes import make_task
from icmbench.api.task import Task
from icmbench.base.errors import UserError
from icmbench.plugins.find import Plugins
from icmbench.tasks._data import checks
from icmbench.tasks._data import shapes as shapes_data
from icmbench.tasks._data.coco import CocoFolder
from icmbench.tasks._data.folders import MaskFolder
from icmbench.tasks._data.images import read_image, read_mask, size_of
from icmbench.tasks._openmmlab import models
from icmbench.tasks._procedural import shapes

SPLITS = ("train", "val")
SIZES = {7: (40, 30), 3: (64, 64), 9: (20, 20)}  # width and height of the images by id
CLASSES = ("bicycle", "dog")
DETECTOR = "model = dict(type='Any', bbox_head=dict(num_classes=2))\n"
SEGMENTER = "model = dict(type='Any', decode_head=dict(num_classes=2))\n"
METAINFO = f"metainfo = dict(classes={CLASSES})\n"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh cache, so that nothing is known to be sound."""
    monkeypatch.setenv("ICMBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


# Detection


def coco_fields() -> dict[str, Any]:
    """Three images, the last without objects; category ids with a gap, as in COCO."""
    boxes = [(7, 18, [5, 6, 10, 12]), (3, 2, [0, 0, 64, 64]), (3, 18, [10.5, 20.25, 30, 8]), (3, 18, [1, 1, 60, 60])]
    return {
        "images": [{"id": k, "file_name": f"{k}.png", "width": w, "height": h} for k, (w, h) in SIZES.items()],
        "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "bicycle"}],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for number, (image, category, box) in enumerate([*boxes, (3, 18, [1, 1, 0, 60])], 1)
        ],
    }


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """The folders `train` and `val` with images and boxes; object 4 of image 3 is a crowd, object 5 has no width."""
    for split in SPLITS:
        (tmp_path / split / "images").mkdir(parents=True)
        for number, size in SIZES.items():
            Image.new("RGB", size, (number, 100, 200)).save(tmp_path / split / "images" / f"{number}.png")
        fields = coco_fields()
        fields["annotations"][3]["iscrowd"] = 1
        (tmp_path / split / "boxes.json").write_text(json.dumps(fields))
    return tmp_path


def detection(folder: Path, config: str = DETECTOR + METAINFO, **more: Any) -> Task:
    (folder / "config.py").write_text(config)
    data = {s: {"images": folder / s / "images", "annotations": folder / s / "boxes.json", **more} for s in SPLITS}
    return make_task(Plugins(), "detection", {"source": "coco", **data}, {"config": str(folder / "config.py")})


def open_coco(folder: Path) -> CocoFolder:
    return CocoFolder(folder / "train" / "images", folder / "train" / "boxes.json")


def test_a_coco_folder_gives_images_with_corner_boxes_and_dense_labels(coco: Path) -> None:
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


Change = Callable[[Path], object]


def edit(change: Callable[[dict[str, Any]], object]) -> Change:
    """A change of the annotation file of a split."""

    def apply(split: Path) -> None:
        fields = json.loads((split / "boxes.json").read_text())
        change(fields)
        (split / "boxes.json").write_text(json.dumps(fields))

    return apply


def row(kind: str, number: int, **fields: Any) -> Change:
    """A change of one row of the annotation file."""
    return edit(lambda content: content[kind][number].update(fields))


def without(kind: str, number: int, field: str) -> Change:
    return edit(lambda content: content[kind][number].pop(field))


def box(*values: float) -> Change:
    return row("annotations", 0, bbox=list(values))


def scaled(content: dict[str, Any]) -> None:
    for item in content["annotations"]:
        item["bbox"] = [value / 64 for value in item["bbox"]]


def content(data: bytes) -> Change:
    return lambda split: (split / "boxes.json").write_bytes(data)


def image(name: str, size: tuple[int, int] = (64, 64), mode: str = "RGB", **options: Any) -> Change:
    return lambda split: Image.new(mode, size).save(split / "images" / name, **options)


def turned(orientation: int) -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


FAULTS_OF_COCO: dict[str, tuple[Change, str]] = {
    "no file": (lambda split: (split / "boxes.json").unlink(), r"cannot read .*boxes\.json: No such file"),
    "empty file": (content(b""), r"boxes\.json is not valid JSON"),
    "half a file": (content(b"{"), r"boxes\.json is not valid JSON"),
    "no text": (content(b"\xff\xfe"), r"boxes\.json is not valid JSON"),
    "a list": (content(b"[]"), r"boxes\.json is not a COCO annotation file: input should be an object"),
    "no categories": (edit(lambda fields: fields.pop("categories")), "categories: field required"),
    "images are null": (edit(lambda fields: fields.update(images=None)), "images: input should be a valid array"),
    "a row is a number": (edit(lambda fields: fields.update(annotations=[3])), "annotations, row 0, id None: input should be"),
    "no box": (without("annotations", 1, "bbox"), "annotations, row 1, id 2: bbox: field required"),
    "a box of two": (box(1, 2), "annotations, row 0, id 1: bbox: list should have at least 4 items"),
    "no file name": (without("images", 0, "file_name"), "images, row 0, id 7: file_name: field required"),
    "text as id": (row("images", 1, id="3"), "images, row 1, id 3: id: input should be a valid integer"),
    "half an id": (row("annotations", 0, id=1.5), "annotations, row 0, id 1.5: id: input should be a valid integer"),
    "image id twice": (row("images", 1, id=7), "the image id 7 is in two rows"),
    "annotation id twice": (row("annotations", 1, id=1), "the annotation id 1 is in two rows"),
    "category id twice": (row("categories", 1, id=18), "the category id 18 is in two rows"),
    "category name twice": (row("categories", 1, name="dog"), "the category name dog is in two rows"),
    "one image twice": (row("images", 2, file_name="./7.png"), r"the image file 7\.png is in two rows"),
    "unknown image": (row("annotations", 2, image_id=99), "annotation 3 belongs to no image of the file, its image id is 99"),
    "unknown category": (row("annotations", 2, category_id=1), "annotation 3 has the unknown category id 1"),
    "a class too many": (
        edit(lambda fields: fields["categories"].append({"id": 5, "name": "cat"})),
        r"the category 'cat' \(id 5\) is no class of the network",
    ),
    "NaN in a box": (box(5, float("nan"), 9, 9), "annotations, row 0, id 1: bbox: input should be a finite number"),
    "negative area": (
        row("annotations", 0, area=-1),
        "annotations, row 0, id 1: area: input should be greater than or equal",
    ),
    "negative side": (box(30, 6, -10, 12), r"the box \[30, 6, -10, 12\] of annotation 1 has a negative side"),
    "corners": (box(20, 6, 30, 18), r"the box \[20, 6, 30, 18\] of annotation 1 reaches out of its image.*\(image 7: 40x30\)"),
    "left of the image": (box(-5, 6, 10, 12), "annotation 1 reaches out of its image"),
    "boxes in parts of the image": (edit(scaled), "all boxes end before pixel 2"),
    "no objects": (edit(lambda fields: fields.update(annotations=[])), r"boxes\.json has no object"),
    "nothing but crowds": (
        edit(lambda fields: [item.update(iscrowd=1) for item in fields["annotations"]]),
        r"boxes\.json has no object",
    ),
    "no image": (lambda split: (split / "images" / "3.png").unlink(), r"3\.png is missing"),
    "another size": (image("3.png", (64, 48)), r"3\.png \(id 3\) is 64x48, but the annotations say 64x64\."),
    "a turned image": (image("7.png", (40, 30), **turned(6)), r"7\.png \(id 7\) is 30x40, but the .* 40x30: .*EXIF"),
    "damaged image": (lambda split: (split / "images" / "3.png").write_bytes(b"none"), r"3\.png is not a readable image"),
    "an image that nothing lists": (image("8.jpg"), r"the image file .*8\.jpg is listed in no annotation file"),
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("fault", FAULTS_OF_COCO)
def test_a_fault_of_a_coco_folder_is_one_sentence_before_training(coco: Path, fault: str, split: str) -> None:
    change, sentence = FAULTS_OF_COCO[fault]
    change(coco / split)
    with pytest.raises(UserError, match=sentence) as caught:
        detection(coco).check_data()
    assert f"/{split}/" in str(caught.value)
    assert "\n" not in str(caught.value)


def swapped(fields: dict[str, Any]) -> None:
    """The classes in another order, by ids and rows."""
    fields["categories"] = [{"id": 40, "name": "bicycle"}, {"id": 18, "name": "dog"}]
    fields["annotations"][1]["category_id"] = 40


MENDED: dict[str, Change] = {
    "no area": edit(lambda fields: [item.pop("area") for item in fields["annotations"]]),
    "no crowd flags": edit(lambda fields: [item["iscrowd"] or item.pop("iscrowd") for item in fields["annotations"]]),
    "classes in another order": edit(swapped),
    "polygons": row("annotations", 0, segmentation=[[5, 6, 15, 6, 15, 18]]),
    "a box over the edge by rounding": row("annotations", 1, bbox=[0, 0, 64, 64.5]),
    "a turned image": image("7.png", (30, 40), **turned(6)),
    "16-bit grey": image("3.png", mode="I;16"),
}


@pytest.mark.parametrize("change", MENDED)
def test_what_is_certain_is_mended(coco: Path, change: str) -> None:
    edit(lambda fields: fields["annotations"].pop())(coco / "val")  # the object without width, which nobody can find
    MENDED[change](coco / "val")
    task = detection(coco)
    task.check_data()
    dataset: Any = task.dataset("val")
    assert [dataset[k].target.labels.tolist() for k in range(3)] == [[0, 1], [1], []]
    assert [item["area"] for item in dataset.coco["annotations"]] == [120, 4096, 240, 3600]
    metric = task.metric()
    for sample in (dataset[k] for k in range(3)):
        metric.update(sample, (sample.target.boxes, torch.ones(len(sample.target.labels)), sample.target.labels))
    assert metric.compute() == pytest.approx({"AP": 100, "AP50": 100, "AP75": 100, "APs": 100, "APm": 100})


def test_a_class_that_a_split_lacks_keeps_its_label(coco: Path) -> None:
    edit(lambda fields: fields.update(categories=fields["categories"][:1], annotations=fields["annotations"][:1]))(coco / "val")
    task = detection(coco)
    task.check_data()
    dataset: Any = task.dataset("val")
    assert dataset[1].target.labels.tolist() == [1]
    metric = task.metric()
    metric.update(dataset[1], (dataset[1].target.boxes.repeat(2, 1), torch.ones(2), torch.tensor([1, 0])))
    assert metric.compute()["AP"] == pytest.approx(100)


@pytest.mark.parametrize("split", SPLITS)
def test_a_network_that_names_no_classes_needs_as_many_and_the_same_in_both_splits(coco: Path, split: str) -> None:
    row("categories", 0, name="cat")(coco / split)
    with pytest.raises(UserError, match="the categories of the splits differ: bicycle, "):
        detection(coco, DETECTOR).check_data()
    edit(lambda fields: fields["categories"].append({"id": 5, "name": "cow"}))(coco / split)
    with pytest.raises(UserError, match=rf"the recogniser has 2 classes, but .*/{split}/boxes\.json has 3"):
        detection(coco, DETECTOR).check_data()


def test_an_image_of_the_other_split_or_of_a_subset_is_not_lost(coco: Path) -> None:
    shutil.copytree(coco / "train" / "images", coco / "val" / "images", dirs_exist_ok=True)
    image("8.jpg")(coco / "val")
    detection(coco, subset=True).check_data()
    row("images", 0, file_name="../../val/images/8.jpg", width=64, height=64)(coco / "train")
    (coco / "train" / "images" / "7.png").unlink()
    detection(coco).check_data()


def test_missing_folders_are_named(coco: Path) -> None:
    with pytest.raises(UserError, match="nowhere is missing"):
        CocoFolder(coco / "nowhere", coco / "train" / "boxes.json")
    with pytest.raises(UserError, match="nowhere is missing"):
        MaskFolder(coco / "train" / "images", coco / "nowhere", lambda mask: mask)


# Images


READ = ["1 png", "L png", "P png", "LA png", "RGBA png", "I;16 png", "L jpg", "RGB jpg", "CMYK jpg", "RGB webp", "I;16 tif"]


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_images_are_read_as_mmcv_reads_them(tmp_path: Path, kind: str, orientation: int) -> None:
    mode, suffix = kind.split()
    path, rng = tmp_path / f"a.{suffix}", np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (40, 60, 3), np.uint8), (0, 0), 3)
    made = Image.fromarray(smooth).convert(mode if mode != "I;16" else "L")
    if mode == "I;16":
        made = Image.fromarray(rng.integers(0, 65536, (40, 60)).astype(np.uint16))
    made.save(path, **turned(orientation if suffix != "tif" else 1))  # OpenCV cannot read a turned TIFF
    read, expected = read_image(path), cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert expected is not None
    assert read.dtype == torch.uint8
    assert size_of(path) == tuple(read.shape[1:])
    difference = read.permute(1, 2, 0).numpy().astype(int) - expected[..., ::-1]
    assert abs(difference).max() <= (1 if mode == "CMYK" else 0)


@pytest.mark.parametrize("mode", ["I", "F", "RGBA"])
def test_pixels_without_certain_colours_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / "a.tif")
    for read in (read_image, size_of):
        with pytest.raises(UserError, match=rf"a\.tif is not a readable image: pixels of the kind {mode}"):
            read(tmp_path / "a.tif")


def test_an_image_above_the_pixel_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(UserError, match=r"a\.png is too large: an image may have at most 1800 pixels"):
        size_of(tmp_path / "a.png")


@pytest.mark.parametrize("data", [b"", b"no image", b"half"])
def test_a_damaged_image_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000] if data == b"half" else data)
    for read in (read_image, read_mask):
        with pytest.raises(UserError, match=r"a\.png is not a readable image"):
            read(path)


# Segmentation


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """The folders `train` and `val` with the images a and b, and masks of the classes 0 and 1."""
    for split in SPLITS:
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        for number, name in enumerate(("b", "a")):
            Image.new("RGB", (6, 4), (number, number, number)).save(tmp_path / split / "images" / f"{name}.png")
            Image.new("L", (6, 4), number).save(tmp_path / split / "masks" / f"{name}.png")
    return tmp_path


def segmentation(folder: Path, config: str = SEGMENTER + METAINFO, classes: tuple[str, ...] = CLASSES, **more: Any) -> Task:
    (folder / "config.py").write_text(config)
    data = {split: {"images": folder / split / "images", "masks": folder / split / "masks", **more} for split in SPLITS}
    options = {"source": "folders", "classes": classes, "ignore": 11, **data}
    return make_task(Plugins(), "segmentation", options, {"config": str(folder / "config.py")})


def open_masks(folder: Path, names: list[str] | None = None) -> MaskFolder:
    return MaskFolder(folder / "train" / "images", folder / "train" / "masks", lambda mask: mask.long() + 1, names)


def test_a_mask_folder_pairs_by_stem_in_order(masks: Path) -> None:
    (masks / "train" / "images" / "notes.txt").write_text("no image")
    dataset = open_masks(masks)
    assert [dataset[k].name for k in range(len(dataset))] == ["a.png", "b.png"]
    assert dataset[0].image.unique().tolist() == [1]
    assert (dataset[0].target.unique().tolist(), dataset[0].target.dtype) == ([2], torch.int64)
    assert [open_masks(masks, ["b"])[0].name] == ["b.png"]


def mask(value: int, size: tuple[int, int] = (6, 4), mode: str = "L", name: str = "b") -> Change:
    return lambda split: Image.new(mode, size, value).save(split / "masks" / f"{name}.png")


def all_masks(value: int) -> Change:
    return lambda split: [mask(value, name=name)(split) for name in ("a", "b")]


FAULTS_OF_MASKS: dict[str, tuple[Change, str]] = {
    "no mask": (lambda split: (split / "masks" / "b.png").unlink(), r"b\.png is missing: every image needs a mask"),
    "another size": (mask(0, (4, 6)), r"b\.png and its image b\.png differ in size: 4x6 and 6x4"),
    "an unknown class": (mask(2), r"b\.png has the value 2, which is no class and not ignored"),
    "a mask in colours": (mask(0, mode="RGB"), r"b\.png is not a readable image: an index mask has one channel"),
    "16 bits with large values": (mask(300, mode="I;16"), "values up to 255, and this is I;16, up to 300"),
    "nothing but void": (all_masks(255), "masks tell no classes apart: 0 occur"),
    "one class": (all_masks(1), "masks tell no classes apart: 1 occur"),
    "a stem twice": (image("b.jpg", (6, 4)), r"images has two images called b: b\.jpg and b\.png"),
    "a mask without image": (lambda split: (split / "images" / "b.png").unlink(), r"masks/b\.png has no image in .*images"),
    "an image of another kind": (
        lambda split: (split / "images" / "b.png").rename(split / "images" / "b.gif"),
        r"masks/b\.png has no image in .*images; images end in",
    ),
    "no images": (lambda split: [path.unlink() for path in (split / "images").iterdir()], "images has no images"),
    "damaged image": (lambda split: (split / "images" / "b.png").write_bytes(b"none"), r"b\.png is not a readable image"),
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("fault", FAULTS_OF_MASKS)
def test_a_fault_of_a_mask_folder_is_one_sentence_before_training(masks: Path, fault: str, split: str) -> None:
    change, sentence = FAULTS_OF_MASKS[fault]
    change(masks / split)
    with pytest.raises(UserError, match=sentence) as caught:
        segmentation(masks).check_data()
    assert f"/{split}/" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [("a\nc", "no image called c"), ("a\nb\na", "the image a of .* is chosen twice"), ("", "none is chosen")],
)
def test_a_list_of_names_is_taken_at_its_word(masks: Path, names: str, sentence: str) -> None:
    (masks / "names.txt").write_text(names)
    with pytest.raises(UserError, match=sentence):
        segmentation(masks, names=masks / "names.txt").check_data()


def test_the_classes_of_the_data_options_are_those_of_the_network(masks: Path) -> None:
    with pytest.raises(UserError, match="class 0 of the recogniser is 'bicycle', but the data options has 'dog' there"):
        segmentation(masks, classes=("dog", "bicycle"))
    with pytest.raises(UserError, match="the recogniser has 2 classes, but the data options has 3"):
        segmentation(masks, SEGMENTER, classes=("dog", "bicycle", "cat"))
    segmentation(masks, SEGMENTER, classes=("dog", "bicycle")).check_data()  # the network does not name its classes


@pytest.mark.parametrize("change", [mask(11), mask(255), mask(1, mode="I;16"), mask(1, mode="1"), mask(1, mode="P")])
def test_masks_whose_meaning_is_certain_are_read(masks: Path, change: Change) -> None:
    mask(0, name="a")(masks / "val")
    Image.fromarray(np.array([[0, 1, 1, 0, 0, 1]] * 4, np.uint8)).save(masks / "val" / "masks" / "a.png")
    change(masks / "val")
    task = segmentation(masks)
    task.check_data()
    assert task.dataset("val")[1].target.unique().tolist() in ([255], [1])


# What is remembered


def test_a_file_is_looked_at_again_only_after_a_change(masks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segmentation(masks).check_data()
    with monkeypatch.context() as patched:
        patched.setattr(checks, "side_by_side", lambda *_: pytest.fail("looked again"))
        patched.setattr("icmbench.tasks._data.folders.side_by_side", lambda *_: pytest.fail("looked again"))
        segmentation(masks).check_data()
    before = (masks / "val" / "masks" / "b.png").stat()
    mask(7)(masks / "val")
    os.utime(masks / "val" / "masks" / "b.png", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(UserError, match="the value 7"):
        segmentation(masks).check_data()


def small_shapes(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shapes, "SPLITS", {"train": (0, 3, 128), "val": (1_000_000, 2, 128)})
    return shapes_data.pictures("val").folder


@pytest.mark.parametrize("harm", ["deleted", "swapped", "replaced", "annotations"])
def test_a_generated_image_that_was_harmed_is_made_again(monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    folder = small_shapes(monkeypatch)
    first, second = folder / "000000.png", folder / "000001.png"
    whole = first.read_bytes()
    if harm == "deleted":
        first.unlink()
    elif harm == "swapped":
        for path, data in ((first, second.read_bytes()), (second, whole)):
            path.write_bytes(data)
    elif harm == "replaced":
        Image.new("RGB", (128, 128)).save(first)
    else:
        (folder.parents[1] / "annotations" / "val.json").write_text("{}")
    assert shapes_data.pictures("val").folder == folder
    assert first.read_bytes() == whole
    assert len(shapes_data.masks("val", lambda mask: mask)) == 2


def test_generated_images_that_are_whole_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    small_shapes(monkeypatch)
    monkeypatch.setattr(shapes, "picture", lambda *_: pytest.fail("made again"))
    assert len(shapes_data.pictures("train")) == 3


# Fingerprints

CHANGES_OF_COCO: dict[str, Change] = {
    "a box": box(5, 6, 10, 13),
    "a label": row("annotations", 0, category_id=2),
    "an object less": edit(lambda fields: fields["annotations"].pop()),
    "an image of another size": image("7.png", (400, 300)),
    "an image renamed": lambda split: (
        (split / "images" / "7.png").rename(split / "images" / "8.png"),
        row("images", 0, file_name="8.png")(split),
    ),
}


@pytest.mark.parametrize("change", CHANGES_OF_COCO)
def test_a_changed_coco_folder_has_another_fingerprint(coco: Path, change: str) -> None:
    before = open_coco(coco).fingerprint()
    edit(lambda fields: fields.update(info="new"))(coco / "train")
    assert open_coco(coco).fingerprint() == before
    CHANGES_OF_COCO[change](coco / "train")
    assert open_coco(coco).fingerprint() != before


def test_the_order_of_the_network_s_classes_is_in_the_fingerprint_if_it_is_not_that_of_the_ids(coco: Path) -> None:
    made = [CocoFolder(coco / "val" / "images", coco / "val" / "boxes.json", classes=names).fingerprint()
            for names in ((), ("bicycle", "dog"), ("dog", "bicycle"), ("bicycle", "dog", "cat"))]  # fmt: skip
    assert made[0] == made[1]
    assert len(set(made)) == 3


CHANGES_OF_MASKS: dict[str, Change] = {
    "a pixel of a mask": mask(3),
    "an image of another size": image("a.png", (60, 40)),
    "an image renamed": lambda split: [(split / kind / "b.png").rename(split / kind / "c.png") for kind in ("images", "masks")],
    "an image less": lambda split: (split / "images" / "b.png").unlink(),
}


@pytest.mark.parametrize("change", CHANGES_OF_MASKS)
def test_a_changed_mask_folder_has_another_fingerprint(masks: Path, change: str) -> None:
    before = open_masks(masks).fingerprint()
    CHANGES_OF_MASKS[change](masks / "train")
    assert open_masks(masks).fingerprint() != before


def test_the_fingerprint_of_masks_names_the_split_and_the_labels_but_no_place_on_disk(masks: Path, tmp_path: Path) -> None:
    made = open_masks(masks).fingerprint()
    assert open_masks(masks, ["a"]).fingerprint() != made
    folder = masks / "train"
    assert MaskFolder(folder / "images", folder / "masks", lambda mask: mask.long()).fingerprint() != made
    shutil.copytree(folder, tmp_path / "elsewhere" / "train")
    assert open_masks(tmp_path / "elsewhere").fingerprint() == made


def test_generated_images_are_named_by_what_makes_them_and_not_by_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    small_shapes(monkeypatch)
    made = shapes_data.pictures("val")
    others = [shapes_data.pictures("train").fingerprint(), shapes_data.masks("val", lambda mask: mask).fingerprint()]
    assert len({made.fingerprint(), *others}) == 3
    monkeypatch.setattr(shapes_data, "VERSION", shapes.VERSION + 1)
    assert shapes_data.pictures("val").fingerprint() != made.fingerprint()


def test_an_edited_base_config_is_another_recognizer(tmp_path: Path) -> None:
    base = "model = dict(type='Any', backbone=dict(type='ResNet', depth=18, init_cfg=None))\n"
    found = []
    for folder, text in (("one", base), ("two", base), ("three", base.replace("18", "34"))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "base.py").write_text(text)
        (tmp_path / folder / "config.py").write_text("_base_ = ['./base.py']\nmodel = dict(neck=None)\n")
        found.append(models.config_fingerprint(str(tmp_path / folder / "config.py")))
    assert found[0] == found[1] != found[2]
