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
from meanfield.chebyshev import points, to_series
from meanfield.hermite import hermite_coefficients
from meanfield.layers.kinked import coefficients_of_kinks, kinked_difference, kinks_of
from meanfield.precision import EPS

__all__ = ["many_differences"]

Array = NDArray[np.float64]

_COUNTS = (64, 256, 1024)
_LEFT = 1e-15  # of the second moment: what a series may leave out
_NODES = 16  # on an octave of q, as in meanfield.interpolation
_USUAL = 64.0  # variances up to which kinks are looked for, at least
_TAIL = 7.0
_ROUNDING = 100 * EPS
_AT_ONCE = 1 << 13  # pairs: what fits into the cache


@remembered
def _series(activation: Activation, cell: int, count: int, top: float) -> tuple[Array, float]:
    """Chebyshev series in `log q` of the coefficients on a cell, and what they are off by.

    Without those of the kinks, which oscillate.
    """
    q = np.exp2((cell + 0.5 + 0.5 * points(_NODES)) * _width(count))
    found = [hermite_coefficients(activation, float(x), count) for x in q]
    size = min(float(np.sum(f.coefficients**2)) for f in found) ** 0.5
    smooth = np.stack([f.coefficients for f in found])
    smooth -= coefficients_of_kinks(kinks_of(activation, top), q, count)
    series = to_series(_NODES).T @ smooth
    doubt = max(float(np.max(f.error)) for f in found) + float(np.max(np.abs(series[-1])))
    return series, doubt / size


def _width(count: int) -> float:
    """Octaves of a cell: `a_k` oscillates in `q` at the rate `sqrt(k)`."""
    return 1.0 if count <= 256 else 0.5


def _coefficients(activation: Activation, q: Array, count: int, top: float) -> tuple[Array, float]:
    """`a_k(q)` but for those of the kinks, shape `(n, count)`, and the largest error of them.

    The error is beside the root of the sum of their squares.
    """
    a, doubt = np.empty((len(q), count)), 0.0
    place = np.log2(q) / _width(count)
    cells = np.floor(place).astype(int)
    for cell in np.unique(cells):
        series, error = _series(activation, int(cell), count, top)
        here = cells == cell
        a[here] = chebyshev.chebvander(2 * (place[here] - cell) - 1, _NODES - 1) @ series
        doubt = max(doubt, error)
    return a, doubt


def many_differences(
    activation: Activation, pairs: Array, g: Array, derivative: bool
) -> tuple[Array, Array]:
    """`E[(f(u) - f(v))^2] / 2` at `c = 1 - g`, and estimates of its error, for pairs of variances.

    What its kinks make of a pair is computed by itself, and left out of the series. `phi'` has the
    coefficients `sqrt((k + 1) / q) a_(k+1)`.
    """
    q, which = np.unique(pairs, return_inverse=True)
    first, second = which.reshape(pairs.shape)
    top = max(_USUAL, 4.0 ** float(np.ceil(0.5 * np.log2(q[-1]))))
    kinks, count = kinks_of(activation, top), 0
    smooth = p = a = np.zeros((len(q), 0))
    doubt = 0.0
    for count in _COUNTS:
        smooth, doubt = _coefficients(activation, q, count, top)
        p = coefficients_of_kinks(kinks, q, count)
        a = smooth + p
        left = np.abs(smooth * (a + p))[:, -(count // 4) :]
        if np.all(np.sum(left, axis=1) * count <= _LEFT * np.sum(a**2, axis=1)):
            break
    if derivative:
        k = np.arange(1, count)
        a, p = (np.sqrt(k / q[:, None]) * part[:, 1:] for part in (a, p))
        doubt *= np.sqrt(count)
    size = np.sqrt(np.sum(a**2, axis=1))
    # a tail that falls as k^(-3/2) or faster is less than 7 times the last quarter of the series;
    # k times that of a jump does not fall so fast
    jumps = len(activation.jumps) or (derivative and len(activation.kinks) > len(kinks.place))
    last = slice(-(count // 4), None)
    left = np.abs(a - p)[:, last] * (np.abs(a) + np.abs(p))[:, last]
    left = np.where(left > _LEFT * size[:, None] ** 2, left, 0.0)  # and not rounding
    rest = _TAIL * np.sum(left, axis=1)
    rough = _TAIL * np.sum(left * np.arange(count - count // 4, count), axis=1)
    found, bound = np.empty_like(g), np.empty_like(g)
    for i in range(0, len(g), _AT_ONCE):
        part = slice(i, i + _AT_ONCE)
        one, other = first[part], second[part]
        found[part] = _summed(a.T[:, one], a.T[:, other], g[part])
        if len(kinks.place):
            found[part] -= _summed(p.T[:, one], p.T[:, other], g[part])
        faded = 2 * np.sqrt(rest[one] * rest[other])
        if not jumps:
            faded = np.minimum(faded, np.sqrt(rough[one] * rough[other]) * g[part])
        moved = np.minimum(1.0, 0.5 * count * np.abs(np.log(q[one] / q[other])))
        bound[part] = faded + moved**2 * (rest[one] + rest[other])
    if len(kinks.place):
        found += kinked_difference(kinks, pairs, g, derivative)
    scale = np.sqrt(size[first] * size[second])
    bound += doubt * scale * np.sqrt(np.maximum(found, 0.0)) + _ROUNDING * np.maximum(found, 0.0)
    return np.maximum(found, 0.0), bound


def _summed(x: Array, y: Array, g: Array) -> Array:
    """The series, for coefficients of shape `(count, pairs)`."""
    c, tail, total = 1 - g, np.zeros_like(g), np.zeros_like(g)
    for k in range(len(x) - 1, 0, -1):
        tail += x[k] * y[k]
        total *= c
        total += tail
    return 0.5 * np.sum((x - y) ** 2, axis=0) + g * total
