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
from meanfield.legendre import ORDER, TO_COEFFICIENTS, WEIGHTS, nodes
from meanfield.precision import EPS, concrete
from meanfield.sides import Side

__all__ = ["RESOLVED", "StructurePanels", "legendre_series", "resolved_structure", "structure"]

Array = NDArray[np.float64]

_WIDEST = 1.0  # panels in y, for y of the largest variance, 1/2
RESOLVED = 1e-13
_NARROWEST = 2.0**-30
_NOISE = 1e-6  # what may pass for rounding, in float32
_MANY_CROSSINGS = 256
_MOST_NODES = 1 << 25
_AT_ONCE = 1 << 18  # nodes: 50 MB
_SPARED = 1e-9  # crossings of kinks nearer to one another, relatively, are one
_BLOCK = 512  # panels per call of the compiled sum, so that it compiles once


class StructurePanels(NamedTuple):
    """Panels in `y` from 0 outwards; `F` at their nodes, shape (panels, 16, order)."""

    left: Array
    right: Array
    y: Array
    F: Array
    doubt: Array  # of F / y^power, shape (panels, order)


@np.errstate(divide="ignore", invalid="ignore")  # where F is 0 throughout
def resolved_structure(f: Side, g: Side, power: int, t: Array) -> StructurePanels:
    """Bisect panels in `y` until `F / y^power` is resolved on each."""
    noise = max(f.noise, g.noise)
    edges = _edges(f, g)
    left, right = edges[:-1], edges[1:]
    done: list[StructurePanels] = []
    count, at, sizes = 0, np.array([]), np.zeros((0, len(t)))
    history = np.full((len(left), 3), np.inf)  # last coefficients up to three bisections ago
    while len(left):
        y = nodes(left, right)
        count += _nodes_for(f, g, y.size)
        if count > _MOST_NODES:
            raise UnresolvedError(
                f"{f.activation.name}: E[phi(u) phi(v)] is not resolved with {_MOST_NODES} nodes "
                f"at q = {f.scale**2:.6g}; the activation is too rough or grows too fast for pairs "
                "of inputs of this variance, though one of a smaller variance may do"
            )
        F, size = (part.reshape(*y.shape, len(t)) for part in _even(f, g, y.ravel(), t))
        reduced = F / y[:, :, None] ** power
        # An error at y counts by the weight there, which at g = 1 falls like exp(-y^2) and faster
        # at smaller g: beside what lies nearer to zero. Next to zero D must be right beside itself.
        at = np.append(at, left)
        sizes = np.concatenate([sizes, np.max(F * np.exp(-y * y)[:, :, None], axis=1)])
        order = np.argsort(at, kind="stable")
        inner = np.maximum.accumulate(sizes[order], axis=0)
        inner = inner[np.searchsorted(at[order], left, side="right") - 1]
        own = np.max(reduced, axis=1)
        # a sum of squares of differences, whose roundings are random
        off = noise * np.sqrt(size)
        rounding = np.max(off * (np.sqrt(F) + off) / y[:, :, None] ** power, axis=1)
        rounding += 4 * EPS * own
        last = np.max(np.abs(legendre_series(reduced)[:, -2:]), axis=1)
        counts = (right**power * np.exp(-left * left))[:, None]
        first = (left == 0)[:, None]
        small = np.where(first, last, last * counts) <= RESOLVED * np.where(first, own, inner)
        ended = np.all(small | (last <= rounding), axis=1)
        # slopes of a float32 tanh far out are rounded as those near zero are: noise that is more
        # than its own size says, but looks alike however near one looks (as cusps do, next to 0)
        worst, largest = np.max(last * counts / inner, axis=1), np.max(last, axis=1)
        ended |= (largest >= 0.4 * history[:, 0]) & (worst <= _NOISE) & (left > 0)
        ended |= right - left < _NARROWEST
        panels = StructurePanels(left, right, y, F, last + rounding)
        done.append(StructurePanels(*(part[ended] for part in panels)))
        history = np.repeat(np.column_stack([history[:, 1:], largest])[~ended], 2, axis=0)
        middle = 0.5 * (left + right)
        left, right = (
            np.column_stack(ends)[~ended].ravel() for ends in ((left, middle), (middle, right))
        )
    panels = StructurePanels(*(np.concatenate(parts) for parts in zip(*done, strict=True)))
    return StructurePanels(*(part[np.argsort(panels.left)] for part in panels))


def legendre_series(values: Array) -> Array:
    """Legendre coefficients along the second axis of three."""
    return np.einsum("pjm,jn->pnm", values, TO_COEFFICIENTS)


