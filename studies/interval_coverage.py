"""How often do 95 % intervals of a BD-rate contain the truth? A simulated benchmark in which the truth is known.

    .venv/bin/python studies/interval_coverage.py

Two methods, four rate points, S seeds, the same I images for all. The score of an image is the curve's value plus effects of
the image (shared by the methods), of image and method, of the seed (partly shared by the methods: pairing), and of
everything together. The second method needs 5 % fewer bits at every score. Three intervals are compared:

- `crossed`: the one of icmbench.stats.confidence
- `percentile`: the hierarchical bootstrap as it is usually done, resampling seeds and images, 2.5 and 97.5 percentiles
- `seeds only`: Student's t over the seeds, as if the images were the whole world
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from icmbench.stats.bdrate import log_bd_rates
from icmbench.stats.confidence import estimate

Array = NDArray[np.float64]
RATES = np.array([0.15, 0.22, 0.3, 0.4])
TRUTH = np.log(0.95)


@dataclass(frozen=True)
class World:
    """Standard deviations, in points of the score, of the effects; `seed` is the part that pairing does not cancel."""

    image: float = 15.0
    image_method: float = 2.0
    seed: float = 0.15
    everything: float = 2.0


def curve(rate: Array) -> Array:
    """True score at a rate: saturating, as measured curves are."""
    return 75 - 60 * np.exp(-rate / 0.13)


def experiment(rng: np.random.Generator, world: World, seeds: int, images: int, count: int) -> tuple[Array, Array, Array]:
    """Log BD-rate by seed [S], under resampled images [S, B], and the draws of seeds [B, S] for the percentile interval."""
    weights = rng.multinomial(images, [1 / images] * images, size=count) / images
    rows = np.concatenate([np.full((1, images), 1 / images), weights])
    image = rng.normal(0, world.image, images)
    shared = rng.normal(0, 0.5, (seeds, len(RATES), 1))
    clouds = []
    for scale in (1.0, 0.95):
        score = curve(RATES)[:, None] + image + rng.normal(0, world.image_method, images)
        score = score + shared + rng.normal(0, world.seed, (seeds, len(RATES), 1))
        score = score + rng.normal(0, world.everything, (seeds, len(RATES), images))
        mean = np.moveaxis(score @ rows.T, 2, 1)  # [S, 1 + B, rates]
        clouds.append(np.stack([np.broadcast_to(scale * RATES, mean.shape), mean], -1).reshape(-1, len(RATES), 2))
    logs = log_bd_rates(*clouds).reshape(seeds, 1 + count)
    return logs[:, 0], logs[:, 1:], rng.integers(0, seeds, (count, seeds))


def intervals(values: Array, resampled: Array, draws: Array, images: int) -> Iterator[tuple[str, float, float]]:
    """(name, low, high) of each kind of interval."""
    crossed = estimate(values, list(resampled), images)
    alone = estimate(values, [None] * len(values), images)
    chosen = resampled[draws, np.arange(draws.shape[0])[:, None]].mean(1)
    low, high = np.percentile(chosen, [2.5, 97.5])
    yield "crossed", crossed.low or 0.0, crossed.high or 0.0
    yield "percentile", float(low), float(high)
    yield "seeds only", alone.low or 0.0, alone.high or 0.0


def coverage(world: World, seeds: int, images: int, experiments: int, count: int = 200) -> dict[str, tuple[float, float]]:
    """For each kind of interval the share that contains the truth, and its mean half width in percent."""
    rng = np.random.default_rng([seeds, images, experiments])
    hits: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}
    for _ in range(experiments):
        values, resampled, draws = experiment(rng, world, seeds, images, count)
        for name, low, high in intervals(values, resampled, draws, images):
            hits.setdefault(name, []).append(low <= TRUTH <= high)
            widths.setdefault(name, []).append(50 * (high - low))
    return {name: (float(np.mean(hits[name])), float(np.mean(widths[name]))) for name in hits}


WORLDS = {
    "images and seeds matter": World(),
    "seeds matter": World(image_method=0.0, everything=0.0),
    "images matter": World(image_method=4.0, seed=0.0, everything=0.5),
    "only chance of both together": World(image_method=0.0, seed=0.0, everything=4.0),
}


def main() -> None:
    print("| world | seeds | images | " + " | ".join(("crossed", "percentile", "seeds only")) + " |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, world in WORLDS.items():
        for seeds, images in ((2, 64), (3, 64), (3, 500), (5, 64)):
            found = coverage(world, seeds, images, 1000)
            cells = (f"{share:.1%} (± {width:.1f} %)" for share, width in found.values())
            print(f"| {name} | {seeds} | {images} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
