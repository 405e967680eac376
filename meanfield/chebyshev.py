"""Chebyshev nodes on [-1, 1], and the series `f(u) = sum_k c_k T_k(u)` through values at them."""

from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

__all__ = ["LEBESGUE", "points", "to_series"]

Array = NDArray[np.float64]

LEBESGUE = 2.8  # how much interpolation in 16 nodes can amplify errors at them


@cache
def points(count: int) -> Array:
    """The nodes, increasing."""
    return -np.cos(np.pi * (np.arange(count) + 0.5) / count)


@cache
def to_series(count: int) -> Array:
    """The matrix `M` with which `values @ M` are the coefficients, along the last axis."""
    # in c_k = (2 - [k = 0])/n sum_j f(x_j) T_k(x_j) the rounding of the x_j would show
    vandermonde: Any = chebyshev.chebvander(points(count), count - 1)
    return np.linalg.inv(vandermonde).T
