r"""Fixed points of the variance map, one for each pair of variances, by Newton on the table.

With `G(q) = q - weight_var E(q)` a fixed point is `G(q) = bias_var`. Which cell of the table holds
it is known (`meanfield.phase.branches`), and that `G` increases there, so that the bracket never
opens. The kernel is compiled once, for any activation and any grid.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from meanfield.network import Phase
from meanfield.phase.tables import FINE, Table
from meanfield.precision import EPS, concrete

__all__ = ["Points", "in_blocks", "on_device", "solve"]

Array = NDArray[np.float64]

BLOCK = 16384
_CELLS = 512  # room for cells on the device; more are rare, and compile again
_NEWTON = 4


class Points(NamedTuple):
    """What is known at each point, arrays of one shape; `error` is that of `q`, relative."""

    q: Array
    error: Array
    chi1: Array
    chi1_error: Array
    variance_slope: Array
    depth_scale_q: Array
    depth_scale_c: Array
    phase: NDArray[np.int8]

    def map(self, function: Callable[[Any], Any]) -> "Points":
        """`function` of each array."""
        return Points(*map(function, self))


def on_device(table: Table) -> tuple[jax.Array, ...]:
    """Edges, `E` at them, polynomials and errors, with room for any usual number of cells."""
    room = _CELLS * -(-len(table.edges) // _CELLS)
    fine = np.pad(table.fine, (0, FINE * room + 1 - len(table.fine)), mode="edge")
    cells = ((0, 0), (0, FINE * room - table.powers.shape[1]), (0, 0))
    error = np.pad(table.error, ((0, 0), (0, room - table.error.shape[1])))
    with concrete():
        return tuple(map(jax.device_put, (fine, np.pad(table.powers, cells), error)))


def _horner(c, u):
    """A polynomial and its derivative, `c` of shape (n, 8)."""
    value, slope = c[:, -1], jnp.zeros_like(u)
    for k in range(c.shape[1] - 2, -1, -1):
        slope = slope * u + value
        value = value * u + c[:, k]
    return value, slope


def depth_scale(slope):
    """`-1 / ln |slope|`: inf at 1, nan above."""
    size = jnp.abs(slope)
    scale = jnp.where(size > 1, jnp.nan, -1 / jnp.log(size))
    return jnp.where(size == 1, jnp.inf, scale)


@jax.jit
def _solve(w, b, cell, low, high, fine, powers, error):
    j = cell * FINE
    step = FINE // 2
    while step:  # which of the eight: G increases between `low` and `high`
        x = fine[j + step]
        edge = powers[0, j + step]
        g = x - w * jnp.sum(edge * _ALTERNATING[None, :], axis=1)
        j = jnp.where((x <= low) | ((x < high) & (g < b)), j + step, j)
        step //= 2
    left, right = fine[j], fine[j + 1]
    middle, half = 0.5 * (left + right), 0.5 * (right - left)
    e = powers[0, j]
    least = (jnp.maximum(low, left) - middle) / half
    most = (jnp.minimum(high, right) - middle) / half

    def g(u):
        value, slope = _horner(e, u)
        return middle - b + half * u - w * value, half - w * slope

    # G at both ends as a parabola: next to an extremum its root is a square root
    (g0, s0), (_, s1) = g(least), g(most)
    bend = (s1 - s0) / jnp.maximum(most - least, 1e-300)
    root = jnp.sqrt(jnp.maximum(s0 * s0 - 2 * bend * g0, 0.0))
    u = jnp.clip(least - 2 * g0 / jnp.maximum(s0 + root, 1e-300), least, most)

    def newton(_, u):
        value, slope = g(u)
        step = jnp.where(slope > 0, value / slope, 0.0)
        return jnp.clip(u - step, least, most)

    u = jax.lax.fori_loop(0, _NEWTON, newton, u)
    q = middle + half * u
    slope, bend = _horner(powers[1, j], u)
    gradient, gradient_slope = _horner(powers[2, j], u)
    slope, bend, gradient, gradient_slope = (
        w * slope, w * bend / half, w * gradient, w * gradient_slope / half,
    )  # fmt: skip
    doubt = w * error[0, cell] + 4 * EPS * (q + b)
    # at a fixed point, at one that is nearly double, and where every q is one
    moved = jnp.minimum(doubt / jnp.abs(1 - slope), jnp.sqrt(2 * doubt / jnp.abs(bend)))
    moved = jnp.minimum(moved, q)
    slope_doubt = w * error[1, cell] + jnp.abs(bend) * moved + 2 * EPS * jnp.abs(slope)
    slope = jnp.where(jnp.abs(slope - 1) <= slope_doubt, 1.0, slope)
    slope = jnp.where(jnp.abs(slope) <= slope_doubt, 0.0, slope)
    gradient_doubt = w * error[2, cell] + jnp.abs(gradient_slope) * moved + 2 * EPS * gradient
    chi1 = jnp.where(jnp.abs(gradient - 1) <= gradient_doubt, 1.0, jnp.maximum(gradient, 0.0))
    phase = (1 + jnp.sign(chi1 - 1)).astype(jnp.int8)
    return q, moved / q, chi1, gradient_doubt, slope, depth_scale(slope), depth_scale(chi1), phase


_ALTERNATING = (-1.0) ** np.arange(8)


def solve(
    table: Table, weight_var: Array, bias_var: Array, cell: NDArray, low: Array, high: Array
) -> Points:
    """The fixed points that lie in these cells between `low` and `high`; all of shape (n,)."""
    points = Points(*in_blocks(_solve, (weight_var, bias_var, cell, low, high), *on_device(table)))
    if table.infinite_slope:
        points.chi1[:], points.chi1_error[:] = np.inf, 0.0
        points.depth_scale_c[:] = np.nan
        points.phase[:] = Phase.CHAOTIC
    return points


def in_blocks(kernel, columns, *rest):
    """`kernel` on the columns, arrays of shape (n,), block by block: one size compiles once."""
    n = len(columns[0])
    parts = []
    with concrete():
        for start in range(0, n, BLOCK):
            block = [c[start : start + BLOCK] for c in columns]
            if len(block[0]) < BLOCK:
                block = [np.pad(c, (0, BLOCK - len(c)), mode="edge") for c in block]
            parts.append(kernel(*block, *rest))
    return [np.concatenate([np.asarray(p) for p in part])[:n] for part in zip(*parts, strict=True)]
