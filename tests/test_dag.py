"""Graphs of layers: against plain and residual networks, each other, and finite networks."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import meanfield as mf
import meanfield.layers as ml
from finite import at_infinite_width, check_within_3_standard_errors
from test_layers import pair

CELL = {"in": [], "a": ["in"], "b": ["in", "a"], "out": ["a", "b", "in"]}


@st.composite
def graphs(draw) -> dict[int, list[int]]:
    """Random graphs of one input: each node has some of those before it as predecessors."""
    sizes = range(1, draw(st.integers(2, 7)))
    return {0: []} | {
        n: sorted(draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=4))) for n in sizes
    }


@pytest.mark.parametrize("phi", ["tanh", "gelu", "relu"])
def test_a_chain_is_the_plain_network(phi: str) -> None:
    chain = {k: [k - 1] if k else [] for k in range(9)}
    trace = ml.dag(chain, phi, q=0.7, bias_var=0.05, weight_var=1.8).trace(0.7, 0.3)
    plain = ml.propagate(ml.repeat(ml.serial(ml.activation(phi), ml.dense(1.8, 0.05)), 8), 0.7, 0.3)
    for name in ("variance", "one_minus", "gradient"):
        found = getattr(trace, name)
        values = [np.ravel(found[k])[0] for k in range(9)]
        np.testing.assert_allclose(values, getattr(plain, name), rtol=1e-14)


@given(graph=graphs(), q=st.floats(0.1, 10), c=st.floats(-0.9, 0.9))
def test_relu_keeps_variance_and_gradient_at_every_node(graph, q: float, c: float) -> None:
    """Chen et al. 2024: `2 / (d_i fan_in)`; correlations are means over what comes in."""
    found = ml.dag(graph, "relu")
    trace = found.trace(q, c)
    relu = mf.correlation_map(mf.Network("relu", 2.0))
    entries = found.entry_variance({node: 10 + node for node in graph})
    for node, sources in graph.items():
        assert trace.variance[node] == pytest.approx(q, rel=1e-13)
        assert trace.gradient[node] == pytest.approx(1, rel=1e-13)
        for source in sources:
            expected = 2 / len(sources) / (10 + source)
            assert entries[source, node] == pytest.approx(expected, rel=1e-14)
        if sources:
            mapped = [relu(1 - trace.one_minus[source]) for source in sources]
            assert 1 - trace.one_minus[node] == pytest.approx(np.mean(mapped), abs=1e-12)


@given(graph=graphs(), q=st.floats(0.3, 3))
def test_any_activation_keeps_the_variance(graph, q: float) -> None:
    """And with the weights of `critical` the gradient, too."""
    kept = ml.dag(graph, "gelu", q=q, bias_var=0.1 * q).trace(q)
    assert all(v == pytest.approx(q, rel=1e-12) for v in kept.variance.values())
    point = mf.critical("gelu", q=q)
    edge = ml.dag(graph, "gelu", q, float(point.bias_var), float(point.weight_var)).trace(q)
    for node in graph:
        assert edge.variance[node] == pytest.approx(q, rel=1e-12)
        assert edge.gradient[node] == pytest.approx(1, rel=1e-12)


def test_skip_connections_are_residual_blocks() -> None:
    """Pre-activation blocks `x + W phi(x)`, and the same node twice over: `2 x`."""
    depth = 5
    graph: dict[Any, list[Any]] = {0: []}
    phi: dict[Any, Any] = {0: "tanh"}
    for k in range(depth):
        graph[k, "branch"], graph[k + 1] = [k], [k, (k, "branch")]
        phi |= {k + 1: "tanh", (k, k + 1): None, (k, "branch"): None}
    trace = ml.dag(graph, phi, weight_var=1.5).trace(1.2, 0.3)
    block = ml.residual(ml.serial(ml.activation("tanh"), ml.dense(1.5)))
    plain = ml.propagate(ml.repeat(block, depth), 1.2, 0.3)
    for name in ("variance", "one_minus", "gradient"):
        last = np.ravel(getattr(trace, name)[depth])[0]
        assert last == pytest.approx(getattr(plain, name)[-1], rel=1e-13)
    twice = ml.dag({"x": [], "y": ["x"], "z": ["x", "y"]}, None).trace(1.0, 0.3)
    assert twice.variance["z"][0] == 4 and twice.gradient["z"][0] == 4
    assert twice.one_minus["z"] == pytest.approx(0.7)


# skip connections that meet: d holds x twice and what is fresh at a once
MIXED = ml.dag(
    [("x", "a"), ("x", "b"), ("a", "b"), ("a", "d"), ("x", "d"), ("b", "d"), ("d", "out")],
    {"x": "gelu", "a": "tanh", "b": "relu", "d": "erf", ("x", "d"): None, ("a", "d"): None,
     ("x", "b"): "sigmoid"},
    q=1.2, bias_var=0.1,
)  # fmt: skip


def test_finite_networks() -> None:
    """Every node of a graph of several activations, biases and skip connections that meet."""
    q, c = (0.7, 1.9), 0.4
    trace = MIXED.trace(q, np.array([[1, c], [c, 1]]))
    nodes = [node for node in MIXED.nodes if node != "x"]

    def products(width: int, rng: np.random.Generator) -> np.ndarray:
        x = MIXED.signals({"x": pair(width, q, c, rng)}, rng)
        pairs = ((0, 0), (1, 1), (0, 1))
        return np.array([np.mean(x[n][a] * x[n][b]) for n in nodes for a, b in pairs])

    expected = []
    for node in nodes:
        v = trace.variance[node]
        expected += [*v, (1 - trace.one_minus[node]) * math.sqrt(np.prod(v))]
    found = at_infinite_width(products, 100, 200, seed=1)
    check_within_3_standard_errors(found, np.array(expected))


def test_finite_gradients() -> None:
    expected = np.array([ml.propagate(MIXED, 1.2).gradient[-1]])

    def growth(width: int, rng: np.random.Generator) -> np.ndarray:
        x, seed = pair(width, (1.2, 1.0), 0.0, rng), int(rng.integers(1 << 30))
        ends = [
            MIXED.sample(x[:1] + sign * 1e-5 * x[1:], np.random.default_rng(seed))
            for sign in (1.0, -1.0)
        ]
        return np.array([np.mean(((ends[0] - ends[1]) / 2e-5) ** 2)])

    check_within_3_standard_errors(at_infinite_width(growth, 100, 150, seed=2), expected)


def test_graphs_in_three_ways() -> None:
    pairs = [(source, node) for node, into in CELL.items() for source in into]
    like = SimpleNamespace(nodes=list(CELL), edges=pairs[::-1], is_directed=lambda: True)
    made = [ml.dag(graph, "gelu") for graph in (CELL, pairs, like)]
    for other in made[1:]:
        assert other.weight_var == made[0].weight_var and other.nodes == made[0].nodes
    assert made[0].in_degree == {"in": 0, "a": 1, "b": 2, "out": 3}
    assert made[0].inputs == ("in",) and made[0].outputs == ("out",)
    assert made[0].entry_variance(100)["in", "a"] == made[0].weight_var["in", "a"] / 100


def test_several_inputs_and_outputs() -> None:
    """Inputs are independent; what each output gets is there, but no layer is made of them."""
    graph = {"x": [], "y": [], "sum": ["x", "y"], "other": ["y"]}
    found = ml.dag(graph, "relu")
    trace = found.trace({"x": 1.0, "y": 3.0}, {"x": 0.2, "y": 0.5})
    assert trace.variance["sum"][0] == pytest.approx(2, rel=1e-13)
    assert trace.variance["other"][0] == pytest.approx(3, rel=1e-13)
    assert found.outputs == ("sum", "other")
    with pytest.raises(ValueError, match=r"dag: .*inputs 'x', 'y'"):
        ml.propagate(found, 1.0)
    with pytest.raises(ValueError, match=r"dag: .*outputs 'a', 'b'"):
        ml.propagate(ml.dag({"x": [], "a": ["x"], "b": ["x"]}), 1.0)
    with pytest.raises(ValueError, match="q, correlation: nothing is given for input 'y'"):
        found.trace({"x": 1.0})
    with pytest.raises(ValueError, match="q, correlation: .* as many signals"):
        found.trace(1.0, {"x": np.eye(2), "y": np.eye(3)})


def test_graphs_are_layers() -> None:
    """As branches they are independent of the skip connection, unless they hold one."""
    cell = ml.dag(CELL, "relu")
    trace = ml.propagate(ml.repeat(ml.residual(cell, 0.5), 4), 1.0, 0.2)
    assert trace.variance[-1] == pytest.approx(1.25**4, rel=1e-13)
    skips = ml.dag(CELL, {"in": "relu", "a": "relu", "b": "relu", ("in", "out"): None})
    assert cell.mixes and not skips.mixes
    with pytest.raises(ValueError, match="no dense layer"):
        ml.residual(skips)
    assert "'out'  3" in repr(cell.trace(1.0)) and "'b' by 0.66" in repr(cell)


def test_draws_every_node() -> None:
    trace = ml.dag(CELL, "gelu").trace(1.0, 0.2)
    ax = trace.plot()
    assert [label.get_text() for label in ax.get_xticklabels()] == list(CELL)
    assert len(ax.lines) == 3 and len(ax.get_legend().get_texts()) == 3
    drawn = np.asarray(ax.lines[1].get_ydata())
    np.testing.assert_allclose(drawn, [trace.gradient[node][0] for node in CELL], rtol=1e-12)


BAD = [
    (lambda: ml.dag({"a": ["b"], "b": ["a"]}), ValueError, "graph: must have no cycles, got 'a'"),
    (lambda: ml.dag([("a", "a")]), ValueError, "graph: must have no cycles"),
    (lambda: ml.dag({"a": ["x"]}), ValueError, "graph: node 'a' has the predecessor 'x'"),
    (lambda: ml.dag([("a", "b"), ("a", "b")]), ValueError, "graph: the edge .* twice"),
    (lambda: ml.dag({}), ValueError, "graph: must have an edge"),
    (lambda: ml.dag({"a": "xy"}), TypeError, "graph: must name a list"),
    (lambda: ml.dag(3), TypeError, "graph: must be a dict"),
    (lambda: ml.dag(["ab"]), TypeError, "graph: its edges must be pairs"),
    (
        lambda: ml.dag(SimpleNamespace(nodes=[], edges=[], is_directed=lambda: False)),
        ValueError, "graph: must be directed",
    ),
    (lambda: ml.dag(CELL, {"in": "relu"}), ValueError, "phi: has no activation for the edge"),
    (lambda: ml.dag(CELL, {"hidden": "relu"}), ValueError, "phi: 'hidden' is neither"),
    (lambda: ml.dag(CELL, q=0.1, bias_var=0.2), ValueError, "q: no weights behind relu"),
    (lambda: ml.dag(CELL).entry_variance({"in": 3}), ValueError, "fan_in: .*node 'a'"),
    (lambda: ml.dag(CELL).entry_variance(0), ValueError, "fan_in: "),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "message"), BAD)
def test_bad_input(make, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()
