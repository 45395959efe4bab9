"""Distortion in the regions of objects: L = R + λ·w·255²·mean(m·(x - x')²).

R: estimated rate in bits per pixel. x, x' [B, 3, h, w] in 0..1: the crops and the decoded crops. m [B, 1, h, w]: 1 on the
annotated objects and `background` elsewhere. The mean is over all pixels, as for R, and not over those of the objects, so λ·w is
the trade-off between the bits and the squared error of an object's pixel, however much of the crop is object.

Region learning of the ROI family: the encoder learns where objects are and needs no map of them, as in arXiv 2308.13984 (masks
of objects) and 2403.04173 (masks of edges). Both ignore the error outside the mask, as `background` = 0 does; their networks,
data and masks differ.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from icmbench.api import Batch, Fraction, Strict, TrainedMethod


class RegionMse(TrainedMethod):
    class Parameters(Strict):
        """`background`: the weight of the error outside objects, 0 to 1.

        `weight`: the weight w; its default leaves objects near the quality of the embedded protocols' start codecs.
        """

        background: Fraction = 0.0
        weight: Annotated[float, Field(gt=0)] = 0.013

    def build(self) -> None:
        self.task.object_masks([], (1, 1))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        coded = self.code(batch.images)
        size = (batch.images.shape[2], batch.images.shape[3])
        objects = self.task.object_masks(batch.targets, size).to(batch.images.device)
        mask = objects + self.options.background * (1 - objects)
        distortion = 255**2 * (mask * (coded.images - batch.images).square()).mean()
        loss = coded.bpp + self.lmbda * self.options.weight * distortion
        return {"loss": loss, "rate": coded.bpp, "distortion": distortion, "objects": objects.mean()}
