r"""Covariances `E[phi(u) phi(v)]` of Gaussian pairs, to the last digit at every correlation.

In units of their standard deviations let `u`, `v` have correlation `c = 1 - g`, and rotate:
`u = x + y`, `v = x - y` with independent `x ~ N(0, 1 - g/2)` and `y ~ N(0, g/2)`. Half the mean
square difference,

    D(g) = E[(f(u) - f(v))^2] / 2 = E[f^2] - E[f(u) f(v)] = E_y[F(y)] / 2,

with the structure function `F` of `meanfield.structure`, is a sum of squares: it keeps its
*relative* precision as `g -> 0`, where the difference of the two expectations loses every digit.
`F` is smooth between the `y = |b_i - b_j| / 2` of the kinks `b` of `f`, and does not depend on `g`
but through the variance of `x`: sampled once, it serves every correlation as a matrix product.
Negative correlations are the positive ones of `f(u)` and `f(-v)`.
"""

from dataclasses import dataclass
from functools import cached_property
from math import gamma, pi, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import Polynomial, chebyshev, legendre
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.errors import UnresolvedError
from meanfield.gaussian import MOMENTS
from meanfield.legendre import ORDER, TO_COEFFICIENTS, WEIGHTS, nodes
from meanfield.precision import EPS
from meanfield.structure import CHEBYSHEV, Side, side_of, structure

__all__ = ["Covariance", "Difference", "Values", "difference"]

Array = NDArray[np.float64]

_WIDEST = 0.75  # panels in y, for y of the largest variance, 1/2
_RESOLVED = 1e-13
_NARROWEST = 2.0**-30
_MANY_CROSSINGS = 256
_MANY_ROWS = 1 << 16
_SPARED = 1e-9  # crossings of kinks nearer to one another, relatively, are one
_OCTAVES = 10  # of the innermost panel in y that are weighed one by one
_NEAR = 2.0**-6  # standard deviation of y, beside that panel, below which its polynomial is
_CHUNK = 2048

_ORDER = len(CHEBYSHEV)
_TO_CHEBYSHEV: Array = chebyshev.chebvander(CHEBYSHEV, _ORDER - 1) * (2 / _ORDER)
_TO_CHEBYSHEV[:, 0] *= 0.5
_SLOPE = np.zeros((_ORDER, _ORDER))
_SLOPE[:-1] = chebyshev.chebder(np.eye(_ORDER))
# from the Legendre series on [0, 1] to powers, row by row
_TO_POWERS = np.zeros((ORDER, ORDER))
for _n in range(ORDER):
    _basis = legendre.Legendre.basis(_n, domain=[0, 1])
    _TO_POWERS[_n, : _n + 1] = _basis.convert(kind=Polynomial).coef


class Values(NamedTuple):
    """A function of `g` with its derivative and a bound of its absolute error."""

    value: Array
    slope: Array
    error: Array


@dataclass(frozen=True)
class Difference:
    """`D(g)` of two sides, for `g` in [0, 1]."""

    y: Array
    dy: Array
    table: Array  # of F at y: Chebyshev coefficients in the log of the variance of x
    doubt: Array  # of F at y
    near: Array  # the same for F = y^power sum_k near[k] y^k at small y, shape (16, 20)
    near_doubt: float
    power: int
    width: float  # of the panel next to y = 0

    def __call__(self, g: Array) -> Values:
        """`D`, its derivative and a bound of its error at `g`, shape (n,)."""
        chunks = [self._at(g[i : i + _CHUNK]) for i in range(0, len(g), _CHUNK)]
        return Values(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))

    def _at(self, g: Array) -> Values:
        t = 1 - 0.5 * g  # the variance of x
        powers = chebyshev.chebvander(2 * np.log2(t) + 1, _ORDER - 1)
        rates = powers @ _SLOPE * (-1 / (np.log(2.0) * t))[:, None]
        near = np.sqrt(0.5 * g) <= _NEAR * self.width
        result = Values(*np.empty((3, len(g))))
        for which, part in ((near, self._near), (~near, self._far)):
            if np.any(which):
                for whole, values in zip(
                    result, part(g[which], powers[which], rates[which]), strict=True
                ):
                    whole[which] = values
        return result

    def _far(self, g: Array, powers: Any, rates: Any) -> Values:
        size = 0.5 * g[:, None]  # the variance of y
        u2 = self.y**2 / size
        weight = np.exp(-0.5 * u2) / np.sqrt(2 * np.pi * size) * self.dy
        sums, moved = weight @ self.table, (weight * (u2 - 1) / (4 * size)) @ self.table
        value = np.sum(sums * powers, axis=1)
        slope = np.sum(sums * rates + moved * powers, axis=1)
        return Values(value, slope, weight @ self.doubt + 4 * EPS * value)

    def _near(self, g: Array, powers: Any, rates: Any) -> Values:
        # half of a Gaussian integral of y^k: moment[k] s^k, whose rate in g is k s^(k - 2) / 4
        s = np.sqrt(0.5 * g)[:, None]
        k = self.power + np.arange(ORDER)
        terms = _HALF_MOMENTS[k] * s**k
        series = powers @ self.near.T
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = _HALF_MOMENTS[k] * k / 4 * s ** (k - 2.0) * series
        moved[(series == 0) | (np.zeros_like(s) + k == 0)] = 0.0
        value = np.sum(terms * series, axis=1)
        slope = np.sum(terms * (rates @ self.near.T) + moved, axis=1)
        return Values(value, slope, self.near_doubt * terms[:, 0] + 4 * EPS * value)


