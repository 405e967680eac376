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
from functools import cached_property, lru_cache
from math import gamma, pi, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import Polynomial, chebyshev, legendre
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.chebyshev import points, to_series
from meanfield.errors import UnresolvedError
from meanfield.gaussian import MOMENTS
from meanfield.legendre import ORDER, WEIGHTS, nodes
from meanfield.precision import EPS
from meanfield.sides import LEAST_SIGMAS, Side, side_of
from meanfield.structure import RESOLVED, StructurePanels, legendre_series, resolved_structure

__all__ = ["Covariance", "Difference", "Values", "difference"]

Array = NDArray[np.float64]

_OCTAVES = 10  # of the innermost panel in y that are weighed one by one
_NEAR = 2.0**-6  # standard deviation of y, beside that panel, below which its polynomial is
_CHUNK = 2048
_ROUNDING = 100 * EPS  # of exponents up to 36, of sums over hundreds of nodes, twice
_UNKNOWN = 0.05  # relative error of a moment that is no number to compute with
_SEEN = 1 - np.array([0.0, 0.5, 0.9, 0.99])  # where one looks for that

# exp(-x^2 / 2t) is analytic in log t in the strip |Im log t| < pi/2: 20 Chebyshev nodes on the
# octave of the variance t of x leave 9.2^-20 = 5e-20. Where phi grows like exp(3x) it takes more.
_ORDERS = (20, 40, 80)


@lru_cache(maxsize=8)
def _chebyshev(order: int) -> tuple[Array, Array, Array]:
    """Variances of `x`; the matrices from values there to a series, and on to its derivative."""
    slope = np.zeros((order, order))
    slope[:-1] = chebyshev.chebder(np.eye(order))
    return np.exp2(0.5 * (points(order) - 1)), to_series(order), slope


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
    """`D(g)` of two sides, for `g` in [0, 1]; `F` is divided by `exp(tilt (t - 1))` throughout."""

    y: Array
    dy: Array
    table: Array  # Chebyshev coefficients of F in the log of the variance t of x, at each y
    tilt: float  # E[exp(2az)] = exp(2 a^2 t) leaves no digits at t = 1/2 beside those at t = 1
    doubt: Array  # of F at y
    near: Array  # the same for F = y^power sum_k near[k] y^k at small y, shape (16, order)
    near_doubt: float
    power: int
    width: float  # of the panel next to y = 0

    def __call__(self, g: Array) -> Values:
        """`D`, its derivative and a bound of its error at `g`, shape (n,)."""
        chunks = [self._at(g[i : i + _CHUNK]) for i in range(0, len(g), _CHUNK)]
        return Values(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))

    def _at(self, g: Array) -> Values:
        t = 1 - 0.5 * g  # the variance of x
        order = len(self.table)
        powers = chebyshev.chebvander(2 * np.log2(t) + 1, order - 1)
        rates = powers @ _chebyshev(order)[2] * (-1 / (np.log(2.0) * t))[:, None]
        factor = np.exp(self.tilt * (t - 1))
        rates, powers = (
            (rates - 0.5 * self.tilt * powers) * factor[:, None],
            powers * factor[:, None],
        )
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
        # products so small are a loop: the threads of a BLAS would wait for each other longer
        sums, moved = (
            np.einsum("gj,mj->gm", part, self.table)
            for part in (weight, weight * (u2 - 1) / (4 * size))
        )
        value = np.sum(sums * powers, axis=1)
        slope = np.sum(sums * rates + moved * powers, axis=1)
        return Values(value, slope, powers[:, 0] * (weight @ self.doubt) + _ROUNDING * value)

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
        error = powers[:, 0] * self.near_doubt * terms[:, 0] + _ROUNDING * value
        return Values(value, slope, error)


# E[|z|^k] / 2
_HALF_MOMENTS = np.array(
    [0.5 * 2 ** (k / 2) * gamma((k + 1) / 2) / sqrt(pi) for k in range(ORDER + 3)]
)


def difference(f: Side, g: Side) -> Difference:
    """Sample the structure function of a pair; `f is g` where both have one variance."""
    power = f.power if f is g else 0
    for order in _ORDERS:
        t, to_series, _ = _chebyshev(order)
        panels = resolved_structure(f, g, power, t)
        weight = np.exp(-(panels.y**2))[:, :, None]
        top, *_, bottom = np.max(panels.F * weight, axis=(0, 1))
        tilt = float(np.log(top / bottom) / (t[0] - t[-1])) if bottom > 0 else 0.0
        factor = np.exp(tilt * (t - 1))
        panels = panels._replace(F=panels.F / factor, doubt=panels.doubt / factor)
        series = panels.F @ to_series * weight
        if np.max(np.abs(series[..., -2:])) <= RESOLVED * np.max(np.abs(series[..., 0])):
            return _assembled(f, g, power, panels, to_series, tilt)
    raise _grows_too_fast(f.activation, f.scale**2)


