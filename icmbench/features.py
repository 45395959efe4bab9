"""Taps: places inside a network where a branch may hang."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from compressai.models import CompressionModel
from torch import Tensor, nn

from icmbench.errors import UserError


@dataclass(frozen=True)
class Tap:
    """The input or output of `module`: a feature map [B, channels, h, w] at `stride` image pixels per sample."""

    module: nn.Module
    side: Literal["input", "output"]
    channels: int
    stride: int

    @contextmanager
    def capture(self) -> Iterator[list[Tensor]]:
        """Collect the feature maps that pass while the block runs, gradients attached."""
        caught: list[Tensor] = []
        handle = _hook(self.module, self.side, caught)
        try:
            yield caught
        finally:
            handle.remove()


def _hook(module: nn.Module, side: str, caught: list[Tensor]) -> Any:
    if side == "input":
        return module.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    return module.register_forward_hook(lambda _, __, output: caught.append(output))


def codec_taps(model: CompressionModel) -> dict[str, Tap]:
    """Taps of a codec's decoder g_s: `before_decoder` (its latent, noisy in training) and `before_last_layer`.

    Raises UserError where the architecture has no sequential g_s.
    """
    decoder = getattr(model, "g_s", None)
    if not isinstance(decoder, nn.Sequential):
        raise UserError(f"{type(model).__name__} has no sequential decoder g_s, so no branch can hang before it.")
    places = {"before_decoder": decoder, "before_last_layer": decoder[-1]}
    return {name: _probe(model, module) for name, module in places.items()}


def _probe(model: CompressionModel, module: nn.Module) -> Tap:
    """Measure channels and stride at the input of `module` on a blank 128x128 picture."""
    caught: list[Tensor] = []
    handle = _hook(module, "input", caught)
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, 128, 128, device=next(model.parameters()).device))
    finally:
        handle.remove()
        model.train(training)
    return Tap(module, "input", caught[0].shape[1], 128 // caught[0].shape[3])
