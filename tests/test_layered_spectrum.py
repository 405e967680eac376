"""Spectra of layers that differ: equal ones, closed forms, exact moments, sampled matrices."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import erf, ndtri

import meanfield as mf
from meanfield.activation import as_activation
from meanfield.ensembles import LowRank, MaskedOrthogonal, OrthogonalLowRank
from meanfield.spectrum.distribution import Distribution
from meanfield.spectrum.equal import equal_layers
from meanfield.spectrum.law import slope_law
from meanfield.spectrum.layers import Kind, layered_distribution
from meanfield.spectrum.transform import Transform


def bent(slope: float) -> mf.Activation:
    return mf.Activation(lambda x: jnp.where(x < 0, slope * x, x), [0.0])


def bands(law: Distribution) -> np.ndarray:
    """Intervals with a density; those that touch are one."""
    ends = np.array([(part.low, part.high) for part in law.components])
    apart = ends[1:, 0] - ends[:-1, 1] > 1e-9
    return np.column_stack([ends[np.append(True, apart), 0], ends[np.append(apart, True), 1]])


def moments(spectrum: mf.Spectrum) -> list[float]:
    """Mass, mean and variance of `s^2`, of the law as it is."""
    y, mass = (
        np.concatenate(part)
        for part in zip(*(part.nodes for part in spectrum.distribution.components), strict=True)
    )  # fmt: skip
    places, masses = spectrum.atoms.T
    first, second = (
        float(np.exp(k * y) @ mass + places ** (2 * k) @ masses) for k in (1, 2)
    )  # fmt: skip
    return [float(np.sum(mass) + np.sum(masses)), first, second - first**2]


@pytest.mark.parametrize(
    ("phi", "q", "weights", "depth"),
    [
        ("hard_tanh", 0.25, "orthogonal", 8),  # a gap below an atom
        ("hard_tanh", 0.25, "gaussian", 3),
        ("leaky_relu", 1.0, "orthogonal", 2),
        ("tanh", 0.1, "orthogonal", 8),
        ("gelu", 1.0, "gaussian", 4),
        ("tanh", 0.5, MaskedOrthogonal(0.4), 3),
        (bent(0.05), 1.0, "orthogonal", 2),  # two atoms become two intervals
        (lambda x: jnp.tanh(x) + 2 * jnp.clip(x, -1, 1), 0.6, "orthogonal", 2),  # a gap, no atom
    ],
)
def test_the_general_method_on_equal_layers(phi: Any, q: float, weights: Any, depth: int) -> None:
    """The method for layers that differ, against that for equal ones, which shares none of it."""
    law, ensemble = slope_law(as_activation(phi), q), mf.ensembles.ensemble_of(weights)
    one, _ = equal_layers(Transform(law, ensemble, depth, 0.3))
    other, error = layered_distribution([Kind(depth, law, ensemble, 0.3, 1.0, 1.0)])
    assert error < 1e-9
    np.testing.assert_allclose(bands(other), bands(one), atol=1e-10)
    np.testing.assert_allclose(
        np.reshape(other.atoms, (-1, 2)), np.reshape(one.atoms, (-1, 2)), atol=1e-12
    )
    assert other.zero == pytest.approx(one.zero, abs=1e-15)
    for part in one.components:
        y = part.bottom + (part.top - part.bottom) * np.linspace(0.3, 0.99, 8)
        np.testing.assert_allclose(other.cumulative(y), one.cumulative(y), atol=1e-10)
        np.testing.assert_allclose(other.density(y), one.density(y), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("q", [(0.3, 0.6), (0.6, 2.0), (2.0, 3.0)])
def test_two_projections(q: tuple[float, float]) -> None:
    """Hard tanh twice: the free product of two Bernoulli laws, all of it explicit."""
    p, r = (float(erf(1 / np.sqrt(2 * x))) for x in q)
    spectrum = mf.layered_spectrum(mf.Network("hard_tanh", 1.0), q, weights="orthogonal")
    middle, half = p + r - 2 * p * r, np.sqrt(4 * p * r * (1 - p) * (1 - r))
    np.testing.assert_allclose(spectrum.support**2, [[middle - half, middle + half]], rtol=1e-10)
    atoms = [[0, 1 - min(p, r)], [1, p + r - 1]] if p + r > 1 else [[0, 1 - min(p, r)]]
    np.testing.assert_allclose(spectrum.atoms, atoms, atol=1e-13)
    x = middle + half * np.linspace(-0.99, 0.99, 9)
    density = np.sqrt(half**2 - (x - middle) ** 2) / (2 * np.pi * x * (1 - x))
    np.testing.assert_allclose(spectrum.density(np.sqrt(x)), 2 * np.sqrt(x) * density, rtol=1e-9)


@pytest.mark.parametrize("widths", [(200, 100), (100, 200), (100, 300)])
def test_a_rectangular_layer_with_half_of_its_units_off(widths: tuple[int, int]) -> None:
    """Marchenko & Pastur's law of the units that are on."""
    on = 0.5 * widths[1] / widths[0]
    spectrum = mf.layered_spectrum(
        mf.Network("relu", 2.0), 1.0, widths=widths, weights="gaussian"
    )  # fmt: skip
    edges = np.sqrt(2) * np.array([abs(1 - np.sqrt(on)), 1 + np.sqrt(on)])
    np.testing.assert_allclose(spectrum.support, [edges], rtol=1e-11, atol=1e-5 if on == 1 else 0)
    assert np.sum(spectrum.atoms[:, 1]) == pytest.approx(max(0, 1 - on), abs=1e-13)
    s = edges[0] + (edges[1] - edges[0]) * np.linspace(0.02, 0.98, 9)
    density = np.sqrt((edges[1] ** 2 - s**2) * (s**2 - edges[0] ** 2)) / (2 * np.pi * s)
    np.testing.assert_allclose(spectrum.density(s), density, rtol=1e-8)