def _grows_too_fast(activation: Activation, q: float) -> UnresolvedError:
    return UnresolvedError(
        f"{activation.name}: E[phi(u) phi(v)] cannot be computed at q = {q:.6g}: phi grows too "
        "fast for pairs of inputs of this variance, though one of a smaller variance may do"
    )


def _assembled(
    f: Side, g: Side, power: int, panels: StructurePanels, to_series: Array, tilt: float
) -> Difference:
    """The table, with the innermost panel replaced by octaves of it."""
    width = float(panels.right[0])
    innermost = legendre_series(panels.F[:1] / panels.y[:1, :, None] ** power)[0]
    ends = width * np.append(0.0, 2.0 ** np.arange(-_OCTAVES, 1.0))
    y = nodes(ends[:-1], ends[1:])
    inner = legendre.legvander(2 * y / width - 1, ORDER - 1) @ innermost
    inner = inner * y[:, :, None] ** power
    y = np.concatenate([y, panels.y[1:]])
    widths = np.append(np.diff(ends), (panels.right - panels.left)[1:])
    doubt = np.max(panels.doubt, axis=1)
    doubts = np.append(np.full(len(ends) - 1, doubt[0]), doubt[1:])
    near = _TO_POWERS.T @ innermost @ to_series / width ** np.arange(ORDER)[:, None]
    if power == 0 and not (f.power == g.power == 1):
        near[1] = 0.0  # F is even, and smooth to first order unless both sides jump at y = 0
    return Difference(
        y=y.ravel(),
        dy=(0.5 * widths[:, None] * WEIGHTS).ravel(),
        table=np.ascontiguousarray(
            (np.concatenate([inner, panels.F[1:]]).reshape(y.size, -1) @ to_series).T
        ),
        tilt=tilt,
        doubt=(doubts[:, None] * y**power).ravel(),
        near=near,
        near_doubt=float(doubt[0]),
        power=power,
        width=width,
    )


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
        each = [activation.moments(np.array([x])) for x in pair[: 1 + (pair[0] != pair[1])]]
        column = MOMENTS.index("dphi2" if derivative else "phi2")
        self.activation, self.q, self.derivative = activation, pair, derivative
        self.moments = tuple(
            np.resize([part[0, column] for part in parts], 2)
            for parts in ([m.value for m in each], [m.error for m in each])
        )
        if not np.all(self.moments[1] <= _UNKNOWN * self.moments[0]):
            name = "E[phi'^2]" if derivative else "E[phi^2]"
            raise UnresolvedError(activation.why_not(max(pair), name))

    @property
    def second_moment(self) -> float:
        """`(E[phi(u)^2] + E[phi(v)^2]) / 2`."""
        return float(np.mean(self.moments[0]))

    @property
    def second_moment_error(self) -> float:
        """A bound of its absolute error."""
        return float(np.mean(self.moments[1]))

    def difference(self, g: Array, h: Array | None = None) -> Values:
        """`(E[phi(u)^2] + E[phi(v)^2]) / 2 - E[phi(u) phi(v)]` at `c = 1 - g`, `g` in [0, 2].

        Near `c = -1` it is `h = 1 + c` that counts, of which `2 - g` has lost digits: if `phi`
        jumps they matter, as the root of `h`.
        """
        h = 2 - g if h is None else h
        result = Values(*np.empty((3, len(g))))
        for which, sign, gap in ((g <= 1, 1.0, g), (g > 1, -1.0, h)):
            if np.any(which):
                half = self._alike if sign > 0 else self._opposite
                value, slope, error = half(gap[which])
                result.value[which], result.error[which] = value, error
                result.slope[which] = sign * slope
        return result

    @cached_property
    def _alike(self) -> Difference:
        return self._known(difference(*self._sides(mirrored=False)))

    @cached_property
    def _opposite(self) -> Difference:
        return self._known(difference(*self._sides(mirrored=True)))

    def _known(self, made: Difference) -> Difference:
        """The difference, if its errors are no larger than what is asked for."""
        if not np.all(made(_SEEN).error <= _UNKNOWN * self.second_moment):
            raise _grows_too_fast(self.activation, max(self.q))
        return made

    def _sides(self, mirrored: bool) -> tuple[Side, Side]:
        """Both sides, reaching equally far: `v` goes where `u` goes, however small `phi(v)`."""

        def sides(least: float) -> list[Side]:
            return [
                side_of(self.activation, q, mirror, self.derivative, least)
                for q, mirror in zip(self.q, (False, mirrored), strict=True)
            ]

        if self.q[0] == self.q[1] and not mirrored:
            f = side_of(self.activation, self.q[0], derivative=self.derivative)
            return f, f
        f, g = sides(max(side.reach for side in sides(LEAST_SIGMAS)))
        return f, g
