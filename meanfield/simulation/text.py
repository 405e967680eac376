"""Numbers with their errors, and layers that stand for many, in print."""

from math import floor, isfinite, log10

import numpy as np
from numpy.typing import NDArray

__all__ = ["shown_layers", "with_error"]


def with_error(value: float, error: float) -> str:
    """A number with as many digits as two of its standard error need."""
    if not isfinite(value):
        return str(value)
    if not (isfinite(error) and error > 0):
        return f"{value:.6g}" + ("" if error == 0 else " (error unknown)")
    figures = floor(log10(abs(value))) - floor(log10(error)) + 2 if value else 2
    return f"{value:.{min(15, max(1, figures))}g} ± {error:.2g}"


def shown_layers(depth: int, count: int) -> NDArray[np.int64]:
    """At most `count` of the layers, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, depth - 1, min(count, depth)).round().astype(np.int64))
