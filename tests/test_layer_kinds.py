"""Each kind of layer against its closed form or published constants, and finite networks."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import meanfield as mf
import meanfield.layers as ml
from finite import at_infinite_width, check_within_3_standard_errors
from meanfield import ensembles
from meanfield.layers.state import start
from test_layers import pair


def agrees(layer: ml.Layer, q: tuple[float, float], c: float, draws: int = 200) -> None:
    """Mean squares and products of finite networks, two inputs, against the map."""
    trace = ml.propagate(layer, q, np.array([[1, c], [c, 1]]))

    def products(width: int, rng: np.random.Generator) -> np.ndarray:
        x = layer.sample(pair(width, q, c, rng), rng)
        return np.array([np.mean(x[a] * x[b]) for a, b in ((0, 0), (1, 1), (0, 1))])

    v = trace.variance[-1]
    expected = np.array([*v, trace.correlation[-1][0, 1] * math.sqrt(np.prod(v))])
    check_within_3_standard_errors(at_infinite_width(products, 100, draws, seed=3), expected)


FINITE = {
    "rms_norm": ml.serial(ml.activation("relu"), ml.rms_norm(), ml.dense(1.3)),
    "layer_norm": ml.serial(ml.activation("relu"), ml.layer_norm(), ml.dense(1.3)),
    "dropout": ml.repeat(ml.serial(ml.activation("relu"), ml.dropout(0.2), ml.dense(1.5)), 3),
    "maxout": ml.repeat(ml.maxout(3), 3),
    "pruned": ml.serial(ml.activation("relu"), ml.dense(2.0 * ml.kept_variance(0.3))),
    "gated": ml.serial(ml.gated("silu", 1.5, 0.1), ml.rms_norm(), ml.gated("sigmoid", 2.0)),
    "averaged": ml.serial(
        ml.averaged(3, 2.0, 0.3), ml.activation("tanh"), ml.averaged(4, 1.5, corrected=True)
    ),
    "both_signs": ml.repeat(ml.both_signs("gelu", 2.2, 0.1), 3),
    "looks_linear": ml.repeat(ml.looks_linear("tanh", 0.9, 0.1), 3),
    "attention": ml.residual(ml.attention(tokens=2, value_var=0.8)),
}


@pytest.mark.parametrize("name", FINITE)
def test_finite_networks(name: str) -> None:
    q = (1.0, 1.0) if name == "attention" else (0.7, 1.9)
    agrees(FINITE[name], q, 0.4)


@pytest.mark.parametrize(
    "weights",
    [
        ensembles.LowRank(0.5), ensembles.MaskedOrthogonal(0.3), ensembles.BlockSparse(0.25),
        "orthogonal",
    ],
    ids=str,
)  # fmt: skip
def test_ensembles_of_dense_layers(weights: str | ensembles.Ensemble) -> None:
    """Nait Saada et al. 2024: the maps of Gaussian weights, in networks that draw the ensemble."""
    layer = ml.repeat(ml.serial(ml.activation("tanh"), ml.dense(1.8, 0.1, weights)), 2)
    gaussian = ml.repeat(ml.serial(ml.activation("tanh"), ml.dense(1.8, 0.1)), 2)
    same = [ml.propagate(each, 1.3, 0.4) for each in (layer, gaussian)]
    for one, other in zip(*(vars(trace).values() for trace in same), strict=True):
        assert isinstance(one, ml.Layer) or np.array_equal(one, other)
    agrees(layer, (0.7, 1.9), 0.4, draws=80)


def test_sparse_rotations_in_relu_layers() -> None:
    """Of laws that are even `E[relu^2]` is half the variance, at any width.

    Other means are those of Gaussian weights at widths that no network has: each rotation leaves
    3/4 of the fourth powers of two rows, which it doubles, so that they fall as `(d n)^(-1/4)`.
    """
    layer = ml.serial(ml.activation("relu"), ml.dense(1.8, 0.1, ensembles.SparseOrthogonal(0.1)))
    expected = ml.propagate(ml.repeat(layer, 2), 1.3).variance[-1:]

    def squares(width: int, rng: np.random.Generator) -> np.ndarray:
        x = pair(width, (1.3, 1.3), 0.0, rng)[:1]
        return np.array([np.mean(ml.repeat(layer, 2).sample(x, rng) ** 2)])

    check_within_3_standard_errors(at_infinite_width(squares, 40, 100), expected)


def test_finite_layers_draw_their_ensemble() -> None:
    rng = np.random.default_rng(0)

    def matrix(weights: str | ensembles.Ensemble) -> np.ndarray:
        return ml.dense(2.0, weights=weights).sample(np.eye(60), rng).T

    assert np.linalg.matrix_rank(matrix(ensembles.LowRank(0.25))) == 15
    sparse = matrix(ensembles.SparseOrthogonal(0.2))
    np.testing.assert_allclose(sparse @ sparse.T, 2 * np.eye(60), atol=1e-12)
    assert 0.2 <= np.mean(sparse != 0) < 0.24
    assert len(np.unique(matrix(ensembles.BlockSparse(0.2)) != 0, axis=0)) == 5
    assert np.max(np.abs(matrix("uniform"))) <= math.sqrt(3 * 2 / 60)


@pytest.mark.parametrize(
    ("phi", "exponent"),
    [("relu", 1.0), ("gelu", 1.0720), ("tanh", 1.1778), ("silu", 1.0666), ("erf", 1.2257),
     ("sin", 1.3130), ("elu", 1.0359)],
)  # fmt: skip
def test_layer_norm_and_skip_grow_as_a_power(phi: str, exponent: float) -> None:
    """Doshi, He & Gromov 2023: `zeta = weight_var E[phi'^2] / (weight_var E[phi^2] + bias_var)`."""
    block = ml.residual(ml.serial(ml.layer_norm(), ml.activation(phi), ml.dense(2.0)))
    trace = ml.propagate(ml.repeat(block, 800), q=1.0)
    m = mf.Activation(phi).moments(np.ones(1)).value[0]
    assert round(m[3] / m[1], 4) == exponent  # to the printed digits
    assert trace.exponent == pytest.approx(exponent, abs=1.5 / 400)  # of O(1/l)
    assert trace.verdict is ml.TraceVerdict.GROWS


@given(scale=st.floats(1e-3, 1e3), c=st.floats(-0.9, 0.99))
def test_norms_forget_the_scale(scale: float, c: float) -> None:
    one, other = (ml.propagate(ml.layer_norm(), q, c) for q in (1.0, scale))
    assert one.variance[-1] == other.variance[-1] == 1
    assert other.one_minus[-1] == pytest.approx(1 - c, rel=1e-14)
    assert other.gradient[-1] == pytest.approx(1 / scale, rel=1e-14)


def test_batch_norm_of_infinitely_many() -> None:
    """Gradients of ReLU grow by `pi / (pi - 1)`, whatever the weights; in general by
    `E[phi'^2] / Var(phi)`."""
    for phi in ("relu", "tanh", "gelu"):
        layer = ml.serial(ml.batch_norm(), ml.activation(phi), ml.dense(0.7, 0.3))
        trace = ml.propagate(ml.repeat(layer, 4), q=2.0, correlation=0.3)
        m = mf.Activation(phi).moments(np.ones(1)).value[0]
        expected = m[3] / (m[1] - m[0] ** 2)
        assert trace.partial_jacobian(3, 4) == pytest.approx(expected, rel=1e-12)
    relu = ml.serial(ml.batch_norm(), ml.activation("relu"), ml.dense(9.0))
    growth = ml.propagate(ml.repeat(relu, 4), q=1.0, correlation=0.3).partial_jacobian(3, 4)
    assert round(float(growth), 5) == 1.46694
    assert growth == pytest.approx(math.pi / (math.pi - 1), rel=1e-12)


@pytest.mark.parametrize("batch", [8, 24])
def test_batch_norm_of_a_batch(batch: int) -> None:
    """ReLU, finite networks with tangents: the correlation between inputs and the growth."""
    layer = ml.serial(ml.batch_norm(batch), ml.activation("relu"), ml.dense(2.0))
    trace = ml.propagate(ml.repeat(layer, 4), q=1.0, correlation=0.0)

    def measured(width: int, rng: np.random.Generator) -> np.ndarray:
        x, dx = rng.normal(size=(2, batch, width))
        sizes = []
        for _ in range(4):
            x, dx = x - np.mean(x, axis=0), dx - np.mean(dx, axis=0)
            deviation = np.sqrt(np.mean(x**2, axis=0))
            u = x / deviation
            du = (dx - u * np.mean(u * dx, axis=0)) / deviation
            weights = rng.normal(size=(width, width)) * math.sqrt(2 / width)
            x, dx = np.maximum(u, 0) @ weights, (u > 0) * du @ weights
            sizes.append(np.mean(dx**2))
        square = np.mean(x**2)
        product = (np.mean(np.sum(x, axis=0) ** 2) / batch - square) / (batch - 1) / square
        return np.array([math.log(sizes[3] / sizes[1]) / 2, product])

    expected = [math.log(trace.partial_jacobian(3, 4)), trace.correlation[-1]]
    found = at_infinite_width(measured, 128, 40)
    check_within_3_standard_errors(found, np.array(expected), power=0.1)


def test_layer_norm_behind_a_small_batch() -> None:
    """Units on a sphere: `E[relu(u)]` is not that of Gaussian ones, and LayerNorm takes it away."""
    batch = 6
    layer = ml.serial(ml.batch_norm(batch), ml.activation("relu"), ml.layer_norm(), ml.dense(1.3))
    trace = ml.propagate(layer, 1.0, 0.3)

    def products(width: int, rng: np.random.Generator) -> np.ndarray:
        x = math.sqrt(0.3) * rng.normal(size=width) + math.sqrt(0.7) * rng.normal(
            size=(batch, width)
        )
        y = layer.sample(x, rng)
        size = np.mean(y**2)
        return np.array([size, (batch * np.mean(np.mean(y, axis=0) ** 2) - size) / (batch - 1)])

    expected = trace.variance[-1] * np.array([1, trace.correlation[-1]])
    check_within_3_standard_errors(at_infinite_width(products, 80, 150), expected)
    # of five independent directions: U has the mean of |cos| over a sphere of 5 dimensions
    u = np.random.default_rng(0).normal(size=(10**5, batch))
    u -= np.mean(u, axis=1, keepdims=True)
    u /= np.sqrt(np.mean(u**2, axis=1, keepdims=True))
    mean = ml.serial(ml.batch_norm(batch), ml.activation("relu"))(start(1.0, 0.3)).mean[0]
    assert mean == pytest.approx(np.mean(np.maximum(u, 0)), abs=3 * 0.6 / math.sqrt(1e5))


def test_dropout_has_no_edge_of_chaos() -> None:
    """At every weight variance two inputs end apart: `c* = keep R(c*)` for ReLU."""
    for weight_var in (1.0, 2.0, 3.0):
        layer = ml.serial(ml.activation("relu"), ml.dropout(0.3), ml.dense(weight_var))
        c = ml.propagate(ml.repeat(layer, 200), 1.0, 1.0).correlation[-1]
        mapped = mf.correlation_map(mf.Network("relu", 2.0))(c)
        assert c == pytest.approx(0.7 * mapped, abs=1e-12) and c < 0.5


def test_kept_variance() -> None:
    """Shares of theory, and of a million Gaussians cut by magnitude."""
    expected = {0.5: 0.9287, 0.2: 0.6498, 0.1: 0.4393, 0.05: 0.2791, 0.01: 0.0845}
    weights = np.sort(np.abs(np.random.default_rng(0).normal(size=10**6)))[::-1]
    for keep, share in expected.items():
        found = ml.kept_variance(keep)
        assert found == pytest.approx(share, abs=5e-5)
        sampled = np.sum(weights[: int(keep * 10**6)] ** 2) / 10**6
        assert found == pytest.approx(sampled, abs=5 * math.sqrt(2e-6))
    assert ml.kept_variance(0.3, by="random") == 0.3 and ml.kept_variance(1.0) == 1.0


# Tseran & Montufar 2023, table 1, and orders of normal samples in closed form
@pytest.mark.parametrize(
    ("rank", "second", "fourth", "at_zero"),
    [
        (1, 1.0, 3.0, 0.0),
        (2, 1.0, 3.0, 1 / math.pi),
        (3, 1 + math.sqrt(3) / (2 * math.pi), 4.194546, 0.56143),
        (4, 1 + math.sqrt(3) / math.pi, 5.389092, 0.68304),
        (5, 1.800020, 6.523395, 0.75137),
    ],
)
def test_maxout(rank: int, second: float, fourth: float, at_zero: float) -> None:
    m1, m2, m4 = ml.maxout_moments(rank)
    assert round(1 / m2, 6) == [1.0, 1.0, 0.783905, 0.644609, 0.555549][rank - 1]
    assert m2 == pytest.approx(second, rel=1e-6 if rank == 5 else 1e-13)
    assert m4 == pytest.approx(fourth, rel=3e-7)
    trace = ml.propagate(ml.maxout(rank), 1.0, 0.0)
    assert trace.variance[-1] == pytest.approx(1.0, rel=1e-14)
    assert trace.correlation[-1] == pytest.approx(m1**2 / m2, abs=1e-13)
    assert trace.correlation[-1] == pytest.approx(at_zero, abs=1e-5)
    # small differences shrink by weight_var: rank 2 is critical, above is ordered
    near = ml.propagate(ml.maxout(rank), 1.0, 1 - 2.0**-40).one_minus[-1] * 2.0**40
    assert near == pytest.approx(1 / m2, rel=1e-5)


@given(c=st.floats(-1, 1))
def test_maxout_of_two(c: float) -> None:
    """`max(x, y) = (x + y)/2 + |x - y|/2`: half linear, half the dual of the absolute value."""
    found = ml.propagate(ml.maxout(2), 1.0, c).correlation[-1]
    dual = 2 / math.pi * (math.sqrt(1 - c * c) + c * math.asin(c))
    assert found == pytest.approx((c + dual) / 2, abs=1e-13)


def test_gated_units_of_linear_gates() -> None:
    """`u v` of two independent Gaussians: `K' = K^2`, gradients by `2 K`."""
    trace = ml.propagate(ml.gated("identity", 1.0), [1.0, 3.0], np.array([[1, 0.5], [0.5, 1]]))
    np.testing.assert_allclose(trace.variance[-1], [1.0, 9.0], rtol=1e-14)
    assert trace.correlation[-1][0, 1] == pytest.approx(0.25, abs=1e-14)
    np.testing.assert_allclose(trace.gradient[-1], [2.0, 6.0], rtol=1e-14)


def test_convolution_modes() -> None:
    """One layer of the exact covariance of a circle, mode by mode, and a finite one."""
    n, k = 8, 3
    image = 0.5 * np.cos(2 * np.pi * np.subtract.outer(np.arange(n), np.arange(n)) * k / n) + 0.5
    layer = ml.convolution(kernel=5, weight_var=1.4, bias_var=0.2)
    trace = ml.propagate(layer, np.ones(n), image)
    covariance = trace.correlation[-1] * 1.6
    # the covariance K_(a)(b) depends on a - b alone: a shift of both changes nothing
    np.testing.assert_allclose(covariance, 1.4 * image + 0.2, rtol=1e-13)
    # a covariance that varies along the diagonal is multiplied by lambda_k
    ripple = 1 + 0.3 * np.cos(2 * np.pi * np.arange(n) / n)
    after = ml.propagate(layer, ripple, np.eye(n)).variance[-1]
    modes = ml.fourier_modes(layer, n)
    np.testing.assert_allclose(after, 1.6 + 1.4 * modes[1] * (ripple - 1), rtol=1e-13)
    assert np.all(ml.fourier_modes(ml.convolution(3, 1.0, weights="delta-orthogonal"), n) == 1)


@pytest.mark.parametrize(
    ("image", "weights"),
    [
        (None, "gaussian"), ((2, 3), "gaussian"), (None, "delta-orthogonal"),
        ((2, 3), "delta-orthogonal"), ((2, 3), "orthogonal"),
    ],
)  # fmt: skip
def test_convolution_of_finite_width(
    image: tuple[int, int] | None, weights: str | ensembles.Ensemble
) -> None:
    n = 6
    layer = ml.serial(
        ml.convolution(3, 1.5, 0.1, weights, image), ml.activation("tanh"),
        ml.convolution(3, 1.2, weights=weights, image=image),
    )  # fmt: skip
    q = 1 + 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    trace = ml.propagate(layer, q, np.eye(n))
    size = np.sqrt(trace.variance[-1])
    expected = size[:, None] * size * trace.correlation[-1]

    def summary(covariance: np.ndarray) -> np.ndarray:
        """Mean squares, and mean products at each distance."""
        apart = [np.mean(np.diagonal(covariance, k)) for k in range(1, n)]
        return np.array([*np.diagonal(covariance), *apart])

    def products(width: int, rng: np.random.Generator) -> np.ndarray:
        basis = np.linalg.qr(rng.normal(size=(width, n)))[0].T * math.sqrt(width)
        x = layer.sample(np.sqrt(q)[:, None] * basis, rng)
        return summary(x @ x.T / width)

    found = at_infinite_width(products, 50, 120, seed=1)
    check_within_3_standard_errors(found, summary(expected))


def test_convolution_in_the_plane() -> None:
    """`K'_ab = weight_var sum_d v_d K_(a+d)(b+d) + bias_var`, written out position by position."""
    rng, sizes, kernel = np.random.default_rng(0), (4, 3), (3, 5)
    n = 12
    root = rng.normal(size=(n, 20))
    K = root @ root.T / 20
    q = np.diag(K)
    c = K / np.sqrt(np.outer(q, q))
    c = 0.5 * (c + c.T)
    np.fill_diagonal(c, 1.0)
    layer = ml.convolution(kernel, 1.4, 0.2, image=sizes)
    trace = ml.propagate(layer, q, c)
    expected = np.full((n, n), 0.2)
    place = [(a // 3, a % 3) for a in range(n)]
    for a, (a1, a2) in enumerate(place):
        for b, (b1, b2) in enumerate(place):
            for d1 in (-1, 0, 1):
                for d2 in (-2, -1, 0, 1, 2):
                    one = (a1 + d1) % 4 * 3 + (a2 + d2) % 3
                    two = (b1 + d1) % 4 * 3 + (b2 + d2) % 3
                    expected[a, b] += 1.4 / 15 * K[one, two]
    np.testing.assert_allclose(trace.variance[-1], np.diag(expected), rtol=1e-13)
    size = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        trace.correlation[-1], expected / np.outer(size, size), rtol=1e-12, atol=1e-13
    )
    plane, row = ml.fourier_modes(layer), ml.fourier_modes(ml.convolution(3, 1.0), 4)
    column = ml.fourier_modes(ml.convolution(5, 1.0), 3)
    np.testing.assert_allclose(plane, np.outer(row, column), atol=1e-15)


@pytest.mark.parametrize("chi1", [1.0, 0.8])
def test_modes_fall_with_their_depth_scales(chi1: float) -> None:
    """Tanh at its fixed point: a small ripple of each mode is multiplied by `chi1 lambda_k`.

    In the correlations at a fixed distance, with variances as they are: those change by `V'`.
    """
    q = 0.8
    m = mf.Activation("tanh").moments(np.array([q])).value[0]
    weight_var = chi1 / m[3]
    sizes, n = (3, 4), 12
    filters = ml.convolution((3, 3), weight_var, q - weight_var * m[1], image=sizes)
    layer = ml.serial(ml.activation("tanh"), filters)
    scales = ml.mode_depth_scales(filters, float(chi1))
    assert scales.shape == sizes and (scales[0, 0] == math.inf) == (chi1 == 1.0)
    first, second = np.divmod(np.arange(n), 4)
    for mode in ((0, 1), (1, 1), (1, 2)):
        wave = np.cos(2 * np.pi * (mode[0] * first / 3 + mode[1] * second / 4))
        partner = (first * 4 + (second + 1) % 4).astype(int)
        gap = np.zeros((n, n))
        for a in range(n):
            gap[a, partner[a]] = gap[partner[a], a] = 1e-9 * (1 + 0.5 * wave[a])
        others = (gap == 0) & ~np.eye(n, dtype=bool)
        gap[others] = 1e-9
        state = replace(start(np.full(n, q), np.eye(n)), one_minus=gap)
        before = gap[np.arange(n), partner]
        after = layer(state).one_minus[np.arange(n), partner]
        factor = (after @ wave) / (before @ wave)
        expected = chi1 * ml.fourier_modes(filters)[mode]
        assert factor == pytest.approx(expected, abs=1e-6)
        assert scales[mode] == pytest.approx(-1 / math.log(abs(expected)), rel=1e-12)


BAD = [
    (lambda: ml.dropout(1.0), "rate: must be in"),
    (lambda: ml.kept_variance(0.0), "keep: must be in"),
    (lambda: ml.kept_variance(0.5, by="size"), "by: must be"),
    (lambda: ml.maxout(0), "rank: must be"),
    (lambda: ml.convolution(4, 1.0), "kernel: must be an odd number"),
    (lambda: ml.convolution(3, 1.0, weights="haar"), "weights: must be"),
    (lambda: ml.dense(1.0, weights="low-rank"), "weights: must be"),
    (
        lambda: ml.convolution(3, 1.0, weights=ensembles.SparseOrthogonal(0.5)),
        "weights: .* square",
    ),
    (lambda: ml.batch_norm(3), "batch: must be above 3"),
    (lambda: ml.propagate(ml.batch_norm(16)), "batch_norm: needs inputs"),
    (
        lambda: ml.propagate(ml.serial(ml.batch_norm(16), ml.activation("tanh")), 1.0, 0.1),
        "behind a batch norm of 16 inputs",
    ),
    (lambda: ml.propagate(ml.layer_norm(), q=0.0), "norm: a signal of variance 0"),
    (
        lambda: ml.propagate(ml.serial(ml.dense(1e200), ml.dense(1e200), ml.rms_norm())),
        "norm: the signal has grown beyond float64",
    ),
    (
        lambda: ml.propagate(ml.serial(ml.dense(1e200), ml.dense(1e200), ml.batch_norm(8)), 1, 0.1),
        "norm: the signal has grown beyond float64",
    ),
    (lambda: ml.averaged(0, 1.0), "models: must be at least 1"),
    (lambda: ml.both_signs().sample(np.ones((1, 3)), np.random.default_rng(0)), "both_signs: "),
    (
        lambda: ml.propagate(ml.serial(ml.activation(np.ones_like), ml.layer_norm())),
        "norm: .* as good as constant",
    ),
    (lambda: ml.convolution((3, 3), 1.0), "image: a kernel of 2 axes"),
    (lambda: ml.convolution(3, 1.0, image=(0, 2)), "image: must have a size"),
    (
        lambda: ml.propagate(ml.convolution(3, 1.0, image=(2, 2)), np.ones(5)),
        "convolution: its image of 2 x 2 has 4 positions, but there are 5",
    ),
    (lambda: ml.fourier_modes(ml.convolution(3, 1.0)), "positions: must be a size"),
    (lambda: ml.mode_depth_scales(ml.convolution(3, 1.0), -1.0, 4), "chi1: must be >= 0"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_input(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_sums_of_units_of_a_batch_are_not_gaussian() -> None:
    batch = 0.2 * np.ones((4, 4)) + 0.8 * np.eye(4)
    sums = ml.serial(ml.batch_norm(4), ml.residual(ml.dense(0.5)), ml.activation("tanh"))
    with pytest.raises(ValueError, match="Gaussian"):
        ml.propagate(sums, 1.0, batch)
