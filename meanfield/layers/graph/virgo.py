r"""Virgo: weight variances of each layer from the sizes of what paths of a graph carry.

Forward the size of the signal is `C_l = |A^l x|^2` for one feature `x` of each node, backward that
of gradients `D_l = |A^l 1|^2`, with `A` for its transpose as in the paper. Layer `l` of `L` keeps
either with

    forward_l = 2 C_(l-1) / C_l,    backward_l = 2 D_(L-l) / D_(L-l+1),

if a path is active with probability `2^-l`, whatever its signal. Both go to `2 / lambda_1^2`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.criticality import checked_numbers
from meanfield.errors import MeanFieldError
from meanfield.keywords import spelt
from meanfield.layers.graph.adjacency import matrix_of, normalised
from meanfield.layers.graph.aggregate import mixed
from meanfield.whole import whole_number

__all__ = ["Virgo", "virgo"]

Array = NDArray[np.float64]


class Virgo(NamedTuple):
    """Weight variances, `W_ij ~ N(0, weight_var / fan_in)`, of each layer; shape `(depth,)`."""

    forward: Array
    backward: Array
    weight_var: Array


@spelt
def virgo(
    adjacency: Any,
    depth: int = 50,
    features: ArrayLike | None = None,
    normalisation: str | None = "row",
    residual_aggregation: float = 1.0,
    self_loops: bool = False,
    mean: str = "harmonic",
) -> Virgo:
    """Per-layer weight variances of Virgo, for ReLU.

    Args:
        adjacency: as for `graph_network`.
        depth: number of layers.
        features: one number for each node, or `(n, d)`, of which the mean over `d` is taken; 1 of
            each node if not given.
        normalisation: as for `graph_network`.
        residual_aggregation: as for `graph_network`.
        self_loops: as for `graph_network`.
        mean: `"harmonic"` or `"arithmetic"`, of forward and backward.

    Returns:
        A `Virgo`; give its `weight_var` to `graph_network`.

    Raises:
        ValueError: nothing arrives after some layer.

    Source: Li et al. 2023, ICML, "On the initialization of graph neural networks".

    Example:
        >>> import meanfield.layers as ml
        >>> star = [[0, 1, 1], [1, 0, 0], [1, 0, 0]]
        >>> ml.virgo(star, depth=4, normalisation="sum").weight_var  # 2 / lambda_1^2 = 1
        array([1., 1., 1., 1.])
    """
    depth = whole_number("depth", depth)
    if mean not in ("harmonic", "arithmetic"):
        raise ValueError(f"mean: must be 'harmonic' or 'arithmetic', got {mean!r}")
    graph, _ = matrix_of(adjacency)
    matrix = mixed(normalised(graph, normalisation, self_loops), residual_aggregation)
    n = matrix.shape[0]
    x = np.ones(n) if features is None else checked_numbers("features", features)
    x = np.mean(x, axis=1) if x.ndim == 2 else x
    if x.shape != (n,):
        raise ValueError(f"features: must be one number or row for each of {n} nodes")
    forward = 1 / _growth(matrix, x, depth)
    backward = 1 / _growth(matrix, np.ones(n), depth)[::-1]
    both = 2 / (1 / forward + 1 / backward) if mean == "harmonic" else 0.5 * (forward + backward)
    return Virgo(2 * forward, 2 * backward, 2 * both)


def _growth(matrix: Any, x: Array, depth: int) -> Array:
    """`C_l / C_(l-1)`, without overflow."""
    ratios = []
    for layer in range(1, depth + 1):
        x = x / (np.linalg.norm(x) or np.nan)
        x = matrix @ x
        ratios.append(float(x @ x))
        if not ratios[-1] > 0:
            raise MeanFieldError(f"adjacency: nothing arrives after {layer} layers of aggregation")
    return np.array(ratios)
