r"""Jacobian spectra against sampled networks, at the level of 1/N, with bounds that are derived.

Eigenvalues repel. Of one real matrix the number of eigenvalues below a point is a field with
logarithmic correlations and the variance `log(N) / pi^2`, twice that of a complex one: its largest
deviation is `sqrt(2)/pi log(N)`, and more by `x` with a probability of `exp(-sqrt(2) pi x)`
(Claeys, Fahs, Lambert & Webb 2021, arXiv 1906.01561). That is what is left where the slopes of each
layer are spread evenly.

In real networks slopes are drawn: shares of N draws vary by `1/sqrt(N)` from network to network,
around a mean that is off by `b/N`, with a `b` that nobody knows. So means over networks of two
widths are taken, and `2 mean(2N) - mean(N)`, of which `b` drops out, must be the theory up to
standard errors, as measured between networks.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import t as student

import meanfield as mf

pytestmark = pytest.mark.slow

CASES = [
    (phi, q, weights, depth)
    for weights in ("gaussian", "orthogonal")
    for phi, q, depth in [
        ("tanh", 0.1, 4), ("tanh", 1.0, 8), ("relu", 1.0, 2), ("relu", 1.0, 8), ("gelu", 1.0, 4),
        ("hard_tanh", 0.25, 8), ("silu", 2.0, 3), ("leaky_relu", 1.0, 16), ("erf", 0.5, 32),
        ("elu", 1.0, 1),
    ]
]  # fmt: skip
NEVER = 1e-3  # the probability that any of the cases fails by chance


def drawn(rng: np.random.Generator, n: int, weight_var: float, weights: str) -> np.ndarray:
    entries = rng.standard_normal((n, n))
    if weights == "gaussian":
        return np.sqrt(weight_var / n) * entries
    orthogonal, triangular = np.linalg.qr(entries)
    return np.sqrt(weight_var) * orthogonal * np.sign(np.diag(triangular))


def slopes(point: mf.FixedPoint, z: np.ndarray) -> np.ndarray:
    slope = point.activation.sampled(z).slope
    assert slope is not None
    return slope


def singular_values(jacobian: np.ndarray, spectrum: mf.Spectrum) -> np.ndarray:
    """In order; those that are atoms but for rounding put there."""
    s = np.sort(np.linalg.svd(jacobian, compute_uv=False))
    s[s < len(s) * np.finfo(float).eps * s[-1]] = 0.0
    for atom, _ in spectrum.atoms:
        s[np.abs(s - atom) <= 1e-9 * spectrum.s_max] = atom
    return s


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_stratified_slopes(case) -> None:
    """The distance of Kolmogorov & Smirnov, away from what is lost to rounding."""
    phi, q, weights, depth = case
    point, n = mf.critical(phi, q=q), 1000
    spectrum = mf.jacobian_spectrum(point, depth, weights)
    rng = np.random.default_rng(0)
    z = np.sqrt(q) * ndtri((np.arange(n) + 0.5) / n)
    jacobian = np.eye(n)
    for _ in range(depth):
        rng.shuffle(z)
        jacobian = slopes(point, z)[:, None] * (drawn(rng, n, point.weight_var, weights) @ jacobian)
    s = singular_values(jacobian, spectrum)
    rank, theory = np.arange(n + 1) / n, spectrum.cdf(s)
    jump = np.array([np.sum(spectrum.atoms[spectrum.atoms[:, 0] == x, 1]) for x in s])
    below, upto = (rank[np.searchsorted(s, s, side)] for side in ("left", "right"))
    distance = np.max(np.maximum(theory - jump - below, upto - theory)[s > 0])
    repelling = np.sqrt(2) / np.pi * np.log(n)
    chance = np.log(len(CASES) / NEVER) / (np.sqrt(2) * np.pi)
    # a staircase is off by half a step; and so are the slopes of each layer, which a distribution
    # function can follow, as a change of one slope is a perturbation of rank one
    assert n * distance < repelling + chance + 0.5 + 0.5 * depth


def networks(
    rng: np.random.Generator, point: mf.FixedPoint, n: int, depth: int, weights: str
) -> Iterator[np.ndarray]:
    """Jacobians of networks, at a random input of the right length."""
    while True:
        x = rng.standard_normal(n)
        x *= np.sqrt(point.input_second_moment / np.mean(x * x))
        jacobian = np.eye(n)
        for _ in range(depth):
            w = drawn(rng, n, point.weight_var, weights)
            z = w @ x + np.sqrt(point.bias_var) * rng.standard_normal(n)
            jacobian = slopes(point, z)[:, None] * (w @ jacobian)
            x = point.activation.sampled(z).value
        yield jacobian


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_networks(case) -> None:
    """The forward pass of a random input decides the slopes."""
    phi, q, weights, depth = case
    point = mf.critical(phi, q=q)
    spectrum = mf.jacobian_spectrum(point, depth, weights)
    zero = float(np.sum(spectrum.atoms[spectrum.atoms[:, 0] == 0, 1]))
    # next to 0 it is the least of all layers that decides, which is not linear in any of them
    p = zero + (1 - zero) * np.arange(1, 10) / 10
    at = np.unique(spectrum.quantile(p))
    atoms = np.isin(at, spectrum.atoms[:, 0])
    at = np.sort(np.concatenate([at[~atoms], at[atoms] * (1 - 1e-6), at[atoms] * (1 + 1e-6)]))
    at = at[at > 1e-11 * spectrum.s_max]  # what is less is rounding
    rng = np.random.default_rng(0)
    mean, error = [], []
    for n, count in ((125, 96), (250, 48)):
        source = networks(rng, point, n, depth, weights)
        found = [singular_values(next(source), spectrum) for _ in range(count)]
        share = np.array([np.searchsorted(s, at) for s in found]) / n - spectrum.cdf(at)
        mean.append(share.mean(axis=0))
        error.append(share.std(axis=0, ddof=1) / np.sqrt(count))
    limit, sigma = 2 * mean[1] - mean[0], np.hypot(2 * error[1], error[0])
    few = student.isf(0.5 * NEVER / (len(CASES) * len(at)), 47)
    assert np.all(np.abs(limit) < few * sigma + 1e-12)
