"""Finding the kinks and jumps of a function on an interval.

Two ways, used together. A JAX function tells on which branch it is (`switching`): where that
changes there may be a kink, and bisection finds the place to the last digit. Any function shows a
kink as a panel that no bisection resolves: the smooth pieces on its two sides, continued towards
each other, cross at the kink. Last, candidates are judged: no polynomial fits across a true kink.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.branches import branch_changes, merged
from meanfield.callables import Box
from meanfield.legendre import ORDER, coefficients, nodes, series, slope_series, tail
from meanfield.panels import Panels, resolve
from meanfield.polishing import locate
from meanfield.precision import EPS

__all__ = ["Kinks", "find_kinks", "judge"]

Array = NDArray[np.float64]

_CLOSE = 2.0**-6  # distances from a kink are measured by its own from zero, or by this
_OFFSETS = np.array([1e-2, 1e-9, 1e-12])
_ONE = 2.0**-20  # what is relatively nearer to one another may be one kink, torn by noise
_NARROWEST = 2.0**-24  # relative width at which a panel that resists counts as singular


@dataclass(frozen=True)
class Kinks:
    """Kinks in increasing order, the values beside each, and the pieces between them.

    `pieces` are the widest panels on which the function is resolved: their series have less noise
    in the derivative than narrow panels have.
    """

    position: Array
    doubt: Array  # what each position may be wrong by
    sides: Array  # limits of the value from the left and from the right, the same if no jump
    pieces: Panels

    @property
    def is_jump(self) -> NDArray[np.bool_]:
        """Whether the function itself jumps there."""
        return self.sides[:, 0] != self.sides[:, 1]


def find_kinks(box: Box, low: float, high: float, extra: Array) -> Kinks:
    """All kinks of `box` in `[low, high]`, by its branches and by bisection.

    `extra` edges narrow the panels with which the bisection starts.
    """
    exact = candidates = branch_changes(box, low, high)
    for _ in range(3):
        edges = np.union1d(_offset_edges(low, high, candidates), extra)
        pieces = resolve(box, edges, _NARROWEST, floor=_CLOSE)
        singular = _clusters(pieces, edges, candidates)
        if not len(singular):
            break
        found = [locate(box, pieces, a, b) for a, b in singular]
        candidates = merged(np.concatenate([candidates, found]), box.eps)
    return judge(box, pieces, candidates, exact)


def judge(
    box: Box, pieces: Panels, candidates: Array, exact: Array, keep_all: bool = False
) -> Kinks:
    """Drop candidates across which the function is smooth, and measure the others.

    Positions among `exact` are known to rounding, the others as well as the values tell.
    """
    # the nearest resolved pieces on both sides, panels across both, and a close look at each
    after = np.searchsorted(pieces.left, candidates)
    inside = (after > 0) & (after < len(pieces.left))
    b, after = candidates[inside], after[inside]
    if not len(b):
        return Kinks(b, b, np.zeros((0, 2)), pieces)
    sides = pieces.take(np.stack([after - 1, after]))
    width = sides.right - sides.left
    room, scale = np.min(width, axis=0), np.maximum(np.abs(b), _CLOSE)
    offsets = (_OFFSETS * scale[:, None]).T
    x = np.concatenate([
        nodes(b - 0.5 * room, b + 0.5 * room).T, b - offsets, b + offsets,
        nodes(b - 1e-8 * scale, b).T, nodes(b, b + 1e-8 * scale).T,
    ])  # fmt: skip
    seen = box(x.ravel())
    value = seen.value.reshape(x.shape)
    size = np.max(np.abs(sides.value), axis=(0, 2))
    smooth = np.all(sides.finished, axis=0) & _fits(
        value[:ORDER], size, np.max(sides.noise, axis=0), box.eps
    )
    if seen.slope is not None and sides.slope is not None:
        steepness = np.max(np.abs(sides.slope), axis=(0, 2))
        slope = seen.slope.reshape(x.shape)[:ORDER]
        smooth &= _fits(slope, steepness, np.max(sides.slope_noise, axis=0), box.eps)
    limits = _limits(box, sides, b, size, value[ORDER:])
    known = np.isin(b, exact) | (limits[0] != limits[1])
    doubts = np.where(known, 4 * box.eps * np.abs(b), _doubts(sides, b))
    kept = ~smooth | keep_all
    return Kinks(b[kept], doubts[kept], limits.T[kept], pieces)


def _fits(values: Array, size: Array, noise: Array, eps: float) -> NDArray[np.bool_]:
    """Whether a polynomial fits the values at the nodes, shape (16, n)."""
    return tail(coefficients(values.T)) <= np.maximum(
        np.maximum(1e-13, 64 * eps) * size, 50 * noise
    )


def _doubts(sides: Panels, b: Array) -> Array:
    """How far from `b` the pieces on its two sides may cross, or touch, in truth."""
    width = sides.right - sides.left
    u = (2 * b - sides.left - sides.right) / width
    c = coefficients(sides.value).reshape(-1, ORDER)
    noise = np.max(np.maximum(sides.noise, EPS * np.max(np.abs(sides.value), axis=2)), axis=0)
    gaps, noises = [], []
    for k, factor in enumerate(_DERIVATIVE_NOISE[:3]):
        gaps.append(np.abs(np.diff(series(c, u.ravel()).reshape(u.shape), axis=0)[0]))
        noises.append(np.max(factor * noise * (2 / width) ** k, axis=0))
        c = slope_series(np.pad(c, ((0, 0), (0, ORDER - c.shape[1]))), width.ravel())
    doubt = room = 1e-3 * np.min(width, axis=0)
    for k in (1, 0):
        clear = gaps[k + 1] > 10 * noises[k + 1]
        doubt = np.where(clear, (gaps[k] + noises[k]) / np.where(clear, gaps[k + 1], 1.0), doubt)
    return np.minimum(doubt, room)


def _limits(box: Box, sides: Panels, b: Array, size: Array, close: Array) -> Array:
    """Limits of the value on both sides of `b`, shape (2, n): the same where there is no jump.

    `close` holds values at `_OFFSETS` below and above, and at nodes of tiny panels on both sides.
    """
    below, above = close[:3], close[3:6]
    _, far, near = np.abs(above - below)
    smooth = np.all(sides.finished, axis=0)
    # a jump stays when one looks closer, a cusp closes; and it stands out of what is beside it:
    # arcsin(sin(x)) is torn by rounding, where arcsin is steep, all around its kinks
    size = np.maximum(size, np.maximum(np.abs(above[0]), np.abs(below[0])))
    # and arccos(cos(x)) is a staircase of steps of sqrt(EPS) next to zero
    tiny = (b != 0) & (np.abs(b) < 1e-6)
    least = np.where(smooth, np.where(tiny, 1e-7, 1e-9), 1e-6)
    least = np.maximum(least, 100 * box.eps) * size
    beside = coefficients(close[6:].T.reshape(len(b), 2, ORDER))[..., 8:]
    noise = 20 * np.maximum(np.max(sides.noise, axis=0), np.max(np.abs(beside), axis=(1, 2)))
    jumps = (near >= 0.5 * far) & (near > np.maximum(least, noise))
    u = (2 * b - sides.left - sides.right) / (sides.right - sides.left)
    ends = series(coefficients(sides.value).reshape(-1, ORDER), u.ravel()).reshape(u.shape)
    limits = np.where(smooth, ends, np.stack([below[2], above[2]]))
    return np.where(jumps, limits, below[2])


def _offset_edges(low: float, high: float, candidates: Array) -> Array:
    """Edges where no person would put a kink, and the candidates."""
    reach = max(-low, high)
    inner = min(reach, 16.0)
    positive = np.concatenate([
        np.arange(0.5117, inner, 0.5217),
        1.0437 * inner * 2.0 ** np.arange(0, np.log2(reach / inner), 1 / 8),
    ])  # fmt: skip
    edges = np.concatenate([-1.0173 * positive, positive])
    edges = edges[(edges > 0.999 * low) & (edges < 0.999 * high)]
    return np.unique(np.concatenate([[low], edges, candidates, [high]]))


def _clusters(pieces: Panels, edges: Array, known: Array) -> list[tuple[float, float]]:
    """Small intervals in which there seems to be a kink that is not among the known ones."""
    width = pieces.right - pieces.left
    torn = np.flatnonzero(_mismatch(pieces))
    beside = np.minimum(width[torn], width[torn + 1])
    deep = _deepest(width, np.diff(edges)[np.searchsorted(edges, pieces.right) - 1])
    intervals = [
        *zip(pieces.left[~pieces.finished], pieces.right[~pieces.finished], strict=True),
        *zip(pieces.right[torn] - beside, pieces.right[torn] + beside, strict=True),
        *zip(pieces.left[deep] - width[deep], pieces.right[deep] + width[deep], strict=True),
    ]
    merged: list[tuple[float, float]] = []
    for left, right in sorted(intervals):
        # rounding noise around a kink can look resolved in places
        narrower = min(right - left, merged[-1][1] - merged[-1][0]) if merged else 0.0
        one = max(min(8 * narrower, _ONE * abs(left)), _NARROWEST)
        if merged and left - merged[-1][1] <= one:
            merged[-1] = (merged[-1][0], max(right, merged[-1][1]))
        else:
            merged.append((left, right))
    return [(a, b) for a, b in merged if not np.any((known >= a) & (known <= b))]


def _deepest(width: Array, initial: Array) -> NDArray[np.intp]:
    """Panels at the bottom of a chain of bisections.

    A jump of the second or third derivative ends in a panel so small that the kink is below its
    rounding; what betrays it is that panels shrink towards it from both sides.
    """
    if len(width) < 9:
        return np.array([], np.intp)
    padded = np.pad(width, 4, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 9)
    before, after = windows[:, :4].max(axis=1), windows[:, 5:].max(axis=1)
    lowest = width <= windows.min(axis=1)
    deep = (np.minimum(before, after) >= 8 * width) & (initial >= 8 * width)
    return np.flatnonzero(lowest & deep)


# largest |d^k P_15 / du^k| on [-1, 1]: what noise in the last coefficient does to a derivative
_DERIVATIVE_NOISE = (1.0, 120.0, 7140.0, 278460.0)


def _mismatch(pieces: Panels) -> NDArray[np.bool_]:
    """Whether the series of two touching pieces disagree at their common edge.

    A kink can hide between the last node of a panel and its edge, where no coefficient shows it;
    but then the two sides have different derivatives. True too easily rather than too rarely:
    what is no kink is dropped by `judge`.
    """
    width = pieces.right - pieces.left
    size = np.max(np.abs(pieces.value), axis=1)
    c = coefficients(np.where(np.isfinite(pieces.value), pieces.value, 0.0))
    doubt = 10 * np.maximum(tail(c), pieces.noise) + 8 * EPS * size
    ones = np.ones(len(width))
    torn = np.zeros(len(width) - 1, bool)
    for noise in _DERIVATIVE_NOISE:
        gap = np.abs(series(c[1:], -ones[1:]) - series(c[:-1], ones[:-1]))
        torn |= gap > 4 * noise * (doubt[1:] + doubt[:-1])
        c = slope_series(np.pad(c, ((0, 0), (0, 16 - c.shape[1]))), width)
        doubt = doubt * 2 / width
    return torn
