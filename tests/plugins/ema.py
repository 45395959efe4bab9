"""Task loss with an average of the weights: what is evaluated is the exponential moving average (EMA) of the codec."""

from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from icmbench.api import Batch, TrainedMethod


class Ema(TrainedMethod):
    def build(self) -> None:
        self.average = AveragedModel(self.codec, multi_avg_fn=get_ema_multi_avg_fn(0.9)).requires_grad_(False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        coded = self.code(batch.images)
        return {"loss": coded.bpp + self.lmbda * self.task.loss(coded.images, batch.targets)}

    def after_step(self) -> None:
        self.average.update_parameters(self.codec)

    def finish(self) -> None:
        self.codec.load_state_dict(self.average.module.state_dict())
