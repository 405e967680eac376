"""The one place that decides precision: float64 inside, nothing changed outside."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.core import Tracer

__all__ = ["EPS", "concrete", "double", "is_traced"]

EPS = float(np.finfo(np.float64).eps)


def double():
    """Context in which JAX computes in float64, whatever the user's `jax_enable_x64`."""
    return jax.enable_x64(True)


@contextmanager
def concrete() -> Iterator[None]:
    """`double`, and compiled functions run now, also while `jit` traces the caller."""
    with jax.ensure_compile_time_eval(), jax.enable_x64(True), jax.disable_jit(False):
        yield


def is_traced(*values: object) -> bool:
    """Whether any of the values is known only to a JAX transformation."""
    return any(isinstance(value, Tracer) for value in values)
