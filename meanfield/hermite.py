r"""Hermite coefficients of an activation: its dual activation, term by term.

`phi(sqrt(q) z) = sum_k a_k h_k(z)` with `h_k = He_k / sqrt(k!)`, orthonormal for `z ~ N(0, 1)`,
gives `E[phi(u) phi(v)] = sum_k a_k^2 c^k` for variances `q` and correlation `c` (Mehler's formula).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, as_activation
from meanfield.arrays import ArrayResult
from meanfield.criticality import checked_variances
from meanfield.keywords import spelt
from meanfield.legendre import WEIGHTS, nodes
from meanfield.precision import EPS
from meanfield.sides import side_of, subdivided
from meanfield.whole import whole_number

__all__ = ["HermiteCoefficients", "hermite_coefficients"]

Array = NDArray[np.float64]

_SIGMAS = 12.3  # the root of the density is 1e-17 there: |h_k| can be as large as its inverse
_WAVES = 6.0  # h_k has wavelengths of 2 pi / sqrt(k) and longer: these many radians a panel


@dataclass(frozen=True, eq=False)
class HermiteCoefficients(ArrayResult):
    """`a_k = E[phi(sqrt(q) z) h_k(z)]`, `k = 0 ... count - 1`; `np.asarray` gives `coefficients`.

    Attributes:
        activation: the `Activation`.
        q: the variance.
        coefficients: shape `(count,)`.
        error: bounds of their absolute errors, shape `(count,)`.
        remainder: `E[phi^2] - sum_k a_k^2`, what the terms left out amount to at `c = 1`.
    """

    _main = "coefficients"

    activation: Activation
    q: float
    coefficients: Array
    error: Array
    remainder: float

    def __repr__(self) -> str:
        certain = np.where(np.abs(self.coefficients) > self.error, self.coefficients, 0.0)
        shown = np.array2string(certain, precision=6, threshold=8, edgeitems=4)
        return f"HermiteCoefficients({self.activation.name}, q={self.q:.6g}, {shown})"


@spelt
def hermite_coefficients(
    phi: Callable | str | Activation, q: float = 1.0, count: int = 64
) -> HermiteCoefficients:
    r"""Coefficients of an activation in normalised Hermite polynomials.

    `a_k = E[phi(sqrt(q) z) He_k(z)] / sqrt(k!)`, `z ~ N(0, 1)`. Their squares are the power series
    of the dual activation, `E[phi(u) phi(v)] = sum_k a_k^2 c^k`.

    Args:
        phi: the activation, as for `critical`.
        q: variance of the pre-activations.
        count: number of coefficients, from 1 to 4096.

    Returns:
        `HermiteCoefficients`.

    Raises:
        TypeError: `count` is no whole number.
        ValueError: `q` or `count` is outside its range.
        UnresolvedError: the activation cannot be sampled to useful accuracy.

    Source: Daniely, Frostig & Singer 2016, arXiv 1602.05897, section 4.2 (dual activations).

    Example:
        >>> import meanfield as mf
        >>> a = mf.hermite_coefficients("relu", q=1.0, count=4)
        >>> [round(float(x), 6) for x in a]
        [0.398942, 0.5, 0.282095, 0.0]
    """
    variances = checked_variances("q", q)
    if variances.ndim:
        raise ValueError(f"q: must be one variance, got an array of shape {variances.shape}")
    variance = float(variances)
    count = whole_number("count", count, most=4096)
    activation = as_activation(phi)
    second = float(activation.moments(np.array([variance])).value[0, 1])
    sigmas, tail = _SIGMAS, np.inf
    while tail > EPS * np.sqrt(second):  # h_k grows as fast as its bound: phi must not grow too
        side = side_of(activation, variance, least=sigmas)
        ends = side.edges[[0, -1]]
        tail = float(np.sum(np.abs(side(ends)) * _root_density(ends)))
        if side.reach < sigmas:  # no farther
            break
        sigmas *= 1.25
    edges = subdivided(side.edges, min(1.5, _WAVES / np.sqrt(count)))
    z = nodes(edges[:-1], edges[1:])
    value = side(z.ravel())
    mass = (0.5 * np.diff(edges)[:, None] * WEIGHTS).ravel() * _root_density(z.ravel())
    # h_k times the root of the density is bounded: the polynomials alone overflow
    before, now = np.zeros(z.size), _root_density(z.ravel())
    coefficients, error = np.empty(count), np.empty(count)
    z = z.ravel()
    for k in range(count):
        coefficients[k] = np.sum(mass * value * now)
        error[k] = tail + np.sum(mass * np.abs(now) * (side.noise + (16 + k) * EPS * np.abs(value)))
        before, now = now, (z * now - np.sqrt(k) * before) / np.sqrt(k + 1)
    return HermiteCoefficients(
        activation, variance, coefficients, error, float(second - np.sum(coefficients**2))
    )


def _root_density(z: Array) -> Array:
    return np.exp(-0.25 * z * z) / (2 * np.pi) ** 0.25
