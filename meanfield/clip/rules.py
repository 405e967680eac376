"""The largest clip level that keeps noise at bay: by its margin, or by the risk that remains."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.clip.chain import chain_of
from meanfield.clip.margin import ends_of, margins_of
from meanfield.clip.moments import Clippable, edge_of
from meanfield.clip.noise import vertex_of_weights
from meanfield.clip.search import NoLevel, Scan
from meanfield.ensembles import Ensemble

__all__ = ["STRAYED", "Noisy", "Size", "largest_by_margin", "largest_by_risk"]

Array = NDArray[np.float64]

STRAYED = 3.0  # times q: a variance that has left it behind
_LEVELS, _FEW_LEVELS = 100, 25  # scanned
_CLOSE = 1e-13  # to which m is determined
_BEFORE = 1e-11


class Size(NamedTuple):
    """Finite networks: neurons a layer, layers, and their weights."""

    width: int
    depth: int
    weights: str | Ensemble


class Noisy(NamedTuple):
    """An activation to be clipped at an unknown level, in networks of a finite size."""

    clippable: Clippable
    q: float
    size: Size
    name: str


def largest_by_margin(
    of: Noisy, scan: Scan, margin: float, sampling: bool, highest: float
) -> float:
    """The largest `m` with a margin at least as wanted.

    Where the unstable fixed point is born farther away than that (with a stable one above it),
    it is the last `m` before.

    Raises:
        NoLevel: no `m` has this margin, or all have it.
    """

    def excess(m: Array) -> Array:
        edge = edge_of(of.clippable.moments(m, of.q), of.q)
        ends = ends_of(of.clippable, m, of.q, edge, highest)
        got = margins_of(of.q, edge, ends, of.size.width, of.size.weights, sampling)
        return 1 - 2 * margin / (got + margin)  # 1 where the margin is infinite

    size, name = of.size, of.name
    return _largest(
        excess, scan, _LEVELS,
        f"margin: at no clip level of {name} is the end of the basin of q = {of.q:.6g} as far as "
        f"{margin:g} standard deviations of the noise at width {size.width}; ask for less, or for "
        "a larger width",
        f"margin: it is never less than {margin:g} for {name} at q = {of.q:.6g}: no clip level "
        "makes an unstable fixed point so near (unclipped the map is not convex at q). Choose by "
        "`slope` or by `risk` instead",
    )  # fmt: skip


def largest_by_risk(of: Noisy, scan: Scan, risk: float, highest: float) -> float:
    """The largest `m` at which no more than a share of networks strays.

    Raises:
        NoLevel: that is so for no `m`, or for all.
    """
    size, name = of.size, of.name
    vertex = vertex_of_weights(size.weights, size.width)

    def excess(levels: Array) -> Array:
        result = []
        for m in levels.tolist():
            edge = edge_of(of.clippable.moments(np.array([m]), of.q), of.q)
            below = ends_of(of.clippable, np.array([m]), of.q, edge, highest).below[0]
            chain = chain_of(
                lambda K, m=m: of.clippable.moments(m, K), float(edge.weight_var[0]),
                float(edge.bias_var[0]), of.q, size.depth, size.width,
                (float(np.nan_to_num(below)), STRAYED * of.q), vertex,
            )  # fmt: skip
            result.append(np.log(risk / max(chain.left[-1], 1e-12)))
        return np.array(result)

    return _largest(
        excess, scan, _FEW_LEVELS,
        f"risk: at no clip level of {name} do fewer than {risk:g} of the networks of width "
        f"{size.width} and depth {size.depth} stray to {STRAYED:g} q; ask for more, or for a "
        "larger width",
        f"risk: whatever the clip level, no more than {risk:g} of the networks of {name} of width "
        f"{size.width} and depth {size.depth} stray to {STRAYED:g} q = {STRAYED * of.q:.6g}. "
        "Choose by `slope` instead, or not to clip",
    )  # fmt: skip


def _largest(
    excess: Callable[[Array], Array], scan: Scan, levels: int, none: str, every: str
) -> float:
    """The last root of `excess`, at which it stops being positive as `m` grows."""
    from scipy.optimize import brentq

    # beyond, V' is 1 within rounding and so is everything else
    possible = scan.m[scan.valid & (scan.edge.slope < 1 - 1e-9)]
    m = np.unique(np.append(possible[:: max(len(possible) // levels, 1)], possible[-1:]))

    def at(level: float) -> float:
        return float(excess(np.array([level]))[0])

    k = len(m) - 1
    while k >= 0 and not at(m[k]) >= 0:
        k -= 1
    if k < 0:
        raise NoLevel(none)
    if k == len(m) - 1:
        raise NoLevel(every, every=True)
    root: Any = brentq(at, m[k], m[k + 1], xtol=1e-300, rtol=np.float64(_CLOSE))
    # where it falls in one step, clearly before that: there the map touches the diagonal
    return float(root) if abs(at(root)) < 1e-4 else float(root) * (1 - _BEFORE)
