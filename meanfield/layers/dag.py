r"""Directed acyclic graphs of layers, and what becomes of a signal at each of their nodes.

Node `i` sums what its predecessors send, each through an activation and weights of its own:

    z_i = sum_(j -> i) W_ij phi_ij(z_j) + b_i,    Var W_ij = weight_var_ij / fan_in.

Weights are independent and have no mean, so covariances of branches add whether or not they have
ancestors in common, and so do squared gradients:

    K_i = sum_(j -> i) weight_var_ij E[phi_ij phi_ij]_(K_j) + bias_var.

A predecessor may also be added as it is, a skip connection. Those do have products: each signal is
kept as a sum of independent ones, of inputs and of what weights made fresh at some node, of which a
node has as many as skip connections lead there.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.aligned import aligned
from meanfield.errors import MeanFieldError
from meanfield.layers.composition import summed
from meanfield.layers.layer import Layer
from meanfield.layers.predecessors import Node
from meanfield.layers.state import State, start
from meanfield.network import span

__all__ = ["Dag", "DagTrace"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Dag(Layer):
    """A directed acyclic graph of layers; see `dag`.

    Attributes:
        edges: of each node, in an order in which none comes before its predecessors, the layers
            by which these feed into it; None for a skip connection.
        weight_var: of each edge `(source, target)` with weights.
    """

    edges: dict[Node, dict[Node, Layer | None]]
    weight_var: dict[tuple[Node, Node], float]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """In an order in which none comes before its predecessors."""
        return tuple(self.edges)

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Nodes without predecessors."""
        return tuple(node for node, into in self.edges.items() if not into)

    @property
    def outputs(self) -> tuple[Node, ...]:
        """Nodes that feed into no other."""
        sources = {source for into in self.edges.values() for source in into}
        return tuple(node for node in self.edges if node not in sources)

    @property
    def in_degree(self) -> dict[Node, int]:
        """How many layers with weights feed into each node."""
        return {n: sum(e is not None for e in into.values()) for n, into in self.edges.items()}

    def entry_variance(self, fan_in: int | Mapping[Node, int]) -> dict[tuple[Node, Node], float]:
        """Variance of the entries of each weight matrix, `weight_var / fan_in`.

        Args:
            fan_in: units of every node, or of each by its name.

        Returns:
            A variance for each edge `(source, target)`.

        Raises:
            ValueError: it misses a node that feeds into another, or a number is below 1.
        """
        result = {}
        for (source, target), variance in self.weight_var.items():
            units = fan_in.get(source) if isinstance(fan_in, Mapping) else fan_in
            if not isinstance(units, int | np.integer) or units < 1:
                raise MeanFieldError(
                    f"fan_in: must be a number of units, at least 1, for node {source!r}; got "
                    f"{units!r}"
                )
            result[source, target] = variance / int(units)
        return result

    @cached_property
    def _held(self) -> dict[Node, Counter]:
        """How often each node holds, by skip connections, what is fresh at itself and others."""
        held: dict[Node, Counter] = {}
        for node, into in self.edges.items():
            held[node] = Counter()
            for source, edge in into.items():
                held[node].update(held[source] if edge is None else {})
            if not into or any(edge is not None for edge in into.values()):
                held[node][node] = 1
        return held

    def states(self, inputs: Mapping[Node, State]) -> dict[Node, State]:
        """The state of every node, from those of the inputs, which are independent."""
        fresh, found = dict(inputs), dict[Node, State]()
        for node, into in self.edges.items():
            drawn = [edge(found[source]) for source, edge in into.items() if edge is not None]
            if drawn:
                fresh[node] = summed((1.0,) * len(drawn), drawn)
            skips = [source for source, edge in into.items() if edge is None]
            if len(skips) > 1:
                held = self._held[node]
                found[node] = summed(tuple(held.values()), [fresh[part] for part in held])
            elif skips and drawn:
                found[node] = summed((1.0, 1.0), [found[skips[0]], fresh[node]])
            else:
                found[node] = found[skips[0]] if skips else fresh[node]
        return found

    def trace(
        self,
        q: "ArrayLike | Mapping[Node, ArrayLike]" = 1.0,
        correlation: "ArrayLike | Mapping[Node, ArrayLike] | None" = None,
    ) -> "DagTrace":
        """Variances, correlations and gradients at every node.

        Args:
            q: mean square of the inputs' signals, Gaussian, as for `propagate`; or that of each.
            correlation: of two signals, as for `propagate`; or that of each input. None for one.

        Returns:
            A `DagTrace`.

        Raises:
            ValueError: an input is missing, or a layer has no map for what it gets.
        """
        starts = {}
        for node in self.inputs:
            at = [part[node] if isinstance(part, Mapping) and node in part else part
                  for part in (q, correlation)]  # fmt: skip
            if any(isinstance(part, Mapping) for part in at):
                raise MeanFieldError(f"q, correlation: nothing is given for input {node!r}")
            starts[node] = start(*at)  # pyright: ignore[reportArgumentType]
        if len({len(state.variance) for state in starts.values()}) > 1:
            raise MeanFieldError("q, correlation: every input must have as many signals as others")
        with np.errstate(over="ignore", invalid="ignore"):  # what has overflown is inf, or unknown
            return DagTrace(self, self.states(starts))

    def _ends(self) -> tuple[Node, Node]:
        """The input and the output, where there is one of each."""
        for name, ends in (("inputs", self.inputs), ("outputs", self.outputs)):
            if len(ends) != 1:
                raise MeanFieldError(
                    f"dag: a layer has one input and one output, but this has the {name} "
                    f"{', '.join(map(repr, ends))}; ask its trace(), or join them in one node"
                )
        return self.inputs[0], self.outputs[0]

    @property
    def mixes(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return all(i not in self._held[o] for o in self.outputs for i in self.inputs)

    def __call__(self, state: State) -> State:
        first, last = self._ends()
        return self.states({first: state})[last]

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        first, last = self._ends()
        return self.signals({first: x}, rng)[last]

    def signals(self, inputs: Mapping[Node, Array], rng: np.random.Generator) -> dict[Node, Array]:
        """The signals at every node of a finite network, of weights drawn afresh."""
        found = dict(inputs)
        for node, into in self.edges.items():
            if into:
                found[node] = np.sum([
                    found[source] if edge is None else edge.sample(found[source], rng)
                    for source, edge in into.items()
                ], axis=0)  # fmt: skip
        return found

    def __repr__(self) -> str:
        lines = [f"Dag of {len(self.nodes)} nodes"]
        for node, into in self.edges.items():
            parts = [
                f"{source!r} " + (f"by {self.weight_var[source, node]:.6g}" if edge else "as it is")
                for source, edge in into.items()
            ]
            lines.append(f"  {node!r}: {', '.join(parts) if parts else 'input'}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False, repr=False)
class DagTrace:
    """Second moments at every node of a `Dag`.

    Attributes:
        dag: the graph.
        states: the `State` of each node.
    """

    dag: Dag
    states: dict[Node, State]

    def _each(self, of: Callable[[State], Any]) -> dict[Node, Any]:
        return {node: np.squeeze(of(state))[()] for node, state in self.states.items()}

    @property
    def variance(self) -> dict[Node, Any]:
        """Mean squares: a number for one signal, else an array of one for each."""
        return self._each(lambda state: state.variance)

    @property
    def one_minus(self) -> dict[Node, Any]:
        """`1 - c`: a number for two signals, else a matrix."""
        return self._each(lambda s: s.one_minus[0, 1] if len(s.variance) == 2 else s.one_minus)

    @property
    def gradient(self) -> dict[Node, Any]:
        """Growth of the mean squared gradient from the inputs, as `variance`."""
        return self._each(lambda state: np.diag(state.tangent))

    @property
    def error(self) -> dict[Node, float]:
        """Estimates of the relative errors of all of them."""
        return {n: max(s.error, s.one_minus_error) for n, s in self.states.items()}

    def plot(self, ax: Any = None) -> Any:
        """Draw it with `meanfield.plot.dag_trace`; returns the Axes."""
        from meanfield import plot

        return plot.dag_trace(self, ax=ax)

    def __repr__(self) -> str:
        degrees = self.dag.in_degree
        table = [["node", "in_degree", "variance", "gradient", "1 - c"]]
        for node, state in self.states.items():
            n = len(state.variance)
            gaps = state.one_minus[np.triu_indices(n, 1)]
            parts = (state.variance, np.diag(state.tangent), gaps)
            texts = (span(part, self.error[node]) if part.size else "" for part in parts)
            table.append([repr(node), str(degrees[node]), *texts])
        return "\n".join(["Trace of a Dag", *(f"  {row}" for row in aligned(table))])
