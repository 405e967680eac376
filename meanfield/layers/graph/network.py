r"""Graph networks: the kernel of nodes through aggregation, activation and weights, layer by layer.

    Z' = A phi(Z) W + b,        K' = weight_var A F(K) A^T + bias_var,

with `F(K)_ab = E[phi(u_a) phi(u_b)]` (DeZoort & Hanin 2023, arXiv 2306.11668). For ReLU and
weights of the graph that are not negative `K = q v v^T` of the Perron vector, `A v = lambda_1 v`,
comes back as it is at `weight_var = 2 / lambda_1^2`: He's initialisation on a graph.

What becomes of `1 - c` between nodes over depth, for ReLU at that variance:

    fixed aggregation        (|lambda_2| / lambda_1)^(2 l), if the graph is connected and not
                             bipartite; where it is either, eigenvalues of modulus lambda_1 are
                             several, and ReLU's own law stays between what does not mix
    no graph, e = 0          9 pi^2 / (2 l^2), ReLU's own law, from above as log(l) / l
    (1 - e) I + e A          at e = 2/L, behind all L layers: 1/L^2 again, on Zachary's karate club
                             5.6, 5.4, 5.2 and 5.0 times less than without a graph for L = 20, 50,
                             200 and 800; with e fixed it is that of a fixed aggregation
    branches of variance 1/L O(1): 0.67 on the karate club, whatever L
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import Activation
from meanfield.criticality import checked_numbers, checked_variances
from meanfield.errors import MeanFieldError
from meanfield.keywords import spelt
from meanfield.layers.composition import Scale
from meanfield.layers.graph.cone import chosen_pairs, cone, network_on
from meanfield.layers.graph.result import GraphNetwork
from meanfield.layers.graph.setup import Setup, set_up
from meanfield.layers.layer import Layer
from meanfield.layers.state import State, start

__all__ = ["checked_features", "first_state", "graph_network"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

# bytes a pair of nodes takes: kernels and tangents, 8 bytes each, before and after a layer
_PLAIN, _SKIP, _SERIES = 36, 16, 28
_MEMORY = 8e9
_LARGEST = 1e150  # whose square is a number


@spelt
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
    pairs: int | ArrayLike | None = None,
    seed: int = 0,
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
        pairs: only these pairs of nodes: an array of shape `(k, 2)` of places, or how many to
            draw at random. Exact, from the kernel of all nodes within `depth` hops of them: a
            small part of a lattice or road network, but most of a graph of few hops, for which
            `sample_graph_network(pairs=...)` estimates the same.
        seed: of pairs drawn at random.
        memory: bytes that may be used. `n` nodes take about `36 n^2` with `phi(a x) = a phi(x)`,
            as ReLU: 3.6 GB for 10^4; `28 n^2` more with other activations, whose pairs are
            summed one by one (some 5 microseconds each); `16 n^2` more with a skip connection.

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
        weight_var, bias_var, q=reference, self_loops=self_loops, directed=directed,
    )  # fmt: skip
    n = len(setup.names)
    if pairs is None:
        needed, chosen, layer = (setup.depth + 1) * [np.arange(n)], None, setup.layer
        advice = "give pairs= to take what these alone depend on,"
    else:
        places = chosen_pairs(pairs, n, seed)
        targets, chosen = np.unique(places, return_inverse=True)
        chosen = chosen.reshape(places.shape)
        needed = cone(setup.matrix, targets, setup.depth)
        layer = network_on(setup, needed)
        advice = (
            f"{len(needed[0])} of {n} nodes are within {setup.depth} hops of the pairs: take fewer,"
        )
    nodes = needed[0]
    needs = _needs(setup, len(nodes))
    if needs > memory:
        raise MeanFieldError(
            f"adjacency: the kernel of {len(nodes)} nodes and what goes with it take "
            f"{needs / 1e9:.3g} GB, more than memory={memory:.3g}; {advice} raise memory, or draw "
            "finite networks with ml.sample_graph_network, which take no kernel"
        )
    # the state is nobody's but that function's, which lets go of it
    return _propagated(
        setup, layer, first_state(n, nodes, q, correlation, features), needed, chosen
    )


def _needs(setup: Setup, n: int) -> float:
    """Bytes for the kernel of `n` nodes and what goes with it."""
    other = 0 if setup.activation.is_homogeneous else _SERIES
    skip = 0 if setup.residual_scale is None else _SKIP
    return float(_PLAIN + skip + other) * n**2


def checked_features(features: ArrayLike, n: int) -> Array:
    """Features of nodes, checked."""
    x = checked_numbers("features", features)
    if np.iscomplexobj(features):
        raise TypeError("features: must be real, got complex ones")
    if x.ndim != 2 or len(x) != n or not x.size or not np.max(np.abs(x)) < _LARGEST:
        raise ValueError(
            f"features: must be finite, of shape (n, d) for n = {n} nodes, got shape {x.shape} "
            f"with entries up to {np.max(np.abs(x), initial=0.0):.3g}"
        )
    return x


def first_state(
    n: int, nodes: Indices, q: ArrayLike, correlation: ArrayLike, features: ArrayLike | None
) -> State:
    """The kernel of the first layer's pre-activations, at some of `n` nodes."""
    m = len(nodes)
    if features is not None:
        x = checked_features(features, n)
        from scipy.spatial.distance import pdist, squareform

        x = x[nodes]
        variance = np.mean(x**2, axis=1)
        unit = np.divide(x, np.linalg.norm(x, axis=1)[:, None], out=np.zeros_like(x),
                         where=variance[:, None] > 0)  # fmt: skip
        one_minus = squareform(0.5 * pdist(unit, "sqeuclidean"))
        one_minus[np.outer(variance, variance) == 0] = 1.0
        np.fill_diagonal(one_minus, 0.0)
        return State(variance, one_minus, np.zeros(m), np.eye(m), gaussian=True)
    variance = np.broadcast_to(checked_variances("q", q, ">= 0"), n) if np.ndim(q) == 0 else q
    if np.shape(variance) != (n,):
        raise ValueError(f"q: must be one variance or {n} of them, got shape {np.shape(variance)}")
    c = checked_numbers("correlation", correlation)
    if c.ndim == 0:
        if not (c <= 1 and c * (n - 1) >= -1):
            raise ValueError(
                f"correlation: of {n} nodes must be from -1/(n - 1) to 1, got {correlation!r}"
            )
        one_minus = np.full((m, m), 1 - float(c))
        np.fill_diagonal(one_minus, 0.0)
        variance = checked_variances("q", variance, ">= 0")[nodes]
        return State(variance, one_minus, np.zeros(m), np.eye(m), gaussian=True)
    if c.shape != (n, n):
        raise ValueError(f"correlation: must be one number or an {n} x {n} matrix, got {c.shape}")
    return start(np.asarray(variance)[nodes], c[np.ix_(nodes, nodes)])


