"""Jacobian spectra: the closed cases, the references, and what holds for every activation."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meanfield as mf

# activation, q, weights, depth, Var(s^2), s_max, s at 0.75: all digits that are printed
REFERENCES = [
    ("linear", 1.0, "gaussian", 4, 4.0, 3.49385621484, 0.94982675),
    ("linear", 1.0, "gaussian", 16, 16.0, 6.69662485549, 0.17653529),
    ("relu", 1.0, "gaussian", 8, 16.0, 6.59916501432, 0.11590538),
    ("relu", 1.0, "orthogonal", 8, 8.0, 4.51353493133, 0.38631649),
    ("hard_tanh", 0.5, "orthogonal", 8, 1.4932864273, 1.95003934185, 1.3780158),
    ("tanh", 0.1, "orthogonal", 8, 0.31767298019, 1.4816416303, 1.2062954),
    ("tanh", 1.0, "orthogonal", 8, 4.6678395309, 3.65088009487, 0.85783932),
    ("tanh", 0.5, "gaussian", 8, 10.393953012, 5.43380702334, 0.39025649),
    ("gelu", 1.0, "orthogonal", 8, 8.706672354, 4.85144835395, 0.42334011),
]


@pytest.mark.parametrize("case", REFERENCES, ids=lambda case: f"{case[0]}-{case[2]}-{case[3]}")
def test_references(case) -> None:
    phi, q, weights, depth, variance, s_max, s75 = case
    spectrum = mf.jacobian_spectrum(mf.critical(phi, q=q), depth, weights)
    assert spectrum.mean == pytest.approx(1.0, abs=1e-13)
    assert spectrum.variance == pytest.approx(variance, rel=1e-10)
    assert spectrum.s_max == pytest.approx(s_max, rel=3e-12)
    assert spectrum.quantile(0.75) == pytest.approx(s75, rel=1e-7)
    assert spectrum.error < 1e-11


def test_atoms() -> None:
    spectrum = mf.jacobian_spectrum(mf.critical("hard_tanh", q=0.25), 8, "orthogonal")
    atoms = [(0.0, 0.045500264), (1.20474948513, 0.63599789)]
    np.testing.assert_allclose(spectrum.atoms, atoms, rtol=1e-8)
    assert spectrum.support[0, 1] ** 2 == pytest.approx(0.9711173621, abs=1e-10)
    assert spectrum.cdf(1.1) == pytest.approx(1 - 0.63599789, abs=1e-8)
    assert spectrum.quantile(0.9) == spectrum.atoms[1, 0] == spectrum.s_max
    assert spectrum.condition_number == np.inf


def fuss_catalan(depth: int, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`s^2` and its density of a product of Gaussian matrices (Haagerup & Moeller 2013)."""
    a, b, c = (np.sin(k * theta) for k in (depth + 1, 1, depth))
    x = a ** (depth + 1) / (b * c**depth)
    return x, b**2 * c ** (depth - 1) / (np.pi * a**depth)


@pytest.mark.parametrize("depth", [1, 2, 3, 8, 64])
def test_linear_gaussian(depth: int) -> None:
    spectrum = mf.jacobian_spectrum(mf.Network("linear", 1.0), depth)
    x, density = fuss_catalan(depth, np.linspace(1e-3, np.pi / (depth + 1) * 0.999, 400))
    s = np.sqrt(x)
    np.testing.assert_allclose(spectrum.density(s), 2 * s * density, rtol=1e-8)
    assert spectrum.s_max**2 == pytest.approx((depth + 1) ** (depth + 1) / depth**depth, rel=1e-12)


def moment(spectrum: mf.Spectrum, power: int) -> float:
    """`E[s^(2 power)]`, by integrating the density between the edges of the support."""
    total = float(np.sum(spectrum.atoms[:, 1] * spectrum.atoms[:, 0] ** (2 * power)))
    t, w = np.polynomial.legendre.leggauss(200)
    for _, high in spectrum.log_support:
        # down to where nothing is left; y = log s in t^2, in which edges are smooth
        low = max(float(spectrum.log_quantile(1e-12)), -400.0)
        u = 0.5 * np.sqrt(high - low) * (t + 1)
        y = high - u**2
        values = spectrum.log_density(y) * np.exp(2 * power * y) * 2 * u
        total += float(0.5 * np.sqrt(high - low) * np.sum(w * values))
    return total


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize(("phi", "depth"), [("relu", 8), ("hard_tanh", 4), ("linear", 5)])
def test_mean_and_variance_by_integration(phi: str, depth: int, weights: str) -> None:
    spectrum = mf.jacobian_spectrum(mf.critical(phi, q=1.0), depth, weights)
    assert moment(spectrum, 1) == pytest.approx(spectrum.mean, abs=1e-10)
    second = spectrum.variance + spectrum.mean**2
    assert moment(spectrum, 2) == pytest.approx(second, rel=1e-10)


