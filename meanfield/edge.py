r"""The edge of chaos at a variance `q` of the pre-activations, explicit in two moments.

With `z ~ N(0, q)`: `weight_var = 1 / E[phi'(z)^2]` and `bias_var = q - weight_var E[phi(z)^2]`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import LEAST_REACH, Activation
from meanfield.errors import MeanFieldError, NoCriticalPointError, UnresolvedError
from meanfield.gaussian import MOMENTS, Moments
from meanfield.precision import EPS

__all__ = ["Edge", "edge_at", "edge_where_known", "reshaped"]

Array = NDArray[np.float64]

_PHI2, _DPHI2, _SPARSITY = (MOMENTS.index(name) for name in ("phi2", "dphi2", "sparsity"))
_UNRESOLVED = 0.05  # a moment known worse than this is not a number to choose variances by


class Edge(NamedTuple):
    """The edge of chaos at `q`: numbers, or arrays of its shape, each with a bound of its error."""

    q: Any
    weight_var: Any
    bias_var: Any
    slope: Any
    curvature: Any
    sparsity: Any
    weight_error: Any
    bias_error: Any
    slope_error: Any
    curvature_error: Any
    susceptibility_gap: Any  # dE[phi^2]/dq - E[phi'^2], zero where both susceptibilities are 1
    gap_error: Any
    bias_slope: Any  # d bias_var / dq along the edge

    @property
    def error(self):
        """Relative error of `weight_var`, or that of `bias_var` beside `q` where it is larger."""
        return _larger(self.weight_error / self.weight_var, self.bias_error / self.q)


def edge_at(activation: Activation, q: Any) -> Edge:
    """The edge at a variance or an array of them, valid or not.

    Raises:
        UnresolvedError: a moment that is needed could not be computed.
        NoCriticalPointError: `E[phi'^2]` is infinite or zero.
    """
    scalar = isinstance(q, float)  # arithmetic with floats is ten times as fast as with arrays
    m = activation.moments(np.array([q]) if scalar else q, derivatives=True)
    if not np.all(_known(m, scalar)):
        raise _why_not(activation, np.atleast_1d(q), m)
    return _edge(m, q, scalar)


def edge_where_known(activation: Activation, q: Array) -> Edge:
    """The edge at the longest run of the variances `q` at which it can be computed.

    Raises as `edge_at` does if there is none.
    """
    m = activation.moments(q, derivatives=True)
    known = _known(m, scalar=False)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], known, [0]])))
    if not len(ends):
        raise _why_not(activation, q, m)
    first, last = max(ends.reshape(-1, 2).tolist(), key=lambda run: run[1] - run[0])
    with np.errstate(all="ignore"):  # of what is not known
        return Edge(*(part[first:last] for part in _edge(m, q, scalar=False)))


def _pick(array: Array | None, column: int, scalar: bool) -> Any:
    assert array is not None
    return float(array[0, column]) if scalar else array[:, column]


def _known(m: Moments, scalar: bool) -> Any:
    """Where the moments are good enough for the variances that follow from them."""
    gradient = _pick(m.value, _DPHI2, scalar)
    return (
        _resolved(_pick(m.value, _PHI2, scalar), _pick(m.error, _PHI2, scalar))
        & _resolved(gradient, _pick(m.error, _DPHI2, scalar))
        & (gradient > 1e-290)
    )


def _edge(m: Moments, q: Any, scalar: bool) -> Edge:
    def pick(array: Array | None, column: int) -> Any:
        return _pick(array, column, scalar)

    second, second_error = pick(m.value, _PHI2), pick(m.error, _PHI2)
    gradient, gradient_error = pick(m.value, _DPHI2), pick(m.error, _DPHI2)
    weight_var = 1 / gradient
    relative = gradient_error / gradient + EPS
    spent = weight_var * second
    slope, curvature = (weight_var * pick(a, _PHI2) for a in (m.first, m.second))
    slope_error, curvature_error = (
        weight_var * pick(error, _PHI2) + abs(number) * relative
        for error, number in ((m.first_error, slope), (m.second_error, curvature))
    )
    bias_error = spent * (relative + EPS) + weight_var * second_error + EPS * q
    return Edge(
        q=q,
        weight_var=weight_var,
        bias_var=_snap(q - spent, 0.0, bias_error),
        slope=_snap(slope, 1.0, slope_error),
        curvature=_snap(curvature, 0.0, curvature_error),
        sparsity=pick(m.value, _SPARSITY),
        weight_error=weight_var * relative,
        bias_error=bias_error,
        slope_error=slope_error,
        curvature_error=curvature_error,
        susceptibility_gap=pick(m.first, _PHI2) - gradient,
        gap_error=pick(m.first_error, _PHI2) + gradient_error,
        bias_slope=1 - slope + spent * weight_var * pick(m.first, _DPHI2),
    )


def _resolved(value: Any, error: Any) -> Any:
    return (error <= _UNRESOLVED * value) & (value < np.inf)


def _larger(a: Any, b: Any) -> Any:
    return max(a, b) if isinstance(a, float) else np.maximum(a, b)


def _snap(value: Any, target: float, error: Any) -> Any:
    """`target` where the value is the same within its error: 1 is marginal, 1 - 1e-16 is stable."""
    same = abs(value - target) <= error
    return (
        (target if same else value) if isinstance(value, float) else np.where(same, target, value)
    )


def reshaped(edge: Edge, shape: tuple[int, ...]) -> Edge:
    """An `Edge` of arrays in another shape; numbers stay numbers."""
    return edge if isinstance(edge.q, float) else Edge(*(part.reshape(shape) for part in edge))


def _why_not(activation: Activation, q: Array, m: Moments) -> MeanFieldError:
    """The error that says which moment fails, where and why."""
    samples = activation.columns(LEAST_REACH).samples
    gradient = m.value[:, _DPHI2]
    if np.all(gradient == np.inf) and samples.is_infinite(2):
        return NoCriticalPointError(_infinite_slope(activation))
    for name, column in (("E[phi^2]", _PHI2), ("E[phi'^2]", _DPHI2)):
        value, error = m.value[:, column], m.error[:, column]
        if np.any(value == np.inf):
            where = q[np.argmax(value == np.inf)]
            return UnresolvedError(
                f"{activation.name}: {name} is infinite, or too large for float64, at q = "
                f"{where:.6g}; ask for a smaller q"
            )
        bad = ~_resolved(value, error) & (value > 1e-290) | np.isnan(value)
        if np.any(bad):
            return UnresolvedError(activation.why_not(float(q[np.argmax(bad)]), name))
    return NoCriticalPointError(
        f"{activation.name}: E[phi'^2] is {gradient.min():.3g} at q = "
        f"{q[np.argmin(gradient)]:.6g}, so no finite weight_var reaches chi1 = 1; ask for a larger "
        "q, at which pre-activations reach where phi varies"
    )


def _infinite_slope(activation: Activation) -> str:
    jumps = activation.jumps
    nearest = jumps[np.argmin(np.abs(jumps))] if len(jumps) else 0.0
    what, instead = (
        (f"it jumps at x = {nearest:.6g}", "a continuous approximation of it, such as a steep ramp")
        if len(jumps)
        else ("its slope is not square-integrable", "one whose slope is bounded")
    )
    return (
        f"{activation.name}: {what}, so chi1 is infinite for every weight_var and there is no edge "
        f"of chaos at any q; use {instead}"
    )
