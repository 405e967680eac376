"""One layer with orthogonal weights: `s^2` is `weight_var phi'(z)^2`, by change of variables.

Between the places where `X = phi'^2` turns, each value is taken once on each branch, and

    P(X > x) = sum over branches of P(z on the branch, X(z) > x),
    density of log X = sum over branches of  n(z) X / |dX/dz|,        X(z) = x.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import WEIGHTS, nodes
from meanfield.spectrum.law import SlopeLaw
from meanfield.spectrum.path import SIGMAS

__all__ = ["Image", "single_layer"]

Array = NDArray[np.float64]

_APART = 1 + 1e-9  # values of X between which there is something
_STEPS = 80
_CLOSE = 1e-14
_TABLE = 257
_TINIEST = 1e-290


class _Branches(NamedTuple):
    """Intervals of `z` on which `X` is monotone, and its values at their ends."""

    left: Array
    right: Array
    low: Array
    high: Array
    rising: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Image:
    """The law of `y = log X + shift` between two values; asked like a `Component`."""

    law: SlopeLaw
    shift: float
    low: float
    high: float
    bottom: float
    top: float

    error = 0.0

    @property
    def whole(self) -> float:
        """Its probability."""
        ends = self.tail(np.array([self.bottom, self.top]))
        return float(ends[0] - ends[1])

    @property
    def inner(self) -> tuple[float, float]:
        """The numbers next to the ends."""
        return float(np.nextafter(self.bottom, np.inf)), float(np.nextafter(self.top, -np.inf))

    @cached_property
    def _branches(self) -> _Branches:
        return _branches(self.law)

    def _at(self, y: Array) -> tuple[Array, Array]:
        """Density, and probability above."""
        from scipy.special import ndtr

        x = np.exp(y - self.shift)
        atoms = self.law.atoms  # none inside
        higher = atoms[:, 0] * _APART >= np.exp(self.top - self.shift)
        density, above = np.zeros(len(y)), np.full(len(y), np.sum(atoms[higher, 1]))
        for left, right, low, high, rising in zip(*self._branches, strict=True):
            far, near = (right, left) if rising else (left, right)
            z = np.where(x >= high, far, near)
            on = (x > low) & (x < high)
            z[on] = self._inverse(x[on], left, right, rising)
            # by the tail in which nothing cancels
            side = np.where(z + far > 0, -1.0, 1.0)
            above += np.abs(ndtr(side * far) - ndtr(side * z))
            with np.errstate(divide="ignore"):
                rate = np.abs(self.law.pieces.turning(self.law.sigma * z)) * self.law.sigma / x
                each = np.where(on, np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) / rate, 0.0)
            density += np.where(np.isfinite(each), each, 0.0)
        return density, above

    def _inverse(self, x: Array, left: float, right: float, rising: bool) -> Array:
        """The `z` of a branch with `X(z) = x`: Newton's method for its logarithm, in a bracket."""
        pieces, sigma = self.law.pieces, self.law.sigma
        low, high = np.full(len(x), left), np.full(len(x), right)
        z, active = 0.5 * (low + high), np.arange(len(x))
        for _ in range(_STEPS * bool(len(x))):
            now = z[active]
            value = pieces.squared(sigma * now)
            below = (value < x[active]) == rising
            low[active] = np.where(below, now, low[active])
            high[active] = np.where(below, high[active], now)
            with np.errstate(all="ignore"):
                step = np.log(value / x[active]) * value / (sigma * pieces.turning(sigma * now))
            new = now - step
            close = np.abs(step) <= _CLOSE * np.abs(now)
            inside = (new > low[active]) & (new < high[active])
            z[active] = np.where(inside, new, 0.5 * (low[active] + high[active]))
            z[active[close]] = now[close]
            active = active[~close]
            if not len(active):
                break
        return z

    def density(self, y: Array) -> Array:
        """Of `y`, strictly inside."""
        return self._at(y)[0]

    def tail(self, y: Array) -> Array:
        """`P(log s^2 > y)`, from `bottom` to `top`."""
        return self._at(y)[1]

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        phi = np.linspace(0, np.pi, _TABLE)
        y = self.top - (self.top - self.bottom) * np.sin(0.5 * phi) ** 2
        return y, np.maximum.accumulate(self.tail(y))

    def where(self, above: Array) -> Array:
        """`y` with `tail(y) = above`: Newton's method in a bracket."""
        y, known = self._table
        k = np.clip(np.searchsorted(known, above), 1, len(y) - 1)
        high, low = y[k - 1], y[k]
        now, active = 0.5 * (low + high), np.arange(len(above))
        for _ in range(_STEPS * bool(len(above))):
            density, reached = self._at(now[active])
            more = reached > above[active]
            low[active] = np.where(more, now[active], low[active])
            high[active] = np.where(more, high[active], now[active])
            with np.errstate(all="ignore"):
                new = now[active] + (reached - above[active]) / density
            inside = (new > low[active]) & (new < high[active])
            new = np.where(inside, new, 0.5 * (low[active] + high[active]))
            far = np.abs(new - now[active]) > _CLOSE * (1 + np.abs(new))
            now[active] = new
            active = active[far]
            if not len(active):
                break
        return now

    @cached_property
    def nodes(self) -> tuple[Array, Array]:
        """Values of `y` and their probabilities, for means."""
        left, right = self.law.left.real, self.law.right.real
        z = nodes(left, right).ravel()
        weight = (0.5 * (right - left)[:, None] * WEIGHTS).ravel()
        x = self.law.pieces.squared(self.law.sigma * z)
        with np.errstate(divide="ignore"):
            y = np.log(x) + self.shift
        inside = (y >= self.bottom) & (y <= self.top)
        return y[inside], (weight * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))[inside]


