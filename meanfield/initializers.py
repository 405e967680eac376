"""Initializers that draw weights and biases with the variances of a `FixedPoint`."""

from collections.abc import Callable
from math import inf, sqrt
from typing import TYPE_CHECKING

from meanfield.ensembles import ensemble_of
from meanfield.keywords import spelt
from meanfield.network import FixedPoint

if TYPE_CHECKING:
    import jax

__all__ = ["bias_initializer", "initializer"]

Initializer = Callable[..., "jax.Array"]


@spelt
def initializer(point: FixedPoint, input_second_moment: float | None = None) -> Initializer:
    r"""Draws weights with `W_ij ~ N(0, weight_var / fan_in)`, or others of the same variance.

    Args:
        point: where to initialise, as from `critical`. With `bias_var > 0` the biases must be
            drawn too: `bias_initializer`.
        input_second_moment: for the first layer, which sees data instead of activations: the mean
            square of its inputs. Its weights are scaled so that its pre-activations have
            variance `point.q` all the same. Leave it out for every other layer.

    Returns:
        `init(key, shape, dtype=float)`, as in `jax.nn.initializers`: for dense layers and
        convolutions, with fan-in on the second last axis (times the receptive field). Orthogonal
        weights are drawn as one matrix from the flattened fan-in to the last axis.

    Raises:
        TypeError: `point` is no `FixedPoint`.
        ValueError: `input_second_moment` is not positive, or `point.q = 0`, whose data has no size.

    Example:
        >>> import jax, meanfield as mf
        >>> init = mf.initializer(mf.critical("gelu"))
        >>> init(jax.random.key(0), (64, 32)).shape
        (64, 32)
    """
    import jax

    weight_var = _scalar(_checked(point).weight_var)
    if input_second_moment is not None:
        if not 0 < input_second_moment < inf:
            raise ValueError(
                f"input_second_moment: must be > 0, got {input_second_moment!r}; it is the mean "
                "square of the inputs of the first layer"
            )
        expected = _scalar(point.input_second_moment)
        if expected == 0:
            raise ValueError(
                "input_second_moment: the point has q = 0, at which inputs have no size; take a "
                "critical point at the q that the data should have"
            )
        weight_var *= expected / input_second_moment
    ensemble = ensemble_of(point.network.weights)

    def drawn(key, shape, dtype=float, **_):
        if len(shape) < 2:
            raise ValueError(
                f"shape: weights have two axes at least, (fan_in, fan_out), got {tuple(shape)}; "
                "biases are drawn by bias_initializer(point)"
            )
        dtype = jax.dtypes.canonicalize_dtype(dtype)
        *field, channels, fan_out = shape
        kernel = ensemble.draw_kernel(key, tuple(field), fan_out, channels, weight_var, dtype)
        return jax.numpy.moveaxis(kernel, 0, -1)

    return drawn


@spelt
def bias_initializer(point: FixedPoint) -> Initializer:
    r"""Draws biases `b_i ~ N(0, bias_var)`.

    Args:
        point: where to initialise, as from `critical`.

    Returns:
        `init(key, shape, dtype=float)`, as in `jax.nn.initializers`.

    Example:
        >>> import jax, meanfield as mf
        >>> mf.bias_initializer(mf.critical("gelu"))(jax.random.key(0), (32,)).shape
        (32,)
    """
    import jax

    return jax.nn.initializers.normal(sqrt(_scalar(_checked(point).bias_var)))


def _checked(point: FixedPoint) -> FixedPoint:
    if not isinstance(point, FixedPoint):
        raise TypeError(
            "point: must be a FixedPoint, as from critical(phi) or fixed_points(network)[0], got "
            f"{point!r}"
        )
    return point


def _scalar(value) -> float:
    try:
        return float(value)
    except TypeError as error:
        raise ValueError(
            "point: it holds several points; make one initializer for each, from a scalar q"
        ) from error
