"""The body of a light head: makes the feature pyramid for a narrow copy of the recogniser's head from one feature map."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class FeatureLevels(nn.Module):
    """From a feature map [B, C, h, w] to maps of `width` channels at each of `strides`, by convolution, resize and pooling.

    The map may come from anywhere (latent, decoder, recogniser). Strided convolutions reduce one that is finer than the first
    stride's grid, and then it is resized to that grid. `depth` convolutions follow on that grid.
    """

    def __init__(self, in_channels: int, in_stride: int, depth: int, width: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.strides = list(strides)
        halvings = max(0, (strides[0] // max(in_stride, 1)).bit_length() - 1)
        layers: list[nn.Module] = []
        channels = in_channels
        for number in range(max(halvings, 1)):
            stride = 2 if number < halvings else 1
            layers += _convolution(channels, width, stride)
            channels = width
        self.before = nn.Sequential(*layers)
        self.after = nn.Sequential(*(layer for _ in range(depth) for layer in _convolution(width, width, 1)))
        self.grid = (0, 0)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Levels on the grid of the recogniser's input, whose (height, width) is in `grid`."""
        first = (self.grid[0] // self.strides[0], self.grid[1] // self.strides[0])
        x = self.after(F.interpolate(self.before(features), first, mode="bilinear", align_corners=False))
        levels = [x]
        for _ in self.strides[1:]:
            levels.append(F.max_pool2d(levels[-1], 2, ceil_mode=True))
        return tuple(levels)


def _convolution(channels: int, width: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, stride, 1), nn.GroupNorm(8, width), nn.ReLU(inplace=True)]
