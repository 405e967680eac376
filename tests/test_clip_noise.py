"""Noise of finite width, basins, risks: against closed forms, brute force and drawn networks."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meanfield as mf
from meanfield import ensembles
from meanfield.clip import ClipVerdict


def _risky() -> mf.ClipChoice:
    return mf.clip_threshold("shifted_relu", 0.9, 0.9)


def draw(
    choice: mf.ClipChoice, networks: int, layers: int, orthogonal: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Variances and mean squares of finite networks, shape (layers, networks), drawn exactly.

    Given the variance the neurons of a layer are independent with Gaussian weights; orthogonal ones
    turn the activations, so that the sum of squares is kept.
    """
    rng = np.random.default_rng(7)
    n, w, b = choice.width, choice.weight_var, choice.bias_var
    tau, m = choice.tau or 0.0, choice.m
    variance = np.full(networks, choice.q)
    variances, squares = [], []
    for _ in range(layers):
        z = rng.standard_normal((networks, n))
        if orthogonal:
            z *= np.sqrt(n / np.sum(z * z, axis=1))[:, None]
            z = z * np.sqrt(np.maximum(variance - b, 0.0))[:, None]
            z = z + np.sqrt(b) * rng.standard_normal((networks, n))
        else:
            z *= np.sqrt(variance)[:, None]
        variances.append(variance)
        squares.append(np.mean(z * z, axis=1))
        variance = w * np.mean(np.clip(z - tau, 0.0, m) ** 2, axis=1) + b
    return np.array(variances), np.array(squares)


# -- noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sparsity", "slope", "kernel", "sampled"),
    [(0.7, 0.5, 0.0835, 0.117), (0.7, 0.7, None, 0.154), (0.85, 0.5, None, 0.113),
     (0.85, 0.7, None, 0.152)],
)  # fmt: skip
def test_noise_of_the_table(
    sparsity: float, slope: float, kernel: float | None, sampled: float
) -> None:
    choice = mf.clip_threshold("shifted_relu", sparsity, slope)
    noise = choice.noise(width=300)
    assert noise.sampled == pytest.approx(sampled, abs=2.1e-3)
    assert noise.sampled**2 == pytest.approx(noise.kernel**2 + 2 / 300, rel=1e-12)
    if kernel is not None:
        assert noise.kernel == pytest.approx(kernel, abs=5e-5)


def test_noise_by_the_recursion() -> None:
    """The fixed point of `V4' = S + V'^2 V4`, and of the orthogonal one, iterated."""
    choice = mf.clip_threshold("shifted_relu", 0.85, 0.7, width=500)
    value = choice.activation.moments(np.ones(1)).value[0]
    phi2, phi4 = value[1], value[2]
    w, b = choice.weight_var, choice.bias_var
    gaussian, orthogonal = 0.0, -2 * (1 - b) ** 2
    for _ in range(200):
        gaussian = w**2 * (phi4 - phi2**2) + choice.slope**2 * gaussian
        orthogonal = w**2 * (phi4 - 3 * phi2**2) + choice.slope**2 * orthogonal
    noise, other = choice.noise(), choice.noise(weights="orthogonal")
    assert noise.kernel**2 == pytest.approx(gaussian / 500, rel=1e-12)
    assert noise.sampled**2 == pytest.approx((gaussian + 2) / 500, rel=1e-12)
    assert other.kernel**2 == pytest.approx((orthogonal + 2 * (1 - b) ** 2) / 500, rel=1e-12)
    assert other.sampled**2 == pytest.approx((orthogonal + 2) / 500, rel=1e-12)
    assert other.kernel < noise.kernel


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_noise_of_drawn_networks(weights: Any) -> None:
    """A standard deviation of N numbers is known to 1/sqrt(2N); half of them count, correlated."""
    choice = mf.clip_threshold("shifted_relu", 0.7, 0.5, weights=weights, width=2000)
    variance, squares = draw(choice, 300, 40, weights == "orthogonal")
    noise = choice.noise()
    for got, expected in ((variance, noise.kernel), (squares, noise.sampled)):
        assert np.std(got[20:]) == pytest.approx(expected, rel=4 / np.sqrt(300 * 10))


def test_noise_needs_a_known_ensemble() -> None:
    choice = mf.clip_threshold("shifted_relu", 0.7)
    with pytest.raises(ValueError, match="weights"):
        choice.noise(weights=ensembles.MaskedOrthogonal(0.5))
    with pytest.raises(ValueError, match="weights"):
        mf.clip_threshold("shifted_relu", 0.85, risk=0.01, weights=ensembles.MaskedOrthogonal(0.5))
    with pytest.raises(ValueError, match="width"):
        choice.noise(width=0)
    with pytest.raises(ValueError, match="width: must be from 1 to 100000"):
        choice.risk(width=10**8)


# -- basins and margins ---------------------------------------------------------------------------


