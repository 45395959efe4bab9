"""Training crops."""

import numpy as np
from torch import Tensor
from torch.nn import functional as F


def window(height: int, width: int, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a random window; 0 along a side of the image that is not larger than the window."""
    return int(rng.integers(max(height - size, 0) + 1)), int(rng.integers(max(width - size, 0) + 1))


def cut(image: Tensor, top: int, left: int, size: int, flip: bool, fill: int) -> Tensor:
    """The window of an image [..., H, W], padded at the right and bottom with `fill`, mirrored if `flip`."""
    piece = image[..., top : top + size, left : left + size]
    height, width = piece.shape[-2:]
    piece = F.pad(piece, (0, size - width, 0, size - height), value=fill)
    return piece.flip(-1) if flip else piece
