"""Counts: of layers, neurons, networks, coefficients."""

from operator import index
from typing import Any

__all__ = ["whole_number"]


def whole_number(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """One whole number from `least` to `most`, of Python, NumPy or JAX, or an error naming it."""
    try:
        number = index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):  # a bool has an index
        raise TypeError(f"{name}: must be a whole number, got {value!r}")
    if most is not None and not least <= number <= most:
        raise ValueError(f"{name}: must be from {least} to {most}, got {number}")
    if number < least:
        raise ValueError(f"{name}: must be at least {least}, got {number}")
    return number
