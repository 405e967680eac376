r"""How far the noise of a finite width stays from the end of the basin.

A larger `m` leaves more of the signal and brings `V'` nearer to 1, but the unstable fixed point at
which the basin ends comes nearer too, while the noise of the variance grows like
`1 / sqrt(1 - V'^2)`. The margin counts how many standard deviations of the noise fit between.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.clip.landscape import Edges, edges_of_basin, grid
from meanfield.clip.moments import Clippable, ClippedEdge
from meanfield.clip.noise import noise_of
from meanfield.ensembles import Ensemble

__all__ = ["distance", "ends_of", "highest_of", "margins_of"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

_HIGHEST = 1e4  # times q: as far as maps are followed that are not bounded


def distance(q: float, below: Any, above: Any) -> Any:
    """From `q` to the nearer of two variances around it; inf where there is none."""
    return np.fmin(np.fmin(q - below, above - q), np.inf)


def highest_of(edge: ClippedEdge, m: Array, q: float, bounded: bool) -> float:
    """A variance above all fixed points: where clipped on both sides, `V` is at most this."""
    if not bounded:
        return _HIGHEST * q
    top = edge.weight_var * m**2 + edge.bias_var
    return float(np.clip(np.max(top[np.isfinite(top)], initial=q), 2 * q, _HIGHEST * q))


@np.errstate(all="ignore")  # of levels without an edge of chaos
def ends_of(clippable: Clippable, m: Array, q: float, edge: ClippedEdge, highest: float) -> Edges:
    """The ends of the basins of `q` on the edge of chaos, up to the `highest` variance."""
    w, b = edge.weight_var, edge.bias_var
    down, up = grid(q, highest)

    def f(row: Indices, variance: Array) -> tuple[Array, Array]:
        second, first = clippable.second(m[row], variance)
        return w[row] * second + b[row] - variance, w[row] * first - 1

    def along(variances: Array) -> tuple[Array, Array, Array]:
        second, first = clippable.second(m[:, None], variances)
        value = w[:, None] * second + b[:, None] - variances
        return variances, value, w[:, None] * first - 1

    return edges_of_basin(f, along(down), along(up))


def margins_of(
    q: float, edge: ClippedEdge, ends: Edges, width: int, weights: str | Ensemble, sampling: bool
) -> Array:
    """Standard deviations from `q` to the nearest end of its basin.

    inf where it has none, 0 where `q` is not stable, NaN where there is no edge of chaos.
    """
    with np.errstate(all="ignore"):
        noise = noise_of(q, edge.bias_var, edge.slope, edge.source, width, weights)
        margin = distance(q, *ends) / (noise.sampled if sampling else noise.kernel)
    margin = np.where(np.abs(edge.slope) < 1, margin, 0.0)
    return np.where(edge.bias_var >= 0, margin, np.nan)
