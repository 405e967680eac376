"""Finding the kinks and jumps of a function on an interval.

Two ways, used together. A JAX function tells on which branch it is (`switching`): where that
changes there may be a kink, and bisection finds the place to the last digit. Any function shows a
kink as a panel that no bisection resolves: the smooth pieces on its two sides, continued towards
each other, cross at the kink. Last, candidates are judged: no polynomial fits across a true kink.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.callables import BLOCK, Box
from meanfield.errors import UnresolvedError
from meanfield.legendre import coefficients, nodes, series, slope_series, tail
from meanfield.panels import Panels, resolve
from meanfield.precision import EPS

__all__ = ["MAX_KINKS", "Kinks", "find_kinks", "judge"]

Array = NDArray[np.float64]

MAX_KINKS = 4096
_NARROWEST = 2.0**-24  # relative width at which a panel that resists counts as singular
_ZERO = 2.0**-80  # nearer to zero is zero


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
    exact = candidates = _branch_changes(box, low, high)
    for _ in range(3):
        edges = np.union1d(_offset_edges(low, high, candidates), extra)
        pieces = resolve(box, edges, _NARROWEST, floor=2.0**-6)
        singular = _clusters(pieces, edges, candidates)
        if not len(singular):
            break
        found = [_locate(box, pieces, a, b) for a, b in singular]
        candidates = _merge(np.concatenate([candidates, found]), box.eps)
    return judge(box, pieces, candidates, exact)


def judge(
    box: Box, pieces: Panels, candidates: Array, exact: Array, keep_all: bool = False
) -> Kinks:
    """Drop candidates across which the function is smooth, and measure the others.

    Positions among `exact` are known to rounding, the others as well as the values tell.
    """
    kept, doubts, jumps = [], [], []
    for b in candidates:
        # the nearest resolved pieces on both sides, and a panel across both
        i = np.searchsorted(pieces.left, b) - 1
        j = np.searchsorted(pieces.left, b)
        if i < 0 or j >= len(pieces.left):
            continue
        sides = pieces.take([i, j])
        wide = 0.5 * np.min(sides.right - sides.left)
        across = box(nodes(np.array([b - wide]), np.array([b + wide]))[0])
        size = np.max(np.abs(sides.value))
        rough = [(across.value, size, np.max(sides.noise))]
        if across.slope is not None and sides.slope is not None:
            rough.append((across.slope, np.max(np.abs(sides.slope)), np.max(sides.slope_noise)))
        resolved = all(
            tail(coefficients(f)) <= max(1e-13 * s, 50 * n, 64 * box.eps * s) for f, s, n in rough
        )
        if resolved and np.all(sides.finished) and not keep_all:
            continue
        kept.append(b)
        jumps.append(_limits(box, sides, b, size))
        known = b in exact or jumps[-1][0] != jumps[-1][1]
        doubts.append(4 * box.eps * abs(b) if known else _doubt(sides, b))
    return Kinks(np.array(kept), np.array(doubts), np.array(jumps).reshape(-1, 2), pieces)


def _doubt(sides: Panels, b: float) -> float:
    """How far from `b` the pieces on its two sides may cross, or touch, in truth."""
    width = sides.right - sides.left
    u = (2 * b - sides.left - sides.right) / width
    c = coefficients(sides.value)
    noise = np.max(np.maximum(sides.noise, EPS * np.max(np.abs(sides.value), axis=1)))
    gaps, noises = [], []
    for k, factor in enumerate(_DERIVATIVE_NOISE[:3]):
        gaps.append(float(abs(np.diff(series(c, u))[0])))
        noises.append(float(np.max(factor * noise * (2 / width) ** k)))
        c = slope_series(np.pad(c, ((0, 0), (0, 16 - c.shape[1]))), width)
    for k in range(2):
        if gaps[k + 1] > 10 * noises[k + 1]:
            return (gaps[k] + noises[k]) / gaps[k + 1]
    return 1e-3 * float(np.min(width))


def _limits(box: Box, sides: Panels, b: float, size: float) -> tuple[float, float]:
    # a jump stays when one looks closer, a cusp closes
    smooth = bool(np.all(sides.finished))
    offsets = max(abs(b), 2.0**-6) * np.array([1e-2, 1e-9, 1e-12])
    above, below = box(b + offsets).value, box(b - offsets).value
    _, far, near = above - below
    size = max(size, abs(above[0]), abs(below[0]))
    least = max(1e-9 if smooth else 1e-6, 100 * box.eps)
    noise = 20 * float(np.max(sides.noise))
    if abs(near) < 0.5 * abs(far) or abs(near) <= max(least * size, noise):
        return below[2], below[2]
    if not smooth:
        return below[2], above[2]
    u = (2 * b - sides.left - sides.right) / (sides.right - sides.left)
    left, right = series(coefficients(sides.value), u)
    return left, right


def _merge(positions: Array, eps: float) -> Array:
    positions = np.unique(positions)
    if len(positions) > MAX_KINKS:
        raise UnresolvedError(
            f"activation: more than {MAX_KINKS} kinks or jumps between {positions[0]:.6g} and "
            f"{positions[-1]:.6g}; ask for a smaller variance, or smooth the function"
        )
    if not len(positions):
        return positions
    # clip(x + c, 0, c) has a branch of its own where x + c rounds to c: one kink, not two
    apart = np.diff(positions) > 8 * eps * np.maximum(np.abs(positions[1:]), 64.0)
    groups = np.split(positions, np.flatnonzero(apart) + 1)
    return np.array([0.0 if g[0] < 0 < g[-1] else g[len(g) // 2] for g in groups])


def _branch_changes(box: Box, left: float, right: float) -> Array:
    """Where a JAX function changes its branch: intervals in which it does, divided to the last."""
    reach = max(-left, right)
    inner = min(reach, 16.0)
    octaves = max(2, int(64 * np.log2(reach / inner)))
    positive = np.concatenate([
        np.geomspace(2.0**-24, 2.0**-5, 64), np.arange(1.37, 24.01 * inner) / 24.01,
        np.arange(inner, min(reach, 512.0), 0.1237),
        np.geomspace(inner, reach, octaves),
    ])  # fmt: skip
    grid = np.unique(np.concatenate([-positive, positive]))
    grid = grid[(grid >= left) & (grid <= right)]
    branch = box(grid).branches
    if not len(branch):
        return np.array([])
    branch = np.where(np.isfinite(branch), branch, np.inf)
    which, at = np.nonzero(branch[:, 1:] != branch[:, :-1])
    low, high, width = grid[at], grid[at + 1], np.inf
    high_branch = branch[which, at + 1]
    while np.any((high - low < width) & (np.maximum(-low, high) > _ZERO)):
        if len(which) > 8 * MAX_KINKS:
            _merge(low, box.eps)
        # one call costs the same for up to BLOCK inputs: each interval gets its share of them
        share = np.linspace(0.0, 1.0, max(BLOCK // len(which), 3))
        points = low[:, None] * (1 - share) + high[:, None] * share
        branch = box(points.ravel()).branches.reshape(-1, *points.shape)
        branch = np.where(np.isfinite(branch), branch, np.inf)[which, np.arange(len(which))]
        row, at = np.nonzero(branch[:, 1:] != branch[:, :-1])
        which, width, high_branch = which[row], (high - low)[row], branch[row, at + 1]
        low, high = points[row, at], points[row, at + 1]
    # max(x - 1, 0) has a branch of its own at x = 1: that end of the interval is the kink
    position = np.where(high_branch == 0, high, low)
    return _merge(np.where(np.abs(position) < _ZERO, 0.0, position), box.eps)


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
        if merged and left <= merged[-1][1]:
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


def _locate(box: Box, pieces: Panels, a: float, b: float) -> float:
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
                return _locate(box, pieces, x - width / 8, x + width / 8)
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
    while a < 0.5 * (a + b) < b and max(abs(a), abs(b)) > _ZERO:
        middle = 0.5 * (a + b)
        values = box(nodes(np.array([a, middle]), np.array([middle, b])).ravel()).value
        rough = tail(coefficients(values.reshape(2, -1)))
        a, b = (a, middle) if rough[0] >= rough[1] else (middle, b)
    return 0.5 * (a + b) if max(abs(a), abs(b)) > _ZERO else 0.0