def test_orthogonal_rows_of_units_that_are_off_or_on() -> None:
    """All is atoms: half of 100 outputs, orthonormal rows, of 200 inputs."""
    spectrum = mf.layered_spectrum(mf.Network("relu", 2.0), 1.0, widths=[200, 100],
                                   weights="orthogonal")  # fmt: skip
    np.testing.assert_allclose(spectrum.atoms, [[0, 0.75], [np.sqrt(2), 0.25]], atol=1e-14)
    assert len(spectrum.support) == 0


def test_a_gap() -> None:
    """Half of the directions are a hundred times smaller: as many lie on both sides of the gap."""
    layers = [mf.Network(bent(0.01), 1.0), mf.Network("tanh", 1.0)]
    spectrum = mf.layered_spectrum(layers, [1.0, 0.01], weights="orthogonal")
    (low, middle), (other, high) = spectrum.support
    assert 0 <= low < middle < 0.1 * other < high
    assert spectrum.cdf(middle) == pytest.approx(0.5, abs=1e-10)
    assert spectrum.cdf(np.sqrt(middle * other)) == pytest.approx(0.5, abs=1e-10)
    assert spectrum.density(np.sqrt(middle * other)) == 0
    assert moments(spectrum) == pytest.approx([1, spectrum.mean, spectrum.variance], rel=1e-10)


