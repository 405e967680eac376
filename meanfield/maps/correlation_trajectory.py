r"""Correlations through many layers, as trajectories of `g = 1 - c`.

`c` itself cancels: after 10^6 layers of ReLU `1 - c` is 4e-11, of which a layer takes 9e-17. But
`D(g) / g` is a smooth function on each octave of `g`, tabulated once for a variance; a layer is
then one look-up. While the variance still moves, its tables are interpolated in `log q`, in which
they are analytic too (see `meanfield.interpolation`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.arrays import ArrayResult
from meanfield.bivariate import Covariance
from meanfield.chebyshev import LEBESGUE, points, to_series
from meanfield.errors import UnresolvedError
from meanfield.maps.variance import VarianceMap, variance_map
from meanfield.network import Network
from meanfield.precision import EPS, concrete
from meanfield.whole import whole_number

if TYPE_CHECKING:
    from meanfield.maps.correlation import CorrelationMap

__all__ = ["CorrelationTrajectory", "correlation_trajectory"]

Array = NDArray[np.float64]

# D(g) / g is analytic where Re g > 0: on an octave 20 nodes leave (3 + sqrt 8)^-20 = 5e-16
_ORDER = 20
_OCTAVES = 120  # from g = 1 down; below, D(g) / g is constant to 2^-60
_CHUNK = 1024  # layers in one call of the compiled loop
_NODES = 16  # variances on an octave of q
_SETTLED = 8 * EPS
_LEAST = 1e-300


@dataclass(frozen=True, eq=False, repr=False)
class CorrelationTrajectory(ArrayResult):
    """Correlations layer by layer; `np.asarray` gives `correlation`.

    Attributes:
        network: the `Network`.
        correlation: `c_l`, shape `(depth + 1, *shape of c0)`; nan from the layer on at which the
            variance overflows, vanishes or cannot be sampled.
        one_minus: `1 - c_l`, to full relative precision.
        variance: of the pre-activations, shape `(depth + 1,)`; `(depth + 1, 2)` for two variances.
        error: bounds of the relative error of `one_minus`.
    """

    _main = "correlation"

    network: Network
    correlation: Array
    one_minus: Array
    variance: Array
    error: Array

    def __repr__(self) -> str:
        first, last = self.correlation[0], self.correlation[-1]
        if self.correlation.ndim == 1:
            ends = f"c = {first:.6g} to {last:.6g}"
        else:
            ends = f"{first.size} correlations at a time"
        return f"CorrelationTrajectory of {self.network!r}: {len(self) - 1} layers, {ends}"

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw it with `meanfield.plot.correlation_trajectory`; returns the Axes."""
        from meanfield.plot import correlation_trajectory

        return correlation_trajectory(self, ax=ax, **options)


@dataclass(frozen=True)
class _Table:
    """`D(g) / g` for `g` on octaves up to 1, and `D(2 - h)` for `h = 2 - g`; relative error."""

    coefficients: Array  # shape (2, octaves, 20)
    error: float


def _table(covariance: Covariance, with_negative: bool) -> _Table:
    """The table of a variance; that of negative correlations takes as long again."""
    low = 2.0 ** np.arange(-_OCTAVES, 0.0)
    g = (low[:, None] * (1.5 + 0.5 * points(_ORDER))).ravel()
    d = covariance.difference(g)
    error = float(np.max(d.error / np.maximum(d.value, _LEAST)))
    parts = [d.value / g, np.zeros_like(g)]
    if with_negative:
        # nothing is near 0 here but c = -1, where no digits are lost
        opposite = covariance.difference(2 - g)
        parts[1] = opposite.value
        error = max(error, float(np.max(opposite.error / opposite.value)))
    shaped = np.stack(parts).reshape(2, _OCTAVES, _ORDER)
    return _Table(shaped @ to_series(_ORDER), error)