def single_layer(law: SlopeLaw, shift: float) -> list[Image]:
    """The parts of the law of `log X + shift` with a density, between its atoms."""
    branches = _branches(law)
    found = []
    for low, high in law.bands:
        atoms = law.atoms[(law.atoms[:, 0] > low * _APART) & (law.atoms[:, 0] * _APART < high), 0]
        for a, b in zip([low, *atoms], [*atoms, high], strict=True):
            if b <= a * _APART:
                continue
            inside = (branches.low < b) & (branches.high > a)
            values = np.append(branches.low[inside], branches.high[inside])
            values = values[values > _TINIEST]
            if not len(values):
                continue
            # to zero and to infinity as far as the Gaussian goes
            bottom = a if a else max(_TINIEST, _least(law, b))
            top = b if b < np.inf else np.max(values)
            ends = (np.log(end) + shift for end in (bottom, top))
            found.append(
                Image(
                    law, shift, np.log(a) + shift if a else -np.inf, np.log(b) + shift, *ends
                )
            )  # fmt: skip
    return found


def _least(law: SlopeLaw, below: float) -> float:
    """The least `X` that is seen."""
    z = np.concatenate(
        [law.left.real, law.right.real, nodes(law.left.real, law.right.real).ravel()]
    )
    x = law.pieces.squared(law.sigma * z)
    return float(np.min(x[x > _TINIEST * np.max(x)], initial=below))


def _branches(law: SlopeLaw) -> _Branches:
    pieces, sigma = law.pieces, law.sigma
    edges = np.clip(np.concatenate([[-SIGMAS], pieces.cuts / sigma, [SIGMAS]]), -SIGMAS, SIGMAS)
    edges = np.unique(np.clip(edges, pieces.left[0] / sigma, pieces.right[-1] / sigma))
    left, right = edges[:-1], edges[1:]
    centre = sigma * 0.5 * (left + right)[:, None]
    flat = np.any((centre > pieces.flat[:, 0]) & (centre < pieces.flat[:, 1]), axis=1)
    left, right = left[~flat], right[~flat]
    first, last = pieces.squared(sigma * left), pieces.squared(sigma * right, -1)
    return _Branches(left, right, np.fmin(first, last), np.fmax(first, last), last > first)
