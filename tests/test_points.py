"""`Network` and `FixedPoint`: every printed digit is right, and points are what they hold."""

import dataclasses
import json
import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import meanfield as mf


def sine(q: Any) -> dict[str, Any]:
    """The edge of chaos of sin: E[phi^2] = (1 - e)/2 and E[phi'^2] = (1 + e)/2, e = exp(-2q)."""
    slope = 2 / (mp.exp(2 * q) + 1)  # 1 - tanh(q)
    return {
        "q": q,
        "weight_var": 2 / (1 + mp.exp(-2 * q)),
        "bias_var": q - mp.tanh(q),
        "chi1": mp.mpf(1),
        "variance_slope": slope,
        "variance_curvature": -2 * slope,
        "correlation": mp.mpf(1),
        "depth_scale_q": -1 / mp.log(slope),
        "depth_scale_c": mp.inf,
        "sparsity": mp.mpf(0),
    }


def check_printed(point: mf.FixedPoint, known: dict[str, Any]) -> None:
    lines = [line.split(maxsplit=1) for line in str(point).splitlines()[1:]]
    printed = {line[0]: line[1] for line in lines}
    assert printed.keys() >= known.keys()
    for name, true in known.items():
        number, _, doubt = printed[name].partition(" ")
        if not mp.isfinite(true) or number == "inf":
            # a slope within its error of 1 is marginal
            marginal = abs(point.variance_slope - 1) <= point.errors["variance_slope"]
            assert number == "inf" and (not mp.isfinite(true) or marginal), name
            continue
        if doubt:  # "0 within 1e-16"
            assert number == "0" and abs(true) <= float(doubt.split()[-1]), printed[name]
            continue
        mantissa, _, exponent = number.partition("e")
        decimals = len(mantissa.partition(".")[2])
        unit = mp.mpf(10) ** (int(exponent or 0) - decimals)
        assert abs(mp.mpf(number) - true) <= unit, (
            f"{name}: printed {number}, is {mp.nstr(true, 20)}"
        )


@given(exponent=st.floats(-8, 3))
def test_every_printed_digit_is_right(exponent: float) -> None:
    q = 10**exponent
    with mp.workdps(60):
        check_printed(mf.critical("sin", q=q), sine(mp.mpf(q)))


@given(exponent=st.floats(-15, 2))
def test_every_printed_digit_is_right_at_a_bias_variance(exponent: float) -> None:
    bias_var = 10**exponent
    with mp.workdps(60):
        start = min((3 * mp.mpf(bias_var)) ** (mp.mpf(1) / 3), 1) + bias_var
        q = mp.findroot(lambda q: q - mp.tanh(q) - bias_var, start)
        check_printed(mf.critical("sin", bias_var=bias_var), sine(q))


def test_fixed_point_prints_many_points_shortly() -> None:
    text = str(mf.critical("tanh", q=np.linspace(0.1, 1, 1000)))
    assert len(text.splitlines()) < 40 and "weight_var" in text


def test_network() -> None:
    network = mf.Network("tanh", weight_var=2.25, bias_var=0.0025)
    assert repr(network) == "Network(tanh, weight_var=2.25, bias_var=0.0025)"
    assert repr(mf.Network("relu", 2.0, weights="orthogonal")) == (
        "Network(relu, weight_var=2, bias_var=0, weights='orthogonal')"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.weight_var = 1.0  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="weights: .*'sparse'"):
        mf.Network("relu", 2.0, weights="sparse")
    for bad in (-1.0, 0.0, math.nan, math.inf, [1.0, -1.0]):
        with pytest.raises(ValueError, match="weight_var: "):
            mf.Network("relu", bad)
    for bad in (-1e-9, math.nan, math.inf):
        with pytest.raises(ValueError, match="bias_var: "):
            mf.Network("relu", 2.0, bad)


def test_fixed_point_is_frozen_and_passes_the_network_through() -> None:
    point = mf.critical("tanh", weights="orthogonal")
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.q = 2.0  # pyright: ignore[reportAttributeAccessIssue]
    assert point.weight_var == point.network.weight_var
    assert point.bias_var == point.network.bias_var
    assert point.network.weights == "orthogonal"
    assert point.activation.name == "tanh"
    gaussian = mf.critical("tanh")
    assert (point.weight_var, point.bias_var) == (gaussian.weight_var, gaussian.bias_var)
    # V(q) = weight_var E[phi^2] + bias_var
    second = point.activation.moments(np.array([1.0])).value[0, 1]
    assert point.input_second_moment == pytest.approx(second, rel=1e-13)


@pytest.mark.parametrize("q", [2.0, [1.0, 2.0]])
def test_points_can_be_keys(q: Any) -> None:
    point = mf.critical("tanh", q=q)
    assert {point: 1, point.network: 2} == {point: 1, point.network: 2}
    assert point in [mf.critical("tanh", q=3.0), point]


@pytest.mark.parametrize(
    "point",
    [mf.critical("relu"), mf.critical("tanh", q=[1.0, 2.0]), *mf.critical_points("tanh")],
    ids=["number", "array", "limit"],
)
def test_to_dict_is_plain(point: mf.FixedPoint) -> None:
    numbers = point.to_dict()
    assert json.loads(json.dumps(numbers)) == numbers  # lists, strings, numbers; no tuples, arrays
    assert numbers["weight_var"] == np.asarray(point.weight_var).tolist()
    assert numbers["bias_var"] == np.asarray(point.bias_var).tolist()
    assert numbers["activation"] == point.activation.name
    assert numbers["universality_class"] == point.universality_class


@pytest.mark.parametrize(("name", "stable"), [("tanh", True), ("relu", False), ("gelu", False)])
def test_stability(name: str, stable: bool) -> None:
    point = mf.critical(name)
    slope = point.variance_slope
    assert point.stable is stable
    assert point.depth_scale_c == math.inf and str(point.phase) == "critical"
    if slope < 1:
        assert point.depth_scale_q == pytest.approx(-1 / math.log(slope), rel=1e-14)
    elif slope == 1:
        assert point.depth_scale_q == math.inf
    else:
        assert math.isnan(point.depth_scale_q)
