"""Variances through many layers, from a table of `E[phi^2]`: a million layers take seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meanfield.arrays import ArrayResult
from meanfield.errors import UnresolvedError
from meanfield.maps.moment import OVERFLOW, Table, second_moment, table_of
from meanfield.network import Network
from meanfield.precision import EPS, concrete
from meanfield.whole import whole_number

if TYPE_CHECKING:
    from meanfield.maps.variance import VarianceMap

__all__ = ["VarianceTrajectory", "variance_trajectory"]

Array = NDArray[np.float64]

_CHUNK = 1 << 14  # layers run through at once
_LEAST = 128  # also if fewer are wanted: every other number of them is a program to compile
_TOP = 1024  # binades: all that float64 has
_BINADES = 2048  # more than there are in any table
_TINY = float(np.finfo(np.float64).tiny)  # what is smaller may be flushed to 0


@dataclass(frozen=True, eq=False, repr=False)
class VarianceTrajectory(ArrayResult):
    """Variances of the pre-activations, layer by layer; `np.asarray` gives `variance`.

    Attributes:
        network: the `Network`.
        variance: shape `(depth + 1, *shape of q0)`, the start at index 0; `inf` from the layer on
            where float64 overflows.
        error: bounds of the absolute error, of the same shape.
    """

    _main = "variance"

    network: Network
    variance: Array
    error: Array

    def __repr__(self) -> str:
        first, last = self.variance[0], self.variance[-1]
        if self.variance.ndim == 1:
            ends = f"q = {first:.6g} to {last:.6g}"
        else:
            ends = f"{first.size} variances at a time"
        return f"VarianceTrajectory of {self.network!r}: {len(self) - 1} layers, {ends}"

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the variances layer by layer; see `meanfield.plot.variance_trajectory`."""
        from meanfield import plot

        return plot.variance_trajectory(self, ax=ax, **options)


def variance_trajectory(V: "VarianceMap", start: Array, depth: int) -> VarianceTrajectory:
    """`V.iterate`."""
    depth = whole_number("depth", depth, least=0)
    table = table_of(V.activation)
    while True:
        variance, error = _run(V, table, start, depth)
        missed = np.isnan(variance)
        if not np.any(missed):
            return VarianceTrajectory(V.network, variance, error)
        farthest = float(np.max(variance[:-1][missed[1:] & ~missed[:-1]]))
        try:
            V(farthest)
        except UnresolvedError as error:
            raise UnresolvedError(f"q0: the variance becomes {farthest:.6g}; {error}") from error
        # as far as one layer more needs it, or to the end where that is cheap
        top = int(np.log2(farthest)) + 1 if table.end else _TOP
        table = table_of(V.activation, top, patient=True)
        if table.range[1] <= farthest:
            raise UnresolvedError(
                f"q0: the variance becomes {farthest:.6g}, and there is no table of E[phi^2] "
                f"above {table.range[1]:.6g}: {table.end}; start from a smaller variance"
            )


@np.errstate(all="ignore")
def _run(V: "VarianceMap", table: Table, start: Array, depth: int) -> tuple[Array, Array]:
    """Variances and errors of all layers, by the table; NaN from the layer on that it misses."""
    variance = np.empty((depth + 1, *start.shape))
    error = np.zeros_like(variance)
    variance[0] = start
    beyond = np.inf if table.end == OVERFLOW or table.range[1] == np.inf else np.nan
    # under the table, 1e-271 and less, only the first power of q is left beside the limit at 0
    low = table.range[0]
    bottom = second_moment(V.activation, np.array([0.0, low]))
    gain = bottom.value[1] - bottom.value[0]
    power, stray = (low * part[1] / gain if gain > 0 else 1.0 for part in
                    (bottom.first, bottom.first_error))  # fmt: skip
    under = np.array([bottom.value[0], low, gain, power, bottom.error[1], stray])
    scalars = (np.array([V.weight_var, V.bias_var, beyond]), under)
    # padded to few lengths, so that few programs are compiled, whatever the activation
    cells = (0, (1 << len(table.error).bit_length()) - len(table.error))
    arrays = (
        np.pad(table.first, (0, _BINADES - len(table.first)), mode="edge"),
        np.pad(table.coefficients, (cells, (0, 0))), np.pad(table.error, cells),
        np.int64(table.lowest), np.int64(len(table.first) - 2),
    )  # fmt: skip
    chunk = min(_CHUNK, max(_LEAST, 1 << max(depth - 1, 0).bit_length()))
    with concrete():
        state, done = (variance[0], error[0]), 0
        while done < depth:
            layers = [np.asarray(part) for part in _layers(chunk)(state, scalars, arrays)]
            count = min(chunk, depth - done)
            for whole, part in zip((variance, error), layers, strict=True):
                whole[done + 1 : done + 1 + count] = part[:count]
            done += count
            state = (layers[0][-1], layers[1][-1])
            if all(np.array_equal(part[-1], part[-2]) for part in layers):
                variance[done + 1 :], error[done + 1 :] = state
                break
    return variance, error


