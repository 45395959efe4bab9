"""The `shapes` pictures as a data set on disk."""

from pathlib import Path

from icmbench.api import cache_root
from icmbench.tasks._data.coco import CocoFolder
from icmbench.tasks._procedural.shapes import shapes_folder


def folder(seed: int) -> Path:
    """Where the pictures lie (COCO format, with index masks); made the first time."""
    return shapes_folder(cache_root(), seed)


def pictures(split: str, seed: int = 0) -> CocoFolder:
    """The pictures of a split with their boxes."""
    root = folder(seed)
    return CocoFolder(root / "images" / split, root / "annotations" / f"{split}.json")
