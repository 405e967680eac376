"""Graphs of all kinds, and what is refused."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import meanfield as mf
import meanfield.layers as ml
from graphs import karate

A = karate()


def with_block(B: np.ndarray) -> np.ndarray:
    n = len(B)
    return np.block([[A, np.zeros((34, n))], [np.zeros((n, 34)), B]])


def test_disconnected_graphs_are_said_and_do_not_smooth_exponentially() -> None:
    """An isolated node: `1 - c` with it falls as ReLU's own law, and the mean with it."""
    network = ml.graph_network(with_block(np.ones((1, 1))), depth=100)
    assert "disconnected: 2 components, of 34, 1 nodes" in " ".join(network.warnings)
    assert "isolated nodes: 34 have no neighbours, they hear only themselves" in network.warnings[0]
    assert network.mixing == pytest.approx(1, rel=1e-14)
    own = mf.correlation_map(mf.Network("relu", 2.0)).iterate(0.0, 100).one_minus
    assert network.one_minus[-1] == pytest.approx(own[-1] * 2 / 35, rel=0.1)
    assert network.exponent == pytest.approx(math.log2(own[50] / own[100]), rel=0.05)


def test_isolated_nodes_fall_silent() -> None:
    network = ml.graph_network(with_block(np.zeros((1, 1))), depth=5)
    assert "their signals are 0 after one layer" in network.warnings[0]
    assert np.all(network.variance[1:, 34] == 0)
    np.testing.assert_allclose(
        network.one_minus[1:], ml.graph_network(A, depth=5).one_minus[1:], rtol=1e-12
    )
    looped = ml.graph_network(with_block(np.zeros((1, 1))), depth=5, self_loops=True)
    assert np.all(looped.variance > 0)
    tanh = ml.graph_network(with_block(np.zeros((1, 1))), "tanh", depth=3, bias_var=0.0, q=0.5,
                            weight_var=2.0)  # fmt: skip
    assert np.all(tanh.variance[1:, 34] == 0)
    with pytest.raises(ValueError, match="variance 0"):
        ml.graph_network(with_block(np.zeros((1, 1))), "sigmoid", depth=3, bias_var=0.0,
                         weight_var=2.0)  # fmt: skip


def test_silent_and_overflown_networks() -> None:
    quiet: Any = ({"q": 0.0}, {"weight_var": 0.0})
    for options in quiet:
        silent = ml.graph_network(RING, depth=3, **options)
        assert silent.verdict is ml.GraphVerdict.VANISHES and silent.scale[-1] == 0
    loud = ml.graph_network(RING, depth=200, weight_var=1e3)
    assert loud.verdict is ml.GraphVerdict.EXPLODES and loud.scale[-1] == math.inf
    constant = ml.graph_network(RING, lambda x: 0 * x + 1.0, depth=3, weight_var=1.0)
    assert constant.verdict is ml.GraphVerdict.VANISHES and constant.gradient[-1] == 0
    steps = ml.graph_network(RING, "step", depth=3, weight_var=1.0)
    assert np.all(steps.gradient[1:] == math.inf)
    one = ml.graph_network([[1.0]], depth=3)
    assert one.scale[-1] == pytest.approx(1) and one.verdict is ml.GraphVerdict.KEPT


def test_bipartite_graphs_are_said() -> None:
    path = np.diag(np.ones(5), 1) + np.diag(np.ones(5), -1)
    network = ml.graph_network(path, depth=60)
    assert "bipartite" in network.warnings[0] and network.mixing == pytest.approx(1, abs=1e-12)
    assert network.exponent < 3
    choices: Any = ({"residual_aggregation": 0.5}, {"self_loops": True})
    for options in choices:
        mended = ml.graph_network(path, depth=60, **options)
        assert not mended.warnings and mended.mixing < 0.99
        assert mended.one_minus[-1] < network.one_minus[-1]


