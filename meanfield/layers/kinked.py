r"""Pairs of signals through the kinks of an activation, whose Hermite coefficients fall too slowly.

`Psi(x) = sum_j J_j |x - b_j|`, each on the far side of its kink `b_j` from 0 alone, has all jumps
`J_j` of the slope. By Price's theorem, with `c = cos(t)`, and `x_j = b_j / r_u`, `y_k = b_k / r_v`
in units of standard deviations,

    E[Psi'(u) Psi'(v)] = E_0' - sum_jk J_j J_k int_0^t w_jk(s) ds / 2 pi,
    w_jk(s) = exp(-(x_j - y_k)^2 / (2 sin(s)^2) - x_j y_k / (1 + cos(s))),

where `E_0'` is that at `c = 1`, and once more

    E[(Psi(u) - Psi(v))^2] / 2 = gap_0
        + r_u r_v ((1 - c) E_0' - sum_jk J_j J_k int_0^t w_jk(s) (cos(s) - cos(t)) ds / 2 pi).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, remembered
from meanfield.legendre import WEIGHTS, nodes
from meanfield.normal import normal_rule
from meanfield.sides import slope_jumps

__all__ = ["Kinks", "coefficients_of_kinks", "kinked_difference", "kinks_of"]

Array = NDArray[np.float64]

_MOST = 12  # kinks, of which pairs are taken
_BESIDE = 1e-5
_SAME = 1e-6
_FARTHEST = 12.0  # standard deviations
_EDGES = np.arange(-_FARTHEST, _FARTHEST + 0.5)
_TOWARDS_0 = np.concatenate([[0.0], 4.0 ** np.arange(-22.0, -4.0), 2.0 ** np.arange(-8.0, 1.0)])
_TOWARDS_PI = 1 - 2.0 ** np.arange(-1.0, -12.0, -1.0)
_LEAST_ANGLE = 1e-150  # whose square is a number
_AT_ONCE = 256  # pairs


class Kinks(NamedTuple):
    """Where the slope jumps, and by how much."""

    place: Array
    jump: Array


@remembered
def kinks_of(activation: Activation, top: float) -> Kinks:
    """Those within reach of variances up to `top`; none where they are many, or no jumps."""
    none = Kinks(np.zeros(0), np.zeros(0))
    if activation.is_steep or len(activation.jumps):
        return none
    place, jump = slope_jumps(activation, top)
    if not 0 < len(place) <= _MOST:
        return none
    # jumps of slopes that are known, from beside the kink: three points on each side, to its limit
    steps = _BESIDE * np.maximum(np.abs(place), 1.0) * np.array([[1], [2], [3], [-1], [-2], [-3]])
    slopes = activation.sampled.slopes((place + steps).ravel())
    if slopes is not None:
        sharper = np.array([3.0, -3.0, 1.0, -3.0, 3.0, -1.0]) @ slopes.reshape(steps.shape)
        jump = np.where(np.abs(sharper - jump) < _SAME * np.abs(jump), sharper, jump)
    return Kinks(place, jump)


def coefficients_of_kinks(kinks: Kinks, q: Array, count: int) -> Array:
    """Hermite coefficients of `Psi`: `J r h_(k-2)(x) n(x) / sqrt(k (k - 1))` of each kink."""
    from scipy.special import ndtr

    result = np.zeros((len(q), count))
    root = np.sqrt(q)
    for place, jump in zip(*kinks, strict=True):
        x = place / root
        half = np.exp(-0.25 * x * x) / (2 * np.pi) ** 0.25
        result[:, 0] += jump * root * (half**2 - np.abs(x) * ndtr(-np.abs(x)))
        result[:, 1] += np.copysign(1.0, place) * jump * root * ndtr(-np.abs(x))
        before, now = np.zeros_like(x), half
        for k in range(2, count):
            result[:, k] += jump * root * half * now / np.sqrt(k * (k - 1))
            before, now = now, (x * now - np.sqrt(k - 2) * before) / np.sqrt(k - 1)
    return result


def kinked_difference(kinks: Kinks, pairs: Array, g: Array, derivative: bool) -> Array:
    """`E[(f(u) - f(v))^2] / 2` for `f = Psi` or its derivative, at `c = 1 - g`."""
    (r, s), steps = np.sqrt(pairs), range(0, len(g), _AT_ONCE)
    chunks = [slice(i, i + _AT_ONCE) for i in steps]
    return np.concatenate([_difference(kinks, r[c], s[c], g[c], derivative) for c in chunks])


def _difference(kinks: Kinks, r: Array, s: Array, g: Array, derivative: bool) -> Array:
    from scipy.special import ndtr

    products = kinks.jump[:, None] * kinks.jump
    x, y = kinks.place / r[:, None], kinks.place / s[:, None]
    on_one_side = products * (np.signbit(kinks.place[:, None]) == np.signbit(kinks.place))

    def aligned(x: Array, y: Array) -> Array:  # E[Psi' Psi'] of pairs with c = 1
        farther = np.maximum(np.abs(x)[:, :, None], np.abs(y)[:, None, :])
        return np.sum(on_one_side * ndtr(-farther), axis=(1, 2))

    slopes = aligned(x, y)
    angle = 2 * np.arcsin(np.sqrt(0.5 * g))
    sharp = np.minimum(angle, np.pi / 2)
    blunt = np.minimum(np.pi * _TOWARDS_PI, angle[:, None])  # where sin(s) vanishes again
    edges = np.concatenate([sharp[:, None] * _TOWARDS_0, blunt, angle[:, None]], axis=1)
    t = nodes(edges[:, :-1].ravel(), edges[:, 1:].ravel()).reshape(len(g), -1)
    mass = (0.5 * np.diff(edges, axis=1)[:, :, None] * WEIGHTS).reshape(len(g), -1)
    if not derivative:
        mass = mass * 2 * np.sin(0.5 * (angle[:, None] + t)) * np.sin(0.5 * (angle[:, None] - t))
    t = np.maximum(t, _LEAST_ANGLE)
    bent = np.zeros_like(g)
    with np.errstate(divide="ignore", under="ignore"):
        sharpness, round_off = 0.5 / np.sin(t) ** 2, 0.5 / np.cos(0.5 * t) ** 2
    for j in range(len(kinks.jump)):
        for k in range(len(kinks.jump)):
            a, b = x[:, j, None], y[:, k, None]
            weight = np.exp(-((a - b) ** 2) * sharpness - a * b * round_off)
            bent += products[j, k] * np.sum(mass * weight, axis=1)
    bent /= 2 * np.pi
    if derivative:
        return 0.5 * (aligned(x, x) + aligned(y, y)) - slopes + bent
    return _aligned_gap(kinks, r, s) + r * s * (g * slopes - bent)


def _aligned_gap(kinks: Kinks, r: Array, s: Array) -> Array:
    """`gap_0 = E[(Psi(r z) - Psi(s z))^2] / 2`, on panels between the kinks of both."""
    found = np.zeros_like(r)
    apart = np.flatnonzero(r != s)
    if not len(apart):
        return found
    r, s = r[apart, None], s[apart, None]
    edges = np.concatenate(
        [np.broadcast_to(_EDGES, (len(apart), len(_EDGES))), kinks.place / r, kinks.place / s],
        axis=1,
    )
    z, mass = normal_rule(np.sort(np.clip(edges, -_FARTHEST, _FARTHEST), axis=1))
    psi = np.zeros_like(z)
    for place, jump in zip(*kinks, strict=True):
        side = np.copysign(1.0, place)
        one, other = (np.maximum(side * (scale * z - place), 0.0) for scale in (r, s))
        psi += jump * (one - other)
    found[apart] = 0.5 * np.sum(mass * psi**2, axis=1)
    return found
