"""Architectures: composed maps against those of plain networks, closed forms, finite networks."""

import math
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

import meanfield as mf
import meanfield.layers as ml
from finite import at_infinite_width, check_within_3_standard_errors
from meanfield.bivariate import Covariance
from meanfield.layers.zoomed import far_apart

BRANCH = ml.serial(ml.dense(1.5, 0.1), ml.activation("gelu"), ml.dense(1.0))
RELU_BRANCH = ml.serial(ml.dense(2.0), ml.activation("relu"), ml.dense(1.0))


@pytest.mark.parametrize("phi", ["tanh", "gelu", "relu", "hard_tanh"])
@pytest.mark.parametrize(("q", "c0"), [(0.6, 0.3), (2.0, -0.4)])
def test_a_dense_stack_is_the_plain_network(phi: str, q: float, c0: float) -> None:
    network = mf.Network(phi, weight_var=1.8, bias_var=0.05)
    layer = ml.serial(ml.activation(phi), ml.dense(1.8, 0.05))
    trace = ml.propagate(ml.repeat(layer, 12), q, c0)
    V = mf.variance_map(network).iterate(q, 12)
    C = mf.correlation_map(network, q=q).iterate(c0, 12)
    np.testing.assert_allclose(trace.variance, V.variance, rtol=1e-13)
    np.testing.assert_allclose(trace.one_minus, C.one_minus, rtol=3e-13)
    slopes = mf.Activation(phi).moments(trace.variance[:-1]).value[:, 3]
    np.testing.assert_allclose(trace.gradient[1:], np.cumprod(1.8 * slopes), rtol=1e-13)


@given(
    scale=st.floats(0.01, 2), first=st.floats(0.1, 3), last=st.floats(0.1, 3), q=st.floats(0.1, 9)
)
def test_relu_branches_grow_by_a_factor(scale: float, first: float, last: float, q: float) -> None:
    """`1 + s^2 sw^2 sv^2 / 2` per block, signal and gradient (Yang & Schoenholz 2017, thm 5.2)."""
    branch = ml.serial(ml.dense(first), ml.activation("relu"), ml.dense(last))
    trace = ml.propagate(ml.repeat(ml.residual(branch, scale), 20), q)
    growth = (1 + scale**2 * first * last / 2) ** np.arange(21)
    np.testing.assert_allclose(trace.variance, q * growth, rtol=1e-13)
    np.testing.assert_allclose(trace.gradient, growth, rtol=1e-13)


def test_tanh_branches_grow_linearly() -> None:
    """`p_(l+1) - p_l -> sv^2`, and the log of the gradient as `sqrt(l)`: both laws of a saturation.

    With `E[tanh'^2] ~ a / (sw sqrt(p))`, `a = (4/3) / sqrt(2 pi)`, and `p ~ sv^2 l`, gradients grow
    by `exp(2 a sw sv sqrt(l))`.
    """
    sw2, sv2 = 1.5, 0.7
    branch = ml.serial(ml.dense(sw2), ml.activation("tanh"), ml.dense(sv2))
    trace = ml.propagate(ml.repeat(ml.residual(branch), 1000), q=1.0)
    steps = trace.variance[-1] - trace.variance[-2]
    # 1 - E[tanh^2] is E[sech^2] ~ 2 / sqrt(2 pi p)
    assert steps / sv2 == pytest.approx(
        1 - 2 / math.sqrt(2 * math.pi * sw2 * trace.variance[-2]), abs=1e-3
    )
    rate = np.log(trace.gradient[1000] / trace.gradient[250]) / (math.sqrt(1000) - math.sqrt(250))
    a = 4 / 3 / math.sqrt(2 * math.pi)
    assert rate == pytest.approx(2 * a * math.sqrt(sw2 * sv2), rel=0.03)  # corrections of 1/sqrt(l)
    assert trace.verdict is ml.TraceVerdict.EXPLODES or trace.verdict is ml.TraceVerdict.GROWS


def test_gaps_keep_their_digits() -> None:
    """A stack of ReLU without biases: `1 - c ~ 9 pi^2 / (2 l^2)`, nothing lost to cancellation."""
    layer = ml.serial(ml.activation("relu"), ml.dense(2.0))
    trace = ml.propagate(ml.repeat(layer, 500), q=1.0, correlation=0.0)
    exact = mf.correlation_map(mf.Network("relu", 2.0)).iterate(0.0, 500)
    np.testing.assert_allclose(trace.one_minus, exact.one_minus, rtol=1e-11)
    assert trace.verdict is ml.TraceVerdict.COLLAPSES


