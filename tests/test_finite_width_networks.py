"""The 1/n expansion against networks that are drawn: sizes, gradients, tangent kernels."""

# pyright: reportArgumentType=false, reportOptionalSubscript=false

import numpy as np
import pytest

import meanfield as mf


def drawn(phi, slope, net: mf.Network, q: float, n: int, depth: int, draws: int, seed: int):
    """Mean squares, `ln |J u|^2` and tangent kernels of networks, each (draws, depth)."""
    rng = np.random.default_rng(seed)
    orthogonal = net.weights == "orthogonal"

    def weights():
        a = rng.normal(size=(draws, n, n))
        if not orthogonal:
            return a * np.sqrt(net.weight_var / n)
        Q, R = np.linalg.qr(a)
        return np.sqrt(net.weight_var) * Q * np.sign(np.diagonal(R, axis1=1, axis2=2))[:, None, :]

    def biases():
        return np.sqrt(net.bias_var) * rng.normal(size=(draws, n))

    x = rng.normal(size=(draws, n))
    inputs = (q - net.bias_var) / net.weight_var
    x *= np.sqrt(inputs / np.mean(x**2, axis=1))[:, None]
    z = np.einsum("dij,dj->di", weights(), x) + biases()
    u = rng.normal(size=(draws, n))
    u /= np.linalg.norm(u, axis=1)[:, None]
    H = np.broadcast_to((1 + inputs) * np.eye(n), (draws, n, n))
    out = [(np.mean(z**2, 1), np.zeros(draws), H[:, 0, 0])]
    for _ in range(depth - 1):
        w = weights()
        J = w * slope(z)[:, None, :]
        u = np.einsum("dij,dj->di", J, u)
        H = J @ H @ J.swapaxes(1, 2) + (1 + np.mean(phi(z) ** 2, 1))[:, None, None] * np.eye(n)
        z = np.einsum("dij,dj->di", w, phi(z)) + biases()
        out.append((np.mean(z**2, 1), np.log(np.sum(u**2, 1)), H[:, 0, 0]))
    return np.array(out).transpose(1, 2, 0)


def check_ensemble(phi, slope, net, q, n, depth, draws, seed=0) -> None:
    size, logs, kernel = drawn(phi, slope, net, q, n, depth, draws, seed)
    fw = mf.finite_width(net, depth, n, q=q)
    law = fw.gradient_log_norm
    for measured, mean, std in (
        (size, fw.kernel + fw.kernel_correction, fw.sampled_variance_std),
        (logs, law.mean, law.std),
        (kernel, None, fw.tangent_kernel_std),
    ):
        # terms of order 1/n^2, relative to those of 1/n: a few times l/n
        beyond = 3 * np.arange(depth) / n
        spread = np.std(measured, axis=0)
        if mean is not None:
            off = np.abs(np.mean(measured, axis=0) - mean)
            assert np.all(off <= 4 * spread / draws**0.5 + beyond * std**2 + 1e-12)
        moments = np.mean((measured - np.mean(measured, 0)) ** 4, 0)
        error = np.sqrt(np.maximum(moments - spread**4, 0) / draws) / (2 * spread + 1e-300)
        assert np.all(np.abs(spread - std) <= 4 * error + beyond * std + 1e-7)


def test_networks_of_width_32() -> None:
    net = mf.Network("tanh", weight_var=1.5, bias_var=0.1)
    check_ensemble(np.tanh, lambda z: 1 - np.tanh(z) ** 2, net, 1.0, 32, 4, 2000)
    net = mf.Network("sin", weight_var=1.3, bias_var=0.2, weights="orthogonal")
    check_ensemble(np.sin, np.cos, net, 0.8, 32, 4, 1500)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_wide_networks(weights: str) -> None:
    net = mf.Network("tanh", weight_var=1.5, bias_var=0.1, weights=weights)
    check_ensemble(np.tanh, lambda z: 1 - np.tanh(z) ** 2, net, 1.0, 96, 6, 3000)
    net = mf.Network("relu", weight_var=2.0, weights=weights)
    check_ensemble(lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0), net, 1.0, 96, 6, 3000)


def test_gradients_of_unequal_widths() -> None:
    """Of linear networks `|J u|^2` is a product of `chi^2_n`: `2/n` for each layer but the first.

    Orthogonal ones that do not narrow keep lengths, up to the scale `n_l / n_1`.
    """
    widths = [40, 60, 50, 90]
    fw = mf.finite_width(mf.Network("identity", weight_var=1.0), 4, widths, q=1.0)
    later = np.array(widths[1:])
    variance = fw.gradient_log_norm.variance
    assert fw.gradient_log_norm.exact
    np.testing.assert_allclose(variance[1:], np.cumsum(2 / later), rtol=0.03)
    np.testing.assert_allclose(fw.gradient_log_norm.log_of_mean[1:], np.log(later / 40))
    growing = [20, 30, 30, 60]
    fw = mf.finite_width(
        mf.Network("identity", weight_var=1.0, weights="orthogonal"), 4, growing, q=1.0
    )
    law = fw.gradient_log_norm
    np.testing.assert_allclose(law.variance, 0.0, atol=1e-14)
    np.testing.assert_allclose(law.mean[1:], np.log(np.array(growing[1:]) / 20), atol=1e-14)


def test_where_phi_jumps_there_are_no_gradients() -> None:
    fw = mf.finite_width(mf.Network("sign", weight_var=1.0, bias_var=0.1), 4, 50)
    assert np.isnan(fw.gradient_log_norm.variance[1:]).all()
    assert np.isinf(fw.tangent_kernel[1:]).all()
    assert np.isfinite(fw.four_point).all()
    np.testing.assert_allclose(fw.fluctuation, 0.0, atol=1e-15)  # |phi| = 1 whatever the kernel


# -- tangent kernels ------------------------------------------------------------------------------


def test_tangent_kernels_of_relu() -> None:
    """`Theta = 3 l/2` from 3/2 at variance 1; on two inputs with the arc-cosine kernels."""
    relu = mf.critical("relu")
    np.testing.assert_allclose(mf.tangent_kernel(relu, 50), 1.5 * np.arange(1, 51), rtol=1e-12)
    theta = mf.tangent_kernel(relu, 30, correlation=-0.4, weight_rate=2.0, bias_rate=0.0)
    c, cross = -0.4, 2.0 * -0.4 / 2
    for layer in range(30):
        assert theta[layer, 0, 1] == pytest.approx(cross, rel=1e-12)
        angle = np.arccos(c)
        c = (np.sin(angle) + (np.pi - angle) * c) / np.pi
        cross = 2.0 * c / 2 + cross * (np.pi - angle) / np.pi
    np.testing.assert_allclose(theta[:, 0, 0], np.arange(1.0, 31.0), rtol=1e-12)


def test_two_ways_to_tangent_kernels_of_pairs() -> None:
    net = mf.Network("gelu", weight_var=1.8, bias_var=0.1)
    pair = mf.finite_width_pair(net, 4, 50, 0.3, q=(1.0, 0.6))
    theta = mf.tangent_kernel(net, 4, q=(1.0, 0.6), correlation=0.3)
    np.testing.assert_allclose(pair.tangent_kernel, theta, rtol=1e-12)
    same = mf.tangent_kernel(net, 4, q=0.7, correlation=1.0)
    np.testing.assert_allclose(same[:, 0, 1], mf.tangent_kernel(net, 4, q=0.7), rtol=1e-12)
