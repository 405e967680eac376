r"""The structure function `F(y) = E_x[(f(x + y) - g(x - y))^2]` of activations, from samples.

`f(z) = phi(s z)` in units of the standard deviation `s` of the pre-activations, or its mirror image
or its derivative; `x ~ N(0, t)` at sixteen and four variances `t` between 1/2 and 1 at once. With
`u = x + y` and `v = x - y` the integrand is smooth between the kinks of `f`, shifted down by `y`,
and those of `g`, shifted up.
"""

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from meanfield.activation import LEAST_REACH, Activation
from meanfield.errors import UnresolvedError
from meanfield.legendre import WEIGHTS, coefficients, nodes, series, slope_series
from meanfield.panels import Panels, resolve
from meanfield.precision import EPS, concrete

__all__ = ["CHEBYSHEV", "Side", "side_of", "slope_jumps", "structure"]

Array = NDArray[np.float64]

# exp(-x^2 / 2t) is analytic in log t in the strip |Im log t| < pi/2: 20 Chebyshev nodes on an
# octave of t leave 9.2^-20 = 5e-20, and their derivatives in t are right too
CHEBYSHEV = np.cos(np.pi * (np.arange(20) + 0.5) / 20)
_VARIANCES = np.exp(0.5 * np.log(2.0) * (CHEBYSHEV - 1))  # of x, from 1/2 to 1

_WIDEST = 1.5  # panels in x, for the weight of the smallest variance
_LEAST_SIGMAS = 8.5  # P(|z| > 8.5) = 2e-17
_MOST_SIGMAS = 1e4
_NEGLIGIBLE = 1e-19  # share of E[phi^2] and of E[phi'^2] beyond what is integrated over
_NARROWEST = 2.0**-46
_BLOCK = 512  # panels per call of the compiled sum, so that it compiles once


@dataclass(frozen=True)
class Side:
    """`f(z) = phi(scale z)`, or `phi'(scale z)`, and where in `z` it is smooth."""

    activation: Activation
    scale: float  # standard deviation; negative for the mirror image
    derivative: bool
    edges: Array  # of the panels on which it is resolved
    kinks: Array
    reach: float  # nothing beyond |z| = reach matters
    noise: float  # root mean square error of its values
    power: int  # E[(f(x + y) - f(x - y))^2] vanishes like y^power

    def __call__(self, z: Array) -> Array:
        """Values at any `z`."""
        x = self.scale * z
        if not self.derivative:
            return self.activation.sampled.values(x)
        slope = self.activation.sampled(x).slope
        if slope is None:
            slope = _slope(_pieces(self.activation, _octave(self.reach * abs(self.scale))), x)
        return slope


def side_of(
    activation: Activation, q: float, mirrored: bool = False, derivative: bool = False
) -> Side:
    """The side of a pair whose variance is `q`; `mirrored` gives `f(-z)`.

    Raises:
        UnresolvedError: it grows too fast for its covariances to be had in float64.
    """
    scale = float(np.sqrt(q))
    reach = _octave(13.0 * scale)
    while True:
        samples = activation.columns(reach).samples
        with np.errstate(all="ignore"):
            weight = np.exp(-0.5 * samples.x**2 / q) * samples.dx
            masses = np.stack([weight * samples.value**2, weight * samples.slope**2])
            outwards = np.argsort(np.abs(samples.x))[::-1]
            outside = np.cumsum(masses[:, outwards], axis=1)
            counts = np.any(outside > _NEGLIGIBLE * outside[:, -1:], axis=0)
        sigmas = float(np.abs(samples.x[outwards[np.argmax(counts)]])) / scale
        if sigmas * scale < 0.9 * reach or reach > _MOST_SIGMAS * scale or all(samples.broken):
            break
        reach *= 2
    known = float(np.min(np.abs(samples.reach))) / scale
    if not np.all(np.isfinite(outside)) or sigmas > 0.98 * known:
        raise UnresolvedError(activation.why_not(q, "E[phi(u) phi(v)]"))
    sigmas = min(max(_LEAST_SIGMAS, sigmas), known)
    pieces = _pieces(activation, reach)
    edges = np.clip(np.append(pieces.left, pieces.right[-1]) / scale, -sigmas, sigmas)
    edges = _subdivided(np.unique(edges), _WIDEST)
    kinks = samples.kinks[np.abs(samples.kinks) < sigmas * scale] / scale
    noises = samples.slope_noise if derivative else samples.noise
    jumps = slope_jumps(activation, q)[0] if derivative else samples.jumps
    sign = -1.0 if mirrored else 1.0
    return Side(
        activation, sign * scale, derivative, np.sort(sign * edges), np.sort(sign * kinks), sigmas,
        noise=float(np.sqrt(np.sum(weight * noises**2) / np.sum(weight))),
        power=1 if len(jumps) else 2,
    )  # fmt: skip