@lru_cache
def _layers(count: int) -> Callable:
    """A compiled run through so many layers; it does not depend on the activation.

    Values first, in a loop of one fused kernel, ten times as fast as one that has the errors too;
    then all that errors need of them at once; then the errors.
    """
    import jax
    import jax.numpy as jnp

    def run(state, scalars, arrays):
        def layer(q, _):
            q = _value(q, scalars, arrays)
            return q, q

        def layer_of_error(doubt, terms):
            doubt = _doubt(doubt, terms, scalars)
            return doubt, doubt

        q, doubt = state
        values = jax.lax.scan(layer, q, length=count)[1]
        before = jnp.concatenate([q[None], values[:-1]])
        terms = _terms(before, values, scalars, arrays)
        return values, jax.lax.scan(layer_of_error, doubt, terms)[1]

    return jax.jit(run)


def _cell(q, arrays):
    """Coefficients of the cell of `q`, the place in it, its number, and how many a binade has."""
    import jax.numpy as jnp

    first, coefficients, _, lowest, last = arrays
    mantissa, exponent = jnp.frexp(q)
    x = jnp.log2(mantissa) + 1  # exact to 1e-16, as log2(q) would not be far out
    binade = exponent - 1 - lowest
    inside = jnp.clip(binade, 0, last)
    count = first[inside + 1] - first[inside]
    piece = jnp.clip(jnp.floor(x * count).astype(count.dtype), 0, count - 1)
    cell = first[inside] + piece
    return coefficients[cell], 2 * (x * count - piece) - 1, cell, count, binade


def _under(q, scalars):
    """Under the table: `q` over its lower end, and what is added to the limit at 0."""
    import jax.numpy as jnp

    _, low, gain, power, *_ = scalars[1]
    ratio = q / low
    return ratio, jnp.where(ratio > 0, gain * ratio**power, 0.0)


def _value(q, scalars, arrays):
    """One layer."""
    import jax.numpy as jnp

    weight_var, bias_var, beyond = scalars[0]
    at_zero, low, *_ = scalars[1]
    c, u, _, _, binade = _cell(q, arrays)
    b1 = b2 = jnp.zeros_like(q)
    for k in range(c.shape[-1] - 1, 0, -1):  # Clenshaw's recurrence
        b1, b2 = 2 * u * b1 - b2 + c[..., k], b1
    moment = jnp.maximum(c[..., 0] + u * b1 - b2, 0.0)  # 1e-90 and its error may be less
    under = (binade < 0) | (q == 0)
    added = _under(jnp.where(under, q, low), scalars)[1]
    value = weight_var * jnp.where(under, at_zero + added, moment) + bias_var
    value = jnp.where(binade > arrays[-1], beyond, value)
    return jnp.where(jnp.isfinite(q), value, q)


def _terms(q, value, scalars, arrays):
    """What the errors of the next layer need: see `_doubt`."""
    import jax.numpy as jnp

    weight_var, bias_var, _ = scalars[0]
    _, low, gain, power, gain_error, stray = scalars[1]
    c, u, cell, count, binade = _cell(q, arrays)
    b1 = b2 = d1 = d2 = jnp.zeros_like(q)
    for k in range(c.shape[-1] - 1, 0, -1):  # the derivative beside it
        d1, d2 = 2 * u * d1 - d2 + 2 * b1, d1
        b1, b2 = 2 * u * b1 - b2 + c[..., k], b1
    moment = jnp.maximum(c[..., 0] + u * b1 - b2, 0.0)
    slope = (b1 + u * d1 - d2) * 2 * count / (q * np.log(2.0))
    own = weight_var * (arrays[2][cell] + 3 * EPS * moment) + EPS * bias_var
    under = (binade < 0) | (q == 0)
    ratio, added = _under(jnp.where(under, q, low), scalars)
    some = added > 0
    steep = jnp.where(some, added * power / q, 0.0)
    spread = jnp.where(some, added * (gain_error / gain - stray * jnp.log(ratio)), 0.0)
    rounding = 2 * EPS * value + _TINY * (q > 0)
    steep = weight_var * jnp.where(under, steep, jnp.abs(slope))
    own = jnp.where(under, weight_var * spread + rounding, own)
    return steep, own, under & ~some, jnp.isfinite(value)


def _doubt(doubt, terms, scalars):
    """One layer of the errors: `V'` times what came in, and its own; from nothing, a power."""
    import jax.numpy as jnp

    weight_var, *_ = scalars[0]
    _, low, gain, power, *_ = scalars[1]
    steep, own, nothing, finite = terms
    at_most = jnp.where(doubt > 0, gain * (doubt / low) ** power, 0.0)
    new = jnp.where(nothing, weight_var * at_most, steep * doubt) + own
    return jnp.where(finite, new, 0.0)
