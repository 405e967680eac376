"""Graph networks: kernels against naive ones, laws of depth, graphs of all kinds, bad input."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import meanfield as mf
import meanfield.layers as ml
from meanfield.layers.state import start

KARATE = [
    (1, "2 3 4 5 6 7 8 9 11 12 13 14 18 20 22 32"), (2, "3 4 8 14 18 20 22 31"),
    (3, "4 8 9 10 14 28 29 33"), (4, "8 13 14"), (5, "7 11"), (6, "7 11 17"), (7, "17"),
    (9, "31 33 34"), (10, "34"), (14, "34"), (15, "33 34"), (16, "33 34"), (19, "33 34"),
    (20, "34"), (21, "33 34"), (23, "33 34"), (24, "26 28 30 33 34"), (25, "26 28 32"), (26, "32"),
    (27, "30 34"), (28, "34"), (29, "32 34"), (30, "33 34"), (31, "33 34"), (32, "33 34"),
    (33, "34"),
]  # fmt: skip


def karate() -> np.ndarray:
    """Zachary 1977, without weights."""
    A = np.zeros((34, 34))
    for a, others in KARATE:
        for b in map(int, others.split()):
            A[a - 1, b - 1] = A[b - 1, a - 1] = 1.0
    return A


A = karate()
PAIRS = np.triu_indices(34, 1)


def relu_dual(K: np.ndarray) -> np.ndarray:
    r = np.sqrt(np.diag(K))
    c = np.clip(K / np.outer(r, r), -1, 1)
    return np.outer(r, r) * (np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / (2 * np.pi)


def normalised(A: np.ndarray, how: str) -> np.ndarray:
    d = A.sum(axis=1)
    return {"row": A / d[:, None], "symmetric": A / np.sqrt(np.outer(d, d)), "sum": A}[how]


def test_the_graph_is_the_karate_club() -> None:
    assert A.sum() == 2 * 78
    assert np.linalg.eigvalsh(A)[-1] == pytest.approx(6.7256977, abs=1e-7)


@pytest.mark.parametrize("how", ["row", "symmetric", "sum"])
@pytest.mark.parametrize(("e", "scale"), [(1.0, None), (0.1, None), (0.3, 0.25)])
def test_kernels_are_those_of_the_naive_map(how: str, e: float, scale: float | None) -> None:
    network = ml.graph_network(
        A,
        depth=12,
        normalisation=how,
        residual_aggregation=e,
        residual_scale=scale,
        correlation=0.2,
    )
    M = (1 - e) * np.eye(34) + e * normalised(A, how)
    C = 2 / np.max(np.linalg.eigvals(M).real) ** 2
    K = 0.2 + 0.8 * np.eye(34)
    for layer in range(1, 13):
        branch = C * M @ relu_dual(K) @ M.T
        K = branch if scale is None else K + scale**2 * branch
        np.testing.assert_allclose(network.variance[layer], np.diag(K), rtol=1e-12)
    np.testing.assert_allclose(network.state.covariance, K, rtol=1e-11)


@pytest.mark.parametrize("how", ["row", "symmetric", "sum"])
def test_the_perron_direction_comes_back_for_200_layers(how: str) -> None:
    """`K = q v v^T` is a fixed point at `2 / lambda_1^2`: to 1e-10."""
    values, vectors = np.linalg.eig(normalised(A, how))
    v = np.abs(vectors[:, np.argmax(values.real)].real)
    network = ml.graph_network(A, depth=200, normalisation=how, q=7 * v**2, correlation=1.0)
    assert network.weight_var[0] == pytest.approx(2 / np.max(values.real) ** 2, rel=1e-13)
    np.testing.assert_allclose(network.scale, network.scale[0], rtol=1e-10)
    np.testing.assert_allclose(network.variance[-1], 7 * v**2, rtol=1e-10)
    wrong = ml.graph_network(A, depth=200, normalisation=how, weight_var=1.0)
    assert wrong.verdict is (ml.GraphVerdict.EXPLODES if how == "sum" else ml.GraphVerdict.VANISHES)


def test_fixed_aggregation_smooths_exponentially() -> None:
    """On a connected graph `1 - c` falls by `(lambda_2 / lambda_1)^2` a layer, far below EPS."""
    for how in ("row", "symmetric", "sum"):
        network = ml.graph_network(A, depth=200, normalisation=how)
        values = np.sort(np.abs(np.linalg.eigvals(normalised(A, how))))
        assert network.mixing == pytest.approx(values[-2] / values[-1], rel=1e-12)
        fall = network.one_minus[100] / network.one_minus[99]
        assert fall == pytest.approx(network.mixing**2, rel=1e-6)
        assert network.one_minus[-1] < 1e-25 and network.one_minus_error[100] < 1e-10
        assert network.verdict is ml.GraphVerdict.OVERSMOOTHS


def test_laws_of_depth() -> None:
    """Residual aggregation with `e = 2/L` falls like ReLU alone does, residual branches not."""
    plain, mixed, branches = (
        [ml.graph_network(A, depth=L, **options(L)) for L in (100, 400)]
        for options in (
            lambda L: {"residual_aggregation": 0.0},
            lambda L: {"residual_aggregation": 2 / L},
            lambda L: {"residual_scale": "depth"},
        )
    )
    # 9 pi^2 / (2 l^2), with corrections of log(l) / l
    assert plain[1].one_minus[-1] == pytest.approx(9 * math.pi**2 / 2 / 400**2, rel=0.1)
    assert plain[1].exponent == pytest.approx(2, abs=0.1)
    for law in (plain, mixed):
        ends = law[0].one_minus[-1] / law[1].one_minus[-1]
        assert math.log(ends, 4) == pytest.approx(2, abs=0.15)
    factor = plain[1].one_minus[-1] / mixed[1].one_minus[-1]
    assert 4.5 < factor < 6.5
    assert branches[1].one_minus[-1] == pytest.approx(branches[0].one_minus[-1], rel=5e-3)
    assert branches[1].one_minus[-1] > 0.6 and branches[1].verdict is ml.GraphVerdict.KEPT
    assert 1 < branches[1].scale[-1] < math.e


def test_accepted_graphs_are_one(tmp_path: Path) -> None:
    import networkx as nx

    (tmp_path / "edges.csv").write_text(
        "source,target\n"
        + "".join(f"{a},{b}\n" for a, b in zip(*np.nonzero(np.triu(A)), strict=True))
    )
    first = ml.graph_network(A, depth=5)
    for graph in (
        sparse.coo_array(A), sparse.csr_matrix(A), A.tolist(), nx.from_numpy_array(A),
        tmp_path / "edges.csv", str(tmp_path / "edges.csv"),
    ):  # fmt: skip
        other = ml.graph_network(graph, depth=5)
        assert (len(other.nodes), other.edges) == (34, 78)
        np.testing.assert_allclose(other.one_minus, first.one_minus, rtol=1e-13)


def test_start_is_that_of_propagate() -> None:
    assert np.array_equal(start(np.ones(3)).one_minus, 1 - np.eye(3))
    layer = ml.serial(ml.activation("relu"), ml.aggregate(A, normalisation="row"), ml.dense(2.0))
    trace = ml.propagate(ml.repeat(layer, 5), np.ones(34))
    network = ml.graph_network(A, depth=5)
    np.testing.assert_allclose(trace.variance, network.variance, rtol=1e-14)
    assert np.mean(trace.one_minus[-1][PAIRS]) == pytest.approx(network.one_minus[-1], rel=1e-13)


def test_prints_and_draws() -> None:
    network = ml.graph_network(A, depth=20, residual_aggregation=0.1)
    assert "34 nodes, 78 edges" in repr(network) and str(network.verdict) in repr(network)
    ax = network.plot()
    np.testing.assert_allclose(ax.lines[0].get_ydata(), network.one_minus[1:])
    assert network.to_dict()["verdict"] == str(network.verdict)
    assert mf.plot.oversmoothing([network, network], labels=["a", "b"]).get_legend() is not None
