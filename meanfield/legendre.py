"""Sixteen Gauss-Legendre nodes on a panel, and what a polynomial through them tells.

On the panel `[a, b]`, with `x = (a + b)/2 + (b - a) u/2` and `u` in `[-1, 1]`, a function is
known by its values at `NODES`, equivalently by the coefficients of its Legendre series
`f(u) = sum_n c_n P_n(u)`, `n < 16`. The last coefficients say whether it is resolved.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NODES", "ORDER", "TO_COEFFICIENTS", "WEIGHTS", "coefficients", "nodes", "noise", "series",
    "slope_series", "slopes_at_nodes", "tail",
]  # fmt: skip

Array = NDArray[np.float64]

ORDER = 16
NODES, WEIGHTS = np.polynomial.legendre.leggauss(ORDER)

_VANDERMONDE = np.polynomial.legendre.legvander(NODES, ORDER - 1)
# c_n = (2n + 1)/2 sum_j w_j P_n(u_j) f_j; the rounding of the weights w_j would show in each c_n
TO_COEFFICIENTS = np.linalg.inv(_VANDERMONDE).T
_SLOPE = np.polynomial.legendre.legder(np.eye(ORDER)).T
_SLOPE_AT_NODES = _SLOPE @ _VANDERMONDE[:, :-1].T


def nodes(left: Array, right: Array) -> Array:
    """Nodes of the panels `[left, right]`, shape `(len(left), 16)`."""
    # weighting the ends keeps each node inside its panel; centre + half * u can round outside it
    return left[:, None] * (0.5 * (1 - NODES)) + right[:, None] * (0.5 * (1 + NODES))


def coefficients(values: Array) -> Array:
    """Legendre coefficients from values at the nodes, along the last axis."""
    return values @ TO_COEFFICIENTS


def tail(coefficient: Array) -> Array:
    """The size of what the series has left out: the larger of its last two coefficients."""
    return np.max(np.abs(coefficient[..., -2:]), axis=-1)


def noise(coefficient, size, eps: float, xp: Any = np):
    """Error of values on panels: their rounding, and what the end of the series shows of it.

    A smooth function's coefficients fall steadily, and what lies beyond the last ones falls on:
    only where they have levelled off are they noise. `xp` is the array module, numpy or jax.numpy.
    """
    middle = xp.max(xp.abs(coefficient[..., 7:10]), axis=-1)
    last = xp.max(xp.abs(coefficient[..., -2:]), axis=-1)
    levelled = xp.minimum(1.0, last / xp.where(middle > 0, middle, 1.0)) ** 2
    return last * levelled + eps * size


def slope_series(coefficient: Any, width: Any) -> Any:
    """Coefficients of the derivative in `x` of series on panels of the given width."""
    return (coefficient @ _SLOPE) * (2 / width)[:, None]


def slopes_at_nodes(coefficient: Any, width: Any) -> Any:
    """The derivative in `x` of series on panels of the given width, at the nodes."""
    return (coefficient @ _SLOPE_AT_NODES) * (2 / width)[:, None]


def series(coefficient: Array, u: Array) -> Array:
    """Sum of the series with `coefficient[i]` at `u[i]`, which may lie outside `[-1, 1]`."""
    vandermonde = np.polynomial.legendre.legvander(u, coefficient.shape[-1] - 1)
    return np.sum(vandermonde * coefficient, axis=-1)
