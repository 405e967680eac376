r"""Dual activations of a set of signals: `E[phi(u_a) phi(u_b)]` for every pair of them.

As `1 - c` of what they make, which keeps its relative precision where two signals are almost one.
Three ways, by what there is to compute:

- `phi(a x) = a phi(x)` for `a > 0`, as ReLU: closed forms of the angle alone (arc-cosine kernels,
  Cho & Saul 2009), for matrices of any size;
- few different variances: each pair of them to the last digit (`meanfield.bivariate`);
- many, as on a graph: Hermite series (`meanfield.layers.series`).
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.bivariate import Covariance
from meanfield.errors import UnresolvedError
from meanfield.layers.series import many_differences
from meanfield.layers.state import State, beside_silent, complements, row_blocks
from meanfield.layers.zoomed import far_apart, half_of, size_of, zoomed
from meanfield.maps.moment import second_moment
from meanfield.precision import EPS

__all__ = ["Dual", "Slopes", "dual", "dual_of_slopes"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

_MANY = 64  # pairs of variances from which on series are less work
_AT_ONCE = 1 << 17  # pairs
_LEAST = 1e-10  # beside the largest that is seen: samples begin farther out than less
_APART = 1e6  # by what variances differ whose pairs have few digits left


class Dual(NamedTuple):
    """`E[phi(u_a)^2]`, `1 - c` of `phi(u)`, and estimates of their relative errors."""

    variance: Array
    one_minus: Array
    error: float
    one_minus_error: float  # beside the largest


class Slopes(NamedTuple):
    """`E[phi'(u_a) phi'(u_b)]` and an estimate of its relative error."""

    covariance: Array
    error: float


def dual(activation: Activation, state: State) -> Dual:
    """What `phi` makes of Gaussian signals."""
    variance, error = _second(activation, state.variance, "phi2", "E[phi^2]")
    if activation.is_homogeneous:
        one_minus = beside_silent(state.variance, _angles(activation, state.one_minus))
        return Dual(variance, one_minus, error, error + 8 * EPS)
    finite = np.isfinite(variance)
    rows, columns = np.nonzero(np.triu(finite[:, None] & finite, 1))
    rows, columns, apart = _split(state.variance, rows, columns)
    gap, doubt = np.zeros_like(state.one_minus), 0.0
    one_minus = complements(variance, gap) if len(apart[0]) else gap
    if len(rows):
        value, bound = _differences(activation, state, rows, columns, False)
        gap[rows, columns] = gap[columns, rows] = value
        one_minus = complements(variance, gap)
        product = np.sqrt(variance[rows] * variance[columns])
        largest = np.max(one_minus)
        bound += 4 * EPS * gap[rows, columns]
        if largest > 0:  # of pairs of which one is silent it is known
            scale = product * largest
            relative = np.divide(bound, scale, out=np.zeros_like(bound), where=scale > 0)
            doubt = float(np.max(relative))
        else:
            doubt = np.inf if np.any(bound > 0) else 0.0
    if len(apart[0]):
        value, bound = _each_apart(activation, state, *apart, False)
        one_minus[apart[0], apart[1]] = one_minus[apart[1], apart[0]] = value
        doubt = max(doubt, float(np.max(bound / np.max(one_minus))))
    return Dual(variance, one_minus, error, doubt)


def dual_of_slopes(activation: Activation, state: State) -> Slopes:
    """The same of `phi'`, for the pairs whose tangents have a product at all."""
    second, error = _second(activation, state.variance, "dphi2", "E[phi'^2]")
    if activation.is_homogeneous:
        return Slopes(_angles_of_slopes(activation, state.one_minus), error + 8 * EPS)
    covariance = np.diag(second)
    finite = np.isfinite(second)
    rows, columns = np.nonzero(np.triu(finite[:, None] & finite & (state.tangent != 0), 1))
    rows, columns, apart = _split(state.variance, rows, columns)
    if len(apart[0]):
        value, bound = _each_apart(activation, state, *apart, True)
        covariance[apart[0], apart[1]] = covariance[apart[1], apart[0]] = value
        error = max(error, float(np.max(bound) / np.max(second[finite])))
    if len(rows):
        value, bound = _differences(activation, state, rows, columns, True)
        mean = 0.5 * (second[rows] + second[columns])
        covariance[rows, columns] = covariance[columns, rows] = mean - value
        error = max(error, float(np.max(bound / mean)))
    return Slopes(covariance, error)


def _split(
    variance: Array, rows: Indices, columns: Indices
) -> tuple[Indices, Indices, tuple[Indices, Indices]]:
    """Pairs, and those of them whose variances are too far from each other, or from the largest."""
    low, high = np.sort(np.stack([variance[rows], variance[columns]]), axis=0)
    largest = float(np.max(variance, where=np.isfinite(variance), initial=0.0))
    seen = largest if largest and half_of(largest) else 1.0
    apart = (low > 0) & ((low < _LEAST * seen) | (high > _APART * low))
    if len(np.unique(np.stack([low[apart], high[apart]]), axis=1).T) > _MANY:
        apart[:] = False  # as on a graph: they are too much work
    return rows[~apart], columns[~apart], (rows[apart], columns[apart])


def _each_apart(
    activation: Activation, state: State, rows: Indices, columns: Indices, derivative: bool
) -> tuple[Array, Array]:
    """`far_apart` of every pair of variances."""
    pairs, g = state.variance[np.stack([rows, columns])], state.one_minus[rows, columns]
    value, error = np.zeros_like(g), np.zeros_like(g)
    distinct, which = np.unique(pairs, axis=1, return_inverse=True)
    for k, (first, second) in enumerate(distinct.T):
        here = which.ravel() == k
        pair = float(first), float(second)
        value[here], error[here] = far_apart(activation, pair, g[here], derivative)
    return value, error


def _second(
    activation: Activation, variance: Array, name: str, written: str
) -> tuple[Array, float]:
    """`E[phi^2]` of each signal, or `E[phi'^2]`, and the largest relative error."""
    distinct, which = np.unique(variance, return_inverse=True)
    moment = second_moment(activation, distinct, name, derivatives=False)
    unknown = np.isinf(moment.error) & (moment.value != np.inf)
    if np.any(unknown):
        raise UnresolvedError(activation.why_not(float(distinct[np.argmax(unknown)]), written))
    known = (moment.value > 0) & np.isfinite(moment.value)
    relative = np.divide(moment.error, moment.value, out=np.zeros_like(distinct), where=known)
    return moment.value[which], float(np.max(relative))


def _differences(
    activation: Activation, state: State, rows: Indices, columns: Indices, derivative: bool
) -> tuple[Array, Array]:
    """`E[(f(u_a) - f(u_b))^2] / 2` of pairs, and bounds of its error."""
    if np.any(state.variance == 0):
        return _with_silent(activation, state, rows, columns, derivative)
    return _of_pairs(activation, state, rows, columns, derivative)


def _of_pairs(
    activation: Activation, state: State, rows: Indices, columns: Indices, derivative: bool
) -> tuple[Array, Array]:
    """The same of signals that are not 0, as many pairs at a time as take little memory."""
    largest = float(np.max(state.variance))
    if half := half_of(largest):  # samples begin farther out, or end before
        size = half if half < 0 else size_of(activation, 4.0**half)
        near = replace(state, variance=state.variance / 4.0**half)
        value, bound = _of_pairs(zoomed(activation, half, size), near, rows, columns, derivative)
        back = np.exp2(2.0 * (size - half if derivative else size))
        return value * back, bound * back
    heard = len(np.unique(state.variance))
    rule = _each if min(heard * (heard + 1) // 2, len(rows)) <= _MANY else many_differences
    value, bound = np.empty(len(rows)), np.empty(len(rows))
    for i in range(0, len(rows), _AT_ONCE):
        part = slice(i, i + _AT_ONCE)
        pairs = state.variance[np.stack([rows[part], columns[part]])]
        value[part], bound[part] = rule(
            activation, pairs, state.one_minus[rows[part], columns[part]], derivative
        )
    return value, bound


def _with_silent(
    activation: Activation, state: State, rows: Indices, columns: Indices, derivative: bool
) -> tuple[Array, Array]:
    """The same where signals are 0, which stay so if `phi(0) = 0`."""
    heard = (state.variance[rows] > 0) & (state.variance[columns] > 0)
    silent = second_moment(activation, np.zeros(1), derivatives=False).value[0]
    if not np.all(heard) and (derivative or silent > 0):
        raise UnresolvedError(
            f"{activation.name}: a signal of variance 0 has no correlation with others; give "
            "its dense layer a bias_var"
        )
    value, bound = np.zeros(len(rows)), np.zeros(len(rows))
    ends = state.variance[np.stack([rows, columns])]
    value[~heard] = 0.5 * np.sum(
        second_moment(activation, ends[:, ~heard].ravel(), derivatives=False).value.reshape(2, -1),
        axis=0,
    )
    if np.any(heard):
        value[heard], bound[heard] = _of_pairs(
            activation, state, rows[heard], columns[heard], derivative
        )
    return value, bound


def _each(activation: Activation, pairs: Array, g: Array, derivative: bool) -> tuple[Array, Array]:
    """Every pair of variances by itself, to the last digit."""
    value, error = np.zeros_like(g), np.zeros_like(g)
    distinct, which = np.unique(pairs, axis=1, return_inverse=True)
    for k, (first, second) in enumerate(distinct.T):
        here = which.ravel() == k
        q = (float(first), float(second)) if first != second else float(first)
        d = Covariance(activation, q, derivative).difference(g[here])
        value[here], error[here] = d.value, d.error
    return value, error


def _halves(activation: Activation) -> tuple[float, float]:
    """`phi(x) = linear x + even |x|`."""
    above, below = activation.sampled.values(np.array([1.0, -1.0]))
    return 0.5 * float(above - below), 0.5 * float(above + below)


def _angles(activation: Activation, one_minus: Array) -> Array:
    r"""`1 - c` of `phi(u)`, from `E|u||v| = (2/pi) (sin(t) + (pi/2 - t) cos(t))`, `c = cos(t)`.

    `1 - E|u||v| = (1 - c) - (2/pi) (sin(t) - t cos(t))` for `t <= pi/2`, and even in `c`.
    """
    linear, even = (part**2 for part in _halves(activation))
    result = np.empty_like(one_minus)
    for rows in row_blocks(len(one_minus)):
        g = one_minus[rows]
        folded = np.where(g > 1, 2 - g, g)
        result[rows] = (linear * g + even * (folded - (2 / np.pi) * _segment(folded))) / (
            linear + even
        )
    return result


def _segment(g: Array) -> Array:
    """`sin(t) - t cos(t)` with `1 - cos(t) = g`; its series where the difference loses digits."""
    t = 2 * np.arcsin(np.sqrt(0.5 * g))
    t2 = t * t
    series = t * t2 / 3 * (1 - t2 / 10 * (1 - t2 / 28 * (1 - t2 / 54 * (1 - t2 / 88))))
    return np.where(t < 0.2, series, np.sin(t) - t * (1 - g))


def _angles_of_slopes(activation: Activation, one_minus: Array) -> Array:
    """`E[phi' phi'] = linear^2 + even^2 E[sign(u) sign(v)]`, which is `1 - 2t / pi`."""
    linear, even = (part**2 for part in _halves(activation))
    result = np.empty_like(one_minus)
    for rows in row_blocks(len(one_minus)):
        t = 2 * np.arcsin(np.sqrt(0.5 * one_minus[rows]))
        result[rows] = linear + even * (1 - (2 / np.pi) * t)
    return result
