r"""Both signs of a signal side by side, `[phi(z), phi(-z)]`: the CReLU of Shang et al.

Behind independent weights the averages over both halves are those of `phi`, so the maps are too;
what the other half brings is less noise of finite width. Behind mirrored weights `[W, -W]` only
`phi(z) - phi(-z)` is seen, which is `z` for ReLU, GELU, SiLU and softplus: the network looks
linear, and keeps every correlation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, as_activation
from meanfield.dynamical_isometry.mirrored import mirrored
from meanfield.errors import MeanFieldError
from meanfield.keywords import spelt
from meanfield.layers.composition import serial
from meanfield.layers.dense import activation, dense, dense_variance
from meanfield.layers.layer import Layer
from meanfield.layers.state import State

__all__ = ["both_signs", "looks_linear"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BothSigns(Layer):
    """See `both_signs`."""

    phi: Activation
    weight_var: float
    bias_var: float
    mixes = True

    def __call__(self, state: State) -> State:
        return activation(self.phi)(dense(self.weight_var, self.bias_var)(state))

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        width = x.shape[1]
        if width % 2:
            raise MeanFieldError(f"both_signs: makes two halves of the units, of which {width} are")
        z = dense(self.weight_var, self.bias_var).sample(x, rng)[:, : width // 2]
        return np.concatenate([np.asarray(self.phi(part), np.float64) for part in (z, -z)], axis=1)


@spelt
def both_signs(
    phi: Callable | str | Activation = "relu", weight_var: float = 2.0, bias_var: float = 0.0
) -> Layer:
    r"""A dense layer to half as many units, and the activation of either sign of them.

    `K'_ab = E[phi(u_a) phi(u_b)]` of the pre-activations, as without the other sign, and the same
    for gradients, `weight_var E[phi'^2]`, critical at 1; a finite network of them fluctuates less,
    for ReLU as a linear one does.

    Args:
        phi: the activation.
        weight_var: of the dense layer, `W ~ N(0, weight_var / fan_in)`.
        bias_var: of its biases.

    Returns:
        A `Layer`.

    Raises:
        ValueError: a variance is negative, or `phi` is no activation.

    Source: Shang et al. 2016, arXiv 1603.05201.

    Example:
        >>> import meanfield.layers as ml
        >>> trace = ml.propagate(ml.repeat(ml.both_signs("relu"), 10), q=1.0, correlation=0.3)
        >>> float(trace.variance[-1])
        1.0
    """
    return BothSigns(
        as_activation(phi),
        dense_variance("weight_var", weight_var),
        dense_variance("bias_var", bias_var),
    )


@spelt
def looks_linear(
    phi: Callable | str | Activation = "relu", weight_var: float = 2.0, bias_var: float = 0.0
) -> Layer:
    r"""Both signs of an activation, and a dense layer of mirrored weights `[W, -W]` behind them.

    With `psi(x) = phi(x) - phi(-x)` and `W ~ N(0, weight_var / fan_in)`, where the fan-in counts
    both halves, `K' = weight_var E[psi(u) psi(v)] / 2 + bias_var`: for ReLU at 2 all is kept.
    Squared gradients are multiplied by `weight_var E[psi'^2] / 2`, critical at 1.

    Args:
        phi: the activation. Its input must be Gaussian.
        weight_var: of the weights.
        bias_var: of the biases.

    Returns:
        A `Layer`.

    Raises:
        ValueError: a variance is negative, or `phi` is no activation.

    Source: Balduzzi et al. 2017, arXiv 1702.08591.

    Example:
        >>> import meanfield.layers as ml
        >>> trace = ml.propagate(ml.repeat(ml.looks_linear("relu"), 1000), q=1.0, correlation=0.3)
        >>> [round(float(x), 12) for x in (trace.correlation[-1], trace.gradient[-1])]
        [0.3, 1.0]
    """
    half = 0.5 * dense_variance("weight_var", weight_var)
    return serial(activation(mirrored(phi)), dense(half, bias_var))
