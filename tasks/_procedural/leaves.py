"""The `leaves` pictures: occluding textured leaves with the statistics of natural images.

A dead-leaves model (power-law sizes, occlusion; Lee, Mumford and Huang, 2001) with 1/f textures, gratings
and shading: what the codecs for photographs are pretrained on, so that they can be shipped and made again.
"""

import numpy as np
from numpy.typing import NDArray

from icmbench.tasks._procedural.noise import Field, blob, grid, power_law_noise, rotated, to_8bit


def _surface(rng: np.random.Generator, size: int) -> Field:
    """A colour with a 1/f texture, perhaps a grating, and a shading gradient: float32 [S, S, 3]."""
    colour = np.clip(rng.normal(rng.uniform(0.1, 0.9), 0.07, 3), 0, 1).astype(np.float32)
    texture = power_law_noise(rng, size, rng.uniform(0.6, 1.9))
    tint = 1 + 0.2 * rng.standard_normal(3).astype(np.float32)
    surface = colour + rng.exponential(0.05) * texture[..., None] * tint
    x, y = rotated(*grid(size), rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.2:
        grating = np.tanh(rng.uniform(1, 6) * np.sin(2 * np.pi * x / np.exp(rng.uniform(1, 3.5))))
        surface += rng.exponential(0.1) * grating[..., None]
    return np.asarray(surface * (1 + rng.normal(0, 0.25) * (y / size - 0.5))[..., None], np.float32)


def picture(seed: int, index: int, size: int) -> NDArray[np.uint8]:
    """Picture `index`: uint8 [size, size, 3] RGB, from a random stream of its own."""
    rng = np.random.default_rng([seed, index])
    image = _surface(rng, size)
    bend = power_law_noise(rng, size, rng.uniform(1.3, 2.2))
    surfaces = [_surface(rng, size) for _ in range(6)]
    for _ in range(rng.integers(5, 60)):
        radius = 4 * rng.uniform(0.003, 1) ** -0.5
        inside = blob(rng, size, radius, bend * rng.uniform(0, 1.5))
        shift = rng.integers(0, size, 2)
        surface = np.roll(surfaces[rng.integers(6)], shift, (0, 1))
        shift_of_colour = rng.normal(0, 0.2) + rng.normal(0, 0.05, 3)
        image[inside] = (surface + shift_of_colour.astype(np.float32))[inside]
    image += rng.exponential(0.008) * rng.standard_normal(image.shape, np.float32)
    return to_8bit(image, rng.choice([0.0, 0.5, 0.8, 1.2]))
