r"""Where the basin of a clipped map ends, for many clip levels at once.

`f(q) = V(q) - q` is 0 at the chosen variance and falls there. Going away from it, the basin ends
where `f` first comes back to 0: the nearest unstable fixed point. On a grid of variances `f` and
`f'` are known exactly; on each interval the cubic through them says whether `f` comes back inside,
also where it only looks over the line between two grid points (the pair of fixed points that is
born where the map touches the diagonal). Newton steps, kept inside their bracket, do the rest.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.precision import EPS

__all__ = ["Edges", "edges_of_basin", "grid"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

_NEAR = 0.25  # of the ends of an interval: a dip of the cubic so low is looked at itself
_LOWEST = 1e-6  # of the chosen variance
_DOWN, _UP = 40, 56  # intervals below and above


class Edges(NamedTuple):
    """Ends of the basin around the chosen variance; NaN where it has none on that side."""

    below: Array
    above: Array


def grid(q: float, highest: float) -> tuple[Array, Array]:
    """Variances below `q`, going down, and above it, going up to the `highest`; `q` first."""
    # denser next to q, where the first edge is looked for
    down, up = (np.linspace(0.0, 1.0, count + 1) ** 1.5 for count in (_DOWN, _UP))
    return q * np.exp(down * np.log(_LOWEST)), q * np.exp(up * np.log(max(highest / q, 1.001)))


def edges_of_basin(
    f: Callable[[Indices, Array], tuple[Array, Array]],
    down: tuple[Array, Array, Array],
    up: tuple[Array, Array, Array],
) -> Edges:
    """Ends of basins of many maps.

    Args:
        f: `V(q) - q` and its slope for given maps, numbered, and variances, both of shape (n,).
        down: variances from the chosen one down, shape (Q,), and `V(q) - q` and its slope there,
            shape (M, Q).
        up: the same going up.
    """
    return Edges(_first_return(f, *down), _first_return(f, *up))


def _first_return(
    f: Callable[[Indices, Array], tuple[Array, Array]], q: Array, value: Array, slope: Array
) -> Array:
    """Where `f`, which leaves 0 at `q[0]`, is first 0 again; NaN where it is not."""
    away = np.sign(q[1] - q[0])  # f has the opposite sign inside the basin
    sign = -away
    inside = sign * value[:, 1:] > 0
    step = np.diff(q)
    # an extremum inside the interval towards 0: the cubic's value there
    h0, h1, d0, d1 = value[:, :-1], value[:, 1:], slope[:, :-1] * step, slope[:, 1:] * step
    turns = inside & (sign * d0 < 0) & (sign * d1 > 0)
    turns[:, 0] = False  # f is 0 at the start itself
    a, b, c = 2 * (h0 - h1) + d0 + d1, 3 * (h1 - h0) - 2 * d0 - d1, d0
    with np.errstate(all="ignore"):
        root = np.sqrt(np.maximum(b * b - 3 * a * c, 0.0))
        t = np.where(sign * b > 0, -c / (b + sign * root), (-b + sign * root) / (3 * a))
        dip = h0 + t * (c + t * (b + t * a))
        back = ~inside | (turns & (sign * dip < _NEAR * np.minimum(abs(h0), abs(h1))))
    row = np.flatnonzero(np.any(back, axis=1))
    result = np.full(len(value), np.nan)
    while len(row):
        k = np.argmax(back[row], axis=1)
        left, right = q[k], q[k + 1]
        hidden = inside[row, k]
        if np.any(hidden):  # look at the extremum itself: it replaces the right end, or is none
            place, height = _extremum(f, row[hidden], left[hidden], right[hidden], sign)
            reaches = sign * height <= 0
            right[hidden] = np.where(reaches, place, right[hidden])
            missed = np.flatnonzero(hidden)[~reaches]
            back[row[missed], k[missed]] = False
            found = np.ones(len(row), bool)
            found[missed] = False
        else:
            found = np.ones(len(row), bool)
        start = k == 0
        result[row[found]] = _root(f, row[found], left[found], right[found], sign, start[found])
        row = row[~found]
        row = row[np.any(back[row], axis=1)]
    return result


def _extremum(f, row: Indices, left: Array, right: Array, sign: float) -> tuple[Array, Array]:
    """Where `f' = 0` in brackets in which `sign f` has a minimum, and `f` there."""
    left, right = left.copy(), right.copy()
    for _ in range(40):
        middle = 0.5 * (left + right)
        falls = sign * f(row, middle)[1] * np.sign(right - left) < 0
        left, right = np.where(falls, middle, left), np.where(falls, right, middle)
    place = 0.5 * (left + right)
    return place, f(row, place)[0]


def _root(
    f, row: Indices, left: Array, right: Array, sign: float, start: NDArray[np.bool_]
) -> Array:
    """The root in brackets, `sign f > 0` at the left end or, from the `start`, next to it."""
    left, right = left.copy(), right.copy()
    before, after = f(row, left)[0], f(row, right)[0]
    with np.errstate(all="ignore"):
        x = np.where(start, right, left - before * (right - left) / (after - before))
    for _ in range(60):
        value, slope = f(row, x)
        inner = sign * value > 0
        left, right = np.where(inner, x, left), np.where(inner, right, x)
        with np.errstate(all="ignore"):
            new = x - value / slope
        low, high = np.minimum(left, right), np.maximum(left, right)
        outside = ~((new > low) & (new < high))
        # where V' is nearly 1 as well, V(q) - q is rounding long before q is settled
        settled = np.abs(value) <= 4 * EPS * x
        new = np.where(settled, x, np.where(outside, 0.5 * (left + right), new))
        if np.all(np.abs(new - x) <= 1e-14 * x):
            return new
        x = new
    return x
