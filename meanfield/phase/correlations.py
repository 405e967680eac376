r"""The correlation `c*` of chaotic points, from one table of two variables.

Let `h(q, c) = (E[phi^2] - E[phi(u) phi(v)]) / (q (1 - c))`, which increases in `c` from `h(q, 0)`
to `h(q, 1) = D(q)`. Two inputs at a fixed point `q` go to the correlation at which
`h(q, c*) = 1 / weight_var`, whatever `bias_var` is; the slope of the correlation map there is
`1 - r` with `r = (h - E[phi'(u) phi'(v)]) / h`. Instead of `weight_var` let the coordinate be

    z = (1 - 1/chi1) / (1 - h(q, 0) / D(q)),     v (3 - v) / 2 = z,     v in (0, 1],

so that `v = 1` is `c = 0`; `v` is `1 - c` itself where `phi` is a sum of Hermite polynomials 1 and
3, and close to it for any odd `phi`. Then `(1 - c) / v` and `r / v` are smooth in `log q` and `v`
down to the edge of chaos, where kinks make `1 - c` a power series in `v`; the panels in `v` are
graded for small kinks. Where `phi` jumps, `D` is infinite and `h` starts as `J / sqrt(1 - c)`:
there `1 / z = 1 + (1 / weight_var - h(q, 0)) / J`, and `r` is smooth itself.

Covariances at a few variances to the octave fill the table where a diagram asks for it.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from meanfield.activation import Activation, remembered
from meanfield.bivariate import Covariance
from meanfield.chebyshev import points, to_series
from meanfield.errors import MeanFieldError
from meanfield.phase.points import in_blocks
from meanfield.phase.tables import HIGHEST, LOWEST, Table
from meanfield.precision import EPS, concrete

__all__ = ["Correlations", "Limits", "correlations_of"]

Array = NDArray[np.float64]

_ROWS = 16  # cells in log q to an octave
_ALL_ROWS = int(_ROWS * np.log2(HIGHEST / LOWEST))
_STRETCH = 2 * _ROWS  # rows sampled at once; halved where that is not enough
_ROOM = 256  # rows on the device; more compile again
_PANELS = np.array([0, *2.0 ** np.arange(-9, 0), 3 / 4, 7 / 8, 15 / 16, 1])  # in v
_PIECES = 6  # cells to a panel
_SMOOTH, _KINKED = 14, 18  # Chebyshev nodes on a stretch: kinks make terms like exp(-b^2 / 2q)
_NODES = 14  # on a panel
_ORDERS = (6, 8)  # coefficients of the polynomials in log q and v
_WIDTH_ORDER = 10  # and of those for the coordinate itself
_TOLERANCE = 2e-11
_SAFETY = 8  # what a series leaves out, in units of its last coefficients
_NOISY = 1e-4  # sqrt(1 - c) below which the rate of h loses all digits
_USELESS = 0.01  # a correlation known worse than this is none


@cache
def _refinement(nodes: int, pieces: int, order: int) -> Array:
    """From values at Chebyshev nodes to the powers of polynomials on equal pieces of [-1, 1].

    Shape (pieces, order, nodes).
    """
    inner = points(order)
    u = -1 + (2 * np.arange(pieces)[:, None] + 1 + inner) / pieces
    to_powers = np.linalg.inv(np.vander(inner, order, increasing=True))
    values = chebyshev.chebvander(u, nodes - 1) @ to_series(nodes).T
    return np.einsum("kp,cpm->ckm", to_powers, values)


def _tail(values: Array, axis: int) -> Array:
    """The last coefficients of the series with these values at Chebyshev nodes along `axis`."""
    last = to_series(values.shape[axis])[:, -2:].T
    return np.max(np.abs(np.tensordot(last, values, axes=(1, axis))), axis=0)


def _left_out(powers: Array) -> Array:
    """What polynomials on the cells leave out of `v` times a function, shape (rows, panels).

    Their highest Chebyshev coefficients are the last powers over 2^4 and 2^6; on cells so small
    the next ones are at least 8 times smaller.
    """
    last = np.sum(np.abs(powers[..., -1, :]), axis=-1) * 2.0 ** (2 - _ORDERS[0])
    last += np.sum(np.abs(powers[..., -1]), axis=-1) * 2.0 ** (2 - _ORDERS[1])
    return _PANELS[1:] * np.max(last, axis=2) / 8


_V = (_PANELS[:-1, None] + np.diff(_PANELS)[:, None] * (0.5 + 0.5 * points(_NODES))).ravel()


class Limits(NamedTuple):
    """Where two inputs go, arrays of shape (n,)."""

    one_minus: Array  # 1 - c*
    slope: Array  # of the correlation map at c*
    depth_scale: Array
    error: Array  # bound of the absolute error of c*


class Correlations:
    """The table of an activation, filled where it was asked for.

    Args:
        activation: the activation.
        table: its one-variable table.
    """

    def __init__(self, activation: Activation, table: Table) -> None:
        self.activation, self.table = activation, table
        self.nodes = _KINKED if np.any(activation.kinks != 0) else _SMOOTH
        self.slot = np.full(_ALL_ROWS, -1, np.int32)  # -1: not asked for yet
        self.powers = np.full((1, len(_PANELS[1:]) * _PIECES, 2, *_ORDERS), np.nan)
        self.widths = np.full((1, _WIDTH_ORDER, 2), np.nan)
        # of g, panel by panel, and of z; the first row is for what is not known
        self.doubt = np.full((1, len(_PANELS)), np.nan)
        self._device: tuple[jax.Array, ...] = ()

    def __call__(self, q: Array, chi1: Array, doubt: Array, weight_var: Array) -> Limits:
        """Where chaotic points go; `doubt` is the error of `chi1`. All of shape (n,)."""
        self._fill(q)
        jump = self.table.infinite_slope
        excess = 1 / weight_var if jump else 1 - 1 / chi1
        doubt = np.zeros_like(q) if jump else doubt / chi1
        return Limits(
            *in_blocks(_evaluate, (q, excess, doubt), *self._device, np.float64(not jump))
        )

    def _fill(self, q: Array) -> None:
        """Fill the stretches of the table that some `q` lies in."""
        row = np.floor((np.log2(q) - np.log2(LOWEST)) * _ROWS).astype(int)
        stretches = np.unique(np.clip(row, 0, _ALL_ROWS - 1) // _STRETCH) * _STRETCH
        missing = [first for first in stretches if self.slot[first] < 0]
        for first in missing:
            self._sample(first, min(_STRETCH, _ALL_ROWS - first))
        if missing or not self._device:
            room = _ROOM * -(-len(self.powers) // _ROOM)
            parts = [
                np.pad(part, ((0, room - len(part)),) + ((0, 0),) * (part.ndim - 1))
                for part in (self.powers, self.widths, self.doubt)
            ]
            parts[0] = parts[0].reshape(room * parts[0].shape[1], -1)
            with concrete():
                self._device = tuple(map(jax.device_put, (np.maximum(self.slot, 0), *parts)))

    def _sample(self, first: int, rows: int) -> None:
        """Fill rows from a stretch of Chebyshev nodes, or from two halves of it."""
        here = slice(first, first + rows)
        octaves = np.log2(LOWEST) + (first + 0.5 * rows * (1 + points(self.nodes))) / _ROWS
        try:
            with ThreadPoolExecutor(2) as pool:
                width, noise, values = map(
                    np.array, zip(*pool.map(self._at, 2.0**octaves), strict=True)
                )
        except MeanFieldError:
            self.slot[here] = 0
            return
        values = values.reshape(self.nodes, len(_PANELS) - 1, _NODES, 2)
        # what counts is the error of c* and of the slope, not that of their quotients with v
        weighed = values * _V.reshape(values.shape[1:3])[..., None]
        missed, worst = _tail(weighed, 0), np.max(noise)
        shifted = np.max(_tail(width, 0) / np.max(np.abs(width), axis=0))
        if max(np.max(missed), shifted) > max(_TOLERANCE, worst) and rows > _ROWS // 4:
            self._sample(first, rows // 2)
            self._sample(first + rows // 2, rows - rows // 2)
            return
        self.slot[here] = len(self.powers) + np.arange(rows)
        in_q = _refinement(self.nodes, rows, _ORDERS[0])
        in_v = _refinement(_NODES, _PIECES, _ORDERS[1])
        powers = np.einsum("rkm,dln,mpnf->rpdfkl", in_q, in_v, values, optimize=True)
        self.powers = np.concatenate([self.powers, powers.reshape(rows, *self.powers.shape[1:])])
        in_q = _refinement(self.nodes, rows, _WIDTH_ORDER)
        self.widths = np.concatenate([self.widths, in_q @ width])  # (rows, 10, 2)
        missed = np.max(missed[..., 0], axis=1) + np.max(_tail(weighed, 2)[..., 0], axis=0)
        doubt = _SAFETY * missed + _left_out(powers[:, :, :, 0])
        doubt = np.column_stack([doubt, np.full(rows, worst + _SAFETY * shifted)])
        self.doubt = np.concatenate([self.doubt, doubt])

    def _at(self, q: float) -> tuple[tuple[float, float], float, Array]:
        """What makes `z` of `1 - 1/chi1`, its error, and `(1 - c)/v` and `r/v` at nodes in `v`."""
        covariance = Covariance(self.activation, q)
        jump = self.table.infinite_slope
        largest = np.inf if jump else float(self.table(np.array([q]), 2)[0])
        h, rate, error = _secants(covariance, _GUESSES)
        least = h[-1]
        z = 0.5 * _V * (3 - _V)
        singular = h[0] * np.sqrt(_GUESSES[0])  # J
        level = least + singular * (1 / z - 1) if jump else largest - z * (largest - least)
        g = _guess(level, h, rate)
        for _ in range(8):
            h, rate, _ = _secants(covariance, g)
            step = (h - level) / rate
            g = np.clip(g - step, 0.2 * g, np.minimum(3 * g, 1.0))
            if np.all(np.abs(step) <= 1e-7 * g):  # the next step would be its square
                break
        values = covariance.difference(g)
        r = 1 - g * values.slope / values.value
        noise = error[-1] / least + 4 * EPS
        if jump:
            return (
                (least / singular, 1 / singular),
                noise * (1 + least / singular),
                np.stack([g / _V, r], axis=1),
            )
        width = 1 / (1 - least / largest)
        return (width, 1.0), noise * width, np.stack([g / _V, r / _V], axis=1)


# 1 - c of a first look at h
_GUESSES = np.append(2.0 ** np.arange(-24.0, -5), np.linspace(2.0**-5, 1, 48)[1:]) ** 2


@np.errstate(divide="ignore", invalid="ignore")  # where h is flat to rounding
def _guess(level: Array, h: Array, rate: Array) -> Array:
    """Where `h`, known with its rate at `_GUESSES`, has these levels: `sqrt(g)` is cubic in it."""
    s = np.sqrt(_GUESSES)[::-1]
    with np.errstate(divide="ignore"):  # at the smallest g the rate is noise: linear there
        slope = 1 / (2 * s * rate[::-1])
    h, slope = h[::-1], np.where(s > _NOISY, slope, np.nan)
    k = np.clip(np.searchsorted(h, level) - 1, 0, len(h) - 2)
    width, low, high = h[k + 1] - h[k], s[k], s[k + 1]
    t = (level - h[k]) / width
    bend = (1 - t) * (slope[k] * width - high + low) - t * (slope[k + 1] * width - high + low)
    between = low + t * (high - low + np.where(np.isfinite(bend), (1 - t) * bend, 0.0))
    return np.clip(np.where(np.isfinite(between), between, high), high, low) ** 2


def _secants(covariance: Covariance, g: Array) -> tuple[Array, Array, Array]:
    """`h` at `c = 1 - g`, its derivative in `g` and its error."""
    q = covariance.q[0]
    values = covariance.difference(g)
    h = values.value / (q * g)
    return h, (values.slope / q - h) / g, values.error / (q * g)


@remembered
def correlations_of(activation: Activation, table: Table) -> Correlations:
    """The table of an activation; it remembers what was filled."""
    return Correlations(activation, table)


@jax.jit
def _evaluate(q, excess, doubt, slot, powers, widths, noise, finite):
    place = (jnp.log2(q) - np.log2(LOWEST)) * _ROWS
    row = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, _ALL_ROWS - 1)
    x = 2 * (place - row) - 1
    row = slot[row]
    width, other = _polynomial(jnp.moveaxis(widths[row], 1, 0), x[:, None]).T
    z = jnp.where(finite > 0, excess * width, 1 / (1 + excess * other - width))
    z = jnp.clip(z, 0.0, 1.0)
    root = jnp.sqrt(9 - 8 * z)
    v = 4 * z / (3 + root)
    panel = jnp.sum(v[:, None] >= _PANELS[None, 1:-1], axis=1)
    left, across = jnp.asarray(_PANELS)[panel], jnp.asarray(np.diff(_PANELS))[panel] / _PIECES
    piece = jnp.clip(jnp.floor((v - left) / across), 0, _PIECES - 1)
    u = 2 * ((v - left) / across - piece) - 1
    column = panel * _PIECES + piece.astype(jnp.int32)
    c = powers[row * (len(_PANELS) - 1) * _PIECES + column].reshape(-1, 2, *_ORDERS)
    c = _polynomial(jnp.moveaxis(c, 2, 0), x[:, None, None])  # (n, 2, 8)
    f = _polynomial(jnp.moveaxis(c, 2, 0), u[:, None])
    rate = c[:, 0, -1] * (_ORDERS[1] - 1)
    for k in range(_ORDERS[1] - 2, 0, -1):
        rate = rate * u + k * c[:, 0, k]
    g = v * f[:, 0]
    r = f[:, 1] * jnp.where(finite, v, 1.0)
    # dg/dz times the error of z, and what interpolation missed
    moved = jnp.abs(f[:, 0] + v * rate * 2 / across) * 2 / root
    error = moved * (doubt * jnp.where(finite, width, 0.0) + noise[row, -1]) + noise[row, panel]
    bad = ~(error < _USELESS)
    g, r, error = jnp.where(bad, jnp.nan, jnp.stack([g, r, error]))
    return g, 1 - r, -1 / jnp.log1p(-r), error


def _polynomial(c, x):
    total = c[-1]
    for k in range(c.shape[0] - 2, -1, -1):
        total = total * x + c[k]
    return total