def test_directed_graphs_are_said(tmp_path: Path) -> None:
    nx = pytest.importorskip("networkx")

    cycle = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "a")])
    network = ml.graph_network(cycle, depth=4)
    assert network.warnings[0].startswith("directed") and "multiples of 3" in network.warnings[1]
    assert network.perron == pytest.approx(1) and network.edges == 3
    (tmp_path / "edges.tsv").write_text("# who hears whom\na\tb\t2\nb\tc\t2\nc\ta\t2\nc\tc\t1\n")
    read = ml.graph_network(tmp_path / "edges.tsv", depth=4, directed=True, normalisation="sum")
    # b hears a: rows are what a node hears, l^3 - l^2 = 8
    assert read.perron == pytest.approx(np.max(np.roots([1, -1, 0, -8]).real), rel=1e-12)
    assert read.nodes == ["a", "b", "c"] and len(read.warnings) == 1
    with pytest.raises(ValueError, match="no cycle"):
        ml.graph_network(nx.DiGraph([(0, 1), (1, 2)]), depth=4)


EDGE_LISTS = {
    "0 1\n1 2\n\n% end": "",
    "a;b;0.5\nb;a;0.5\n": "",
    "from,to\nx,y": "",
    "0 1 2 3\n": "line 1: an edge is",
    "0 1\n1\n": "line 2: an edge is",
    "0 1 x y\n": "line 1: ",
    "0,1,1\n1,2,much\n": "line 2: the weight must be a number, got 'much'",
    "0,1,nan\n": "line 1: the weight must be finite",
    "0,1,1\n1,0,2\n": "line 2: the edge 1 0 has weight 2 here and 1 before",
    "# nothing\n": "has no edges",
}


@pytest.mark.parametrize("text", EDGE_LISTS)
def test_edge_lists(text: str, tmp_path: Path) -> None:
    path, message = tmp_path / "edges.csv", EDGE_LISTS[text]
    path.write_text(text)
    if not message:
        assert np.isfinite(ml.graph_network(path, depth=2).one_minus[-1])
        return
    with pytest.raises(ValueError, match=message):
        ml.graph_network(path, depth=2)


