"""Spectra of residual networks: closed forms, sampled networks, and the universal limit."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meanfield as mf
from meanfield.ensembles import LowRank, MaskedOrthogonal


def network(phi: Any, weight_var: float = 1.0, weights: Any = "gaussian") -> mf.FixedPoint:
    """A point at q = 1, whatever depth does to it."""
    from dataclasses import replace

    point = mf.critical(phi, q=1.0, weights=weights)
    return replace(point, network=mf.Network(phi, weight_var, point.bias_var, weights))


# -- closed forms ---------------------------------------------------------------------------------


@settings(max_examples=10)
@given(st.floats(0.2, 3.0), st.floats(0.05, 0.95))
def test_one_rotation_beside_the_skip(a: float, ratio: float) -> None:
    """`|a + b e^(i t)|` with an even law of angles: the arcsine law."""
    b = ratio * a
    point = network("identity", b * b, "orthogonal")
    spectrum = mf.residual_spectrum(point, 1, skip=a, branch_var=1.0)
    np.testing.assert_allclose(spectrum.support[0], [a - b, a + b], rtol=1e-6)
    t = np.linspace(0.3, 2.8, 6)
    s = np.sqrt(a * a + b * b + 2 * a * b * np.cos(t))
    np.testing.assert_allclose(spectrum.cdf(s), 1 - t / np.pi, atol=1e-8)


def test_one_gaussian_matrix_beside_the_skip() -> None:
    """`a + G`: the Stieltjes transform solves Dozier and Silverstein's cubic equation."""
    a, v = 1.3, 0.6
    spectrum = mf.residual_spectrum(network("identity", v), 1, skip=a, branch_var=1.0)
    low, high = spectrum.support[0]
    for s in np.linspace(low, high, 9)[1:-1]:
        x = s * s
        # g = 1 / (a^2/(1 + v g) - x (1 + v g)), that is, with k = 1 + v g,
        # (k - 1)(a^2 - x k^2) = v k
        k = np.roots([-x, x, a * a - v, -a * a])
        density = np.max(k.imag) / (np.pi * v)  # of x
        assert spectrum.density(s) == pytest.approx(2 * s * density, rel=1e-8)


PHI = {"leaky_relu": mf.Activation("leaky_relu", alpha=0.6)}

CASES = [
    ("tanh", 4, 1.0, 0.5, "gaussian"),
    ("tanh", 1, 1.0, 1.0, "orthogonal"),
    ("tanh", 3, 0.5, 2.0, "gaussian"),  # down to 0
    ("relu", 8, 1.0, 0.25, "gaussian"),
    ("hard_tanh", 6, 1.0, 0.05, "orthogonal"),
    ("gelu", 300, 1.0, 0.003, "orthogonal"),
    ("leaky_relu", 2, 0.3, 4.0, "orthogonal"),  # the branch is the larger
    ("tanh", 6, 1.0, 0.3, LowRank(0.5)),
    ("tanh", 6, 1.0, 0.3, MaskedOrthogonal(0.5)),
]


@pytest.mark.parametrize(("phi", "depth", "skip", "branch_var", "weights"), CASES)
def test_mean_and_variance(
    phi: str, depth: int, skip: float, branch_var: float, weights: Any
) -> None:
    """Two moments of the density, against the formulas, which do not use the curve."""
    spectrum = mf.residual_spectrum(
        network(PHI.get(phi, phi)), depth, skip=skip, branch_var=branch_var, weights=weights
    )
    assert spectrum.error < 1e-9
    low, high = spectrum.log_edges
    low = max(low, high - 40 * (depth + 1))
    t, w = np.polynomial.legendre.leggauss(400)
    alpha = 0.5 * np.pi * (t + 1)
    log_x = high - (high - low) * np.sin(0.5 * alpha) ** 2
    density = 0.5 * spectrum.log_density(0.5 * log_x)
    mass = density * w * 0.25 * np.pi * (high - low) * np.sin(alpha)
    x = np.exp(log_x - np.log(spectrum.mean))
    assert np.sum(mass) == pytest.approx(1, rel=1e-8)
    assert np.sum(mass * x) == pytest.approx(1, rel=1e-8)
    expected = spectrum.variance / spectrum.mean**2
    assert np.sum(mass * x**2) - 1 == pytest.approx(expected, rel=1e-7)


