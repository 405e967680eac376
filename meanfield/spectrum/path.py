r"""A path of integration over `z` on which `1 / (u - phi'(z)^2)` has no pole nearby.

As `u` in the upper half plane comes down to the axis, so do the poles come to the real `z` with
`phi'(z)^2 = u`: from above where `X = phi'^2` rises and from below where it falls. Between the
places where it turns, the path therefore runs on the other side, where `X` is in the lower half
plane; the integral is the same.
"""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import nodes
from meanfield.spectrum.slope import SlopePieces

__all__ = ["SIGMAS", "on_panels", "panels"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

SIGMAS = 12.0  # beyond: a probability of 1e-33
_ZERO = 1e-20  # beside the largest turning value
_GRADING = 4.0 ** -np.arange(22, -1, -1.0)  # distances of panels from a zero of phi'
_TILT = 0.5  # tangent of the angle at which the path leaves a turning point
_TURN = 0.5  # of X in the complex plane, to first order
_SHARE = 0.25  # of the panel on which phi' is a polynomial
_DEEPEST = 0.5  # the Gaussian grows by exp(1/8)
_ON_AXIS = 1e-13  # an angle by rounding
_STEP = 1e-3


def panels(pieces: SlopePieces, sigma: float) -> tuple[Complex, Complex]:
    """Ends of panels on the path, in standard deviations, without those where `X` is constant."""
    turns = pieces.cuts / sigma
    at_turns = pieces.squared(pieces.cuts)
    zeros = turns[at_turns <= _ZERO * np.max(at_turns, initial=0.0)]
    graded = np.add.outer(zeros, np.concatenate([-_GRADING, _GRADING])).ravel()
    graded = graded[_distance(graded, turns) >= 0.9 * _GRADING[0]]
    edges = np.concatenate([turns, graded, np.arange(-SIGMAS, SIGMAS + 1)])
    low, high = max(-SIGMAS, pieces.left[0] / sigma), min(SIGMAS, pieces.right[-1] / sigma)
    edges = np.unique(np.clip(edges, low, high))
    straight = np.isin(edges[:-1], turns) & np.isin(edges[1:], turns)
    edges = np.sort(np.append(edges, 0.5 * (edges[:-1] + edges[1:])[straight]))
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
    # next to a turning point
    value.imag[np.abs(value.imag) <= _ON_AXIS * np.abs(value)] = -0.0
    return value, np.exp(-0.5 * z * z) / sqrt(2 * np.pi)


def _distance(x: Array, turns: Array) -> Array:
    return np.min(np.abs(x[:, None] - np.append(turns, np.inf)), axis=1)


def _lowered(pieces: SlopePieces, sigma: float, edges: Array, turns: Array) -> Complex:
    """Edges of panels moved to where `X` is in the lower half plane, those that are turns not."""
    distance = np.minimum(_distance(edges, turns), 1.0)
    step = _STEP * distance
    before, value, after = (pieces.squared(sigma * (edges + k * step)) for k in (-1, 0, 1))
    panel = pieces.panel(sigma * edges)
    wide = (pieces.right - pieces.left)[panel] / sigma
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (after - before) / (2 * step)
        limits = _TILT * distance, _TURN * value / np.abs(slope), _SHARE * wide
        depth = np.minimum(_DEEPEST, np.minimum.reduce(limits))
    return edges - 1j * np.sign(after - before) * np.where(distance > 0, depth, 0.0)
