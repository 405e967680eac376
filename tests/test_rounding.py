"""Functions whose values are rounded, torn or overflow: honest errors, and of use."""

# pyright: reportArgumentType=false

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import meanfield as mf
from meanfield.gaussian import MOMENTS

SINGLE = float(np.finfo(np.float32).eps)
LOW, HIGH = np.float32(-0.5), np.float32(1.2)


def moment(activation: mf.Activation, name: str, q: float) -> tuple[float, float]:
    m = activation.moments(np.array([q]))
    column = MOMENTS.index(name)
    return float(m.value[0, column]), float(m.error[0, column])


def absolute(power: float, q: float) -> float:
    """`E|z|^p` for `z ~ N(0, q)`."""
    return (2 * q) ** (power / 2) * math.gamma((power + 1) / 2) / math.sqrt(math.pi)


def within(low: float, high: float, q: float) -> float:
    """`P(low < z < high)`."""
    return 0.5 * (math.erf(high / math.sqrt(2 * q)) - math.erf(low / math.sqrt(2 * q)))


# -- float32 inside --

SINGLES: dict[str, tuple[Callable[[Any], Any], Callable[[float], float]]] = {
    "relu": (lambda x: np.maximum(x.astype(np.float32), 0), lambda q: 0.5),
    "leaky": (
        lambda x: np.where(x > 0, x, np.float32(0.125) * x).astype(np.float32),
        lambda q: 0.5 * (1 + 0.125**2),
    ),
    "clip": (
        lambda x: np.clip(x.astype(np.float32), LOW, HIGH),
        lambda q: within(float(LOW), float(HIGH), q),
    ),
    "sin": (lambda x: np.sin(x.astype(np.float32)), lambda q: 0.5 * (1 + math.exp(-2 * q))),
}


@pytest.mark.parametrize("q", [1e-2, 1.0, 4.0])
@pytest.mark.parametrize("name", SINGLES)
def test_single_precision_without_a_derivative(name: str, q: float) -> None:
    function, slope2 = SINGLES[name]
    activation = mf.Activation(function)
    value, error = moment(activation, "dphi2", q)
    # a derivative over a piece of size 1/2 of the values costs two digits, of a line none
    assert abs(value - slope2(q)) <= error <= (10 if name != "sin" else 400) * SINGLE * value * 4
    value, error = moment(activation, "phi2", q)
    assert error <= 4 * SINGLE * value


def test_torch_in_single_precision() -> None:
    torch = pytest.importorskip("torch")
    activation = mf.Activation(torch.nn.PReLU(init=0.125))
    point = mf.critical(activation)
    assert abs(point.weight_var - 2 / (1 + 0.125**2)) <= point.errors["weight_var"] < 1e-5
    gelu = mf.critical(lambda x: torch.nn.functional.gelu(x.float()))
    assert abs(gelu.weight_var - 2.19369990353240) <= gelu.errors["weight_var"] < 1e-3


# -- values torn by rounding around the kinks --


@pytest.mark.parametrize("q", [1e-2, 1.0, 4.0])
@pytest.mark.parametrize(
    "wave", [lambda x: np.arcsin(np.sin(x)), lambda x: np.arccos(np.cos(x))], ids=["sin", "cos"]
)
def test_a_triangle_wave_has_kinks_and_no_jumps(wave: Callable, q: float) -> None:
    activation = mf.Activation(wave)
    assert len(activation.jumps) == 0
    for name in ("dphi2", "dphi4"):
        value, error = moment(activation, name, q)
        assert abs(value - 1) <= error <= 1e-4


@pytest.mark.parametrize("q", [1e-4, 1.0, 100.0])
@pytest.mark.parametrize("power", [0.75, 0.9, 1.5, 2.5])
def test_cusps_from_values(power: float, q: float) -> None:
    activation = mf.Activation(lambda x: np.abs(x) ** power)
    true = power**2 * absolute(2 * power - 2, q)
    value, error = moment(activation, "dphi2", q)
    assert abs(value - true) <= error <= 1e-4 * true


def test_a_cusp_too_steep_for_a_finite_slope() -> None:
    assert moment(mf.Activation(lambda x: np.sqrt(np.abs(x))), "dphi2", 1.0)[0] == np.inf


