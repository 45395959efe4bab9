"""Learned prompt tokens in a frozen transformer codec, task-loss training: L = R + λ·E(y, y').

After TransTIC (arXiv 2306.05085): the whole start codec is frozen, entropy model included, and only prompt tokens train,
which are prepended to the keys and values of every attention layer of g_a and g_s (symbols as in `task_loss`). They stay in the
codec, are saved with it and count as its cost. Simplified: in the paper a network makes the encoder's prompts from the image;
here they are the same for all images, as the decoder's are. For codecs with layers `torch.nn.MultiheadAttention`: CompressAI's
image codecs have none, so you need your own architecture.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import torch
from compressai.models import CompressionModel
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from icmbench.api import Strict, UserError
from icmbench.methods._partial import PartialTraining, transforms

ARGUMENTS = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask")  # of an attention layer, in order


class Prompt(PartialTraining):
    class Parameters(Strict):
        """`tokens`: prompts in each attention layer."""

        tokens: Annotated[int, Field(ge=1, le=1024)] = 8

    @classmethod
    def extend(cls, codec: CompressionModel, parameters: Any) -> None:
        layers = list(attention_layers(codec))
        if not layers:
            raise UserError(f"{type(codec).__name__} has no attention layers (MultiheadAttention) that could take prompts.")
        for layer in layers:
            prompts = torch.empty(parameters.tokens, layer.embed_dim, device=next(layer.parameters()).device)
            layer.register_parameter("prompts", nn.Parameter(nn.init.normal_(prompts, std=0.02)))
            layer.register_forward_pre_hook(prepend, with_kwargs=True)

    def trained(self) -> Iterable[nn.Parameter]:
        return (layer.get_parameter("prompts") for layer in attention_layers(self.codec))


def attention_layers(codec: CompressionModel) -> Iterator[nn.MultiheadAttention]:
    """The self-attention layers of the encoder and the decoder (not of the entropy model)."""
    modules = (module for transform in transforms(codec) for module in transform.modules())
    return (m for m in modules if isinstance(m, nn.MultiheadAttention) and m.kdim == m.vdim == m.embed_dim)


def prepend(layer: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
    """Prepend the prompts to keys and values, [B, L, E] or [L, B, E] depending on the layer, and extend the masks."""
    given = dict(zip(ARGUMENTS, args, strict=False)) | kwargs
    prompts = layer.get_parameter("prompts").unsqueeze(0 if layer.batch_first else 1)
    length, batch = (1, 0) if layer.batch_first else (0, 1)
    for name in ("key", "value"):
        x: Tensor = given[name]
        shape = [layer.embed_dim] * 3
        shape[length], shape[batch] = prompts.shape[length], x.shape[batch]
        given[name] = torch.cat([prompts.expand(shape).to(x.dtype), x], length)
    for name in ("key_padding_mask", "attn_mask"):
        if given.get(name) is not None:
            given[name] = F.pad(given[name], (prompts.shape[length], 0))
    return (), given
