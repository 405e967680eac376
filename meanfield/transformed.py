r"""`critical` inside a JAX transformation: parameters of the activation, or `q`, are tracers.

Nothing is concrete, so nothing can adapt: the panels are fixed and many. Kinks that move with a
parameter are found inside the trace, as sign changes of the switching functions `s(x, theta)` on
a grid, narrowed down with the parameters held fixed, and made differentiable by Newton steps

    b <- b - s(b, theta) / s'(b, theta),

whose derivative at the root is that of the implicit function theorem; the second step makes second
derivatives right too. What would be an exception elsewhere is NaN with `error = inf` here.

A caller's reverse pass runs after this has returned, in the caller's precision, and would mix
float32 into it. So derivatives are computed here, forwards, and all that is left to the caller is
to multiply by them: `_differentiable`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from meanfield.activation import Activation
from meanfield.ensembles import Ensemble
from meanfield.gaussian import lost_share
from meanfield.legendre import NODES, TO_COEFFICIENTS, WEIGHTS, noise, slopes_at_nodes
from meanfield.network import FixedPoint, Network, Phase
from meanfield.precision import EPS, double, is_traced
from meanfield.tracing import BLOCK, TracedFunction, trace

__all__ = ["MAX_TRACED_KINKS", "critical_in_trace"]

MAX_TRACED_KINKS = 16
_BEYOND_KINK = 5
_SECTIONS = BLOCK // MAX_TRACED_KINKS
_ROUNDS = 11  # of narrowing 64-fold: from a grid cell to the last digit
_SIGMAS = 16.0
_UNRESOLVED = 1e-8
_LEFT, _RIGHT = 0.5 * (1 - NODES)[None, :], 0.5 * (1 + NODES)[None, :]

_POSITIVE = np.concatenate([
    2.0 ** np.arange(-14, -2), np.arange(0.25, 8, 0.25), np.arange(8, 16, 0.5),
    16 * 2.0 ** np.arange(0, 6.01, 0.25),
])  # fmt: skip
# No round numbers, here and below: a kink that coincides with an edge would move an empty panel,
# on which there is nothing to differentiate; and it should lie between two points of the grid.
_EDGES = 1.00371 * np.concatenate([-1.00119 * _POSITIVE[::-1], _POSITIVE])
_GRID_POSITIVE = np.concatenate([
    np.geomspace(2.0**-20, 2.0**-5, 96) * 1.0137, np.linspace(0.0337, 16.013, 672),
    np.geomspace(16.1, 1024.7, 256),
])  # fmt: skip
_GRID = np.concatenate([-_GRID_POSITIVE[::-1] * 1.0091, _GRID_POSITIVE])


class _Edge(NamedTuple):
    weight_var: jax.Array
    bias_var: jax.Array
    slope: jax.Array
    curvature: jax.Array
    sparsity: jax.Array
    error: jax.Array


def critical_in_trace(activation: Activation, q, bias_var, weights: str | Ensemble) -> FixedPoint:
    """`critical` for an activation or a `q` that is being traced.

    Differentiable to second order in parameters and in `q`. An invalid point (`bias_var < 0`), a
    jump, more than 16 kinks or an unresolved activation give NaN and `error = inf`.

    Raises:
        TypeError: `bias_var` was given, or the activation is not JAX.
    """
    if bias_var is not None:
        raise TypeError(
            "bias_var: cannot be solved for inside a JAX transformation (the number of solutions "
            "is not known to it); give q= there, or take the critical point outside"
        )
    if not activation.is_traced:
        try:
            function = trace(activation.function)
        except Exception as error:
            raise TypeError(
                f"q: it is traced by a JAX transformation, but {activation.name} is not a JAX "
                "function; write it with jax.numpy, or give a concrete q"
            ) from error
    else:
        assert isinstance(activation.box, TracedFunction)
        function = activation.box
    given = activation.given_kinks
    traced = [i for i, c in enumerate(function.closed.consts) if is_traced(c)]

    def edge_of(variance, *parameters):
        consts = list(function.closed.consts)
        for i, parameter in zip(traced, parameters, strict=True):
            consts[i] = parameter.astype(jnp.promote_types(consts[i].dtype, jnp.float32))
        return jnp.stack(_edge(function._replace(closed=function.closed.replace(consts=consts)),
                               given, variance))  # fmt: skip

    parameters = [function.closed.consts[i] for i in traced]
    with double():
        variances = jnp.asarray(1.0 if q is None else q).astype(jnp.float64)
        compute = _differentiable(edge_of)
        edges = jax.vmap(compute, in_axes=(0, *[None] * len(traced)))(
            variances.ravel(), *(jnp.asarray(p).astype(jnp.float64) for p in parameters)
        )
        edge = _Edge(*(part.reshape(variances.shape) for part in edges.T))
        size = jnp.abs(edge.slope)
        depth_scale = jnp.where(size < 1, -1 / jnp.log(jnp.where(size < 1, size, 0.5)), jnp.nan)
        one = jnp.where(jnp.isnan(edge.weight_var), jnp.nan, 1.0)
        return FixedPoint(
            network=Network(activation, edge.weight_var, edge.bias_var, weights),
            q=variances, chi1=one, variance_slope=edge.slope, variance_curvature=edge.curvature,
            correlation=one, depth_scale_q=jnp.where(size == 1, jnp.inf, depth_scale),
            depth_scale_c=jnp.inf * one, sparsity=edge.sparsity, phase=Phase.CRITICAL,
            stable=size < 1, error=edge.error,
        )  # fmt: skip


def _differentiable(function: Callable) -> Callable:
    """The same function, whose derivatives of all orders are computed forwards, in float64."""
    compiled = jax.jit(function)

    @jax.custom_jvp
    def outer(*arguments):
        with double():
            return compiled(*arguments)

    def jacobian(*arguments):
        """Derivatives by all arguments, side by side on the last axis."""
        parts = jax.jacfwd(function, tuple(range(len(arguments))))(*arguments)
        shape = jax.eval_shape(function, *arguments).shape
        return jnp.concatenate([part.reshape(*shape, -1) for part in parts], axis=-1)

    @outer.defjvp
    def _(primals, tangents):
        with double():
            tangent = jnp.concatenate([jnp.ravel(dot) for dot in tangents])
            derivative = _differentiable(jacobian)(*primals)
            # a product and a sum: the transpose of a matrix product would be taken in float32
            return outer(*primals), jnp.sum(
                derivative * jnp.expand_dims(tangent, tuple(range(derivative.ndim - 1))), axis=-1
            )

    return outer


def _edge(function: TracedFunction, given, q) -> _Edge:
    """The edge of chaos at one variance; the formulas are those of `criticality.edge_at`."""
    reach = lax.stop_gradient(_SIGMAS * jnp.sqrt(q))
    kinks, usable = _kinks(function, reach) if given is None else (jnp.asarray(given), True)
    usable &= ~_jumps(function, kinks)
    beyond = jnp.outer(kinks, jnp.asarray(1 + 2.0 ** -np.arange(1, _BEYOND_KINK + 1)))
    tied = jnp.abs(jnp.asarray(_EDGES)[:, None] - lax.stop_gradient(kinks)[None, :])
    free = jnp.all(tied > 1e-9 * np.abs(_EDGES)[:, None], axis=1)
    edges = jnp.where(free, jnp.asarray(_EDGES), reach)  # where a kink moves, its edge moves alone
    edges = jnp.concatenate([edges, kinks, beyond.ravel()])
    edges = jnp.sort(jnp.clip(edges, -reach, reach))
    edges = jnp.concatenate([-reach[None], edges, reach[None]])
    left, right = edges[:-1, None], edges[1:, None]
    width = right - left
    x = left * _LEFT + right * _RIGHT
    # on empty panels, which may lie on a kink and may be about to open, phi is asked beside it
    value, slope = _evaluate(function, jnp.where(width > 0, x, x + 1e-9 * (jnp.abs(x) + 1e-3)))
    u = x / jnp.sqrt(q)
    weight = jnp.exp(-0.5 * u * u) / jnp.sqrt(2 * jnp.pi * q) * (0.5 * width * WEIGHTS[None, :])
    second, gradient = jnp.sum(weight * value**2), jnp.sum(weight * slope**2)
    rate = jnp.sum(weight * u * value * slope) / jnp.sqrt(q)
    curvature = jnp.sum(weight * u * (u * u - 3) * value * slope) / (2 * q**1.5)
    # a derivative that is not that of the values (a straight-through estimator) has no theory
    open_width = jnp.where(width > 0, width, 1.0)[:, 0]
    spectral = slopes_at_nodes(value @ TO_COEFFICIENTS, open_width)
    strange = jnp.sum(weight * (slope - spectral) ** 2) > 1e-8 * gradient
    usable &= ~lax.stop_gradient(strange)
    silent = jnp.all(value == 0, axis=1, keepdims=True)
    sparsity = jnp.sum(weight * silent)
    error = 0.0
    for f, total in ((value, second), (slope, gradient)):
        largest = jnp.max(jnp.abs(f), axis=1)
        doubt = noise(f @ TO_COEFFICIENTS, largest, EPS, jnp)[:, None]
        relative = EPS * (12 + u * u) + lost_share(x, width, q)
        error += jnp.sum(weight * ((2 * jnp.abs(f) + doubt) * doubt + relative * f * f)) / total
    # what lies beyond 16 standard deviations matters for the steepest growth only
    outside = sum(f[0, 0] ** 2 + f[-1, -1] ** 2 for f in (value, slope)) * np.exp(-0.5 * _SIGMAS**2)
    error = lax.stop_gradient(error + outside / second + outside / gradient)
    weight_var = 1 / gradient
    bias_var = q - weight_var * second
    tiny = 4 * error * jnp.abs(q)
    bias_var = jnp.where(jnp.abs(bias_var) <= tiny, 0.0 * bias_var, bias_var)
    usable &= (bias_var >= 0) & (error < _UNRESOLVED) & jnp.isfinite(weight_var) & (q > 0)

    def sure(number):  # a product, so that derivatives are NaN too
        return number * jnp.where(usable, 1.0, jnp.nan)

    return _Edge(
        sure(weight_var), sure(bias_var),
        sure(weight_var * rate),
        sure(weight_var * curvature),
        sure(sparsity), jnp.where(usable, error, jnp.inf),
    )  # fmt: skip


def _evaluate(function: TracedFunction, x) -> tuple[jax.Array, jax.Array]:
    flat = x.ravel()
    padded = jnp.concatenate([flat, jnp.full(-flat.size % BLOCK, 0.5)]).reshape(-1, BLOCK)
    value, slope = jax.vmap(function.value_and_slope)(padded)
    value, slope = (part.ravel()[: flat.size].reshape(x.shape) for part in (value, slope))
    return value, slope


def _margins(function: TracedFunction, x) -> jax.Array:
    """Switching functions at `x` of shape (BLOCK,), as rows."""
    margins = [s.margin for s in function.switches(x) if s.margin is not None]
    return jnp.stack(margins).astype(jnp.float64) if margins else jnp.zeros((0, BLOCK))


def _kinks(function: TracedFunction, reach) -> tuple[jax.Array, jax.Array | bool]:
    """Kinks within `reach`, differentiable, padded with `reach`; and whether they all fit."""
    frozen = TracedFunction(
        function.closed.replace(
            consts=[lax.stop_gradient(c) if is_traced(c) else c for c in function.closed.consts]
        )
    )
    grid = jnp.asarray(_GRID)
    margins = jax.vmap(lambda x: _margins(frozen, x), out_axes=1)(grid.reshape(-1, BLOCK))
    if not len(margins):
        return jnp.zeros(0), True
    margins = margins.reshape(margins.shape[0], -1)
    sign = jnp.sign(margins)
    inside = (jnp.abs(grid[:-1]) < reach) | (jnp.abs(grid[1:]) < reach)
    changes = (sign[:, :-1] != sign[:, 1:]) & inside[None, :]
    which, at = jnp.nonzero(changes, size=MAX_TRACED_KINKS, fill_value=-1)
    found = which >= 0
    which, at = jnp.maximum(which, 0), jnp.maximum(at, 0)
    low, high, low_sign = grid[at], grid[at + 1], sign[which, at]
    rows = jnp.arange(MAX_TRACED_KINKS)

    def narrow(_, ends):
        low, high = ends
        points = low[:, None] + (high - low)[:, None] * jnp.linspace(0.0, 1.0, _SECTIONS)[None, :]
        margins = _margins(frozen, points.ravel()).reshape(-1, MAX_TRACED_KINKS, _SECTIONS)
        other = jnp.sign(margins[which, rows]) != low_sign[:, None]
        passed = jnp.cumsum(other[:, 1:-1], axis=1, dtype=jnp.int32) > 0
        first = _SECTIONS - 1 - jnp.sum(passed, axis=1, dtype=jnp.int32)
        return points[rows, first - 1], points[rows, first]

    low, high = lax.fori_loop(0, _ROUNDS, narrow, (low, high))
    kinks = lax.stop_gradient(jnp.where((low < 0) & (high > 0), 0.0, high))
    for _ in range(2):
        padded = jnp.concatenate([kinks, jnp.full(BLOCK - MAX_TRACED_KINKS, 0.5)])
        margin, rate = (
            part[which, rows]
            for part in jax.jvp(lambda x: _margins(function, x), (padded,), (jnp.ones(BLOCK),))
        )
        steep = jnp.abs(rate) > 1e-8
        step = jnp.where(steep, margin / jnp.where(steep, rate, 1.0), 0.0)
        # the value of a step is rounding, its derivative is what is wanted
        kinks = kinks - jnp.where(jnp.abs(step) < 1e-6 * (1 + jnp.abs(kinks)), step, 0.0)
    return jnp.where(found, kinks, reach), jnp.sum(changes) <= MAX_TRACED_KINKS


def _jumps(function: TracedFunction, kinks) -> jax.Array:
    """Whether the function jumps at one of the kinks."""
    if not len(kinks):
        return jnp.array(False)
    fixed = lax.stop_gradient(kinks)
    offset = 1e-9 * jnp.maximum(jnp.abs(fixed), 1e-3)
    value, slope = _evaluate(function, jnp.stack([fixed - offset, fixed + offset]))
    gap = jnp.abs(value[1] - value[0])
    allowed = 4 * offset * jnp.max(jnp.abs(slope), axis=0) + 1e-7 * jnp.max(jnp.abs(value), axis=0)
    return lax.stop_gradient(jnp.any(gap > allowed))