# E[|z|^k] / 2
_HALF_MOMENTS = np.array(
    [0.5 * 2 ** (k / 2) * gamma((k + 1) / 2) / sqrt(pi) for k in range(ORDER + 3)]
)


def difference(f: Side, g: Side) -> Difference:
    """Sample the structure function of a pair; `f is g` where both have one variance."""
    power = f.power if f is g else 0
    noise = float(np.hypot(f.noise, g.noise))
    edges = _edges(f, g)
    left, right = edges[:-1], edges[1:]
    parts, rows, at, sizes = [], 0, np.array([]), np.zeros((0, _ORDER))
    while len(left):
        y = nodes(left, right)
        rows += y.size
        if rows > _MANY_ROWS:
            raise UnresolvedError(
                f"{f.activation.name}: E[phi(u) phi(v)] is not resolved with {_MANY_ROWS} nodes at "
                f"q = {f.scale**2:.6g}; the activation is too rough there: ask for a smaller q"
            )
        F = _even(f, g, y.ravel()).reshape(*y.shape, _ORDER)
        reduced = F / y[:, :, None] ** power
        coefficients = np.einsum("pjm,jn->pnm", reduced, TO_COEFFICIENTS)
        # An error at y counts by the weight there, which at g = 1 falls like exp(-y^2) and faster
        # at smaller g: beside what lies nearer to zero. Next to zero D must be right beside itself.
        at = np.append(at, left)
        sizes = np.concatenate([sizes, np.max(F * np.exp(-y * y)[:, :, None], axis=1)])
        order = np.argsort(at, kind="stable")
        inner = np.maximum.accumulate(sizes[order], axis=0)
        inner = inner[np.searchsorted(at[order], left, side="right") - 1]
        own = np.max(reduced, axis=1)
        scale = np.where(
            (left == 0)[:, None], own, inner * (np.exp(left * left) / right**power)[:, None]
        )
        rounding = noise * np.max(np.sqrt(F) / y[:, :, None] ** power, axis=1) + 4 * EPS * own
        last = np.max(np.abs(coefficients[:, -2:]), axis=1)
        done = np.all(last <= np.maximum(_RESOLVED * scale, rounding), axis=1)
        done |= right - left < _NARROWEST
        doubt = np.max(last + rounding, axis=1)
        parts.append([a[done] for a in (left, right, coefficients, F, doubt)])
        middle = 0.5 * (left + right)
        left, right = (
            np.column_stack(ends)[~done].ravel() for ends in ((left, middle), (middle, right))
        )
    left, right, coefficients, F, doubt = (np.concatenate(p) for p in zip(*parts, strict=True))
    order = np.argsort(left)
    left, right, coefficients, F, doubt = (a[order] for a in (left, right, coefficients, F, doubt))
    return _assembled(f, g, power, left, right, coefficients[0], F, doubt)


