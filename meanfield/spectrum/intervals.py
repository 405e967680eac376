r"""The intervals of a spectrum on the axis of `y = log s^2`, and their ends.

Points are put on the axis, from where next to nothing lies above to where next to nothing lies
below. Each is in a gap, where the solution is real, or inside of an interval. How much lies above
is known at each of them: between two points in gaps that differ in it by more than the atoms there
is an interval, and it is bisected until that is found.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.errors import UnresolvedError
from meanfield.spectrum.axis import Axis, Points

__all__ = ["Atoms", "End", "Run", "find_ends", "intervals", "scanned"]

Array = NDArray[np.float64]
Atoms = list[tuple[float, float]]  # (y, mass)
Complex = Any  # an array of complex128

_ROUNDS = 60
_FRUITLESS = 12  # in a row: there is no solution to be found
_MOST = 512  # points at once
_SEEN = 1e-8  # of probability: an interval with less is not looked for
_CLOSEST = 1e-12
_INSIDE = 5  # points of an interval from which its ends are found
_NEAR = 0.1  # of what is seen of it: a bracket of an end
_STEPS = 120
_BISECT = 8  # steps, of which one is that, for ends that are not soft
_SHARE = 0.7  # of the way to an end at a time
_SAME = 1e-13
_USED = 4  # points that an end is extrapolated from


@dataclass(frozen=True)
class Run:
    """Points of one interval, the first and the last, and what bounds it.

    `below` and `above` tell whether there is a point in a gap. Else it is an atom, at `low` or
    `high`, or the interval goes on beyond the points.
    """

    first: int
    last: int
    below: bool
    above: bool
    low: float = -np.inf
    high: float = np.inf


def intervals(points: Points, atoms: Atoms) -> list[Run]:
    """Intervals between gaps, divided at the atoms, from the bottom up."""
    y, gap, runs = points.y, points.gap, list[Run]()
    inside = np.flatnonzero(~gap)
    for i in inside.tolist():
        cut = [place for place, _ in atoms if i and y[i - 1] < place < y[i]]
        if i and not gap[i - 1] and not cut:
            continue
        after = np.flatnonzero(gap[i:])
        last = i + int(after[0]) - 1 if len(after) else len(y) - 1
        cuts = [place for place, _ in atoms if y[i] < place < y[last]]
        if cuts:
            last = int(np.searchsorted(y, cuts[0])) - 1
        below = bool(i and gap[i - 1])
        runs.append(Run(
            i, last, below, not cuts and last + 1 < len(y),
            cut[0] if cut and not below else -np.inf, cuts[0] if cuts else np.inf,
        ))  # fmt: skip
    return runs


def scanned(axis: Axis, points: Points, atoms: Atoms) -> Points:
    """More points, until each interval has some, and each end of one is bracketed."""
    fruitless = 0
    for generation in range(_ROUNDS):
        # not in the same place again, if nothing was found there
        y = _wanted(points, atoms, 0.5 + 0.1 * np.sin(generation))
        if not len(y) or fruitless == _FRUITLESS:
            break
        if len(y) > _MOST:
            raise UnresolvedError(
                "layers: the intervals of the spectrum are not told apart; ask for fewer layers"
            )
        more = axis.points(y)
        fruitless = 0 if len(more.y) else fruitless + 1
        points = points.and_(more)
    return points


def _wanted(points: Points, atoms: Atoms, part: float) -> Array:
    """Where points are missing."""
    y, between = points.y, (1 - part) * points.y[1:] + part * points.y[:-1]
    places, masses = np.array(atoms).reshape(-1, 2).T
    passed = ((places > y[:-1, None]) & (places < y[1:, None])) @ masses
    hidden = points.gap[:-1] & points.gap[1:] & (np.diff(y) > _CLOSEST * (1 + np.abs(y[1:])))
    hidden &= np.abs(points.above[:-1] - points.above[1:] - passed) > _SEEN
    wanted = [between[hidden]]
    for run in intervals(points, atoms):
        first, last = run.first - run.below, run.last + run.above
        if run.last - run.first + 1 < _INSIDE:
            wanted.append(between[first:last])
            continue
        far = y[np.unique([first, first + 1, last - 1, last])]
        wide = np.diff(y[first : last + 1]) > _NEAR * (y[run.last] - y[run.first])
        wide[1 if run.below else 0 : -1 if run.above else None] = False
        wanted.append(between[first:last][wide & np.isin(y[first:last], far)])
    return np.unique(np.concatenate(wanted))


@dataclass
class End:
    """An end of an interval, on the way to it: points inside, the last ones, and one in the gap.

    `size` is `sin^2` of the angle of the solution, which at a soft end is 0 to first order.
    """

    y: list[float]
    size: list[float]
    state: Complex
    outside: float
    at: float = np.nan
    soft: bool = False
    found: bool = False

    @classmethod
    def of(cls, points: Points, run: Run, side: int) -> "End":
        """What is known of the lower (-1) or the upper end (1)."""
        inside = np.arange(run.first, run.last + 1)[::side][-_USED:]
        return cls(
            points.y[inside].tolist(), _size(points.state)[inside].tolist(),
            points.state[:, inside[-1]], float(points.y[inside[-1] + side]),
        )  # fmt: skip

    def next(self, step: int) -> float:
        """Where to look; `found` if there is no need to."""
        inner, y = self.y[-1], self._extrapolated()
        scale = 1 + abs(inner)
        between = bool((y - inner) * (self.outside - y) >= 0)
        if between and abs(y - self.at) < _SAME * scale:
            self.at, self.soft, self.found = y, True, True
        elif abs(self.outside - inner) < _SAME * scale or step == _STEPS - 1:
            self.at, self.found = self.outside, True
        elif between and (step + 1) % _BISECT:
            self.at = y
            return inner + _SHARE * (y - inner)
        else:
            self.at = np.nan
        return 0.5 * (inner + self.outside)

    def _extrapolated(self) -> float:
        """Where the size is 0, by inverse interpolation."""
        y, g = self.y[-_USED:], self.size[-_USED:]
        if len(set(g)) < len(g):
            return np.nan
        for k in range(1, len(g)):
            y = [(g[i] * y[i + 1] - g[i + k] * y[i]) / (g[i] - g[i + k]) for i in range(len(y) - 1)]
        return y[0]


def _size(state: Complex) -> Array:
    return np.sin(state[0].imag) ** 2


def find_ends(axis: Axis, ends: list[End]) -> None:
    """Find ends, from inside, where all is smooth."""
    for step in range(_STEPS):
        y = np.array([end.next(step) for end in ends])
        y, ends = y[[not end.found for end in ends]], [end for end in ends if not end.found]
        if not ends:
            return
        state, found = axis.product.solved(y + 0j, np.column_stack([end.state for end in ends]))
        near = axis.known(y, state)
        for k, end in enumerate(ends):
            point = near[k : k + 1]
            if not found[k] or point.gap[0]:  # as it seems from near
                point = axis.points(y[k : k + 1])
            if not len(point.y) or point.gap[0]:
                end.outside = float(y[k])
            else:
                end.y.append(float(y[k]))
                end.size.append(float(_size(point.state)[0]))
                end.state = point.state[:, 0]
