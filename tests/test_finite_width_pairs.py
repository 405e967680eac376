"""Two inputs at finite width: closed forms, one input as a limit, and networks."""

# pyright: reportArgumentType=false

import numpy as np
import pytest

import meanfield as mf
from meanfield import ensembles
from meanfield.width.pair_averages import pair_averages

ENSEMBLES = ["gaussian", "orthogonal", ensembles.LowRank(0.5)]


def arc_cosine(order: int, c: float) -> float:
    """`E[u^n v^n; u, v > 0]` of unit Gaussians: Cho & Saul 2009's kernels over 2 pi."""
    t = np.arccos(c)
    s, rest = np.sin(t), np.pi - t
    terms = (rest, s + rest * c, 3 * s * c + rest * (1 + 2 * c * c))
    return terms[order] / (2 * np.pi)


@pytest.mark.parametrize("c", [-0.95, -0.2, 0.0, 0.5, 0.9, 0.9999])
def test_averages_of_relu(c: float) -> None:
    q1, q2 = 1.3, 0.4
    at = pair_averages(mf.Activation("relu"), q1, q2, 1 - c, 1 + c)
    root = np.sqrt(q1 * q2)
    np.testing.assert_allclose(
        at.second, [q1 / 2, root * arc_cosine(1, c), q2 / 2], rtol=1e-12, atol=1e-14
    )
    assert at.slope == pytest.approx(arc_cosine(0, c), rel=1e-11)
    assert at.fourth[0, 2] == pytest.approx(q1 * q2 * arc_cosine(2, c), rel=1e-11)
    assert at.fourth[1, 1] == pytest.approx(at.fourth[0, 2], rel=1e-14)
    np.testing.assert_allclose(np.diag(at.fourth)[[0, 2]], [1.5 * q1**2, 1.5 * q2**2])
    # H = sqrt(K11 K22) J1(c)/2pi, so that K12 H12 + K11 H11 + K22 H22 = H, and H11 K11 = H22 K22
    K = np.array([q1, c * root, q2])
    assert K @ at.first == pytest.approx(at.second[1], rel=1e-11, abs=1e-14)
    assert q1 * at.first[0] == pytest.approx(q2 * at.first[2], rel=1e-9, abs=1e-13)
    # H is homogeneous of order 1: second derivatives times K vanish; <phi''phi''> is a density
    size = np.max(np.abs(at.bend))
    np.testing.assert_allclose(at.bend @ K, 0.0, atol=1e-10 * size / (1 - abs(c)))
    density = 1 / (2 * np.pi * root * np.sqrt(1 - c * c))
    assert at.bend[1, 1] == pytest.approx(density, rel=1e-9 / (1 - abs(c)))


@pytest.mark.parametrize(("name", "c"), [("gelu", -0.6), ("elu", 0.3), ("hard_tanh", 0.97)])
def test_averages_by_other_ways(name: str, c: float) -> None:
    """Moments of one input, correlation maps, and differences of first derivatives."""
    phi, q1, q2 = mf.Activation(name), 1.0, 1.4
    at = pair_averages(phi, q1, q2, 1 - c, 1 + c)
    m = phi.moments(np.array([q1, q2]))
    np.testing.assert_allclose(at.second[[0, 2]], m.value[:, 1], rtol=1e-12)
    np.testing.assert_allclose(np.diag(at.fourth)[[0, 2]], m.value[:, 2], rtol=1e-12)
    C = mf.correlation_map(mf.Network(phi, weight_var=1.0), q=(q1, q2))
    root = np.sqrt(m.value[0, 1] * m.value[1, 1])
    assert at.second[1] == pytest.approx(C(c) * root, rel=1e-12)
    assert at.slope == pytest.approx(C.slope(c) * root / np.sqrt(q1 * q2), rel=1e-12)
    K, h = np.array([q1, c * np.sqrt(q1 * q2), q2]), 1e-4 * (1 - abs(c))
    for j in range(3):
        ends = []
        for sign in (1, -1):
            k11, k12, k22 = K + sign * h * np.eye(3)[j]
            near = k12 / np.sqrt(k11 * k22)
            ends.append(pair_averages(phi, k11, k22, 1 - near, 1 + near))
        more, less = ends
        assert (more.second[1] - less.second[1]) / (2 * h) == pytest.approx(at.first[j], abs=1e-7)
        np.testing.assert_allclose((more.first - less.first) / (2 * h), at.bend[j], atol=1e-5)