class _Family:
    """The tables of an activation at all variances that a trajectory passes."""

    def __init__(self, activation: Activation, with_negative: bool, path: Array) -> None:
        self._activation, self._with_negative = activation, with_negative
        octaves = np.unique(np.floor(np.log2(path[(path > 0) & (path < np.inf)])))
        #: whether tables at few variances are less work than the layers one by one
        self.interpolates = activation.is_homogeneous or len(path) > _NODES * len(octaves)
        self._tables: dict[float, _Table] = {}

    def table(self, q: float) -> _Table:
        """The table at a variance."""
        return _table(Covariance(self._activation, q), self._with_negative)

    def layer(self, q: float, g: Array) -> tuple[Array, float]:
        """`D(g)` at a variance that is on the path, and its relative error."""
        if self._activation.is_homogeneous:  # D is proportional to q
            table = self._remembered(0.0, lambda: self.table(1.0))
            return q * _layer(lambda *cell: table.coefficients[cell], g, np), table.error
        octave = float(np.floor(np.log2(q)))
        series = self._remembered(octave, lambda: self._octave(octave))
        place = np.array([2 * (np.log2(q) - octave) - 1])
        powers = chebyshev.chebvander(place, _NODES - 1)[0]
        after = _layer(lambda *cell: np.tensordot(powers, series.coefficients[:, *cell], 1), g, np)
        return after, series.error

    def scaled(self, q: float, ratio: float, g: Array) -> Array:
        """`ratio D(g)`: with `weight_var / V(q)` what one layer makes of `g`."""
        return ratio * self.layer(q, g)[0]

    def _remembered(self, octave: float, make: Callable[[], _Table]) -> _Table:
        if octave not in self._tables:
            self._tables[octave] = make()
        return self._tables[octave]

    def _octave(self, octave: float) -> _Table:
        """The tables on an octave of `q` as Chebyshev series in `log q`, first axis."""
        tables = [self.table(float(np.exp2(octave + 0.5 + 0.5 * u))) for u in points(_NODES)]
        series = np.tensordot(to_series(_NODES).T, np.stack([t.coefficients for t in tables]), 1)
        return _Table(series, LEBESGUE * max(t.error for t in tables))


def _layer(cells: Callable[..., Any], g: Any, xp: Any) -> Any:
    """`D(g)` for `g` of shape (n,), from the series of each one's cell: positive or not, octave."""
    near = xp.minimum(g, 2.0 - g)
    mantissa, exponent = xp.frexp(near)
    exponent = xp.where(near > 0, exponent, -_OCTAVES)  # that of 0 is 0
    octave = xp.clip(_OCTAVES + exponent - 1, 0, _OCTAVES - 1)
    u = xp.where(
        (exponent > -_OCTAVES) & (near < 1), 4.0 * mantissa - 3.0, -1.0 + 2.0 * (near >= 1)
    )
    rows = cells(xp.where(g > 1, 1, 0), octave)
    b0 = b1 = xp.zeros_like(u)
    for k in range(_ORDER - 1, 0, -1):  # Clenshaw
        b0, b1 = rows[:, k] + 2 * u * b0 - b1, b0
    value = rows[:, 0] + u * b0 - b1
    return value * xp.where(g > 1, 1.0, g)


def _amplification(complement: Callable[[Array], Array], g: Array, after: Array) -> Array:
    """By how much a layer multiplies relative errors of `g`, at most.

    By convexity it does not where `c >= 0`; below, `|C'(c)| <= C'(|c|) <= (1 - C(|c|))/(1 - |c|)`.
    """
    h = np.maximum(0.5 * (2 - g), 4 * EPS)  # some way from the rounding of g, where phi jumps
    steepest = complement(h.ravel()).reshape(h.shape) / h
    return np.where(g > 1, g * steepest / np.maximum(after, _LEAST), 1.0)


@jax.jit
def _layers(coefficients: jax.Array, g: jax.Array, most: float) -> jax.Array:
    def step(g, _):
        after = jnp.clip(_layer(lambda *cell: coefficients[cell], g, jnp), 0.0, most)
        return after, after

    return jax.lax.scan(step, g, length=_CHUNK)[1]


