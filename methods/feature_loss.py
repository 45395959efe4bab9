"""Training on the recogniser's feature maps: L = R + λ·w·mean over l of ‖f_l(x) - f_l(x')‖² / ‖f_l(x)‖².

R: estimated rate in bits per pixel. x, x' [B, 3, h, w]: the crops and the decoded crops. f_l: the l-th feature map
[B, C_l, h_l, w_l] that the recogniser's head reads; norms are over the whole batch, and the division gives all levels the same
weight, whatever their scale. Neither annotations nor the head are used. Distances of features in a training loss for machines:
arXiv 2112.08168.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from icmbench.api import Batch, Strict, TrainedMethod
from icmbench.methods._trial import blank


class FeatureLoss(TrainedMethod):
    class Parameters(Strict):
        """`weight`, the weight w; its default leaves the embedded protocols' start codecs near their rates."""

        weight: Annotated[float, Field(gt=0)] = 7.5

    def build(self) -> None:
        self.task.features(blank(self.task))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        coded = self.code(batch.images)
        with torch.no_grad():
            original = self.task.features(batch.images)
        distance = relative_distance(original, self.task.features(coded.images))
        loss = coded.bpp + self.lmbda * self.options.weight * distance
        return {"loss": loss, "rate": coded.bpp, "distance": distance}


def relative_distance(original: tuple[Tensor, ...], decoded: tuple[Tensor, ...]) -> Tensor:
    """The mean over the levels of the squared error relative to the energy of `original`: 0 for equal maps, 1 for blank ones."""
    pairs = [(a.float(), b.float()) for a, b in zip(original, decoded, strict=True)]
    return torch.stack([(a - b).square().sum() / a.square().sum() for a, b in pairs]).mean()
