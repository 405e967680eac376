r"""The structure function `F(y) = E_x[(f(x + y) - g(x - y))^2]` of activations, from samples.

`f(z) = phi(s z)` in units of the standard deviation `s` of the pre-activations, or its mirror image
or its derivative; `x ~ N(0, t)` at many variances `t` at once. With `u = x + y` and `v = x - y` the
integrand is smooth between the kinks of `f`, shifted down by `y`, and those of `g`, shifted up.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from meanfield.errors import UnresolvedError
from meanfield.legendre import TO_COEFFICIENTS, WEIGHTS, nodes
from meanfield.precision import EPS, concrete
from meanfield.sides import Side

__all__ = ["RESOLVED", "StructurePanels", "legendre_series", "resolved_structure", "structure"]

Array = NDArray[np.float64]

_WIDEST = 0.75  # panels in y, for y of the largest variance, 1/2
RESOLVED = 1e-13
_NARROWEST = 2.0**-30
_MANY_CROSSINGS = 256
_MANY_ROWS = 1 << 16
_SPARED = 1e-9  # crossings of kinks nearer to one another, relatively, are one
_BLOCK = 512  # panels per call of the compiled sum, so that it compiles once


class StructurePanels(NamedTuple):
    """Panels in `y` from 0 outwards; `F` at their nodes, shape (panels, 16, order)."""

    left: Array
    right: Array
    y: Array
    F: Array
    doubt: Array  # of F / y^power, one number a panel


def resolved_structure(f: Side, g: Side, power: int, t: Array) -> StructurePanels:
    """Bisect panels in `y` until `F / y^power` is resolved on each."""
    noise = float(np.hypot(f.noise, g.noise))
    edges = _edges(f, g)
    left, right = edges[:-1], edges[1:]
    done: list[StructurePanels] = []
    rows, at, sizes = 0, np.array([]), np.zeros((0, len(t)))
    while len(left):
        y = nodes(left, right)
        rows += y.size
        if rows > _MANY_ROWS:
            raise UnresolvedError(
                f"{f.activation.name}: E[phi(u) phi(v)] is not resolved with {_MANY_ROWS} nodes at "
                f"q = {f.scale**2:.6g}; the activation is too rough there: ask for a smaller q"
            )
        F = _even(f, g, y.ravel(), t).reshape(*y.shape, len(t))
        reduced = F / y[:, :, None] ** power
        # An error at y counts by the weight there, which at g = 1 falls like exp(-y^2) and faster
        # at smaller g: beside what lies nearer to zero. Next to zero D must be right beside itself.
        at = np.append(at, left)
        sizes = np.concatenate([sizes, np.max(F * np.exp(-y * y)[:, :, None], axis=1)])
        order = np.argsort(at, kind="stable")
        inner = np.maximum.accumulate(sizes[order], axis=0)
        inner = inner[np.searchsorted(at[order], left, side="right") - 1]
        own = np.max(reduced, axis=1)
        scale = np.where(
            (left == 0)[:, None], own, inner * (np.exp(left * left) / right**power)[:, None]
        )
        rounding = noise * np.max(np.sqrt(F) / y[:, :, None] ** power, axis=1) + 4 * EPS * own
        last = np.max(np.abs(legendre_series(reduced)[:, -2:]), axis=1)
        ended = np.all(last <= np.maximum(RESOLVED * scale, rounding), axis=1)
        ended |= right - left < _NARROWEST
        panels = StructurePanels(left, right, y, F, np.max(last + rounding, axis=1))
        done.append(StructurePanels(*(part[ended] for part in panels)))
        middle = 0.5 * (left + right)
        left, right = (
            np.column_stack(ends)[~ended].ravel() for ends in ((left, middle), (middle, right))
        )
    panels = StructurePanels(*(np.concatenate(parts) for parts in zip(*done, strict=True)))
    return StructurePanels(*(part[np.argsort(panels.left)] for part in panels))


def legendre_series(values: Array) -> Array:
    """Legendre coefficients along the second axis of three."""
    return np.einsum("pjm,jn->pnm", values, TO_COEFFICIENTS)


def _even(f: Side, g: Side, y: Array, t: Array) -> Array:
    """Mean of `F(y)` and `F(-y)`."""
    if f is g:
        return structure(f, g, y, t)
    return 0.5 * (structure(f, g, y, t) + structure(g, f, y, t))


def _edges(f: Side, g: Side) -> Array:
    """Panels in `y`: split where a kink of `f` meets one of `g`, none wider than its distance."""
    top = 0.75 * max(f.reach, g.reach)  # y = sqrt(1/2) z, and no less for phi that grow
    cross = np.unique(0.5 * np.abs(f.kinks[:, None] - g.kinks))
    cross = cross[(cross > 0) & (cross < top)]
    if len(cross) > _MANY_CROSSINGS:  # then bisection finds those that matter
        cross = cross[:0]
    cross = cross[np.diff(cross, prepend=0.0) > _SPARED * cross]
    edges = [0.0]
    for end in [*cross, top]:
        while end - edges[-1] > 1.3 * (step := min(_WIDEST, edges[-1] or _WIDEST)):
            edges.append(edges[-1] + step)
        edges.append(end)
    return np.array(edges)


def _weighed(x: jax.Array, mass: jax.Array, t: jax.Array) -> jax.Array:
    """Sums over panels of `mass` at `x`, weighted by the density of each variance."""
    t = t[None, None, :]
    weight = jnp.exp(-0.5 * (x * x)[:, :, None] / t) / jnp.sqrt(2 * jnp.pi * t)
    return jnp.sum(weight * mass[:, :, None], axis=1)


_compiled = jax.jit(_weighed)


def structure(f: Side, g: Side, y: Array, t: Array) -> Array:
    """`F(y)` for `y > 0`, shape (n,), at the variances `t` of `x`, shape (m,); shape (n, m)."""
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
        sums = [np.asarray(_compiled(*block, t)) for block in zip(*blocks, strict=True)]
    return np.add.reduceat(
        np.concatenate(sums)[: len(row)], np.searchsorted(row, np.arange(len(y))), axis=0
    )
