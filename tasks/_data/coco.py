"""COCO-format folders: images and one JSON of boxes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icmbench.api import Dataset, Sample, UserError, fingerprint
from icmbench.tasks._data.images import Kept, read_image

USED = {  # fields of the annotation file; polygons and licences are not used
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
    """A folder of images with its annotation file. Targets do not contain crowd boxes and boxes without area.

    `origin` identifies generated content instead of the files, whose bytes depend on the encoder. Raises UserError for missing or
    damaged files and for annotations that disagree with the images.
    """

    def __init__(self, images: Path, annotations: Path, origin: str = "") -> None:
        if not images.is_dir():
            raise UserError(f"the folder {images} is missing.")
        self.folder, self.annotations, self.origin = images, annotations, origin
        self.coco = _read_annotations(annotations)
        try:
            self._index()
        except (IndexError, KeyError, TypeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise UserError(f"{annotations} is not a COCO annotation file: a row is not complete ({what}).") from error
        self.kept: Kept[Sample] = Kept()

    def _index(self) -> None:
        self.categories = sorted(self.coco["categories"], key=lambda row: row["id"])
        self.label_of = {row["id"]: number for number, row in enumerate(self.categories)}
        self.images = sorted(self.coco["images"], key=lambda row: row["id"])
        self.objects: dict[int, list[dict[str, Any]]] = {row["id"]: [] for row in self.images}
        self.sizes = {row["file_name"]: (row["height"], row["width"]) for row in self.images}
        for row in self.coco["annotations"]:
            self._add(row)

    def _add(self, row: dict[str, Any]) -> None:
        if row["image_id"] not in self.objects:
            raise UserError(f"{self.annotations}: annotation {row['id']} belongs to no image of the file.")
        if row["category_id"] not in self.label_of:
            raise UserError(f"{self.annotations}: annotation {row['id']} has the unknown category {row['category_id']}.")
        if not row.get("iscrowd") and row["bbox"][2] >= 1 and row["bbox"][3] >= 1:
            self.objects[row["image_id"]].append(row)

    def __len__(self) -> int:
        return len(self.images)

    def fingerprint(self) -> str:
        """From the images' names and sizes, and the used fields of the annotations."""
        if self.origin:
            return fingerprint(self.folder, [], self.origin)
        content = {kind: [{key: row.get(key) for key in keys} for row in self.coco[kind]] for kind, keys in USED.items()}
        return fingerprint(self.folder, [row["file_name"] for row in self.images], content)

    def __getitem__(self, index: int) -> Sample:
        if index in self.kept.items:
            return self.kept.items[index]
        row = self.images[index]
        image = read_image(self.folder / row["file_name"])
        height, width = image.shape[1:]
        if (height, width) != self.sizes[row["file_name"]]:
            stated = f"{row['width']}x{row['height']}"
            raise UserError(f"{self.folder / row['file_name']} is {width}x{height}, but the annotations say {stated}.")
        objects = self.objects[row["id"]]
        boxes = np.array([item["bbox"] for item in objects], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([self.label_of[item["category_id"]] for item in objects], dtype=torch.int64)
        target = Boxes(torch.from_numpy(boxes), labels, (height, width), row["id"])
        return self.kept.keep(index, Sample(image, target, row["file_name"]), image.numel())


def _read_annotations(path: Path) -> dict[str, Any]:
    try:
        coco: dict[str, Any] = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}.") from error
    missing = {"images", "annotations", "categories"} - set(coco if isinstance(coco, dict) else ())
    if missing:
        raise UserError(f"{path} is not a COCO annotation file: it has no {', '.join(sorted(missing))}.")
    return coco
