"""Intervals of the real axis between the values of `X` whose images are outside of a spectrum."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.precision import EPS

__all__ = ["gaps"]

Array = NDArray[np.float64]
Margin = Callable[[Array], Array]

_SCAN = 129
_DEEP = 32.0  # exp(-32): so near to the end of a gap, relatively, that it is the end
_FAR = 200.0
_ZOOMS = 3
_LEAST = 1e-300


def gaps(margin: Margin, bands: Array) -> list[tuple[float, float]]:
    """Intervals between bands of `X` whose images are no spectrum, in order.

    Args:
        margin: of the logarithms of real `u`: positive in such an interval, where it is concave in
            `log u`; -1 where `u` is not mapped to a positive number.
        bands: intervals that hold `X`.
    """
    ends = [0.0, *bands.ravel(), np.inf]
    return [
        interval
        for low, high in zip(ends[::2], ends[1::2], strict=True)
        if high > low
        for interval in _free(margin, low, high)
    ]


def _free(margin_at: Margin, low: float, high: float) -> list[tuple[float, float]]:
    """Those of one gap."""

    def radius(t: Array) -> Array:
        """From `low` to `high` as `t` runs over all numbers, with all digits near both."""
        if high == np.inf:
            r = low + low * np.exp(t)
        else:
            near = np.exp(-np.abs(t))
            part = (high - low) * near / (1 + near)
            r = np.where(t < 0, low + part, high - part)
        return np.clip(r, max(low * (1 + 4 * EPS), _LEAST), high * (1 - 4 * EPS))

    def margin(t: Array) -> Array:
        return margin_at(np.log(radius(t)))

    t = np.linspace(-_DEEP if low else -_FAR, _DEEP if high < np.inf else _FAR, _SCAN)
    g = margin(t)
    for _ in range(_ZOOMS):  # what is all but closed hides between the points
        tops = np.array([a + np.argmax(g[a:b]) for a, b in _runs(g != -1)], int)
        where = tops[(g[tops] <= 0) & (tops > 0) & (tops < len(t) - 1)]
        if not len(where):
            break
        more = np.linspace(t[where - 1], t[where + 1], 33)[1:-1].ravel()
        t, order = np.unique(np.append(t, more), return_index=True)
        g = np.append(g, margin(more))[order]
    # in each interval with Im F = 0, that around the largest D: the others are rounding
    found = []
    for first, stop in _runs(g != -1):
        peak = first + int(np.argmax(g[first:stop]))
        run = next(((a, b) for a, b in _runs(g > 0) if a <= peak < b), None)
        if run:
            a, b = run
            found.append((
                low if a == 0 else _edge(radius, margin, t[a - 1], t[a]),
                high if b == len(t) else _edge(radius, margin, t[b - 1], t[b]),
            ))  # fmt: skip
    return found


def _runs(true: Any) -> list[tuple[int, int]]:
    """Where an array is true: pairs of the first index and that after the last."""
    steps = np.diff(np.concatenate([[0], true, [0]]))
    starts, stops = np.flatnonzero(steps > 0), np.flatnonzero(steps < 0)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _edge(radius: Any, margin: Any, before: float, after: float) -> float:
    from scipy.optimize import brentq

    ends = {t: float(margin(np.array([t]))[0]) for t in (before, after)}
    if ends[before] * ends[after] < 0:
        root: Any = brentq(lambda t: margin(np.array([t]))[0], before, after, xtol=1e-14)
    else:  # it is zero but for rounding at one of them
        root = min(ends, key=lambda t: abs(ends[t]))
    return float(radius(np.array([root]))[0])
