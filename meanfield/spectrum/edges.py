"""On which circles the curve lies: the edges of the spectrum, in the plane of `u`."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.precision import EPS
from meanfield.spectrum.transform import Transform

__all__ = ["Arc", "arcs"]

Array = NDArray[np.float64]

_SCAN = 129
_DEEP = 32.0  # exp(-32): so near to the end of a gap, relatively, that it is the end
_FAR = 200.0
_ON_AXIS = 1e-6  # Im F is 0 or a multiple of pi, and known to rounding
_ZOOMS = 3


class Arc(NamedTuple):
    """An interval of the radius `r` in which the curve lies, and whether its ends are soft.

    At a soft end, outside of `X`, the curve comes down to the axis like a root. At an atom of `X`
    it may do that, or touch the axis there: such ends are bent too.
    """

    low: float
    high: float
    soft: tuple[bool, bool]
    bent: tuple[bool, bool]


def arcs(transform: Transform, bands: Array) -> list[Arc]:
    """Where the curve lies, from the top down: bands of `X`, and what is not free between them.

    Divided at the atoms of `X`: one that is all but an atom of the product is a singularity.
    """
    ends = [0.0, *bands.ravel(), np.inf]
    free = [
        interval
        for low, high in zip(ends[::2], ends[1::2], strict=True)
        if high > low
        for interval in _free(transform, low, high)
    ]
    ends = np.array([0.0, *np.ravel(free), np.inf])
    found = []
    for low, high in ends.reshape(-1, 2).tolist():
        if high > low:
            atoms = transform.law.atoms[:, 0]
            cuts = [low, *atoms[(atoms > low) & (atoms < high)].tolist(), high]
            for a, b in zip(cuts[:-1], cuts[1:], strict=True):
                hard = [end in atoms or end in bands or end in (0, np.inf) for end in (a, b)]
                bent = tuple(end in atoms or not h for end, h in zip((a, b), hard, strict=True))
                found.append(Arc(a, b, (not hard[0], not hard[1]), (bent[0], bent[1])))
    return found[::-1]


def _free(transform: Transform, low: float, high: float) -> list[tuple[float, float]]:
    """Intervals of a gap of `X` whose images are no spectrum: there `Im F = 0` and `D > 0`.

    `D` is concave in `log r` on each interval with `Im F = 0`.
    """

    def radius(t: Array) -> Array:
        """From `low` to `high` as `t` runs over all numbers, with all digits near both."""
        if high == np.inf:
            r = low + low * np.exp(t)
        else:
            near = np.exp(-np.abs(t))
            part = (high - low) * near / (1 + near)
            r = np.where(t < 0, low + part, high - part)
        return np.clip(r, low * (1 + 4 * EPS), high * (1 - 4 * EPS))

    def margin(t: Array) -> Array:
        point = transform.at(np.log(radius(t)) + 0j)
        free = np.isfinite(point.D.real) & (np.abs(point.F.imag) < _ON_AXIS)
        return np.where(free, point.D.real, -1.0)

    t = np.linspace(-_DEEP if low else -_FAR, _DEEP if high < np.inf else _FAR, _SCAN)
    g = margin(t)
    for _ in range(_ZOOMS):  # what is all but closed hides between the points
        inner = g[1:-1]
        peaks = (inner <= 0) & (inner != -1) & (inner >= g[:-2]) & (inner >= g[2:])
        where = np.flatnonzero(peaks) + 1
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