def _propagated(
    setup: Setup,
    layer: Layer,
    state: State,
    needed: list[Indices],
    pairs: Indices | None,
) -> GraphNetwork:
    """Layer by layer; of all but the last kernel only a summary is kept, of its nodes."""
    targets = needed[-1]
    records = [_summary(state, np.searchsorted(needed[0], targets), pairs)]
    with np.errstate(over="ignore", invalid="ignore"):
        for step, here in zip(layer.steps(), needed[1:], strict=True):
            for part in step.steps():  # one by one, so that no state before the last is held
                state = part(state)
            records.append(_summary(state, np.searchsorted(here, targets), pairs))
    columns = [np.array(column) for column in zip(*records, strict=True)]
    variance, one_minus, closest, farthest, gradient, error, one_minus_error, apart = columns
    # infinite once they are, as behind a jump: where an adjacency has no edge it makes nan of it
    if len(setup.activation.jumps):
        gradient = np.where(np.isnan(gradient), np.inf, gradient)
    gradient, variance = (
        np.where(np.logical_or.accumulate(np.isinf(part), axis=0), np.inf, part)
        for part in (gradient, variance)
    )
    root = setup.spectrum.root
    return GraphNetwork(
        nodes=[setup.names[node] for node in targets],
        size=len(setup.names),
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
        pairs=pairs,
        pair_one_minus=None if pairs is None else apart,
        one_minus=one_minus,
        closest=closest,
        farthest=farthest,
        gradient=gradient,
        state=state,
        warnings=setup.warnings,
        error=error + float(setup.spectrum.error / (root or 1.0)) * np.arange(setup.depth + 1.0),
        one_minus_error=one_minus_error,
    )


def _summary(state: State, targets: Indices, pairs: Indices | None) -> tuple[Any, ...]:
    """Of some nodes: variances; mean, smallest and largest `1 - c` of pairs; gradient; errors."""
    variance = state.variance[targets]
    if pairs is None:
        apart, found = _of_all_pairs(state), np.zeros(0)
    else:
        first, second = targets[pairs].T
        found = state.one_minus[first, second]
        heard = found[(state.variance[first] > 0) & (state.variance[second] > 0)]
        apart = (np.mean(heard), np.min(heard), np.max(heard)) if len(heard) else 3 * (np.nan,)
    gradient = float(np.mean(np.diagonal(state.tangent)[targets]))
    return variance, *apart, gradient, state.error, state.one_minus_error, found


def _of_all_pairs(state: State) -> tuple[float, ...]:
    heard = np.flatnonzero(state.variance > 0)
    n = len(heard)
    if n < 2:
        return 3 * (np.nan,)
    part = state.one_minus if n == len(state.variance) else state.one_minus[np.ix_(heard, heard)]
    others = np.min(part, axis=1, where=~np.eye(n, dtype=bool), initial=np.inf)
    return float(np.sum(part) / (n * (n - 1))), float(np.min(others)), float(np.max(part))