def test_basin_and_escape() -> None:
    choice = _risky()
    unstable, upper = choice.other_fixed_points
    assert choice.basin == ((0.0, unstable.q),)
    assert choice.margin() == (unstable.q - 1) / choice.noise().sampled
    assert choice.margin(sampling=False) == (unstable.q - 1) / choice.noise().kernel
    assert choice.margin(width=30_000) == pytest.approx(10 * choice.margin(width=300), rel=1e-12)
    assert choice.verdict is ClipVerdict.ESCAPES
    assert f"{upper.q:.6g}" in choice.escape
    assert "explode" in choice.escape
    wide = mf.clip_threshold("shifted_relu", 0.9, 0.9, width=100_000)
    assert wide.verdict is ClipVerdict.HOLDS_IN_ITS_BASIN
    calm = mf.clip_threshold("shifted_relu", 0.85, 0.7)
    assert calm.verdict is ClipVerdict.HOLDS
    assert calm.margin() == np.inf
    assert calm.escape == ""
    assert mf.clip_threshold("shifted_relu", 0.85, 0.9).verdict is ClipVerdict.STRAYS


def test_an_upper_clip_can_explode() -> None:
    """The other side of the map grows without bound, and a basin can end below as well."""
    phi = mf.Activation(lambda x: jnp.where(x > 0, x, 0.2 * x - 0.03 * x * x))
    choice = mf.clip_threshold(phi, slope=0.7, clip="upper")
    (unstable,) = choice.other_fixed_points
    assert choice.edges == (0.0, unstable.q)
    assert "without bound" in choice.escape
    assert choice.verdict is ClipVerdict.HOLDS_IN_ITS_BASIN
    both = mf.clip_threshold(phi, m=3.0441, clip="upper")
    lower, upper = both.edges
    assert 0 < lower < 1 < upper < np.inf
    assert both.margin() == (1 - lower) / both.noise().sampled < 1
    assert both.verdict is ClipVerdict.ESCAPES
    assert "vanish" in both.escape
    chosen = mf.clip_threshold(phi, margin=3.0, clip="upper")
    assert chosen.m < both.m
    assert chosen.margin() > 3


@settings(max_examples=3)
@given(sparsity=st.floats(0.8, 0.95), margin=st.floats(0.5, 3.0), width=st.integers(200, 20_000))
def test_the_margin_is_kept_and_no_larger_level_keeps_it(
    sparsity: float, margin: float, width: int
) -> None:
    choice = mf.clip_threshold("shifted_relu", sparsity, margin=margin, width=width)
    assert choice.margin() >= margin * (1 - 1e-6)
    larger = mf.clip_threshold("shifted_relu", sparsity, m=choice.m * (1 + 1e-4), width=width)
    assert larger.margin() < margin


def test_margin_by_samples_is_that_of_the_closed_form() -> None:
    closed = mf.clip_threshold("shifted_relu", 0.9, margin=2.0)
    sampled = mf.clip_threshold(mf.Activation("shifted_relu", tau=closed.tau), margin=2.0)
    assert sampled.m == pytest.approx(closed.m, rel=1e-11)
    assert closed.margin() == pytest.approx(2.0, rel=1e-9)
    tight = mf.clip_threshold("shifted_relu", 0.9, margin=2.0, weights="orthogonal")
    assert tight.m > closed.m
    assert mf.clip_threshold("shifted_relu", 0.9, margin=2.0, sampling=False).m > closed.m


# -- the law of the variance ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sparsity", "slope", "weights"),
    [(0.85, 0.7, "gaussian"), (0.9, 0.9, "gaussian"), (0.9, 0.9, "orthogonal"),
     (0.85, None, "gaussian")],
)  # fmt: skip
def test_the_law_of_drawn_networks(sparsity: float, slope: float | None, weights: Any) -> None:
    """Share beyond a level, quantiles and sparsity within their statistical errors.

    The law is of leading order in 1/width: 0.02 is left for what comes next at width 300.
    """
    rule: dict[str, Any] = {"m": np.inf} if slope is None else {"slope": slope}
    choice = mf.clip_threshold("shifted_relu", sparsity, weights=weights, **rule)
    networks, layers = 1000, 41
    variance, squares = draw(choice, networks, layers, weights == "orthogonal")
    for beyond in (1.5, 3.0):
        share = np.mean(np.max(variance, axis=0) > beyond)
        risk = choice.risk(depth=layers - 1, beyond=beyond)
        assert abs(share - risk) < 4 * np.sqrt(risk * (1 - risk) / networks) + 0.02
    way = choice.trajectory(layers - 1)
    for level, share in ((way.low, 0.05), (way.median, 0.5), (way.high, 0.95)):
        known = np.isfinite(level)
        known[0] = False  # the first variance is in two cells of the grid
        below = np.mean(squares[known] <= level[known, None], axis=1)
        allowed = 4 * np.sqrt(share * (1 - share) / networks) + 0.02
        assert np.max(np.abs(below - share)) < allowed
    assert way.variance[-1] == pytest.approx(1.0, abs=1e-10)


