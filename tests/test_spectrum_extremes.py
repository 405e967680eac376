"""Spectra that are hard to follow: nearly isometric, on the brink of an atom, very deep, one layer.

On the negative axis `z = -y` nothing is singular, and with real sums over `phi'^2` alone

    E[x / (y + x)] = E[X / (t + X)],   log y = L log(weight_var t) + (L - 1) log(m'/n') - L log S_W,

`m' = E[X/(t + X)]`, `n' = 1 - m'`: it is compared with the same of the distribution that was found.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, ndtr, ndtri

import meanfield as mf
from meanfield.dynamical_isometry.residual_curve import slopes
from meanfield.ensembles import (
    Ensemble,
    LowRank,
    MaskedOrthogonal,
    OrthogonalLowRank,
    ensemble_of,
)
from meanfield.spectrum.component import Component
from meanfield.spectrum.path import _distance
from meanfield.spectrum.sums import Sums

CASES = [
    ("selu", 1e-4, "orthogonal", 2), ("selu", 0.05, "orthogonal", 2),
    ("selu", 1.0, "orthogonal", 2), ("elu", 0.05, "orthogonal", 10_000),
    ("erf", 0.5, "orthogonal", 256), ("erf", 1.0, "gaussian", 1000),
    ("gelu", 5.0, "orthogonal", 1), ("gelu", 0.0015, "gaussian", 64),
    ("tanh", 1e-4, "orthogonal", 64), ("tanh", 5.0, "gaussian", 64),
    ("tanh", 20.0, "orthogonal", 10_000), ("sigmoid", 200.0, "gaussian", 8),
    ("silu", 20.0, "orthogonal", 8), ("tanh", 1.0, MaskedOrthogonal(0.5), 3),
    ("leaky_relu", 1.0, "orthogonal", 2), ("tanh", 1.0, LowRank(0.5), 8),
    ("relu", 1.0, LowRank(0.4), 500), ("leaky_relu", 1.0, LowRank(0.5), 1),
    ("gelu", 0.5, OrthogonalLowRank(0.3), 1), ("elu", 1.0, OrthogonalLowRank(0.9), 500),
    ("hard_tanh", 0.5, OrthogonalLowRank(0.95), 2), ("elu", 0.1, OrthogonalLowRank(0.27), 3),
    ("selu", 11.5, OrthogonalLowRank(0.46), 100), ("elu", 14.5, OrthogonalLowRank(0.82), 1),
    ("elu", 1.0, "orthogonal", 2),
]  # fmt: skip


def on_negative_axis(
    point: mf.FixedPoint, weights: Ensemble, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """`log y` and `E[x / (y + x)]`."""
    x, p, zero = slopes(point.activation, float(point.q), 2, 40)
    rank, _ = weights.projected
    least, above = 0.0, np.log(x[0]) - 10
    if 1 - zero > rank:  # y = 0 is where E[X/(t + X)] is the rank, above t = 0
        root: Any = brentq(lambda t: (x / (t + x)) @ p - rank, 0.0, x[-1] / rank)
        least, above = root, np.log(root) - 3
    t = least + np.exp(np.linspace(above, np.log(x[-1]) + 20, 9))
    m, n = (x / (t[:, None] + x)) @ p, zero + (t[:, None] / (t[:, None] + x)) @ p
    log_y = depth * (np.log(point.weight_var) + np.log(t)) + (depth - 1) * np.log(m / n)
    return log_y - depth * weights.log_s(-m, n), m


def transform(spectrum: mf.Spectrum, log_y: np.ndarray) -> np.ndarray:
    """`E[x / (y + x)]` from atoms and the nodes of components, no wider apart than it turns."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    total = np.zeros(len(log_y))
    distribution = spectrum.distribution
    for part in distribution.parts:
        if isinstance(part, tuple):
            total += part[1] * expit(part[0] - log_y)
        elif isinstance(part, Component):
            for k, width in enumerate(np.diff(part.edges)):
                ends = np.polynomial.legendre.legval([-1.0, 1.0], part.y[k])
                cuts = np.linspace(-1, 1, int(ends[0] - ends[1]) + 2)
                half = 0.5 * np.diff(cuts)
                t = (0.5 * (cuts[1:] + cuts[:-1])[:, None] + half[:, None] * nodes).ravel()
                y, mass = (np.polynomial.legendre.legval(t, c[k]) for c in (part.y, part.mass))
                mass *= (half[:, None] * weights).ravel() * 0.5 * width
                total += expit(y - log_y[:, None]) @ mass
        else:
            y, mass = part.nodes
            total += expit(y - log_y[:, None]) @ mass
    return total


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_on_the_negative_axis(case: Any) -> None:
    phi, q, weights, depth = case
    point = mf.critical(phi, q=q)
    spectrum = mf.jacobian_spectrum(point, depth, weights)
    log_y, m = on_negative_axis(point, ensemble_of(weights), depth)
    assert spectrum.error < 1e-9
    # rounding of log y, of a sum over the layers
    limit = spectrum.error + 1e-11 + 1e-15 * depth * np.max(np.abs(log_y))
    np.testing.assert_allclose(transform(spectrum, log_y), m, rtol=0, atol=limit)