@pytest.mark.parametrize("depth", [8, 16, 64, 128, 10_000])
@pytest.mark.parametrize(("phi", "q"), [("relu", 1.0), ("hard_tanh", 0.5), ("hard_tanh", 2.0)])
def test_two_slopes(phi: str, q: float, depth: int) -> None:
    """`S = (1 + m)/(p + m)` for a slope that is 1 with probability `p`, else 0; the edge is where
    `p + m = L (1 - p) m`."""
    point = mf.critical(phi, q=q)
    spectrum = mf.jacobian_spectrum(point, depth, "orthogonal")
    p = 1 / point.weight_var
    m = p / (depth * (1 - p) - 1)
    log_x = np.log((1 + m) / m) + depth * (np.log1p(m / p) - np.log1p(m))
    assert m > 0
    assert spectrum.log_support[-1, 1] == pytest.approx(log_x / 2, abs=1e-13 * depth)
    assert spectrum.atoms[0, 1] == pytest.approx(1 - p, abs=1e-14)
    assert spectrum.mean == pytest.approx(1, abs=1e-12)
    assert spectrum.variance == pytest.approx(depth * (1 / p - 1), rel=1e-12)


CASES = st.tuples(
    st.sampled_from(["tanh", "gelu", "relu", "hard_tanh", "leaky_relu", "silu"]),
    st.sampled_from([0.3, 1.0, 2.0]),
    st.sampled_from(["gaussian", "orthogonal"]),
    st.sampled_from([2, 5, 64]),
)


@settings(max_examples=25)
@given(CASES)
def test_distribution_function(case) -> None:
    phi, q, weights, depth = case
    spectrum = mf.jacobian_spectrum(mf.critical(phi, q=q), depth, weights)
    p = np.linspace(0.001, 0.999, 331)
    s = spectrum.quantile(p)
    assert np.all(np.diff(s) >= 0)
    above = spectrum.cdf(s)
    assert np.all(above >= p - 1e-11)
    atoms = np.isin(s, spectrum.atoms[:, 0])
    np.testing.assert_allclose(above[~atoms], p[~atoms], atol=1e-11)
    grid = np.linspace(0, 1.1 * spectrum.s_max, 501)
    assert np.all(np.diff(spectrum.cdf(grid)) >= -1e-13)
    assert spectrum.cdf(spectrum.s_max) == 1 and spectrum.cdf(-1.0) == 0


@settings(max_examples=8)
@given(CASES, st.floats(0.2, 5.0), st.floats(0.2, 5.0))
def test_scaling(case, a: float, b: float) -> None:
    """`a phi(b x)` at `q / b^2` has the slopes `a b phi'`."""
    phi, q, weights, depth = case
    point = mf.critical(phi, q=q)
    base: Any = mf.Activation(phi)
    scaled = mf.critical(mf.Activation(lambda x: a * base(b * x)), q=q / b**2)
    one, other = (mf.jacobian_spectrum(p, depth, weights) for p in (point, scaled))
    p = np.linspace(0.05, 0.95, 7)
    q1, q2 = one.quantile(p), other.quantile(p)
    np.testing.assert_allclose(np.log(q2[q1 > 0]), np.log(q1[q1 > 0]), atol=1e-9 * depth)
    assert other.s_max == pytest.approx(one.s_max, rel=1e-9)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_support_scales_with_weight_var(weights: str) -> None:
    point = mf.critical("tanh", q=0.5)
    network = mf.Network("tanh", 3 * point.weight_var, point.bias_var)
    other = dataclasses.replace(point, network=network, chi1=3.0)
    one, other = (mf.jacobian_spectrum(p, 200, weights) for p in (point, other))
    shift = 100 * np.log(3)  # s^2 by 3 in each of 200 layers
    assert other.log_support[0, 1] - one.log_support[0, 1] == pytest.approx(shift, abs=1e-10)
    p = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(other.log_quantile(p) - one.log_quantile(p), shift, atol=1e-8)
    np.testing.assert_allclose(other.mean / one.mean, 3.0**200, rtol=1e-11)


def test_bad_input() -> None:
    point = mf.critical("tanh")
    with pytest.raises(ValueError, match="depth: must be at least 1, got 0"):
        mf.jacobian_spectrum(point, 0)
    with pytest.raises(ValueError, match="weights"):
        mf.jacobian_spectrum(point, 3, "nonsense")
    with pytest.raises(TypeError, match="point"):
        mf.jacobian_spectrum("tanh", 3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="jumps"):
        mf.jacobian_spectrum(mf.Network("sign", 1.0), 3)
    with pytest.raises(ValueError, match="p: "):
        mf.jacobian_spectrum(point, 3).quantile(1.5)


