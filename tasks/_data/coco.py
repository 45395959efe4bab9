"""COCO-format folders: images and one JSON of boxes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icmbench.api import Dataset, Sample, UserError, fingerprint
from icmbench.tasks._data.annotations import CategoryRow, ObjectRow, check_boxes, read_annotations
from icmbench.tasks._data.checks import check_once, side_by_side, strays
from icmbench.tasks._data.images import SUFFIXES, Kept, read_image, size_of

USED = {  # fields of the annotation file that samples and scores depend on
    "images": ("id", "file_name", "height", "width"),
    "categories": ("id", "name"),
    "annotations": ("image_id", "category_id", "bbox", "area", "iscrowd"),
}


@dataclass(frozen=True)
class Boxes:
    """Objects of one image: `boxes` float32 [N, 4] (x0, y0, x1, y1 in pixels), `labels` int64 [N] (0-based).

    `size` is the (height, width) of the image or, in training, of the crop.
    """

    boxes: Tensor
    labels: Tensor
    size: tuple[int, int]
    image_id: int


class CocoFolder(Dataset):
    """A folder of images with its annotation file.

    As in mmdetection, targets do not contain crowds, and no objects without area or with a side under one pixel.
    `classes` are the names of the network's classes in its order, which is then that of the labels; without them, labels follow
    the categories' ids. `subset` says that the folder has images that are not to be used. `origin` identifies generated content
    instead of the files, whose bytes depend on the encoder. Raises UserError for missing folders, damaged annotations, and
    categories that are no class.
    """

    def __init__(
        self, images: Path, annotations: Path, origin: str = "", classes: Sequence[str] = (), subset: bool = False
    ) -> None:
        if not images.is_dir():
            raise UserError(f"the folder {images} is missing.")
        self.folder, self.annotations, self.origin, self.subset = images, annotations, origin, subset
        self.coco = read_annotations(annotations)
        self.categories = self._by_label(classes)
        self.label_of = {row["id"]: label for label, row in enumerate(self.categories)}
        self.images = sorted(self.coco["images"], key=lambda row: row["id"])
        self.files = [images / row["file_name"] for row in self.images]
        self.objects: dict[int, list[ObjectRow]] = {row["id"]: [] for row in self.images}
        for row in filter(_is_target, self.coco["annotations"]):
            self.objects[row["image_id"]].append(row)
        self.kept: Kept[Sample] = Kept()

    def _by_label(self, classes: Sequence[str]) -> list[CategoryRow]:
        """The categories in the order of their labels; a class that the file lacks gets an id that is free."""
        listed = sorted(self.coco["categories"], key=lambda row: row["id"])
        if not classes:
            return listed
        ids = {row["name"]: row["id"] for row in listed}
        for name, number in ids.items():
            if name not in classes:
                raise UserError(f"{self.annotations}: the category '{name}' (id {number}) is no class of the network.")
        free = max(ids.values(), default=0) + 1
        return [{"id": ids.get(name, free + label), "name": name} for label, name in enumerate(classes)]

    def check(self) -> None:
        """Look at all that can be wrong in boxes and images; of the files only headers are read. Raises UserError."""
        if self.origin:
            return
        sizes = [(row["height"], row["width"]) for row in self.images]
        check_once(self.files, sizes, self._check_sizes)
        check_boxes(self.annotations, self.coco)
        if not any(self.objects.values()):
            raise UserError(f"{self.annotations} has no object: none of at least one pixel that is no crowd.")

    def _check_sizes(self) -> None:
        for index, size in enumerate(side_by_side(size_of, self.files)):
            self._check_size(index, size)

    def _check_size(self, index: int, size: tuple[int, int]) -> None:
        row = self.images[index]
        stated = (row["height"], row["width"])
        if size != stated:
            hint = ": sides swapped, or EXIF orientation not applied?" if size == stated[::-1] else "."
            found = f"{self.files[index]} (id {row['id']}) is {size[1]}x{size[0]}"
            raise UserError(f"{found}, but the annotations say {stated[1]}x{stated[0]}{hint}")

    def check_unlisted(self, known: Iterable[Path]) -> None:
        """Raises UserError for an image beside those of this split that is not among the `known` ones of both splits."""
        if self.origin or self.subset:
            return
        if lost := strays({path.parent for path in self.files}, known, SUFFIXES):
            many = f"{len(lost)} image files like {lost[0]} are" if len(lost) > 1 else f"the image file {lost[0]} is"
            raise UserError(f"{many} listed in no annotation file; `subset = true` says that this is meant.")

    def __len__(self) -> int:
        return len(self.images)

    def fingerprint(self) -> str:
        """From the images' names and sizes, the used fields of the annotations, and labels that do not follow the ids."""
        ids = [row["id"] for row in self.categories]
        order = [] if ids == sorted(row["id"] for row in self.coco["categories"]) else [ids]
        if self.origin:
            return fingerprint(self.folder, [], self.origin, *order)
        tables: Mapping[str, Any] = self.coco
        content = {kind: [{key: row.get(key) for key in keys} for row in tables[kind]] for kind, keys in USED.items()}
        return fingerprint(self.folder, [row["file_name"] for row in self.images], content, *order)

    def __getitem__(self, index: int) -> Sample:
        if index in self.kept.items:
            return self.kept.items[index]
        row, image = self.images[index], read_image(self.files[index])
        height, width = image.shape[1:]
        self._check_size(index, (height, width))
        objects = self.objects[row["id"]]
        boxes = np.array([item["bbox"] for item in objects], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([self.label_of[item["category_id"]] for item in objects], dtype=torch.int64)
        target = Boxes(torch.from_numpy(boxes), labels, (height, width), row["id"])
        return self.kept.keep(index, Sample(image, target, row["file_name"]), image.numel())


def _is_target(row: ObjectRow) -> bool:
    return not row.get("iscrowd") and row["area"] > 0 and min(row["bbox"][2:]) >= 1
