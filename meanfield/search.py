r"""Searching the edge of chaos over all variances: at a given `bias_var`, and for critical points.

Along the edge everything is a smooth function of one variable, `log q`. It is tabulated on a grid
and its sign changes, and those of its derivative (a root that only touches), are polished. The
points where both susceptibilities are 1 have slopes within 1e-3 of 1 all around (GELU, SiLU):
iterating the variance map there takes 10^5 layers to converge, solving the two conditions none.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import Activation, as_activation, remembered
from meanfield.criticality import checked_variances, fixed_point
from meanfield.edge import Edge, edge_at, edge_where_known, reshaped
from meanfield.ensembles import Ensemble
from meanfield.errors import MeanFieldError, NoCriticalPointError, UnresolvedError
from meanfield.keywords import spelt
from meanfield.network import FixedPoint, Network, Phase

__all__ = ["PER_DECADE", "critical_at_bias", "critical_points", "edge_table", "valid_spans",
           "where_valid"]  # fmt: skip

Array = NDArray[np.float64]

_LEAST = 1e-8
_TOPS = 10.0 ** np.arange(6, -1, -1)  # the highest at which the activation can be sampled
PER_DECADE = 20  # of the table of the edge
_FLAT = 1e-12  # a slope below is rounding


@remembered
def edge_table(activation: Activation) -> Edge:
    """The edge along a grid of `q`, as far up as the activation can be computed."""
    trouble = None
    for top in _TOPS:
        count = round(np.log10(top / _LEAST) * PER_DECADE) + 1
        try:
            return edge_where_known(activation, np.geomspace(_LEAST, top, count))
        except UnresolvedError as error:  # it oscillates too often, for example
            trouble = error
    assert trouble is not None
    raise trouble


def _roots(
    activation: Activation, table: Edge, of: Callable[[Edge], tuple[Any, Any, Any]]
) -> list[float]:
    """Roots in `q` of a function on the edge, given with its error and perhaps its derivative."""
    from scipy.optimize import brentq

    def at(q: float, which: int) -> float:
        return float(of(edge_at(activation, float(q)))[which])

    def polish(low: float, high: float, which: int = 0) -> float:
        # in log q the brackets are even; the last digit of q is that of its logarithm over ln q
        ends = float(np.log(low)), float(np.log(high))
        if np.sign(at(np.exp(ends[0]), which)) == np.sign(at(np.exp(ends[1]), which)):
            return low  # both are rounding
        t: Any = brentq(lambda t: at(np.exp(t), which), *ends, xtol=1e-16)
        return min(max(float(np.exp(t)), low), high)

    grid = table.q.tolist()
    value, error, slope = of(table)
    sign = np.where(np.abs(value) <= error, 0.0, np.sign(value))
    known = np.flatnonzero(sign)
    roots = [
        polish(grid[i], grid[j])
        for i, j in zip(known[:-1], known[1:], strict=True)
        if sign[i] != sign[j]
    ]
    if slope is not None:
        flat = _FLAT + 4 * table.slope_error
        uphill = np.where(np.abs(slope) > flat, sign * np.sign(slope), 0)
        turns = (sign[:-1] == sign[1:]) & (uphill[:-1] < 0) & (uphill[1:] > 0)
        for low, high in ((grid[i], grid[i + 1]) for i in np.flatnonzero(turns)):
            turn = polish(low, high, 2)
            height, doubt = at(turn, 0), at(turn, 1)
            if abs(height) <= doubt:
                roots.append(turn)
            elif np.sign(height) != np.sign(at(low, 0)):
                roots += [polish(low, turn), polish(turn, high)]
    return sorted(roots)


def where_valid(activation: Activation) -> str:
    """A sentence about the `q` at which there is a critical point."""
    try:
        table = edge_table(activation)
    except MeanFieldError:
        return "No q that would do was found"
    spans = valid_spans(activation)
    if not spans:
        return (
            f"No q from {table.q[0]:.0e} to {table.q[-1]:.0e} would do: subtract its mean from "
            "the activation, or choose another"
        )
    return "There is one for q from " + " and from ".join(f"{a:.4g} to {b:.4g}" for a, b in spans)


def valid_spans(activation: Activation) -> list[tuple[float, float]]:
    """Intervals of the `q` at which there is a critical point, as far as the edge is known."""
    table = edge_table(activation)
    good = table.bias_var >= 0
    crossings = _roots(activation, table, lambda e: (e.bias_var, e.bias_error, None))
    ends = [float(table.q[0]), *crossings, float(table.q[-1])]
    return [
        (low, high)
        for low, high in zip(ends[:-1], ends[1:], strict=True)
        if np.any(good & (table.q >= low) & (table.q <= high))
    ]


def critical_at_bias(
    activation: Activation, bias_var: ArrayLike, weights: str | Ensemble
) -> FixedPoint:
    """`critical` where `bias_var` is given: the one root in `q` of the edge's `bias_var(q)`."""
    wanted = checked_variances("bias_var", bias_var, ">= 0")
    q = np.array([_variance_at(activation, float(b)) for b in wanted.ravel()])
    if np.any(q == 0):
        if wanted.ndim:
            raise NoCriticalPointError(
                f"bias_var: at entries {np.flatnonzero(q == 0).tolist()}, {activation.name} is "
                "critical only in the limit q = 0; ask for those one by one"
            )
        return _at_zero(activation, weights)
    if wanted.ndim == 0:
        return fixed_point(edge_at(activation, float(q[0])), activation, weights, float(wanted))
    edge = reshaped(edge_at(activation, q), wanted.shape)
    return fixed_point(edge, activation, weights, wanted)


