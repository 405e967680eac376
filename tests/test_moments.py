"""Gaussian moments at every variance from 1e-8 to 1e6, against closed forms and quadrature."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import meanfield as mf
from closed_forms import CLOSED_FORMS, ONE, ZERO, X, _cosine, _join, _piecewise, _power, _sine
from conftest import load_reference
from meanfield.catalogue import CATALOGUE
from meanfield.gaussian import MOMENTS

RELATIVE = 1e-12
SMALLEST, LARGEST = mp.mpf("1e-290"), mp.mpf("1e300")
VARIANCES = np.geomspace(1e-8, 1e6, 29)
# A truncated mean of size 1e-d is a difference of numbers of size 1: it takes d digits more.
DIGITS, MORE_DIGITS = 60, 400


@pytest.fixture(autouse=True)
def digits() -> Iterator[None]:
    with mp.workdps(DIGITS):
        yield


def exact(form: Callable[..., Any], q: float, parameters: dict[str, float]) -> Any:
    """A closed form in numbers with enough digits; 0 below what a float64 can hold."""
    for digits in (DIGITS, MORE_DIGITS):
        with mp.workdps(digits):
            value = form(mp.mpf(q), **parameters)
            if abs(value) > mp.mpf(10) ** (30 - digits):
                return value
    return mp.mpf(0)


def table(forms: Any, variances: Any, parameters: dict[str, float]) -> dict[str, list[Any]]:
    return {name: [exact(form, q, parameters) for q in variances] for name, form in forms.items()}


def check(activation: mf.Activation, variances: Any, true: dict[str, list[Any]]) -> None:
    """Every moment is as close as asked for and never farther off than its error says.

    `E[phi]` is judged beside the root of `E[phi^2]`. What no normal float64 holds may be 0, inf, or
    a number with an honest error.
    """
    m = activation.moments(np.array(variances, np.float64))
    complaints = []
    for name, values in true.items():
        column = MOMENTS.index(name)
        for i, (q, value) in enumerate(zip(variances, values, strict=True)):
            got, error = float(m.value[i, column]), float(m.error[i, column])
            where = f"{activation.name} {name} at q = {q:.3g}: {got!r} +- {error:.2g}"
            if name.startswith("dphi") and len(activation.jumps):
                value = mp.inf
            if value == mp.inf:
                if got != np.inf:
                    complaints.append(f"{where}, should be inf")
                continue
            scale = mp.sqrt(abs(true["phi2"][i])) if name == "phi" else abs(value)
            off = abs(mp.mpf(got) - value)
            if SMALLEST < scale < LARGEST or scale == 0:
                if not off <= RELATIVE * scale:
                    complaints.append(f"{where}, off by {float(off / (scale or 1)):.2g} of it")
                if not off <= error:
                    complaints.append(f"{where}, off by {float(off):.2g}")
                if not error <= USEFUL * scale:
                    complaints.append(f"{where}: of no use")
            elif not (off <= error or (got == np.inf and value > LARGEST) or got == error == 0):
                complaints.append(f"{where}, should be {mp.nstr(value, 6)}")
    assert not complaints, "\n".join(complaints)


USEFUL = 10 * RELATIVE