def test_parallel_branches_add() -> None:
    """Variances of independent branches, and a skip connection that is one of them."""
    a, b = ml.dense(0.5, 0.2), ml.serial(ml.dense(1.0), ml.activation("erf"), ml.dense(3.0))
    both = ml.propagate(ml.parallel(ml.identity(), a, b, scales=(2.0, 1.0, 0.5)), 0.8, 0.1)
    alone = [ml.propagate(layer, 0.8, 0.1) for layer in (a, ml.serial(b))]
    expected = 4 * 0.8 + alone[0].variance[-1] + 0.25 * alone[1].variance[-1]
    assert both.variance[-1] == pytest.approx(expected, rel=1e-14)
    gaps = [trace.variance[-1] * trace.one_minus[-1] for trace in alone]
    expected = (4 * 0.8 * 0.9 + gaps[0] + 0.25 * gaps[1]) / expected
    assert both.one_minus[-1] == pytest.approx(expected, rel=1e-13)


def test_silent_branches_are_the_identity() -> None:
    """Zero-initialised last layers, as in Fixup: every block passes everything on."""
    branch = ml.serial(ml.dense(2.0), ml.activation("relu"), ml.dense(0.0))
    trace = ml.propagate(ml.repeat(ml.residual(branch), 50), q=1.3, correlation=0.2)
    assert np.all(trace.variance == 1.3) and np.all(trace.gradient == 1)
    np.testing.assert_allclose(trace.one_minus, 0.8, rtol=1e-15)
    assert trace.verdict is ml.TraceVerdict.KEPT
    assert ml.fixup_scale(64, 3) == 64**-0.25


@pytest.mark.parametrize("depth", [10, 1000])
def test_depth_scaled_branches_keep_the_signal(depth: int) -> None:
    """`(1 + 1/L)^L < e` at any depth, where scale 1 explodes."""
    block = ml.residual(RELU_BRANCH, scale=lambda depth: depth**-0.5)
    trace = ml.propagate(ml.repeat(block, depth), q=1.0)
    assert trace.variance[-1] == pytest.approx((1 + 1 / depth) ** depth, rel=1e-12)
    assert trace.verdict is ml.TraceVerdict.KEPT
    plain = ml.propagate(ml.repeat(ml.residual(RELU_BRANCH), depth), q=1.0)
    assert plain.verdict is ml.TraceVerdict.EXPLODES


@pytest.mark.parametrize("growth", [1.5, math.e, 10.0])
def test_critical_scale(growth: float) -> None:
    """ReLU: `s^2 = growth^(1/L) - 1`."""
    found = ml.critical(ml.residual(RELU_BRANCH), over="scale", depth=30, growth=growth)
    assert float(found) == pytest.approx(math.sqrt(growth ** (1 / 30) - 1), rel=1e-12)
    assert found.exponent == pytest.approx(
        0.5 * math.log2((growth ** (1 / 60) - 1) / (growth ** (1 / 30) - 1)), abs=1e-12
    )
    made = ml.critical(lambda s: ml.residual(RELU_BRANCH, s), depth=30, growth=growth)
    assert float(made) == float(found)


def test_critical_scale_that_does_not_exist() -> None:
    with pytest.raises(mf.NoCriticalPointError, match="block: .*residual branch"):
        ml.critical(RELU_BRANCH, depth=10)
    with pytest.raises(ValueError, match="over: must be 'scale', got 'width'"):
        ml.critical(ml.residual(RELU_BRANCH), over="width")
    with pytest.raises(ValueError, match="growth: "):
        ml.critical(ml.residual(RELU_BRANCH), growth=0.5)


def pair(width: int, q: tuple[float, float], c: float, rng: np.random.Generator) -> np.ndarray:
    """Two signals of exactly these mean squares and correlation."""
    basis = np.linalg.qr(rng.normal(size=(width, 2)))[0].T * math.sqrt(width)
    first, second = basis[0], c * basis[0] + math.sqrt(1 - c * c) * basis[1]
    return np.stack([math.sqrt(q[0]) * first, math.sqrt(q[1]) * second])