def _variance_at(activation: Activation, bias_var: float) -> float:
    if activation.is_homogeneous:
        if bias_var == 0:
            return 1.0
        raise NoCriticalPointError(
            f"{activation.name}: no critical point at bias_var = {bias_var:.6g}: a scale-invariant "
            "activation is critical only at bias_var = 0, where every q is a fixed point"
        )
    table = edge_table(activation)
    roots = _roots(
        activation, table,
        lambda edge: (edge.bias_var - bias_var, edge.bias_error, edge.bias_slope),
    )  # fmt: skip
    if len(roots) == 1:
        return roots[0]
    if roots:
        listed = ", ".join(f"{q:.10g}" for q in roots)
        raise NoCriticalPointError(
            f"bias_var: {activation.name} is critical at bias_var = {bias_var:.6g} for "
            f"{len(roots)} variances, q = {listed}; say which by q="
        )
    if bias_var == 0 and _vanishing(activation) is not None:
        return 0.0
    valid = table.bias_var[table.bias_var >= 0]
    span = f"it takes values from {valid.min():.4g} to {valid.max():.4g}" if len(valid) else (
        "it is negative"
    )  # fmt: skip
    raise NoCriticalPointError(
        f"bias_var: {activation.name} has no critical point at bias_var = {bias_var:.6g}: along "
        f"the edge of chaos, for q from {table.q[0]:.3g} to {table.q[-1]:.3g}, {span}"
    )


