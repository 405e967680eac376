r"""What the 1/n recursions need of an activation: ratios of Gaussian moments, at every variance.

With `E[f]` over `z ~ N(0, q)`, and all derivatives in `q` by Stein's lemma,

    power    = q E[phi^2]' / E[phi^2]        bend    = q^2 E[phi^2]'' / E[phi^2]
    peaked   = E[phi^4] / E[phi^2]^2
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

__all__ = ["Averages", "averages"]

Array = NDArray[np.float64]

_LEAST = 1e-120  # a variance at which all ratios are at their limit, and no moment underflows
_MANY = 64  # variances from which on interpolation may pay
_BLOCK = 256  # variances summed together
_COLUMNS = [MOMENTS.index(name) for name in ("phi2", "phi4", "dphi2", "dphi4")]


@dataclass(frozen=True)
class Averages:
    """Ratios at variances `q`, shape (n,), and bounds of their absolute errors by name.

    `phi2` and `dphi2` are `E[phi^2]` and `E[phi'^2]` themselves. Where `phi` jumps `dphi2` is
    infinite, and what rests on `phi'` is NaN.
    """

    phi2: Array
    power: Array
    bend: Array
    peaked: Array
    dphi2: Array
    steeper: Array
    steeper_bend: Array
    uneven: Array
    mixed: Array
    errors: dict[str, Array]


_NAMES = tuple(name for name in Averages.__dataclass_fields__ if name != "errors")


@np.errstate(all="ignore")
def averages(activation: Activation, q: Array) -> Averages:
    """The ratios at variances `q >= 0`, shape (n,).

    Raises:
        UnresolvedError: the activation cannot be sampled to useful accuracy.
    """
    if len(q) > 1 and np.all(q[1:] == q[0]):
        at = averages(activation, q[:1])
        repeated = {name: np.repeat(getattr(at, name), len(q)) for name in _NAMES}
        return Averages(**repeated, errors={k: np.repeat(e, len(q)) for k, e in at.errors.items()})
    clipped = np.clip(q, _LEAST, None)
    value, error = np.empty((2, len(q), 9))
    middle = (clipped >= NEAREST) & (clipped <= FARTHEST)
    if np.any(middle):
        inside = clipped[middle]

        def direct(some: Array) -> tuple[Array, Array, Array]:
            return _direct(activation, some)

        value[middle], error[middle] = (
            interpolate(direct, inside) if len(inside) > _MANY else direct(inside)[:2]
        )
    if not np.all(middle):
        value[~middle], error[~middle] = _beyond(activation, clipped[~middle])
    return Averages(*value.T, errors=dict(zip(_NAMES, error.T, strict=True)))


def _direct(activation: Activation, q: Array) -> tuple[Array, Array, Array]:
    """The nine columns by summing over samples, their errors, and the sizes of the values."""
    parts = [_block(activation, q[i : i + _BLOCK]) for i in range(0, len(q), _BLOCK)]
    value, error = (np.concatenate(part) for part in zip(*parts, strict=True))
    size = np.abs(value)
    size[:, 1:4] = np.maximum(size[:, 1:4], 1.0)
    size[:, 5:] = np.maximum(size[:, 5:], 1.0)
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
    return _ratios(
        [phi2, first[:, 0], second[:, 0], phi4, dphi2, first[:, 2], second[:, 2], dphi4, mixed],
        [doubts[0], first_error[:, 0], second_error[:, 0], doubts[1], doubts[2],
         first_error[:, 2], second_error[:, 2], doubts[3], mixed_error],
    )  # fmt: skip


@np.errstate(all="ignore")
def _ratios(values: list[Array], doubts: list[Array]) -> tuple[Array, Array]:
    """From moments, of which the first and the fifth are second moments, to ratios."""
    phi2, dphi2 = values[0], values[4]
    relative, steep = doubts[0] / phi2, doubts[4] / dphi2
    scales = (1, phi2, phi2, phi2**2, 1, dphi2, dphi2, dphi2**2, phi2 * dphi2)
    powers = (0, relative, relative, 2 * relative, 0, steep, steep, 2 * steep, relative + steep)
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
    """The nine columns where no sum over samples reaches: by powers of `q`."""
    value, error = np.empty((2, len(q), 9))
    for where, law in ((q < NEAREST, near_zero_of(activation)), (q > FARTHEST, {})):
        if not np.any(where):
            continue
        some = q[where]
        second = {name: second_moment(activation, some, name)
                  for name in ("phi2", "dphi2", "phi4", "dphi4")}  # fmt: skip
        if "mixed" in law:
            mixed = law["mixed"].derivative(some, 0)
        else:
            mixed = np.full(len(some), np.nan), np.full(len(some), np.inf)
        columns, doubts = [], []
        for names in (("phi2", "phi4"), ("dphi2", "dphi4")):
            m, fourth = (second[name] for name in names)
            columns += [m.value, some * m.first, some**2 * m.second, fourth.value]
            doubts += [m.error, some * m.first_error, some**2 * m.second_error, fourth.error]
        value[where], error[where] = _ratios([*columns, mixed[0]], [*doubts, mixed[1]])
    return value, error
