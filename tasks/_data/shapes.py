"""The `shapes` images as data sets on disk: COCO format, with index masks."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from icmbench.tasks._data.coco import CocoFolder
from icmbench.tasks._data.folders import MaskFolder
from icmbench.tasks._data.generated import generated
from icmbench.tasks._procedural import origin
from icmbench.tasks._procedural.shapes import VERSION, shapes_folder


def pictures(split: str, seed: int = 0, classes: Sequence[str] = ()) -> CocoFolder:
    """The images of a split with their boxes; made on first use. `classes` as in `CocoFolder`."""
    root, source = _root(seed), origin("shapes", VERSION, seed, split)
    return CocoFolder(root / "images" / split, root / "annotations" / f"{split}.json", source, classes)


def masks(split: str, labels: Callable[[Tensor], Tensor], seed: int = 0) -> MaskFolder:
    """The images of a split with their masks; `labels` maps stored values to classes. Made on first use."""
    root, source = _root(seed), origin("shapes", VERSION, seed, split)
    return MaskFolder(root / "images" / split, root / "masks" / split, labels, origin=source)


def _root(seed: int) -> Path:
    folder = generated(f"shapes-{origin('shapes', VERSION, seed)[:16]}", lambda made: shapes_folder(made, seed))
    return shapes_folder(folder, seed)
