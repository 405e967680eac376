r"""How the length of a gradient spreads: mean and variance of its logarithm, to order 1/n.

Let `v` be the derivative of the pre-activations `z` along a random direction of the first layer's.
Given the layer before, the pairs `(z_i, v_i)` are Gaussian with covariance `((K, M), (M, N))`, and
`K`, `M`, `N` pass through a layer as means over its neurons:

    K' = C_W mean(phi^2) + C_b,   M' = C_W mean(phi phi' v),   N' = C_W mean(phi'^2 v^2)

Their fluctuations at order 1/n are four-point vertices: with `chi = C_W <phi'^2>`, `a = chi'/chi`,
`c = V_KN/N`, `m = V_MM/N`, `w = V_NN/N^2`, and `V4 = V_KK`

    c' = V'(K) (c + a V4) + C_W (<phi^2 phi'^2> / <phi'^2> - <phi^2>)
    m' = (V'(K)^2 m + C_W^2 (<phi^2 phi'^2> + (vertex/2) <phi^2><phi'^2>)) / chi
    w' = w + 2 a c + a^2 V4 + 3 <phi'^4>/<phi'^2>^2 - 1 + vertex
    p' = p + a G1 + chi''/(2 chi) V4 + a c + 2 a m

over `n` each, where `p` is the relative shift of `E[N]`. Then `ln |v|^2` has variance `w/n` and
mean `sum ln chi + (p - w/2)/n`. Of ReLU `w = 5 l` and `p = 0`: that is Hanin & Nica 2018's law.

Source: derived here, in the way of Roberts, Yaida & Hanin 2022, arXiv 2106.10165, chapter 4;
piecewise linear activations: Hanin & Nica 2018, arXiv 1812.05994.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.network import Network
from meanfield.width.averages import LEAST, averages, slope_averages
from meanfield.width.recursion import carried

__all__ = ["LogNorm", "gradient_log_norm"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class LogNorm:
    """Law of `ln |J u|^2` over networks, `J` the Jacobian from the first layer to each.

    `u` is a random unit vector. At the first layer, itself, all is 0. To this order the law is
    normal; `exact` says that mean and variance are those of a closed form, at any width.

    Attributes:
        mean: of `ln |J u|^2`, shape (depth,).
        variance: of it.
        log_of_mean: `ln E[|J u|^2]`, larger: a mean over networks is made by few of them.
        exact: whether nothing was expanded.
    """

    mean: Array
    variance: Array
    log_of_mean: Array
    exact: bool = False

    @property
    def std(self) -> Array:
        """Standard deviation of `ln |J u|^2`."""
        return np.sqrt(np.maximum(self.variance, 0.0))

    def __repr__(self) -> str:
        order = "exact" if self.exact else "to order 1/width"
        return (
            f"LogNorm of the gradient, {order}: ln |J u|^2 has mean {self.mean[-1]:.4g} and "
            f"standard deviation {self.std[-1]:.4g} in layer {len(self.mean)}"
        )


@np.errstate(all="ignore")
def gradient_log_norm(
    network: Network, kernel: Array, fluctuation: Array, shift: Array, vertex: Array, width: Array
) -> LogNorm:
    """The recursions above, with `V4/(n K^2)`, `G1/(n K)` given; `vertex`, `width` by layer."""
    weight_var, bias_var = float(network.weight_var), float(network.bias_var)
    K, r, g = kernel[:-1], fluctuation[:-1], shift[:-1]
    at, slopes = averages(network.activation, K), slope_averages(network.activation, K)
    own = weight_var * at.phi2
    share = own / (own + bias_var)
    n, vertex = width[:-1], vertex[1:]
    # all relative to kernels: a K, c/K, m/K
    a, power = slopes.steeper, share * at.power
    chi = weight_var * slopes.dphi2
    c = carried(0.0, power, power * a * r + share * (slopes.mixed - 1) / n)[:-1]
    growth = (own + bias_var) / (np.maximum(K, LEAST) * chi)
    m = carried(0.0, power**2 * growth, share * (slopes.mixed + vertex / 2) / n)[:-1]
    noise = (3 * slopes.uneven - 1 + vertex) / n
    w = np.cumsum(2 * a * c + a**2 * r + noise)
    p = np.cumsum(a * g + 0.5 * slopes.steeper_bend * r + a * c + 2 * a * m)
    w += 2 / width[1:] - 2 / width[0]  # |v|^2 is sampled at the end, and given at the start
    log_of_mean = np.cumsum(np.log(chi)) + np.log(width[1:] / width[0]) + p
    parts = (log_of_mean - 0.5 * w, w, log_of_mean)
    mean, variance, log_of_mean = (np.concatenate([[0.0], part]) for part in parts)
    return LogNorm(mean, variance, log_of_mean)
