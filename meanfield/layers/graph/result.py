"""What becomes of the nodes of a graph network, layer by layer."""

from dataclasses import dataclass
from enum import StrEnum
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.errors import MeanFieldError
from meanfield.gaussian import MOMENTS
from meanfield.layers.state import State
from meanfield.network import digits
from meanfield.whole import whole_number

__all__ = ["GraphNetwork", "GraphVerdict"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

_ONE = 1e-2  # nodes whose mean 1 - c is below are one
_CHANGE = 1.0  # powers of e by which signal and gradient may change over the second half
_LOST = 0.1  # gradients that are a tenth of what aggregation leaves of them


class GraphVerdict(StrEnum):
    """What a graph network does to the signals of its nodes, with the next step."""

    EXPLODES = (
        "explodes: the signal or its gradient grows exponentially with depth; leave weight_var "
        "away to get the critical one"
    )
    VANISHES = (
        "vanishes: the signal or its gradient falls exponentially with depth; leave weight_var "
        "away to get the critical one, and mind the warnings"
    )
    OVERSMOOTHS = (
        "oversmooths: the nodes become one signal (mean correlation above 0.99); residual branches "
        "with residual_scale='depth' prevent it, residual aggregation with e = 2/depth or less "
        "delays it to a power of depth"
    )
    KEPT = "kept: the signal keeps its size, and nodes their differences; use it"


@dataclass(frozen=True, eq=False, repr=False)
class GraphNetwork:
    r"""A graph network at infinite width; arrays have length `depth + 1`, the input at index 0.

    With `pairs` all that follows is of the nodes of these pairs alone.

    Attributes:
        nodes: names of the nodes, in the order of all arrays.
        size: number of nodes of the whole graph.
        edges: number of edges; of directed ones each direction counts.
        activation, depth, normalisation, residual_aggregation, residual_scale: as chosen.
        weight_var: of each layer, shape `(depth,)`.
        bias_var: of all layers.
        perron: `lambda_1` of the aggregation; `weight_var = 2 / perron^2` is critical for ReLU.
        mixing: `|lambda_2| / lambda_1`; differences of nodes fall by its square in a layer.
        variance: `K_aa` of each node, shape `(depth + 1, n)`.
        pairs: places in `nodes` of the pairs that were asked for, shape `(k, 2)`; None if all.
        pair_one_minus: `1 - c` of each of them, shape `(depth + 1, k)`; None if all.
        one_minus: mean of `1 - c` over pairs of different nodes, of those that are not silent.
        closest: smallest `1 - c` of a pair of nodes.
        farthest: largest `1 - c`.
        gradient: growth of the mean squared gradient, over nodes of input and output: the averaged
            partial Jacobian.
        state: the `State` behind the last layer, with the whole kernel.
        warnings: what about the graph is out of the ordinary, one sentence each.
        error: estimate of the relative errors of `variance`, shape `(depth + 1,)`.
        one_minus_error: of `one_minus`.
    """

    nodes: list[Any]
    size: int
    edges: int
    activation: Activation
    depth: int
    normalisation: str | None
    residual_aggregation: float
    residual_scale: float | None
    weight_var: Array
    bias_var: float
    perron: float
    mixing: float
    variance: Array
    pairs: Indices | None
    pair_one_minus: Array | None
    one_minus: Array
    closest: Array
    farthest: Array
    gradient: Array
    state: State
    warnings: tuple[str, ...]
    error: Array
    one_minus_error: Array

    @property
    def scale(self) -> Array:
        """Mean of the variances of all nodes, shape `(depth + 1,)`."""
        return np.mean(self.variance, axis=1)

    @property
    def correlation(self) -> Array:
        """Mean correlation of pairs of nodes, shape `(depth + 1,)`."""
        return 1 - self.one_minus

    @property
    def decay(self) -> float:
        """Factor by which `1 - c` falls in the last layer; `mixing^2` of a fixed aggregation."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(self.one_minus[-1] / self.one_minus[-2])

    @property
    def exponent(self) -> float:
        """The power of depth with which `1 - c` falls between half of the depth and all of it.

        2 for ReLU's own law; larger and growing with depth where the fall is exponential.
        """
        half = max(1, self.depth // 2)
        if self.depth == half:
            raise ValueError("exponent: takes a depth of two at least")
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(np.log(self.one_minus[half] / self.one_minus[-1]) / log(self.depth / half))

    @property
    def verdict(self) -> GraphVerdict:
        """What becomes of the signals of the nodes."""
        middle = self.depth // 2
        if not self.scale[-1] or not self.gradient[-1]:
            return GraphVerdict.VANISHES
        with np.errstate(invalid="ignore", divide="ignore"):
            changes = [np.log(part[-1] / part[middle]) for part in (self.scale, self.gradient)]
        if not all(change <= _CHANGE for change in changes):  # nan is of an overflow
            return GraphVerdict.EXPLODES
        # aggregation alone takes gradients of single nodes down to 1/n, and no farther
        lost = self.gradient[-1] < _LOST / self.size
        if changes[0] < -_CHANGE or (changes[1] < -_CHANGE and lost):
            return GraphVerdict.VANISHES
        return GraphVerdict.OVERSMOOTHS if self.one_minus[-1] < _ONE else GraphVerdict.KEPT

    def noise(self, width: int) -> Array:
        r"""Variance of the log of the signal's size over networks of this width; by layer.

        `ln |z_l|^2` of one signal is about normal, of variance `beta_l` and mean `-beta_l / 2`
        below that of the mean, `beta_l = l (E[phi^4] / E[phi^2]^2 - 1) / width`: `5 l / width` for
        ReLU. Nodes that are not yet one signal average some of it away.

        Source: Hanin & Nica 2018, arXiv 1812.05994.
        """
        if not self.activation.is_homogeneous or self.residual_scale is not None:
            raise MeanFieldError(
                "noise: is known for homogeneous activations without residual branches; "
                "sample_graph_network draws finite networks of any kind"
            )
        m = self.activation.moments(np.ones(1)).value[0]
        excess = float(m[MOMENTS.index("phi4")] / m[MOMENTS.index("phi2")] ** 2 - 1)
        return excess * np.arange(self.depth + 1) / whole_number("width", width)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the kernel, as lists and numbers."""
        arrays = ("variance", "one_minus", "closest", "farthest", "gradient", "error",
                  "one_minus_error", "weight_var", "scale")  # fmt: skip
        plain = ("size", "edges", "depth", "normalisation", "residual_aggregation",
                 "residual_scale", "bias_var", "perron", "mixing")  # fmt: skip
        return {
            "nodes": [name if isinstance(name, int) else str(name) for name in self.nodes],
            "activation": self.activation.name,
            "pairs": None if self.pairs is None else self.pairs.tolist(),
            **{name: getattr(self, name) for name in plain},
            **{name: getattr(self, name).tolist() for name in arrays},
            "verdict": str(self.verdict),
            "warnings": list(self.warnings),
        }

    def __repr__(self) -> str:
        first, last = (digits(float(self.scale[i]), self.scale[i] * self.error[i]) for i in (0, -1))
        apart = [
            digits(float(self.one_minus[i]), self.one_minus[i] * self.one_minus_error[i])
            for i in (0, -1)
        ]
        weights = " ... ".join(f"{w:.10g}" for w in dict.fromkeys(self.weight_var[[0, -1]]))
        branch = "" if self.residual_scale is None else (
            f", residual branches of scale {self.residual_scale:.6g}"
        )  # fmt: skip
        of_pairs = "" if self.pairs is None else f" (of {len(self.pairs)} pairs)"
        lines = [
            f"GraphNetwork of {self.size} nodes{of_pairs}, {self.edges} edges: {self.depth} layers "
            f"of {self.activation.name}{branch}",
            f"  aggregation  {self.normalisation or 'sum'}"
            + (f", residual e = {self.residual_aggregation:.6g}"
               if self.residual_aggregation != 1 else "")
            + f"; lambda_1 = {self.perron:.10g}, |lambda_2| / lambda_1 = {self.mixing:.6g}",
            f"  weight_var   {weights}, bias_var {self.bias_var:.6g}",
            f"  variance     {first} to {last} (mean over nodes)",
            f"  1 - c        {apart[0]} to {apart[1]} (mean over pairs of nodes)",
            f"  gradient     {self.gradient[0]:.6g} to {self.gradient[-1]:.6g}",
            f"  {self.verdict}",
            *(f"  warning: {text}" for text in self.warnings),
        ]  # fmt: skip
        return "\n".join(lines)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw it with `meanfield.plot.oversmoothing`; returns the Axes."""
        from meanfield import plot

        return plot.oversmoothing(self, ax=ax, **options)
