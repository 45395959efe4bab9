"""Reads images and index masks as OpenMMLab's readers do, and keeps decoded ones within a memory budget."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from icmbench.api import UserError

CACHE_BYTES = 1 << 30
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
COLOUR = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")  # modes that Pillow turns into the RGB that mmcv reads
GREY16 = ("I;16", "I;16L", "I;16B", "I;16N")
T = TypeVar("T")


def read_image(path: Path) -> Tensor:
    """An image file as uint8 [3, H, W] RGB, turned as its EXIF data say. Raises UserError if it is missing or cannot be read."""
    return torch.from_numpy(_read(path, _colours)).permute(2, 0, 1).contiguous()


def read_mask(path: Path) -> Tensor:
    """An index mask (palette or grey) as uint8 [H, W], values as stored. Raises UserError as `read_image`."""
    return torch.from_numpy(_read(path, _indices))


def size_of(path: Path) -> tuple[int, int]:
    """The (height, width) of what `read_image` gives, from the file's header. Raises UserError as `read_image`."""
    return _read(path, _size)


def _read(path: Path, convert: Callable[[Image.Image], T]) -> T:
    try:
        with Image.open(path) as image:
            return convert(image)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing.") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(f"{path} is too large: an image may have at most {most} pixels.") from error
    except Exception as error:  # damaged files raise many kinds
        raise UserError(f"{path} is not a readable image: {error}.") from error


def _colours(image: Image.Image) -> NDArray[np.uint8]:
    _require_colours(image)
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in GREY16:  # `convert` would clip
        image = Image.fromarray((np.array(image) >> 8).astype(np.uint8))
    return np.array(image.convert("RGB"))


def _indices(image: Image.Image) -> NDArray[np.uint8]:
    indices = np.array(image)
    if image.mode not in ("1", "L", "P", *GREY16) or indices.max() > 255:
        raise ValueError(f"an index mask has one channel of values up to 255, and this is {image.mode}, up to {indices.max()}")
    return indices.astype(np.uint8)


def _size(image: Image.Image) -> tuple[int, int]:
    _require_colours(image)
    return image.size if _orientation(image) >= 5 else (image.height, image.width)


def _require_colours(image: Image.Image) -> None:
    transparent_tiff = image.format == "TIFF" and image.mode in ("LA", "RGBA")  # which mmcv darkens
    if image.mode not in COLOUR + GREY16 or transparent_tiff:
        raise ValueError(f"pixels of the kind {image.mode} have no certain 8-bit colours in a {image.format} file")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; from 5 on, height and width change places."""
    if image.format == "PNG" and "exif" not in image.info:  # Pillow would decode the whole image to look for it
        return 1
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


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
