"""Initial guessing bias against its closed form and networks that guess."""

import math

import numpy as np
import pytest

import meanfield as mf


def test_relu() -> None:
    """`gamma_1 = 1/(pi - 1)`, and the values of theory for uncorrelated inputs."""
    bias = mf.guessing_bias(mf.Network("relu", 2.0), 5)
    assert bias.gamma[1] == pytest.approx(1 / (math.pi - 1), rel=1e-13)
    np.testing.assert_allclose(bias.gamma[2:], [0.97523, 1.53053, 2.13434, 2.78711], atol=5e-6)
    assert np.asarray(bias).shape == (6,)


def test_odd_activations_do_not_guess() -> None:
    bias = mf.guessing_bias(mf.critical("tanh"), 10)
    assert bias.gamma[0] == 0 and np.all(np.diff(bias.gamma) > 0)  # its biases make them alike
    assert np.all(mf.guessing_bias(mf.Network("tanh", 1.5), 10, q=1.0).gamma < 1e-14)


def test_shares_are_a_law() -> None:
    """Quantile and density belong together, and the law is even about one half."""
    bias = mf.guessing_bias(mf.Network("relu", 2.0), 3)
    p = np.array([0.1, 0.25, 0.5, 0.6, 0.9])
    share = bias.share_quantile(p)
    np.testing.assert_allclose(bias.share_quantile(1 - p), 1 - share, rtol=1e-12)
    h = 1e-5
    slope = (bias.share_quantile(p + h) - bias.share_quantile(p - h)) / (2 * h)
    np.testing.assert_allclose(bias.share_density(share), 1 / slope, rtol=1e-6)


def test_networks_guess_so() -> None:
    """Shares of 400 ReLU networks of two layers: a Kolmogorov-Smirnov test at 0.1 %."""
    from scipy.stats import kstest

    bias = mf.guessing_bias(mf.Network("relu", 2.0), 2)
    rng, width, shares = np.random.default_rng(0), 200, []
    for _ in range(400):
        x = rng.normal(size=(300, width))
        for _ in range(3):
            z = x @ rng.normal(size=(width, width)) * math.sqrt(2 / width)
            x = np.maximum(z, 0)
        shares.append(np.mean(z[:, 0] > z[:, 1]))  # pyright: ignore[reportPossiblyUnbound]

    def cdf(share: np.ndarray) -> np.ndarray:
        from scipy.special import ndtr, ndtri

        return ndtr(ndtri(np.clip(share, 1e-9, 1 - 1e-9)) / math.sqrt(bias.gamma[-1]))

    assert kstest(shares, cdf).pvalue > 1e-3


def test_bad_input() -> None:
    bias = mf.guessing_bias(mf.Network("relu", 2.0), 3)
    with pytest.raises(ValueError, match="p: must be from 0 to 1"):
        bias.share_quantile([0.5, 1.5])
    with pytest.raises(ValueError, match="share: must be from 0 to 1"):
        bias.share_density(-0.1)
    even = mf.guessing_bias(mf.Network("relu", 2.0), 0)
    assert even.gamma[-1] == 0 and list(even.share_density([0.4, 0.5])) == [0, math.inf]
    with pytest.raises(ValueError, match=r"correlation: must be in \[0, 1\), got 1.0"):
        mf.guessing_bias(mf.Network("relu", 2.0), 3, correlation=1.0)


def test_two_inputs_that_have_become_one() -> None:
    """All of a class or none of it: gamma is infinite."""
    bias = mf.guessing_bias(mf.Network("tanh", 0.5, 0.3), 3000, correlation=0.5)
    assert bias.gamma[-1] == np.inf
    assert bias.share_quantile([0, 0.25, 0.5, 1]).tolist() == [0, 0, 0.5, 1]
    assert bias.share_density([0, 0.25, 0.5, 1]).tolist() == [np.inf, 0, 0, np.inf]
