"""Auxiliary-loss training: L = R + λ·(E(y, y') + α·E(y, y_aux)).

As `task_loss`, with a branch that reads the features at `position`, a lightweight version of the recogniser with its
own prediction y_aux. The branch trains jointly with the codec and is then dropped (arXiv 2402.08267, section 3).
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from icmbench.api import Batch, Strict, TrainedMethod
from icmbench.methods._balance import Balance, Mode
from icmbench.methods._branch import assess


class AuxLoss(TrainedMethod):
    class Parameters(Strict):
        """`position` of the branch (paper: before the decoder is best); `alpha`, the weight α of its loss.

        `depth` and `width` (channels): size of the branch's body. `alpha_mode`: how α changes during training.
        `branch_lr`: the branch's own learning rate, that of a part which trains from scratch. `warmup`: the part of the budget,
        0 to 1, in which only the branch learns from its loss, before its gradient reaches the codec.
        """

        position: Literal["before_decoder", "before_last_layer", "mid_recognizer"] = "before_decoder"
        alpha: Annotated[float, Field(ge=0)] = 0.5
        depth: Annotated[int, Field(ge=1, le=16)] = 1
        width: Annotated[int, Field(ge=8, le=512, multiple_of=8)] = 32
        alpha_mode: Mode = "fixed"
        branch_lr: Annotated[float, Field(gt=0)] = 5e-3
        warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def build(self) -> None:
        self.latent, self.tapped = self.tap("latent"), self.tap(self.options.position)
        self.branch = self.task.light_head(self.tapped.channels, self.tapped.stride, self.options.depth, self.options.width)
        self.balance = Balance(self.options.alpha_mode, self.options.alpha)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": self.branch.parameters(), "lr": self.options.branch_lr}, *self.balance.parameter_groups()]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        with self.latent.capture() as latent, self.tapped.capture() as features:
            coded = self.code(batch.images)
            task = self.task.loss(coded.images, batch.targets)
        warm = self.progress >= self.options.warmup
        auxiliary = self.branch.loss(features[0] if warm else features[0].detach(), batch.targets)
        weighted = self.balance(task, auxiliary, latent[0], self.progress) if warm else self.options.alpha * auxiliary
        return {"loss": coded.bpp + self.lmbda * (task + weighted), "rate": coded.bpp, "task": task, "aux": auxiliary}

    def assess(self) -> dict[str, float]:
        """The branch's own scores."""
        return assess(self.task, self.codec, self.tapped, self.branch)