# -- digits that small values have --


@pytest.mark.parametrize("q", [1e-8, 1e-4, 1.0])
@pytest.mark.parametrize("n", [2, 3, 5, 7])
def test_powers_from_values_are_known_relative_to_themselves(n: int, q: float) -> None:
    activation = mf.Activation(lambda x: x**n)
    true = n**2 * absolute(2 * n - 2, q)
    value, error = moment(activation, "dphi2", q)
    assert abs(value - true) <= error + 1e-14 * true
    assert error <= 1e-11 * true


@pytest.mark.parametrize("xp", [jnp, np], ids=["jax", "numpy"])
@pytest.mark.parametrize("q", [1e-6, 1.0, 1e4])
def test_errors_of_steep_powers_are_small(q: float, xp: Any) -> None:
    activation = mf.Activation(lambda x: xp.power(x, 7))
    for name, true in (("phi2", absolute(14, q)), ("phi4", absolute(28, q))):
        value, error = moment(activation, name, q)
        assert abs(value - true) <= error + 1e-13 * true
        assert error <= 1e-10 * true


def test_a_doubtful_kink_does_not_take_the_panels_away() -> None:
    """A step of 1e-9 over a distance of 1e-9, seen in values alone: its kink can be anywhere."""
    activation = mf.Activation(lambda x: x + np.maximum(x - 1, 0) - np.maximum(x - 1 - 1e-9, 0))
    for q in (1e-8, 1e-4, 1.0):
        assert moment(activation, "phi2", q)[0] == pytest.approx(q, rel=1e-8)


# -- beyond the largest float64 --


@pytest.mark.parametrize("xp", [jnp, np], ids=["jax", "numpy"])
@pytest.mark.parametrize(
    ("q", "power"), [(200, 2), (300, 2), (340, 2), (353, 2), (500, 1), (1000, 1)]
)
def test_exponentials_past_their_overflow(q: int, power: int, xp: Any) -> None:
    for rate in (1.0, -1.0):
        activation = mf.Activation(lambda x, rate=rate: xp.exp(rate * x))
        value, error = moment(activation, ("phi", "phi2")[power - 1], float(q))
        true = mp.exp(mp.mpf(power) ** 2 * q / 2)
        assert abs(mp.mpf(value) - true) <= min(error, 1e-12 * true)
        assert error <= 4e-12 * value


def test_what_overflows_is_never_a_number() -> None:
    sinh = mf.Activation(np.sinh)
    assert moment(sinh, "phi2", 1e4)[0] == np.inf
    mean, error = moment(sinh, "phi", 1e4)
    assert np.isnan(mean) and error == np.inf


@pytest.mark.parametrize("exp", [np.exp, math.exp, jnp.exp])
def test_the_search_goes_as_far_as_the_moments(exp: Callable) -> None:
    """`E[exp^2] = E[exp'^2]`, so `bias_var = q - 1`."""
    point = mf.critical(exp, bias_var=200.0)
    assert abs(point.q - 201) <= point.errors["q"] < 1e-8


# -- activations as values --


def absolute_tanh(x: Any) -> Any:
    return jnp.abs(jnp.tanh(x))


def test_activations_pickle_and_copy() -> None:
    for activation in (
        mf.Activation("crelu", tau=1.0, m=1.5),
        mf.Activation(np.tanh, kinks=[0.5]),
        mf.Activation(absolute_tanh, name="mine"),
    ):
        again = pickle.loads(pickle.dumps(activation))
        assert repr(again) == repr(activation)
        assert mf.critical(again, q=2.0).weight_var == mf.critical(activation, q=2.0).weight_var
        assert copy.deepcopy(activation) is activation
    point = pickle.loads(pickle.dumps(mf.critical("gelu")))
    assert point.weight_var == mf.critical("gelu").weight_var


@pytest.mark.parametrize("top", [20.0, 200.0, 4000.0])
def test_a_clipped_relu_is_not_scale_invariant(top: float) -> None:
    point = mf.critical(lambda x: jnp.clip(x, 0.0, top), q=0.1)
    assert point.universality_class is None