def test_far_nodes_by_their_moments() -> None:
    """Nodes over 250 decades, and points among them: the sums are those over all nodes."""
    rng = np.random.default_rng(0)
    x = np.sort(10.0 ** rng.uniform(-250, 3, 600)) * np.exp(-0.3j * rng.uniform(0, 1, 600))
    w = rng.uniform(0, 1, 600) * np.exp(0.1j * rng.uniform(-1, 1, 600)) / 600
    log_u = np.sort(rng.uniform(-500, 8, 100)) + 1j * rng.uniform(0.1, 3, 100)
    with np.errstate(all="ignore"):
        ratio = x / np.exp(log_u)[:, None]
        below = np.abs(ratio) < 1  # of the two forms that which does not overflow
        one = np.where(below, ratio / (1 - ratio), -1 / (1 - 1 / ratio))
        two = np.where(below, 1 / (1 - ratio), -(1 / ratio) / (1 - 1 / ratio))
    expected = np.array([one @ w, 0.2 + two @ w, (one * two) @ w, 0.2 + two**2 @ w])
    np.testing.assert_allclose(Sums(x, w, 0.2, []).at(log_u), expected, rtol=1e-13)


def test_an_atom_that_has_just_vanished() -> None:
    """Two layers of ReLU: `s^2` is 0 or arcsine on (0, 4), a half each."""
    spectrum = mf.jacobian_spectrum(mf.critical("relu"), 2, "orthogonal")
    s = np.linspace(0.01, 1.99, 50)
    np.testing.assert_allclose(spectrum.cdf(s), 0.5 + np.arcsin(s / 2) / np.pi, atol=1e-12)
    np.testing.assert_allclose(spectrum.density(s), 1 / (np.pi * np.sqrt(4 - s * s)), rtol=1e-9)


@pytest.mark.parametrize("q", [0.05, 5.0, 500.0])
def test_one_layer_is_exact(q: float) -> None:
    """`s = sqrt(weight_var) sech(z)^2` with tanh: `P(s' > s)` is that of `|z|` below one number."""
    from scipy.special import erf

    point = mf.critical("tanh", q=q)
    spectrum = mf.jacobian_spectrum(point, 1, "orthogonal")
    z = np.linspace(0.05, 3.0, 40) * np.sqrt(q)
    s = np.sqrt(point.weight_var) / np.cosh(z) ** 2
    np.testing.assert_allclose(spectrum.cdf(s), 1 - erf(z / np.sqrt(2 * q)), atol=1e-12)
    p = spectrum.cdf(s)
    np.testing.assert_allclose(spectrum.quantile(p), s, rtol=1e-10)


def test_what_rounding_hides_is_in_the_error() -> None:
    """By its values the slope of tanh is lost at |x| > 18, which deep networks see."""
    exact, sampled = (
        mf.jacobian_spectrum(mf.critical(phi, q=15.0), 8, "orthogonal") for phi in ("tanh", np.tanh)
    )
    s = np.geomspace(1e-100, 10, 200)
    off = np.max(np.abs(sampled.cdf(s) - exact.cdf(s)))
    assert exact.error < 1e-12 and 1e-6 < off <= sampled.error
    with pytest.raises(mf.UnresolvedError, match="known to"):
        mf.jacobian_spectrum(mf.critical(np.tanh, q=20.0), 8, "orthogonal")