def _even(f: Side, g: Side, y: Array) -> Array:
    """Mean of `F(y)` and `F(-y)`."""
    return structure(f, g, y) if f is g else 0.5 * (structure(f, g, y) + structure(g, f, y))


def _assembled(f, g, power, left, right, innermost, F, doubt) -> Difference:
    """The table, with the innermost panel replaced by octaves of it."""
    width = right[0]
    ends = width * np.append(0.0, 2.0 ** np.arange(-_OCTAVES, 1.0))
    y = nodes(ends[:-1], ends[1:])
    inner = legendre.legvander(2 * y / width - 1, ORDER - 1) @ innermost
    inner = inner * y[:, :, None] ** power
    y = np.concatenate([y, nodes(left[1:], right[1:])])
    widths = np.append(np.diff(ends), (right - left)[1:])
    doubts = np.append(np.full(len(ends) - 1, doubt[0]), doubt[1:])
    near = _TO_POWERS.T @ innermost @ _TO_CHEBYSHEV / width ** np.arange(ORDER)[:, None]
    if power == 0 and not (f.power == g.power == 1):
        near[1] = 0.0  # F is even, and smooth to first order unless both sides jump at y = 0
    return Difference(
        y=y.ravel(),
        dy=(0.5 * widths[:, None] * WEIGHTS).ravel(),
        table=np.concatenate([inner, F[1:]]).reshape(y.size, _ORDER) @ _TO_CHEBYSHEV,
        doubt=(doubts[:, None] * y**power).ravel(),
        near=near,
        near_doubt=float(doubt[0]),
        power=power,
        width=width,
    )


def _edges(f: Side, g: Side) -> Array:
    """Panels in `y`: split where a kink of `f` meets one of `g`, none wider than its distance."""
    top = 0.75 * max(f.reach, g.reach)  # y = sqrt(1/2) z, and no less for phi that grow
    cross = np.unique(0.5 * np.abs(f.kinks[:, None] - g.kinks))
    cross = cross[(cross > 0) & (cross < top)]
    if len(cross) > _MANY_CROSSINGS:  # then bisection finds those that matter
        cross = cross[:0]
    cross = cross[np.diff(cross, prepend=0.0) > _SPARED * cross]
    edges = [0.0]
    for end in [*cross, top]:
        while end - edges[-1] > 1.3 * (step := min(_WIDEST, edges[-1] or _WIDEST)):
            edges.append(edges[-1] + step)
        edges.append(end)
    return np.array(edges)


class Covariance:
    """`E[phi(u) phi(v)]` of Gaussian `u`, `v` with variances `q`, at any correlation.

    Args:
        activation: the activation.
        q: the variance of both, or those of `u` and of `v`.
        derivative: take `phi'` for `phi`.
    """

    def __init__(
        self, activation: Activation, q: float | tuple[float, float], derivative: bool = False
    ) -> None:
        pair = q if isinstance(q, tuple) else (q, q)
        moments = activation.moments(np.array(pair))
        column = MOMENTS.index("dphi2" if derivative else "phi2")
        self.activation, self.q, self.derivative = activation, pair, derivative
        self.second_moment = float(np.mean(moments.value[:, column]))
        self.second_moment_error = float(np.mean(moments.error[:, column]))

    def difference(self, g: Array) -> Values:
        """`(E[phi(u)^2] + E[phi(v)^2]) / 2 - E[phi(u) phi(v)]` at `c = 1 - g`, `g` in [0, 2]."""
        result = Values(*np.empty((3, len(g))))
        for which, sign, h, half in (
            (g <= 1, 1.0, g, "_alike"), (g > 1, -1.0, 2 - g, "_opposite"),
        ):  # fmt: skip
            if np.any(which):
                value, slope, error = getattr(self, half)(h[which])
                result.value[which], result.error[which] = value, error
                result.slope[which] = sign * slope
        return result

    @cached_property
    def _alike(self) -> Difference:
        f = side_of(self.activation, self.q[0], derivative=self.derivative)
        same = self.q[0] == self.q[1]
        return difference(
            f, f if same else side_of(self.activation, self.q[1], derivative=self.derivative)
        )

    @cached_property
    def _opposite(self) -> Difference:
        f, g = (
            side_of(self.activation, q, mirrored, self.derivative)
            for q, mirrored in zip(self.q, (False, True), strict=True)
        )
        return difference(f, g)
