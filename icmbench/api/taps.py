"""Taps: points inside a network where a branch can be attached."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from icmbench.base.errors import UserError

if TYPE_CHECKING:  # takes seconds to import, and classical codecs do not need it
    from compressai.models import CompressionModel

Side = Literal["input", "output"]


@dataclass(frozen=True)
class Tap:
    """The input or output of `module`: a feature map [B, channels, h, w] at `stride` image pixels per sample."""

    module: nn.Module
    side: Side
    channels: int
    stride: int

    @contextmanager
    def capture(self) -> Iterator[list[Tensor]]:
        """Collect the feature maps that pass while the block runs, with their gradients."""
        caught: list[Tensor] = []
        handle = _hook(self.module, self.side, caught)
        try:
            yield caught
        finally:
            handle.remove()


def _hook(module: nn.Module, side: Side, caught: list[Tensor]) -> Any:
    if side == "input":
        return module.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    return module.register_forward_hook(lambda _, __, output: caught.append(output))


def codec_taps(model: "CompressionModel") -> dict[str, Tap]:
    """Taps of a codec: `latent` (the encoder's output), `before_decoder` (the same, noisy in training), `before_last_layer`.

    Raises UserError if the architecture has no sequential decoder g_s.
    """
    decoder = getattr(model, "g_s", None)
    if not isinstance(decoder, nn.Sequential):
        raise UserError(f"{type(model).__name__} has no sequential decoder g_s, so no branch can be attached before it.")
    return {
        "latent": _probe(model, model.g_a, "output"),
        "before_decoder": _probe(model, decoder, "input"),
        "before_last_layer": _probe(model, decoder[-1], "input"),
    }


def _probe(model: "CompressionModel", module: nn.Module, side: Side) -> Tap:
    """Measure channels and stride at a side of `module` on a blank 128x128 image."""
    caught: list[Tensor] = []
    handle = _hook(module, side, caught)
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, 128, 128, device=next(model.parameters()).device))
    finally:
        handle.remove()
        model.train(training)
    return Tap(module, side, caught[0].shape[1], 128 // caught[0].shape[3])