@pytest.mark.parametrize("weights", ENSEMBLES, ids=str)
def test_two_inputs_that_are_almost_one(weights) -> None:
    net = mf.Network("tanh", weight_var=1.5, bias_var=0.1)
    pair = mf.finite_width_pair(net, 4, 40, 1 - 1e-7, q=0.8, weights=weights)
    one = mf.finite_width(net, 4, 40, q=0.8, weights=weights)
    size = np.max(one.kernel) ** 2 / 40
    for index in np.ndindex(2, 2, 2, 2):
        np.testing.assert_allclose(pair.four_point[:, *index], one.four_point, atol=1e-5 * size)
    for index in np.ndindex(2, 2):
        np.testing.assert_allclose(pair.kernel[:, *index], one.kernel, rtol=1e-5)
        np.testing.assert_allclose(
            pair.kernel_correction[:, *index], one.kernel_correction, atol=1e-4 / 40
        )


@pytest.mark.parametrize(
    ("name", "weights"), list(zip(["elu", "crelu", "gelu"], ENSEMBLES, strict=True)), ids=str
)
def test_each_input_of_a_pair_is_one(name: str, weights) -> None:
    """What concerns one of the inputs does not depend on the other; and their order is nothing."""
    net = mf.Network(name, weight_var=1.5, bias_var=0.1)
    q, widths = (0.9, 0.5), [20, 30, 24]
    pair = mf.finite_width_pair(net, 3, widths, 0.4, q=q, weights=weights)
    for i in (0, 1):
        one = mf.finite_width(net, 3, widths, q=q[i], weights=weights)
        np.testing.assert_allclose(pair.kernel[:, i, i], one.kernel, rtol=1e-11)
        np.testing.assert_allclose(
            pair.four_point[:, i, i, i, i], one.four_point, rtol=1e-9, atol=1e-14
        )
        np.testing.assert_allclose(
            pair.kernel_correction[:, i, i], one.kernel_correction, rtol=1e-9, atol=1e-14
        )
        np.testing.assert_allclose(pair.tangent_kernel[:, i, i], one.tangent_kernel, rtol=1e-11)
    other = mf.finite_width_pair(net, 3, widths, 0.4, q=q[::-1], weights=weights)
    np.testing.assert_allclose(
        pair.four_point, other.four_point[:, ::-1, ::-1, ::-1, ::-1], rtol=1e-9, atol=1e-14
    )
    V = pair.four_point
    np.testing.assert_array_equal(V, V.transpose(0, 3, 4, 1, 2))
    np.testing.assert_array_equal(V, V.transpose(0, 2, 1, 3, 4))


def test_one_layer_of_relu() -> None:
    """`V_1122 = (4 <phi^2 phi^2> - K11 K22)/n` and `V_1212 = (4 <phi^2 phi^2> - K12^2)/n`."""
    c, n = 0.3, 50
    pair = mf.finite_width_pair(mf.Network("relu", weight_var=2.0), 2, n, c, q=(2.0, 0.5))
    fourth, K12 = 4 * arc_cosine(2, c), 2 * arc_cosine(1, c)
    V = pair.four_point[1] * n
    np.testing.assert_allclose(pair.kernel[1], [[2, K12], [K12, 0.5]], rtol=1e-12)
    assert V[0, 0, 1, 1] == pytest.approx(fourth - 1.0, rel=1e-11)
    assert V[0, 1, 0, 1] == pytest.approx(fourth - K12**2, rel=1e-11)
    turned = mf.finite_width_pair(
        mf.Network("relu", 2.0, weights="orthogonal"), 2, n, c, q=(2.0, 0.5)
    )
    # the same, less what rotations do; and what the first layer's vertex has become
    first = turned.four_point[0] * n
    assert first[0, 0, 1, 1] == pytest.approx(-2 * c**2)
    assert first[0, 1, 0, 1] == pytest.approx(-(1 + c**2))
    assert turned.four_point[1, 0, 0, 0, 0] * n == pytest.approx(4.0 * (6 - 3 - 2), rel=1e-11)


