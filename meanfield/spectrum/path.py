r"""A path of integration over `z` on which `1 / (u - phi'(z)^2)` has no pole nearby.

As `u` in the upper half plane comes down to the axis, so do the poles come to the real `z` with
`phi'(z)^2 = u`: from above where `X = phi'^2` rises and from below where it falls. Between the
places where it turns, the path therefore runs on the other side, where `X` is in the lower half
plane; the integral is the same.
"""

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import nodes
from meanfield.spectrum.slope import SlopePieces

__all__ = ["SIGMAS", "on_panels", "panels"]

Array = NDArray[np.float64]
Complex = Any  # an array of complex128

SIGMAS = 12.0  # beyond: a probability of 1e-33
_ZERO = 1e-20  # beside the largest value
_GRADING = 4.0 ** -np.arange(22, -1, -1.0)  # distances of panels from a zero of phi'
_TILT = 0.5  # tangent of the angle at which the path leaves a turning point
_TURN = 0.5  # of X in the complex plane, to first order
_SHARE = 0.25  # of the panel on which phi' is a polynomial
_DEEPEST = 0.5  # the Gaussian grows by exp(1/8)
_STEP = 1e-2
_CHANGE = 4.0  # of log X across a panel
_SEEN = 8.0  # standard deviations
_UNSEEN = 1e-15  # probability of a panel next to a zero


def panels(pieces: SlopePieces, sigma: float) -> tuple[Complex, Complex]:
    """Ends of panels on the path, in standard deviations, without those where `X` is constant."""
    turns = pieces.cuts / sigma
    at_turns = pieces.squared(pieces.cuts)
    middles = 0.5 * (pieces.left + pieces.right)
    largest = np.max(pieces.squared(middles[np.abs(middles) <= SIGMAS * sigma]))
    zeros = turns[at_turns <= _ZERO * largest]
    graded = np.concatenate([np.zeros(0), *(x + s * _GRADING for x in zeros for s in (-1, 1))])
    graded = graded[
        _distance(graded, turns) >= np.maximum(0.9 * _GRADING[0], _UNSEEN * _rarity(graded))
    ]
    edges = np.concatenate([turns, graded, np.arange(-SIGMAS, SIGMAS + 1)])
    low, high = max(-SIGMAS, pieces.left[0] / sigma), min(SIGMAS, pieces.right[-1] / sigma)
    edges = np.unique(np.clip(edges, low, high))
    edges = np.append(_divided(pieces, sigma, edges, turns), edges[-1])
    centre = sigma * 0.5 * (edges[:-1] + edges[1:])[:, None]
    flat = np.any((centre > pieces.flat[:, 0]) & (centre < pieces.flat[:, 1]), axis=1)
    path = _lowered(pieces, sigma, edges, turns)
    return path[:-1][~flat], path[1:][~flat]


def on_panels(
    pieces: SlopePieces, sigma: float, left: Complex, right: Complex
) -> tuple[Complex, Complex]:
    """`X` and the density of `z` at the nodes of panels."""
    z = nodes(left, right)
    value = pieces.squared(sigma * z.ravel()).reshape(z.shape)
    value.imag = np.minimum(value.imag, -0.0)  # above the axis by rounding alone
    return value, np.exp(-0.5 * z * z) / sqrt(2 * np.pi)


def _rarity(z: Array) -> Array:
    """One over the density."""
    return sqrt(2 * np.pi) * np.exp(np.minimum(0.5 * z * z, 700.0))


def _divided(pieces: SlopePieces, sigma: float, edges: Array, turns: Array) -> Array:
    """Left ends of panels across which `log X` does not change much, nor from turn to turn."""
    left, right = edges[:-1], edges[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(
            np.diff(
                np.log(
                    [pieces.squared(sigma * left), pieces.squared(sigma * right, -1)],
                ),
                axis=0,
            )
        )[0]
    seen = np.isfinite(change) & (np.minimum(np.abs(left), np.abs(right)) < _SEEN)
    count = np.where(seen, np.ceil(change / _CHANGE), 1.0)
    straight = np.isin(left, turns) & np.isin(right, turns)
    count = np.maximum(count, 1 + straight).astype(int)
    part = np.arange(np.sum(count)) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(left, count) + part * np.repeat((right - left) / count, count)


def _distance(x: Array, turns: Array) -> Array:
    """From each `x` to the nearest turn; these are in order, and can be thousands."""
    walls = np.concatenate([[-np.inf], turns, [np.inf]])
    after = np.searchsorted(turns, x) + 1
    return np.minimum(x - walls[after - 1], walls[after] - x)


def _lowered(pieces: SlopePieces, sigma: float, edges: Array, cuts: Array) -> Complex:
    """Edges of panels moved to where `X` is in the lower half plane, those that are turns not."""
    distance = np.minimum(_distance(edges, cuts), 1.0)
    step = _STEP * distance
    before, value, after = (pieces.squared(sigma * (edges + k * step)) for k in (-1, 0, 1))
    panel = pieces.panel(sigma * edges)
    wide = (pieces.right - pieces.left)[panel] / sigma
    with np.errstate(divide="ignore", invalid="ignore"):
        slope, bend = (after - before) / (2 * step), (after - 2 * value + before) / step**2
        # neither X nor its slope, which tells on which side of the axis it is, may turn far
        turns = value / np.abs(slope), np.abs(slope / bend)
        limits = _TILT * distance, _TURN * turns[0], _TURN * turns[1], _SHARE * wide
        depth = np.fmin(_DEEPEST, np.fmin.reduce(limits))
    return edges - 1j * np.sign(after - before) * np.where(distance > 0, depth, 0.0)