@pytest.mark.parametrize(
    "layer",
    [
        ml.repeat(ml.residual(BRANCH, 0.5), 4),
        # the branch ends with an activation: means of it and of the skip connection have products
        ml.repeat(ml.residual(ml.serial(ml.dense(1.0, 0.1), ml.activation("sigmoid")), 0.7), 4),
        ml.serial(
            ml.parallel(ml.dense(1.0), ml.serial(ml.dense(2.0), ml.activation("relu"))),
            ml.dense(1.2),
            ml.activation("tanh"),
        ),
    ],
    ids=["pre-activation", "post-activation", "parallel"],
)  # fmt: skip
def test_finite_networks(layer: ml.Layer) -> None:
    """Mean squares and products of finite networks, extrapolated to infinite width."""
    q, c = (1.0, 2.0), 0.3
    trace = ml.propagate(layer, q, np.array([[1, c], [c, 1]]))

    def products(width: int, rng: np.random.Generator) -> np.ndarray:
        x = layer.sample(pair(width, q, c, rng), rng)
        return np.array([np.mean(x[0] ** 2), np.mean(x[1] ** 2), np.mean(x[0] * x[1])])

    last = trace.variance[-1], trace.correlation[-1]
    expected = np.array([*last[0], last[1][0, 1] * math.sqrt(np.prod(last[0]))])
    check_within_3_standard_errors(at_infinite_width(products, 100, 200), expected)


def test_finite_gradients() -> None:
    """The averaged partial Jacobian of residual tanh, by finite differences of sampled networks."""
    layer = ml.repeat(
        ml.residual(ml.serial(ml.dense(1.5), ml.activation("tanh"), ml.dense(1.0)), 0.6), 5
    )
    expected = ml.propagate(layer, 1.0).gradient[-1:]

    def growth(width: int, rng: np.random.Generator) -> np.ndarray:
        x, seed = pair(width, (1.0, 1.0), 0.0, rng), int(rng.integers(1 << 30))
        ends = [
            layer.sample(x[:1] + sign * 1e-5 * x[1:], np.random.default_rng(seed))
            for sign in (1.0, -1.0)
        ]
        return np.array([np.mean(((ends[0] - ends[1]) / 2e-5) ** 2)])

    check_within_3_standard_errors(at_infinite_width(growth, 100, 150, seed=2), expected)


def test_exponents() -> None:
    """A gradient that grows as a power says its exponent, and the verdict says a power."""
    half = ml.propagate(
        ml.repeat(lambda k: ml.residual(ml.dense(1.0), scale=math.sqrt(0.5 / k)), 3000), q=1.0
    )
    assert half.exponent == pytest.approx(0.5, abs=1e-3)
    power = ml.propagate(
        ml.repeat(lambda k: ml.residual(ml.dense(1.0), scale=1 / math.sqrt(k)), 300)
    )
    assert power.gradient[-1] == pytest.approx(301, rel=1e-12)
    assert power.verdict is ml.TraceVerdict.GROWS


def test_many_signals_of_many_variances() -> None:
    """Hermite coefficients, where pairs are many, against the last-digit rule of each pair."""
    rng = np.random.default_rng(0)
    q = rng.uniform(0.3, 3.0, 14)
    c = np.full((14, 14), 0.4) + 0.6 * np.eye(14)
    for phi, derivative_digits in (("tanh", 1e-9), ("relu", 1e-12)):
        layer = ml.serial(ml.activation(phi), ml.dense(1.0))
        many = ml.propagate(layer, q, c)
        two = ml.propagate(layer, q[:2], c[:2, :2])
        assert many.one_minus[-1][0, 1] == pytest.approx(two.one_minus[-1][0, 1], rel=1e-9)
        assert many.error[-1] < derivative_digits


@pytest.mark.parametrize("phi", ["relu", "tanh", "gelu", "identity"])
def test_silent_and_identical_inputs(phi: str) -> None:
    """Zero has no correlation, said as `1 - c = 1`; the same input stays the same."""
    layer = ml.serial(ml.activation(phi), ml.dense(1.0))
    silent = ml.propagate(layer, 0.0, 0.5)
    assert silent.variance[-1] == 0 and silent.one_minus[-1] == 1
    assert silent.verdict is ml.TraceVerdict.KEPT
    mixed = ml.propagate(layer, [0.0, 1.0], np.array([[1, 0.5], [0.5, 1]]))
    assert mixed.one_minus[-1][0, 1] == 1 and mixed.error[-1] < 1e-13
    same = ml.propagate(ml.repeat(layer, 20), 1.0, 1.0)
    assert np.all(same.one_minus == 0) and same.error[-1] < 1e-10


def test_overflow_is_said() -> None:
    layer = ml.serial(ml.activation("relu"), ml.dense(5.0))
    for c in (None, 0.3):
        trace = ml.propagate(ml.repeat(layer, 1000), 1.0, c)
        assert trace.variance[-1] == math.inf and trace.verdict is ml.TraceVerdict.EXPLODES
    gone = ml.propagate(ml.repeat(ml.serial(ml.activation("relu"), ml.dense(0.1)), 1000), 1.0)
    assert gone.variance[-1] == 0 and gone.verdict is ml.TraceVerdict.VANISHES


