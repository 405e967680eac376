r"""The quantitative rule: as large a clip level as the noise of a finite width allows.

A larger `m` leaves more of the signal and brings `V'` nearer to 1, but the unstable fixed point at
which the basin ends comes nearer too, while the noise of the variance grows like
`1 / sqrt(1 - V'^2)`. The margin counts how many standard deviations of the noise fit between.

Where no such point exists yet, the one about to be born counts: the variance at which the map,
having turned, comes nearest to the diagonal. Noise that carries a network there leaves it for many
layers, although the map would bring it back in the end.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.clip.landscape import Edges, edges_of_basin, grid
from meanfield.clip.moments import Clippable, ClippedEdge, edge_of
from meanfield.clip.noise import noise_of
from meanfield.clip.search import Scan
from meanfield.ensembles import Ensemble

__all__ = ["Margins", "approach", "distance", "highest_of", "largest_level", "margins_of"]

Array = NDArray[np.float64]

_HIGHEST = 1e4  # times q: as far as maps are followed that have no lower bound
_LEVELS = 100  # scanned for the margin
_CLOSE = 1e-13  # to which m is determined


class Margins(NamedTuple):
    """Basins around `q` along clip levels, arrays of their shape; NaN for an end that is not."""

    edges: Edges
    margin: Array  # standard deviations to the nearest end; inf without one, 0 where not stable
    cautious: Array  # the same, the nearest approach counting as an end


def distance(q: float, below: Array, above: Array) -> Array:
    """From `q` to the nearer of two variances around it; inf where there is none."""
    return np.fmin(np.fmin(q - below, above - q), np.inf)


def highest_of(edge: ClippedEdge, m: Array, q: float, bounded: bool) -> float:
    """A variance above all fixed points: where clipped on both sides, `V` is at most this."""
    if not bounded:
        return _HIGHEST * q
    top = edge.weight_var * m**2 + edge.bias_var
    return float(np.clip(np.max(top[np.isfinite(top)], initial=q), 2 * q, _HIGHEST * q))


def margins_of(
    clippable: Clippable,
    m: Array,
    q: float,
    highest: float,
    width: int,
    weights: str | Ensemble,
    sampling: bool = True,
) -> tuple[ClippedEdge, Margins]:
    """The edge of chaos, the ends of its basin and the margin for each `m` of shape (M,).

    Basins are looked at up to the `highest` variance.
    """
    edge = edge_of(clippable.moments(m, q), q)
    ends = ends_of(clippable, m, q, edge, highest)
    with np.errstate(all="ignore"):  # of levels without an edge of chaos
        noise = noise_of(q, edge.bias_var, edge.slope, edge.source, width, weights)
        unit = noise.sampled if sampling else noise.kernel
        margins = np.stack([distance(q, *ends[:2]), distance(q, *ends[2:])]) / unit
        margins = np.where(np.abs(edge.slope) < 1, margins, 0.0)
        return edge, Margins(ends, *np.where(edge.bias_var >= 0, margins, np.nan))


@np.errstate(all="ignore")
def ends_of(
    clippable: Clippable, m: Array, q: float, edge: ClippedEdge, highest: float
) -> Edges:
    """The ends of the basins of `q` on the edge of chaos."""
    w, b = edge.weight_var, edge.bias_var
    down, up = grid(q, highest)

    def f(row: Array, variance: Array) -> tuple[Array, Array]:
        at = clippable.moments(m[row], variance)
        return w[row] * at.second + b[row] - variance, w[row] * at.first - 1

    def along(variances: Array) -> tuple[Array, Array, Array]:
        at = clippable.moments(m[:, None], variances)
        value = w[:, None] * at.second + b[:, None] - variances
        return variances, value, w[:, None] * at.first - 1

    return edges_of_basin(f, along(down), along(up))


def approach(of: Callable[[float], Clippable], m: float, q: float, bounded: bool) -> float:
    """How far from `q` the map at one level comes nearest to the diagonal; inf if it does not.

    Args:
        of: what has the moments up to a variance.
        m: the clip level.
        q: the variance.
        bounded: whether it is clipped on both sides.
    """
    level = np.array([m])
    edge = edge_of(of(q).moments(level, q), q)
    highest = highest_of(edge, level, q, bounded)
    ends = ends_of(of(highest), level, q, edge, highest)
    return float(distance(q, *ends[2:])[0])


def largest_level(
    clippable: Clippable,
    scan: Scan,
    q: float,
    highest: float,
    margin: float,
    width: int,
    weights: str | Ensemble,
    sampling: bool,
    name: str,
) -> float:
    """The largest `m` with a (cautious) margin at least as wanted.

    Raises:
        ValueError: no `m` has this margin, or all have it.
    """
    from scipy.optimize import brentq

    def excess(m: Array) -> Array:
        got = margins_of(clippable, m, q, highest, width, weights, sampling)[1].cautious
        return np.where(np.isinf(got), 1.0, (got - margin) / (got + margin))

    # beyond, V' is 1 within rounding and so is everything else
    possible = scan.m[scan.valid & (scan.edge.slope < 1 - 1e-9)]
    m = np.unique(np.append(possible[:: max(len(possible) // _LEVELS, 1)], possible[-1:]))
    wide = excess(m) >= 0
    if not np.any(wide):
        raise ValueError(
            f"margin: at no clip level of {name} is the basin of q = {q:.6g} {margin:g} standard "
            f"deviations of the noise at width {width} wide; ask for less, or for a larger width"
        )
    last = int(np.flatnonzero(wide)[-1])
    if last == len(m) - 1:
        raise ValueError(
            f"margin: it is never less than {margin:g} for {name} at q = {q:.6g}: no clip level "
            "makes an unstable fixed point that near (the unclipped map is not convex at q). "
            "Choose by `slope` instead"
        )
    low, high = float(m[last]), float(m[last + 1])
    root: Any = brentq(
        lambda level: float(excess(np.array([level]))[0]), low, high, xtol=1e-300, rtol=_CLOSE
    )
    # on the side that has it, also where the margin falls from infinity in one step
    return float(root) if excess(np.array([root]))[0] >= 0 else float(root * (1 - 4 * _CLOSE))
