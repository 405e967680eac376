r"""The variance map: what one layer does to the variance of the pre-activations.

    V(q) = weight_var E[phi(sqrt(q) z)^2] + bias_var,    z ~ N(0, 1)

Its slope is taken by Stein's lemma, never from `phi''`, so kinks and jumps do no harm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import Activation
from meanfield.criticality import checked_variances
from meanfield.errors import UnresolvedError
from meanfield.maps.moment import OVERFLOW, SecondMoment, Table, second_moment, table_of
from meanfield.network import FixedPoint, Network
from meanfield.precision import EPS, concrete, is_traced

__all__ = ["VarianceMap", "VarianceTrajectory", "checked_depth", "network_of", "variance_map"]

Array = NDArray[np.float64]

_CHUNK = 1 << 14  # layers run through at once
_TOP = 1024  # binades: all that float64 has
_BINADES = 2048  # more than there are in any table
_TINY = float(np.finfo(np.float64).tiny)  # what is smaller may be flushed to 0


def network_of(network: Network | FixedPoint) -> Network:
    """The one network that the argument is or belongs to, or an error that says what it must be."""
    if isinstance(network, FixedPoint):
        network = network.network
    if not isinstance(network, Network):
        raise TypeError(f"network: must be a Network or a FixedPoint, got {network!r}")
    parts = (network.weight_var, network.bias_var)
    if network.activation.is_traced or is_traced(*parts):
        raise TypeError(
            "network: it depends on a value that a JAX transformation is tracing; take this "
            "outside the transformation"
        )
    if any(np.ndim(part) for part in parts):
        raise ValueError(
            "network: must have one weight_var and one bias_var, got arrays of shapes "
            f"{np.shape(parts[0])} and {np.shape(parts[1])}; take them one by one, or call "
            "phase_diagram for a grid"
        )
    return network


@dataclass(frozen=True, eq=False)
class VarianceMap:
    """`V(q)` of a network; see `variance_map`.

    Attributes:
        network: the `Network`.
    """

    network: Network

    @property
    def activation(self) -> Activation:
        """The activation of the network."""
        return self.network.activation

    @property
    def weight_var(self) -> float:
        """`sigma_w^2` as a float."""
        return float(self.network.weight_var)

    @property
    def bias_var(self) -> float:
        """`sigma_b^2` as a float."""
        return float(self.network.bias_var)

    def __call__(self, q: ArrayLike) -> Any:
        """`V(q)`, the variance after one layer.

        Args:
            q: variances of the pre-activations, not negative; any shape.

        Returns:
            A float for a number, else an array of the shape of `q`; `inf` where it overflows, and
            the limit from above at 0.

        Raises:
            UnresolvedError: the activation cannot be computed as far out as this `q` needs.
            ValueError: an entry is negative or not finite.
        """
        return self._each(q, lambda q, m: self.weight_var * m.value + self.bias_var)

    def slope(self, q: ArrayLike) -> Any:
        """`V'(q)`; arguments and result as those of a call. It can be infinite at 0."""
        return self._each(q, lambda q, m: self.weight_var * m.first)

    def curvature(self, q: ArrayLike) -> Any:
        """`V''(q)`; arguments and result as those of a call. It can be infinite at 0."""
        return self._each(q, lambda q, m: self.weight_var * m.second)

    def error(self, q: ArrayLike) -> Any:
        """A bound of the absolute error of `V(q)`; arguments and result as those of a call."""
        return self._each(q, lambda q, m: self.error_of(m))

    def error_of(self, m: SecondMoment) -> Array:
        """A bound of the error of `V`, that of rounding the variances to float64 included."""
        return self.weight_var * (m.error + 2 * EPS * m.value) + EPS * self.bias_var

    @np.errstate(all="ignore")
    def _each(self, q: ArrayLike, of: Callable[[Array, SecondMoment], Array]) -> Any:
        variances = checked_variances("q", q, ">= 0")
        flat = variances.ravel()
        moment = second_moment(self.activation, flat)
        unknown = np.isinf(moment.error) & (moment.value != np.inf)
        if np.any(unknown):
            raise UnresolvedError(
                self.activation.why_not(float(flat[np.argmax(unknown)]), "E[phi^2]")
            )
        result = of(flat, moment)
        return float(result[0]) if variances.ndim == 0 else result.reshape(variances.shape)

    def iterate(self, q0: ArrayLike, depth: int) -> "VarianceTrajectory":
        """The variances through `depth` layers.

        They are taken from a table of `E[phi^2]`, so that a million layers take seconds.

        Args:
            q0: variances at the start; any shape.
            depth: number of layers, not negative.

        Returns:
            A `VarianceTrajectory`, whose first entry is `q0`.

        Raises:
            UnresolvedError: the trajectory goes where the activation cannot be computed.
            ValueError: `q0` or `depth` is negative or not finite.

        Example:
            >>> import meanfield as mf
            >>> V = mf.variance_map(mf.Network("relu", weight_var=1.0))
            >>> V.iterate(q0=1.0, depth=3).variance
            array([1.   , 0.5  , 0.25 , 0.125])
        """
        start = checked_variances("q0", q0, ">= 0")
        variance, error = _iterated(self, start, checked_depth(depth))
        return VarianceTrajectory(self.network, variance, error)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw `V(q)` with its fixed points; see `meanfield.plot.variance_map`."""
        from meanfield import plot

        return plot.variance_map(self, ax=ax, **options)

    def __repr__(self) -> str:
        return f"VarianceMap of {self.network!r}: call it with q, or iterate(q0, depth)"


