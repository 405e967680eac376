r"""Which fixed point a variance goes to: the branch of the diagram reached from `q0`.

At given `weight_var` the fixed points are where `G(q) = q - weight_var E(q)` equals `bias_var`, and
`V(q) - q = bias_var - G(q)`: from `q0` the variance grows to the first crossing above where
`bias_var > G(q0)`, and falls to the first one below otherwise. First crossings are those of the
running maximum of `G` to the right of `q0`, and of its running minimum to the left; both join into
one row that increases with `q`, so that all of a column is one merge of two sorted arrays. Between
the edges of the cells `G` turns only where `E' = 1/weight_var`. An extremum within its error of
`bias_var` is a (half-stable) fixed point; a crossing inside the error is none.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.phase.ends import settle_above, settle_below, zero_is_stable
from meanfield.phase.overshoot import follow_overshooting, overshoots
from meanfield.phase.points import Points, solve
from meanfield.phase.tables import Table
from meanfield.precision import EPS

__all__ = ["Landscape", "follow"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


class Extrema(NamedTuple):
    """Where `G` turns, arrays of shape (n,), sorted by column and `q`."""

    column: Indices
    interval: Indices  # between which nodes
    q: Array
    value: Array
    doubt: Array
    is_maximum: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Landscape:
    """`G` of all columns, at the edges of the table and at a start `q0`.

    Args:
        table: of the activation.
        weight_var: one for each column, shape (n,).
        q0: where iteration starts, within the table.
    """

    table: Table
    weight_var: Array
    q0: float

    @cached_property
    def nodes(self) -> Array:
        """Edges of the table, and `q0` among them; shape (N + 1,)."""
        return np.unique(np.append(self.table.edges, self.q0))

    @property
    def start(self) -> int:
        """The index of `q0`."""
        return int(np.searchsorted(self.nodes, self.q0))

    @cached_property
    def cells(self) -> NDArray[np.int32]:
        """The cell of the table that each interval between nodes lies in; shape (N,)."""
        return np.searchsorted(self.table.edges, self.nodes[:-1], side="right").astype(np.int32) - 1

    def _errors(self, which: int) -> Array:
        """Errors at the nodes: the larger of the two cells'."""
        error = self.table.error[which, self.cells]
        return np.maximum(np.append(error, error[-1]), np.append(error[0], error))

    @cached_property
    def height(self) -> Array:
        """`G` at the nodes; shape (n, N + 1)."""
        return self.nodes - self.weight_var[:, None] * self.table(self.nodes)

    @cached_property
    def doubt(self) -> Array:
        """Bounds of the errors of `height`, and of the rounding of its difference from a level."""
        return self.weight_var[:, None] * self._errors(0) + 4 * EPS * self.nodes

    @cached_property
    def rise(self) -> NDArray[np.int8]:
        """The sign of `G'` at the nodes, 0 within the error; shape (n, N + 1)."""
        level = 1 / self.weight_var[:, None]
        excess = level - self.table(self.nodes, 1)
        clear = np.abs(excess) > self._errors(1) + 4 * EPS * level
        return (np.sign(excess) * clear).astype(np.int8)

    @cached_property
    def extrema(self) -> Extrema:
        """Where `G` turns from rising to falling, or back."""
        # the sign last seen; where G' is 0 within the error nothing turns before it is clear again
        last = np.maximum.accumulate(
            np.where(self.rise != 0, np.arange(len(self.nodes)), 0), axis=1
        )
        seen = np.take_along_axis(self.rise, last, axis=1)
        column, interval = np.nonzero(seen[:, 1:] * seen[:, :-1] < 0)
        table, level = self.table, 1 / self.weight_var[column]
        low, high = self.nodes[interval], self.nodes[interval + 1]
        rising = seen[column, interval] > 0  # E' is below the level before a maximum of G
        for _ in range(60):
            q = 0.5 * (low + high)
            before = (table(q, 1) < level) == rising
            low, high = np.where(before, q, low), np.where(before, high, q)
            if np.all(high - low <= EPS * high):
                break
        q = 0.5 * (low + high)
        value = q - self.weight_var[column] * table(q)
        doubt = self.weight_var[column] * table.error_at(q) + 4 * EPS * q
        return Extrema(column, interval, q, value, doubt, rising)

    @cached_property
    def row(self) -> Array:
        """What iteration from `q0` has to pass: running extrema of `G`, shape (n, N + 1)."""
        start, extrema = self.start, self.extrema
        above = self.height - self.doubt  # a level is crossed where G is clearly on its other side
        below = self.height + self.doubt
        right = extrema.is_maximum & (extrema.interval >= start)
        left = ~extrema.is_maximum & (extrema.interval < start)
        node = (extrema.column[right], extrema.interval[right] + 1)
        np.maximum.at(above, node, (extrema.value + extrema.doubt)[right])
        node = (extrema.column[left], extrema.interval[left])
        np.minimum.at(below, node, (extrema.value - extrema.doubt)[left])
        # what is within the error of G(q0) stays at q0
        below[:, start] = self.height[:, start] - self.doubt[:, start]
        above[:, start] = self.height[:, start] + self.doubt[:, start]
        left_part = np.minimum.accumulate(below[:, start::-1], axis=1)[:, ::-1]
        right_part = np.maximum.accumulate(above[:, start:], axis=1)
        return np.concatenate([left_part, right_part[:, 1:]], axis=1)

    def crossings(self, bias_var: Array, upwards: bool) -> NDArray[np.int32]:
        """How often `G` rises (or falls) through each level: stable (unstable) fixed points.

        Each rise from a bottom to a top counts where the level is below the top but not below the
        bottom, by more than the error; shape (n, m).
        """
        turns, columns = self.extrema, np.arange(len(self.weight_var))
        first = self.rise[columns, np.argmax(self.rise != 0, axis=1)]
        last = self.rise[:, ::-1][columns, np.argmax(self.rise[:, ::-1] != 0, axis=1)]
        direction = 1 if upwards else -1
        counted = np.concatenate(
            [np.ones(len(turns.q), bool), first == direction, last == direction]
        )
        column = np.concatenate([turns.column, columns, columns])
        is_top = np.concatenate([turns.is_maximum, first < 0, last > 0])
        value = np.concatenate([turns.value, self.height[:, 0], self.height[:, -1]])
        doubt = np.concatenate([turns.doubt, self.doubt[:, 0], self.doubt[:, -1]])
        below = np.searchsorted(bias_var, np.where(is_top, value - doubt, value + doubt))
        sign = np.where(is_top, 1, -1)[counted]
        count = np.zeros((len(columns), len(bias_var) + 1), np.int32)
        np.add.at(count, (column[counted], np.zeros_like(sign)), sign)
        np.add.at(count, (column[counted], below[counted]), -sign)
        return np.cumsum(count, axis=1)[:, :-1]


