r"""Duals of signals of many different variances, from Hermite coefficients `a_k(q)`.

    E[phi(u) phi(v)] = sum_k a_k(q_u) a_k(q_v) c^k,

interpolated in `log q`, and summed as half mean squared differences,

    E[(phi(u) - phi(v))^2] / 2 = sum_k (a_k(q_u) - a_k(q_v))^2 / 2
                                 + (1 - c) sum_m c^m sum_(k > m) a_k(q_u) a_k(q_v),

which keeps its relative precision as `c -> 1`.
"""

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from meanfield.activation import Activation, remembered
from meanfield.hermite import hermite_coefficients
from meanfield.maps.moment import second_moment

__all__ = ["many_differences"]

Array = NDArray[np.float64]

_COUNTS = (64, 256, 1024)
_LEFT = 1e-15  # of the second moment: what a series may leave out
_NODES = 16  # on an octave of q, as in meanfield.interpolation
_POINTS = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
_TO_SERIES = chebyshev.chebvander(_POINTS, _NODES - 1).T * (2 / _NODES)
_TO_SERIES[0] *= 0.5
_AT_ONCE = 1 << 13  # pairs: what fits into the cache


@remembered
def _series(activation: Activation, cell: int, count: int) -> tuple[Array, float]:
    """Chebyshev series in `log q` of the coefficients on a cell, and what they are off by."""
    q = np.exp2((cell + 0.5 + 0.5 * _POINTS) * _width(count))
    found = [hermite_coefficients(activation, float(x), count) for x in q]
    size = min(float(np.sum(f.coefficients**2)) for f in found) ** 0.5
    series = _TO_SERIES @ np.stack([f.coefficients for f in found])
    doubt = max(float(np.max(f.error)) for f in found) + float(np.max(np.abs(series[-1])))
    return series, doubt / size


def _width(count: int) -> float:
    """Octaves of a cell: `a_k` oscillates in `q` at the rate `sqrt(k)`."""
    return 1.0 if count <= 256 else 0.5


def _coefficients(activation: Activation, q: Array, count: int) -> tuple[Array, float]:
    """`a_k(q)`, shape `(n, count)`, and the largest error beside the root of their squares."""
    a, doubt = np.empty((len(q), count)), 0.0
    place = np.log2(q) / _width(count)
    cells = np.floor(place).astype(int)
    for cell in np.unique(cells):
        series, error = _series(activation, int(cell), count)
        here = cells == cell
        a[here] = chebyshev.chebvander(2 * (place[here] - cell) - 1, _NODES - 1) @ series
        doubt = max(doubt, error)
    return a, doubt


def many_differences(
    activation: Activation, pairs: Array, g: Array, derivative: bool
) -> tuple[Array, Array]:
    """`E[(f(u) - f(v))^2] / 2` at `c = 1 - g`, and bounds of its error, for pairs of variances.

    The derivative has the coefficients `sqrt(k / q) a_k`.
    """
    q, which = np.unique(pairs, return_inverse=True)
    first, second = which.reshape(pairs.shape)
    value = second_moment(activation, q, derivatives=False).value
    slopes = q * second_moment(activation, q, "dphi2", derivatives=False).value
    for count in _COUNTS:
        a, doubt = _coefficients(activation, q, count)
        k = np.arange(count)
        left = np.maximum(value - np.sum(a**2, axis=1), 0.0)
        rough = np.maximum(slopes - np.sum(k * a**2, axis=1), 0.0)
        if np.all(rough <= _LEFT * slopes * count):
            break
    if derivative:
        a, doubt, left, rough = (
            np.sqrt(k / q[:, None]) * a, doubt * np.sqrt(count), rough / q, np.full_like(q, np.inf)
        )  # fmt: skip
        value = slopes / q
    found, bound = np.empty_like(g), np.empty_like(g)
    for i in range(0, len(g), _AT_ONCE):
        part = slice(i, i + _AT_ONCE)
        x, y = a.T[:, first[part]], a.T[:, second[part]]
        found[part] = _summed(x, y, g[part])
        # of the terms left out, sum_k a_k b_k (1 - c^k) and sum_k (a_k - b_k)^2 / 2
        with np.errstate(invalid="ignore"):
            rest = np.minimum(
                2 * np.sqrt(left[first[part]] * left[second[part]]),
                np.sqrt(rough[first[part]] * rough[second[part]]) * g[part],
            )
        differ = first[part] != second[part]
        rest += np.where(differ, left[first[part]] + left[second[part]], 0.0)
        size = np.sqrt(value[first[part]] * value[second[part]])
        bound[part] = rest + doubt * np.sqrt(size * found[part])
    return found, bound


def _summed(x: Array, y: Array, g: Array) -> Array:
    """The series, for coefficients of shape `(count, pairs)`."""
    c, tail, total = 1 - g, np.zeros_like(g), np.zeros_like(g)
    for k in range(len(x) - 1, 0, -1):
        tail += x[k] * y[k]
        total *= c
        total += tail
    return 0.5 * np.sum((x - y) ** 2, axis=0) + g * total
