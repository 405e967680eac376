"""An activation inside compiled code: the JAX function itself, or a table of any other's samples.

A table holds the Legendre series of `phi` and `phi'` on the panels of the samples, so it is as
accurate as the samples are (1e-13 of the function's size): rounding, for an ensemble. It ends
where the samples end, and is NaN beyond.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meanfield.activation import LEAST_REACH, Activation
from meanfield.errors import MeanFieldError
from meanfield.legendre import ORDER, coefficients

__all__ = ["Elementwise", "elementwise"]

_REACHES = (2.0**40, 2.0**8, LEAST_REACH)  # the farthest that can be sampled


class Elementwise(NamedTuple):
    """`phi`, and `phi` with `phi'`, of float64 arrays of any shape, in JAX."""

    value: Callable[[jax.Array], jax.Array]
    value_and_slope: Callable[[jax.Array], tuple[jax.Array, jax.Array]]
    reach: float  # pre-activations up to this size are known


def elementwise(activation: Activation) -> Elementwise:
    """The activation in a form that JAX can compile and map; call it inside `double()`."""
    if activation.sampled(np.zeros(1)).slope is None:
        return _tabulated(activation)
    function: Any = activation.function
    try:
        shape = (3, 5)
        whole = jax.eval_shape(function, jax.ShapeDtypeStruct(shape, jnp.float64)).shape == shape
    except Exception:  # written for one number, such as lax.cond
        whole = False
    each: Any = function if whole else jax.vmap(function)

    def value(x):
        y = each(x) if whole else each(x.ravel()).reshape(x.shape)
        return y.astype(jnp.float64)

    def value_and_slope(x):
        return jax.jvp(value, (x,), (jnp.ones_like(x),))

    return Elementwise(value, value_and_slope, np.inf)


def _tabulated(activation: Activation) -> Elementwise:
    samples = _farthest(activation)
    nodes = samples.x.reshape(-1, ORDER)
    known = np.all(samples.log_scale.reshape(-1, ORDER) == 0, axis=1)
    width = samples.width.reshape(-1, ORDER)[known, 0]
    centre = 0.5 * (nodes[known, 0] + nodes[known, -1])
    series = np.stack(
        [coefficients(f.reshape(-1, ORDER)[known]) for f in (samples.value, samples.slope)]
    )
    edges = np.append(centre - 0.5 * width, centre[-1] + 0.5 * width[-1])

    def looked_up(x, which):
        panel = jnp.clip(jnp.searchsorted(edges, x, side="right") - 1, 0, len(centre) - 1)
        u = jnp.clip(2 * (x - jnp.asarray(centre)[panel]) / jnp.asarray(width)[panel], -1, 1)
        inside = (x >= edges[0]) & (x <= edges[-1])
        return [jnp.where(inside, _sum(jnp.asarray(series[k]), panel, u), jnp.nan) for k in which]

    return Elementwise(
        lambda x: looked_up(x, (0,))[0],
        lambda x: tuple(looked_up(x, (0, 1))),  # pyright: ignore[reportArgumentType]
        float(min(-edges[0], edges[-1])),
    )


def _sum(series, panel, u):
    """Clenshaw's sum of a Legendre series: `(k + 1) P_k+1 = (2k + 1) u P_k - k P_k-1`."""
    after = afterafter = jnp.zeros_like(u)
    for k in range(ORDER - 1, 0, -1):
        this = series[panel, k] + (2 * k + 1) / (k + 1) * u * after
        after, afterafter = this - (k + 1) / (k + 2) * afterafter, after
    return series[panel, 0] + u * after - 0.5 * afterafter


def _farthest(activation: Activation):
    """Samples as far out as they can be had."""
    for reach in _REACHES[:-1]:
        try:
            return activation.columns(reach).samples
        except MeanFieldError:  # it oscillates, or breaks off
            continue
    return activation.columns(_REACHES[-1]).samples
