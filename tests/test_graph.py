"""Graph networks: kernels against naive ones, laws of depth, pairs of nodes, finite networks."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import meanfield as mf
import meanfield.layers as ml
from graphs import karate
from meanfield.bivariate import Covariance
from meanfield.layers.duals import dual
from meanfield.layers.series import many_differences
from meanfield.layers.state import start

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
    C = 2 / np.max(np.real(np.linalg.eigvals(M))) ** 2
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
    v = np.abs(vectors[:, np.argmax(np.real(values))])
    network = ml.graph_network(A, depth=200, normalisation=how, q=7 * v**2, correlation=1.0)
    assert network.weight_var[0] == pytest.approx(2 / np.max(np.real(values)) ** 2, rel=1e-13)
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
        fall = network.one_minus[60] / network.one_minus[59]
        assert fall == pytest.approx(network.mixing**2, rel=1e-4)
        assert network.one_minus[-1] < 1e-25 and network.one_minus_error[60] < 1e-10
        assert network.verdict is ml.GraphVerdict.OVERSMOOTHS


def test_laws_of_depth() -> None:
    """Residual aggregation with `e = 2/L` falls like ReLU alone does, residual branches not."""
    choices: Any = (
        lambda L: {"residual_aggregation": 0.0},
        lambda L: {"residual_aggregation": 2 / L},
        lambda L: {"residual_scale": "depth"},
    )
    plain, mixed, branches = (
        [ml.graph_network(A, depth=L, **options(L)) for L in (50, 200)] for options in choices
    )
    own = mf.correlation_map(mf.Network("relu", 2.0)).iterate(0.0, 200).one_minus
    assert plain[1].one_minus[-1] == pytest.approx(own[-1], rel=1e-10)
    # 9 pi^2 / (2 l^2), with corrections of log(l) / l
    for law in (plain, mixed):
        assert math.log(law[0].one_minus[-1] / law[1].one_minus[-1], 4) == pytest.approx(
            2, abs=0.25
        )
    factors = [plain[k].one_minus[-1] / mixed[k].one_minus[-1] for k in (0, 1)]
    assert [round(float(factor), 1) for factor in factors] == [5.4, 5.2]
    assert branches[1].one_minus[-1] == pytest.approx(branches[0].one_minus[-1], rel=5e-3)
    assert branches[1].one_minus[-1] > 0.6 and branches[1].verdict is ml.GraphVerdict.KEPT
    assert 1 < branches[1].scale[-1] < math.e


def test_the_notebook_is_small() -> None:
    book = Path(__file__).parent.parent / "notebooks" / "graph_networks.ipynb"
    assert book.stat().st_size < 250_000


def test_accepted_graphs_are_one(tmp_path: Path) -> None:
    nx = pytest.importorskip("networkx")

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
    legend = mf.plot.oversmoothing([network, network], labels=["a", "b"]).get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["a", "b"]


# -- pairs of nodes -------------------------------------------------------------------------------


def grid(side: int) -> sparse.csr_array:
    """A square lattice, closed around; not bipartite by a loop at every node."""
    ring = np.roll(np.eye(side), 1, axis=0)
    ring = sparse.csr_array(ring + ring.T)
    one = sparse.eye_array(side)
    square = sparse.kron(ring, one) + sparse.kron(one, ring)
    return sparse.csr_array(square + sparse.eye_array(side**2))


@pytest.mark.parametrize("phi", ["relu", "tanh"])
@pytest.mark.parametrize("scale", [None, 0.4])
def test_pairs_are_those_of_the_whole_kernel(phi: str, scale: float | None) -> None:
    """Exact at every layer, with its neighbourhood alone: variances, correlations, gradients."""
    rng = np.random.default_rng(0)
    B = np.triu(rng.random((20, 20)) < 0.12, 1) * 1.0
    B[np.arange(19), np.arange(1, 20)] = 1.0
    B[0, 0] = 1.0
    B[3, 2] = 0.7  # one edge back: the rest goes one way
    pairs, q = np.array([[4, 9], [2, 18], [9, 4]]), rng.uniform(0.5, 2.0, 20)
    options: Any = {
        "depth": 3, "normalisation": "row", "residual_scale": scale, "q": q, "correlation": 0.2,
        "weight_var": 1.7, "bias_var": 0.1,
    }  # fmt: skip
    whole = ml.graph_network(B, phi, **options)
    part = ml.graph_network(B, phi, pairs=pairs, **options)
    assert part.nodes == [2, 4, 9, 18] and part.size == 20 and part.pairs is not None
    np.testing.assert_array_equal(np.array(part.nodes)[part.pairs], pairs)
    np.testing.assert_allclose(part.variance, whole.variance[:, part.nodes], rtol=1e-12)
    kernel = whole.state.one_minus[pairs[:, 0], pairs[:, 1]]
    assert part.pair_one_minus is not None
    np.testing.assert_allclose(part.pair_one_minus[-1], kernel, rtol=1e-9)
    np.testing.assert_allclose(part.pair_one_minus[0], 0.8, rtol=1e-14)
    tangents = np.diagonal(whole.state.tangent)[part.nodes]
    assert part.gradient[-1] == pytest.approx(np.mean(tangents), rel=1e-10)


def test_pairs_of_a_large_lattice() -> None:
    """10^4 nodes, of which a few hundred count: by its symmetry, what a small lattice gives."""
    large = ml.graph_network(grid(100), depth=4, pairs=[[0, 1], [0, 100], [7, 9]])
    small = ml.graph_network(grid(11), depth=4)
    assert large.size == 10_000 and len(large.nodes) == 5
    expected = [small.state.one_minus[0, k] for k in (1, 11, 2)]
    assert large.pair_one_minus is not None
    np.testing.assert_allclose(large.pair_one_minus[-1], expected, rtol=1e-11)
    np.testing.assert_allclose(large.variance[-1], small.variance[-1, 0], rtol=1e-12)
    with pytest.raises(ValueError, match="of 10000 nodes are within 4 hops of the pairs"):
        ml.graph_network(grid(100), depth=4, pairs=30, memory=1e6)


def test_sampled_pairs() -> None:
    """The diagonal and pairs of finite networks, extrapolated, against the kernel."""
    pairs = np.array([[0, 33], [5, 6], [2, 20]])
    kernel = ml.graph_network(A, depth=4, pairs=pairs)
    narrow, wide = (
        ml.sample_graph_network(A, depth=4, width=width, draws=150, seed=width, pairs=pairs)
        for width in (75, 150)
    )
    for name in ("variance", "pair_one_minus"):
        small, large = getattr(narrow, name)[1:], getattr(wide, name)[1:]
        errors = [getattr(drawn, name + "_error")[1:] for drawn in (narrow, wide)]
        theory, error = getattr(kernel, name)[1:], np.hypot(errors[0], 2 * errors[1])
        if name == "variance":
            places = np.unique(pairs)
            small, large, error = small[:, places], large[:, places], error[:, places]
        assert np.all(np.abs(2 * large - small - theory) <= 3 * error)
        assert np.all(error <= 0.15 * theory)
    assert ml.sample_graph_network(A, depth=2, draws=2, pairs=7).pairs.shape == (7, 2)  # pyright: ignore


def test_memory_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peaks of allocations of 1000 nodes, beside small blocks of rows, are below what is said."""
    import tracemalloc

    nx = pytest.importorskip("networkx")
    graph = nx.to_scipy_sparse_array(nx.barabasi_albert_graph(1000, 3, seed=0))
    monkeypatch.setattr("meanfield.layers.state._AT_ONCE", 1 << 14)
    cases: Any = (({}, 36), ({"residual_scale": "depth"}, 52))
    for options, each in cases:
        with pytest.raises(ValueError, match=f"take {each / 1000:.3g} GB"):
            ml.graph_network(graph, depth=2, memory=each * 1000**2 - 1, **options)
        tracemalloc.start()
        ml.graph_network(graph, depth=2, memory=each * 1000**2, **options)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= each * 1000**2 + 16 * 2**17


