# pyright: reportMissingImports=false
"""haiku: initializers that take a shape and draw their key from the running transform."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from meanfield.bridges.framework import framework
from meanfield.initializers import bias_initializer
from meanfield.initializers import initializer as keyed
from meanfield.network import FixedPoint

if TYPE_CHECKING:
    import jax

__all__ = ["initializers"]


def initializers(
    point: FixedPoint, input_second_moment: float | None = None
) -> "dict[str, Callable[..., jax.Array]]":
    """`w_init` and `b_init` of a `hk.Linear` or `hk.ConvND` layer.

    Args:
        point: where to initialise, as from `critical`.
        input_second_moment: for the first layer: the mean square of the data.

    Returns:
        Keyword arguments of the layer: `hk.Linear(512, **initializers(point))`.

    Raises:
        ImportError: haiku is not installed.
    """
    haiku = framework("haiku")
    weights, biases = keyed(point, input_second_moment), bias_initializer(point)
    return {
        "w_init": lambda shape, dtype: weights(haiku.next_rng_key(), shape, dtype),
        "b_init": lambda shape, dtype: biases(haiku.next_rng_key(), shape, dtype),
    }
