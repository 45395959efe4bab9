"""Conventional training through the frozen recogniser: L = R + λ·E(y, y').

R: estimated rate in bits per pixel. E: the recogniser's task loss on the decoded image against the targets y.
The default anchor of protocols (arXiv 2402.08267, section 2).
"""

from torch import Tensor

from icmbench.api import Batch, TrainedMethod


class TaskLoss(TrainedMethod):
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        coded = self.code(batch.images)
        task = self.task.loss(coded.images, batch.targets)
        return {"loss": coded.bpp + self.lmbda * task, "rate": coded.bpp, "task": task}
