"""The correlation map: closed forms, fixed points, trajectories, laws, finite networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import acos, mp, mpf, pi, sin

import meanfield as mf
from references import load_reference

RELU = mf.Network("relu", weight_var=2.0)
TANH = mf.Network("tanh", weight_var=2.25, bias_var=0.0025)
CORRELATIONS = np.array([-1.0, -0.7, 0.0, 0.4, 0.999, 1.0])


def relu(c):
    angle = np.arccos(c)
    return (np.sin(angle) + (np.pi - angle) * c) / np.pi


def test_relu_is_the_arc_cosine_kernel() -> None:
    C = mf.correlation_map(RELU)  # every q is a fixed point: it takes 1
    assert C.q == 1.0
    np.testing.assert_allclose(C(CORRELATIONS), relu(CORRELATIONS), atol=2e-14)
    np.testing.assert_allclose(
        C.slope(CORRELATIONS), 1 - np.arccos(CORRELATIONS) / np.pi, atol=2e-14
    )
    inner = CORRELATIONS[1:-1]
    np.testing.assert_allclose(C.curvature(inner), 1 / (np.pi * np.sqrt(1 - inner**2)), rtol=2e-12)
    assert C.curvature(1.0) == np.inf


def test_erf_is_the_arc_sine_kernel() -> None:
    q, bias_var = 0.8, 0.1
    scale = 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q))
    C = mf.correlation_map(mf.Network("erf", (q - bias_var) / scale, bias_var))
    assert C.q == pytest.approx(q, rel=1e-13)
    kernel = 2 / np.pi * np.arcsin(2 * q * CORRELATIONS / (1 + 2 * q))
    expected = (C.network.weight_var * kernel + bias_var) / q
    np.testing.assert_allclose(C(CORRELATIONS), expected, atol=5e-14)


@pytest.mark.parametrize("gap", [1.0, 1e-3, 1e-8, 1e-12, 1e-30])
def test_complement_keeps_its_relative_precision(gap: float) -> None:
    with mp.workdps(80):
        angle = acos(1 - mpf(gap))
        expected = 1 - (sin(angle) + (pi - angle) * (1 - mpf(gap))) / pi
    found = mf.correlation_map(RELU).complement(gap)
    assert found == pytest.approx(float(expected), rel=1e-13)


@pytest.mark.parametrize("phi", ["tanh", "crelu", "gelu", "step", "softplus", "sin"])
@pytest.mark.parametrize("q", [0.3, 2.0])
def test_one_is_a_fixed_point_whose_slope_is_chi1(phi: str, q: float) -> None:
    """Also off the fixed point of the variance, where `C'(1)` is `chi1 q / V(q)`."""
    activation = mf.Activation(phi)
    network = mf.Network(activation, weight_var=1.7, bias_var=0.2)
    C = mf.correlation_map(network, q)
    moments = activation.moments(np.array([q])).value[0]
    chi1 = 1.7 * moments[3]
    assert C(1.0) == 1.0 and C.complement(0.0) == 0.0
    if phi == "step":
        assert C.slope(1.0) == np.inf
    else:
        assert C.slope(1.0) == pytest.approx(chi1 * q / mf.variance_map(network)(q), rel=1e-13)


def test_jumps_have_no_curvature_and_infinite_slope() -> None:
    C = mf.correlation_map(mf.Network("sign", weight_var=1.0), q=1.0)
    c = np.array([-0.6, 0.1, 0.9])
    np.testing.assert_allclose(C.slope(c), 2 / (np.pi * np.sqrt(1 - c * c)), rtol=1e-11)
    with pytest.raises(ValueError, match="jumps"):
        C.curvature(0.5)
    assert C.fixed_point().correlation == pytest.approx(0.0, abs=1e-14)  # C(c) = 2 asin(c) / pi


def references() -> list:
    return [r for r in load_reference("fixedpoints")["records"]]


@pytest.mark.parametrize("record", references(), ids=lambda r: r["label"])
def test_fixed_points_of_the_reference(record) -> None:
    from test_fixed_points import network_of

    for point in record["fixed_points"]:
        if point.get("c_star") is None:
            continue
        C = mf.correlation_map(network_of(record), float(point["q"]))
        found = C.fixed_point()
        # beside the edge of chaos c* moves by (rounding of q) / |1 - slope|
        slope = float(point["R1_at_c_star"])
        slack = 1e-14 / max(abs(1 - slope), 1e-7)
        assert abs(float(found) - float(point["c_star"])) <= found.error + slack
        assert found.slope == pytest.approx(slope, abs=found.slope_error + 10 * slack)
        if slope not in (1.0,):
            assert found.depth_scale == pytest.approx(float(point["xi_c"]), rel=1e-6)


def test_fixed_point_of_odd_activations_without_bias_is_zero() -> None:
    point = mf.correlation_map(mf.Network("tanh", weight_var=1.69)).fixed_point()
    assert point.correlation == pytest.approx(0.0, abs=point.error) and point.one_minus == 1.0


def test_barely_chaotic() -> None:
    """`chi1 = 1 + e` with kinks: `s sqrt(g) = e`, far below the rounding of `c`."""
    e = 1e-9
    critical = mf.critical("crelu", q=1.0)
    network = mf.Network("crelu", critical.weight_var * (1 + e), critical.bias_var)
    C = mf.correlation_map(network, q=mf.correlation_map(network).q)
    law = mf.correlation_map(critical).decay
    assert law.kind == "kink"
    found = C.fixed_point()
    size = C.slope(1.0) - 1
    assert found.one_minus == pytest.approx(size**2 * law.coefficient / 4, rel=1e-5)


def test_trajectory_is_the_map_over_and_over() -> None:
    C = mf.correlation_map(TANH)
    found = C.iterate([-0.9, 0.3, 1.0], depth=20)
    assert found.correlation.shape == (21, 3) and len(found) == 21
    c = np.array([-0.9, 0.3, 1.0])
    for layer in range(21):
        np.testing.assert_allclose(found[layer], c, atol=2e-13)
        c = C(c)
    np.testing.assert_array_equal(np.asarray(found), found.correlation)
    np.testing.assert_allclose(found.variance, C.q, rtol=1e-15)


@pytest.mark.parametrize(
    ("network", "q", "depth"),
    [(TANH, 3.0, 6), (TANH, 3.0, 80), (mf.Network("relu", 1.5, 0.1), 5.0, 60),
     (TANH, (3.0, 0.1), 6)],
)  # fmt: skip
def test_variances_evolve_along(network: mf.Network, q, depth: int) -> None:
    found = mf.correlation_map(network, q).iterate(0.6, depth)
    V, c = mf.variance_map(network), 0.6
    for layer in range(6):
        np.testing.assert_allclose(found.variance[layer], q, rtol=1e-12)
        assert found[layer] == pytest.approx(c, abs=1e-12)
        c = mf.correlation_map(network, q)(c)
        q = tuple(V(x) for x in q) if isinstance(q, tuple) else V(q)


def test_deep_relu() -> None:
    """`1 - c_l -> 44.413 / l^2`; at 10^6 layers what one changes is below the rounding of `c`."""
    C = mf.correlation_map(RELU)
    law = C.decay
    assert law.kind == "kink" and law.power == 2
    assert law.coefficient == pytest.approx(9 * np.pi**2 / 2, rel=1e-12)  # (2 sqrt 2 / 3 pi)^-2 4
    found = C.iterate(0.3, depth=1_000_000)
    # the next term is of relative size log(l) / l
    assert found.one_minus[-1] * 1e12 == pytest.approx(law.coefficient, rel=1e-4)
    # a layer less is 1 / l of it, which must show
    assert found.one_minus[-2] / found.one_minus[-1] - 1 == pytest.approx(2e-6, rel=1e-3)


def test_smooth_decay() -> None:
    C = mf.correlation_map(mf.critical("erf", q=1.0))
    law = C.decay
    q = 1.0  # C = (asin(2 q c / (1 + 2 q)) sw2 2/pi + sb2) / q
    assert law.kind == "smooth" and law.power == 1
    sine = 2 * q / (1 + 2 * q)
    weight_var = np.pi * np.sqrt(1 + 4 * q) / 4
    curvature = weight_var * 2 / np.pi * sine**3 / (1 - sine**2) ** 1.5 / q
    assert C.curvature(1.0) == pytest.approx(curvature, rel=1e-11)
    found = C.iterate(0.5, depth=100_000)
    assert found.one_minus[-1] * 1e5 == pytest.approx(2 / curvature, rel=1e-3)
    assert law.coefficient == pytest.approx(2 / curvature, rel=1e-11)


def test_laws_print_as_sentences() -> None:
    assert str(mf.correlation_map(RELU).decay) == "1 - c_l falls like 44.4132 / l^2"
    assert "exp(-l / 16.2006)" in str(mf.correlation_map(TANH).decay)
    linear = mf.correlation_map(mf.Network("identity", weight_var=1.0), q=1.0)
    assert str(linear.decay) == "correlations do not change with depth"


def test_refusals() -> None:
    C = mf.correlation_map(RELU)
    with pytest.raises(ValueError, match=r"c: a correlation lies in \[-1, 1\], got 1.1"):
        C([0.5, 1.1])
    with pytest.raises(ValueError, match="g: 1 - c lies in"):
        C.complement(-1e-3)
    with pytest.raises(ValueError, match="q: a variance must be finite and > 0"):
        mf.correlation_map(RELU, q=-1.0)
    with pytest.raises(ValueError, match="one variance, or a pair"):
        mf.correlation_map(RELU, q=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="maps the variance"):
        mf.correlation_map(mf.Network(lambda x: 0.0 * x, 1.0), q=1.0)(0.5)
    with pytest.raises(ValueError, match="one by one"):
        mf.correlation_map(mf.Network("tanh", np.array([1.0, 2.0])), q=1.0)
    with pytest.raises(ValueError, match="depth"):
        C.iterate(0.5, depth=-1)
    with pytest.raises(ValueError, match="goes to 0"):
        mf.correlation_map(mf.Network("tanh", weight_var=0.8))
    with pytest.raises(TypeError, match="q: must be a number"):
        mf.correlation_map(RELU, q={})
    with pytest.raises(TypeError, match="tracing"):
        jax.jit(lambda w: mf.correlation_map(mf.Network("tanh", w), q=1.0)(0.5))(1.5)


@st.composite
def networks(draw: st.DrawFn) -> mf.Network:
    """A clipped or smooth network, at some variance."""
    low, high, bend = draw(st.tuples(st.floats(-2, -0.1), st.floats(0.1, 2), st.floats(-1, 1)))
    smooth = draw(st.booleans())
    phi = (
        (lambda x: jnp.tanh(high * x) + bend * jnp.sin(low * x))
        if smooth
        else (lambda x: jnp.clip(x, low, high) + bend * jnp.maximum(x - 0.5, 0.0))
    )
    return mf.Network(phi, draw(st.floats(0.2, 4)), draw(st.floats(0, 1)))


@settings(max_examples=12)
@given(networks(), st.floats(-2, 2))
def test_increasing_convex_and_with_one_stable_fixed_point(network, log_q: float) -> None:
    C = mf.correlation_map(network, float(np.exp(log_q)))
    c = np.linspace(0.0, 1.0, 41)
    value, error = C(c), C.error(c)
    assert np.all(np.diff(value) >= -2 * error.max())
    assert np.all(np.diff(value, 2) >= -4 * error.max())
    assert value[0] >= -error[0]
    point = C.fixed_point()
    assert C(point.correlation) == pytest.approx(point.correlation, abs=1e-12)
    chaotic = C.slope(1.0) > 1 + 1e-9
    assert chaotic == (point.one_minus > 0)
    assert point.slope <= 1 + 1e-9


@pytest.mark.parametrize("phi", ["tanh", "crelu", "step"])
def test_finite_networks_agree(phi: str) -> None:
    """One layer of a wide random network, many times: within four standard errors."""
    rng = np.random.default_rng(7)
    activation = mf.Activation(phi)
    network, q, c = mf.Network(activation, 1.8, 0.1), 0.9, 0.35
    width, draws = 512, 400
    mixed = np.array([[1.0, 0.0], [c, np.sqrt(1 - c * c)]])
    products = np.empty((draws, 3))
    for draw in range(draws):
        z = np.sqrt(q) * mixed @ rng.standard_normal((2, width))
        h = np.asarray(activation(z.astype(np.float32)), np.float64)
        # the next pre-activations, given h, are Gaussian: their covariance is that of a wide layer
        gram = network.weight_var * (h @ h.T) / width + network.bias_var
        products[draw] = gram[0, 0], gram[1, 1], gram[0, 1]
    mean, error = products.mean(axis=0), products.std(axis=0) / np.sqrt(draws)
    expected = mf.correlation_map(network, q)(c) * mf.variance_map(network)(q)
    assert abs(mean[2] - expected) <= 4 * error[2]
    assert abs(mean[0] - mf.variance_map(network)(q)) <= 4 * error[0]
