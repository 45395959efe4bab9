"""Where the bits go: maps of estimated bits over an image, and the share of them inside objects."""

import math
from collections.abc import Sequence

import torch
from pydantic import BaseModel
from torch import Tensor
from torch.nn import functional as F

from icmbench.api.task import Sample, Task
from icmbench.base.errors import UserError
from icmbench.codecs.neural import NeuralCodec
from icmbench.experiment.evaluate import Progress, no_progress, pixels


class Allocation(BaseModel):
    """Estimated bits of a codec on the `val` images, one entry per image; the `_inside` lists are empty without masks.

    Bits and pixels of the padding are left out.
    """

    pixels: list[int]
    bits: list[float]
    pixels_inside: list[float]
    bits_inside: list[float]

    @property
    def bpp(self) -> float:
        """Sum of bits over sum of pixels."""
        return sum(self.bits) / sum(self.pixels)

    @property
    def bits_share(self) -> float:
        """Share of the bits inside objects, 0 to 1; nan without masks."""
        return sum(self.bits_inside) / sum(self.bits) if self.bits_inside else math.nan

    @property
    def area_share(self) -> float:
        """Share of the area that objects cover, 0 to 1; nan without masks."""
        return sum(self.pixels_inside) / sum(self.pixels) if self.pixels_inside else math.nan


def spread(likelihoods: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Bits per pixel as a map [height, width] from likelihoods [1, C, h, w] of latents that cover the same area.

    Each position's -log2 p, summed over channels, is spread evenly over its pixels, so the sum of the map is the number of bits.
    """
    maps = []
    for p in likelihoods:
        bits = -torch.log2(p.float()).sum(1, keepdim=True)
        share = bits.shape[2] * bits.shape[3] / (height * width)
        maps.append(F.interpolate(bits, (height, width), mode="nearest")[0, 0] * share)
    return torch.stack(maps).sum(0)


@torch.no_grad()
def bit_map(codec: NeuralCodec, image: Tensor) -> Tensor:
    """Estimated bits of each pixel of an image uint8 [3, H, W], as [H, W]; those of the padding are cut off."""
    padded = codec.padded(image)
    likelihoods = codec.model(padded)["likelihoods"]
    height, width = image.shape[-2:]
    return spread(list(likelihoods.values()), *padded.shape[-2:])[:height, :width].cpu()


def object_mask(task: Task, sample: Sample) -> Tensor | None:
    """Where the sample's objects are, [H, W] of 0 and 1; None for a task without object masks."""
    height, width = sample.image.shape[-2:]
    try:
        return task.object_masks([sample.target], (height, width))[0, 0].cpu()
    except UserError:
        return None


def allocate(codec: NeuralCodec, task: Task, progress: Progress = no_progress) -> Allocation:
    """Bits inside and outside objects over all `val` images."""
    dataset = task.dataset("val")
    allocation = Allocation(pixels=[], bits=[], pixels_inside=[], bits_inside=[])
    for index in range(len(dataset)):
        sample = dataset[index]
        bits, mask = bit_map(codec, sample.image), object_mask(task, sample)
        allocation.pixels.append(pixels(sample.image))
        allocation.bits.append(float(bits.sum()))
        if mask is not None:
            allocation.pixels_inside.append(float(mask.sum()))
            allocation.bits_inside.append(float((bits * mask).sum()))
        progress(index + 1, len(dataset))
    return allocation
