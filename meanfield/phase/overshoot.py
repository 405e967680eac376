r"""Where iteration may jump over a fixed point: maps that fall somewhere.

On its way from `q0` to the first crossing `q*` the variance rises (or falls) as long as
`V(q) <= q*`, which holds if `E` is nowhere larger in between: `V` is then no larger than
`V(q*) = q*`. Otherwise it may land beyond `q*`, and where there are other fixed points it need not
come back. Because `V' >= -(1 - bias_var / q) / 2` it lands at most half as far beyond in `log q`,
so that a lone fixed point is reached all the same, and there are no cycles. The rest is iterated on
the table until the first crossing is beyond doubt: in one stretch between the extrema of `E`.
"""

import numpy as np
from numpy.typing import NDArray

from meanfield.network import Phase
from meanfield.phase.points import Points, solve
from meanfield.precision import EPS

__all__ = ["follow_overshooting", "overshoots"]

Array = NDArray[np.float64]

_ROUNDS, _STEPS = 40, 8
_NEAR = 1e-6  # in log q: nothing else is so near
_CHUNK = 4096


def overshoots(land, bias_var: Array, where, points: Points) -> NDArray[np.bool_]:
    """Points whose first crossing may be jumped over, to another fixed point; shape (n, m)."""
    table, start = land.table, land.start
    second = table(land.nodes)
    doubt = 16 * EPS * np.max(np.abs(second)) + np.max(table.error[0])
    doubtful = np.zeros(points.q.shape, bool)
    if np.all(np.diff(second) >= -np.minimum(doubt, 1e-9 * second[1:])):
        return doubtful
    ahead = np.concatenate([  # the largest E on the way up, the smallest on the way down
        np.minimum.accumulate(second[start::-1])[::-1], np.maximum.accumulate(second[start:])[1:]
    ])  # fmt: skip
    several = land.crossings(bias_var, True) + land.crossings(bias_var, False) > 1
    crossing = several & ~(where.at_start | where.below | where.above)
    q = points.q[crossing]
    node = np.searchsorted(land.nodes, q)
    up = q > land.q0
    passed = np.where(up, ahead[np.maximum(node - 1, start)], ahead[np.minimum(node, start)])
    here = table(q)
    doubtful[crossing] = np.where(up, passed > here, passed < here)
    return doubtful


def follow_overshooting(land, bias_var: Array, which: NDArray[np.bool_], points: Points) -> None:
    """Iterate these points from `q0` until they settle; `UNRESOLVED` where they do not."""
    table = land.table
    column, level = np.nonzero(which)
    w, b = land.weight_var[column], bias_var[level]
    for name in Points._fields:
        getattr(points, name)[which] = Phase.UNRESOLVED if name == "phase" else np.nan
    stretches = _turns(table)
    q, left = np.full(len(w), land.q0), np.arange(len(w))
    for _ in range(_ROUNDS):
        if not len(left):
            return
        for _ in range(_STEPS):
            q[left] = w[left] * table(q[left]) + b[left]
        left = left[np.isfinite(table(q[left]))]  # what leaves the table is not resolved
        for chunk in np.array_split(left, -(-len(left) // _CHUNK)) if len(left) else ():
            found, ok = _crossing(land, column[chunk], w[chunk], b[chunk], q[chunk])
            with np.errstate(invalid="ignore"):
                beyond = found.q * np.sqrt(found.q / q[chunk])
            places = [np.searchsorted(stretches, x) for x in (q[chunk], found.q, beyond)]
            rising = table(q[chunk], 1) > 0
            ok &= ((places[0] == places[1]) & (rising | (places[1] == places[2]))) | (
                np.abs(np.log(found.q / q[chunk])) < _NEAR
            )
            for whole, part in zip(points, found, strict=True):
                whole[column[chunk[ok]], level[chunk[ok]]] = part[ok]
            left = np.setdiff1d(left, chunk[ok])


def _turns(table) -> Array:
    """Edges of cells at which `E` turns: none turns inside a cell."""
    slope = table(0.5 * (table.edges[:-1] + table.edges[1:]), 1)
    return table.edges[1:-1][slope[1:] * slope[:-1] < 0]


def _crossing(land, column, w: Array, b: Array, q: Array) -> tuple[Points, NDArray[np.bool_]]:
    """The first crossing from `q`, and whether there is one; arrays of shape (n,)."""
    nodes, height = land.nodes, land.height[column]
    up = w * land.table(q) + b > q
    ahead = np.where(
        up[:, None], (nodes > q[:, None]) & (height >= b[:, None]),
        (nodes < q[:, None]) & (height <= b[:, None]),
    )  # fmt: skip
    last = len(nodes) - 1
    interval = np.where(up, np.argmax(ahead, axis=1) - 1, last - np.argmax(ahead[:, ::-1], axis=1))
    ok = np.any(ahead, axis=1) & (interval >= 0) & (interval < last)
    interval = np.clip(interval, 0, last - 1)
    low = np.where(up, np.maximum(nodes[interval], q), nodes[interval])
    high = np.where(up, nodes[interval + 1], np.minimum(nodes[interval + 1], q))
    turns = np.full((len(land.weight_var), last), -1)
    turns[land.extrema.column, land.extrema.interval] = np.arange(len(land.extrema.q))
    turn = turns[column, interval]
    at, top = land.extrema.q[turn], land.extrema.is_maximum[turn]
    inside = (turn >= 0) & (at > low) & (at < high)
    high, low = np.where(inside & top, at, high), np.where(inside & ~top, at, low)
    found = solve(land.table, w, b, land.cells[interval], low, high)
    residual = np.abs(w * land.table(found.q) + b - found.q)
    return found, ok & (residual <= 1e-9 * found.q)
