"""What the tests of the bridges share."""

import doctest
from importlib import import_module

import numpy as np

DRAWS = 24


def examples_run(name: str) -> None:
    """Run the examples in the docstrings of a bridge."""
    failed, tried = doctest.testmod(import_module(f"meanfield.bridges.{name}"))
    assert tried > 0 and failed == 0


def assert_variances(squares: np.ndarray, q: float, width: int) -> None:
    """Mean squares of pre-activations, shape (draws, layers), are `q` in every layer.

    Within 4 standard errors and the finite-width correction, of relative order layers / width.
    """
    mean = squares.mean(axis=0)
    standard_error = squares.std(axis=0, ddof=1) / np.sqrt(len(squares))
    assert np.all(standard_error < 0.15 * q)  # or else the next line says nothing
    correction = q * np.arange(1, len(mean) + 1) / width
    assert np.all(np.abs(mean - q) <= 4 * standard_error + correction), mean
