"""Random fields and blobs from which the procedural pictures are composed."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


def power_law_noise(rng: np.random.Generator, size: int, exponent: float) -> Field:
    """Noise whose amplitude spectrum falls as 1/f^exponent: float32 [size, size], mean 0, deviation 1."""
    white = np.fft.rfft2(rng.standard_normal((size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(white / frequency**exponent, s=(size, size))
    return np.asarray(field / (field.std() + 1e-12), np.float32)


def grid(size: int) -> tuple[Field, Field]:
    """Pixel coordinates (x, y), each float32 [size, size]."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return x, y


def rotated(x: Field, y: Field, angle: float) -> tuple[Field, Field]:
    """The coordinates turned by `angle` (radians)."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def blob(rng: np.random.Generator, size: int, radius: float, bend: Field) -> Mask:
    """An ellipse at a random place whose border is bent by the noise field `bend`."""
    x, y = grid(size)
    centre = rng.uniform(0, size, 2)
    u, v = rotated(x - np.float32(centre[0]), y - np.float32(centre[1]), rng.uniform(0, np.pi))
    stretch = rng.uniform(0.6, 1.0)
    distance = np.hypot(u / radius, v / (radius * stretch))
    return np.asarray(distance + 0.18 * bend < 1)


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a picture [H, W, 3] RGB or a mask [H, W]; raises OSError where it cannot be written."""
    bgr = image[..., ::-1] if image.ndim == 3 else image
    if not cv2.imwrite(str(path), bgr):
        raise OSError(f"cannot write {path}")


def to_8bit(image: Field, blur: float) -> NDArray[np.uint8]:
    """Blur by a Gaussian of deviation `blur` pixels (0: none), clip to 0..1 and round to uint8 [H, W, 3]."""
    if blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), blur).astype(np.float32)
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
