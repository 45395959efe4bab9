"""PCHIP of many curves at once, which scipy does only for curves with the same knots."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def pchip_means(x: FloatArray, y: FloatArray) -> FloatArray:
    """The integrals of M PCHIP interpolants over 0..1, from x and y [M, P], P ≥ 3, both rising: [M]."""
    width, slope = np.diff(x), np.diff(y) / np.diff(x)
    tangent = _tangents(width, slope)
    d0, d1 = width * tangent[:, :-1], width * tangent[:, 1:]

    def integral(t: FloatArray) -> FloatArray:  # of the cubic Hermite basis from the segment's start, over its width
        rise: FloatArray = t**3 - t**4 / 2
        return y[:, :-1] * (t - rise) + y[:, 1:] * rise + d0 * (t**2 / 2 - t**3 * 2 / 3 + t**4 / 4) + d1 * (t**4 / 4 - t**3 / 3)

    begin, end = (np.clip((edge - x[:, :-1]) / width, 0, 1) for edge in (0, 1))
    total: FloatArray = (width * (integral(end) - integral(begin))).sum(1)
    return total


def _tangents(width: FloatArray, slope: FloatArray) -> FloatArray:
    """Derivatives at the points of rising curves, [M, P], from [M, P − 1] each, as scipy's PchipInterpolator sets them.

    Inside: the weighted harmonic mean of the two slopes (Fritsch and Butland, 1984). Ends: a three-point estimate, cut to
    the sign of the first slope (Moler, Numerical Computing with MATLAB, section 3.6).
    """
    h0, h1, s0, s1 = width[:, :-1], width[:, 1:], slope[:, :-1], slope[:, 1:]
    inside = 3 * (h0 + h1) / ((2 * h1 + h0) / s0 + (h1 + 2 * h0) / s1)
    ends = [
        np.maximum(((2 * width[:, k] + width[:, n]) * slope[:, k] - width[:, k] * slope[:, n]) / (width[:, k] + width[:, n]), 0)
        for k, n in ((0, 1), (-1, -2))
    ]
    return np.column_stack([ends[0], inside, ends[1]])
