"""Task-loss training of a part of the codec: what `decoder_only`, `encoder_only`, `adapter` and `prompt` share."""

from abc import abstractmethod
from collections.abc import Iterable

from compressai.models import CompressionModel
from torch import nn

from icmbench.api import UserError
from icmbench.methods.task_loss import TaskLoss


class PartialTraining(TaskLoss):
    """L = R + λ·E(y, y'), minimised over `trained()` alone; the rest of the codec is exactly the start codec's."""

    @abstractmethod
    def trained(self) -> Iterable[nn.Parameter]:
        """The parameters of the codec that train."""

    def build(self) -> None:
        self.codec.requires_grad_(False)
        for parameter in self.trained():
            parameter.requires_grad_(True)


def transforms(codec: CompressionModel) -> tuple[nn.Module, nn.Module]:
    """The analysis transform g_a, from the image to the latent, and the synthesis transform g_s, from the latent to the image.

    Raises UserError for an architecture that has no such parts.
    """
    encoder, decoder = getattr(codec, "g_a", None), getattr(codec, "g_s", None)
    if not (isinstance(encoder, nn.Module) and isinstance(decoder, nn.Module)):
        raise UserError(f"{type(codec).__name__} has no separate encoder g_a and decoder g_s, which this method needs.")
    return encoder, decoder
