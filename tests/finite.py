"""What networks of finite width say of infinite ones."""

from collections.abc import Callable

import numpy as np


def at_infinite_width(
    measure: Callable[[int, np.random.Generator], np.ndarray], width: int, draws: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of what networks measure, and its standard error, without the 1/n of finite width.

    Means are `m + a/n + O(1/n^2)`: those of width `2n` twice, less those of width `n`, leave `m`.
    """
    rng = np.random.default_rng(seed)
    small, large = (np.array([measure(n, rng) for _ in range(draws)]) for n in (width, 2 * width))
    value = 2 * np.mean(large, axis=0) - np.mean(small, axis=0)
    squares = 4 * np.var(large, axis=0, ddof=1) + np.var(small, axis=0, ddof=1)
    return value, np.sqrt(squares / draws)


def check_within_3_standard_errors(
    found: tuple[np.ndarray, np.ndarray], expected: np.ndarray, power: float = 0.08
) -> None:
    """Every number; and the errors are small enough for that to mean something."""
    value, error = found
    off = np.abs(value - expected)
    assert np.all(off <= 3 * error), f"{off / error} standard errors"
    assert np.all(error <= power * np.max(np.abs(expected)))