def test_signals_that_die_out() -> None:
    """Far below the samples: tanh is linear there, and correlations stay."""
    layer = ml.serial(ml.activation("tanh"), ml.dense(0.1))
    trace = ml.propagate(ml.repeat(layer, 100), 1.0, 0.3)
    assert trace.verdict is ml.TraceVerdict.VANISHES
    assert trace.variance[-1] == pytest.approx(trace.variance[50] * 1e-50, rel=1e-10)
    assert trace.one_minus[-1] == pytest.approx(trace.one_minus[12], rel=1e-9)
    plain = mf.correlation_map(mf.Network("tanh", 0.1), q=1.0).iterate(0.3, 8)
    np.testing.assert_allclose(trace.one_minus[:9], plain.one_minus, rtol=1e-11)


def test_correlations_are_taken_as_rounded() -> None:
    c = -0.8180816967595096
    rounded = np.full((2, 2), c) + (1 - c) * np.eye(2)
    assert rounded[0, 0] != 1
    assert ml.propagate(ml.dense(1.0), 1.0, rounded).one_minus[-1][0, 1] == 1 - c


def test_one_signal_of_an_array() -> None:
    trace = ml.propagate(ml.dense(2.0), np.array([1.5]))
    assert trace.variance[-1] == 3 and "none" in repr(trace)


