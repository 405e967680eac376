"""Hermite coefficients against closed forms and against the moments."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

import numpy as np
import pytest
from mpmath import fac2, factorial, mpf, pi, sqrt

import meanfield as mf


def test_relu_to_high_order() -> None:
    """`a_k = (-1)^(k/2 - 1) (k - 3)!! / sqrt(2 pi k!)` for even k >= 2; odd ones vanish but a_1."""
    found = mf.hermite_coefficients("relu", q=1.0, count=600)
    for k in (2, 4, 10, 100, 300, 598):
        expected = mpf(-1) ** (k // 2 - 1) * fac2(k - 3) / sqrt(2 * pi * factorial(k))
        off = abs(mpf(float(found[k])) - expected)
        assert off <= found.error[k]
        assert off <= 1e-15
    assert np.all(np.abs(found[3::2]) <= found.error[3::2])
    assert found[1] == pytest.approx(0.5, abs=1e-15)


def test_sine_and_exponential() -> None:
    q = 1.7
    sine = mf.hermite_coefficients("sin", q=q, count=30)
    k = np.arange(30)
    size = np.exp(-q / 2) * q ** (k / 2) / np.sqrt([float(factorial(i)) for i in k])
    sign = np.where(k % 2, (-1.0) ** (k // 2), 0.0)
    np.testing.assert_allclose(sine, sign * size, atol=1e-14)


@pytest.mark.parametrize("name", ["tanh", "gelu", "crelu", "step", "cst"])
def test_squares_add_up(name: str) -> None:
    activation = mf.Activation(name)
    found = mf.hermite_coefficients(activation, q=2.0, count=200)
    moments = activation.moments(np.array([2.0])).value[0]
    assert found[0] == pytest.approx(moments[0], abs=1e-14)
    total = np.sum(np.asarray(found) ** 2)
    assert total + found.remainder == pytest.approx(moments[1], rel=1e-14)
    assert -1e-14 <= found.remainder <= 0.1 * moments[1]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="count"):
        mf.hermite_coefficients("relu", count=0)
    with pytest.raises(ValueError, match="q: a variance"):
        mf.hermite_coefficients("relu", q=0.0)
