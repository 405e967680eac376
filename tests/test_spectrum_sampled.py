"""Jacobian spectra against sampled networks of width 1000, at the level of 1/N."""

import numpy as np
import pytest
from scipy.special import ndtri

import meanfield as mf

pytestmark = pytest.mark.slow

N = 1000
CASES = [
    (phi, q, weights, depth)
    for weights in ("gaussian", "orthogonal")
    for phi, q, depth in [
        ("tanh", 0.1, 4), ("tanh", 1.0, 8), ("relu", 1.0, 2), ("relu", 1.0, 8), ("gelu", 1.0, 4),
        ("hard_tanh", 0.25, 8), ("silu", 2.0, 3), ("leaky_relu", 1.0, 16), ("erf", 0.5, 32),
        ("elu", 1.0, 1),
    ]
]  # fmt: skip


def matrix(rng: np.random.Generator, weight_var: float, weights: str) -> np.ndarray:
    entries = rng.standard_normal((N, N))
    if weights == "gaussian":
        return np.sqrt(weight_var / N) * entries
    orthogonal, triangular = np.linalg.qr(entries)
    return np.sqrt(weight_var) * orthogonal * np.sign(np.diag(triangular))


def distance(spectrum: mf.Spectrum, s: np.ndarray) -> float:
    """Kolmogorov & Smirnov's, away from the atoms, where values differ by rounding."""
    s = np.sort(s)
    rank = np.arange(N + 1) / N
    # sampled atoms lie within rounding of them
    for atom, _ in spectrum.atoms:
        s[np.abs(s - atom) <= 1e-9 * spectrum.s_max] = atom
    below = np.searchsorted(s, s, side="left")
    upto = np.searchsorted(s, s, side="right")
    theory = spectrum.cdf(s)
    jump = np.array([np.sum(spectrum.atoms[spectrum.atoms[:, 0] == x, 1]) for x in s])
    off = np.maximum(theory - jump - rank[below], rank[upto] - theory)
    return float(np.max(off[s > 0]))  # what is lost to rounding was set to 0


def singular_values(jacobian: np.ndarray) -> np.ndarray:
    s = np.linalg.svd(jacobian, compute_uv=False)
    s[s < N * np.finfo(float).eps * s[0]] = 0.0
    return s


def slopes(point: mf.FixedPoint, z: np.ndarray) -> np.ndarray:
    slope = point.activation.sampled(z).slope
    assert slope is not None
    return slope


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_stratified_slopes(case) -> None:
    """Eigenvalues repel: with slopes that are spread evenly all is right to a few 1/N."""
    phi, q, weights, depth = case
    point = mf.critical(phi, q=q)
    rng = np.random.default_rng(0)
    z = np.sqrt(q) * ndtri((np.arange(N) + 0.5) / N)
    jacobian = np.eye(N)
    for _ in range(depth):
        rng.shuffle(z)
        jacobian = slopes(point, z)[:, None] * (matrix(rng, point.weight_var, weights) @ jacobian)
    spectrum = mf.jacobian_spectrum(point, depth, weights)
    # and half a step of the evenly spread slopes in each layer
    assert distance(spectrum, singular_values(jacobian)) < (6 + depth) / N


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_networks(case) -> None:
    """Real networks: the forward pass of a random input decides the slopes."""
    phi, q, weights, depth = case
    point = mf.critical(phi, q=q)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(N)
    x *= np.sqrt(point.input_second_moment / np.mean(x * x))
    jacobian = np.eye(N)
    for _ in range(depth):
        w = matrix(rng, point.weight_var, weights)
        z = w @ x + np.sqrt(point.bias_var) * rng.standard_normal(N)
        jacobian = slopes(point, z)[:, None] * (w @ jacobian)
        x = point.activation.sampled(z).value
    spectrum = mf.jacobian_spectrum(point, depth, weights)
    # three standard deviations of the share of N draws, in each layer anew
    assert distance(spectrum, singular_values(jacobian)) < 6 / N + 1.5 * np.sqrt(depth / N)
