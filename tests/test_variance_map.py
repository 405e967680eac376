"""The variance map: closed forms, limits at zero and at infinity, trajectories of any depth."""

# pyright: reportArgumentType=false, reportOptionalSubscript=false

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import meanfield as mf
from meanfield.maps.moment import second_moment

EPS = 2.0**-52

# E[phi^2] as a function of q
CLOSED: dict[str, Callable[[Any], Any]] = {
    "identity": lambda q: q,
    "relu": lambda q: q / 2,
    "erf": lambda q: 2 / mp.pi * mp.asin(2 * q / (1 + 2 * q)),
    "sin": lambda q: -mp.expm1(-2 * q) / 2,
    "gaussian": lambda q: 1 / mp.sqrt(1 + 4 * q),
    "abs": lambda q: q,
}
VARIANCES = np.geomspace(1e-20, 1e3, 24)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name: str) -> None:
    V = mf.variance_map(mf.Network(name, weight_var=1.5, bias_var=0.25))
    m = second_moment(V.activation, VARIANCES)
    parts = ((m.value, m.error), (m.first, m.first_error), (m.second, m.second_error))
    values, slopes, curvatures = V(VARIANCES), V.slope(VARIANCES), V.curvature(VARIANCES)
    errors = V.error(VARIANCES)
    with mp.workdps(60):
        for i, q in enumerate(map(mp.mpf, VARIANCES)):
            exact = [mp.diff(CLOSED[name], q, k, h=q * mp.mpf("1e-20")) for k in range(3)]
            for k, (value, error) in enumerate(parts):
                off = abs(mp.mpf(value[i]) - exact[k])
                assert off <= error[i] + 1e-15 * abs(exact[k]), (q, k)
                if k == 0:
                    assert off <= 1e-13 * exact[0]
            # and the map is nothing else
            assert abs(values[i] - (1.5 * exact[0] + 0.25)) <= errors[i]
            assert slopes[i] == 1.5 * m.first[i]
            assert curvatures[i] == 1.5 * m.second[i]


def half(x):
    return jnp.where(x > 0, 1.0 + x, 0.0)


@pytest.mark.parametrize(
    ("phi", "value", "slope", "curvature"),
    [
        ("tanh", 0.0, 1.0, -4.0),  # V = q - 2 q^2 + ...
        ("relu", 0.0, 0.5, 0.0),
        ("sin", 0.0, 1.0, -2.0),
        ("gaussian", 1.0, -2.0, 12.0),  # (1 + 4 q)^(-1/2)
        ("gelu", 0.0, 0.25, 3 / np.pi),  # (x/2 + x^2/sqrt(2 pi))^2: a term 3 q^2/(2 pi)
        ("sigmoid", 0.25, 0.0625, -0.0625),  # (1/2 + x/4 - x^3/48)^2
        ("elu", 0.0, 1.0, -np.inf),  # q - 2 sqrt(2/pi) q^(3/2)/... : kinked second derivative
        ("sign", 1.0, 0.0, 0.0),
        (lambda x: jnp.sqrt(jnp.abs(x)), 0.0, np.inf, -np.inf),
        (lambda x: x * jnp.abs(x), 0.0, 0.0, 6.0),  # 3 q^2
        (half, 0.5, np.inf, -np.inf),  # 1/2 + sqrt(2 q/pi) + q/2
        ("hard_tanh", 0.0, 1.0, 0.0),
        ("shifted_relu", 0.0, 0.0, 0.0),
        (lambda x: jnp.log1p(jnp.exp(x)) - np.log(2.0), 0.0, 0.25, 3 / 32),
    ],
)
def test_limits_at_zero(phi: Any, value: float, slope: float, curvature: float) -> None:
    V = mf.variance_map(mf.Network(phi, weight_var=1.0))
    m = second_moment(V.activation, np.zeros(1))
    assert abs(V(0.0) - value) <= V.error(0.0)
    for got, want, error in (
        (V.slope(0.0), slope, m.first_error[0]),
        (V.curvature(0.0), curvature, m.second_error[0]),
    ):
        if np.isinf(want):
            assert got == want
        else:
            assert abs(got - want) <= error + EPS * abs(want)
            assert error < 1e-7


def test_the_two_ways_of_summing_agree_where_they_meet() -> None:
    below, above = np.nextafter(2.0**-36, 0), 2.0**-36
    for phi in ("tanh", "gelu", "elu", "softplus", "gaussian", lambda x: jnp.sqrt(jnp.abs(x))):
        m = second_moment(mf.Activation(phi) if callable(phi) else mf.Activation(phi),
                          np.array([below, above]))  # fmt: skip
        slack = m.error.sum() + m.first[0] * (above - below)
        assert abs(m.value[1] - m.value[0]) <= slack


