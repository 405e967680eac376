"""Activations and correlations that nobody would choose, beside closed forms and quadrature."""

import jax.numpy as jnp
import numpy as np
import pytest

import meanfield as mf

NODES, WEIGHTS = np.polynomial.legendre.leggauss(12)


@pytest.mark.parametrize("h", [1e-6, 1e-9, 1e-12])
def test_a_jump_next_to_minus_one(h):
    # C(c) = 2 arcsin(c) / pi, whose slope is infinite at -1: 1 - c has too few digits of 1 + c
    C = mf.correlation_map(mf.Network(jnp.sign, weight_var=1.0), q=1.0)
    c = -1 + h
    exact = -1 + 4 / np.pi * np.arcsin(np.sqrt((1 + c) / 2))
    assert abs(C(c) - exact) <= C.error(c) < 1e-12
    slope = 2 / np.pi / np.sqrt((1 + c) * (1 - c))
    assert C.slope(c) == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize(("low", "width", "q"), [(3.0, 2.0**-10, 1.0), (0.5, 2.0**-20, 4.0)])
@pytest.mark.parametrize("c", [0.0, 0.5, -0.3])
def test_the_slope_of_a_narrow_ramp(low, width, q, c):
    # E[phi'(u) phi'(v)] is the mass of a square that the density hardly changes on
    phi = mf.Activation(lambda x: jnp.clip(x - low, 0.0, width) / width)
    x = low + 0.5 * width * (1 + NODES)
    form = (x[:, None] ** 2 - 2 * c * x[:, None] * x + x**2) / (1 - c * c)
    density = np.exp(-0.5 * form / q) / (2 * np.pi * q * np.sqrt(1 - c * c))
    mean = 0.25 * WEIGHTS @ density @ WEIGHTS
    C = mf.correlation_map(mf.Network(phi, weight_var=1.0), q=q)
    exact = q * mean / float(mf.variance_map(C.network)(q))
    assert C.slope(c) == pytest.approx(exact, rel=1e-9, abs=1e-12 * C.slope(1.0))
