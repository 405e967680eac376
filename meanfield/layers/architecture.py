r"""Architectures that are directed acyclic graphs, and the weight variances that keep their signal.

Every node has the variance `q` of the inputs if an edge `j -> i` into a node of in-degree `d_i` has

    weight_var_ij = (q - bias_var) / (d_i E[phi_ij(sqrt(q) x)^2]),

with a standard normal `x`: `2 / d_i` for ReLU.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from meanfield.activation import Activation, as_activation
from meanfield.errors import MeanFieldError
from meanfield.gaussian import MOMENTS
from meanfield.keywords import spelt
from meanfield.layers.composition import serial
from meanfield.layers.dag import Dag
from meanfield.layers.dense import activation, dense, dense_variance
from meanfield.layers.layer import Layer
from meanfield.layers.predecessors import Node, predecessors

__all__ = ["dag"]

Phi = Callable | str | Activation


@spelt
def dag(
    graph: Any,
    phi: "Phi | Mapping[Any, Phi | None] | None" = "relu",
    q: float = 1.0,
    bias_var: float = 0.0,
    weight_var: float | None = None,
) -> Dag:
    r"""A directed acyclic graph of layers, with variances that let every node keep the signal.

    An edge multiplies squared gradients by `weight_var_ij E[phi_ij'^2]`, so that a node of `d_i`
    predecessors alike does what one layer of `d_i weight_var_ij` does: the critical condition is
    that of a plain network, `weight_var = critical(phi, q).weight_var`. ReLU is critical as it is.

    Args:
        graph: a dict of the predecessors of each node, `{"in": [], "a": ["in"], ...}`; pairs
            `(source, target)`; or a `networkx.DiGraph` or anything with its `nodes` and `edges`.
        phi: the activation of all edges; or a dict of those of nodes, which act on what leaves
            them, or of edges `(source, target)`, which go first. None for a skip connection: the
            predecessor is added as it is.
        q: variance that the rule keeps, of the pre-activations of every node.
        bias_var: of the biases of each node that has weights.
        weight_var: what the layers into a node have together, `d_i weight_var_ij`; such that the
            variance `q` is kept, for each activation, if not given.

    Returns:
        A `Dag`, with `weight_var` for each edge. Its `trace` tells variances, correlations and
        gradients of every node, from inputs that are independent of each other. With one input and
        one output it is a `Layer` like others.

    Raises:
        ValueError: the graph has a cycle, a node without a name in it, an edge twice, or none at
            all; an edge has no activation; or no weights keep `q`.
        TypeError: it is no graph.

    Source: Chen, Wu, Wang & Hanin 2024, arXiv 2402.17440: `2 / (d_i fan_in)` for ReLU. Other
    activations, biases and skip connections are derived here.

    Example:
        >>> import meanfield.layers as ml
        >>> cell = ml.dag({"in": [], "a": ["in"], "b": ["in", "a"], "out": ["in", "a", "b"]})
        >>> cell
        Dag of 4 nodes
          'in': input
          'a': 'in' by 2
          'b': 'in' by 1, 'a' by 1
          'out': 'in' by 0.666667, 'a' by 0.666667, 'b' by 0.666667
        >>> cell.trace(q=1.0, correlation=0.0)
        Trace of a Dag
          node   in_degree  variance  gradient  1 - c
          'in'   0          1         1         1
          'a'    1          1         1         0.68169
          'b'    2          1         1         0.59398
          'out'  3          1         1         0.546674
        >>> float(ml.propagate(ml.repeat(cell, 10), q=1.0).variance[-1])
        1.0
    """
    into = predecessors(graph)
    variance, bias = dense_variance("q", q), dense_variance("bias_var", bias_var)
    total = None if weight_var is None else dense_variance("weight_var", weight_var)
    activation_of = _chosen(phi, into)
    weights: dict[tuple[Node, Node], float] = {}
    edges: dict[Node, dict[Node, Layer | None]] = {}
    for node, sources in into.items():
        chosen = {source: activation_of(source, node) for source in sources}
        degree = sum(each is not None for each in chosen.values())
        edges[node] = dict.fromkeys(chosen)
        for source, each in chosen.items():
            if each is not None:
                whole = _keeping(each, variance, bias) if total is None else total
                weights[source, node] = whole / degree
                layer = dense(whole / degree, bias / degree)
                edges[node][source] = serial(activation(each), layer)
    return Dag(edges, weights)


def _keeping(phi: Activation, q: float, bias_var: float) -> float:
    """The weight variance at which one layer keeps the variance `q`."""
    second = float(phi.moments(np.array([q])).value[0, MOMENTS.index("phi2")]) if q > 0 else 0.0
    if not (bias_var <= q and 0 < second < np.inf):
        raise MeanFieldError(
            f"q: no weights behind {phi.name} keep a variance of {q:.6g} with bias_var "
            f"{bias_var:.6g}; take q > 0, above bias_var, or give weight_var"
        )
    return (q - bias_var) / second


def _chosen(phi: Any, into: Mapping[Node, list[Node]]) -> Callable[[Node, Node], Activation | None]:
    """Which activation is on an edge; edges of one name share one, with its samples."""
    if not isinstance(phi, Mapping):
        one = None if phi is None else as_activation(phi)
        return lambda source, node: one
    edges = {(source, node) for node, sources in into.items() for source in sources}
    for key in phi:
        if key not in into and key not in edges:
            raise MeanFieldError(f"phi: {key!r} is neither a node nor an edge of the graph")
    made = {key: None if each is None else as_activation(each) for key, each in phi.items()}

    def chosen(source: Node, node: Node) -> Activation | None:
        for key in ((source, node), source):
            if key in made:
                return made[key]
        raise MeanFieldError(
            f"phi: has no activation for the edge {(source, node)!r}; name it or its source "
            f"{source!r}, with None for a skip connection"
        )

    return chosen
