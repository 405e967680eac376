r"""Many moments for the price of few: interpolation in `log q`.

`exp(-x^2 / 2q)` is analytic in `q` wherever `Re(1/q) > 0`, so every Gaussian moment, of however
rough an activation, is analytic in `t = log q` in the strip `|Im t| < pi/2`. On cells half an
octave wide, 16 Chebyshev nodes then leave (9.2)^-16 = 4e-16 of a moment whose size changes little
over a factor `sqrt(2)` of `q`. Where it changes much (tails: `E[relu(x - 6)^2]` at small `q`) the
last coefficients show it, and such cells are left to direct summation.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from meanfield.chebyshev import LEBESGUE, points, to_series
from meanfield.precision import EPS

__all__ = ["interpolate"]

Array = NDArray[np.float64]

_NODES = 16
_CELL = 0.5 * np.log(2.0)
_RESOLVED = 1e-14


def interpolate(
    direct: Callable[[Array], tuple[Array, Array, Array]], q: Array
) -> tuple[Array, Array]:
    """`direct(q)`, evaluated at fewer places where that is possible.

    Args:
        direct: gives values, bounds of their errors, and what an error must be small beside, each
            of shape (n, m), at variances of shape (n,).
        q: variances, shape (n,).

    Returns:
        Values and bounds of their errors, shape (n, m).
    """
    t = np.log(q) / _CELL
    cells, which = np.unique(np.floor(t).astype(int), return_inverse=True)
    if len(cells) * _NODES > len(q) // 2:
        return direct(q)[:2]
    centres = (cells[:, None] + 0.5 + 0.5 * points(_NODES)) * _CELL
    values, errors, sizes = (
        part.reshape(len(cells), _NODES, -1) for part in direct(np.exp(centres).ravel())
    )
    finite = np.all(np.isfinite(values), axis=(1, 2))
    coefficients = np.einsum(
        "jk,cjm->ckm", to_series(_NODES), np.where(np.isfinite(values), values, 0)
    )
    last = np.max(np.abs(coefficients[:, -2:]), axis=1)
    # what direct summation knows no better need not be interpolated better
    allowed = np.maximum(_RESOLVED * np.min(sizes, axis=1), np.min(errors, axis=1))
    good = finite & np.all(last <= allowed, axis=1)
    # rounding of the sum, and of log q on the way there and back
    shift = 4 * EPS * (np.abs(cells) + 2)[:, None, None] * np.arange(_NODES)[:, None]
    rounding = np.sum((EPS + shift) * np.abs(coefficients), axis=1)
    u = 2 * (t - np.floor(t)) - 1
    chebyshev = np.polynomial.chebyshev.chebvander(u, _NODES - 1)
    # cell by cell, in order of q: a product of matrices each, without copying coefficients
    result = np.empty((len(q), values.shape[2]))
    bound = np.empty_like(result)
    order = np.argsort(which, kind="stable")
    ends = np.searchsorted(which[order], np.arange(len(cells) + 1))
    for cell in np.flatnonzero(good):
        members = order[ends[cell] : ends[cell + 1]]
        result[members] = chebyshev[members] @ coefficients[cell]
        bound[members] = LEBESGUE * np.max(errors[cell], axis=0) + last[cell] + rounding[cell]
    rest = ~good[which]
    if np.any(rest):
        result[rest], bound[rest] = direct(q[rest])[:2]
    return result, bound
