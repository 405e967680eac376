r"""What the 1/n recursions need of an activation: ratios of Gaussian moments, at every variance.

With `E[f]` over `z ~ N(0, q)`, and all derivatives in `q` by Stein's lemma,

    power    = q E[phi^2]' / E[phi^2]        bend    = q^2 E[phi^2]'' / E[phi^2]
    peaked   = E[phi^4] / E[phi^2]^2         sharper = q E[phi^4]' / E[phi^2]^2
    steeper  = q E[phi'^2]' / E[phi'^2]      steeper_bend = q^2 E[phi'^2]'' / E[phi'^2]
    uneven   = E[phi'^4] / E[phi'^2]^2       mixed   = E[phi^2 phi'^2] / (E[phi^2] E[phi'^2])

Ratios have no scale: they stay what they are where a signal grows or dies out by hundreds of
orders of magnitude, and at `q = 0` they are limits from above.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import LEAST_REACH, Activation
from meanfield.gaussian import MOMENTS, lost_share
from meanfield.interpolation import interpolate
from meanfield.maps.moment import near_zero_of, second_moment
from meanfield.maps.powers import FARTHEST, NEAREST
from meanfield.precision import EPS

__all__ = ["LEAST", "Averages", "SlopeAverages", "averages", "slope_averages"]

Array = NDArray[np.float64]

LEAST = 1e-120  # a variance at which all ratios are at their limit, and no moment underflows
_MANY = 64  # variances from which on interpolation may pay
_BLOCK = 256  # variances summed together
_OF_VALUES = ("phi2", "power", "bend", "peaked", "sharper")
_OF_SLOPES = ("dphi2", "steeper", "steeper_bend", "uneven", "mixed")
_PHI2, _DPHI2 = 0, 5  # the columns that are moments, and no ratios
_COLUMNS = [MOMENTS.index(name) for name in ("phi2", "phi4", "dphi2", "dphi4")]


@dataclass(frozen=True)
class Averages:
    """Ratios of moments of `phi` at variances of shape (n,); `phi2` is `E[phi^2]` itself.

    `errors` holds bounds of their absolute errors by name.
    """

    phi2: Array
    power: Array
    bend: Array
    peaked: Array
    sharper: Array
    errors: dict[str, Array]


@dataclass(frozen=True)
class SlopeAverages:
    """Ratios of moments of `phi'`; `dphi2` is `E[phi'^2]`, infinite where `phi` jumps."""

    dphi2: Array
    steeper: Array
    steeper_bend: Array
    uneven: Array
    mixed: Array
    errors: dict[str, Array]


def averages(activation: Activation, q: Array) -> Averages:
    """The ratios of moments of `phi` at variances `q >= 0`, shape (n,).

    Raises:
        UnresolvedError: the activation cannot be sampled to useful accuracy.
    """
    value, error = _columns(activation, q, slice(0, 5))
    return Averages(*value, errors=dict(zip(_OF_VALUES, error, strict=True)))


def slope_averages(activation: Activation, q: Array) -> SlopeAverages:
    """The ratios of moments of `phi'`; arguments and errors as for `averages`."""
    value, error = _columns(activation, q, slice(5, 10))
    return SlopeAverages(*value, errors=dict(zip(_OF_SLOPES, error, strict=True)))


@np.errstate(all="ignore")
def _columns(activation: Activation, q: Array, which: slice) -> tuple[Array, Array]:
    """Some of the ten columns, and bounds of their errors, each of shape (columns, n)."""
    if activation.is_homogeneous and not np.all(q == 1):
        value, error = (part.copy() for part in _columns(activation, np.ones(len(q)), which))
        if which.start == 0:  # E[phi^2] is proportional to q, all else does not change
            value[0], error[0] = (part[0] * np.maximum(q, LEAST) for part in (value, error))
        return value, error
    if len(q) > 1 and np.all(q[1:] == q[0]):
        value, error = _columns(activation, q[:1], which)
        return np.repeat(value, len(q), axis=1), np.repeat(error, len(q), axis=1)
    clipped = np.clip(q, LEAST, None)
    value, error = np.empty((2, len(q), which.stop - which.start))
    middle = (clipped >= NEAREST) & (clipped <= FARTHEST)
    if np.any(middle):
        inside = clipped[middle]

        def direct(some: Array) -> tuple[Array, Array, Array]:
            value, error, size = _direct(activation, some)
            return value[:, which], error[:, which], size[:, which]

        value[middle], error[middle] = (
            interpolate(direct, inside) if len(inside) > _MANY else direct(inside)[:2]
        )
    if not np.all(middle):
        beyond = _beyond(activation, clipped[~middle])
        value[~middle], error[~middle] = (part[:, which] for part in beyond)
    return value.T, error.T


def _direct(activation: Activation, q: Array) -> tuple[Array, Array, Array]:
    """The ten columns by summing over samples, their errors, and the sizes of the values."""
    parts = [_block(activation, q[i : i + _BLOCK]) for i in range(0, len(q), _BLOCK)]
    value, error = (np.concatenate(part) for part in zip(*parts, strict=True))
    size = np.abs(value)
    ratios = [k for k in range(10) if k not in (_PHI2, _DPHI2)]
    size[:, ratios] = np.maximum(size[:, ratios], 1.0)
    return value, error, size


@np.errstate(all="ignore")
def _block(activation: Activation, q: Array) -> tuple[Array, Array]:
    m = activation.moments(q, derivatives=True)
    assert m.first is not None and m.second is not None
    assert m.first_error is not None and m.second_error is not None
    phi2, phi4, dphi2, dphi4 = m.value[:, _COLUMNS].T
    doubts = m.error[:, _COLUMNS].T
    first, second, first_error, second_error = (
        scale[:, None] * part[:, _COLUMNS]
        for scale, part in (
            (q, m.first), (q * q, m.second), (q, m.first_error), (q * q, m.second_error)
        )
    )  # fmt: skip
    mixed, mixed_error = _mixed(activation, q)
    value, error = _ratios(
        [phi2, first[:, 0], second[:, 0], phi4, first[:, 1],
         dphi2, first[:, 2], second[:, 2], dphi4, mixed],
        [doubts[0], first_error[:, 0], second_error[:, 0], doubts[1], first_error[:, 1],
         doubts[2], first_error[:, 2], second_error[:, 2], doubts[3], mixed_error],
    )  # fmt: skip
    if activation.is_homogeneous:  # E[phi^2] is proportional to q, E[phi^4] to q^2: exactly
        value[:, [1, 2, 6, 7]] = 1.0, 0.0, 0.0, 0.0
        error[:, [1, 2, 6, 7]] = 0.0
        value[:, 4], error[:, 4] = 2 * value[:, 3], 2 * error[:, 3]
    return value, error


@np.errstate(all="ignore")
def _ratios(values: list[Array], doubts: list[Array]) -> tuple[Array, Array]:
    """From moments to ratios of them by the two second moments."""
    phi2, dphi2 = values[_PHI2], values[_DPHI2]
    relative, steep = doubts[_PHI2] / phi2, doubts[_DPHI2] / dphi2
    scales = (1, phi2, phi2, phi2**2, phi2**2, 1, dphi2, dphi2, dphi2**2, phi2 * dphi2)
    powers = (0, relative, relative, 2 * relative, 2 * relative,
              0, steep, steep, 2 * steep, relative + steep)  # fmt: skip
    ratios = [value / scale for value, scale in zip(values, scales, strict=True)]
    errors = [
        doubt / np.abs(scale) + (power + 4 * EPS) * np.abs(ratio)
        for doubt, scale, power, ratio in zip(doubts, scales, powers, ratios, strict=True)
    ]
    errors = [np.where(np.isfinite(r), e, np.inf) for r, e in zip(ratios, errors, strict=True)]
    return np.stack(ratios, axis=1), np.stack(errors, axis=1)


@np.errstate(all="ignore")
def _mixed(activation: Activation, q: Array) -> tuple[Array, Array]:
    """`E[phi^2 phi'^2]` with the samples that moments take, and a bound of its error."""
    reach = max(LEAST_REACH, 2.0 ** np.ceil(np.log2(13 * np.sqrt(q.max()))))
    samples = activation.columns(float(reach)).samples
    if np.any(samples.log_scale) or len(samples.jumps):
        return np.full(len(q), np.nan), np.full(len(q), np.inf)
    x, v, d = samples.x[:, None], samples.value[:, None], samples.slope[:, None]
    f = (v * d) ** 2
    noise = 2 * np.abs(v * d) * (np.abs(d) * samples.noise[:, None]
                                 + np.abs(v) * samples.slope_noise[:, None])  # fmt: skip
    weight = np.exp(-0.5 * samples.x**2 / q[:, None]) * samples.dx
    lost = lost_share(samples.x[None], samples.width[None], q[:, None], np)
    scale = np.sqrt(2 * np.pi * q)
    value = (weight @ f)[:, 0] / scale
    tail = np.sum((weight * f.T)[:, [0, -1]] * samples.reach[1] / samples.dx[[0, -1]], axis=1)
    doubt = (weight @ (noise + 16 * EPS * f * (1 + x * x / q.max())))[:, 0]
    error = (doubt + (weight * lost @ f)[:, 0] + tail) / scale
    return value, np.where(np.isfinite(value), error, np.inf)


def _beyond(activation: Activation, q: Array) -> tuple[Array, Array]:
    """The ten columns where no sum over samples reaches: by powers of `q`."""
    value, error = np.empty((2, len(q), 10))
    for where, law in ((q < NEAREST, _near), (q > FARTHEST, _far)):
        if np.any(where):
            value[where], error[where] = law(activation, q[where])
    return value, error


@np.errstate(all="ignore")
def _near(activation: Activation, q: Array) -> tuple[Array, Array]:
    laws = near_zero_of(activation)
    columns, doubts = [], []
    for names in (("phi2", "phi4"), ("dphi2", "dphi4")):
        m, fourth = (second_moment(activation, q, name) for name in names)
        columns += [m.value, q * m.first, q**2 * m.second, fourth.value, q * fourth.first]
        doubts += [m.error, q * m.first_error, q**2 * m.second_error,
                   fourth.error, q * fourth.first_error]  # fmt: skip
    unknown = np.full(len(q), np.nan), np.full(len(q), np.inf)
    mixed = laws["mixed"].derivative(q, 0) if "mixed" in laws else unknown
    return _ratios([*columns[:-1], mixed[0]], [*doubts[:-1], mixed[1]])


@np.errstate(all="ignore")
def _far(activation: Activation, q: Array) -> tuple[Array, Array]:
    """Far out a signal is a power of its size, and the ratios are constant or told not to be."""
    values, errors, _ = _direct(activation, np.array([FARTHEST, FARTHEST / 16]))
    octaves = np.log2(q / FARTHEST)[:, None]
    stray = np.abs(values[0] - values[1])
    value = np.repeat(values[:1], len(q), axis=0)
    for column in (_PHI2, _DPHI2):  # and their powers beside them
        value[:, column] *= (q / FARTHEST) ** values[0, column + 1]
        stray[column] = stray[column + 1] * np.abs(values[0, column])
    error = np.maximum(errors[0], stray * octaves)
    return value, np.where(stray > 1e-6 * np.abs(values[0]), np.inf, error)
