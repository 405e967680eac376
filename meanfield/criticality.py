r"""The edge of chaos: variances at which a small difference between inputs neither grows nor dies.

At a variance `q` of the pre-activations the edge is explicit,

    weight_var = 1 / E[phi'^2],        bias_var = q - weight_var E[phi^2],

so nothing is iterated: a critical point at given `bias_var`, and a point at which the variance is
marginal too (`V' = 1`), are roots of one function of `q`, bracketed on a grid over all
variances and then polished (Schoenholz et al. 2017, arXiv 1611.01232; Hayou et al. 2019, arXiv
1902.06853; Roberts, Yaida & Hanin 2022, arXiv 2106.10165, chapter 5).
"""

from collections.abc import Callable
from math import log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import Activation, as_activation
from meanfield.edge import Edge, edge_at, reshaped
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.errors import NoCriticalPointError
from meanfield.keywords import spelt
from meanfield.network import FixedPoint, Network, Phase
from meanfield.precision import is_traced

__all__ = ["CriticalLine", "Edge", "critical", "critical_line", "depth_scale", "edge_at",
           "fixed_point", "line_of", "reshaped"]  # fmt: skip

Array = NDArray[np.float64]


def depth_scale(slope: Any) -> Any:
    """`-1 / ln |slope|`: in so many layers a distance falls by 1/e; see `FixedPoint`."""
    if isinstance(slope, float) and 0 < abs(slope) < 1:
        return -1 / log(abs(slope))  # a tenth of the time
    size = np.abs(slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(size < 1, -1 / np.log(size), np.where(size == 1, np.inf, np.nan))
    return float(scale) if scale.ndim == 0 else scale


def fixed_point(
    edge: Edge, activation: Activation, weights: str | Ensemble, bias_var: Any = None
) -> FixedPoint:
    """A `FixedPoint` from points on the edge; `bias_var` replaces the edge's where given."""
    scalar = isinstance(edge.q, float)
    shape = np.shape(edge.q)
    stable = abs(edge.slope) < 1
    bias = edge.bias_var if bias_var is None else bias_var
    scale = depth_scale(edge.slope)
    errors = {
        "weight_var": edge.weight_error, "bias_var": edge.bias_error,
        "variance_slope": edge.slope_error, "variance_curvature": edge.curvature_error,
    }  # fmt: skip
    with np.errstate(all="ignore"):
        if bias_var is not None:  # a q that was solved for moves all the others with it
            errors["q"] = moved = edge.bias_error / np.abs(edge.bias_slope)
            relative = np.abs(edge.bias_slope - 1 + edge.slope) / (edge.q - bias)
            bend = np.abs(edge.curvature)
            errors["weight_var"] = errors["weight_var"] + moved * relative * edge.weight_var
            errors["variance_slope"] = errors["variance_slope"] + moved * (
                bend + relative * np.abs(edge.slope)
            )
            errors["variance_curvature"] = errors["variance_curvature"] + moved * bend * (
                4 / edge.q + relative
            )
        errors["depth_scale_q"] = scale * scale * (errors["variance_slope"] / np.abs(edge.slope))
    return FixedPoint(
        network=Network(activation, edge.weight_var, bias, weights),
        q=edge.q,
        chi1=1.0 if scalar else np.ones(shape),
        variance_slope=edge.slope,
        variance_curvature=edge.curvature,
        correlation=1.0 if scalar else np.ones(shape),
        depth_scale_q=scale,
        depth_scale_c=np.inf if scalar else np.full(shape, np.inf),
        sparsity=edge.sparsity,
        phase=Phase.CRITICAL if scalar else np.full(shape, int(Phase.CRITICAL)),
        stable=stable,
        error=edge.error,
        errors=errors,
        universality_class="scale-invariant" if activation.is_homogeneous else None,
    )  # fmt: skip


@spelt
def critical(
    phi: Callable | str | Activation,
    q: ArrayLike | None = None,
    *,
    bias_var: ArrayLike | None = None,
    weights: str | Ensemble = "gaussian",
) -> FixedPoint:
    r"""The critical initialisation of an activation.

    `weight_var = 1 / E[phi'(z)^2]` and `bias_var = q - weight_var E[phi(z)^2]`, `z ~ N(0, q)`:
    then `chi1 = 1`, gradients keep their mean square and nearby inputs stay apart.

    Args:
        phi: the activation: a function of an array (JAX, NumPy, torch) or of a number, the name
            of a catalogued one, or an `Activation`. It may depend on JAX tracers.
        q: variance of the pre-activations, positive; a number or an array. 1 if neither `q` nor
            `bias_var` is given.
        bias_var: instead of `q`: the variance of the biases at which a critical point is wanted.
        weights: as in `Network`; the variances are the same for all.

    Returns:
        A `FixedPoint`; its fields have the shape of `q` or of `bias_var`. Look at
        `variance_slope`: above 1 the point is critical but does not hold its variance.

    Raises:
        NoCriticalPointError: none exists at this `q` (`bias_var` would be negative, or `chi1` is
            infinite or zero); says which `q` would do. Or several do for this `bias_var`.
        UnresolvedError: the activation cannot be sampled to useful accuracy.
        NotElementwiseError: it is no activation.
        ValueError: an argument is outside its range.

    Source: Schoenholz et al. 2017, arXiv 1611.01232 (`chi1` and the edge of chaos).

    Example:
        >>> import meanfield as mf
        >>> point = mf.critical("gelu", q=1.0)
        >>> round(point.weight_var, 12), round(point.bias_var, 12)
        (2.193699903532, 0.067191674706)
        >>> import jax.numpy as jnp
        >>> round(mf.critical(jnp.tanh, bias_var=0.05).q, 9)
        0.570047882
    """
    if q is not None and bias_var is not None:
        raise ValueError(
            f"q, bias_var: give one of them, the other follows; got q={q!r}, bias_var={bias_var!r}"
        )
    ensemble_of(weights)
    activation = as_activation(phi)
    if activation.is_traced or is_traced(q, bias_var):
        from meanfield.transformed import critical_in_trace

        return critical_in_trace(activation, q, bias_var, weights)
    if bias_var is not None:
        from meanfield.search import critical_at_bias

        return critical_at_bias(activation, bias_var, weights)
    variances = checked_variances("q", 1.0 if q is None else q)
    edge = edge_at(activation, float(variances) if variances.ndim == 0 else variances.ravel())
    if np.any(edge.bias_var < 0):
        from meanfield.search import where_valid

        bad = np.flatnonzero(np.atleast_1d(edge.bias_var < 0))
        entries = "" if variances.ndim == 0 else f" (entries {bad.tolist()})"
        first, missing = variances.ravel()[bad[0]], np.atleast_1d(edge.bias_var)[bad[0]]
        raise NoCriticalPointError(
            f"{activation.name}: no critical point at q = {first:.6g}{entries}: bias_var = "
            f"q - E[phi^2]/E[phi'^2] would be {missing:.6g}, and a variance is not negative. "
            f"{where_valid(activation)}"
        )
    return fixed_point(reshaped(edge, variances.shape), activation, weights)


def checked_numbers(name: str, value: ArrayLike) -> Array:
    """The numbers as a float64 array, or an error that says what is none."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "SUbc":  # text of a number, true, complex
            return np.asarray(value, np.float64)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{name}: must be a number or an array of numbers, got {value!r}")


def checked_variances(name: str, value: ArrayLike, least: str = "> 0") -> Array:
    """The variances as a float64 array, or an error that names the first bad one."""
    array = checked_numbers(name, value)
    good = (array < np.inf) & ((array > 0) if least == "> 0" else (array >= 0))
    if array.size == 0:
        raise ValueError(f"{name}: must have at least one entry, got an empty array")
    if not np.all(good):
        bad = np.flatnonzero(~good.ravel())
        entries = "" if array.ndim == 0 else f" at entries {bad.tolist()[:8]}"
        raise ValueError(
            f"{name}: a variance must be finite and {least}, got {array.ravel()[bad[0]]}{entries}"
        )
    return array


class CriticalLine(NamedTuple):
    """The edge of chaos along `q`; arrays of the shape of `q`, NaN where not `valid`."""

    q: Array
    weight_var: Array
    bias_var: Array
    variance_slope: Array
    valid: NDArray[np.bool_]
    error: Array

    def __repr__(self) -> str:
        q = self.q[self.valid]
        there = f", at q from {q.min():.6g} to {q.max():.6g}" if q.size else ""
        return f"CriticalLine of {self.q.size} points: {q.size} critical{there}"


@spelt
def critical_line(phi: Callable | str | Activation, q: ArrayLike) -> CriticalLine:
    r"""The edge of chaos: `weight_var(q)` and `bias_var(q)` with `chi1 = 1`, as a curve.

    Args:
        phi: the activation, as for `critical`.
        q: variances of the pre-activations, positive; any shape.

    Returns:
        Arrays `weight_var`, `bias_var`, `variance_slope` and `valid` of the shape of `q`. Where
        `bias_var` would be negative there is no critical point: `valid` is False and the others
        NaN. `error` is as in `FixedPoint`.

    Raises:
        NoCriticalPointError: `chi1` is infinite at every `q` (the activation jumps).
        UnresolvedError: the activation cannot be sampled to useful accuracy.
        ValueError: `q` is not positive and finite.

    Example:
        >>> import meanfield as mf
        >>> line = mf.critical_line("gaussian", q=[1.0, 2.0])
        >>> line.valid.tolist(), line.bias_var.round(6).tolist()
        ([False, True], [nan, 0.875])
    """
    variances = checked_variances("q", q)
    return line_of(reshaped(edge_at(as_activation(phi), variances.ravel()), variances.shape))


def line_of(edge: Edge) -> CriticalLine:
    """The curve through points of an `Edge` of arrays."""
    valid = edge.bias_var >= 0
    weight_var, bias_var, slope = (
        np.where(valid, column, np.nan) for column in (edge.weight_var, edge.bias_var, edge.slope)
    )
    return CriticalLine(edge.q, weight_var, bias_var, slope, valid, edge.error)
