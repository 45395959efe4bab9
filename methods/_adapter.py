"""The module that the method `adapter` inserts."""

import torch
from torch import Tensor, nn


class Adapter(nn.Module):
    """x + P(s, f): what a spatial and a frequency branch add to a feature map [B, C, h, w]; nothing before training (P is 0).

    s: two projections of x to `width` channels, one of them gathered from 5x5 neighbours, multiplied with each other.
    f: a projection whose spectrum is weighted by gains in 0..1 that depend on its amplitudes.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.plain = nn.Conv2d(channels, width, 1)
        self.gathered = nn.Sequential(nn.Conv2d(channels, width, 1), _depthwise(width, 5))
        self.into_spectrum = nn.Conv2d(channels, width, 1)
        self.gains = nn.Sequential(_depthwise(width, 3), nn.ReLU(), nn.Conv2d(width, width, 1), nn.Sigmoid())
        self.back = nn.Conv2d(2 * width, channels, 1)
        nn.init.zeros_(self.back.weight)
        nn.init.zeros_(self.back.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Feature map [B, C, h, w] to one of the same shape."""
        spatial = self.plain(x) * self.gathered(x)
        added: Tensor = self.back(torch.cat([spatial, self._filtered(self.into_spectrum(x))], 1).relu())
        return x + added

    def _filtered(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x.float(), norm="ortho")
        gains: Tensor = self.gains(spectrum.abs())
        filtered: Tensor = torch.fft.irfft2(spectrum * gains.float(), x.shape[-2:], norm="ortho")
        return filtered


def _depthwise(channels: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels)
