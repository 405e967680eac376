"""The place of a kink to the last digit that values can tell.

Where a function is smooth on both sides of a tiny interval, the series on the two sides, continued
towards each other, cross at a kink; they touch, and their slopes cross, where only the second
derivative jumps; and so on. At a jump each value is nearer to one of them.
"""

import numpy as np
from numpy.typing import NDArray

from meanfield.branches import ZERO
from meanfield.callables import Box
from meanfield.legendre import coefficients, nodes, series, slope_series, tail
from meanfield.panels import Panels
from meanfield.precision import EPS

__all__ = ["locate"]

Array = NDArray[np.float64]


def locate(box: Box, pieces: Panels, a: float, b: float) -> float:
    """The kink in the tiny interval `[a, b]`, to the last digit that the values can tell."""
    limits = _neighbour(pieces, a, b)
    before, after = _side(box, a, -1.0, limits[0]), _side(box, b, 1.0, limits[1])
    if before is None or after is None:
        return _steepest(box, a, b)
    scale = max(np.max(np.abs(before.values)), np.max(np.abs(after.values)), 1e-300)
    x = 0.5 * (a + b)
    gaps = [after.derivative(x, k) - before.derivative(x, k) for k in range(5)]
    width = b - a
    room = min(before.right - before.left, after.right - after.left)
    if abs(gaps[0]) > 4 * abs(gaps[1]) * width + 1e-10 * scale:  # a jump: which side is x on?
        while a < 0.5 * (a + b) < b:
            x = 0.5 * (a + b)
            y = box(np.array([x])).value[0]
            if abs(y - before.derivative(x, 0)) < abs(y - after.derivative(x, 0)):
                a = x
            else:
                b = x
        return b if abs(b) > 1e-14 * width else 0.0
    # Below `uncertain` a position is rounding: values tell it the worse, the smoother the kink.
    # The pieces cross (k = 0), or touch and their slopes cross (k = 1), and so on.
    for k, uncertain in enumerate((8 * EPS, 1e-11, 1e-6)):
        # at a kink of the next order this gap vanishes too, somewhere in the interval
        near_zero = width < room / 512 and abs(gaps[k + 1]) < 4 * abs(gaps[k + 2]) * width
        if abs(gaps[k + 1]) > 1e-6 * scale * room ** -(k + 1) and not near_zero:
            for _ in range(4):
                gap, rate = (
                    after.derivative(x, k + i) - before.derivative(x, k + i) for i in (0, 1)
                )
                x -= gap / rate if rate else 0.0
            if width > room / 512 and a - width <= x <= b + width:
                # continued that far the series lose digits: once more, from nearby
                return locate(box, pieces, x - width / 8, x + width / 8)
            if a - width <= x <= b + width:
                return float(x) if abs(x) > uncertain else 0.0
            x = 0.5 * (a + b)
    return float(x)


def _neighbour(pieces: Panels, a: float, b: float) -> tuple[float, float]:
    """How far the function may be smooth on both sides: up to the next singular panels."""
    singular = ~pieces.finished
    lefts, rights = pieces.right[singular], pieces.left[singular]
    below, above = lefts[lefts < a], rights[rights > b]
    return (
        a - below[-1] if len(below) else a - pieces.left[0],
        above[0] - b if len(above) else pieces.right[-1] - b,
    )


class _Side:
    """A smooth piece beside a kink, as a series that can be continued a little."""

    def __init__(self, left: float, right: float, values: Array) -> None:
        self.left, self.right, self.values = left, right, values
        series = coefficients(values)
        # continued beyond its panel, noise in a high coefficient would grow without bound
        series[np.abs(series) < 16 * EPS * np.max(np.abs(series))] = 0.0
        self._series = [series[None]]
        for _ in range(5):
            padded = np.pad(self._series[-1], ((0, 0), (0, 16 - self._series[-1].shape[1])))
            self._series.append(slope_series(padded, np.array([right - left])))

    def derivative(self, x: float, order: int) -> float:
        u = (2 * x - self.left - self.right) / (self.right - self.left)
        return float(series(self._series[order], np.array([u]))[0])


def _side(box: Box, end: float, direction: float, room: float) -> _Side | None:
    """The widest resolved panel that begins at `end`."""
    for width in min(room, 0.25) * 2.0 ** -np.arange(16):
        left, right = sorted((end, end + direction * width))
        values = box(nodes(np.array([left]), np.array([right]))[0]).value
        if tail(coefficients(values)) <= max(1e-13, 64 * box.eps) * np.max(np.abs(values)):
            return _Side(left, right, values)
    return None


def _steepest(box: Box, a: float, b: float) -> float:
    """Bisection towards the rougher half, for a singularity with no smooth pieces beside it."""
    while a < 0.5 * (a + b) < b and max(abs(a), abs(b)) > ZERO:
        middle = 0.5 * (a + b)
        values = box(nodes(np.array([a, middle]), np.array([middle, b])).ravel()).value
        rough = tail(coefficients(values.reshape(2, -1)))
        a, b = (a, middle) if rough[0] >= rough[1] else (middle, b)
    return 0.5 * (a + b) if max(abs(a), abs(b)) > ZERO else 0.0
