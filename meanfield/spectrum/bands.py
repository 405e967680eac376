"""The smallest intervals that hold all of `X = phi'^2`, to its limits at infinity."""

from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import LEAST_REACH, Activation
from meanfield.errors import UnresolvedError
from meanfield.spectrum.slope import LEVEL, SlopePieces, slope_pieces

__all__ = ["beyond", "union"]

Array = NDArray[np.float64]

_TOUCH = 0.1 * LEVEL
_FARTHEST = 2.0**10
_SETTLED = 1e-12
_MOVING = 0.1  # a slope that changes by more in the last octave goes on to 0 or infinity


def union(intervals: Array) -> Array:
    """Intervals as few that do not touch, in order; those of 0 alone left out."""
    bands: list[list[float]] = []
    for low, high in intervals[np.argsort(intervals[:, 0])].tolist():
        if bands and low <= bands[-1][1] * (1 + _TOUCH):
            bands[-1][1] = max(bands[-1][1], high)
        else:
            bands.append([low, high])
    return np.array([band for band in bands if band[1] > 0]).reshape(-1, 2)


@np.errstate(all="ignore")  # what overflows far out is as good as infinite
def beyond(activation: Activation, pieces: SlopePieces, end: float) -> Array:
    """The interval that `X` runs through from `end` outwards, shape (1, 2), or none.

    An activation that turns farther out reaches there what it has reached nearer, or hardly ever.
    """
    if np.any((pieces.flat[:, 0] < end) & (end < pieces.flat[:, 1])):
        return np.zeros((0, 2))
    side, far = np.sign(end), abs(end)
    seen = [float(pieces.squared(np.array([end]))[0])]
    while True:
        far *= 2
        reach = max(LEAST_REACH, 2.0 ** ceil(log2(far)))
        if reach > _FARTHEST:
            break
        try:
            wide = slope_pieces(activation, reach)
        except UnresolvedError:
            break
        if np.any(side * np.setdiff1d(wide.cuts, wide.lost) > abs(end)):
            return np.zeros((0, 2))
        seen.append(float(wide.squared(np.array([side * far * (1 - 1e-9)]))[0]))
        if abs(seen[-1] - seen[-2]) <= _SETTLED * seen[-2]:
            break
    limit = seen[-1]
    if len(seen) > 1 and abs(limit - seen[-2]) > _MOVING * seen[-2]:
        limit = 0.0 if limit < seen[-2] else np.inf
    return np.array([sorted([seen[0], limit])])
