"""Auxiliary-loss training: L = R + λ·(E(y, y') + α·E(y, y_aux)).

As `task_loss`, with a branch that reads the features at `position`, a lightweight version of the recogniser with its
own prediction y_aux. The branch trains jointly with the codec and is then dropped (arXiv 2402.08267, section 3).
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from icmbench.api import Batch, Strict, TrainedMethod
from icmbench.methods._balance import Balance, Mode


class AuxLoss(TrainedMethod):
    class Parameters(Strict):
        """`position` of the branch (paper: before the decoder is best); `alpha`, the weight α of its loss.

        `depth` and `width` (channels): size of the branch's body. `alpha_mode`: how α changes during training.
        """

        position: Literal["before_decoder", "before_last_layer", "mid_recognizer"] = "before_decoder"
        alpha: Annotated[float, Field(ge=0)] = 0.5
        depth: Annotated[int, Field(ge=1, le=16)] = 1
        width: Annotated[int, Field(ge=8, le=512, multiple_of=8)] = 32
        alpha_mode: Mode = "fixed"

    def build(self) -> None:
        self.latent, self.tapped = self.tap("latent"), self.tap(self.options.position)
        self.branch = self.task.light_head(self.tapped.channels, self.tapped.stride, self.options.depth, self.options.width)
        self.balance = Balance(self.options.alpha_mode, self.options.alpha)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        with self.latent.capture() as latent, self.tapped.capture() as features:
            coded = self.code(batch.images)
            task = self.task.loss(coded.images, batch.targets)
        auxiliary = self.branch.loss(features[0], batch.targets)
        weighted = self.balance(task, auxiliary, latent[0], self.progress)
        return {"loss": coded.bpp + self.lmbda * (task + weighted), "rate": coded.bpp, "task": task, "aux": auxiliary}