def test_trajectories_from_another_start() -> None:
    choice = mf.clip_threshold("shifted_relu", 0.85, 0.7, width=3000)
    way = choice.trajectory(depth=60, q0=2.0)
    assert way.variance[0] == 2.0
    assert np.all(np.diff(way.variance) < 0)
    assert way.variance[-1] == pytest.approx(1.0, abs=1e-8)
    assert np.all((way.low < way.median) & (way.median < way.high))
    # of wide networks: at infinite width, P(phi = 0) at the variance of the layer
    expected = choice.activation.moments(way.variance).value[:, 5]
    assert way.sparsity == pytest.approx(expected, abs=2e-3)
    with pytest.raises(ValueError, match="q0"):
        choice.trajectory(5, q0=-1.0)
    with pytest.raises(ValueError, match="depth"):
        choice.trajectory(-1)


def test_risk_falls_with_width_and_grows_with_depth_and_level() -> None:
    choice = _risky()
    risks = [choice.risk(width=n) for n in (100, 300, 1000, 10_000)]
    assert np.all(np.diff(risks) < 0)
    risks = [choice.risk(depth=n) for n in (10, 50, 100, 200)]
    assert np.all(np.diff(risks) > 0)
    assert choice.risk(depth=0) == 0


@pytest.mark.parametrize("sparsity", [0.5, 0.85])
def test_by_risk(sparsity: float) -> None:
    choice = mf.clip_threshold("shifted_relu", sparsity, risk=0.05)
    assert choice.risk() == pytest.approx(0.05, rel=1e-6)
    more = mf.clip_threshold("shifted_relu", sparsity, m=1.02 * choice.m)
    assert more.risk() > 0.05
    with pytest.raises(ValueError, match="risk: whatever"):
        mf.clip_threshold("shifted_relu", sparsity, risk=0.05, width=1000, depth=1)


# -- networks drawn whole -------------------------------------------------------------------------


# sparsity, slope, median, 5 % and 95 % of layer 100, escaped, of 60 networks (an independent run)
TABLE = [
    (0.70, 0.5, 0.985, 0.83, 1.19, 0.0, 0.702), (0.70, 0.7, 0.960, 0.75, 1.29, 0.0, 0.698),
    (0.70, 1.0, 4e6, None, None, 0.63, 0.604), (0.85, 0.5, 0.969, 0.80, 1.16, 0.0, 0.851),
    (0.85, 0.7, 0.967, 0.73, 1.35, 0.0, 0.851), (0.85, 0.9, 1.089, 0.76, 1.87, 0.03, 0.839),
    (0.85, 1.0, 8e30, None, None, 0.92, 0.561), (0.90, 0.7, 0.974, 0.77, 1.17, 0.0, 0.900),
    (0.90, 0.9, 1.745, 0.80, 4.30, 0.58, 0.843),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_second_table(row: tuple) -> None:
    """Section 1's second table is of 60 networks: its shares are known to a few in a hundred."""
    sparsity, slope, median, low, high, escaped, sparse = row
    rule: dict[str, Any] = {"m": np.inf} if slope == 1 else {"slope": slope}
    choice = mf.clip_threshold("shifted_relu", sparsity, **rule)
    risk = choice.risk()
    assert abs(risk - escaped) < 3 * np.sqrt((risk * (1 - risk) + 1 / 60) / 60) + 0.02
    way = choice.trajectory(99)
    if low is None:
        assert way.high[-1] == np.inf
        return
    spread = way.high[-1] - way.low[-1]
    assert abs(way.median[-1] - median) < 3 * 1.25 * spread / 3.3 / np.sqrt(60)
    # the error of a quantile is sqrt(p (1-p) / N) over the density there
    assert abs(way.low[-1] - low) < 0.12 * spread + 0.03
    assert abs(way.high[-1] - high) < 0.35 * spread
    assert abs(way.sparsity[-1] - sparse) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{row[1]}")
def test_networks_of_width_300_and_depth_100(row: tuple) -> None:
    """Weights, biases and all: escape, quantiles, spread and sparsity within statistical errors."""
    sparsity, slope = row[:2]
    rule: dict[str, Any] = {"m": np.inf} if slope == 1 else {"slope": slope}
    choice = mf.clip_threshold("shifted_relu", sparsity, **rule)
    draws = 200
    sim = mf.simulate(choice.point, width=300, depth=100, draws=draws, key=5, progress=False)
    risk = choice.risk(99)
    error = np.sqrt((risk * (1 - risk) + 1 / draws) / draws)
    # a mean square exceeds a level a little more often than the variance does
    assert risk - 4 * error - 0.02 < sim.escaped(3.0) < risk + 4 * error + 0.04
    way = choice.trajectory(99)
    squares = sim.samples["mean_square"][:, 20::20]
    for level, share in ((way.low, 0.05), (way.median, 0.5), (way.high, 0.95)):
        known = np.isfinite(level[20::20])
        off = np.abs(np.mean(squares <= level[20::20], axis=0) - share)[known]
        assert np.all(off < 4 * np.sqrt(share * (1 - share) / draws) + 0.02)
    measured = np.mean(sim.samples["sparsity"][:, 1:], axis=0)
    error = np.std(sim.samples["sparsity"][:, 1:], axis=0) / np.sqrt(draws)
    assert np.all(np.abs(measured - way.sparsity[1:]) < 5 * error + 0.002)
