"""One side of a Gaussian pair: an activation in units of the standard deviation of its input."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import LEAST_REACH, Activation, remembered
from meanfield.errors import UnresolvedError
from meanfield.legendre import coefficients, series, slope_series
from meanfield.panels import Panels, resolve
from meanfield.precision import EPS
from meanfield.samples import Samples

__all__ = ["LEAST_SIGMAS", "Side", "cut", "side_of", "slope_jumps", "subdivided"]

Array = NDArray[np.float64]

_WIDEST = 2.5  # panels in x, for the weight of the smallest variance, 1/2
LEAST_SIGMAS = 8.5  # P(|z| > 8.5) = 2e-17
_MOST_SIGMAS = 1e4
_NEGLIGIBLE = 1e-19  # share of E[phi^2] and of E[phi'^2] beyond what is integrated over
_NARROWEST = 2.0**-46
_MISSED = 1e-5  # of the size of a piece: more than rounding, float32 included


@dataclass(frozen=True)
class Side:
    """`f(z) = phi(scale z)`, or `phi'(scale z)`, and where in `z` it is smooth."""

    activation: Activation
    scale: float  # standard deviation; negative for the mirror image
    derivative: bool
    edges: Array  # of the panels on which it is resolved
    kinks: Array
    reach: float  # nothing beyond |z| = reach matters
    noise: float  # root mean square error of its values, relative to theirs
    power: int  # E[(f(x + y) - f(x - y))^2] vanishes like y^power

    def __call__(self, z: Array) -> Array:
        """Values at any `z`."""
        x = self.scale * z
        if not self.derivative:
            return self.activation.sampled.values(x)
        slope = self.activation.sampled.slopes(x)
        if slope is None:
            slope = _slope(_pieces(self.activation, _octave(self.reach * abs(self.scale))), x)
        return slope


def side_of(
    activation: Activation,
    q: float,
    mirrored: bool = False,
    derivative: bool = False,
    least: float = LEAST_SIGMAS,
) -> Side:
    """The side of a pair whose variance is `q`; `mirrored` gives `f(-z)`.

    It reaches as far as `phi` and `phi'` count, and at least to `least` standard deviations.

    Raises:
        UnresolvedError: it grows too fast for its covariances to be had in float64.
    """
    scale = float(np.sqrt(q))
    reach = _octave(13.0 * scale)
    while True:
        samples = activation.columns(reach).samples
        masses = np.stack([_mass(samples, f, q) for f in (samples.value, samples.slope)])
        outwards = np.argsort(np.abs(samples.x))[::-1]
        outside = np.cumsum(masses[:, outwards], axis=1)
        counts = np.any(outside > _NEGLIGIBLE * outside[:, -1:], axis=0)
        farthest = float(np.abs(samples.x[outwards[np.argmax(counts)]]))
        sigmas = farthest / scale if np.any(counts) else 0.0
        if sigmas * scale < 0.9 * reach or reach > _MOST_SIGMAS * scale or all(samples.broken):
            break
        reach *= 2
    known = float(np.min(np.abs(samples.reach))) / scale
    if not np.all(np.isfinite(outside)) or sigmas > 0.98 * known:
        raise UnresolvedError(activation.why_not(q, "E[phi(u) phi(v)]"))
    sigmas = min(max(least, sigmas), known)
    pieces = _pieces(activation, reach)
    edges = np.clip(np.append(pieces.left, pieces.right[-1]) / scale, -sigmas, sigmas)
    edges = subdivided(np.unique(edges), _WIDEST)
    kinks = samples.kinks[np.abs(samples.kinks) < sigmas * scale] / scale
    noise = np.sum(_mass(samples, (samples.noise, samples.slope_noise)[derivative], q))
    size = np.sum(masses[int(derivative)])
    jumps = slope_jumps(activation, q)[0] if derivative else samples.jumps
    sign = -1.0 if mirrored else 1.0
    return Side(
        activation, sign * scale, derivative, np.sort(sign * edges), np.sort(sign * kinks), sigmas,
        noise=float(np.sqrt(noise / size)) if size else 0.0,
        power=1 if len(jumps) else 2,
    )  # fmt: skip


@np.errstate(all="ignore")
def _mass(samples: Samples, f: Array, q: float) -> Array:
    """`f^2` at the samples under the Gaussian; in logarithms, as exp(400)^2 overflows."""
    log = np.log(np.abs(f)) + samples.log_scale - 0.25 * samples.x**2 / q
    return np.exp(2 * log) * samples.dx


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


@remembered
def _pieces(activation: Activation, reach: float) -> Panels:
    """The widest panels on `[-reach, reach]` on which the activation is resolved."""
    samples = activation.columns(reach).samples
    octaves = 2.0 ** np.arange(-1.0, np.log2(reach) + 1)
    edges = np.concatenate([-octaves, octaves])
    edges = edges[(edges > samples.reach[0]) & (edges < samples.reach[1])]
    if len(samples.kinks):  # no slivers between a kink and an edge that means nothing
        edges = edges[np.min(np.abs(edges[:, None] - samples.kinks), axis=1) > 1e-2 * np.abs(edges)]
    edges = np.unique(np.concatenate([samples.reach, edges, samples.kinks]))
    pieces = resolve(activation.sampled, edges, _NARROWEST)
    if _misses(pieces, samples):  # what is narrow at 0, where samples are finer
        near = 2.0 ** np.arange(-46.0, 0.0)
        edges = np.unique(np.concatenate([edges, -near, near]))
        pieces = resolve(activation.sampled, edges, _NARROWEST)
    return pieces


def _misses(pieces: Panels, samples: Samples) -> bool:
    """Whether the series of the pieces are not the samples somewhere."""
    inside = (samples.log_scale == 0) & np.isfinite(samples.value)
    inside &= (samples.x > pieces.left[0]) & (samples.x < pieces.right[-1])
    x = samples.x[inside]
    which = np.clip(np.searchsorted(pieces.left, x, side="right") - 1, 0, len(pieces.left) - 1)
    width = (pieces.right - pieces.left)[which]
    u = (2 * x - pieces.left[which] - pieces.right[which]) / width
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(series(coefficients(pieces.value)[which], u) - samples.value[inside])
        size = np.max(np.abs(pieces.value), axis=1)[which]
    return bool(np.any(off > _MISSED * size + 4 * (samples.noise[inside] + pieces.noise[which])))


def _slope(pieces: Panels, x: Array) -> Array:
    """`phi'` of a black box, from the series on its pieces."""
    which, u = pieces.places(x)
    slopes = slope_series(coefficients(pieces.value), pieces.right - pieces.left)
    return series(slopes[which], u)


def subdivided(edges: Array, widest: float) -> Array:
    """More edges, so that no two are farther apart than `widest`."""
    return cut(edges, np.ceil(np.diff(edges) / widest))


def cut(edges: Array, parts: Array) -> Array:
    """More edges: each interval in so many equal parts, one at least."""
    counts = np.maximum(parts, 1).astype(int)
    within = np.arange(np.sum(counts)) - np.repeat(np.cumsum(counts) - counts, counts)
    steps = np.repeat(np.diff(edges) / counts, counts)
    return np.append(np.repeat(edges[:-1], counts) + within * steps, edges[-1])
