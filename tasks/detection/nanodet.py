"""NanoDet-g as mmdetection modules: plain convolutions, the GFL losses, and the weights' own names.

Structure and numbers: upstream RangiLyu/nanodet, model `nanodet_g`; batch norm is folded into the convolutions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import GFLHead
from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from mmengine.model import bias_init_with_prob
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.1  # of the leaky ReLU
STAGES = ((1, 32, 1, 1), (5, 64, 2, 2), (11, 128, 2, 2), (17, 256, 3, 2))  # first convolution, width, inner blocks, stride


def _add(module: nn.Module, number: int, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
    """Give `module` the convolution `convNN` (with bias, padded by half its kernel)."""
    module.add_module(f"conv{number:02d}", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2))


def _run(module: nn.Module, number: int, x: Tensor) -> Tensor:
    """The convolution `convNN` of `module` without activation."""
    result: Tensor = getattr(module, f"conv{number:02d}")(x)
    return result


def _active(module: nn.Module, number: int, x: Tensor) -> Tensor:
    return F.leaky_relu(_run(module, number, x), SLOPE)


class Stage(nn.Module):
    """x = first convolution; inner blocks of two convolutions, joined; a last convolution; joined with x."""

    def __init__(self, first: int, width: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.first, self.blocks = first, blocks
        _add(self, first, width, width, 3, stride)
        for block in range(blocks):
            _add(self, first + 2 * block + 1, width, width // 2, 3)
            _add(self, first + 2 * block + 2, width // 2, width // 2, 3)
        _add(self, first + 2 * blocks + 1, width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] to [B, 2 * width, h / stride, w / stride]."""
        x = y = _active(self, self.first, x)
        for block in range(self.blocks):
            u = _active(self, self.first + 2 * block + 1, y)
            y = torch.cat([_active(self, self.first + 2 * block + 2, u), u], 1)
        return torch.cat([_active(self, self.first + 2 * self.blocks + 1, y), x], 1)


@MODELS.register_module(force=True)
class NanoDetBackbone(nn.Module):
    """Convolutions 0 to 24: maps of 128, 256 and 512 channels at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        _add(self, 0, 3, 32, 3, 2)
        for number, (first, width, blocks, stride) in enumerate(STAGES, start=1):
            self.add_module(f"stage{number}", Stage(first, width, blocks, stride))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Network input [B, 3, H, W], H and W multiples of 32."""
        x = F.max_pool2d(_active(self, 0, x), 3, 2, 1)
        outputs = []
        for number in range(1, 5):
            x = getattr(self, f"stage{number}")(x)
            outputs.append(x)
        return tuple(outputs[1:])


@MODELS.register_module(force=True)
class NanoDetNeck(nn.Module):
    """Convolutions 25 to 27 and fusion up and down by bilinear resize and addition."""

    def __init__(self) -> None:
        super().__init__()
        for number, channels in zip((25, 26, 27), (128, 256, 512), strict=True):
            _add(self, number, channels, 128, 1)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Maps of 128 channels at strides 8, 16 and 32."""
        l8, l16, l32 = (_run(self, 25 + level, x) for level, x in enumerate(features))
        t16 = l16 + _resized(l32, l16)
        t8 = l8 + _resized(t16, l8)
        d16 = t16 + _resized(t8, t16)
        return t8, d16, l32 + _resized(d16, l32)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


@MODELS.register_module(force=True)
class NanoDetHead(GFLHead):  # type: ignore[misc]
    """Convolutions 28 to 33: per level one of 3x3 and one of 1x1 for class and box-distribution logits; GFL losses."""

    def _init_layers(self) -> None:
        for level, _ in enumerate(self.prior_generator.strides):
            _add(self, 28 + 2 * level, self.in_channels, self.in_channels, 3)
            _add(self, 29 + 2 * level, self.in_channels, self.cls_out_channels + 4 * (self.reg_max + 1), 1)

    def init_weights(self) -> None:
        """As configured, with class logits that start at a probability of 0.01 (focal losses diverge from 0.5)."""
        super().init_weights()
        for level, _ in enumerate(self.prior_generator.strides):
            getattr(self, f"conv{29 + 2 * level:02d}").bias.data[: self.cls_out_channels] = bias_init_with_prob(0.01)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Per level: class logits [B, classes, h, w] and box-distribution logits [B, 4 * 11, h, w]."""
        logits = [_run(self, 29 + 2 * level, _active(self, 28 + 2 * level, x)) for level, x in enumerate(features)]
        sizes = [self.cls_out_channels, 4 * (self.reg_max + 1)]
        classes, boxes = zip(*(torch.split(x, sizes, 1) for x in logits), strict=True)
        return list(classes), list(boxes)


@MODELS.register_module(force=True)
class NanoDet(SingleStageDetector):  # type: ignore[misc]
    """NanoDet-g; takes the checkpoint's flat names `conv00` .. `conv33` as well as its own."""

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        own = {".".join(name.split(".")[-2:]): name for name in self.state_dict()}
        if all(name in own for name in state_dict):
            fixed = {name: value for name, value in self.state_dict().items() if "conv" not in name}
            state_dict = fixed | {own[name]: value for name, value in state_dict.items()}
        return super().load_state_dict(state_dict, *args, **kwargs)