@np.errstate(all="ignore")
@spelt
def critical_points(phi: Callable | str | Activation) -> tuple[FixedPoint, ...]:
    r"""The points where both susceptibilities are 1: `chi1 = V'(q) = 1`.

    There depth changes neither the size of a signal nor the angle between two, to first order.

    Args:
        phi: the activation, as for `critical`.

    Returns:
        `FixedPoint`s in order of `q`, each with its `universality_class`:

        - `"scale-invariant"`: `phi` is linear on both sides of 0. Every `q` is critical; the point
          at `q = 1` stands for all.
        - `"K*=0"`: `phi(0) = 0`, `phi` is smooth at 0 and its variance map lies below the
          diagonal: the variance decays to 0 like a power of depth. The point has `q = 0`,
          and its fields are limits from above. An activation with a kink at 0 (ELU) is in no class.
        - `"half-stable"`: an isolated `q` that attracts from one side only. Where `V' = chi1` holds
          at every `q` (shifted ReLU), the point at `q = 1` stands for all.

        Empty if there is none (sigmoid, softplus, ELU).

    Raises:
        UnresolvedError: the activation cannot be sampled to useful accuracy.

    Source: Roberts, Yaida & Hanin 2022, arXiv 2106.10165, chapter 5.

    Example:
        >>> import meanfield as mf
        >>> (point,) = mf.critical_points("gelu")
        >>> point.universality_class, round(point.q, 9), round(point.weight_var, 9)
        ('half-stable', 3.561552813, 1.983058257)
    """
    activation = as_activation(phi)
    if activation.is_homogeneous:
        return (_labelled(activation, 1.0, "scale-invariant"),)
    try:
        table = edge_table(activation)
    except NoCriticalPointError:
        return ()
    gap, error = table.susceptibility_gap, table.gap_error
    if np.all(np.abs(gap) <= error):
        roots = [1.0] if table.q[0] <= 1.0 <= table.q[-1] else [float(table.q[len(table.q) // 2])]
    else:
        roots = _roots(activation, table, lambda e: (e.susceptibility_gap, e.gap_error, None))
    roots = [q for q in roots if edge_at(activation, q).bias_var >= 0]
    points = [_labelled(activation, q, "half-stable") for q in roots]
    if _vanishing(activation) is not None:
        points.insert(0, _at_zero(activation, "gaussian"))
    return tuple(points)


def _labelled(activation: Activation, q: float, universality_class: str) -> FixedPoint:
    # the root was solved for: the slope is 1 by construction, and what is left is rounding
    edge = edge_at(activation, q)._replace(slope=1.0)
    point = fixed_point(edge, activation, "gaussian")
    return replace(point, universality_class=universality_class)


def _vanishing(activation: Activation) -> float | None:
    """`phi'(0)` if small variances are attracted to a critical point at 0, else None."""
    samples = activation.columns(16.0).samples
    near = np.abs(samples.x) < 2.0**-16
    if np.any(np.abs(samples.kinks) < 2.0**-16):
        return None
    size = float(np.max(np.abs(samples.value[np.abs(samples.x) < 1])))
    # phi is smooth and the nodes are at 1e-5 and below: what a parabola leaves out is 1e-15
    value, slope = (
        float(np.polynomial.polynomial.polyfit(samples.x[near], f[near], 2)[0])
        for f in (samples.value, samples.slope)
    )
    if abs(value) > 1e-13 * size or abs(slope) < 1e-8 * size:
        return None
    q = np.geomspace(1e-6, 1.0, 61)
    moments = activation.moments(q)
    excess = moments.value[:, 1] / (slope**2 * q) - 1
    doubt = moments.error[:, 1] / (slope**2 * q) + 1e-9
    seen = np.flatnonzero(np.abs(excess) > doubt)
    return slope if len(seen) and excess[seen[0]] < 0 else None


def _at_zero(activation: Activation, weights: str | Ensemble) -> FixedPoint:
    """The critical point at `q = 0`, from limits: `weight_var = 1 / phi'(0)^2`, `bias_var = 0`."""
    slope = _vanishing(activation)
    assert slope is not None
    q = 1e-2 * 2.0 ** -np.arange(5)
    edge = edge_at(activation, q)

    weight_var = slope**-2
    # the polynomial in q through all points, and through all but one, at q = 0
    curvature, other = (
        float(np.polynomial.polynomial.polyfit(q[k:], edge.curvature[k:], len(q) - 1 - k)[0])
        for k in (0, 1)
    )
    rounding = 10 * float(np.max(edge.curvature_error))  # 10: of the weights that lead to q = 0
    doubt = 2 * float(edge.weight_error[-1] / edge.weight_var[-1]) + 1e-14
    return FixedPoint(
        network=Network(activation, weight_var, 0.0, weights),
        q=0.0, chi1=1.0, variance_slope=1.0, variance_curvature=curvature, correlation=1.0,
        depth_scale_q=float("inf"), depth_scale_c=float("inf"), sparsity=0.0,
        phase=Phase.CRITICAL, stable=False, error=doubt,
        errors={"weight_var": doubt * weight_var, "bias_var": 0.0,
                "variance_curvature": 10 * abs(curvature - other) + rounding},
        universality_class="K*=0",
    )  # fmt: skip
