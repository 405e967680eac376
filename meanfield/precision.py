"""The one place that decides precision: float64 inside, nothing changed outside."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np
from jax.core import Tracer

__all__ = ["EPS", "concrete", "double", "is_traced"]

EPS = float(np.finfo(np.float64).eps)


@contextmanager
def double() -> Iterator[None]:
    """JAX computes in float64 and promotes as usual, whatever the user's settings."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


@contextmanager
def concrete() -> Iterator[None]:
    """`double`, and compiled functions run now, also while `jit` traces the caller."""
    with (
        jax.ensure_compile_time_eval(),
        jax.enable_x64(True),
        jax.disable_jit(False),
        jax.transfer_guard("allow"),
    ):
        yield


def is_traced(*values: object) -> bool:
    """Whether any of the values is known only to a JAX transformation."""
    return any(isinstance(value, Tracer) for value in values)
