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
from meanfield.criticality import checked_numbers, checked_variances
from meanfield.errors import MeanFieldError
from meanfield.layers.composition import Scale
from meanfield.layers.graph.setup import set_up

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
    """

    width: int
    scales: Array
    apart: Array
    weight_var: Array
    warnings: tuple[str, ...]

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
    residual_aggregation: float = 1.0,
    normalisation: str | None = "row",
    residual_scale: "Scale | str | None" = None,
    weight_var: ArrayLike | None = None,
    bias_var: float | None = None,
    *,
    q: float = 1.0,
    correlation: float = 0.0,
    features: ArrayLike | None = None,
    self_loops: bool = False,
    directed: bool = False,
    width: int = 256,
    draws: int = 100,
    seed: int = 0,
) -> GraphSample:
    """Draw finite graph networks and measure their kernels.

    Args:
        adjacency: this and what follows, down to `directed`, as for `graph_network`.
        activation: `phi`.
        depth: number of layers.
        residual_aggregation: share of the neighbours in the aggregation.
        normalisation: of the aggregation.
        residual_scale: scale of residual branches.
        weight_var: of the weights.
        bias_var: of the biases.
        q: mean square of the pre-activations of the first layer, the same for all nodes.
        correlation: of those of different nodes, one number, not negative.
        features: instead of both.
        self_loops: every node hears itself as well.
        directed: for an edge list.
        width: units of each layer.
        draws: number of networks.
        seed: of the random numbers.

    Returns:
        A `GraphSample`.

    Example:
        >>> import meanfield.layers as ml
        >>> ring = [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
        >>> drawn = ml.sample_graph_network(ring, depth=3, width=100, draws=20)
        >>> drawn.scales.shape
        (20, 4)
    """
    for name, value, least in (("width", width, 1), ("draws", draws, 2)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name}: must be a whole number, got {value!r}")
        if value < least:
            raise ValueError(f"{name}: must be at least {least}, got {value}")
    variance = float(checked_variances("q", q))
    setup = set_up(
        adjacency, activation, depth, residual_aggregation, normalisation, residual_scale,
        weight_var, bias_var, variance, self_loops, directed,
    )  # fmt: skip
    n, rng = len(setup.names), np.random.default_rng(seed)
    if not 0 <= correlation <= 1:
        raise MeanFieldError(f"correlation: must be from 0 to 1, got {correlation!r}")
    given = None if features is None else checked_numbers("features", features)
    if given is not None and (given.ndim != 2 or len(given) != n):
        raise ValueError(f"features: must be of shape (n, d) for n = {n}, got {given.shape}")

    def drawn() -> list[tuple[float, float]]:
        if given is None:
            x = np.sqrt(1 - correlation) * rng.normal(size=(n, width))
            x = np.sqrt(variance) * (x + np.sqrt(correlation) * rng.normal(size=width))
        else:
            x = given @ rng.normal(size=(given.shape[1], width)) / np.sqrt(given.shape[1])
        found = [_measured(x)]
        for step in setup.layer.steps():
            x = step.sample(x, rng)
            found.append(_measured(x))
        return found

    measured = np.array([drawn() for _ in range(draws)])
    return GraphSample(
        int(width), measured[..., 0], measured[..., 1], setup.weight_var, setup.warnings
    )


def _measured(x: Array) -> tuple[float, float]:
    """Mean square, and mean `1 - c` over all pairs: that of unit vectors from their centre."""
    squares = np.sum(x**2, axis=1)
    unit = x[squares > 0] / np.sqrt(squares[squares > 0, None])
    if len(unit) < 2:
        return float(np.mean(squares)) / x.shape[1], np.nan
    apart = np.sum((unit - np.mean(unit, axis=0)) ** 2) / (len(unit) - 1)
    return float(np.mean(squares)) / x.shape[1], float(apart)
