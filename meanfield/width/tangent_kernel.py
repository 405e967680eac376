r"""The neural tangent kernel of infinitely wide networks at every depth, and how it fluctuates.

    Theta' = bias_rate + weight_rate <phi^2> + chi Theta,    chi = C_W <phi'^2>

starts at `bias_rate + weight_rate` times the mean square of the inputs. The rates are those of
gradient descent, of the weights after division by the fan-in; with 1 and 1 the kernel is the sum of
`(dz/db)^2` and of `(dz/dW)^2 / fan_in` over all parameters. On two inputs `<phi^2>` becomes
`<phi_1 phi_2>` and `chi` becomes `C_W <phi'_1 phi'_2>`.

At width n one diagonal entry has variance `(A + 2 B)/n`, and covariance `D/n` with the `z_i^2` of
other neurons. With `Cov(f, g) = <fg> - <f><g> + <f>' <g>' V4`, derivatives by the kernel,

    x  = Theta Cov(phi^2, phi'^2) + <phi^2>' <phi'^2> D
    y  = Theta^2 Cov(phi'^2, phi'^2) + 2 Theta <phi'^2>' <phi'^2> D + <phi'^2>^2 A
    D' = C_W weight_rate Cov(phi^2, phi^2) + C_W^2 x
    A' = weight_rate^2 Cov(phi^2, phi^2) + 2 weight_rate C_W x + C_W^2 y
    B' = C_W^2 Theta^2 (<phi'^4> + (vertex/2) <phi'^2>^2) + chi^2 B

Source: Jacot, Gabriel & Hongler 2018, arXiv 1806.07572. The fluctuations are derived here, as means
over the neurons of a layer, given the layer before; the tests hold them against networks. Roberts,
Yaida & Hanin 2022, arXiv 2106.10165, chapter 8, has more of them, for Gaussian weights.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.keywords import spelt
from meanfield.maps.correlation import correlation_map
from meanfield.maps.variance import network_of, variance_map
from meanfield.network import FixedPoint, Network
from meanfield.width.averages import LEAST, averages, slope_averages
from meanfield.width.kernels import kernels
from meanfield.width.recursion import carried
from meanfield.width.sizes import depth_of

__all__ = ["diagonal", "fluctuations", "tangent_kernel"]

Array = NDArray[np.float64]


@spelt
def tangent_kernel(
    network: Network | FixedPoint,
    depth: int,
    q: Any = None,
    correlation: float | None = None,
    weight_rate: float = 1.0,
    bias_rate: float = 1.0,
) -> Array:
    r"""The neural tangent kernel of an infinitely wide network, layer by layer.

    `Theta' = bias_rate + weight_rate <phi_a phi_b> + C_W <phi'_a phi'_b> Theta` for inputs a, b.

    Args:
        network: a `Network` or a `FixedPoint`.
        depth: number of layers, at least 1.
        q: variance of the pre-activations of the first layer, as for `finite_width`; with a
            correlation also a pair of two.
        correlation: of two inputs, in their first pre-activations; None for one input.
        weight_rate: the learning rate of weights is this over their fan-in.
        bias_rate: the learning rate of biases.

    Returns:
        The kernel, with the first layer's at index 0: shape (depth,), and (depth, 2, 2) for two
        inputs. Infinite where `phi` jumps.

    Raises:
        TypeError, ValueError, UnresolvedError: as for `finite_width`.

    Source: Jacot, Gabriel & Hongler 2018, arXiv 1806.07572; with rates: Roberts, Yaida & Hanin
    2022, arXiv 2106.10165, chapter 8.

    Example:
        >>> import meanfield as mf
        >>> mf.tangent_kernel(mf.critical("relu"), depth=4)
        array([1.5, 3. , 4.5, 6. ])
        >>> mf.tangent_kernel(mf.critical("relu"), depth=4, correlation=0.5).round(6)[-1]
        array([[6.     , 3.48204],
               [3.48204, 6.     ]])
    """
    net, depth = network_of(network), depth_of(depth)
    if correlation is None:
        kernel, _ = kernels(network, depth, q)
        return diagonal(net, kernel, weight_rate, bias_rate)
    way = correlation_map(network, q).iterate(correlation, depth - 1)
    variances = np.broadcast_to(way.variance.reshape(depth, -1), (depth, 2))
    own = [diagonal(net, v, weight_rate, bias_rate) for v in variances.T.copy()]
    # weight_var <phi'_1 phi'_2> of each layer, from correlation maps at each pair of variances
    pairs, which = np.unique(variances[:-1], axis=0, return_inverse=True)
    chi = np.empty(depth - 1)
    for k, pair in enumerate(pairs.tolist()):
        after = np.prod(variance_map(net)(np.array(pair)) / np.array(pair)) ** 0.5
        layers = np.ravel(which) == k
        chi[layers] = correlation_map(net, pair).slope(way.correlation[:-1][layers]) * after
    covariance = way.correlation * np.sqrt(np.prod(variances, axis=1))
    second = (covariance - float(net.bias_var)) / float(net.weight_var)
    sources = bias_rate + weight_rate * second  # of the first layer, of its inputs
    cross = carried(float(sources[0]), chi, sources[1:])
    return np.stack([np.stack([own[0], cross], -1), np.stack([cross, own[1]], -1)], -1)


@np.errstate(all="ignore")
def diagonal(
    network: Network, kernel: Array, weight_rate: float = 1.0, bias_rate: float = 1.0
) -> Array:
    """The kernel of one input at each layer, from its variances."""
    weight_var, bias_var = float(network.weight_var), float(network.bias_var)
    at = averages(network.activation, kernel[:-1])
    slopes = slope_averages(network.activation, kernel[:-1])
    inputs = (kernel[0] - bias_var) / weight_var
    return carried(
        bias_rate + weight_rate * inputs, weight_var * slopes.dphi2,
        bias_rate + weight_rate * at.phi2,
    )  # fmt: skip


@np.errstate(all="ignore")
def fluctuations(
    network: Network, kernel: Array, four_point: Array, theta: Array, vertex: Array, width: Array
) -> tuple[Array, Array, Array]:
    """`A/n`, `B/n`, `D/n` of each layer, for rates 1 and 1; `vertex` and `width` by layer."""
    weight_var = float(network.weight_var)
    K, V, theta = kernel[:-1], four_point[:-1], theta[:-1]
    at, slopes = averages(network.activation, K), slope_averages(network.activation, K)
    n, K = width[:-1], np.maximum(K, LEAST)
    E, S = at.phi2, slopes.dphi2
    dE, dS = at.power * E / K, slopes.steeper * S / K
    values = E**2 * (at.peaked - 1) / n + dE**2 * V
    mixed = E * S * (slopes.mixed - 1) / n + dE * dS * V
    steep = S**2 * (slopes.uneven - 1) / n + dS**2 * V
    D = carried(0.0, weight_var**2 * dE * S, weight_var * values + weight_var**2 * theta * mixed)
    x = theta * mixed + dE * S * D[:-1]
    y = theta**2 * steep + 2 * theta * dS * S * D[:-1]
    chi2 = (weight_var * S) ** 2
    A = carried(0.0, chi2, values + 2 * weight_var * x + weight_var**2 * y)
    B = carried(0.0, chi2, chi2 * theta**2 * (slopes.uneven + vertex[1:] / 2) / n)
    return A, B, D
