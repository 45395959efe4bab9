"""How far does a rate point that nearly coincides with its neighbour move a BD-rate? A simulation with a known answer.

    .venv/bin/python -m studies.near_points

A test curve of four to seven points gets one more point, near one of its own in rate, on the true curve but for noise of
quality. Printed is how far that moves the BD-rate: root mean square and greatest, in percentage points, with near points
taken as they are and averaged (`icmbench.stats.monotone.merged`). Of what it printed (numpy
2.4.6, scipy 1.17.1):

| noise, distance | as it is | averaged |
| --- | --- | --- |
| 0.0, 0.3% | 0.29 (most 1.8) | 0.00 (most 0.0) |
| 0.0, 1.0% | 0.22 (most 1.7) | 0.01 (most 0.0) |
| 0.0, 3.0% | 0.21 (most 1.5) | 0.21 (most 1.5) |
| 0.1, 0.3% | 0.63 (most 3.0) | 0.13 (most 0.6) |
| 0.1, 1.0% | 0.69 (most 5.1) | 0.14 (most 0.8) |
| 0.1, 3.0% | 0.53 (most 3.2) | 0.53 (most 3.2) |
| 0.3, 0.3% | 0.98 (most 4.6) | 0.41 (most 1.7) |
| 0.3, 1.0% | 0.81 (most 3.8) | 0.34 (most 1.2) |
| 0.3, 3.0% | 0.81 (most 3.6) | 0.81 (most 3.6) |
| 1.0, 0.3% | 1.52 (most 5.3) | 1.19 (most 4.6) |
| 1.0, 1.0% | 1.68 (most 5.4) | 1.35 (most 4.5) |
| 1.0, 3.0% | 1.54 (most 6.5) | 1.54 (most 6.5) |

Averaging removes what the interpolation adds; what is left is the noise of the measurement itself, which is most of it at 1
point. From 2 % on a point is one of its own and is used as it is.
"""

from unittest.mock import patch

import numpy as np

from icmbench.stats import monotone
from icmbench.stats.bdrate import Curve, FloatArray, bd_rate

DRAWS = 200
DISTANCES = (0.001, 0.003, 0.01, 0.02, 0.03)
NOISES = (0.0, 0.1, 0.3, 1.0)


def quality(rates: FloatArray) -> FloatArray:
    """The true curve, in percent over bpp."""
    return 40 - 25 * np.exp(-6 * rates)


def curve(rng: np.random.Generator, count: int, scale: float = 1.0) -> FloatArray:
    """`count` points of the true curve at `scale` times its rate, [count, 2]."""
    rates = np.sort(np.geomspace(0.06, 0.6, count) * np.exp(rng.normal(0, 0.08, count)))
    return np.column_stack([scale * rates, quality(rates)])


def moved(rng: np.random.Generator, distance: float, noise: float) -> tuple[float, float]:
    """By how many percentage points the additional point moves the BD-rate: as it is, and averaged with its neighbour."""
    anchor, test = curve(rng, 4), curve(rng, int(rng.integers(4, 8)), 0.9)
    rate = test[rng.integers(len(test)), 0] * np.exp(distance * rng.choice([-1, 1]))
    more = np.vstack([test, [rate, quality(rate / 0.9) + noise * rng.standard_normal()]])
    with patch.object(monotone, "NEAR", 0.0):
        plain = percent(anchor, more)
    return plain - percent(anchor, test), percent(anchor, more) - percent(anchor, test)


def percent(anchor: FloatArray, test: FloatArray) -> float:
    """BD-rate in percent; nan without one."""
    curves: list[Curve] = [[(float(rate), float(score)) for rate, score in points] for points in (anchor, test)]
    found = bd_rate(*curves).percent
    return np.nan if found is None else found


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(20240212)
    print("| noise, distance | as it is | averaged |\n| --- | --- | --- |")
    for noise in NOISES:
        for distance in DISTANCES:
            moves = np.array([moved(rng, distance, noise) for _ in range(DRAWS)])
            rms, most = np.sqrt(np.nanmean(moves**2, 0)), np.nanmax(abs(moves), 0)
            cells = (f"{one:.2f} (most {two:.1f})" for one, two in zip(rms, most, strict=True))
            print(f"| {noise}, {distance:.1%} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
