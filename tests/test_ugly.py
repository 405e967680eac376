"""Activations and correlations that nobody would choose, beside closed forms and quadrature."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mpmath import mp

import meanfield as mf
from meanfield import structure

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


@pytest.mark.parametrize("h", [1e-6, 1e-9, 1e-12])
def test_a_jump_next_to_minus_one(h):
    # C(c) = 2 arcsin(c) / pi, whose slope is infinite at -1: 1 - c has too few digits of 1 + c
    C = mf.correlation_map(mf.Network(jnp.sign, weight_var=1.0), q=1.0)
    c = -1 + h
    exact = -1 + 4 / np.pi * np.arcsin(np.sqrt((1 + c) / 2))
    assert abs(C(c) - exact) <= C.error(c) < 1e-12
    slope = 2 / np.pi / np.sqrt((1 + c) * (1 - c))
    assert C.slope(c) == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize(
    ("low", "width", "q", "c"),
    [(3.0, 2.0**-10, 1.0, 0.0), (3.0, 2.0**-10, 1.0, -0.3), (0.5, 2.0**-20, 4.0, 0.5)],
)
def test_the_slope_of_a_narrow_ramp(low, width, q, c):
    # E[phi'(u) phi'(v)] is the mass of a square that the density hardly changes on
    phi = mf.Activation(lambda x: jnp.clip(x - low, 0.0, width) / width)
    x = low + 0.5 * width * (1 + NODES)
    form = (x[:, None] ** 2 - 2 * c * x[:, None] * x + x**2) / (1 - c * c)
    density = np.exp(-0.5 * form / q) / (2 * np.pi * q * np.sqrt(1 - c * c))
    mean = 0.25 * WEIGHTS @ density @ WEIGHTS
    C = mf.correlation_map(mf.Network(phi, weight_var=1.0), q=q)
    exact = q * mean / float(mf.variance_map(C.network)(q))
    assert C.slope(c) == pytest.approx(exact, rel=1e-9, abs=1e-12 * C.slope(1.0))


@pytest.mark.parametrize("p", [0.6, 0.9])
def test_the_slope_of_a_cusp(p):
    # E[|u|^p |v|^p] = E[|u|^p]^2 2F1(-p/2, -p/2; 1/2; c^2); phi' is unbounded, E[phi'^2] is not
    C = mf.correlation_map(mf.Network(lambda x: jnp.abs(x) ** p, weight_var=1.0), q=1.0)
    a, half = -mp.mpf(p) / 2, mp.mpf(1) / 2
    for c in (0.3, -0.9, 1 - 1e-6):
        with mp.workdps(30):
            share = mp.gamma(half - a) ** 2 / (mp.gamma(half) * mp.gamma(half - 2 * a))
            value = share * mp.hyp2f1(a, a, half, mp.mpf(c) ** 2)
            slope = 4 * a * a * c * share * mp.hyp2f1(a + 1, a + 1, half + 1, mp.mpf(c) ** 2)
        assert abs(C(c) - value) <= C.error(c) < 1e-13
        assert C.slope(c) == pytest.approx(float(slope), rel=1e-12)
    assert C.slope(1.0) == pytest.approx(p * p / (2 * p - 1), rel=1e-6)
    with pytest.raises(ValueError, match="slope is unbounded"):
        C.curvature(0.5)


def test_no_law_for_a_cusp_on_the_edge_of_chaos():
    point = mf.critical(lambda x: jnp.abs(x) ** 0.9 * jnp.sign(x) - 0.1 * x**3, q=0.1)
    with pytest.raises(ValueError, match="slope .* is unbounded"):
        _ = mf.correlation_map(point).decay


def test_moments_whose_square_is_no_number():
    # far in the tail of a Gaussian, E[phi^2] is 1e-170
    phi = mf.Activation(lambda x: jnp.exp(-0.5 * ((x - 1) / 0.05) ** 2))
    C = mf.correlation_map(mf.Network(phi, weight_var=1.0), q=1e-6)
    assert C(1.0) == 1.0
    # E[exp(-(u - 1)^2 / 2b) exp(-(v - 1)^2 / 2b)] is exp(-1 / (b + q (1 + c))) over a root
    b, q, c = 0.05**2, 1e-6, 0.5
    exponent = 1 / (b + 2 * q) - 1 / (b + q * (1 + c))
    root = np.sqrt(b * (b + 2 * q) / ((b + q) ** 2 - (q * c) ** 2))
    assert C(c) == pytest.approx(np.exp(exponent) * root, rel=1e-12)


def test_a_staircase_of_a_hundred_steps(monkeypatch):
    # its steps within reach meet at a hundred distances, which rounding makes a thousand
    panels = []
    resolved = structure.legendre_series
    monkeypatch.setattr(
        structure, "legendre_series", lambda F: panels.append(len(F)) or resolved(F)
    )
    C = mf.correlation_map(mf.Network(jnp.floor, weight_var=1.0), q=25.0)
    # floor is x - 1/2 + waves: E[floor(u) floor(v)] = 25 c + 1/4 up to exp(-2 pi^2 25 (1 - c^2))
    assert C(0.5) == pytest.approx((12.5 + 0.25) / (25 + 0.25 + 1 / 12), abs=1e-14)
    assert len(panels) < 10


def test_what_saturates_never_explodes():
    # V(q) <= weight_var, far beyond the table; and the table is the same, whatever was asked before
    asked = mf.Activation(jnp.tanh)
    asked.moments(np.array([1e30]))
    grid = [1.0, 1e6, 1e30]
    diagrams = [mf.phase_diagram(phi, grid, [0.0]) for phi in (asked, mf.Activation(jnp.tanh))]
    assert np.isnan(diagrams[0].q[0, 2])
    np.testing.assert_array_equal(diagrams[0].q, diagrams[1].q)
    np.testing.assert_allclose(diagrams[0].q[0, 1], 1e6, rtol=1e-3)


@pytest.mark.parametrize("bad", ["a", 1j, {}, [[1.0], [1.0, 2.0]]])
def test_what_is_no_number_is_named(bad):
    net = mf.Network("tanh", weight_var=1.5, bias_var=0.1)
    C = mf.correlation_map(net)
    for call, name in (
        (C, "c"), (C.slope, "c"), (C.complement, "g"), (lambda x: C.iterate(x, 3), "c0"),
        (lambda x: mf.correlation_map(net, x), "q"),
        (lambda x: mf.correlation_map(net, (1.0, x)), "q"),
        (lambda x: mf.hermite_coefficients("tanh", count=x), "count"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=f"^{name}: "):
            call(bad)


def test_tracers_are_named():
    net = mf.Network("tanh", weight_var=1.5, bias_var=0.1)
    C = mf.correlation_map(net, 1.0)
    for f, name in (
        (C, "c"), (lambda q: mf.correlation_map(net, q)(0.3), "q"),
        (lambda w: mf.correlation_map(mf.Network("tanh", w), 1.0)(0.3), "network"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=f"^{name}: "):
            jax.jit(f)(0.5)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_no_correlations_at_all(shape):
    C = mf.correlation_map(mf.Network("tanh", weight_var=1.5, bias_var=0.1), 1.0)
    trajectory = C.iterate(np.zeros(shape), 4)
    assert C(np.zeros(shape)).shape == shape
    assert trajectory.correlation.shape == (5, *shape)


@pytest.mark.parametrize("count", [2.5, True])
def test_a_number_of_coefficients(count):
    with pytest.raises(TypeError, match="^count: "):
        mf.hermite_coefficients("tanh", count=count)
    with pytest.raises(ValueError, match="^q: "):
        mf.hermite_coefficients("tanh", q=[1.0, 2.0])  # pyright: ignore[reportArgumentType]


def test_a_trajectory_from_minus_one():
    # relu(u) relu(-u) = 0, and |u| |-u| = u^2: the first layer leaves 0, and 1
    relu = mf.correlation_map(mf.Network("relu", weight_var=2.0), 1.0)
    assert relu.iterate(-1.0, 1)[1] == pytest.approx(0.0, abs=1e-14)
    size = mf.correlation_map(mf.Network(jnp.abs, weight_var=1.0), 1.0)
    assert size.iterate(-1.0, 1)[1] == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("phi", [jnp.sign, jnp.tanh, lambda x: x**3 / 15**0.5, jnp.sin])
def test_odd_activations_keep_no_correlation(phi):
    # C(0) = 0 up to rounding, and beyond it the table has no negative correlations
    C = mf.correlation_map(mf.Network(phi, weight_var=1.0), 1.0)
    np.testing.assert_allclose(C.iterate(0.0, 20).correlation, 0.0, atol=1e-12)


def test_two_variances_can_turn_a_correlation_negative():
    # phi is odd in u of variance 1, nearly, and turns round in v of variance 9
    net = mf.Network(lambda x: x - 0.12 * x**3 * (jnp.abs(x) < 6), weight_var=1.0, bias_var=0.01)
    C = mf.correlation_map(net, q=(0.5, 9.0))
    path = C.iterate(0.4, 6)
    assert path[1] == pytest.approx(C(0.4), abs=1e-13)
    q = tuple(path.variance[1].tolist())
    assert path[2] == pytest.approx(mf.correlation_map(net, q)(path[1]), abs=1e-12)
    assert path[1] < 0


@pytest.mark.parametrize("c0", [-1 + 2.0**-40, -1 + 2.0**-20])
def test_the_error_of_a_trajectory_away_from_minus_one(c0):
    # erf is odd: chaos drives correlations from -1 to 0, and with them the rounding of 1 - c
    net = mf.Network("erf", weight_var=25.0)
    q = mf.fixed_points(net)[1].q
    path = mf.correlation_map(net, q).iterate(c0, 24)
    with mp.workdps(40):
        share, c = 2 * mp.mpf(q) / (1 + 2 * mp.mpf(q)), mp.mpf(c0)
        for gap, error in zip(path.one_minus, path.error, strict=True):
            assert abs(gap - (1 - c)) <= error * gap
            c = mp.asin(share * c) / mp.asin(share)


def test_the_error_of_a_trajectory_of_a_jump():
    path = mf.correlation_map(mf.Network(jnp.sign, weight_var=1.0), 1.0).iterate(-1 + 2.0**-40, 8)
    with mp.workdps(40):
        c = -1 + mp.mpf(2) ** -40
        for gap, error in zip(path.one_minus, path.error, strict=True):
            assert abs(gap - (1 - c)) <= error * gap
            c = 2 / mp.pi * mp.asin(c)


def test_hermite_coefficients_of_what_grows_fast():
    # exp(2z): a_k = e^2 2^k / sqrt(k!); h_k is as large far out as the density is small
    a = mf.hermite_coefficients(jnp.exp, q=4.0, count=30)
    exact = [float(mp.exp(2) * 2**k / mp.sqrt(mp.factorial(k))) for k in range(30)]
    assert np.all(np.abs(a.coefficients - exact) <= a.error)
    assert np.max(a.error) < 1e-11


@pytest.mark.parametrize(
    "phi",
    [
        lambda x: jnp.tanh(x.astype(jnp.float32)),
        lambda x: jnp.where(x < 5, jnp.tanh(x), jnp.nan),
    ],
)
def test_a_phase_diagram_that_cannot_be_had(phi):
    with pytest.raises(mf.UnresolvedError, match="around q = 1"):
        mf.phase_diagram(phi, [0.5, 2.0], [0.0, 0.1])


def test_nothing_at_all():
    C = mf.correlation_map(mf.Network(lambda x: 0 * x, weight_var=1.5, bias_var=0.1), q=1.0)
    np.testing.assert_array_equal(C([-1.0, -0.3, 0.0, 1.0]), 1.0)
    np.testing.assert_array_equal(C.slope([-1.0, 0.5, 1.0]), 0.0)
    assert float(C.fixed_point()) == 1.0
