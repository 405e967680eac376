"""Means over a standard normal of whatever is smooth on panels: nodes and their probabilities."""

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import WEIGHTS, nodes

__all__ = ["normal_rule"]

Array = NDArray[np.float64]


def normal_rule(farthest: float, panels: int) -> tuple[Array, Array]:
    """Nodes on equal panels of `[-farthest, farthest]`, and probabilities, whose sum is 1."""
    edges = np.linspace(-farthest, farthest, panels + 1)
    z = nodes(edges[:-1], edges[1:]).ravel()
    weight = np.tile(WEIGHTS, panels) * np.exp(-0.5 * z**2)
    return z, weight / np.sum(weight)