RING = np.ones((3, 3)) - np.eye(3)
BAD = [
    (lambda: ml.graph_network(np.ones((2, 3))), "square matrix, .* got shape"),
    (lambda: ml.graph_network(np.ones(3)), "square matrix"),
    (lambda: ml.graph_network(np.zeros((0, 0))), "at least one node"),
    (lambda: ml.graph_network(-RING), "must not be negative, got -1: the Perron root"),
    (lambda: ml.graph_network(RING * 1j), "must be real"),
    (lambda: ml.graph_network(RING * np.nan), "must be finite"),
    (lambda: ml.graph_network(RING, normalisation="column"), "normalisation: "),
    (lambda: ml.graph_network(RING, residual_aggregation=1.5), "residual: .*from 0 to 1"),
    (lambda: ml.graph_network(RING, depth=0), "depth: must be at least 1"),
    (lambda: ml.graph_network(RING, weight_var=-1.0), "weight_var: "),
    (lambda: ml.graph_network(RING, depth=4, weight_var=[1.0, 2.0]), "one for each of 4 layers"),
    (lambda: ml.graph_network(RING, q=[1.0, 2.0]), "q: must be one variance or 3"),
    (lambda: ml.graph_network(RING, correlation=np.eye(2)), "correlation: "),
    (lambda: ml.graph_network(RING, features=np.ones((2, 2))), "features: .*n = 3"),
    (lambda: ml.graph_network(RING, residual_scale="much"), "residual_scale: "),
    (lambda: ml.graph_network(RING, memory=100), "adjacency: .*sample_graph_network"),
    (lambda: ml.graph_network(RING, pairs=[[0, 3]]), "pairs: must be of different nodes"),
    (lambda: ml.graph_network(RING, pairs=[[1, 1]]), "pairs: must be of different nodes"),
    (lambda: ml.graph_network(RING, pairs=0), "pairs: must be at least 1"),
    (lambda: ml.graph_network(RING, correlation=1.5), "correlation: of 3 nodes must be from"),
    (lambda: ml.graph_network(RING, correlation=-0.6), "correlation: of 3 nodes must be from"),
    (lambda: ml.graph_network(RING * 1e200, normalisation="sum"), "adjacency: its Perron root"),
    (lambda: ml.graph_network(RING * 1e-200, normalisation="sum"), "adjacency: its Perron root"),
    (lambda: ml.graph_network(RING * 5e-324), "adjacency: sums of weights are outside"),
    (lambda: ml.graph_network(RING, features=np.zeros((3, 0))), "features: must be finite"),
    (lambda: ml.graph_network(RING, features=1e200 * np.eye(3)), "features: must be finite"),
    (lambda: ml.sample_graph_network(RING, features=np.full((3, 2), np.nan)), "features: "),
    (lambda: ml.sample_graph_network(RING, q=[1.0, 2.0]), "q: must be one variance"),  # pyright: ignore
    (lambda: ml.graph_network(RING, depth=2).noise(0), "width: must be at least 1"),
    (lambda: ml.graph_network(RING, depth=2, residual_scale=math.nan), "scale: must be a finite"),
    (lambda: ml.graph_network([[1.0]], depth=9).plot(), "networks: of a single node"),
    (lambda: ml.virgo(RING, 0), "depth: must be at least 1"),
    (lambda: ml.graph_network(RING, "tanh").noise(10), "noise: "),
    (lambda: ml.aggregate(-RING, normalisation="row"), "not negative"),
    (lambda: ml.propagate(ml.aggregate(RING), q=np.ones(2)), "3 nodes, but .* 2 signals"),
    (lambda: ml.sample_graph_network(RING, draws=1), "draws: must be at least 2"),
    (lambda: ml.sample_graph_network(RING, correlation=-0.5), "correlation: must be from 0"),
    (lambda: ml.virgo([[0, 1], [0, 0]], normalisation="sum"), "nothing arrives after 2 layers"),
    (lambda: ml.virgo(RING, mean="geometric"), "mean: "),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_input(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_types() -> None:
    makers: Any = (
        lambda: ml.graph_network(RING, depth=2.5),  # pyright: ignore
        lambda: ml.graph_network(object()),
        lambda: ml.graph_network([["a", "b"], ["c", "d"]]),
        lambda: ml.sample_graph_network(RING, width=2.5),  # pyright: ignore
        lambda: ml.sample_graph_network(RING, wide=2),
        lambda: ml.graph_network(RING, pairs=[[0.5, 1.0]]),
        lambda: ml.graph_network(RING, pairs=[0, 1]),
        lambda: ml.graph_network(RING, pairs=True),
    )
    for make in makers:
        with pytest.raises(TypeError):
            make()


def test_signed_aggregation_is_a_layer_too() -> None:
    """`K' = A K A^T` for any real matrix, differences and sums that vanish included."""
    rng = np.random.default_rng(3)
    B, root = rng.normal(size=(6, 6)), rng.normal(size=(6, 6))
    B[1] -= np.mean(B[1])
    K = root @ root.T
    q = np.diag(K)
    c = K / np.sqrt(np.outer(q, q))
    c = 0.5 * (c + c.T)
    np.fill_diagonal(c, 1.0)
    trace = ml.propagate(ml.aggregate(B, residual=0.7), q, np.clip(c, -1, 1))
    M = 0.3 * np.eye(6) + 0.7 * B
    expected = M @ K @ M.T
    np.testing.assert_allclose(trace.variance[-1], np.diag(expected), rtol=1e-12)
    size = np.sqrt(np.outer(trace.variance[-1], trace.variance[-1]))
    np.testing.assert_allclose(trace.correlation[-1], expected / size, atol=1e-12)