@pytest.mark.parametrize(
    ("phi", "q", "weights"),
    [("relu", 1.0, "orthogonal"), ("tanh", 0.5, "gaussian"), ("leaky_relu", 1.0, "orthogonal")],
)
def test_layers_that_are_equal(phi: str, q: float, weights: str) -> None:
    point = mf.critical(phi, q=q)
    one = mf.jacobian_spectrum(point, 8, weights)
    # not told that they are equal: one has another variance by rounding
    other = mf.layered_spectrum(point, [q] * 7 + [q * (1 + 1e-15)], weights=weights)
    p = np.linspace(0.55, 0.99, 9)
    np.testing.assert_allclose(other.quantile(p), one.quantile(p), rtol=1e-8)
    np.testing.assert_allclose(other.support, one.support, rtol=1e-9)
    np.testing.assert_allclose([other.mean, other.variance], [one.mean, one.variance], rtol=1e-11)


@pytest.mark.parametrize("ratio", [0.25, 0.75, 1.5])
def test_one_rectangular_layer(ratio: float) -> None:
    """Marchenko & Pastur: `s` from `|1 - sqrt(ratio)|` to `1 + sqrt(ratio)`."""
    spectrum = mf.layered_spectrum(mf.Network("linear", 1.0), 1.0, widths=[400, 400 * ratio])
    edges = [abs(1 - np.sqrt(ratio)), 1 + np.sqrt(ratio)]
    np.testing.assert_allclose(spectrum.support, [edges], rtol=1e-11)
    assert np.sum(spectrum.atoms[:, 1]) == pytest.approx(max(0, 1 - ratio), abs=1e-13)
    s = np.linspace(edges[0], edges[1], 30)[1:-1]
    x = s * s
    density = np.sqrt((edges[1] ** 2 - x) * (x - edges[0] ** 2)) / (2 * np.pi * x)
    np.testing.assert_allclose(spectrum.density(s), 2 * s * density, rtol=1e-9)


def test_layers_that_do_not_fit() -> None:
    network = mf.Network("tanh", 1.5)
    with pytest.raises(ValueError, match="q: "):
        mf.layered_spectrum([network, network], [1.0])
    with pytest.raises(ValueError, match="widths: must be 3"):
        mf.layered_spectrum([network, network], [1.0, 1.0], widths=[3, 4])
    with pytest.raises(ValueError, match="square"):
        weights = mf.ensembles.LowRank(0.5)
        mf.layered_spectrum(network, [1.0], widths=[3, 4], weights=weights)


@pytest.mark.parametrize("phi", ["tanh", "gelu", "elu"])
def test_one_orthogonal_layer(phi: str) -> None:
    """`s` is `|phi'(z)|`, scaled: its distribution function is that of `z` at the crossings."""
    point = mf.critical(phi, q=1.0)
    spectrum = mf.jacobian_spectrum(point, 1, "orthogonal")
    assert len(spectrum.support) == 1
    z = np.linspace(-8, 8, 800_001)
    slope: Any = point.activation.sampled(z).slope
    weight = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    for s in (0.3, 0.6, 0.9):
        below = np.sum(weight[np.sqrt(point.weight_var) * np.abs(slope) <= s])
        assert spectrum.cdf(s) == pytest.approx(below, abs=3e-5)
    assert spectrum.mean == pytest.approx(1, abs=1e-12)


def test_one_layer_of_constant_slopes_is_atoms() -> None:
    """Slopes 0.3, 1 and 2, with the probabilities of a Gaussian below -1, up to 0 and above."""

    def phi(x):
        return jnp.where(x < -1, 0.3 * (x + 1) - 1, jnp.where(x < 0, x, 2 * x))

    found = mf.layered_spectrum(mf.Network(phi, 0.5), [1.0], weights="orthogonal").atoms
    below = 0.15865525393145705
    expected = np.sqrt(0.5) * np.array([0.3, 1, 2])
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-13)
    np.testing.assert_allclose(found[:, 1], [below, 0.5 - below, 0.5], rtol=1e-13)


@pytest.mark.parametrize("depth", [1, pytest.param(4, marks=pytest.mark.slow), 64])
@pytest.mark.parametrize(
    "phi",
    [
        lambda x: x + 1e-3 * jnp.tanh((x - 0.3) / 1e-3),
        lambda x: x + 0.02 * jnp.tanh(50 * x),
        lambda x: x + 0.02 * jnp.exp(-((x - 0.3) ** 2) / 0.01),
    ],
    ids=["narrow", "steep", "bump"],
)
def test_what_is_constant_but_for_a_narrow_feature(phi, depth: int) -> None:
    """Moments over the law are those of `chi1` and of `E[phi'^4]`, to the error that is told."""
    spectrum = mf.jacobian_spectrum(mf.critical(phi, q=1.0), depth, "orthogonal")
    assert spectrum.error < 1e-6
    found = spectrum.distribution
    top = np.exp(found.ends[1])
    for power, expected in (1, spectrum.mean), (2, spectrum.mean**2 + spectrum.variance):
        total = sum(mass * np.exp(power * y) for y, mass in found.atoms)
        for part in found.components:
            y, mass = part.nodes
            total += np.sum(mass * np.exp(power * y))
        assert total == pytest.approx(expected, abs=power * spectrum.error * top**power)
