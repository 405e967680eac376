"""Universality classes of Jacobian spectra: closed forms, classes of activations, convergence."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq

import meanfield as mf
from meanfield.dynamical_isometry.limit_depth import log_largest

VARIANCES = st.floats(1e-3, 30.0)
JUMPS = st.one_of(st.just(0.0), st.just(1.0), st.floats(0.05, 3.0))


def log_z(m: float, v: float, y: float) -> float:
    """`log(-z)` at `m` in (-1, 0), from the S-transform that defines the law."""
    return np.log1p(m) - np.log(-m) + v * m / (1 + (1 - y) * m)


# -- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("s0", "top"), [(0.5, 1.2840254166877414), (1.0, np.e), (2.0, 4 * np.e)])
def test_top_of_the_bernoulli_class(s0: float, top: float) -> None:
    """An atom at exp(s0^2) of weight 1 - s0^2, or else an edge at e s0^2."""
    limit = mf.universal_spectrum(s0**2, "bernoulli")
    assert limit.s_max**2 == pytest.approx(top, rel=1e-14)
    if s0 < 1:
        np.testing.assert_allclose(limit.atoms, [[np.exp(s0**2 / 2), 1 - s0**2]], rtol=1e-14)
    else:
        assert limit.atoms.shape == (0, 2)


@pytest.mark.parametrize(
    ("s0", "low", "high"),
    [(0.25, 0.5871, 1.6001), (0.5, 0.3213, 2.4238), (1, 0.07574, 4.8572), (2, 0.00137, 13.345)],
)
def test_edges_of_the_smooth_class(s0: float, low: float, high: float) -> None:
    edges = mf.universal_spectrum(s0**2, "smooth").support[0] ** 2
    np.testing.assert_allclose(edges, [low, high], rtol=2e-3 if s0 == 2 else 2e-4)
    # the stationary points of (1 + m)/m exp(s0^2 m)
    m = 0.5 * (-1 + np.array([-1, 1]) * np.sqrt(1 + 4 / s0**2))
    np.testing.assert_allclose(edges, (1 + m) / m * np.exp(s0**2 * m), rtol=1e-12)


@settings(max_examples=20)
@given(VARIANCES, st.floats(0.05, 3.0))
def test_probability_mean_and_variance(v: float, y: float) -> None:
    limit = mf.universal_spectrum(v, y)
    (low, high), (s, mass) = limit.log_edges, limit.atoms.T
    # smooth at the edges in alpha; a vanishing atom leaves a peak beside one of them
    edges = np.pi * np.concatenate([[0], np.geomspace(1e-4, 0.5, 9)])
    edges = np.concatenate([edges, np.pi - edges[-2::-1]])
    t, w = np.polynomial.legendre.leggauss(60)
    alpha = (edges[:-1, None] + 0.5 * np.diff(edges)[:, None] * (t + 1)).ravel()
    weight = (0.25 * np.diff(edges)[:, None] * w).ravel() * (high - low) * np.sin(alpha)
    log_x = high - (high - low) * np.sin(alpha / 2) ** 2
    density = 0.5 * limit.log_density(0.5 * log_x)
    for power, moment in ((0, 1.0), (1, 1.0), (2, 1 + v)):
        total = np.sum(weight * density * np.exp(power * log_x)) + mass @ s ** (2 * power)
        assert total == pytest.approx(moment, rel=1e-8)


@settings(max_examples=30)
@given(VARIANCES, JUMPS)
def test_the_distribution_is_the_integral_of_the_density(v: float, y: float) -> None:
    limit = mf.universal_spectrum(v, y)
    low = max(limit.log_edges[0], limit.log_edges[1] - 20)
    y_ = 0.5 * np.linspace(low, limit.log_edges[1], 12)[1:-1]
    t, w = np.polynomial.legendre.leggauss(60)
    width = np.diff(y_)
    nodes = y_[:-1, None] + 0.5 * width[:, None] * (t + 1)
    integral = 0.5 * width * (limit.log_density(nodes) @ w)
    np.testing.assert_allclose(np.diff(limit.cdf(np.exp(y_))), integral, atol=1e-10)


@settings(max_examples=30)
@given(VARIANCES, JUMPS, st.floats(0.0, 1.0))
def test_quantiles_invert_the_distribution(v: float, y: float, p: float) -> None:
    limit = mf.universal_spectrum(v, y)
    s = limit.quantile(p)
    if s > 0:  # in the Bernoulli class exp(-1000) may be a quantile
        assert limit.cdf(s) >= p - 1e-9
        assert limit.cdf(s * (1 - 1e-9)) <= p + 1e-6
        least = min([limit.support[0, 0], *limit.atoms[:, 0]])
        assert least * (1 - 1e-12) <= s <= limit.s_max * (1 + 1e-12)


@pytest.mark.parametrize(("v", "y"), [(0.01, 1.0), (1.0, 1.0), (9.0, 1.0), (0.3, 0.5), (1.0, 2.0)])
def test_variance_of_the_logarithm(v: float, y: float) -> None:
    """`E[log(x)^2] = int_{-1}^0 log(-z(m))^2 dm - pi^2/3`, on the real axis alone."""
    first, second = (
        quad(lambda m, k=k: log_z(m, v, y) ** k, -1, 0, epsabs=1e-12, epsrel=1e-12, limit=200)[0]
        for k in (1, 2)
    )
    expected = (second - np.pi**2 / 3 - first**2) / 4
    assert mf.universal_spectrum(v, y).log_variance == pytest.approx(expected, rel=1e-7)
    if y == 1:
        assert expected == pytest.approx((v + v**2 / 12) / 4, rel=1e-7)


def test_the_bernoulli_class_has_no_variance_of_the_logarithm() -> None:
    limit = mf.universal_spectrum(0.7, "bernoulli")
    assert limit.log_variance == np.inf
    assert limit.condition_number == np.inf
    t = np.array([1e3, 1e4])  # P(log s < -t) falls like v / 2t
    np.testing.assert_allclose(limit.cdf(np.exp(-np.array([300.0]))), 0.7 / 600, rtol=0.02)
    assert np.all(limit.log_density(-t) * t**2 == pytest.approx(0.35, rel=0.02))


def test_small_jumps_approach_both_classes() -> None:
    for y, end in ((1e-7, "bernoulli"), (1 - 1e-7, "smooth"), (1 + 1e-7, "smooth")):
        near, limit = mf.universal_spectrum(0.8, y), mf.universal_spectrum(0.8, end)
        p = np.linspace(0.15, 0.95, 10)
        np.testing.assert_allclose(near.quantile(p), limit.quantile(p), rtol=2e-6)


def test_outside_of_the_support() -> None:
    limit = mf.universal_spectrum(0.25, "bernoulli")
    assert limit.density([-1.0, 0.0, 2.0]).tolist() == [0, 0, 0]
    assert limit.cdf([-1.0, 0.0, 0.9, 1.0, 2.0]) == pytest.approx([0, 0, 0.25, 0.25, 1])
    assert limit.cdf(float(limit.atoms[0, 0])) == pytest.approx(1)
    assert isinstance(limit.density(0.5), float)
    assert limit.density(np.full((2, 3), 0.5)).shape == (2, 3)
    assert limit.quantile([0.0, 1.0]) == pytest.approx([0, limit.s_max])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [((0.0,), "variance"), ((np.inf,), "variance"), ((1.0, -0.1), "jump"), ((1.0, "tanh"), "jump")],
)
def test_bad_arguments(arguments: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        mf.universal_spectrum(*arguments)
    with pytest.raises(ValueError, match="p: "):
        mf.universal_spectrum(1.0).quantile(1.5)


@pytest.mark.slow
@pytest.mark.parametrize("jump", [0.25, 4.0])
def test_a_second_slope_in_sampled_products(jump: float) -> None:
    """Rare slopes in 256 layers: the Kolmogorov distance is that of 300 values and of depth."""
    n, depth, v = 300, 256, 0.5
    share = v / depth / (1 - jump) ** 2
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(4):
        J = np.eye(n)
        for _ in range(depth):
            Q, R = np.linalg.qr(rng.standard_normal((n, n)))
            squares = np.where(rng.random(n) < share, jump, 1.0)
            J = np.sqrt(squares)[:, None] * ((Q * np.sign(np.diag(R))) @ J)
        s = np.linalg.svd(J, compute_uv=False)
        seen.append(s / np.sqrt(np.mean(s**2)))
    limit = mf.universal_spectrum(v, jump)
    s = np.sort(np.concatenate(seen))
    gap = np.abs(limit.cdf(s) - (np.arange(len(s)) + 0.5) / (4 * n))
    # at finite width the atom has a width of its own
    gap = gap[np.abs(np.log(s / limit.atoms[0, 0])) > 0.03]
    # four draws of how many rare slopes there are, beside 300 values each
    assert np.max(gap) < 2 * np.sqrt(share * depth * n) / (2 * n) + 0.01


# -- which class an activation is in --------------------------------------------------------------


def two_slopes(x: Any) -> Any:
    return jnp.where(jnp.abs(x) < 1, x, jnp.sign(x) * (0.5 + 0.5 * jnp.abs(x)))


@pytest.mark.parametrize(
    ("phi", "kind", "jump"),
    [
        ("tanh", "smooth", 1.0),
        ("gelu", "smooth", 1.0),
        ("elu", "smooth", 1.0),
        (np.arctan, "smooth", 1.0),
        ("hard_tanh", "bernoulli", 0.0),
        (lambda x: jnp.maximum(x + 0.5, 0.0) - 0.5, "bernoulli", 0.0),
        (two_slopes, "jump", 0.25),
        (lambda x: x + x * (jnp.abs(x) > 1) - jnp.sign(x) * (jnp.abs(x) > 1), "jump", 4.0),
    ],
)
def test_class(phi: Any, kind: str, jump: float) -> None:
    found = mf.universality(phi)
    assert found.kind == kind
    assert found.jump == pytest.approx(jump, abs=1e-3)
    assert found.spectrum(0.5).jump == pytest.approx(jump, abs=1e-3)


def test_a_mixture_of_classes() -> None:
    """`log cosh` has slopes `tanh`: at large q rarely anything from 0 to 1."""
    found = mf.universality(lambda x: jnp.logaddexp(x, -x) - jnp.log(2.0))
    assert found.kind == "mixed"
    # k = sech^2 under k^2: means of sech^2 and sech^4, 4/5 and 24/35
    assert 1 - found.jump == pytest.approx(0.8, abs=0.02)
    assert found.mixture == pytest.approx(np.sqrt(24 / 35 - 0.64), abs=0.02)
    with pytest.raises(mf.UnresolvedError, match="mixture"):
        found.spectrum()


def test_the_class_at_a_depth_is_what_depth_sees() -> None:
    """A steep but smooth clip is smooth in the end, and a clip at any depth that exists."""

    def steep(x: Any) -> Any:
        return (jnp.logaddexp(0.0, 40 * (x + 1)) - jnp.logaddexp(0.0, 40 * (x - 1))) / 40 - 1

    assert mf.universality(steep).kind == "smooth"
    assert mf.universality(steep, depth=64).jump < 0.25
    assert mf.universality("tanh", depth=1000).q == mf.q_for_depth("tanh", 1000)


def test_no_class_without_a_limit() -> None:
    with pytest.raises(ValueError, match="vanishes nowhere"):
        mf.universality("relu")
    with pytest.raises(ValueError, match="the same everywhere"):
        mf.universality("identity")
    with pytest.raises(ValueError, match="too much"):
        mf.universality("tanh", depth=2, variance=1.0)


# -- q as a function of depth ---------------------------------------------------------------------


def test_q_that_keeps_the_variance() -> None:
    """Closed forms: p = erf(1/sqrt(2q)) of the clip, moments (1 + 4kq)^-1/2 of erf."""
    q = mf.q_for_depth("hard_tanh", 128)
    assert q == pytest.approx(0.14104, abs=1e-5)
    assert mf.critical("hard_tanh", q=q).weight_var == pytest.approx(129 / 128, rel=1e-12)
    expected = brentq(lambda q: (1 + 4 * q) / np.sqrt(1 + 8 * q) - 1 - 1 / 128, 1e-3, 1)
    assert mf.q_for_depth("erf", 128) == pytest.approx(expected, rel=1e-10)


@settings(max_examples=15)
@given(st.integers(2, 10**6), st.floats(0.1, 2.0), st.sampled_from(["tanh", "hard_tanh", "silu"]))
def test_the_variance_is_kept(depth: int, variance: float, phi: str) -> None:
    q = mf.q_for_depth(phi, depth, variance)
    m = mf.Activation(phi).moments(np.array([q])).value[0]
    # E[phi'^4]/E[phi'^2]^2 - 1 has lost digits where depth is large
    assert depth * (m[4] / m[3] ** 2 - 1) == pytest.approx(variance, rel=1e-12 * depth + 1e-9)


def test_q_where_the_limit_is_infinite_or_everything_will_do() -> None:
    q = [mf.q_for_depth("soft_threshold", depth) for depth in (64, 256)]
    assert q[1] > q[0] > 1
    assert mf.q_for_depth("identity", 10**6) == 1.0
    assert mf.q_for_depth(jnp.abs, 7) == 1.0
    assert mf.q_for_depth("relu", 4, variance=4.5) == 1.0


def test_q_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"at 64 layers .* at least 64, .* lasts 1 layers"):
        mf.q_for_depth("relu", 64)
    with pytest.raises(ValueError, match="no edge of chaos"):
        mf.q_for_depth(lambda x: jnp.abs(x) + 1, 4)
    with pytest.raises(mf.NoCriticalPointError, match="jumps"):
        mf.q_for_depth("sign", 4)


# -- convergence ----------------------------------------------------------------------------------


def test_networks_approach_the_bernoulli_class() -> None:
    tops = {16: 2.638, 64: 2.697, 256: 2.713}
    for depth, top in tops.items():
        point = mf.critical("hard_tanh", q=mf.q_for_depth("hard_tanh", depth), weights="orthogonal")
        assert mf.jacobian_spectrum(point, depth).s_max ** 2 == pytest.approx(top, abs=6e-4)


def test_networks_approach_the_smooth_class_like_a_root() -> None:
    limit = mf.universal_spectrum(1.0).s_max ** 2
    gaps = []
    for depth in (16, 64):
        q = mf.q_for_depth("erf", depth)
        point = mf.critical("erf", q=q, weights="orthogonal")
        gaps.append(limit - mf.jacobian_spectrum(point, depth).s_max ** 2)
    assert gaps == pytest.approx([4.857 - 4.096, 4.857 - 4.386], abs=2e-3)


def test_depth_of_the_limit() -> None:
    depth = mf.depth_of_limit("hard_tanh")
    for deep, good in ((depth, True), (depth - 1, False)):
        point = mf.critical("hard_tanh", mf.q_for_depth("hard_tanh", deep), weights="orthogonal")
        far = abs(mf.jacobian_spectrum(point, deep).s_max ** 2 / np.e - 1)
        assert (far <= 0.01) is good
    with pytest.raises(ValueError, match="tolerance"):
        mf.depth_of_limit("hard_tanh", tolerance=0.0)


@pytest.mark.parametrize(
    ("phi", "q", "depth"),
    [
        ("tanh", 0.1, 8),
        ("gelu", 1.0, 64),
        ("hard_tanh", 0.25, 8),
        ("relu", 1.0, 8),
        ("elu", 1.0, 1),
    ],
)
def test_the_top_of_a_spectrum_alone(phi: str, q: float, depth: int) -> None:
    point = mf.critical(phi, q=q, weights="orthogonal")
    found = log_largest(mf.Activation(phi), q, depth)
    assert found == pytest.approx(2 * np.log(mf.jacobian_spectrum(point, depth).s_max), abs=1e-11)


@pytest.mark.parametrize(
    ("phi", "variance"),
    [("mish", 1.0), ("gelu", 4.0), ("elu", 0.01), ("tanh", 25.0)],
)
def test_the_limit_holds_from_there_on(phi: str, variance: float) -> None:
    """Also where the difference changes its sign on the way, as that of Mish does at 4 layers."""
    activation, limit = mf.Activation(phi), mf.universal_spectrum(variance).s_max ** 2
    depth = mf.depth_of_limit(activation, variance)

    def off(layers: int) -> float:
        q = mf.q_for_depth(activation, layers, variance)
        return abs(np.exp(log_largest(activation, q, layers)) / limit - 1)

    assert off(depth - 1) > 0.01
    assert max(off(int(depth * k)) for k in np.geomspace(1, 100, 16)) <= 0.01


def test_a_largest_singular_value_that_is_infinite_is_no_limit() -> None:
    with pytest.raises(mf.UnresolvedError, match="slope is unbounded"):
        mf.depth_of_limit(lambda x: x + x**3)