# -- finite networks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phi", "options"),
    [
        ("relu", {"residual_aggregation": 0.2}),
        ("relu", {"normalisation": "sum", "residual_scale": "depth"}),
        ("tanh", {"normalisation": "symmetric", "self_loops": True}),
        ("gelu", {"residual_scale": 0.3, "features": np.eye(34)[:, :20] + 0.3}),
    ],
)
def test_finite_networks(phi: str, options: dict) -> None:
    """Means over networks of width 75 and 150, extrapolated: within 3 standard errors."""
    network = ml.graph_network(A, phi, depth=6, **options)
    narrow, wide = (
        ml.sample_graph_network(A, phi, depth=6, width=width, draws=120, seed=width, **options)
        for width in (75, 150)
    )
    for name in ("scale", "one_minus"):
        theory = getattr(network, name)[1:]
        small, large = (getattr(drawn, name)[1:] for drawn in (narrow, wide))
        errors = [getattr(drawn, name + "_error")[1:] for drawn in (narrow, wide)]
        error = np.hypot(errors[0], 2 * errors[1])
        assert np.all(np.abs(2 * large - small - theory) <= 3 * error)
        assert np.all(error <= 0.12 * theory)
    assert "120 networks of width 150, 6 layers" in repr(wide)


def test_noise_is_log_normal() -> None:
    """Nodes of one signal: `5 l / n` of ReLU, within the errors of a sampled variance."""
    drawn = ml.sample_graph_network(A, depth=10, correlation=1.0, width=100, draws=400)
    beta = ml.graph_network(A, depth=10, correlation=1.0).noise(100)
    assert beta[-1] == pytest.approx(0.5, rel=1e-12)
    # the sample of the first layer has 2 / n; sampled variances are off by sqrt(2 / 400)
    assert drawn.log_variance[-1] == pytest.approx(beta[-1] + 2 / 100, rel=3 * math.sqrt(2 / 400))
    assert np.mean(np.log(drawn.scales[:, -1])) == pytest.approx(-0.5 * 0.52, abs=3 * 0.72 / 20)


