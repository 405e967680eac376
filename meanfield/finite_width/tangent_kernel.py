r"""The neural tangent kernel of an infinitely wide network, at every depth.

    Theta' = bias_rate + weight_rate <phi^2> + chi Theta,    chi = C_W <phi'^2>

starts at `bias_rate + weight_rate` times the mean square of the inputs. The rates are those of
gradient descent, of the weights after division by the fan-in; with 1 and 1 the kernel is the sum of
`(dz/db)^2` and of `(dz/dW)^2 / fan_in` over all parameters.

Source: Jacot, Gabriel & Hongler 2018, arXiv 1806.07572; with rates: Roberts, Yaida & Hanin 2022,
arXiv 2106.10165, chapter 8.
"""

import numpy as np
from numpy.typing import NDArray

from meanfield.finite_width.averages import averages, slope_averages
from meanfield.finite_width.recursion import carried
from meanfield.network import Network

__all__ = ["tangent_kernel"]

Array = NDArray[np.float64]


@np.errstate(all="ignore")
def tangent_kernel(
    network: Network, kernel: Array, weight_rate: float = 1.0, bias_rate: float = 1.0
) -> Array:
    """The kernel of one input at each layer, from its variances; `inf` where `phi` jumps."""
    weight_var, bias_var = float(network.weight_var), float(network.bias_var)
    at = averages(network.activation, kernel[:-1])
    slopes = slope_averages(network.activation, kernel[:-1])
    inputs = (kernel[0] - bias_var) / weight_var
    second = np.where(kernel[:-1] > 0, at.phi2, 0.0)
    return carried(
        bias_rate + weight_rate * inputs, weight_var * slopes.dphi2,
        bias_rate + weight_rate * second,
    )  # fmt: skip
