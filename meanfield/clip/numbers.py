"""Arguments that must be one number, checked: each error names what was given and what may be."""

from math import isfinite
from typing import Any

from meanfield.criticality import checked_numbers, checked_variances
from meanfield.whole import whole_number

_WIDEST = 100_000  # beyond, the noise of a layer is too small to be followed

__all__ = ["number", "positive", "share", "slope_of", "variance", "width_of"]


def number(name: str, value: Any) -> float:
    """One number."""
    array = checked_numbers(name, value)
    if array.ndim:
        raise TypeError(f"{name}: must be one number, got {value!r}")
    return float(array)


def positive(name: str, value: Any, infinite: bool = False) -> float:
    """One positive number."""
    checked = number(name, value)
    if not (checked > 0 and (infinite or isfinite(checked))):
        finite = "" if infinite else " and finite"
        raise ValueError(f"{name}: must be positive{finite}; got {value!r}")
    return checked


def share(name: str, value: Any, of: str) -> float:
    """A share of something, between 0 and 1."""
    checked = number(name, value)
    if not 0 < checked < 1:
        raise ValueError(f"{name}: must be a share of {of}, above 0 and below 1; got {value!r}")
    return checked


def slope_of(slope: Any) -> float:
    """A slope of the variance map at a fixed point that is stable."""
    checked = number("slope", slope)
    if not abs(checked) < 1:
        raise ValueError(
            f"slope: must be below 1 in magnitude, or the variance is not held at q; got {slope!r}"
        )
    return checked


def variance(name: str, value: Any) -> float:
    """One positive variance."""
    array = checked_variances(name, value)
    if array.ndim:
        raise ValueError(f"{name}: must be one variance, got {value!r}")
    return float(array)


def width_of(width: Any) -> int:
    """A number of neurons."""
    return whole_number("width", width, most=_WIDEST)
