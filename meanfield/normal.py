"""Means over a standard normal of what is smooth on panels: nodes and their probabilities."""

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import ORDER, WEIGHTS, nodes

__all__ = ["normal_rule"]

Array = NDArray[np.float64]


def normal_rule(edges: Array) -> tuple[Array, Array]:
    """Nodes on the panels between `edges`, along the last axis, and their probabilities."""
    left, right = edges[..., :-1], edges[..., 1:]
    z = nodes(left.ravel(), right.ravel()).reshape(*left.shape, ORDER)
    mass = 0.5 * (right - left)[..., None] * WEIGHTS * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    shape = (*edges.shape[:-1], -1)
    return z.reshape(shape), mass.reshape(shape)
