r"""The edge of chaos: variances at which a small difference between inputs neither grows nor dies.

At a variance `q` of the pre-activations the edge is explicit,

    weight_var = 1 / E[phi'^2],        bias_var = q - weight_var E[phi^2],

so nothing is iterated: a critical point at given `bias_var`, and a point at which the variance is
marginal too (`V' = 1`), are roots of one function of `q`, bracketed on a grid over all
variances and then polished (Schoenholz et al. 2017, arXiv 1611.01232; Hayou et al. 2019, arXiv
1902.06853; Roberts, Yaida & Hanin 2022, arXiv 2106.10165, chapter 5).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import LEAST_REACH, Activation, as_activation
from meanfield.errors import NoCriticalPointError, UnresolvedError
from meanfield.gaussian import MOMENTS
from meanfield.network import FixedPoint, Network, Phase, check_weights
from meanfield.precision import EPS, is_traced

__all__ = ["CriticalLine", "Edge", "critical", "critical_line", "edge_at", "fixed_point"]

Array = NDArray[np.float64]

_PHI2, _DPHI2, _SPARSITY = (MOMENTS.index(name) for name in ("phi2", "dphi2", "sparsity"))
_UNRESOLVED = 0.05  # a moment known worse than this is not a number to choose variances by


class Edge(NamedTuple):
    """The edge of chaos along `q`, arrays of its shape, each with a bound of its error."""

    q: Array
    weight_var: Array
    bias_var: Array
    slope: Array
    curvature: Array
    sparsity: Array
    weight_error: Array
    bias_error: Array
    slope_error: Array
    curvature_error: Array
    susceptibility_gap: Array  # dE[phi^2]/dq - E[phi'^2], zero where both susceptibilities are 1
    gap_error: Array
    bias_slope: Array  # d bias_var / dq along the edge


def edge_at(activation: Activation, q: Array) -> Edge:
    """The formulas of the module's docstring at variances of shape (n,), valid or not.

    Raises:
        UnresolvedError: a moment that is needed could not be computed.
        NoCriticalPointError: `E[phi'^2]` is infinite or zero.
    """
    m = activation.moments(q, derivatives=True)
    second, slope = m.value[:, _PHI2], m.value[:, _DPHI2]
    second_error, slope_error = m.error[:, _PHI2], m.error[:, _DPHI2]
    samples = activation.columns(LEAST_REACH).samples
    if np.all(slope == np.inf) and (len(samples.jumps) or samples.steep[0]):
        raise NoCriticalPointError(_infinite_slope(activation, q))
    for name, value, error in (
        ("E[phi^2]", second, second_error),
        ("E[phi'^2]", slope, slope_error),
    ):
        if np.any(value == np.inf):
            raise UnresolvedError(
                f"{activation.name}: {name} overflows float64 at q = {q[np.argmax(value)]:.6g}; ask "
                "for a smaller q"
            )
        bad = ~np.isfinite(value) | (error > _UNRESOLVED * np.abs(value)) & (error > 1e-290)
        if np.any(bad):
            raise UnresolvedError(activation.why_not(float(q[np.argmax(bad)]), name))
    if np.any(slope < 1e-290):
        raise NoCriticalPointError(
            f"{activation.name}: E[phi'^2] is {slope.min():.3g} at q = {q[np.argmin(slope)]:.6g}, so "
            "no finite weight_var reaches chi1 = 1; ask for a larger q, at which pre-activations "
            "reach where phi varies"
        )
    assert m.first is not None and m.first_error is not None
    assert m.second is not None and m.second_error is not None
    weight_var = 1 / slope
    relative = slope_error / slope + EPS
    spent = weight_var * second
    bias_error = spent * (relative + second_error / second + EPS) + EPS * q
    rate = weight_var * m.first[:, _PHI2]
    curvature = weight_var * m.second[:, _PHI2]
    return Edge(
        q=q,
        weight_var=weight_var,
        bias_var=_snap(q - spent, 0.0, bias_error),
        slope=_snap(rate, 1.0, weight_var * m.first_error[:, _PHI2] + np.abs(rate) * relative),
        curvature=_snap(curvature, 0.0, weight_var * m.second_error[:, _PHI2]),
        sparsity=m.value[:, _SPARSITY],
        weight_error=weight_var * relative,
        bias_error=bias_error,
        slope_error=weight_var * m.first_error[:, _PHI2] + np.abs(rate) * relative,
        curvature_error=weight_var * m.second_error[:, _PHI2] + np.abs(curvature) * relative,
        susceptibility_gap=m.first[:, _PHI2] - slope,
        gap_error=m.first_error[:, _PHI2] + slope_error,
        bias_slope=1 - rate + spent * weight_var * m.first[:, _DPHI2],
    )


def _snap(value: Array, target: float, error: Array) -> Array:
    """`target` where the value is the same within its error: 1 is marginal, 1 - 1e-16 is stable."""
    return np.where(np.abs(value - target) <= error, target, value)


def _infinite_slope(activation: Activation, q: Array) -> str:
    where = activation.jumps
    what = f"it jumps at x = {where[0]:.6g}" if len(where) else "its slope is not square-integrable"
    return (
        f"{activation.name}: {what}, so chi1 is infinite for every weight_var and there is no edge "
        "of chaos at any q; use a continuous approximation of it, such as a steep ramp"
    )


def fixed_point(edge: Edge, activation: Activation, weights: str, shape: tuple[int, ...],
                bias_var: Array | None = None) -> FixedPoint:  # fmt: skip
    """A `FixedPoint` from points on the edge; `bias_var` instead of the edge's where it was given."""
    def shaped(array: Array) -> Any:
        return float(array[0]) if shape == () else np.asarray(array).reshape(shape)

    slope = edge.slope
    with np.errstate(divide="ignore", invalid="ignore"):
        depth_scale = -1 / np.log(np.abs(slope))
    depth_scale = np.where(np.abs(slope) == 1, np.inf, np.where(np.abs(slope) > 1, np.nan, depth_scale))
    ones = np.ones_like(edge.q)
    stable = np.abs(slope) < 1
    bias = edge.bias_var if bias_var is None else bias_var
    error = np.maximum(edge.weight_error / edge.weight_var, edge.bias_error / edge.q)
    return FixedPoint(
        network=Network(activation, shaped(edge.weight_var), shaped(bias), weights),
        q=shaped(edge.q),
        chi1=shaped(ones),
        variance_slope=shaped(slope),
        variance_curvature=shaped(edge.curvature),
        correlation=shaped(ones),
        depth_scale_q=shaped(depth_scale),
        depth_scale_c=shaped(np.inf * ones),
        sparsity=shaped(edge.sparsity),
        phase=Phase.CRITICAL if shape == () else np.full(shape, int(Phase.CRITICAL)),
        stable=bool(stable[0]) if shape == () else stable.reshape(shape),
        error=shaped(error),
        errors={
            "weight_var": shaped(edge.weight_error), "bias_var": shaped(edge.bias_error),
            "variance_slope": shaped(edge.slope_error),
            "variance_curvature": shaped(edge.curvature_error),
        },
        universality_class="scale-invariant" if activation.is_homogeneous else None,
    )  # fmt: skip


