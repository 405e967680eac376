"""The edge of chaos inside a window of variances, as a curve to be drawn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.criticality import CriticalLine, critical_line
from meanfield.phase.tables import Table
from meanfield.precision import EPS

__all__ = ["edge_in_window"]

Array = NDArray[np.float64]

_PER_OCTAVE = 64  # places along the curve at which one looks whether it is in the window
_DRAWN = 256  # points to each piece
_HALVINGS = 60


def edge_in_window(
    activation: Activation, table: Table, weight_var: Array, bias_var: Array
) -> CriticalLine:
    """The parts of `critical_line` between the ends of both grids, separated by NaN.

    Ends on the border of the window are found by bisection in `q`.
    """
    low = np.array([weight_var[0], bias_var[0]])[:, None]
    high = np.array([weight_var[-1], bias_var[-1]])[:, None]
    size = np.where(high > low, high - low, 1.0)

    def at(t: Array) -> Array:
        q = np.clip(np.exp(t), table.low, table.high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            w = 1 / table(q, 2)
            b = q - w * table(q)
            doubt = w * (table.error_at(q) + (q - b) * table.error_at(q, 2)) + 4 * EPS * q
        return np.stack([w, np.where(np.abs(b) <= doubt, 0.0, b)])

    def inside(t: Array) -> NDArray[np.bool_]:
        return np.all((at(t) >= low) & (at(t) <= high), axis=0)

    pieces: list[Array] = []
    if activation.is_homogeneous:  # one point for every q
        pieces = [np.zeros(1)] if inside(np.zeros(1))[0] else []
    elif not table.infinite_slope:
        ends = np.log(table.low), np.log(table.high)
        t = np.linspace(*ends, round((ends[1] - ends[0]) / np.log(2) * _PER_OCTAVE))
        here = inside(t)
        starts = np.flatnonzero(here & ~np.append(False, here[:-1]))
        stops = np.flatnonzero(here & ~np.append(here[1:], False))
        for start, stop in zip(starts, stops, strict=True):
            first, last = t[start], t[stop]
            if start:
                first = _border(inside, t[start - 1], first)
            if stop < len(t) - 1:
                last = _border(inside, t[stop + 1], last)
            pieces.append(_evenly(at, first, last, size))
    lines = [critical_line(activation, np.exp(piece)) for piece in pieces]
    nan = np.full(1, np.nan)
    gap = CriticalLine(nan, nan, nan, nan, np.zeros(1, bool), nan)
    parts = [part for line in lines for part in (gap, line)][1:]
    if not parts:
        none = nan[:0]
        parts = [CriticalLine(none, none, none, none, np.zeros(0, bool), none)]
    columns: Any = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return CriticalLine(*columns)


def _border(inside, outer: float, inner: float) -> float:
    """The last place towards `outer` that is inside."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (outer + inner)
        if inside(np.array([middle]))[0]:
            inner = middle
        else:
            outer = middle
    return inner


def _evenly(at, first: float, last: float, size: Array) -> Array:
    """Places from `first` to `last` at even distances along the curve, in units of the window."""
    t = np.linspace(first, last, 16 * _DRAWN)
    steps = np.hypot(*(np.diff(at(t), axis=1) / size))
    length = np.append(0.0, np.cumsum(steps))
    places = np.interp(np.linspace(0, length[-1], _DRAWN), length, t)
    places[0], places[-1] = first, last
    return places
