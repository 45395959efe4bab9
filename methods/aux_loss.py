"""Auxiliary-loss training: L = R + λ·(E(y, y') + α·E(y, y_aux)).

As `task_loss`, with a branch that reads the features at `position`, a lightweight version of the recogniser with its
own prediction y_aux. The branch trains jointly with the codec and is thrown away (arXiv 2402.08267, section 3).
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from icmbench.method import TrainedMethod
from icmbench.protocol import Strict
from icmbench.task import Batch


class AuxLoss(TrainedMethod):
    class Parameters(Strict):
        """`position` of the branch (paper: before the decoder is best); `alpha`, the weight α of its loss."""

        position: Literal["before_decoder", "before_last_layer", "mid_recognizer"] = "before_decoder"
        alpha: Annotated[float, Field(ge=0)] = 0.5

    def build(self) -> None:
        self.place = self.tap(self.options.position)
        self.branch = self.task.light_head(self.place.channels, self.place.stride)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        with self.place.capture() as features:
            coded = self.code(batch.images)
            task = self.task.loss(coded.images, batch.targets)
        auxiliary = self.branch.loss(features[0], batch.targets)
        loss = coded.bpp + self.lmbda * (task + self.options.alpha * auxiliary)
        return {"loss": loss, "rate": coded.bpp, "task": task, "aux": auxiliary}
