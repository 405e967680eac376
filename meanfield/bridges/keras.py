"""keras 3, on any of its backends: initializers of kernels and biases that save with the model.

As in::

    keras.layers.Dense(512, kernel_initializer=mf.bridges.keras.initializer(point),
                       bias_initializer=mf.bridges.keras.bias_initializer(point))

keras stores kernels as `(*field, in / groups, out)`.
"""

import random
from math import sqrt
from typing import Any

import numpy as np

from meanfield import ensembles
from meanfield.bridges.framework import framework
from meanfield.bridges.hand_over import recipe
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.network import FixedPoint

keras: Any = framework("keras")

__all__ = ["VarianceOverFanIn", "bias_initializer", "initializer"]


@keras.saving.register_keras_serializable("meanfield")
class VarianceOverFanIn(keras.initializers.Initializer):
    """Entries of variance `weight_var / fan_in`, from a weight ensemble; see `initializer`.

    Attributes:
        weight_var: the variance, times fan-in.
        weights: the `Ensemble`.
        seed: of the random numbers; None draws anew at each call.
        depthwise: whether the kernel is that of a depthwise convolution.
    """

    def __init__(
        self, weight_var: float, weights: Any = "gaussian", seed: int | None = None,
        depthwise: bool = False,
    ) -> None:  # fmt: skip
        if isinstance(weights, dict):  # as get_config writes it
            weights = getattr(ensembles, weights["class"])(**weights["shares"])
        self.weight_var = float(weight_var)
        self.weights: Ensemble = ensemble_of(weights)
        self.seed = seed
        self.depthwise = depthwise

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """A kernel of this shape, in keras's own tensors."""
        import jax

        if len(shape) < 2:
            raise ValueError(f"shape: kernels have two axes at least, got {tuple(shape)}")
        *field, channels, units = shape
        if self.depthwise:  # each channel has outputs of its own, and is all that they see
            channels, units = 1, channels * units
        seed = random.randrange(2**31) if self.seed is None else self.seed
        kernel = self.weights.draw_kernel(
            jax.random.key(seed), tuple(field), units, channels, self.weight_var, np.float32
        )
        array = np.moveaxis(np.asarray(kernel), 0, -1).reshape(shape)
        return keras.ops.convert_to_tensor(array, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes the same initializer of."""
        return {
            "weight_var": self.weight_var,
            "weights": {"class": type(self.weights).__name__, "shares": dict(vars(self.weights))},
            "seed": self.seed,
            "depthwise": self.depthwise,
        }


def initializer(
    point: FixedPoint, input_second_moment: float | None = None, *, seed: int | None = None,
    depthwise: bool = False,
) -> VarianceOverFanIn:  # fmt: skip
    """The `kernel_initializer` of a `Dense` or convolutional layer.

    Args:
        point: where to initialise, as from `critical`.
        input_second_moment: for the first layer: the mean square of the data.
        seed: of the random numbers: the same kernel at each call. None draws anew at each, from
            the numbers that `keras.utils.set_random_seed` makes reproducible.
        depthwise: for a `DepthwiseConv` layer, whose kernel is `(*field, channels, multiplier)`
            and whose fan-in is the field alone. Transposed convolutions store their kernel in
            another order and are not meant.

    Returns:
        A keras initializer.
    """
    how = recipe(point, None, None, input_second_moment, "hidden")
    weight_var, _ = how.variances("hidden" if input_second_moment is None else "first")
    return VarianceOverFanIn(weight_var, how.weights, seed, depthwise)


def bias_initializer(point: FixedPoint, *, seed: int | None = None) -> Any:
    """The `bias_initializer` of any layer: `b_i ~ N(0, bias_var)`."""
    how = recipe(point, None, None, None, "hidden")
    return keras.initializers.RandomNormal(stddev=sqrt(how.point.bias_var), seed=seed)
