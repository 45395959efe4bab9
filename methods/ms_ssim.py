"""Training for human eyes by structural similarity: L = R + λ·w·(1 - MS-SSIM(x, x')).

R: estimated rate in bits per pixel. x, x' [B, 3, h, w] in 0..1: the crops and the decoded crops. MS-SSIM: Wang,
Simoncelli and Bovik, "Multiscale structural similarity for image quality assessment", Asilomar 2003: 5 scales, Gaussian window
of σ = 1.5 and 11 pixels, or 9 or 7 where the coarsest scale of the crops is too small for that. Neither recogniser nor
annotations are used.
"""

from typing import Annotated

import torch
from pydantic import Field
from pytorch_msssim import ms_ssim
from torch import Tensor

from icmbench.api import Batch, Strict, TrainedMethod, UserError

HALVINGS = 4  # between the finest and the coarsest of the 5 scales


class MsSsim(TrainedMethod):
    class Parameters(Strict):
        """`weight`, the weight w; its default leaves the embedded protocols' start codecs near their rates."""

        weight: Annotated[float, Field(gt=0)] = 13.0

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        coded = self.code(batch.images)
        distance = 1 - similarity(coded.images, batch.images)
        loss = coded.bpp + self.lmbda * self.options.weight * distance
        return {"loss": loss, "rate": coded.bpp, "distance": distance}


def similarity(decoded: Tensor, images: Tensor) -> Tensor:
    """Mean MS-SSIM of images [B, 3, h, w] in 0..1. Raises UserError if they are too small for a window of 7 at 5 scales."""
    with torch.autocast(images.device.type, enabled=False):  # variances as differences need float32
        value: Tensor = ms_ssim(decoded.float(), images.float(), data_range=1.0, win_size=window(min(images.shape[2:])))
    return value


def window(side: int) -> int:
    """The widest odd window of 7 to 11 pixels that the library accepts for a side: side > 16·(window - 1)."""
    fitting = [width for width in (11, 9, 7) if side > 2**HALVINGS * (width - 1)]
    if not fitting:
        raise UserError(f"MS-SSIM needs crops of more than {2**HALVINGS * 6} pixels, these have {side}.")
    return fitting[0]
