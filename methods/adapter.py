"""Small trainable adapters in a frozen codec, task-loss training: L = R + λ·E(y, y').

After Adapt-ICMH (arXiv 2407.09853): the whole start codec is frozen, entropy model included, and only spatial-frequency
modulation adapters between the layers of g_a and g_s train (symbols as in `task_loss`). They change nothing before training,
stay in the codec, are saved with it and count as its cost. Simplified: the two branches of an adapter share one projection
back to the channels, and spectra are orthonormal. Unlike in the paper, L has the task loss, not a distance between the
recogniser's features, and adapters sit where the resolution is about to change. Needs sequential g_a and g_s.
"""

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from compressai.models import CompressionModel
from pydantic import Field
from torch import Tensor, nn

from icmbench.api import Strict, UserError
from icmbench.methods._adapter import Adapter
from icmbench.methods._partial import PartialTraining, transforms


class AdapterTuning(PartialTraining):
    class Parameters(Strict):
        """`width`: channels inside an adapter."""

        width: Annotated[int, Field(ge=1, le=512)] = 32

    @classmethod
    def extend(cls, codec: CompressionModel, parameters: Any) -> None:
        x = torch.zeros(1, 3, 128, 128, device=next(codec.parameters()).device)
        for transform in transforms(codec):
            if not isinstance(transform, nn.Sequential):
                raise UserError(f"{type(codec).__name__} has no sequential g_a and g_s, so adapters cannot be inserted.")
            x = insert(transform, x, parameters.width)

    def trained(self) -> Iterable[nn.Parameter]:
        return (p for module in self.codec.modules() if isinstance(module, Adapter) for p in module.parameters())


@torch.no_grad()
def insert(transform: nn.Sequential, x: Tensor, width: int) -> Tensor:
    """Put an adapter behind each layer whose successor changes the resolution, in place; returns what x [1, C, h, w] becomes."""
    for index in range(len(transform)):
        y = transform[index](x)
        if index and y.shape[-1] != x.shape[-1]:
            transform[index - 1] = nn.Sequential(transform[index - 1], Adapter(x.shape[1], width).to(x.device))
        x = y
    return x