def test_distribution_and_quantiles() -> None:
    spectrum = mf.residual_spectrum(network("tanh"), 5, branch_var=0.4)
    p = np.linspace(0, 1, 21)
    s = spectrum.quantile(p)
    np.testing.assert_allclose(s[[0, -1]], spectrum.support[0], rtol=1e-9)
    np.testing.assert_allclose(spectrum.cdf(s), p, atol=1e-12)
    h = 1e-5
    np.testing.assert_allclose(
        (spectrum.cdf(s[5:-5] + h) - spectrum.cdf(s[5:-5] - h)) / (2 * h),
        spectrum.density(s[5:-5]), rtol=1e-6,
    )  # fmt: skip
    assert spectrum.cdf([0.0, 100.0]).tolist() == [0, 1]


# -- sampled networks -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("phi", "depth", "skip", "branch_var", "weights"), CASES[:5])
def test_sampled_networks(
    phi: str, depth: int, skip: float, branch_var: float, weights: Any
) -> None:
    """Real networks of width 500: Kolmogorov distances of a few 1/n."""
    from meanfield.ensembles import ensemble_of

    n, rng = 500, np.random.default_rng(1)
    point, ensemble = network(PHI.get(phi, phi)), ensemble_of(weights)
    spectrum = mf.residual_spectrum(point, depth, skip=skip, branch_var=branch_var, weights=weights)
    import jax

    box, gaps = point.activation.sampled, []
    for draw in range(3):
        J = np.eye(n)
        for layer in range(depth):
            # branches are normalised: each sees variance 1
            z = rng.standard_normal(n)
            z *= np.sqrt(n) / np.linalg.norm(z)
            slope = np.asarray(box.slopes(z))
            W = np.asarray(ensemble.draw(jax.random.key(100 * draw + layer), n, n, branch_var))
            J = skip * J + W @ (slope[:, None] * J)
        s = np.sort(np.linalg.svd(J, compute_uv=False))
        gaps.append(np.max(np.abs(spectrum.cdf(s) - (np.arange(n) + 0.5) / n)))
    assert max(gaps) < 12 / n


# -- many layers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("phi", "weights"), [("tanh", "gaussian"), ("relu", "orthogonal")])
def test_any_activation_has_one_limit(phi: str, weights: str) -> None:
    """Tarnowski et al. 2018: at branch variance 1/L only the sum of the gains is left."""
    gaps = []
    for depth in (64, 256):
        spectrum = mf.residual_spectrum(mf.critical(phi), depth, weights=weights)
        assert spectrum.mean == pytest.approx((1 + 1 / depth) ** depth, rel=1e-10)
        limit = spectrum.limit
        assert (limit.variance, limit.jump) == (pytest.approx(2), 1)
        p = np.linspace(0.1, 0.9, 9)
        ratio = spectrum.quantile(p) / (limit.quantile(p) * np.sqrt(spectrum.mean))
        gaps.append(np.max(np.abs(ratio - 1)))
    assert gaps[1] < 0.3 * gaps[0] < 0.01


# -- errors ---------------------------------------------------------------------------------------


def test_what_falls_apart_is_refused() -> None:
    point = mf.critical("hard_tanh", q=0.05)
    with pytest.raises(mf.UnresolvedError, match="gaps"):
        mf.residual_spectrum(
            mf.critical("shifted_relu", q=0.05), 1, branch_var=1e-3, weights="orthogonal"
        )
    for phi in (lambda x: x**3, lambda x: x * jnp.abs(x), jnp.sinh):
        with pytest.raises(mf.UnresolvedError, match="slope is unbounded"):
            mf.residual_spectrum(mf.critical(phi, q=0.3))
    with pytest.raises(ValueError, match="skip"):
        mf.residual_spectrum(point, 4, skip=0.0)
    with pytest.raises(ValueError, match="branch_var"):
        mf.residual_spectrum(point, 4, branch_var=-1.0)
    with pytest.raises(ValueError, match="depth"):
        mf.residual_spectrum(point, 0)
    with pytest.raises(TypeError, match="point"):
        mf.residual_spectrum("tanh")  # type: ignore[arg-type]


def test_text_and_dictionary() -> None:
    spectrum = mf.residual_spectrum(mf.critical("tanh"), 16)
    assert str(spectrum).startswith("ResidualSpectrum of tanh, 16 layers, gaussian weights")
    record = spectrum.to_dict()
    assert record["mean"] == spectrum.mean
    assert record["support"] == spectrum.support.tolist()