def test_linear_orthogonal_networks_do_not_change_what_two_inputs_are() -> None:
    net = mf.Network("identity", weight_var=1.0, weights="orthogonal")
    pair = mf.finite_width_pair(net, 6, 30, 0.2, q=(1.0, 2.0))
    np.testing.assert_allclose(
        pair.four_point, np.broadcast_to(pair.four_point[0], (6,) + (2,) * 4)
    )
    np.testing.assert_allclose(pair.correlation_std, 0.0, atol=1e-7)  # a root


def test_pairs_of_networks() -> None:
    """Mean products of two inputs over 4000 networks of width 32, and their correlation."""
    K, n, depth, draws = np.array([[1.0, 0.4], [0.4, 0.8]]), 32, 3, 4000
    net, rng = mf.Network("tanh", weight_var=1.5, bias_var=0.1), np.random.default_rng(2)
    inputs = np.linalg.cholesky((K - 0.1) / 1.5)
    columns = np.linalg.qr(rng.normal(size=(draws, n, 2)))[0] * np.sqrt(n)
    x, products = columns @ inputs.T, []
    for _ in range(depth):
        w = rng.normal(size=(draws, n, n)) * np.sqrt(1.5 / n)
        z = w @ x + np.sqrt(0.1) * rng.normal(size=(draws, n, 1))
        products.append(np.einsum("dia,dib->dab", z, z) / n)
        x = np.tanh(z)
    pair = mf.finite_width_pair(net, depth, n, 0.4 / np.sqrt(0.8), q=(1.0, 0.8))
    index = [(0, 0), (0, 1), (1, 1)]
    for layer, product in enumerate(products):
        flat = np.stack([product[:, *i] for i in index])
        measured = np.cov(flat)
        full = pair.kernel[layer]
        theory = np.array([
            [pair.four_point[layer, *i, *j]
             + (full[i[0], j[0]] * full[i[1], j[1]] + full[i[0], j[1]] * full[i[1], j[0]]) / n
             for j in index]
            for i in index
        ])  # fmt: skip
        size = np.sqrt(np.outer(np.diag(theory), np.diag(theory)))
        # standard error of a covariance of almost Gaussian numbers, and order 1/n
        assert np.all(np.abs(measured - theory) <= size * (4 * np.sqrt(2 / draws) + 3 * layer / n))
        c = flat[1] / np.sqrt(flat[0] * flat[2])
        assert np.std(c) == pytest.approx(pair.correlation_std[layer], rel=0.06)


def test_printing_pairs() -> None:
    pair = mf.finite_width_pair(mf.critical("relu"), 3, 50, 0.5)
    assert "c = 0.5 to 0.6" in repr(pair) and "orthogonal" not in repr(pair)
    record = pair.to_dict()
    assert np.shape(record["four_point"]) == (3, 2, 2, 2, 2) and record["weights"] == "gaussian"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"correlation": 1.0}, ValueError, r"correlation: must be a number in \(-1, 1\), got 1.0"),
        ({"network": mf.Network("sign", 1.0)}, ValueError, "network: sign jumps"),
        ({"depth": 0}, ValueError, "depth: .* got 0"),
        ({"q": (1.0, 2.0, 3.0)}, ValueError, "q: must be one variance, or a pair"),
        (
            {"network": mf.Network("tanh", 0.2, 0.3), "q": 1.0, "depth": 60},
            ValueError,
            "become one",
        ),
        ({"network": mf.Network("relu", 9.0), "q": 1.0, "depth": 600}, ValueError, "overflows"),
        ({"q": 0.05, "weights": "orthogonal"}, ValueError, "q: .* at least as much"),
    ],
)
def test_what_is_refused(arguments: dict, error: type, message: str) -> None:
    net = mf.Network("tanh", weight_var=1.5, bias_var=0.1)
    given = {"network": net, "depth": 3, "width": 10, "correlation": 0.5, **arguments}
    with pytest.raises(error, match=message):
        mf.finite_width_pair(**given)


def test_a_pair_too_deep_for_its_width_says_so() -> None:
    net = mf.Network("relu", weight_var=2.0)
    pair = mf.finite_width_pair(net, 8, 42, 0.3)
    single = mf.finite_width(net, 8, 42)
    assert single.valid_depth == 5  # 5 l/n, and no vertex of the pair is larger
    assert pair.warnings == single.warnings
    assert pair.warnings[0] in str(pair) and pair.to_dict()["warnings"] == list(pair.warnings)
    assert mf.finite_width_pair(net, 8, 400, 0.3).warnings == ()
