r"""Dual activations of a set of signals: `E[phi(u_a) phi(u_b)]` for every pair of them.

As half mean squared differences `E[(phi(u_a) - phi(u_b))^2] / 2`, which keep their relative
precision where two signals are almost one (see `meanfield.bivariate`). Signals of one variance are
one call. Many different variances, as on a graph, are had from Hermite coefficients `a_k(q)`,

    E[phi(u_a) phi(u_b)] = sum_k a_k(q_a) a_k(q_b) c^k,

themselves interpolated in `log q`; what the terms left out can amount to is in the error.
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from meanfield.activation import Activation, remembered
from meanfield.bivariate import Covariance
from meanfield.errors import UnresolvedError
from meanfield.hermite import hermite_coefficients
from meanfield.layers.state import State
from meanfield.maps.moment import second_moment

__all__ = ["Dual", "dual"]

Array = NDArray[np.float64]

_MANY = 64  # pairs of variances from which on Hermite coefficients are less work
_COUNT = 256
_NODES = 16  # on an octave of q, as in meanfield.interpolation
_POINTS = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
_TO_SERIES = chebyshev.chebvander(_POINTS, _NODES - 1).T * (2 / _NODES)
_TO_SERIES[0] *= 0.5


class Dual(NamedTuple):
    """`E[f(u_a)^2]`, `E[(f(u_a) - f(u_b))^2] / 2`, and a bound of their relative error."""

    variance: Array
    gap: Array
    error: float

    @property
    def covariance(self) -> Array:
        """`E[f(u_a) f(u_b)]`."""
        return 0.5 * (self.variance[:, None] + self.variance) - self.gap


def dual(activation: Activation, state: State, derivative: bool = False) -> Dual:
    """The dual of `phi`, or of `phi'`, for signals that are Gaussian."""
    name, written = ("dphi2", "E[phi'^2]") if derivative else ("phi2", "E[phi^2]")
    distinct, which = np.unique(state.variance, return_inverse=True)
    moment = second_moment(activation, distinct, name, derivatives=False)
    unknown = np.isinf(moment.error) & (moment.value != np.inf)
    if np.any(unknown):
        raise UnresolvedError(activation.why_not(float(distinct[np.argmax(unknown)]), written))
    second = moment.value[which]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = float(np.nanmax(np.where(second > 0, moment.error[which] / second, 0.0)))
    gap = np.zeros_like(state.gap)
    apart = np.triu(np.isfinite(second[:, None] + second), 1)
    if not np.any(apart):
        return Dual(second, gap, error)
    rows, columns = np.nonzero(apart)
    pairs = distinct[np.stack([which[rows], which[columns]])]
    g = state.one_minus[rows, columns]
    if activation.is_homogeneous:
        value, relative = _homogeneous(activation, pairs, g, derivative)
    elif len(np.unique(pairs, axis=1)[0]) <= _MANY:
        value, relative = _each(activation, pairs, g, derivative)
    else:
        value, relative = _hermite(activation, pairs, g, derivative)
    gap[rows, columns] = gap[columns, rows] = value
    return Dual(second, gap, max(error, relative))


@remembered
def _unit(activation: Activation, derivative: bool) -> Covariance:
    return Covariance(activation, 1.0, derivative)


def _homogeneous(
    activation: Activation, pairs: Array, g: Array, derivative: bool
) -> tuple[Array, float]:
    """`phi(a x) = a phi(x)`: one table of unit variance for all pairs."""
    unit = _unit(activation, derivative)
    d = unit.difference(g)
    error = float(np.max(d.error / np.maximum(d.value, 1e-300), where=g > 0, initial=0.0))
    if derivative:
        return d.value, error
    a, b = np.sqrt(pairs)
    return 0.5 * unit.second_moment * (a - b) ** 2 + a * b * d.value, error


def _each(activation: Activation, pairs: Array, g: Array, derivative: bool) -> tuple[Array, float]:
    """Every pair of variances by itself, to the last digit."""
    value, error = np.zeros_like(g), 0.0
    distinct, which = np.unique(pairs, axis=1, return_inverse=True)
    for k, (first, second) in enumerate(distinct.T):
        here = which.ravel() == k
        q = (float(first), float(second)) if first != second else float(first)
        if min(first, second) == 0:
            raise UnresolvedError(
                f"{activation.name}: a signal of variance 0 has no correlation with others; give "
                "its dense layer a bias_var"
            )
        d = Covariance(activation, q, derivative).difference(g[here])
        value[here] = d.value
        error = max(error, float(np.max(d.error / np.maximum(d.value, 1e-300), where=g[here] > 0,
                                        initial=0.0)))  # fmt: skip
    return value, error


@remembered
def _series(activation: Activation, octave: int, count: int) -> tuple[Array, float]:
    """Chebyshev series in `log q` of the coefficients on `[2^octave, 2^(octave + 1)]`."""
    q = np.exp2(octave + 0.5 + 0.5 * _POINTS)
    found = [hermite_coefficients(activation, float(x), count) for x in q]
    error = max(float(np.max(f.error) / np.sqrt(np.sum(f.coefficients**2))) for f in found)
    return _TO_SERIES @ np.stack([f.coefficients for f in found]), error


def _hermite(
    activation: Activation, pairs: Array, g: Array, derivative: bool
) -> tuple[Array, float]:
    """Many variances, each with its own coefficients; the derivative has `sqrt(k/q) a_k`."""
    distinct, which = np.unique(pairs, return_inverse=True)
    first, second = which.reshape(pairs.shape)
    octaves = np.floor(np.log2(distinct)).astype(int)
    k = np.arange(_COUNT)
    a, doubt = np.empty((len(distinct), _COUNT)), 0.0
    for octave in np.unique(octaves):
        series, error = _series(activation, int(octave), _COUNT)
        here = octaves == octave
        powers = chebyshev.chebvander(2 * (np.log2(distinct[here]) - octave) - 1, _NODES - 1)
        a[here], doubt = powers @ series, max(doubt, error)
    if derivative:
        a *= np.sqrt(k / distinct[:, None])
    moment = second_moment(activation, distinct, "dphi2" if derivative else "phi2", False).value
    left = np.maximum(moment - np.sum(a**2, axis=1), 0.0)  # of the series, at c = 1
    value, bound = np.empty_like(g), np.empty_like(g)
    for chunk in np.array_split(np.arange(len(g)), -(-len(g) // 4096)):
        x, y, c = a[first[chunk]], a[second[chunk]], 1 - g[chunk]
        faded = -np.expm1(k * np.log(np.abs(c))[:, None]) if np.all(c > 0) else 1 - c[:, None] ** k
        value[chunk] = np.sum(0.5 * (x - y) ** 2 + x * y * faded, axis=1)
        rest = np.sqrt(left[first[chunk]] * left[second[chunk]])
        bound[chunk] = (1 - np.clip(c, 0.0, 1.0) ** _COUNT) * rest  # of terms that have not faded
    return value, float(np.max((bound + doubt * value) / np.maximum(value, 1e-300)))