def variance_map(network: Network | FixedPoint) -> VarianceMap:
    r"""The variance map `V(q) = weight_var E[phi(sqrt(q) z)^2] + bias_var` of a network.

    Args:
        network: a `Network` or a `FixedPoint`, with one weight and one bias variance.

    Returns:
        A `VarianceMap`: `V(q)`, `V.slope(q)`, `V.curvature(q)`, `V.error(q)` take any shape of
        `q`, and `V.iterate(q0, depth)` takes variances through many layers.

    Raises:
        TypeError: `network` is none, or depends on a value that JAX traces.
        ValueError: its variances are arrays.

    Source: Poole et al. 2016, arXiv 1606.05340, equation 3.

    Example:
        >>> import meanfield as mf
        >>> V = mf.variance_map(mf.Network("relu", weight_var=1.5, bias_var=0.1))
        >>> V(0.4), V.slope(0.4)
        (0.4, 0.75)
    """
    return VarianceMap(network_of(network))


@dataclass(frozen=True, eq=False, repr=False)
class VarianceTrajectory:
    """Variances of the pre-activations, layer by layer; `np.asarray` gives `variance`.

    Attributes:
        network: the `Network`.
        variance: shape (depth + 1, *shape of q0), the start at index 0; `inf` from the layer on
            where float64 overflows.
        error: bounds of the absolute error, of the same shape.
    """

    network: Network
    variance: Array
    error: Array

    def __len__(self) -> int:
        return len(self.variance)

    def __getitem__(self, layer: Any) -> Any:
        return self.variance[layer]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.variance, dtype=dtype, copy=copy)

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


def checked_depth(depth: int) -> int:
    """A number of layers, or an error that says what is one."""
    if not isinstance(depth, int | np.integer) or depth < 0:
        raise ValueError(f"depth: must be a number of layers, 0 or more, got {depth!r}")
    return int(depth)


def _iterated(V: VarianceMap, start: Array, depth: int) -> tuple[Array, Array]:
    table = table_of(V.activation)
    while True:
        variance, error = _run(V, table, start, depth)
        missed = np.isnan(variance)
        if not np.any(missed):
            return variance, error
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
def _run(V: VarianceMap, table: Table, start: Array, depth: int) -> tuple[Array, Array]:
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
    chunk = min(_CHUNK, 1 << max(depth - 1, 0).bit_length())
    with concrete():
        state, done = (variance[0], error[0]), 0
        while done < depth:
            layers = [np.asarray(part) for part in _layers(chunk)(state, scalars, arrays)]
            count = min(chunk, depth - done)
            for whole, part in zip((variance, error), layers, strict=True):
                whole[done + 1 : done + 1 + count] = part[:count]
            done += count
            state = (layers[0][-1], layers[1][-1])
            if chunk > 1 and all(np.array_equal(part[-1], part[-2]) for part in layers):
                variance[done + 1 :], error[done + 1 :] = state
                break
    return variance, error


@lru_cache
def _layers(count: int) -> Callable:
    """A compiled run through so many layers; it does not depend on the activation."""
    import jax

    def run(state, scalars, arrays):
        def step(state, _):
            state = _layer(state, scalars, arrays)
            return state, state

        return jax.lax.scan(step, state, length=count)[1]

    return jax.jit(run)


def _layer(state, scalars, arrays):
    """One layer, and what it does to the error: `V'` times what came in, and its own."""
    import jax.numpy as jnp

    q, doubt = state
    (weight_var, bias_var, beyond), (at_zero, low, gain, power, gain_error, stray) = scalars
    first, coefficients, errors, lowest, last = arrays
    mantissa, exponent = jnp.frexp(q)
    x = jnp.log2(mantissa) + 1  # exact to 1e-16, as log2(q) would not be far out
    binade = exponent - 1 - lowest
    inside = jnp.clip(binade, 0, last)
    count = first[inside + 1] - first[inside]
    piece = jnp.clip(jnp.floor(x * count).astype(count.dtype), 0, count - 1)
    cell = first[inside] + piece
    u = 2 * (x * count - piece) - 1
    # Clenshaw's recurrence, and its derivative beside it
    c = coefficients[cell]
    b1 = b2 = d1 = d2 = jnp.zeros_like(q)
    for k in range(c.shape[-1] - 1, 0, -1):
        d1, d2 = 2 * u * d1 - d2 + 2 * b1, d1
        b1, b2 = 2 * u * b1 - b2 + c[..., k], b1
    moment = jnp.maximum(c[..., 0] + u * b1 - b2, 0.0)  # 1e-90 and its error may be less
    slope = (b1 + u * d1 - d2) * 2 * count / (q * np.log(2.0))
    value = weight_var * moment + bias_var
    own = weight_var * (errors[cell] + 3 * EPS * moment) + EPS * bias_var
    new = jnp.abs(weight_var * slope) * doubt + own
    under = (binade < 0) | (q == 0)
    ratio = jnp.where(under, q, low) / low
    added = jnp.where(ratio > 0, gain * ratio**power, 0.0)
    share = gain_error / gain - stray * jnp.log(ratio) + power * doubt / q
    value = jnp.where(under, weight_var * (at_zero + added) + bias_var, value)
    at_most = jnp.where(doubt > 0, gain * (doubt / low) ** power, 0.0)
    spread = weight_var * jnp.where(added > 0, added * share, at_most)
    new = jnp.where(under, spread + 2 * EPS * value + _TINY * (q > 0), new)
    value = jnp.where(binade > last, beyond, value)
    value = jnp.where(jnp.isfinite(q), value, q)
    return value, jnp.where(jnp.isfinite(value), new, 0.0)