@pytest.mark.parametrize("phi", ["sigmoid", lambda x: 0.5 + 0.5 * jnp.tanh(0.5 * x)])
def test_slopes_are_known_far_out(phi: Any) -> None:
    """`log s'(z) = -2 log(2 cosh(z/2))`, `s' = s (1 - s)` is rounding at `z > 37`."""
    point = mf.critical(phi, q=200.0)
    spectrum = mf.jacobian_spectrum(point, 1, "orthogonal")
    u = np.linspace(-12, 12, 4001)  # the trapezium rule of what is analytic and falls
    log_s = -2 * np.logaddexp(0.5 * np.sqrt(200) * u, -0.5 * np.sqrt(200) * u)
    weight = np.exp(-0.5 * u**2)
    exact = np.average(log_s**2, weights=weight) - np.average(log_s, weights=weight) ** 2
    assert spectrum.log_variance == pytest.approx(exact, rel=1e-10)
    assert spectrum.atoms.shape == (0, 2)


@pytest.mark.parametrize("weights", ["orthogonal", "gaussian"])
@pytest.mark.parametrize("name", ["tanh", "erf", "gelu", "sin"])
@pytest.mark.parametrize("depth", [1, 5, 60])
def test_slopes_that_come_near_zero_leave_no_gap(name: str, depth: int, weights: str) -> None:
    """If `A B A >= c` then `A^2 >= c / |B|`: no product of bounded ones keeps away from 0."""
    spectrum = mf.jacobian_spectrum(mf.critical(name, q=0.2), depth, weights)
    assert spectrum.support[0, 0] == 0
    assert spectrum.condition_number == np.inf


@pytest.mark.parametrize("rank", [0.1, 0.5, 0.8])
def test_two_projections(rank: float) -> None:
    """ReLU, one layer of orthogonal factors: `s^2` is that of a product of two projections.

    With `p` and `r` their ranks it has a density `sqrt((b - x)(x - a)) / (2 pi x (1 - x))` between
    `a, b = (sqrt(p (1-r)) -+ sqrt(r (1-p)))^2`, and `p + r - 1` at 1 (Wachter 1980).
    """
    point, p, r = mf.critical("relu"), 0.5, rank
    spectrum = mf.jacobian_spectrum(point, 1, OrthogonalLowRank(r))
    scale = point.weight_var / r
    a, b = ((np.sqrt(p * (1 - r)) + k * np.sqrt(r * (1 - p))) ** 2 for k in (-1, 1))
    np.testing.assert_allclose(spectrum.support, np.sqrt(scale * np.array([[a, b]])), atol=1e-12)
    zero, one = 1 - min(p, r), p + r - 1
    atoms = [[0.0, zero], [np.sqrt(scale), one]] if one > 0 else [[0.0, zero]]
    np.testing.assert_allclose(spectrum.atoms, atoms, rtol=1e-12)
    x = np.linspace(a, b, 22)[1:-1]
    density = np.sqrt((b - x) * (x - a)) / (2 * np.pi * x * (1 - x))
    s = np.sqrt(scale * x)
    np.testing.assert_allclose(spectrum.density(s), density * 2 * s / scale, rtol=1e-8)


def test_low_rank_is_narrow_marchenko_pastur() -> None:
    """One linear layer: the edges `1/sqrt(r) -+ 1`, and all the mass that is left between them."""
    spectrum = mf.jacobian_spectrum(mf.critical("linear"), 1, LowRank(0.25))
    np.testing.assert_allclose(spectrum.support, [[1.0, 3.0]], rtol=1e-13)
    np.testing.assert_allclose(spectrum.atoms, [[0.0, 0.75]])


