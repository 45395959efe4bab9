"""How a rate-quality curve becomes one that rises: near points are averaged, and a curve that falls anywhere is fitted.

A curve is a float64 array [P, 2] of (ln rate, quality), sorted by rate. BD-rate reads rate as a function of quality, so both
must rise strictly. Each curve is treated without looking at its partner, so that (1 + BD(A→B))·(1 + BD(B→A)) = 1 holds.
`studies/near_points.py` shows what near points do, `studies/monotone_policy.py` compares the fit with other policies.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
TIE = 1e-12  # rates nearer than this (relative), or qualities nearer than this part of the curve's range, are the same
NEAR = np.log(1.02)  # rates within 2 % of each other are one rate, measured twice


def is_rising(points: Points) -> NDArray[np.bool_]:
    """Whether rate and quality both rise strictly: curves [..., P, 2], sorted by rate, to bool [...]."""
    if points.shape[-2] < 2:
        return np.ones(points.shape[:-2], bool)
    steps, reach = np.diff(points, axis=-2), np.ptp(points[..., 1], axis=-1)
    rising: NDArray[np.bool_] = ((steps[..., 0] > TIE) & (steps[..., 1] > TIE * reach[..., None])).all(-1)
    return rising


def is_spread(points: Points) -> NDArray[np.bool_]:
    """Whether no two rates are near each other: curves [..., P, 2], sorted by rate, to bool [...]."""
    spread: NDArray[np.bool_] = (np.diff(points[..., 0], axis=-1) > NEAR).all(-1)
    return spread


def merged(points: Points) -> Points:
    """Groups of points within 2 % of the rate of their first, each replaced by its mean, until no two are near: [≤ P, 2].

    Between two near points the slope is noise, and every piecewise interpolation carries it into the segments beside them.
    """
    groups = [points[:1]] if len(points) else []
    for point in points[1:]:
        if point[0] - groups[-1][0, 0] <= NEAR:
            groups[-1] = np.vstack([groups[-1], point])
        else:
            groups.append(point[None])
    means = np.array([group.mean(0) for group in groups]).reshape(-1, 2)
    return means if is_spread(means) else merged(means)


def constrained_cubic(points: Points) -> Points:
    """The least-squares cubic of quality over log rate whose slope is nowhere negative, at the (distinct) rates of the points.

    After the curve fitting of MPEG's VCM test conditions (H. Wang and others, Image Coding Symposium 2024), which ask for the
    slope at the points only. Fewer than four points: a polynomial of lower degree. A flat fit leaves one point; where
    part of the fit is flat, its later points are dropped.
    """
    from scipy.optimize import nnls

    reach = np.ptp(points[:, 1]) if len(points) else 0
    if reach == 0:
        return points[:1]
    powers = np.arange(4)
    q, r = np.linalg.qr(((points[:, :1] - points[0, 0]) / np.ptp(points[:, 0])) ** powers)
    rank = int(np.logical_and.accumulate(abs(np.diag(r)) > 1e-6).sum())  # too few rates: a lower degree
    q, r, powers = q[:, :rank], r[:rank, :rank], powers[:rank]
    slopes = np.linalg.solve(r.T, (powers * np.linspace(0, 1, 41)[:, None] ** np.maximum(powers - 1, 0)).T)
    slopes /= np.linalg.norm(slopes, axis=0)
    # In the basis q the fits with no negative slope are a cone, and the nearest one is found by its dual (Moreau, 1962).
    free = q.T @ ((points[:, 1] - points[0, 1]) / reach)
    fitted = points[0, 1] + reach * (q @ (free + slopes @ nnls(slopes, -free)[0]))
    # Between the 41 points where the slope is constrained it may dip slightly below 0; a smaller rise counts as flat.
    return climbing(np.column_stack([points[:, 0], fitted]), reach, least=1e-6)


def rising(points: Points) -> Points:
    """The curve without near points, and its constrained cubic where that does not rise strictly: [≤ P, 2]."""
    apart = points if is_spread(points) else merged(points)
    return apart if is_rising(apart) else constrained_cubic(apart)


def climbing(points: Points, reach: float, least: float = TIE) -> Points:
    """The points that rise above all before them by more than the part `least` of `reach`."""
    kept = [0]
    for k in range(1, len(points)):
        if points[k, 1] > points[kept[-1], 1] + least * reach:
            kept.append(k)
    return points[kept]