def slope_jumps(activation: Activation, q: float) -> tuple[Array, Array]:
    """Where `phi'` jumps within reach of a Gaussian of variance `q`, and by how much."""
    reach = _octave(13.0 * float(np.sqrt(q)))
    kinks, pieces = activation.columns(reach).samples.kinks, _pieces(activation, reach)
    at = np.searchsorted(pieces.left, kinks)
    inside = (at > 0) & (at < len(pieces.left))
    kinks, at = kinks[inside], at[inside]
    width = pieces.right - pieces.left
    slopes = slope_series(coefficients(pieces.value), width)
    one = np.ones(len(at))
    jumps = series(slopes[at], -one) - series(slopes[at - 1], one)
    # the largest |dP_n/du| for n = 15 is 120, beside an edge
    noise = 120 * (2 / width) * np.maximum(pieces.noise, EPS * np.max(np.abs(pieces.value), axis=1))
    true = np.abs(jumps) > 4 * (noise[at] + noise[at - 1])
    return kinks[true], jumps[true]


def _octave(x: float) -> float:
    return max(LEAST_REACH, 2.0 ** float(np.ceil(np.log2(x))))


@lru_cache(maxsize=64)
def _pieces(activation: Activation, reach: float) -> Panels:
    """The widest panels on `[-reach, reach]` on which the activation is resolved."""
    samples = activation.columns(reach).samples
    octaves = 2.0 ** np.arange(-1.0, np.log2(reach) + 1)
    edges = np.concatenate([-octaves, octaves])
    edges = edges[(edges > samples.reach[0]) & (edges < samples.reach[1])]
    if len(samples.kinks):  # no slivers between a kink and an edge that means nothing
        edges = edges[np.min(np.abs(edges[:, None] - samples.kinks), axis=1) > 1e-2 * np.abs(edges)]
    edges = np.unique(np.concatenate([samples.reach, edges, samples.kinks]))
    return resolve(activation.sampled, edges, _NARROWEST)


def _slope(pieces: Panels, x: Array) -> Array:
    """`phi'` of a black box, from the series on its pieces."""
    width = pieces.right - pieces.left
    which = np.clip(np.searchsorted(pieces.left, x, side="right") - 1, 0, len(width) - 1)
    u = (2 * x - pieces.left[which] - pieces.right[which]) / width[which]
    return series(slope_series(coefficients(pieces.value), width)[which], u)


def _subdivided(edges: Array, widest: float) -> Array:
    """More edges, so that no two are farther apart than `widest`."""
    counts = np.maximum(np.ceil(np.diff(edges) / widest), 1).astype(int)
    within = np.arange(np.sum(counts)) - np.repeat(np.cumsum(counts) - counts, counts)
    steps = np.repeat(np.diff(edges) / counts, counts)
    return np.append(np.repeat(edges[:-1], counts) + within * steps, edges[-1])


def _weighed(x: jax.Array, mass: jax.Array) -> jax.Array:
    """Sums over panels of `mass` at `x`, weighted by the density of each variance."""
    t = jnp.asarray(_VARIANCES)[None, None, :]
    weight = jnp.exp(-0.5 * (x * x)[:, :, None] / t) / jnp.sqrt(2 * jnp.pi * t)
    return jnp.sum(weight * mass[:, :, None], axis=1)


_compiled = jax.jit(_weighed)


def structure(f: Side, g: Side, y: Array) -> Array:
    """`F(y)` for `y > 0`, shape (n,), at all variances of `x`; shape (n, 20)."""
    low = np.maximum(-f.reach - y, y - g.reach)[:, None]
    high = np.minimum(f.reach - y, g.reach + y)[:, None]
    edges = np.concatenate([f.edges - y[:, None], g.edges + y[:, None]], axis=1)
    edges = np.sort(np.clip(edges, low, high), axis=1)
    row, column = np.nonzero(np.diff(edges, axis=1) > 0)
    left, right = edges[row, column], edges[row, column + 1]
    x, there = nodes(left, right), y[row][:, None]
    difference = (f((x + there).ravel()) - g((x - there).ravel())).reshape(x.shape)
    mass = difference**2 * (0.5 * (right - left)[:, None] * WEIGHTS)
    missing = -len(x) % _BLOCK
    blocks = [np.pad(a, ((0, missing), (0, 0))).reshape(-1, _BLOCK, x.shape[1]) for a in (x, mass)]
    with concrete():
        sums = [np.asarray(_compiled(*block)) for block in zip(*blocks, strict=True)]
    return np.add.reduceat(
        np.concatenate(sums)[: len(row)], np.searchsorted(row, np.arange(len(y))), axis=0
    )
