"""`critical` under `jit`, `grad`, `vmap` and their like, against the concrete path and formulas."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from jax import lax

import meanfield as mf
from closed_forms import CLOSED_FORMS
from meanfield.transformed import _EDGES, _GRID

# in 32-bit mode most fails that can fail; what compiles slowly is repeated in 64 bits if asked for
EITHER = pytest.mark.parametrize("x64", [False, True], indirect=True)
SINGLE = pytest.mark.parametrize(
    "x64", [False, pytest.param(True, marks=pytest.mark.slow)], indirect=True
)


def clipped(m):
    """A clipped shifted ReLU, whose upper kink moves with the parameter."""
    return mf.critical(lambda x: jnp.clip(x - 0.5, 0.0, m))


# a point that depends on one number, and that number: exact in float32, so both modes mean the same
FAMILIES: dict[str, tuple[Callable[[Any], mf.FixedPoint], float]] = {
    "clip_level": (clipped, 1.25),
    "threshold": (lambda t: mf.critical(mf.Activation("crelu", tau=t, m=1.5), q=2.0), 0.75),
    "slope": (lambda a: mf.critical(lambda x: jax.nn.leaky_relu(x, a)), 0.375),
    "beta": (lambda b: mf.critical(lambda x: x * jax.nn.sigmoid(b * x)), 1.25),
    "q": (lambda q: mf.critical("crelu", q=q), 1.5),
}


FIELDS = ("q", "weight_var", "bias_var", "variance_slope", "variance_curvature", "sparsity")


def combined(point: mf.FixedPoint, cast: Callable[[Any], Any] = float) -> Any:
    """Both variances in one number. In 32-bit mode JAX warns of float64 arithmetic: cast first."""
    return cast(point.weight_var) + 3 * cast(point.bias_var)


def differences(function: Callable[[float], float], at: float, order: int = 1) -> float:
    """Central differences of fourth order: off by h^4 and rounding/h, about 1e-11 of what is."""
    h, steps = 2.0**-8 * (1 if order == 1 else 4), np.arange(-3, 4)
    weights = {1: [-1, 9, -45, 0, 45, -9, 1], 2: [2, -27, 270, -490, 270, -27, 2]}[order]
    values = [function(at + float(k) * h) for k in steps]
    return float(np.dot(weights, values) / ({1: 60, 2: 180}[order] * h**order))


@EITHER
@pytest.mark.parametrize("family", FAMILIES)
def test_value_and_gradient(family: str, x64: bool) -> None:
    point_at, at = FAMILIES[family]

    @jax.jit
    def traced(parameter):
        def loss(parameter):
            point = point_at(parameter)
            fields = {name: getattr(point, name) for name in FIELDS}
            return combined(point, lambda v: v.astype(parameter.dtype)), (fields, point.error)

        (_, aux), slope = jax.value_and_grad(loss, has_aux=True)(parameter)
        return *aux, slope

    fields, error, slope = traced(jnp.asarray(at, float))
    concrete = point_at(at)
    assert 0 < float(error) < 1e-12
    # `error` is relative for weight_var, and beside q for bias_var
    slack = float(error) + concrete.error
    for name, size in (("weight_var", concrete.weight_var), ("bias_var", concrete.q)):
        assert abs(float(fields[name]) - getattr(concrete, name)) <= slack * size, name
    for name in FIELDS:
        assert float(fields[name]) == pytest.approx(getattr(concrete, name), rel=1e-11, abs=1e-12)
    expected = differences(lambda p: combined(point_at(p)), at)
    assert abs(expected) > 0.05
    assert float(slope) == pytest.approx(expected, rel=1e-6)
    assert slope.dtype == (jnp.float64 if x64 else jnp.float32)


SLOPE = differences(lambda m: clipped(m).weight_var, 1.25)
CURVATURE = differences(lambda m: clipped(m).weight_var, 1.25, order=2)


def weight_var(m):
    return clipped(m).weight_var


@SINGLE
def test_gradient_of_a_jitted_function(x64: bool) -> None:
    m = jnp.asarray(1.25, float)
    slope = jax.grad(jax.jit(weight_var))(m)  # the one that is not jitted as a whole
    assert float(slope) == pytest.approx(SLOPE, rel=1e-6)
    assert slope.dtype == m.dtype


@SINGLE
def test_vmap_of_gradients(x64: bool) -> None:
    m = jnp.asarray([1.25, 0.5, 2.0], float)
    slopes = jax.jit(jax.vmap(jax.grad(weight_var)))(m)
    assert slopes.dtype == m.dtype
    for i in range(3):
        expected = differences(weight_var, float(m[i]))
        assert float(slopes[i]) == pytest.approx(expected, rel=1e-6)


@SINGLE
def test_forward_mode(x64: bool) -> None:
    m = jnp.asarray(1.25, float)
    value, tangent = jax.jit(lambda m: jax.jvp(weight_var, (m,), (2 * m,)))(m)
    assert float(value) == pytest.approx(weight_var(1.25), rel=1e-12)
    assert float(tangent) == pytest.approx(2.5 * SLOPE, rel=1e-6)


@SINGLE
def test_jacobian_by_several_parameters(x64: bool) -> None:
    def both(parameters):
        point = mf.critical(lambda x: jnp.clip(x - parameters[0], 0.0, parameters[1]))
        return jnp.stack([point.weight_var, point.bias_var])

    at = [0.5, 1.25]
    jacobian = jax.jit(jax.jacfwd(both))(jnp.asarray(at, float))
    for j in range(2):
        for i, name in enumerate(("weight_var", "bias_var")):

            def entry(parameter, i=i, j=j, name=name):
                tau, m = [*at[:j], parameter, *at[j + 1 :]]
                return getattr(mf.critical(lambda x: jnp.clip(x - tau, 0.0, m)), name)

            assert float(jacobian[i, j]) == pytest.approx(differences(entry, at[j]), rel=1e-6)


@SINGLE
def test_hessian(x64: bool) -> None:
    # jax.hessian makes its unit vectors in the dtype of the result, and warns if that is wider
    # than it should be: hence the cast
    m = jnp.asarray(1.25, float)
    curvature = jax.jit(jax.hessian(lambda m: weight_var(m).astype(m.dtype)))(m)
    assert float(curvature) == pytest.approx(CURVATURE, rel=1e-6)


@SINGLE
def test_scan(x64: bool) -> None:
    def step(total, m):
        point = clipped(m)
        return total + point.weight_var.astype(total.dtype), point.bias_var

    levels = jnp.asarray([0.5, 1.25], float)
    start = jnp.zeros((), levels.dtype)
    total, bias_var = jax.jit(lambda levels: lax.scan(step, start, levels))(levels)
    points = [clipped(0.5), clipped(1.25)]
    assert float(total) == pytest.approx(sum(p.weight_var for p in points), rel=1e-6)
    np.testing.assert_allclose(bias_var, [p.bias_var for p in points], rtol=1e-12)


@SINGLE
def test_training_a_clip_level(x64: bool) -> None:
    """Newton's method on a fixed point's slope, in a `while_loop` as a user would write it."""
    wanted = clipped(1.25).weight_var

    def step(m):
        value, slope = jax.value_and_grad(lambda m: weight_var(m).astype(m.dtype))(m)
        return m - (value - wanted) / slope

    found = jax.jit(lambda m: lax.fori_loop(0, 6, lambda _, m: step(m), m))(jnp.asarray(1.0, float))
    assert float(found) == pytest.approx(1.25, rel=1e-12 if x64 else 3e-7)


def test_kinks_anywhere() -> None:
    """Closed form, also where kinks lie on the edges of panels and on points of the search grid."""

    def inside(values: np.ndarray, low: float, high: float, count: int) -> np.ndarray:
        values = values[(values > low) & (values < high)]
        return values[:: max(1, len(values) // count)]

    thresholds = np.concatenate(
        [inside(_EDGES, 0.3, 2.5, 12), inside(_GRID, 0.3, 2.5, 12), [0.5, 1]]
    )
    # 0.5 and 0.25 above 1 and 0.5: the second kink on an edge of the panels beyond the first
    levels = np.concatenate([[0.7, 1.0, 0.5, 0.25, 0.015], inside(_GRID, 0.1, 4.0, 5)])
    tau, m = (a.ravel() for a in np.meshgrid(thresholds, levels))
    # both kinks on grid points and on edges
    top = np.concatenate([np.resize(_GRID[_GRID > 2.6], 20), np.resize(_EDGES[_EDGES > 2.6], 20)])
    tau, m = np.append(tau, np.full(40, thresholds[0])), np.append(m, top - thresholds[0])

    def loss(tau, m):
        point = mf.critical(lambda x: jnp.clip(x - tau, 0.0, m))
        return point.weight_var, (point.bias_var, point.error)

    with jax.enable_x64(True):
        compute = jax.jit(jax.vmap(jax.value_and_grad(loss, (0, 1), has_aux=True)))
        (weight, (bias, error)), slopes = jax.tree.map(np.asarray, compute(tau, m))
    forms = CLOSED_FORMS["crelu"]
    for i in range(len(tau)):
        with mp.workdps(40):
            low, high = mp.mpf(tau[i]), mp.mpf(tau[i]) + mp.mpf(m[i])
            true = 1 / (mp.ncdf(high) - mp.ncdf(low))
            true_bias = 1 - true * forms["phi2"](mp.mpf(1), tau=low, m=high - low)
            by_m = -(true**2) * mp.npdf(high)
            by_tau = true**2 * (mp.npdf(low) - mp.npdf(high))
        where = f"tau = {tau[i]!r}, m = {m[i]!r}"
        assert true_bias > 0
        assert error[i] < 1e-11, where
        # the kink at tau + m is rounded: 2^-53 (tau + m) |d ln weight_var/dm|
        rounding = 2.0**-53 * (1 + abs(by_m / true) * high)
        assert abs(float(weight[i]) / true - 1) <= error[i] + rounding, where
        assert abs(float(bias[i]) - true_bias) <= error[i] + 2 * rounding, where
        size = abs(by_m) + abs(by_tau)
        assert abs(float(slopes[0][i]) - by_tau) <= 1e-9 * size, where
        assert abs(float(slopes[1][i]) - by_m) <= 1e-9 * size, where


# -- what cannot be had is NaN with infinite error, never a plausible number --

NOT_TO_BE_HAD: dict[str, tuple[Callable[[Any], mf.FixedPoint], float]] = {
    "step": (lambda a: mf.critical(lambda x: jnp.where(x > a, 1.0, 0.0)), 0.3),
    "small_jump": (lambda a: mf.critical(lambda x: x + jnp.where(x > a, 1e-3, 0.0)), 0.3),
    "negative_bias": (lambda a: mf.critical(lambda x: jnp.exp(-a * x**2)), 1.0),
    "too_many_kinks": (lambda a: mf.critical(lambda x: x + jnp.abs(jnp.sin(a * x))), 8.0),
    "unresolved": (lambda a: mf.critical(lambda x: x + jnp.sin(a * x)), 1e5),
    "not_a_number": (lambda a: mf.critical(lambda x: jnp.tanh(a * x)), math.nan),
    "nan_in_range": (lambda a: mf.critical(lambda x: jnp.where(x > a, jnp.nan, x)), 2.0),
    "straight_through": (
        lambda a: mf.critical(lambda x: x + lax.stop_gradient(jnp.tanh(a * x) - x)),
        1.5,
    ),
    "constant": (lambda a: mf.critical(lambda x: 0 * x + a), 1.0),
    "zero_q": (lambda q: mf.critical("tanh", q=q), 0.0),
    "negative_q": (lambda q: mf.critical("tanh", q=q), -1.0),
    "infinite_q": (lambda q: mf.critical("tanh", q=q), math.inf),
}


@pytest.mark.parametrize("name", NOT_TO_BE_HAD)
def test_what_cannot_be_had_is_nan(name: str) -> None:
    point_at, at = NOT_TO_BE_HAD[name]

    @jax.jit
    def traced(parameter):
        point = point_at(parameter)
        numbers = point.weight_var, point.bias_var, point.variance_slope, point.variance_curvature
        return jnp.stack(numbers), point.error

    numbers, error = traced(at)
    assert np.all(np.isnan(numbers))
    assert float(error) == math.inf
    if name != "too_many_kinks":  # the concrete path adapts to those, and says why it cannot
        with pytest.raises(ValueError):
            point_at(at)


def test_a_gradient_that_cannot_be_had_is_nan() -> None:
    assert math.isnan(jax.grad(lambda a: mf.critical(lambda x: jnp.exp(-a * x**2)).weight_var)(1.0))


def test_one_bad_point_does_not_spoil_the_others() -> None:
    q = np.array([0.5, 1.0, 2.0, 4.0])  # gaussian: bias_var = q - 1 - 1/(4 q)
    traced = jax.jit(lambda q: mf.critical("gaussian", q=q).bias_var)(q)
    np.testing.assert_array_equal(np.isnan(traced), [True, True, False, False])
    np.testing.assert_allclose(traced[2:], (q - 1 - 0.25 / q)[2:], rtol=1e-12)


# -- shapes, kinds of arguments, errors --


def test_arrays_of_variances() -> None:
    q = np.geomspace(0.1, 10, 6).reshape(2, 3)
    fields = ("weight_var", "bias_var", "variance_slope", "chi1", "error", "stable")
    phi = mf.Activation("tanh")
    traced = jax.jit(lambda q: [getattr(mf.critical(phi, q=q), name) for name in fields])(q)
    concrete = mf.critical(phi, q=q)
    for name, value in zip(fields, traced, strict=True):
        assert value.shape == (2, 3), name
        if name != "error":
            # float32 values of q come out of a 32-bit jit
            np.testing.assert_allclose(value, getattr(concrete, name), rtol=1e-6, err_msg=name)


def test_the_bias_variance_cannot_be_traced() -> None:
    for phi in ("tanh", np.tanh):
        with pytest.raises(TypeError, match="bias_var: .*transformation.*q="):
            jax.jit(lambda b, phi=phi: mf.critical(phi, bias_var=b).q)(0.1)
    with pytest.raises(TypeError, match="bias_var: .*transformation.*q="):
        jax.grad(lambda a: mf.critical(lambda x: jnp.tanh(a * x), bias_var=0.1).q)(1.0)


def test_black_boxes_cannot_be_traced() -> None:
    with pytest.raises(TypeError, match="q: .*not a JAX function"):
        jax.jit(lambda q: mf.critical(np.tanh, q=q).weight_var)(1.0)
    with pytest.raises(TypeError):
        jax.jit(lambda a: mf.critical(lambda x: np.tanh(a * x)).weight_var)(1.0)


def test_a_traced_activation_says_so() -> None:
    seen: list[str] = []

    def user(a):
        activation = mf.Activation("crelu", tau=a, m=1.0)
        seen.append(repr(activation))
        seen.append(repr(mf.Network(activation, a)))
        with pytest.raises(TypeError, match="tracing"):
            activation.kinks  # noqa: B018
        with pytest.raises(TypeError, match="tracing"):
            activation.moments(np.ones(1))
        return a

    jax.jit(user)(0.5)
    assert "traced" in seen[0] and "traced" in seen[1]


def test_wrong_arguments_are_errors_under_a_transformation_too() -> None:
    with pytest.raises(ValueError, match="q, bias_var"):
        jax.jit(lambda q: mf.critical("tanh", q=q, bias_var=0.1).q)(1.0)
    with pytest.raises(ValueError, match="weights: "):
        jax.jit(lambda q: mf.critical("tanh", q=q, weights="haar").q)(1.0)
    with pytest.raises(mf.NotElementwiseError):
        jax.jit(lambda a: mf.critical(lambda x: jnp.cumsum(a * x)).weight_var)(1.0)
    with pytest.raises(mf.NotElementwiseError):
        jax.jit(lambda a: mf.critical(lambda x: jnp.sum(a * x)).weight_var)(1.0)
