"""COCO annotation files: read, and checked for everything that can be wrong inside the file."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from icmbench.api import UserError
from icmbench.tasks._data.checks import repeated

SLACK = 1  # pixels that a box may reach out of its image, by rounding

Id = Annotated[int, Field(strict=True)]
Side = Annotated[int, Field(strict=True, ge=1)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Number = Annotated[Id | Finite, Field(union_mode="left_to_right")]  # as written: the fingerprint tells 5 from 5.0


class ImageRow(TypedDict):
    id: Id
    file_name: Annotated[str, Field(min_length=1)]
    height: Side
    width: Side


class CategoryRow(TypedDict):
    id: Id
    name: str


class ObjectRow(TypedDict):
    """`bbox`: x, y, width and height in pixels. `area` defaults to that of the box."""

    id: Id
    image_id: Id
    category_id: Id
    bbox: Annotated[list[Number], Field(min_length=4, max_length=4)]
    area: NotRequired[Annotated[Number, Field(ge=0)]]
    iscrowd: NotRequired[Annotated[int, Field(ge=0, le=1)]]


class Annotations(TypedDict):
    """The fields of the file that are used; polygons, licences and others are left out."""

    images: list[ImageRow]
    categories: list[CategoryRow]
    annotations: list[ObjectRow]


ADAPTER = TypeAdapter(Annotations)


def read_annotations(path: Path) -> Annotations:
    """The rows of an annotation file, each with the id of an image and a category of the file, and an area.

    Raises UserError for a file that cannot be read or contradicts itself.
    """
    try:
        content = ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValidationError as error:
        raise UserError(_sentence(path, error.errors())) from error
    _check_names(path, content)
    _check_references(path, content)
    for row in content["annotations"]:
        row.setdefault("area", row["bbox"][2] * row["bbox"][3])
    return content


def _sentence(path: Path, faults: Sequence[Any]) -> str:
    """What is wrong in the first place; of a number's faults the one as a float, because each number may be one."""
    place = [str(part) for part in faults[0]["loc"] if part != "int"]
    fault = faults[1] if "int" in faults[0]["loc"] else faults[0]
    message = fault["msg"]
    if fault["type"] == "json_invalid":
        return f"{path} is not valid JSON: {message}."
    field = "".join(f"{part}: " for part in place[2:3])
    return f"{path} is not a COCO annotation file: {_row(path, place)}{field}{message[0].lower()}{message[1:]}."


def _row(path: Path, place: list[str]) -> str:
    """Names the row of the file where something is wrong, by its id if it has one."""
    if len(place) < 2:
        return "".join(f"{part}: " for part in place)
    row = json.loads(path.read_bytes())[place[0]][int(place[1])]
    return f"{place[0]}, row {place[1]}, id {row.get('id') if isinstance(row, dict) else None}: "


def _check_names(path: Path, content: Annotations) -> None:
    """Every id, file and category name occurs once."""
    named: dict[str, list[int] | list[str]] = {
        "image id": [row["id"] for row in content["images"]],
        "category id": [row["id"] for row in content["categories"]],
        "annotation id": [row["id"] for row in content["annotations"]],
        "image file": [os.path.normpath(row["file_name"]) for row in content["images"]],
        "category name": [row["name"] for row in content["categories"]],
    }
    for kind, values in named.items():
        if (value := repeated(values)) is not None:
            raise UserError(f"{path}: the {kind} {value} is in two rows.")


def _check_references(path: Path, content: Annotations) -> None:
    images, categories = ({row["id"] for row in rows} for rows in (content["images"], content["categories"]))
    for row in content["annotations"]:
        if row["image_id"] not in images:
            raise UserError(f"{path}: annotation {row['id']} belongs to no image of the file, its image id is {row['image_id']}.")
        if row["category_id"] not in categories:
            raise UserError(f"{path}: annotation {row['id']} has the unknown category id {row['category_id']}.")


def check_boxes(path: Path, content: Annotations) -> None:
    """Raises UserError for a box that cannot be, as in files with corners, or with coordinates in parts of the image's size."""
    rows = content["annotations"]
    if not rows:
        return
    sizes = {row["id"]: (row["width"], row["height"]) for row in content["images"]}
    start, sides = np.split(np.array([row["bbox"] for row in rows], np.float64), 2, 1)
    limits = np.array([sizes[row["image_id"]] for row in rows])
    faults = {
        "has a negative side": sides < 0,
        "reaches out of its image; a box is x, y, width, height": (start < -SLACK) | (start + sides > limits + SLACK),
    }
    for what, where in faults.items():
        if where.any():
            row = rows[int(where.any(1).argmax())]
            size = "{}x{}".format(*sizes[row["image_id"]])
            raise UserError(f"{path}: the box {row['bbox']} of annotation {row['id']} {what} (image {row['image_id']}: {size}).")
    if (start + sides).max() < 2:
        raise UserError(f"{path}: all boxes end before pixel 2, as if they were in parts of the image; a box is in pixels.")
