r"""The four-point vertex and the kernel correction, layer by layer.

With `n` the fan-in of a layer, at order 1/n (all at `K`, the kernel of the layer before)

    E[z_i^2 z_j^2]_connected = V4/n:   V4' = C_W^2 (<phi^4> - <phi^2>^2 + vertex <phi^2>^2)
                                             + (n'/n) V'(K)^2 V4
    E[z_i^2] = K + G1/n:               G1' = (n'/n) (V'(K) G1 + V''(K) V4 / 2)

where primes on `V4`, `G1`, `n` mean the next layer. Both are carried over `n` and relative to the
kernel, `r = V4/(n K^2)` and `g = G1/(n K)`: then widths enter the source alone, and nothing
overflows or underflows with the kernel.

Source: Roberts, Yaida & Hanin 2022, arXiv 2106.10165, chapter 4; orthogonal weights (`vertex` -2):
Day, Kahn & Roberts 2023, arXiv 2310.07765.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.precision import EPS
from meanfield.width.averages import Averages

__all__ = ["Layers", "Vertices", "carried", "layers_of", "vertices"]

Array = NDArray[np.float64]


class Layers(NamedTuple):
    """One step of the recursions from each layer but the last; all relative to kernels."""

    share: Array  # weight_var <phi^2> / K': what of the next kernel is not bias
    source: Array  # of r, times fan-in
    power: Array  # K V'(K) / K'
    bend: Array  # K^2 V''(K) / K'
    source_error: Array
    power_error: Array
    bend_error: Array


class Vertices(NamedTuple):
    """`r` and `g` of each layer with bounds of their absolute errors."""

    fluctuation: Array
    shift: Array
    fluctuation_error: Array
    shift_error: Array


@np.errstate(all="ignore")
def carried(first: float, gain: Array, source: Array) -> Array:
    """`x_0 = first, x_(l+1) = gain_l x_l + source_l`, shape (n + 1,).

    Cut into pieces that are gone through side by side: once to find where each ends, for any
    start, and once more from where the one before it has ended.
    """
    pieces = max(1, int(np.sqrt(len(gain))))
    length = -(-len(gain) // pieces)
    padding = (0, pieces * length - len(gain))
    a, s = (np.pad(part, padding).reshape(pieces, length).T.copy() for part in (gain, source))
    offset, factor = np.zeros(pieces), np.ones(pieces)
    for gains, sources in zip(a, s, strict=True):
        offset, factor = gains * offset + sources, gains * factor
    starts, start = np.empty(pieces), first
    for piece in range(pieces):
        starts[piece] = start
        start = offset[piece] + (factor[piece] * start if start else 0.0)
    result = np.empty((length, pieces))
    for layer, (gains, sources) in enumerate(zip(a, s, strict=True)):
        starts = gains * starts + sources
        result[layer] = starts
    return np.concatenate([[first], result.T.ravel()[: len(gain)]])


@np.errstate(all="ignore")
def layers_of(
    at: Averages, vertex: Array, weight_var: float, bias_var: float, doubt: Array
) -> Layers:
    """The steps, from averages at each kernel, whose relative error is `doubt`.

    What an error of the kernel does to a coefficient is known, because coefficients are ratios of
    derivatives: `K d/dK` of `P = K V'/V` is `P + B - P^2`, with `B = K^2 V''/V`. It is small where
    a kernel that is small has lost digits.
    """
    own = weight_var * at.phi2
    alive = own > 0  # the share of a kernel that underflows is its limit, as it is of averages
    share = np.where(alive, own / (own + bias_var), 0.0)
    peaked, sharper, P, B = (
        np.where(alive, part, 0.0)
        for part in (at.peaked, at.sharper, share * at.power, share * at.bend)
    )
    source = share**2 * (peaked - 1 + vertex) * alive
    moved = (
        share**2 * (sharper - 2 * peaked * at.power) + 2 * (1 - share) * at.power * source,
        P + B - P**2,
        4 * (np.abs(P) + np.abs(B)) * B,  # as a small power of the kernel would
    )
    sizes = (share**2 * (peaked + np.abs(vertex)), np.abs(P), np.abs(B))
    further = 4 * (np.abs(P) + np.abs(B)) * doubt  # to second order
    rounded = at.errors["phi2"] / at.phi2 * (1 - share) + 4 * EPS * (bias_var > 0)
    errors = [
        np.where(alive, factor * at.errors[name] + rounded * size
                 + doubt * (np.abs(by) + further * size), 0.0)
        for name, factor, size, by in zip(
            ("peaked", "power", "bend"), (share**2, share, share), sizes, moved, strict=True
        )
    ]  # fmt: skip
    return Layers(share, source, P, B, *errors)


@np.errstate(all="ignore")
def vertices(steps: Layers, start: float, fan_in: Array) -> Vertices:
    """Both recursions, from `start = V4/(n K^2)` of the first layer; `fan_in` is of each layer."""
    r = carried(start, steps.power**2, steps.source / fan_in[1:])
    g = carried(0.0, steps.power, 0.5 * steps.bend * r[:-1])
    # errors obey the same recursions, with the errors of the coefficients as their sources
    own = steps.source_error / fan_in[1:] + 2 * np.abs(steps.power * r[:-1]) * steps.power_error
    r_error = carried(EPS * abs(start), steps.power**2, own + 2 * EPS * np.abs(r[1:]))
    own = np.abs(g[:-1]) * steps.power_error + 0.5 * (
        np.abs(r[:-1]) * steps.bend_error + np.abs(steps.bend) * r_error[:-1]
    )
    g_error = carried(0.0, np.abs(steps.power), own + 2 * EPS * np.abs(g[1:]))
    return Vertices(r, g, r_error, g_error)
