"""The `shapes` pictures: objects whose class is nothing but a low-contrast texture.

Outline and colour carry no information about the class, so a codec has to spend bits on detail
that compression for human eyes removes first.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from icmbench.api import build_once
from icmbench.tasks._procedural.noise import Field, Mask, blob, grid, power_law_noise, rotated, to_8bit, write_png

CLASSES = ("stripes", "checker", "dots", "grain")
BACKGROUND = 0  # index of the mask; class k of CLASSES has index k + 1
CONTRAST = 0.14
SENSOR_NOISE = 0.006
VERSION = 1  # raise when the pictures change
SPLITS = {"train": (0, 1500, 128), "val": (1_000_000, 64, 256)}  # first index, images, side in pixels


@dataclass(frozen=True)
class Picture:
    """`image` uint8 [S, S, 3] RGB; `index_mask` uint8 [S, S]; `masks` one per object; `labels` in 0..3."""

    image: NDArray[np.uint8]
    index_mask: NDArray[np.uint8]
    masks: list[Mask]
    labels: list[int]


def _texture(rng: np.random.Generator, label: int, size: int) -> Field:
    """Pattern of the class, float32 [S, S] in about -1..1, at random phase, angle and period (6.5 to 10 px)."""
    x, y = rotated(*grid(size), rng.uniform(0, np.pi))
    frequency = np.float32(2 * np.pi / rng.uniform(6.5, 10))
    u, v = frequency * x + np.float32(rng.uniform(0, 6.28)), frequency * y + np.float32(rng.uniform(0, 6.28))
    if CLASSES[label] == "stripes":
        return np.asarray(np.tanh(2 * np.sin(u)), np.float32)
    if CLASSES[label] == "checker":
        return np.asarray(np.tanh(3 * np.sin(u) * np.sin(v)), np.float32)
    if CLASSES[label] == "dots":
        return np.asarray(np.tanh(3 * (np.cos(u) + np.cos(v) - 0.8)), np.float32)
    return np.clip(power_law_noise(rng, size, 0.7), -1.5, 1.5)


def _outline(rng: np.random.Generator, size: int, centre: NDArray[np.float64], radius: float) -> Mask:
    """A disc, square, triangle or ellipse."""
    x, y = grid(size)
    u, v = rotated(x - np.float32(centre[0]), y - np.float32(centre[1]), rng.uniform(0, 2 * np.pi))
    kind = rng.integers(4)
    if kind == 0:
        return np.asarray(np.hypot(u, v) < radius)
    if kind == 1:
        return np.asarray(np.maximum(abs(u), abs(v)) < 0.85 * radius)
    if kind == 2:
        return np.asarray((v > -0.6 * radius) & (v + 1.732 * abs(u) < 1.1 * radius))
    return np.asarray(np.hypot(u, v / 0.62) < radius)


def _ground(rng: np.random.Generator, size: int) -> Field:
    """One colour, smooth noise, and about ten irregular blobs per 128x128 pixels, each with its own colour."""
    image = np.empty((size, size, 3), np.float32)
    image[:] = rng.uniform(0.15, 0.85, 3) + 0.04 * power_law_noise(rng, size, 1.8)[..., None]
    bend = power_law_noise(rng, size, 1.8)
    for _ in range(rng.poisson(10 * (size / 128) ** 2)):
        radius = 6 * rng.uniform(0.02, 1) ** -0.5
        inside = blob(rng, size, radius, bend)
        image[inside] = rng.uniform(0.1, 0.9, 3) + 0.02 * power_law_noise(rng, size, 1.5)[inside][:, None]
    return image


def picture(seed: int, index: int, size: int) -> Picture:
    """Picture `index`: its own random stream, so that any subset can be made in any order."""
    rng = np.random.default_rng([seed, index])
    image = _ground(rng, size)
    wanted = int(rng.integers(2, 6)) * (size // 128) ** 2
    taken = np.zeros((size, size), bool)
    index_mask = np.full((size, size), BACKGROUND, np.uint8)
    masks: list[Mask] = []
    labels: list[int] = []
    for _ in range(20 * wanted):
        radius = rng.uniform(13, 30)
        mask = _outline(rng, size, rng.uniform(0.5 * radius, size - 0.5 * radius, 2), radius)
        if (mask & taken).sum() > 0.03 * mask.sum() or mask.sum() < 150:
            continue
        mask &= ~taken
        label = int(rng.integers(len(CLASSES)))
        base = image[mask].mean(0) + rng.uniform(-0.12, 0.12, 3)
        pattern = _texture(rng, label, size)[mask]
        image[mask] = np.clip(base, CONTRAST, 1 - CONTRAST) + CONTRAST * pattern[:, None]
        taken |= mask
        index_mask[mask] = label + 1
        masks.append(mask)
        labels.append(label)
        if len(masks) == wanted:
            break
    image += SENSOR_NOISE * rng.standard_normal(image.shape, np.float32)
    return Picture(to_8bit(image, 0.6), index_mask, masks, labels)


def _annotations(identity: int, first: int, made: Picture) -> list[dict[str, object]]:
    rows = []
    for offset, (mask, label) in enumerate(zip(made.masks, made.labels, strict=True)):
        ys, xs = np.nonzero(mask)
        x0, y0, x1, y1 = int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
        rows.append(
            {
                "id": first + offset,
                "image_id": identity,
                "category_id": label + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": int(mask.sum()),
                "iscrowd": 0,
            }
        )
    return rows


def _write_split(folder: Path, split: str, seed: int) -> None:
    first, count, size = SPLITS[split]
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for kind in ("images", "masks"):
        (folder / kind / split).mkdir(parents=True)
    for number in range(count):
        made = picture(seed, first + number, size)
        name = f"{number:06d}.png"
        write_png(folder / "images" / split / name, made.image)
        write_png(folder / "masks" / split / name, made.index_mask)
        images.append({"id": number + 1, "file_name": name, "width": size, "height": size})
        annotations += _annotations(number + 1, len(annotations) + 1, made)
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(coco))


def shapes_folder(cache: Path, seed: int) -> Path:
    """The data set as a COCO-format folder with index masks, written below `cache` the first time it is asked for."""

    def build(folder: Path) -> None:
        for split in SPLITS:
            _write_split(folder, split, seed)

    return build_once(cache / f"shapes-v{VERSION}-seed{seed}", build)
