"""flax, linen and nnx alike: `initializer(point)` is an initializer of theirs as it is.

    nnx.Linear(64, 512, **mf.bridges.flax.initializers(point), rngs=rngs)
    linen.Dense(512, **mf.bridges.flax.initializers(point))

flax stores kernels as `(*field, in / groups, out)`, with fan-in where `jax.nn.initializers` has it.
"""

from math import sqrt
from typing import TYPE_CHECKING

from meanfield.bridges.hand_over import recipe
from meanfield.initializers import bias_initializer, initializer
from meanfield.network import FixedPoint

if TYPE_CHECKING:
    from meanfield.initializers import Initializer

__all__ = ["embedding_initializer", "initializers"]


def initializers(
    point: FixedPoint, input_second_moment: float | None = None
) -> "dict[str, Initializer]":
    """`kernel_init` and `bias_init` of a `Dense`, `Linear` or `Conv` layer, linen or nnx.

    Args:
        point: where to initialise, as from `critical`.
        input_second_moment: for the first layer: the mean square of the data.

    Returns:
        Keyword arguments of the layer.

    A `ConvTranspose` of stride `s` sums only `1/s` of its field in each direction: it takes the
    `weight_var` of its point times that many.

    Example:
        >>> import meanfield as mf
        >>> sorted(mf.bridges.flax.initializers(mf.critical("gelu")))
        ['bias_init', 'kernel_init']
    """
    return {
        "kernel_init": initializer(point, input_second_moment),
        "bias_init": bias_initializer(point),
    }


def embedding_initializer(point: FixedPoint) -> "Initializer":
    """Entries of variance `point.input_second_moment`: the layer behind is a hidden one.

    Args:
        point: where to initialise, as from `critical`.

    Returns:
        The `embedding_init` of an `Embed` layer, linen or nnx.

    Raises:
        ValueError: the point has `q = 0`, at which an embedding has no size.
    """
    import jax

    variance, _ = recipe(point, None, None, None, "hidden").variances("embedding")
    return jax.nn.initializers.normal(sqrt(variance))