def test_virgo_goes_to_the_critical_variance() -> None:
    for how in ("row", "symmetric", "sum"):
        network = ml.graph_network(A, depth=40, normalisation=how, correlation=1.0)
        found = ml.virgo(A, 40, normalisation=how, features=np.arange(34.0)[:, None])
        assert found.forward[-1] == pytest.approx(network.weight_var[0], rel=1e-3)
        assert found.backward[0] == pytest.approx(network.weight_var[0], rel=1e-3)
        harmonic = 2 / (1 / found.forward + 1 / found.backward)
        np.testing.assert_allclose(found.weight_var, harmonic, rtol=1e-14)
        # the product of the forward ones keeps the size of the one feature
        by_layer = ml.graph_network(A, depth=40, normalisation=how, weight_var=found.forward)
        assert 0.05 < by_layer.scale[-1] < 20
    assert ml.virgo(A, 3, mean="arithmetic").weight_var == pytest.approx(2.0)


def test_features_are_a_kernel() -> None:
    X = np.random.default_rng(0).normal(size=(34, 5))
    X[3] = 2 * X[4]
    K = X @ X.T / 5
    q = np.diag(K)
    network = ml.graph_network(A, depth=3, features=X)
    c = np.clip(K / np.sqrt(np.outer(q, q)), -1, 1)
    np.fill_diagonal(c, 1.0)
    other = ml.graph_network(A, depth=3, q=q, correlation=0.5 * (c + c.T))
    np.testing.assert_allclose(network.variance, other.variance, rtol=1e-7)
    assert network.closest[0] < 1e-30


# -- duals of many variances ----------------------------------------------------------------------


@pytest.mark.parametrize("derivative", [False, True], ids=["phi", "slope"])
@pytest.mark.parametrize(
    "phi", ["hard_tanh", "relu6", "gelu", pytest.param("elu", marks=pytest.mark.slow)]
)
def test_series_against_each_pair(phi: str, derivative: bool) -> None:
    """Variances that differ much or hardly, correlations up to 1: within the errors it says."""
    rng = np.random.default_rng(0)
    q = rng.uniform(0.3, 3.0, 8)
    pairs = np.array([q, q * np.exp(rng.normal(size=8) * 10.0 ** rng.uniform(-6, 0, 8))])
    g = np.concatenate([[0.0], 10.0 ** rng.uniform(-8, 0, 6), [1.4]])
    pairs[1, 0] = pairs[0, 0]  # the same signal twice
    value, bound = many_differences(mf.Activation(phi), pairs, g, derivative)
    for (first, second), apart, found, error in zip(pairs.T, g, value, bound, strict=True):
        exact = Covariance(mf.Activation(phi), (float(first), float(second)), derivative)
        d = exact.difference(np.array([apart]))
        assert abs(found - d.value[0]) <= error + d.error[0]
    if phi != "elu":  # which bends twice as sharply at 0 as a smooth function may
        assert np.max(bound / np.max(value)) < 1e-11


def test_duals_of_relu_are_arc_cosine_kernels() -> None:
    """Cho & Saul 2009, and leaky ReLU's; `1 - c` to all digits, from 1e-12 to 2."""
    from mpmath import acos, mp, mpf, sin

    g = np.append(10.0 ** np.arange(-12.0, 0.0), [1.0, 1.5, 1.99, 2.0])
    g[0] = 0.0
    state = start(np.array([1.0, 4.0]), 0.5)
    for name, slope in (("relu", 0), ("leaky_relu", 0.1), ("abs", -1)):
        phi = mf.Activation(np.abs) if name == "abs" else (
            mf.Activation(name, alpha=slope) if slope else mf.Activation(name)
        )  # fmt: skip
        for x in g:
            one_minus = np.array([[0.0, x], [x, 0.0]])
            found = dual(phi, dataclasses.replace(state, one_minus=one_minus))
            with mp.workdps(60):
                c, s = 1 - mpf(float(x)), mpf(slope)
                t = acos(c)
                both = (sin(t) + (mp.pi - t) * c) / (2 * mp.pi)  # E[relu relu]
                cross = c / 2 - both  # -E[relu(u) relu(-v)]
                exact = 1 - (both * (1 + s * s) + 2 * s * cross) / ((1 + s * s) / 2)
            assert found.one_minus[0, 1] == pytest.approx(float(exact), rel=2e-14, abs=1e-15 * x)
