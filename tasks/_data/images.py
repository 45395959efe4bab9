"""Reads images, and keeps decoded ones within a memory budget."""

from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from icmbench.api import UserError

CACHE_BYTES = 1 << 30
T = TypeVar("T")


def read_image(path: Path) -> Tensor:
    """An image file as uint8 [3, H, W] RGB. Raises UserError if it is missing or damaged."""
    return torch.from_numpy(_decoded(path, "RGB")).permute(2, 0, 1).contiguous()


def read_mask(path: Path) -> Tensor:
    """An index mask (palette or grey PNG) as uint8 [H, W], values as stored."""
    return torch.from_numpy(_decoded(path, None))


def _decoded(path: Path, mode: str | None) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            if mode is None and image.mode not in ("1", "L", "P"):
                raise ValueError(f"an index mask has one channel of at most 8 bits, this is {image.mode}")
            return np.array(image.convert(mode) if mode else image, dtype=np.uint8)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing.") from error
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not a readable image: {error}.") from error


class Kept(Generic[T]):
    """Keeps items by index until `CACHE_BYTES` are used; further items are made again each time."""

    def __init__(self) -> None:
        self.items: dict[int, T] = {}
        self.bytes = 0

    def keep(self, index: int, item: T, size: int) -> T:
        """Keep `item` of `size` bytes if there is room, and return it."""
        if self.bytes + size <= CACHE_BYTES:
            self.items[index] = item
            self.bytes += size
        return item
