"""The `shapes` images as data sets on disk: COCO format, with index masks."""

from collections.abc import Callable

from torch import Tensor

from icmbench.api import cache_root
from icmbench.tasks._data.coco import CocoFolder
from icmbench.tasks._data.folders import MaskFolder
from icmbench.tasks._procedural import origin
from icmbench.tasks._procedural.shapes import VERSION, shapes_folder


def pictures(split: str, seed: int = 0) -> CocoFolder:
    """The images of a split with their boxes; made on first use."""
    root = shapes_folder(cache_root(), seed)
    return CocoFolder(root / "images" / split, root / "annotations" / f"{split}.json", origin("shapes", VERSION, seed, split))


def masks(split: str, labels: Callable[[Tensor], Tensor], seed: int = 0) -> MaskFolder:
    """The images of a split with their masks; `labels` maps stored values to classes. Made on first use."""
    root, source = shapes_folder(cache_root(), seed), origin("shapes", VERSION, seed, split)
    return MaskFolder(root / "images" / split, root / "masks" / split, labels, origin=source)