CUSP = mf.Activation(lambda x: jnp.abs(x) ** 0.6, [0.0])


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("depth", [1, 8])
def test_an_unbounded_slope_has_no_largest_singular_value(depth: int, weights: str) -> None:
    """`phi' = 0.6 |z|^-0.4`: `E[X/(t + X)]` by the trapezium rule in `log |z|`."""
    point = mf.critical(CUSP, q=1.0)
    spectrum = mf.jacobian_spectrum(point, depth, weights)
    assert spectrum.s_max == spectrum.variance == np.inf
    h = 0.01
    z = np.exp(np.arange(-90, 3, h))
    p, log_x = h * z * np.sqrt(2 / np.pi) * np.exp(-0.5 * z * z), 2 * np.log(0.6) - 0.8 * np.log(z)
    log_t = np.linspace(-8, 8, 9)
    m, n = (expit(sign * (log_x - log_t[:, None])) @ p for sign in (1, -1))
    log_y = depth * (np.log(point.weight_var) + log_t) + (depth - 1) * np.log(m / n)
    log_y = log_y - depth * ensemble_of(weights).log_s(-m, n)
    np.testing.assert_allclose(transform(spectrum, log_y), m, rtol=0, atol=spectrum.error)
    # what is not seen of the mean beside the cusp, in each layer
    assert spectrum.error < 2e-6 * depth


def test_slopes_beside_a_cusp_are_not_zero() -> None:
    """With `x + sign(x) |x|^0.75` they are from 1 to infinity."""
    phi = mf.Activation(lambda x: x + jnp.sign(x) * jnp.abs(x) ** 0.75, [0.0])
    point = mf.critical(phi, q=1.0)
    spectrum = mf.jacobian_spectrum(point, 1, "orthogonal")
    assert spectrum.s_min >= np.sqrt(point.weight_var)
    assert spectrum.s_max == np.inf
    assert spectrum.atoms.shape == (0, 2)
    layers = mf.layered_spectrum(point.network, [1.0, 2.0], weights="orthogonal")
    assert layers.s_max == np.inf


@pytest.mark.parametrize("width", [0.01, 0.02])
def test_slopes_that_cancel_are_at_zero(width: float) -> None:
    """Of `1 - expit((x - 1)/w)` nothing is left far out: no atom of what rounding makes of it."""

    def phi(x: Any) -> Any:
        return x - width * jnp.logaddexp(0.0, (x - 1) / width)

    point = mf.critical(phi, q=0.2)
    spectrum = mf.jacobian_spectrum(point, 1, "orthogonal")
    far = np.sqrt(0.2) * ndtri(1 - spectrum.error)
    assert expit(-(far - 1) / width) < 1e-10  # only what is so small is lost
    ((one, _),) = spectrum.atoms
    assert one == pytest.approx(np.sqrt(point.weight_var), rel=1e-9)
    z = 1 + width * np.array([-10.0, -3.0, 0.0, 5.0, 20.0])
    s = np.sqrt(point.weight_var) * expit(-(z - 1) / width)
    np.testing.assert_allclose(spectrum.cdf(s), ndtr(-z / np.sqrt(0.2)), rtol=0, atol=1e-9)
    with pytest.raises(mf.UnresolvedError, match="known to"):
        mf.jacobian_spectrum(mf.critical(phi, q=1.0), 1, "orthogonal")


def test_small_slopes_between_kinks_are_no_rounding() -> None:
    """A slope of `1e-17` from a kink on is what it is."""
    spectrum = mf.jacobian_spectrum(
        mf.Network(lambda x: jnp.clip(x, -1, 1) + 1e-17 * x, 1.0, 0.1), 1, "orthogonal"
    )
    assert spectrum.atoms[:, 0] == pytest.approx([1e-17, 1.0])


def test_distances_to_turns() -> None:
    """Those to the nearest of numbers in order, of which there may be none."""
    rng = np.random.default_rng(3)
    turns, x = np.sort(rng.normal(size=50)), np.append(rng.normal(size=200), [-9.0, 9.0])
    x = np.append(x, turns[::7])
    nearest = np.min(np.abs(x[:, None] - turns), axis=1)
    np.testing.assert_array_equal(_distance(x, turns), nearest)
    assert np.all(_distance(x, turns[:0]) == np.inf)
