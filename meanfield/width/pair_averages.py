r"""Gaussian averages of products of `phi` at two inputs, with their derivatives by the kernel.

In units of their standard deviations rotate `z_1`, `z_2` of correlation `c = 1 - g >= 0` into
`x + y` and `x - y` with independent `x ~ N(0, 1 - g/2)`, `y ~ N(0, g/2)`. Kinks `b` of `phi` are
at `x = b_1 - y` and `x = b_2 + y`: panels in `x` end there, so that the integrals over `x` are
smooth in `y` but for `y = (b_1 - b_2)/2`. Negative correlations are those of `phi(z)`, `phi(-z)`.

With `K = ((K11, K12), (K12, K22))`, `H = <phi_1 phi_2>` and `w = K^-1 z`, by Stein's lemma

    dH/dK12 = <phi'_1 phi'_2>,   dH/dK11 = (<z_1 phi'_1 phi_2> - K12 <phi'_1 phi'_2>) / (2 K11)
    d<f>/dK12 = <f (w_1 w_2 - K^-1_12)>,   d<f>/dK11 = <f (w_1^2 - K^-1_11)> / 2

so that no second derivative of `phi` is taken, and kinks do no harm.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.legendre import WEIGHTS, nodes
from meanfield.sides import Side, side_of, subdivided

__all__ = ["PairAverages", "pair_averages"]

Array = NDArray[np.float64]

_SIGMAS = 9.5  # of x and of y
_WIDEST = 2.0  # panels in standard deviations


@dataclass(frozen=True)
class PairAverages:
    """Averages over `z_1`, `z_2`; axes of kernels are (11, 12, 22).

    Attributes:
        second: `<phi_a phi_b>`, shape (3,).
        fourth: `<phi_a phi_b phi_c phi_d>`, shape (3, 3).
        slope: `<phi'_1 phi'_2>`.
        first: `d<phi_1 phi_2>/dK`, shape (3,).
        bend: `d^2<phi_1 phi_2>/dK dK`, shape (3, 3); loses digits as `1/(1 - c^2)`.
    """

    second: Array
    fourth: Array
    slope: float
    first: Array
    bend: Array


def pair_averages(activation: Activation, q1: float, q2: float, g: float, h: float) -> PairAverages:
    """At variances `q1`, `q2` and the correlation `1 - g = h - 1`, which is neither -1 nor 1."""
    sides = [side_of(activation, q1), side_of(activation, q2, mirrored=g > 1)]
    slopes = [
        side_of(activation, q1, derivative=True),
        side_of(activation, q2, mirrored=g > 1, derivative=True),
    ]
    gap = min(g, h)  # 1 - |c|
    x, y, weight = _nodes(sides, gap)
    u, v = x + y, x - y
    z1, z2 = sides[0].scale * u, sides[1].scale * v
    f1, f2, d1, d2 = sides[0](u), sides[1](v), slopes[0](u), slopes[1](v)
    # K^-1 z in units of standard deviations, where x and y are independent
    w1 = (x / (2 - gap) + y / gap) / sides[0].scale
    w2 = (x / (2 - gap) - y / gap) / sides[1].scale
    c = 1 - g
    inverse = np.array([1 / q1, -c / np.sqrt(q1 * q2), 1 / q2]) / (g * h)
    by11, by12, by22 = (
        weight * (product - entry) * scale
        for product, entry, scale in zip(
            (w1 * w1, w1 * w2, w2 * w2), inverse, (0.5, 1.0, 0.5), strict=True
        )
    )
    products = np.stack([f1 * f1, f1 * f2, f2 * f2])
    # sums so short that the threads of a BLAS would wait for each other longer
    second = np.einsum("n,an->a", weight, products)
    fourth = np.einsum("an,bn->ab", products * weight, products)
    K12 = c * np.sqrt(q1 * q2)
    slope, left, right = d1 * d2, z1 * d1 * f2, z2 * d2 * f1
    B, A, C = (_sum(weight, part) for part in (slope, left, right))
    first = np.array([(A - K12 * B) / (2 * q1), B, (C - K12 * B) / (2 * q2)])
    B11, B12, B22 = (_sum(by, slope) for by in (by11, by12, by22))
    own11 = (_sum(by11, left) - K12 * B11 - 2 * first[0]) / (2 * q1)
    own22 = (_sum(by22, right) - K12 * B22 - 2 * first[2]) / (2 * q2)
    bend = np.array([[own11, B11, B12 / 4], [B11, B12, B22], [B12 / 4, B22, own22]])
    return PairAverages(second, fourth, B, first, bend)


def _sum(weight: Array, f: Array) -> float:
    return float(np.einsum("n,n", weight, f))


def _nodes(sides: list[Side], gap: float) -> tuple[Array, Array, Array]:
    """Nodes `x`, `y` and their weights, each of shape (n,)."""
    spread_x, spread_y = np.sqrt(1 - gap / 2), np.sqrt(gap / 2)
    apart = 0.5 * np.subtract.outer(sides[0].kinks, sides[1].kinks).ravel()
    end = _SIGMAS * spread_y
    ends = np.concatenate([[-end, 0.0, end], apart[np.abs(apart) < end]])
    edges = subdivided(np.unique(ends), _WIDEST * min(spread_y, 0.5 * spread_x))
    y = nodes(edges[:-1], edges[1:]).ravel()
    dy = (0.5 * np.diff(edges)[:, None] * WEIGHTS).ravel()
    dy = dy * np.exp(-0.5 * (y / spread_y) ** 2) / (np.sqrt(2 * np.pi) * spread_y)
    kept = dy > 1e-24
    y, dy = y[kept], dy[kept]
    end = _SIGMAS * spread_x
    fixed = np.linspace(-end, end, int(np.ceil(2 * _SIGMAS / _WIDEST)) + 1)
    moving = [sides[0].edges - y[:, None], sides[1].edges + y[:, None]]
    all_edges = np.concatenate([*moving, np.broadcast_to(fixed, (len(y), len(fixed)))], axis=1)
    all_edges = np.sort(np.clip(all_edges, -end, end), axis=1)
    left, right = all_edges[:, :-1].ravel(), all_edges[:, 1:].ravel()
    row = np.repeat(np.arange(len(y)), all_edges.shape[1] - 1)
    wide = right > left
    left, right, row = left[wide], right[wide], row[wide]
    x = nodes(left, right)
    dx = 0.5 * (right - left)[:, None] * WEIGHTS
    weight = dx * np.exp(-0.5 * (x / spread_x) ** 2) / (np.sqrt(2 * np.pi) * spread_x)
    weight = weight * dy[row][:, None]
    y_all = np.broadcast_to(y[row][:, None], x.shape)
    good = weight.ravel() > 1e-26
    return x.ravel()[good], y_all.ravel()[good], weight.ravel()[good]