BAD = [
    (lambda: ml.propagate(ml.serial(ml.activation("relu"), ml.activation("relu"))), "not Gaussian"),
    (lambda: ml.propagate(ml.residual(ml.activation("relu"))), "no dense layer"),
    (lambda: ml.propagate(ml.residual(RELU_BRANCH, scale=lambda depth: 0.1)), "scale: .*depth"),
    (lambda: ml.propagate(ml.dense(1.0), q=-1.0), "q: "),
    (lambda: ml.propagate(ml.dense(1.0), correlation=1.5), r"correlation: must be .*\[-1, 1\]"),
    (lambda: ml.propagate(ml.dense(1.0), q=np.ones(3), correlation=np.eye(2)), "q, correlation: "),
    (lambda: ml.dense(-1.0), "weight_var: "),
    (lambda: ml.repeat(RELU_BRANCH, 0), "times: must be at least 1"),
    (lambda: ml.parallel(RELU_BRANCH, scales=(1.0, 2.0)), "scales: "),
    (lambda: ml.residual(RELU_BRANCH, scale=math.nan), "scale: must be a finite number"),
    (
        lambda: ml.repeat(ml.residual(RELU_BRANCH, scale=lambda depth: math.nan), 2),
        "scale: must be a finite number",
    ),
    (lambda: ml.residual(RELU_BRANCH, scale=cast(Any, np.ones(2))), "scale: must be a finite"),
    (
        lambda: ml.propagate(ml.dense(1.0), np.ones(3), 1.75 * np.eye(3) - 0.75),
        "correlation: .* negative eigenvalues",
    ),
    (lambda: ml.critical(ml.residual(RELU_BRANCH), depth=0), "depth: must be at least 1"),
    (lambda: ml.critical(ml.residual(RELU_BRANCH), q=0.0), "q: must be above 0"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_input(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_types() -> None:
    for make in (
        lambda: ml.serial(cast(Any, "relu")),
        lambda: ml.repeat(RELU_BRANCH, cast(Any, 2.5)),
        lambda: ml.residual(RELU_BRANCH, cast(Any, "small")),
        lambda: ml.residual(RELU_BRANCH, cast(Any, 1j)),
        lambda: ml.critical(ml.residual(RELU_BRANCH), depth=cast(Any, 2.5)),
        lambda: ml.fixup_scale(cast(Any, 2.5)),
        lambda: ml.maxout(cast(Any, 2.0)),
        lambda: ml.averaged(cast(Any, 2.0), 1.0),
    ):
        with pytest.raises(TypeError):
            make()


def test_prints_and_draws() -> None:
    trace = ml.propagate(ml.repeat(ml.residual(RELU_BRANCH, 0.1), 30), q=1.0, correlation=0.3)
    assert "1 to 1.34785" in repr(trace) and str(trace.verdict) in repr(trace)
    ax = trace.plot()
    assert len(ax.lines) == 3 and ax.get_xlabel() and len(ax.get_legend().get_texts()) == 3
    np.testing.assert_allclose(ax.lines[0].get_ydata(), trace.variance, rtol=1e-12)


@pytest.mark.parametrize("phi", ["gelu", "softplus"])
def test_pairs_of_exploding_signals(phi: str) -> None:
    """Beyond 1e60, from afar, both are ReLU; what overflows is inf, or not known."""
    layer = ml.serial(ml.activation(phi), ml.dense(1e40))
    trace = ml.propagate(ml.repeat(layer, 10), 1.0, 0.3)
    relu = mf.correlation_map(mf.Network("relu", 2.0))
    finite = int(np.argmax(np.isinf(trace.variance)))
    assert trace.variance[finite - 1] > 1e200 and trace.verdict is ml.TraceVerdict.EXPLODES
    for before, after in zip(trace.one_minus[2:], trace.one_minus[3:finite], strict=False):
        assert after == pytest.approx(relu.complement(before), rel=1e-11)
    assert trace.gradient[finite - 1] / trace.gradient[finite - 2] == pytest.approx(5e39, rel=1e-9)
    block = ml.residual(ml.serial(ml.activation(phi), ml.dense(1e40)))
    assert ml.propagate(ml.repeat(block, 10), 1.0, 0.3).variance[-1] == math.inf


@pytest.mark.parametrize("phi", ["soft_threshold", "hard_tanh", "sign", "tanh"])
@pytest.mark.parametrize("q", [0.02, 1.0])
@pytest.mark.parametrize("c", [0.5, 1 - 1e-8])
def test_many_signals_of_nearly_one_variance(phi: str, q: float, c: float) -> None:
    """They are those of one variance, within the error that is said; kinks far out included."""
    n, apart = 14, 1e-12
    ones = np.ones((n, n))
    many = ml.propagate(
        ml.activation(phi), q * (1 + apart * np.arange(n)), c * ones + (1 - c) * np.eye(n)
    )
    one = ml.propagate(ml.activation(phi), q, c).one_minus[-1]
    found = many.one_minus[-1][0, 1:]
    of_variance = math.sqrt(n * apart) if phi == "sign" else 1e3 * n * apart
    largest = np.max(many.one_minus[-1])
    assert np.all(np.abs(found - one) <= many.error[-1] * largest + of_variance * one)
    if phi != "sign":  # whose series of Hermite polynomials says so
        assert many.error[-1] < (1e-9 if c == 0.5 else 1e-3)


def test_pairs_of_sizes_far_apart() -> None:
    """Near 0 `phi` is linear, far out a step or ReLU: closed forms of normal pairs."""
    c = 0.3
    pairs = np.array([[1, c], [c, 1]])
    linear_step, steps = c * math.sqrt(2 / math.pi), 2 / math.pi * math.asin(c)
    relu = mf.correlation_map(mf.Network("relu", 2.0))(c)
    expected = [
        ("tanh", [1e-40, 1e70], linear_step), ("erf", [1e-20, 1e50], linear_step),
        ("tanh", [1e31, 1e61], steps), ("gelu", [1e30, 1e90], relu),
        ("gelu", [1e-40, 1e70], c / math.sqrt(2)), ("gelu", [1e-12, 1e-40], c),
    ]  # fmt: skip
    for phi, q, correlation in expected:
        trace = ml.propagate(ml.activation(phi), q, pairs)
        assert trace.correlation[-1][0, 1] == pytest.approx(correlation, abs=1e-11)
        assert trace.error[-1] < 1e-10
    # E[tanh(u) sign(v)] as one integral
    q = 1e5

    def integrand(x: float) -> float:
        of_sign = math.erf(c * x / math.sqrt(2 * (1 - c * c)))
        return 2 * math.tanh(math.sqrt(q) * x) * of_sign * math.exp(-x * x / 2)

    whole = quad(integrand, 0, 12, points=[0.003, 0.03, 0.3], epsabs=1e-14, limit=300)[0]
    second = mf.Activation("tanh").moments(np.array([q])).value[0, 1]
    found = ml.propagate(ml.activation("tanh"), [q, 1e59], pairs).correlation[-1][0, 1]
    assert found == pytest.approx(whole / math.sqrt(2 * math.pi * second), abs=1e-12)


@pytest.mark.parametrize("phi", ["gelu", "hard_tanh", "softplus"])
@pytest.mark.parametrize("derivative", [False, True])
def test_far_apart_is_the_rule_of_pairs(phi: str, derivative: bool) -> None:
    activation, q, g = mf.Activation(phi), (0.01, 1e3), np.array([0.1, 0.9, 1.6])
    covariance = Covariance(activation, q, derivative)
    product = covariance.second_moment - covariance.difference(g).value
    value, error = far_apart(activation, q, g, derivative)
    if not derivative:
        product = 1 - product / math.sqrt(np.prod(covariance.moments[0]))
    np.testing.assert_allclose(value, product, rtol=1e-10)
    assert np.all(error < 1e-11)
