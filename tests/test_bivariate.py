"""`E[phi(u) phi(v)]` at every correlation: closed forms, reference, Hermite series, properties."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import acos, asin, exp, mp, mpf, pi, sinh, sqrt

import meanfield as mf
import test_reference as reference
from meanfield.bivariate import Covariance

# 1 - c, from the opposite end to where c itself is 1 in float64
GAPS = np.array([2.0, 2 - 1e-9, 1.9, 1.5, 1.0, 0.7, 0.2, 1e-2, 1e-4, 1e-8, 1e-12, 1e-20, 1e-40])


def arc_cosine(q, c):  # Cho & Saul 2009, arXiv 0912.5127
    return q * (sqrt(1 - c * c) + (pi - acos(c)) * c) / (2 * pi)


# name: E[phi(u) phi(v)] for variance q and correlation c
CLOSED: dict[str, Callable[[Any, Any], Any]] = {
    "identity": lambda q, c: q * c,
    "relu": arc_cosine,
    "abs": lambda q, c: 2 * q * (sqrt(1 - c * c) + asin(c) * c) / pi,
    "erf": lambda q, c: 2 / pi * asin(2 * q * c / (1 + 2 * q)),  # Williams 1997
    "sin": lambda q, c: exp(-q) * sinh(q * c),
    "step": lambda q, c: (pi - acos(c)) / (2 * pi),
    "sign": lambda q, c: 2 * asin(c) / pi,
}


def difference(activation: mf.Activation, q: Any, gaps: np.ndarray = GAPS):
    covariance = Covariance(activation, q)
    return covariance, covariance.difference(gaps)


@pytest.mark.parametrize("q", [1e-3, 0.3, 1.0, 40.0])
@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_to_full_relative_precision(name: str, q: float) -> None:
    _, found = difference(mf.Activation(name), q)
    with mp.workdps(80):
        for g, value, error in zip(GAPS, found.value, found.error, strict=True):
            c = 1 - mpf(float(g))
            true = CLOSED[name](mpf(q), mpf(1)) - CLOSED[name](mpf(q), c)
            off = abs(mpf(float(value)) - true)
            # only towards c = 1 is the difference always a small one: abs vanishes at -1 as well
            size = true if g <= 1 else CLOSED[name](mpf(q), mpf(1))
            assert off <= 1e-13 * size, (g, float(off / size))
            assert off <= error * (1 + 1e-12), g
            assert error <= 1e-11 * size


@pytest.mark.parametrize("q", [0.3, 40.0])
@pytest.mark.parametrize("name", CLOSED)
def test_slope_is_that_of_the_closed_form(name: str, q: float) -> None:
    gaps = np.array([1.9, 1.0, 0.2, 1e-2, 1e-6])
    _, found = difference(mf.Activation(name), q, gaps)
    with mp.workdps(40):
        true = [-mp.diff(lambda c: CLOSED[name](mpf(q), c), 1 - mpf(float(g))) for g in gaps]
    np.testing.assert_allclose(found.slope, [-float(t) for t in true], rtol=2e-11, atol=1e-11 * q)


@pytest.mark.parametrize(("q1", "q2"), [(0.2, 0.9), (5.0, 0.1)])
def test_two_variances(q1: float, q2: float) -> None:
    gaps = np.array([2.0, 1.5, 1.0, 0.3, 1e-3, 0.0])
    c = 1 - gaps
    root = np.sqrt(q1 * q2)
    angle = np.arccos(c)
    true = {
        "relu": root * (np.sin(angle) + (np.pi - angle) * c) / (2 * np.pi),
        "erf": 2 / np.pi * np.arcsin(2 * root * c / np.sqrt((1 + 2 * q1) * (1 + 2 * q2))),
        "exp": np.exp(0.5 * (q1 + q2) + root * c),
        "step": (np.pi - angle) / (2 * np.pi),
    }
    for name, expected in true.items():
        activation = mf.Activation(jnp.exp if name == "exp" else name)
        covariance, found = difference(activation, (q1, q2), gaps)
        second = covariance.second_moment
        off = np.abs(second - found.value - expected)
        assert np.all(off <= np.maximum(4e-14 * second, found.error))
        assert np.all(found.error <= 1e-12 * second)


@pytest.mark.parametrize("name", reference.NAMES)
def test_reference(name: str) -> None:
    for record in reference.records(reference.MAPS, name):
        activation, table = reference.activation(name), record["E_phiphi"]
        gaps = np.array([float(1 - mpf(c)) for c in table])
        covariance, found = difference(activation, float(record["q"]), gaps)
        second = covariance.second_moment
        errors = found.error + covariance.second_moment_error
        for c, d, error in zip(table, found.value, errors, strict=True):
            off = abs(mpf(second) - mpf(float(d)) - mpf(table[c]))
            assert off <= 2e-14 * second, (record["q"], c)
            assert off <= error, (record["q"], c)


def test_derivative_gives_the_covariance_of_slopes() -> None:
    covariance = Covariance(mf.Activation("sin"), 0.7, derivative=True)
    found = covariance.difference(GAPS)
    with mp.workdps(60):
        for g, value in zip(GAPS, found.value, strict=True):  # E[cos cos] = e^-q cosh(q c)
            c = 1 - mpf(float(g))
            true = exp(mpf("-0.7")) * (mp.cosh(mpf("0.7")) - mp.cosh(mpf("0.7") * c))
            assert abs(value - true) <= 4e-14 * max(true, mpf(10) ** -2 * (g > 1))


def test_black_boxes_agree_with_jax() -> None:
    gaps = np.array([1.8, 1.0, 0.1, 1e-5, 1e-10])
    for derivative in (False, True):
        ours, theirs = (
            Covariance(mf.Activation(phi), 1.3, derivative).difference(gaps)
            for phi in (lambda x: jnp.clip(x - 0.4, 0.0, 1.1), lambda x: np.clip(x - 0.4, 0.0, 1.1))
        )
        assert np.all(np.abs(ours.value - theirs.value) <= ours.error + theirs.error)
        assert np.all(theirs.error <= 1e-10 * theirs.value)


@pytest.mark.parametrize("derivative", [False, True])
@pytest.mark.parametrize(
    ("single", "double"),
    [
        (lambda x: jnp.tanh(x.astype(jnp.float32)), jnp.tanh),
        (lambda x: np.tanh(x.astype(np.float32)), jnp.tanh),
        (lambda x: jnp.clip(x.astype(jnp.float32), -1, 1), lambda x: jnp.clip(x, -1, 1)),
    ],
    ids="jax numpy kinked".split(),
)
def test_single_precision_has_honest_errors(single, double, derivative: bool) -> None:
    gaps = np.array([1.8, 1.0, 0.3, 1e-3])
    found, true = (
        Covariance(mf.Activation(phi), 0.8, derivative).difference(gaps) for phi in (single, double)
    )
    assert np.all(np.abs(found.value - true.value) <= found.error)
    assert np.all(found.error <= (2e-2 if derivative else 3e-5) * true.value)


@pytest.mark.parametrize(
    "phi",
    [
        lambda x: jnp.tanh(100 * x),
        lambda x: jnp.sin(30 * x),
        lambda x: jnp.exp(-(x**2) / (2 * 0.05**2)),
        lambda x: jnp.floor(4 * x) / 4,
        lambda x: jnp.abs(x) ** 0.75,
        lambda x: jnp.clip(x - 3.0, 0.0, 1e-3),
        lambda x: jnp.maximum(x - 6.0, 0.0),
        lambda x: x**3 - 2 * x,
        lambda x: 1e20 * jnp.exp(2 * x),
    ],
    ids="steep waves peak stairs cusp sliver tail cubic exp".split(),
)
def test_hard_ones_at_no_correlation(phi) -> None:
    """At c = 0 the two sides are independent: `E[phi(u) phi(v)] = E[phi]^2`."""
    activation = mf.Activation(phi)
    covariance, found = difference(activation, 1.0, np.array([1.0]))
    moments = activation.moments(np.ones(1))
    expected = covariance.second_moment - moments.value[0, 0] ** 2
    slack = 2 * abs(moments.value[0, 0]) * moments.error[0, 0] + covariance.second_moment_error
    assert abs(found.value[0] - expected) <= found.error[0] + slack
    assert found.error[0] <= 1e-11 * covariance.second_moment


@st.composite
def piecewise_linear(draw: st.DrawFn) -> mf.Activation:
    """A continuous piecewise-linear activation with up to five kinks."""
    kinks = draw(st.lists(st.floats(-2.5, 2.5), min_size=1, max_size=5, unique=True))
    slopes = draw(st.lists(st.floats(-2.0, 2.0), min_size=len(kinks) + 1, max_size=len(kinks) + 1))

    def phi(x):
        bends = (
            (after - before) * jnp.maximum(x - b, 0.0)
            for b, before, after in zip(sorted(kinks), slopes[:-1], slopes[1:], strict=True)
        )
        return slopes[0] * x + 0.25 + sum(bends)

    return mf.Activation(phi)


@settings(max_examples=15)
@given(piecewise_linear(), st.floats(-3, 3))
def test_hermite_series_gives_the_same(activation: mf.Activation, log_q: float) -> None:
    q = float(np.exp(log_q))
    gaps = np.array([1.6, 1.0, 0.5])
    covariance, found = difference(activation, q, gaps)
    series = mf.hermite_coefficients(activation, q, 128)  # 0.6^128 = 4e-29
    powers = (1 - gaps)[:, None] ** np.arange(128)
    expected = powers @ series.coefficients**2
    slack = 2 * np.sum(np.abs(powers) * np.abs(series.coefficients) * series.error, axis=1)
    off = np.abs(covariance.second_moment - found.value - expected)
    assert np.all(off <= found.error + covariance.second_moment_error + slack)


@settings(max_examples=15)
@given(piecewise_linear(), st.floats(-3, 3))
def test_difference_is_increasing_and_concave(activation: mf.Activation, log_q: float) -> None:
    """`E[phi(u) phi(v)] = sum a_k^2 c^k` is increasing and convex in `c` on [0, 1]."""
    _, found = difference(activation, float(np.exp(log_q)), np.linspace(0.0, 1.0, 33))
    rise = np.diff(found.value)
    slack = found.error[1:] + found.error[:-1]
    assert np.all(rise >= -slack)
    assert np.all(np.diff(rise) <= slack[1:] + slack[:-1])


def test_results_do_not_depend_on_settings(x64: bool) -> None:
    """`E[clip(u) clip(v)]` at c = 0 is a square of a mean, under both settings."""
    phi = mf.Activation(lambda x: jnp.clip(x, -1.0, 2.0))
    covariance, found = difference(phi, 1.0, np.array([1.0]))
    mean = phi.moments(np.ones(1)).value[0, 0]
    assert found.value.dtype == np.float64
    assert covariance.second_moment - found.value[0] == pytest.approx(mean**2, abs=1e-15)


def test_steep_at_zero() -> None:
    """`tanh(2^16 x)` is `tanh` at a variance of 2^32 times as much, to the same digits."""
    steep = mf.Activation(lambda x: jnp.tanh(2.0**16 * x))
    g = np.array([0.7, 1e-3])
    for q in (2.3e-5, 1.0):
        found = Covariance(steep, q).difference(g)
        expected = Covariance(mf.Activation("tanh"), q * 2.0**32).difference(g)
        np.testing.assert_allclose(found.value, expected.value, rtol=1e-12)
