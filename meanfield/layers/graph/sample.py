"""Finite graph networks: what is drawn beside what is computed, and all there is for huge graphs.

A network of width `m` on `n` nodes holds `n m` numbers, where its kernel takes `n^2`: on graphs of
any size its kernel is sampled, with fluctuations of the order of `sqrt(depth / m)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import Activation
from meanfield.errors import MeanFieldError
from meanfield.layers.dense import dense_variance
from meanfield.layers.graph.cone import chosen_pairs
from meanfield.layers.graph.network import checked_features
from meanfield.layers.graph.setup import set_up
from meanfield.whole import whole_number

__all__ = ["GraphSample", "sample_graph_network"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class GraphSample:
    """Finite graph networks drawn at random; index 0 along depth is the input.

    Attributes:
        width: units of each layer.
        scales: mean over nodes and units of squared pre-activations, shape `(draws, depth + 1)`.
        apart: mean of `1 - c` over all pairs of nodes, `c` the cosine of their units, same shape.
        weight_var: of each layer.
        warnings: as of `graph_network`.
        variance: of each node, the mean over networks, shape `(depth + 1, n)`.
        variance_error: its standard error.
        pairs: places of the pairs of nodes that were asked for, shape `(k, 2)`; None if none were.
        pair_one_minus: mean over networks of `1 - c` of each of them, shape `(depth + 1, k)`.
        pair_one_minus_error: its standard error.
    """

    width: int
    scales: Array
    apart: Array
    weight_var: Array
    warnings: tuple[str, ...]
    variance: Array
    variance_error: Array
    pairs: NDArray[np.intp] | None
    pair_one_minus: Array | None
    pair_one_minus_error: Array | None

    @property
    def scale(self) -> Array:
        """Mean over networks, shape `(depth + 1,)`; `scale_error` is its standard error."""
        return np.mean(self.scales, axis=0)

    @property
    def scale_error(self) -> Array:
        """Standard error of `scale`."""
        return np.std(self.scales, axis=0, ddof=1) / np.sqrt(len(self.scales))

    @property
    def one_minus(self) -> Array:
        """Mean over networks of `1 - c`, shape `(depth + 1,)`."""
        return np.mean(self.apart, axis=0)

    @property
    def one_minus_error(self) -> Array:
        """Standard error of `one_minus`."""
        return np.std(self.apart, axis=0, ddof=1) / np.sqrt(len(self.apart))

    @property
    def log_variance(self) -> Array:
        """Variance over networks of the log of the scale, shape `(depth + 1,)`; see `noise`."""
        with np.errstate(divide="ignore", invalid="ignore"):  # of networks that fell silent
            return np.var(np.log(self.scales), axis=0, ddof=1)

    def __repr__(self) -> str:
        draws, steps = self.scales.shape
        return "\n".join(
            [
                f"GraphSample of {draws} networks of width {self.width}, {steps - 1} layers",
                f"  variance     {self.scale[0]:.4g} to {self.scale[-1]:.4g} +- "
                f"{self.scale_error[-1]:.2g} (mean over nodes)",
                f"  1 - c        {self.one_minus[0]:.4g} to {self.one_minus[-1]:.4g} +- "
                f"{self.one_minus_error[-1]:.2g} (mean over pairs of nodes)",
                f"  variance of the log of the scale {self.log_variance[-1]:.3g}",
                *(f"  warning: {text}" for text in self.warnings),
            ]
        )


def sample_graph_network(
    adjacency: Any,
    activation: Callable | str | Activation = "relu",
    depth: int = 50,
    *,
    q: float = 1.0,
    correlation: float = 0.0,
    features: ArrayLike | None = None,
    width: int = 256,
    draws: int = 100,
    seed: int = 0,
    pairs: int | ArrayLike | None = None,
    **choices: Any,
) -> GraphSample:
    """Draw finite graph networks and measure their kernels.

    Args:
        adjacency: as for `graph_network`.
        activation: `phi`.
        depth: number of layers.
        q: mean square of the pre-activations of the first layer, the same for all nodes.
        correlation: of those of different nodes, one number, not negative.
        features: instead of both.
        width: units of each layer; estimates are those of this width, off by O(depth / width).
        draws: number of networks.
        seed: of the random numbers.
        pairs: of nodes whose `1 - c` is recorded one by one: an array of shape `(k, 2)` of places,
            or how many to draw at random.
        **choices: of the architecture, by the names and with the defaults of `graph_network`:
            `residual_aggregation`, `normalisation`, `residual_scale`, `weight_var`, `bias_var`,
            `self_loops`, `directed`.

    Returns:
        A `GraphSample`.

    Raises:
        ValueError: as `graph_network`.

    Source: DeZoort & Hanin 2023, arXiv 2306.11668, for the networks.

    Example:
        >>> import meanfield.layers as ml
        >>> ring = [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
        >>> drawn = ml.sample_graph_network(ring, depth=3, width=100, draws=20, pairs=[[0, 2]])
        >>> drawn.scales.shape, drawn.variance.shape, drawn.pair_one_minus.shape
        ((20, 4), (4, 3), (4, 1))
    """
    width, draws = whole_number("width", width), whole_number("draws", draws, 2)
    variance = dense_variance("q", q)
    setup = set_up(adjacency, activation, depth, q=variance, **choices)
    n, rng = len(setup.names), np.random.default_rng(seed)
    if not 0 <= correlation <= 1:
        raise MeanFieldError(f"correlation: must be from 0 to 1, got {correlation!r}")
    given = None if features is None else checked_features(features, n)

    chosen = None if pairs is None else chosen_pairs(pairs, n, seed)

    def first() -> Array:
        if given is not None:
            return given @ rng.normal(size=(given.shape[1], width)) / np.sqrt(given.shape[1])
        x = np.sqrt(1 - correlation) * rng.normal(size=(n, width))
        return np.sqrt(variance) * (x + np.sqrt(correlation) * rng.normal(size=width))

    steps = setup.depth + 1
    whole = np.empty((2, draws, steps))
    nodes = np.zeros((2, steps, n))  # sums of what is measured, and of its squares
    apart = np.zeros((2, steps, 0 if chosen is None else len(chosen)))
    for draw in range(draws):
        x, layers = first(), setup.layer.steps()
        for step in range(steps):
            x = next(layers).sample(x, rng) if step else x
            square = np.mean(x**2, axis=1)
            whole[:, draw, step] = np.mean(square), _mean_apart(x, square)
            nodes[:, step] += square, square**2
            if chosen is not None:
                found = _apart(x, square, chosen)
                apart[:, step] += found, found**2
    variances, errors = _means(nodes, draws)
    of_pairs = (None, None) if chosen is None else _means(apart, draws)
    return GraphSample(
        width=width,
        scales=whole[0],
        apart=whole[1],
        weight_var=setup.weight_var,
        warnings=setup.warnings,
        variance=variances,
        variance_error=errors,
        pairs=chosen,
        pair_one_minus=of_pairs[0],
        pair_one_minus_error=of_pairs[1],
    )


def _means(sums: Array, draws: int) -> tuple[Array, Array]:
    """Means and their standard errors, from sums and sums of squares."""
    mean = sums[0] / draws
    spread = np.maximum(sums[1] / draws - mean**2, 0.0)
    return mean, np.sqrt(spread / (draws - 1))


def _mean_apart(x: Array, square: Array) -> float:
    """Mean `1 - c` over all pairs: that of unit vectors from their centre."""
    unit = x[square > 0] / np.sqrt(square[square > 0, None] * x.shape[1])
    if len(unit) < 2:
        return np.nan
    return float(np.sum((unit - np.mean(unit, axis=0)) ** 2) / (len(unit) - 1))


def _apart(x: Array, square: Array, pairs: NDArray[np.intp]) -> Array:
    """`1 - c` of pairs; 1 beside a node that is silent."""
    root, (first, second) = np.sqrt(square), pairs.T
    heard = (root[first] > 0) & (root[second] > 0)
    one, other = (x[end] / np.where(heard, root[end], 1.0)[:, None] for end in (first, second))
    return np.where(heard, 0.5 * np.mean((one - other) ** 2, axis=1), 1.0)