class Brackets(NamedTuple):
    """Where each point's fixed point lies, arrays of shape (n, m)."""

    cell: NDArray[np.int32]
    low: Array
    high: Array
    at_start: NDArray[np.bool_]  # q0 itself
    below: NDArray[np.bool_]  # below the table
    above: NDArray[np.bool_]  # above it, or nowhere


def brackets(land: Landscape, bias_var: Array) -> Brackets:
    """The first crossings from `q0`, by one merge of the sorted levels with each row."""
    row, start, count = land.row, land.start, len(bias_var)
    columns, intervals = len(row), row.shape[1] - 1
    here, doubt = land.height[:, start], land.doubt[:, start]
    # a level equal to an entry of the row has been reached: on the left of q0 the interval to the
    # right of that node holds it, on the right the one to the left
    passed = np.concatenate([
        np.searchsorted(bias_var, row[:, :start], side="left"),
        np.searchsorted(bias_var, (here - doubt)[:, None], side="left"),
        np.searchsorted(bias_var, (here + doubt)[:, None], side="right"),
        np.searchsorted(bias_var, row[:, start + 1 :], side="right"),
    ], axis=1)  # fmt: skip
    passed = np.maximum.accumulate(passed, axis=1)
    ends = np.zeros((columns, 1), np.intp), np.full((columns, 1), count)
    passed = np.concatenate([ends[0], passed, ends[1]], axis=1)  # (n, intervals + 4)
    kinds = np.tile(np.arange(intervals + 3), columns)
    kind = np.repeat(kinds, np.diff(passed, axis=1).ravel()).reshape(columns, count)
    # kinds are: below, the intervals left of q0, q0, the intervals right of it, above
    interval = np.concatenate([
        [0], np.arange(start), [min(start, intervals - 1)], np.arange(start, intervals),
        [intervals - 1],
    ])  # fmt: skip
    low, high = land.nodes[interval], land.nodes[interval + 1]
    low[start + 1] = high[start + 1] = land.q0
    result = Brackets(
        land.cells[interval][kind], low[kind], high[kind],
        kind == start + 1, kind == 0, kind == intervals + 2,
    )  # fmt: skip
    turns = land.extrema
    place = turns.interval + np.where(turns.interval < start, 1, 2)
    for column, k, q, is_maximum in zip(
        turns.column, place, turns.q, turns.is_maximum, strict=True
    ):
        part = slice(passed[column, k], passed[column, k + 1])
        (result.high if is_maximum else result.low)[column, part] = q
    return result


def follow(table: Table, weight_var: Array, bias_var: Array, q0: float) -> tuple[Points, NDArray]:
    """Where iteration from `q0` ends, and how many stable fixed points there are; (n, m)."""
    land = Landscape(table, weight_var, float(np.clip(q0, table.low, table.high)))
    where = brackets(land, bias_var)
    shape = where.cell.shape
    w = np.repeat(weight_var, shape[1])
    b = np.tile(bias_var, shape[0])
    points = solve(table, w, b, where.cell.ravel(), where.low.ravel(), where.high.ravel())
    points = points.map(lambda part: part.reshape(shape))
    points.q[where.at_start] = land.q0
    points.error[where.at_start & (points.variance_slope == 1)] = 0.0  # any q is a fixed point
    doubtful = overshoots(land, bias_var, where, points)
    if np.any(doubtful):
        follow_overshooting(land, bias_var, doubtful, points)
    settle_below(table, weight_var, bias_var, where.below, points)
    settle_above(table, weight_var, bias_var, where.above, points)
    stable = land.crossings(bias_var, upwards=True)
    return points, stable + zero_is_stable(table, weight_var, bias_var)
