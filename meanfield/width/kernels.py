"""Kernels of infinitely wide networks along depth: variances with bounds of their errors."""

import numpy as np
from numpy.typing import NDArray

from meanfield.criticality import checked_variances
from meanfield.maps.settle import settled_variance
from meanfield.maps.variance import variance_map
from meanfield.network import FixedPoint, Network
from meanfield.precision import EPS

__all__ = ["iterated", "kernels"]

Array = NDArray[np.float64]


def kernels(network: Network | FixedPoint, depth: int, q: float | None) -> tuple[Array, Array]:
    """The kernels of all layers, and bounds of their relative errors."""
    V = variance_map(network)
    if q is None:
        start = settled_variance(network)
    else:
        variance = checked_variances("q", q, ">= 0")
        if variance.ndim:
            raise ValueError(
                f"q: must be one variance, got an array of shape {variance.shape}; take inputs one "
                "by one"
            )
        start = float(variance)
    own = isinstance(network, FixedPoint) and q is None
    if own or abs(V(start) - start) <= V.error(start) + 8 * EPS * start:
        relative = V.error(start) / start if start > 0 else 0.0
        return np.full(depth, start), np.full(depth, relative)
    return iterated(V.network, start, depth)


def iterated(network: Network, start: float, depth: int) -> tuple[Array, Array]:
    """The same from a first kernel that moves."""
    way = variance_map(network).iterate(start, depth - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        doubt = np.where(way.variance > 0, way.error / way.variance, 0.0)
    return way.variance, np.minimum(np.where(np.isnan(doubt), 0.0, doubt), 1.0)
