"""Annotation-free task-loss training on the recogniser's own predictions: L = R + λ·E(y_own, y').

R: estimated rate in bits per pixel. E: the recogniser's task loss on the decoded crops [B, 3, h, w], but against y_own: the
predictions of the same recogniser on the original crops, which the task converts to targets (detection: boxes of a sufficient
score; segmentation: the most likely class of every pixel). The annotations are not used.

After arXiv 2406.07938, whose strategy this is: the task loss between the analysis network's predictions on the compressed and
on the original image. Unlike there, codec, network, data and training images are the protocol's; the paper also adds images
without annotations. The conversion of predictions to targets may differ.
"""

from torch import Tensor

from icmbench.api import Batch, TrainedMethod
from icmbench.methods._trial import blank


class Distill(TrainedMethod):
    def build(self) -> None:
        self.task.own_targets(blank(self.task))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        coded = self.code(batch.images)
        task = self.task.loss(coded.images, self.task.own_targets(batch.images))
        return {"loss": coded.bpp + self.lmbda * task, "rate": coded.bpp, "task": task}