LAYERS = st.lists(
    st.tuples(
        st.sampled_from(["tanh", "relu", "gelu", "hard_tanh", "elu", "linear"]),
        st.sampled_from([0.2, 0.7, 1.0]),  # q
        st.sampled_from([0.5, 1.0, 2.0]),  # weight_var
        st.sampled_from(["gaussian", "orthogonal"]),
        st.sampled_from([50, 100, 120, 300]),  # width
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12)
@given(LAYERS)
def test_mass_mean_and_variance(layers: list[Any]) -> None:
    """`E[s^2]` and `Var(s^2)` follow from moments alone; the law must have them."""
    networks = [mf.Network(phi, var, weights=weights) for phi, _, var, weights, _ in layers]
    widths = [100, *(layer[-1] for layer in layers)]
    spectrum = mf.layered_spectrum(networks, [layer[1] for layer in layers], widths=widths)
    assert spectrum.error < 1e-8
    if spectrum.distribution.components:
        assert moments(spectrum) == pytest.approx([1, spectrum.mean, spectrum.variance], rel=1e-8)
    else:
        places, masses = spectrum.atoms.T
        assert [np.sum(masses), places**2 @ masses] == pytest.approx([1, spectrum.mean], rel=1e-12)


@pytest.mark.parametrize("depth", [1, 10, 10_000])
@pytest.mark.parametrize("weights", [LowRank(0.25), OrthogonalLowRank(0.25)], ids=str)
def test_low_rank_at_any_depth(weights: Any, depth: int) -> None:
    """Linear layers: the largest `log s^2` is the least of an explicit function of `m > 0`."""
    spectrum = mf.layered_spectrum(mf.Network("linear", 1.0), [1.0] * depth, weights=weights)
    orthogonal = weights.name == "orthogonal-low-rank"
    if orthogonal and depth == 1:
        np.testing.assert_allclose(spectrum.atoms, [[0, 0.75], [2, 0.25]], rtol=1e-13)
        return

    def log_z(t: float) -> float:
        m = np.exp(t)
        layer = np.log1p(m / 0.25) - (np.log1p(m) if orthogonal else 0.0)
        return np.log1p(m) - t + depth * layer

    # a minimum is known to the root of rounding, and its value to rounding
    least: Any = minimize_scalar(log_z, bounds=(-14, 4), method="bounded", options={"xatol": 1e-9})
    assert 2 * np.log(spectrum.s_max) == pytest.approx(least.fun, abs=1e-11 * depth + 1e-12)
    np.testing.assert_allclose(spectrum.atoms, [[0, 0.75]], rtol=1e-13)
    assert moments(spectrum)[:2] == pytest.approx([1, 1], rel=1e-9)


@pytest.mark.parametrize(
    ("layers", "q", "widths"),
    [
        ([("relu", 2.0), ("tanh", 1.5)], [1.0, 0.5], [300, 150, 400]),
        ([("leaky_relu", 2.0), ("hard_tanh", 1.2), ("relu", 2.0)], [1.0, 0.3, 1.0], None),
        ([(bent(0.01), 1.0), ("tanh", 1.0)], [1.0, 0.3], None),
    ],
)
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_sampled_matrices(layers: Any, q: Any, widths: Any, weights: str) -> None:
    """Evenly spread slopes: no point of the distribution function is off by more than a few 1/n."""
    n = 400
    networks = [mf.Network(phi, var, weights=weights) for phi, var in layers]
    sizes = np.full(len(q) + 1, n) if widths is None else np.array(widths)
    rng = np.random.default_rng(0)
    jacobian = np.eye(sizes[0])
    for network, variance, rows, columns in zip(networks, q, sizes[1:], sizes[:-1], strict=True):
        z = np.sqrt(variance) * rng.permutation(ndtri((np.arange(rows) + 0.5) / rows))
        slope: Any = network.activation.sampled(z).slope
        entries = rng.standard_normal((max(rows, columns),) * 2)[:, :columns]
        if weights == "gaussian":
            w = np.sqrt(network.weight_var / columns) * entries[:rows]
        else:
            square = np.linalg.qr(rng.standard_normal((max(rows, columns),) * 2))[0]
            scale = network.weight_var * max(rows, columns) / columns
            w = np.sqrt(scale) * square[:rows, :columns]
        jacobian = slope[:, None] * (w @ jacobian)
    s = np.zeros(sizes[0])
    found = np.linalg.svd(jacobian, compute_uv=False)[: sizes[0]]
    s[: len(found)] = np.where(found > 1e-10 * found[0], found, 0.0)
    s = np.sort(s)
    spectrum = mf.layered_spectrum(networks, q, widths=widths)
    between = np.unique(spectrum.quantile((np.arange(400) + 0.5) / 400))
    between = between[~np.isin(between, spectrum.atoms[:, 0])]
    off = np.abs(np.searchsorted(s, between) / len(s) - spectrum.cdf(between))
    # eigenvalues repel; and half a step of the evenly spread slopes in each layer
    assert np.max(off) < (6 + len(q)) / min(sizes)


def test_ensembles_without_rectangular_matrices() -> None:
    for weights in (LowRank(0.5), MaskedOrthogonal(0.5), mf.ensembles.SparseOrthogonal(0.5)):
        with pytest.raises(ValueError, match="square"):
            mf.layered_spectrum(mf.Network("tanh", 1.0), [1.0], widths=[3, 4], weights=weights)
    for weights in ("uniform", "truncated-normal", mf.ensembles.Sparse(0.5)):
        one = mf.layered_spectrum(mf.Network("tanh", 1.0), [1.0], widths=[3, 4], weights=weights)
        same = mf.layered_spectrum(
            mf.Network("tanh", 1.0), [1.0], widths=[3, 4], weights="gaussian"
        )  # fmt: skip
        assert one.s_max == same.s_max


def test_one_layer_between_rotations() -> None:
    """Orthonormal rows and linear layers pass on the slopes as they are, of half the inputs."""
    tanh, linear = (mf.Network(phi, 0.5, weights="orthogonal") for phi in ("tanh", "linear"))
    spectrum = mf.layered_spectrum([tanh, linear], [0.2, 1.0], widths=[200, 100, 100])
    square = mf.layered_spectrum(tanh, [0.2])
    s = np.linspace(0.1, 1.0, 9) * square.s_max
    shrunk = np.sqrt(0.5) * s
    np.testing.assert_allclose(spectrum.cdf(shrunk), 0.5 + 0.5 * square.cdf(s), atol=1e-13)
    np.testing.assert_allclose(spectrum.quantile(spectrum.cdf(shrunk[:-1])), shrunk[:-1])
    assert moments(spectrum) == pytest.approx([1, spectrum.mean, spectrum.variance], rel=1e-8)