def _repeated(coefficients: Array, g: Array, layers: int, most: float) -> Array:
    """`layers` layers of one map, shape (layers, n)."""
    parts, width = [], 1 << max(3, (len(g) - 1).bit_length())  # compiled for few widths
    now = np.concatenate([g, np.full(width - len(g), g[-1])])
    for _ in range(-(-layers // _CHUNK)):
        with concrete():
            parts.append(np.asarray(_layers(coefficients, now, most)))
        now = parts[-1][-1]
    return np.concatenate(parts)[:layers, : len(g)]


def correlation_trajectory(C: "CorrelationMap", c0: Array, depth: int) -> CorrelationTrajectory:
    """`C.iterate`."""
    network, g = C.network, 1.0 - c0.ravel()
    pair = C.q if isinstance(C.q, tuple) else (C.q,)
    depth = whole_number("depth", depth, least=0)
    variances = np.stack([_followed(variance_map(network), q, depth) for q in pair], axis=-1)
    here = (variances > 0) & (variances < np.inf)
    end = np.where(here[-1], variances[-1], np.nan)
    moving = ~np.all(np.abs(variances - end) <= _SETTLED * end, axis=1)
    with np.errstate(invalid="ignore"):  # where both are infinite
        apart = np.abs(variances[:, 0] - variances[:, -1]) > _SETTLED * variances[:, 0]
    start = int(np.max(np.nonzero(moving | apart)[0], initial=-1)) + 1
    gaps = np.full((depth + 1, len(g)), np.nan)
    errors = np.full_like(gaps, np.inf)
    gaps[0], errors[0] = g, EPS
    # of one variance C(c) >= 0 where c >= 0, and it is rounding if it is not
    with_negative = bool(np.any(g > 1)) or len(pair) > 1
    most = 2.0 if with_negative else 1.0
    family = _Family(network.activation, with_negative, variances[: start + 1, 0])
    try:
        for layer in range(min(start, depth)):
            if not np.all(here[layer : layer + 2]):
                break
            if apart[layer] or not family.interpolates:
                q = variances[layer].tolist()
                this = replace(C, q=tuple(q) if apart[layer] else q[0])
                values = this._complement(gaps[layer])
                after, error = values.value, values.error / np.maximum(values.value, _LEAST)
                complement = None if apart[layer] else lambda h, C=this: C._complement(h).value
            else:
                q, ratio = variances[layer, 0], network.weight_var / variances[layer + 1, 0]
                after, error = family.layer(float(q), gaps[layer])
                after = after * ratio
                complement = partial(family.scaled, float(q), ratio)
            gaps[layer + 1] = np.clip(after, 0.0, most)
            grown = _amplification(complement, gaps[layer], gaps[layer + 1]) if complement else 1.0
            errors[layer + 1] = errors[layer] * grown + error
        if start < depth and len(g):
            q = float(variances[start, 0])
            table = family.table(q)
            series = table.coefficients * (network.weight_var / q)
            gaps[start + 1 :] = _repeated(series, gaps[start], depth - start, most)
            errors[start + 1 :] = (
                errors[start] + table.error * np.arange(1, depth - start + 1)[:, None]
            )
            for first in range(start, depth, _CHUNK) if most > 1 else ():
                last = min(first + _CHUNK, depth)
                grown = _amplification(
                    lambda h: _layer(lambda *cell: series[cell], h, np),
                    gaps[first:last], gaps[first + 1 : last + 1],
                )  # fmt: skip
                for layer in range(first, last):
                    errors[layer + 1] = errors[layer] * grown[layer - first] + table.error
    except UnresolvedError:
        pass  # the variance has left what can be sampled: nan from here on
    shape = (depth + 1, *c0.shape)
    return CorrelationTrajectory(
        network=network,
        correlation=(1 - gaps).reshape(shape),
        one_minus=gaps.reshape(shape),
        variance=variances[:, 0] if len(pair) == 1 else variances,
        error=errors.reshape(shape),
    )


def _followed(V: VarianceMap, q: float, depth: int) -> Array:
    """The variances from `q` on; `q` itself throughout where it is a fixed point."""
    if abs(V(q) - q) <= V.error(q) + _SETTLED * q:
        return np.full(depth + 1, q)
    return np.asarray(V.iterate(q, depth))
