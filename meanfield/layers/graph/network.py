r"""Graph networks: the kernel of nodes through aggregation, activation and weights, layer by layer.

    Z' = A phi(Z) W + b,        K' = weight_var A F(K) A^T + bias_var,

with `F(K)_ab = E[phi(u_a) phi(u_b)]` (DeZoort & Hanin 2023, arXiv 2306.11668). For ReLU and
weights of the graph that are not negative `K = q v v^T` of the Perron vector, `A v = lambda_1 v`,
comes back as it is at `weight_var = 2 / lambda_1^2`: He's initialisation on a graph.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import Activation
from meanfield.criticality import checked_numbers, checked_variances
from meanfield.errors import MeanFieldError
from meanfield.gaussian import MOMENTS
from meanfield.layers.composition import Scale
from meanfield.layers.graph.setup import Setup, set_up
from meanfield.layers.state import State, start
from meanfield.network import digits

__all__ = ["GraphNetwork", "GraphVerdict", "graph_network"]

Array = NDArray[np.float64]

_MATRICES = 9  # of n x n that are held at once: kernel and tangents, before, between and after
_MEMORY = 8e9
_ONE = 1e-2  # nodes whose mean 1 - c is below are one
_CHANGE = 1.0  # powers of e by which signal and gradient may change over the second half
_LOST = 0.1  # gradients that are a tenth of what aggregation leaves of them


class GraphVerdict(Enum):
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
        "oversmooths: the nodes become one signal (mean correlation above 0.99); residual "
        "aggregation with e = 2/depth delays that to a power of depth, residual branches "
        "with residual_scale='depth' prevent it"
    )
    KEPT = "kept: the signal keeps its size, and nodes their differences; use it"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, eq=False, repr=False)
class GraphNetwork:
    r"""A graph network at infinite width; arrays have length `depth + 1`, the input at index 0.

    Attributes:
        nodes: names of the nodes, in the order of all arrays.
        edges: number of edges; of directed ones each direction counts.
        activation, depth, normalisation, residual_aggregation, residual_scale: as chosen.
        weight_var: of each layer, shape `(depth,)`.
        bias_var: of all layers.
        perron: `lambda_1` of the aggregation; `weight_var = 2 / perron^2` is critical for ReLU.
        mixing: `|lambda_2| / lambda_1`; differences of nodes fall by its square in a layer.
        variance: `K_aa` of each node, shape `(depth + 1, n)`.
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
        with np.errstate(invalid="ignore", divide="ignore"):
            changes = [np.log(part[-1] / part[middle]) for part in (self.scale, self.gradient)]
        if not all(change <= _CHANGE for change in changes):  # nan is of an overflow
            return GraphVerdict.EXPLODES
        # aggregation alone takes gradients of single nodes down to 1/n, and no farther
        lost = self.gradient[-1] < _LOST / len(self.nodes)
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
        return excess * np.arange(self.depth + 1) / width

    def to_dict(self) -> dict[str, Any]:
        """Everything but the kernel, as lists and numbers."""
        arrays = ("variance", "one_minus", "closest", "farthest", "gradient", "error",
                  "one_minus_error", "weight_var", "scale")  # fmt: skip
        plain = ("edges", "depth", "normalisation", "residual_aggregation", "residual_scale",
                 "bias_var", "perron", "mixing")  # fmt: skip
        return {
            "nodes": [name if isinstance(name, int) else str(name) for name in self.nodes],
            "activation": self.activation.name,
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
        lines = [
            f"GraphNetwork of {len(self.nodes)} nodes, {self.edges} edges: {self.depth} layers of "
            f"{self.activation.name}{branch}",
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


def graph_network(
    adjacency: Any,
    activation: Callable | str | Activation = "relu",
    depth: int = 50,
    residual_aggregation: float = 1.0,
    normalisation: str | None = "row",
    residual_scale: "Scale | str | None" = None,
    weight_var: ArrayLike | None = None,
    bias_var: float | None = None,
    *,
    q: ArrayLike = 1.0,
    correlation: ArrayLike = 0.0,
    features: ArrayLike | None = None,
    self_loops: bool = False,
    directed: bool = False,
    memory: float = _MEMORY,
) -> GraphNetwork:
    r"""The kernel of the nodes of a graph network, layer by layer, at infinite width.

    `Z' = A phi(Z) W + b` with `W_ij ~ N(0, weight_var / width)`, or with residual branches
    `Z' = Z + s (A phi(Z) W + b)`.

    Args:
        adjacency: a square matrix (dense or of scipy.sparse) whose row `a` has the weights with
            which node `a` hears the others, a networkx graph, or the path of an edge list.
        activation: `phi`, as for `meanfield.critical`.
        depth: number of layers.
        residual_aggregation: `e` of `A_e = (1 - e) I + e A`; 1 is the graph alone.
        normalisation: `A` is `"row"`: `D^-1 A`, means over neighbours; `"symmetric"`:
            `D^-1/2 A D^-1/2`; `"sum"` or None: the adjacency as it is.
        residual_scale: scale `s` of residual branches, a number or a function of the depth;
            `"depth"`: `depth^(-1/2)`, branches of variance 1/depth. None: no skip connection.
        weight_var: for all layers, or one for each; critical if not given: that of
            `meanfield.critical(activation, q)` over `lambda_1^2`, `2 / lambda_1^2` for ReLU.
        bias_var: of all layers; if not given 0, or that of the critical point.
        q: mean square of the pre-activations of the first layer, or of each node.
        correlation: of those of different nodes, one number or a matrix.
        features: instead of both: features of the nodes, shape `(n, d)`, whose mean products are
            the kernel of the first layer.
        self_loops: add the identity to the adjacency, so that every node hears itself.
        directed: for an edge list: edges go from their first node to their second alone.
        memory: bytes that may be used; `n` nodes take about `72 n^2`, 7.2 GB for 10^4.

    Returns:
        A `GraphNetwork`.

    Raises:
        ValueError: the matrix is not square, or has weights that are negative, complex or not
            finite; the graph has no cycle; or it takes more memory than allowed.

    Source: DeZoort & Hanin 2023, arXiv 2306.11668.

    Example:
        >>> import meanfield.layers as ml
        >>> graph = [[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]]
        >>> fixed = ml.graph_network(graph, depth=50, normalisation="sum")
        >>> fixed.verdict.name, round(float(fixed.weight_var[0]), 6)  # 2 / lambda_1^2
        ('OVERSMOOTHS', 0.424694)
        >>> branches = ml.graph_network(graph, depth=50, residual_scale="depth")
        >>> branches.verdict.name, round(float(branches.one_minus[-1]), 3)
        ('KEPT', 0.604)
    """
    reference = float(np.mean(checked_variances("q", q, ">= 0"))) or 1.0
    setup = set_up(
        adjacency, activation, depth, residual_aggregation, normalisation, residual_scale,
        weight_var, bias_var, reference, self_loops, directed,
    )  # fmt: skip
    n = len(setup.names)
    if _MATRICES * 8 * n**2 > memory:
        raise MeanFieldError(
            f"adjacency: the kernel of {n} nodes and what goes with it take "
            f"{_MATRICES * 8 * n**2 / 1e9:.3g} GB, more than memory={memory:.3g}; every layer "
            "needs the whole of it. Raise memory, or draw finite networks with "
            "ml.sample_graph_network, which take no kernel"
        )
    return _propagated(setup, first_state(n, q, correlation, features))


def first_state(n: int, q: ArrayLike, correlation: ArrayLike, features: ArrayLike | None) -> State:
    """The kernel of the first layer's pre-activations."""
    if features is not None:
        x = checked_numbers("features", features)
        if x.ndim != 2 or len(x) != n or not np.all(np.isfinite(x)):
            raise ValueError(
                f"features: must be finite, of shape (n, d) for n = {n} nodes, got shape {x.shape}"
            )
        from scipy.spatial.distance import pdist, squareform

        variance = np.mean(x**2, axis=1)
        unit = np.divide(x, np.linalg.norm(x, axis=1)[:, None], out=np.zeros_like(x),
                         where=variance[:, None] > 0)  # fmt: skip
        one_minus = squareform(0.5 * pdist(unit, "sqeuclidean"))
        one_minus[np.outer(variance, variance) == 0] = 1.0
        np.fill_diagonal(one_minus, 0.0)
        return State(variance, one_minus, np.zeros(n), np.eye(n), gaussian=True)
    variance = np.broadcast_to(checked_variances("q", q, ">= 0"), n) if np.ndim(q) == 0 else q
    if np.shape(variance) != (n,):
        raise ValueError(f"q: must be one variance or {n} of them, got shape {np.shape(variance)}")
    c = checked_numbers("correlation", correlation)
    if c.ndim == 0:
        c = np.full((n, n), float(c))
        np.fill_diagonal(c, 1.0)
    return start(variance, c)


def _propagated(setup: Setup, state: State) -> GraphNetwork:
    """Layer by layer; of all but the last kernel only a summary is kept."""
    records = [_summary(state)]
    with np.errstate(over="ignore", invalid="ignore"):
        for step in setup.layer.steps():
            for part in step.steps():  # one by one, so that no state before the last is held
                state = part(state)
            records.append(_summary(state))
    columns = [np.array(column) for column in zip(*records, strict=True)]
    variance, one_minus, closest, farthest, gradient, error, one_minus_error = columns
    root = setup.spectrum.root
    return GraphNetwork(
        nodes=setup.names,
        edges=setup.edges,
        activation=setup.activation,
        depth=setup.depth,
        normalisation=setup.normalisation,
        residual_aggregation=setup.residual_aggregation,
        residual_scale=setup.residual_scale,
        weight_var=setup.weight_var,
        bias_var=setup.bias_var,
        perron=root,
        mixing=setup.spectrum.second / root if root else np.nan,
        variance=variance,
        one_minus=one_minus,
        closest=closest,
        farthest=farthest,
        gradient=gradient,
        state=state,
        warnings=setup.warnings,
        error=error + float(setup.spectrum.error / (root or 1.0)) * np.arange(setup.depth + 1.0),
        one_minus_error=one_minus_error,
    )


def _summary(state: State) -> tuple[Any, ...]:
    """Variances; mean, smallest and largest `1 - c` of pairs; gradient; errors."""
    heard = np.flatnonzero(state.variance > 0)
    n = len(heard)
    if n < 2:
        apart = 3 * (np.nan,)
    else:
        part = (
            state.one_minus if n == len(state.variance) else state.one_minus[np.ix_(heard, heard)]
        )
        others = np.min(part, axis=1, where=~np.eye(n, dtype=bool), initial=np.inf)
        apart = np.sum(part) / (n * (n - 1)), np.min(others), np.max(part)
    gradient = float(np.mean(np.diagonal(state.tangent)))
    return state.variance, *apart, gradient, state.error, state.one_minus_error