def critical(
    phi: Callable | str | Activation,
    q: ArrayLike | None = None,
    *,
    bias_var: ArrayLike | None = None,
    weights: str = "gaussian",
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
        weights: `"gaussian"` or `"orthogonal"`; the variances are the same.

    Returns:
        A `FixedPoint`; its fields have the shape of `q` or of `bias_var`. Look at
        `variance_slope`: above 1 the point is critical but does not hold its variance.

    Raises:
        NoCriticalPointError: none exists at this `q` (`bias_var` would be negative, or `chi1` is
            infinite or zero); says which `q` would do. Or several do for this `bias_var`.
        UnresolvedError: the activation cannot be sampled to useful accuracy.
        NotElementwiseError: it is no activation.
        ValueError: an argument is outside its range.

    Source: Schoenholz et al. 2017, arXiv 1611.01232, equation 5 (`chi1`) and section 3.

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
    weights = check_weights(weights)
    activation = as_activation(phi)
    if activation.is_traced or is_traced(q, bias_var):
        from meanfield.transformed import critical_in_trace

        return critical_in_trace(activation, q, bias_var, weights)
    if bias_var is not None:
        from meanfield.search import critical_at_bias

        return critical_at_bias(activation, bias_var, weights)
    variances = checked_variances("q", 1.0 if q is None else q)
    flat = variances.ravel()
    edge = edge_at(activation, flat)
    bad = edge.bias_var < 0
    if np.any(bad):
        from meanfield.search import where_valid

        entries = "" if variances.ndim == 0 else f" (entries {np.flatnonzero(bad).tolist()})"
        worst = int(np.argmax(bad))
        raise NoCriticalPointError(
            f"{activation.name}: no critical point at q = {flat[worst]:.6g}{entries}: bias_var = "
            f"q - E[phi^2]/E[phi'^2] would be {edge.bias_var[worst]:.6g}, and a variance is not "
            f"negative. {where_valid(activation)}"
        )
    return fixed_point(edge, activation, weights, variances.shape)


def checked_variances(name: str, value: ArrayLike, least: str = "> 0") -> Array:
    """The variances as a float64 array, or an error that names the first bad one."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: must be a number or an array of numbers, got {value!r}") from error
    good = np.isfinite(array) & ((array > 0) if least == "> 0" else (array >= 0))
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
        ([False, True], [nan, 0.5])
    """
    variances = checked_variances("q", q)
    edge = edge_at(as_activation(phi), variances.ravel())
    valid = edge.bias_var >= 0
    error = np.maximum(edge.weight_error / edge.weight_var, edge.bias_error / edge.q)
    columns = (
        np.where(valid, column, np.nan).reshape(variances.shape)
        for column in (edge.weight_var, edge.bias_var, edge.slope)
    )
    shape = variances.shape
    return CriticalLine(variances, *columns, valid.reshape(shape), error.reshape(shape))