def _even(f: Side, g: Side, y: Array, t: Array) -> tuple[Array, Array]:
    """What `structure` gives, as the mean of that at `y` and at `-y`."""
    if f is g:
        return structure(f, g, y, t)
    both = structure(f, g, y, t), structure(g, f, y, t)
    return 0.5 * (both[0][0] + both[1][0]), 0.5 * (both[0][1] + both[1][1])


def _edges(f: Side, g: Side) -> Array:
    """Panels in `y`: split where a kink of `f` meets one of `g`, none wider than its distance."""
    top = 0.75 * max(f.reach, g.reach)  # y = sqrt(1/2) z, and no less for phi that grow
    cross = np.unique(0.5 * np.abs(f.kinks[:, None] - g.kinks))
    cross = cross[(cross > 0) & (cross < top)]
    cross = cross[np.diff(cross, prepend=0.0) > _SPARED * cross]
    if len(cross) > _MANY_CROSSINGS:  # then bisection finds those that matter
        cross = cross[:0]
    edges = [0.0]
    for end in [*cross, top]:
        while end - edges[-1] > 1.3 * (step := min(_WIDEST, edges[-1] or _WIDEST)):
            edges.append(edges[-1] + step)
        edges.append(end)
    return np.array(edges)


def _weighed(x: jax.Array, masses: jax.Array, t: jax.Array) -> jax.Array:
    """Sums over panels of masses at `x`, weighted by the density of each variance."""
    t = t[None, None, :]
    weight = jnp.exp(-0.5 * (x * x)[:, :, None] / t) / jnp.sqrt(2 * jnp.pi * t)
    return jnp.stack([jnp.sum(weight * mass[:, :, None], axis=1) for mass in masses])


_compiled = jax.jit(_weighed)


def structure(f: Side, g: Side, y: Array, t: Array) -> tuple[Array, Array]:
    """`F(y)` for `y > 0`, shape (n,), at the variances `t` of `x`, shape (m,); shape (n, m).

    And beside it `E_x[f(x + y)^2 + g(x - y)^2]`, which tells its rounding.
    """
    step = max(1, _AT_ONCE // _nodes_for(f, g, 1))
    parts = [_structure(f, g, y[i : i + step], t) for i in range(0, len(y), step)]
    return np.concatenate([F for F, _ in parts]), np.concatenate([size for _, size in parts])


def _nodes_for(f: Side, g: Side, rows: int) -> int:
    """At how many nodes both sides are asked for `rows` values of `y`, at most."""
    return rows * (len(f.edges) + len(g.edges)) * ORDER


@np.errstate(over="ignore", invalid="ignore")  # an overflow is not resolved, and so refused
def _structure(f: Side, g: Side, y: Array, t: Array) -> tuple[Array, Array]:
    low = np.maximum(-f.reach - y, y - g.reach)[:, None]
    high = np.minimum(f.reach - y, g.reach + y)[:, None]
    still = np.append(f.edges, g.edges)
    shift = np.repeat([-1.0, 1.0], [len(f.edges), len(g.edges)]) * y[:, None]
    edges = np.clip(still + shift, low, high)
    inside = edges == still + shift
    still, shift = np.where(inside, still, edges), np.where(inside, shift, 0.0)
    order = np.argsort(edges, axis=1)
    # between b - y and b + y lie 2y, of which the difference of the two has lost digits
    edges, *parts = (np.take_along_axis(part, order, axis=1) for part in (edges, still, shift))
    width = np.add(*(np.diff(part, axis=1) for part in parts))
    row, column = np.nonzero((width > 0) & (np.diff(edges, axis=1) > 0))
    width = width[row, column]
    x, there = nodes(edges[row, column], edges[row, column + 1]), y[row][:, None]
    u, v = f((x + there).ravel()), g((x - there).ravel())
    masses = np.stack([(u - v) ** 2, u**2 + v**2]).reshape(2, *x.shape)
    masses *= 0.5 * width[:, None] * WEIGHTS
    missing = -len(x) % _BLOCK
    x, masses = np.pad(x, ((0, missing), (0, 0))), np.pad(masses, ((0, 0), (0, missing), (0, 0)))
    with concrete():
        sums = [
            np.asarray(_compiled(x[i : i + _BLOCK], masses[:, i : i + _BLOCK], t))
            for i in range(0, len(x), _BLOCK)
        ]
    starts = np.searchsorted(row, np.arange(len(y)))
    total = np.add.reduceat(np.concatenate(sums, axis=1)[:, : len(row)], starts, axis=1)
    return total[0], total[1]
