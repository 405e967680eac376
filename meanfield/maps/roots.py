r"""All solutions of `V(q) = q` and of `V(q) = r`, by polynomials that leave none out.

On each cell of the table `f = V(q) - q` is a polynomial. Where its first coefficient exceeds the
sum of all others it has no root; elsewhere its extrema (the roots of its derivative, where
`V' = 1`) cut the cell into monotone pieces, at whose ends `f` is summed anew: a change of sign
brackets a root, and an extremum at which `f` is zero within its error is where the two curves only
touch. Such a double root is removed or split by rounding the variances to float64; a search for
changes of sign would find none or two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.maps.moment import NODES, Table, second_moment
from meanfield.maps.variance import VarianceMap
from meanfield.precision import EPS

__all__ = ["Crossing", "Crossings", "crossings", "difference"]

Array = NDArray[np.float64]

_EDGE = 1e-6  # roots of the derivative so little outside their cell are inside the next


class Crossing(NamedTuple):
    """A root of `f`, the signs beside it, and the width over which `f` is zero within its error."""

    q: float
    before: int
    after: int
    width: float


@dataclass(frozen=True)
class Crossings:
    """The roots in order; the signs of `f` at both ends of the table; where no sign is known.

    `unresolved` lists intervals of a cell at least on which `f` is zero within its error. The signs
    at the ends are those of the nearest place where there is one, 0 if there is none anywhere.
    """

    roots: tuple[Crossing, ...]
    at_zero: int
    at_infinity: int
    unresolved: tuple[tuple[float, float], ...]


@np.errstate(all="ignore")
def crossings(V: VarianceMap, table: Table, target: float | None = None) -> Crossings:
    """All roots in `q` of `V(q) - q`, or of `V(q) - target`, in the range of the table."""
    q, sign = _signs(V, table, target)
    known = np.flatnonzero(sign)
    if not len(known):
        return Crossings((), 0, 0, (table.range,))
    roots, unresolved = [], []
    for a, b in zip(known[:-1], known[1:], strict=True):
        if sign[a] == sign[b] and b == a + 1:
            continue
        if sign[a] != sign[b]:
            root = _between(V, target, float(q[a]), float(q[b]))
        else:
            root = _touching(V, target, q[a : b + 1])
        low, high = (float(q[a + 1]), float(q[b - 1])) if b > a + 1 else (root, root)
        roots.append(Crossing(root, int(sign[a]), int(sign[b]), high - low))
        if high > 1.9 * low:
            unresolved.append((low, high))
    if known[0] > 0:
        unresolved.insert(0, (0.0, float(q[known[0] - 1])))
    if known[-1] < len(q) - 1:
        unresolved.append((float(q[known[-1] + 1]), np.inf))
    return Crossings(tuple(roots), int(sign[known[0]]), int(sign[known[-1]]), tuple(unresolved))


def difference(V: VarianceMap, q: Array, target: float | None) -> tuple[Array, Array]:
    """`V(q) - q` or `V(q) - target`, and a bound of its error."""
    m = second_moment(V.activation, q)
    value, error = V.weight_var * m.value + V.bias_var, V.error_of(m)
    aim = q if target is None else target
    return value - aim, error + EPS * aim


def _signs(V: VarianceMap, table: Table, target: float | None) -> tuple[Array, Array]:
    """Variances in order, and the sign of `f` there: 0 where it is within the error."""
    f = V.weight_var * table.coefficients
    f[:, 0] += V.bias_var
    aim = table.variance if target is None else np.array([target] + [0.0] * (NODES - 1))
    size = np.abs(f[:, 0]) + np.abs(aim[..., 0])
    f -= aim
    error = V.weight_var * table.error + 4 * EPS * size
    rest = np.abs(f[:, 1:]).sum(1)
    certain = np.abs(f[:, 0]) > rest + error
    flat = ~certain & (np.abs(f[:, 0]) + rest <= error)
    edges = table.edges
    where = [np.exp2(0.5 * (edges[:-1] + edges[1:]))[certain | flat]]
    signs = [np.where(certain, np.sign(f[:, 0]), 0.0)[certain | flat]]
    doubtful = np.flatnonzero(~certain & ~flat)
    if len(doubtful):
        points = []
        for cell in doubtful:
            u = np.concatenate([[-1.0, 1.0], _extrema(f[cell], error[cell])])
            left, right = edges[cell : cell + 2]
            base = np.floor(left)
            points.append(
                np.ldexp(np.exp2(left - base + 0.5 * (right - left) * (1 + u)), int(base))
            )
        q = np.unique(np.concatenate(points))
        value, doubt = difference(V, q, target)
        where.append(q)
        signs.append(np.where(np.abs(value) <= doubt, 0.0, np.sign(value)))
    q, sign = np.concatenate(where), np.concatenate(signs)
    order = np.argsort(q)
    return q[order], sign[order]


def _extrema(series: Array, error: float) -> Array:
    """Places in [-1, 1] where the derivative of a Chebyshev series vanishes."""
    # coefficients that are rounding would only add roots far away, and cost
    used = np.flatnonzero(np.abs(series) > error / NODES)
    last = used[-1] + 1 if len(used) else 1
    if last < 3:
        return np.zeros(0)
    chebyshev = np.polynomial.chebyshev
    roots = chebyshev.chebroots(chebyshev.chebder(series[:last]))
    real = np.real(roots[np.abs(np.imag(roots)) <= _EDGE])
    return np.clip(real[np.abs(real) <= 1 + _EDGE], -1.0, 1.0)


def _between(V: VarianceMap, target: float | None, low: float, high: float) -> float:
    """The root in a bracket, to the last digit that `f` shows."""
    return _root(lambda q: float(difference(V, np.array([q]), target)[0][0]), low, high)


def _touching(V: VarianceMap, target: float | None, q: Array) -> float:
    """The extremum of `f` between variances in the middle of which it is zero within its error."""
    aim = 1.0 if target is None else 0.0
    value, _ = difference(V, q, target)
    nearest = 1 + int(np.argmin(np.abs(value[1:-1]) / q[1:-1]))
    # V' changes its sign about the aim close to the extremum of the polynomial
    for width in (1e-6, 1e-4, 1e-2):
        low = max(float(q[nearest - 1]), float(q[nearest]) * (1 - width))
        high = min(float(q[nearest + 1]), float(q[nearest]) * (1 + width))
        if (V.slope(low) - aim) * (V.slope(high) - aim) < 0:
            return _root(lambda q: V.slope(q) - aim, low, high)
    return float(q[nearest])


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq

    # directly in q: its logarithm would have fewer digits far from 1
    root: Any = brentq(f, low, high, xtol=1e-300, rtol=np.float64(4 * EPS), maxiter=500)
    return float(root)