def test_shapes_and_numbers() -> None:
    V = mf.variance_map(mf.critical("tanh"))  # a FixedPoint will do
    assert isinstance(V(1), float) and isinstance(V.slope(1.0), float)
    q = np.array([[0.0, 1.0, 2.0]])
    for f in (V, V.slope, V.curvature, V.error):
        assert f(q).shape == (1, 3)
        # one variance alone is summed in NumPy, several by a compiled function
        np.testing.assert_allclose(f(q)[0, 1], f(1.0), rtol=1e-13)
    assert V.iterate(q, 4).variance.shape == (5, 1, 3)
    trajectory = V.iterate(2.0, 10)
    assert len(trajectory) == 11 and np.asarray(trajectory).shape == (11,)
    assert trajectory[0] == 2.0 and trajectory[3] == np.asarray(trajectory)[3]
    assert "10 layers" in repr(trajectory) and "3 variances" in repr(V.iterate(q, 4))
    assert "tanh" in repr(V)


def test_what_is_refused() -> None:
    V = mf.variance_map(mf.Network("sin", weight_var=1.0))
    with pytest.raises(ValueError, match="q: a variance must be finite and >= 0, got -1.0"):
        V(-1.0)
    with pytest.raises(ValueError, match="q0: "):
        V.iterate(np.nan, 3)
    with pytest.raises(ValueError, match="depth: .* got -1"):
        V.iterate(1.0, -1)
    with pytest.raises(mf.UnresolvedError):
        V(1e12)
    with pytest.raises(mf.UnresolvedError, match=r"q0: the variance becomes 1e\+12"):
        V.iterate(1e12, 2)
    with pytest.raises(ValueError, match=r"network: .*one by one"):
        mf.variance_map(mf.Network("tanh", weight_var=np.ones(3)))
    with pytest.raises(TypeError, match="network: must be a Network"):
        mf.variance_map("tanh")
    with pytest.raises(TypeError, match="traced|tracing"):
        jax.grad(lambda w: mf.variance_map(mf.Network("tanh", weight_var=w))(1.0))(1.0)


# -- trajectories --


@pytest.mark.parametrize("name", ["erf", "sin", "gaussian"])
def test_trajectories_stay_within_their_error(name: str) -> None:
    weight_var, bias_var = 1.5, 0.0625
    V = mf.variance_map(mf.Network(name, weight_var, bias_var))
    trajectory = V.iterate([1e-30, 0.5, 40.0], 40)
    for j in range(3):
        q = mp.mpf(trajectory.variance[0, j])
        for layer in range(1, 41):
            q = weight_var * CLOSED[name](q) + bias_var
            off = abs(q - mp.mpf(trajectory.variance[layer, j]))
            assert off <= trajectory.error[layer, j] <= 1e-12


def test_a_marginal_trajectory_of_a_million_layers() -> None:
    """`V = q - 2 q^2 + O(q^3)`: `1/q_l = 2 l + O(log l)`."""
    trajectory = mf.variance_map(mf.Network("tanh", weight_var=1.0)).iterate(1.0, 10**6)
    layers = np.array([10**3, 10**4, 10**5, 10**6])
    excess = 1 / trajectory[layers] - 2 * layers
    assert np.all(np.abs(excess) < 3 * np.log(layers) + 10)
    assert np.all(np.diff(trajectory.variance) < 0)


def test_growth_until_float64_overflows() -> None:
    """`q_l = 1.25^l`, and inf from the layer on that is above 2^1024."""
    trajectory = mf.variance_map(mf.Network("relu", weight_var=2.5)).iterate(1.0, 4000)
    last = int(np.floor(1024 / np.log2(1.25)))
    np.testing.assert_array_equal(np.isinf(trajectory.variance), np.arange(4001) > last)
    exact = [mp.mpf("1.25") ** int(k) for k in (1, 100, 1000, last)]
    for k, true in zip((1, 100, 1000, last), exact, strict=True):
        off = abs(mp.mpf(trajectory[k]) - true)
        assert off <= trajectory.error[k]
        assert off <= 1e-11 * true


def test_decay_until_float64_underflows() -> None:
    trajectory = mf.variance_map(mf.Network("identity", weight_var=0.5)).iterate(1.0, 1100)
    np.testing.assert_allclose(trajectory[:1000], 0.5 ** np.arange(1000.0), rtol=1e-11)
    assert trajectory[-1] <= trajectory.error[-1] <= 2.0**-1021


def test_no_entry_of_a_trajectory_depends_on_the_others() -> None:
    V = mf.variance_map(mf.Network("silu", weight_var=2.3))
    together = V.iterate([0.0, 1.0, 5.0], 300)
    for j, q in enumerate((0.0, 1.0, 5.0)):
        np.testing.assert_array_equal(together[:, j], V.iterate(q, 300).variance)


def test_exploding_faster_than_any_power() -> None:
    V = mf.variance_map(mf.Network(jnp.exp, weight_var=1.0))
    assert V(1e4) == np.inf
    trajectory = V.iterate(1.0, 5)
    np.testing.assert_allclose(trajectory[1], np.exp(2.0), rtol=1e-13)
    assert trajectory[5] == np.inf
