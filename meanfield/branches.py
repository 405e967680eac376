"""Where a JAX function changes its branch: candidate kinks, known to the last digit."""

import numpy as np
from numpy.typing import NDArray

from meanfield.callables import Box
from meanfield.errors import UnresolvedError
from meanfield.tracing import BLOCK

__all__ = ["MAX_KINKS", "ZERO", "branch_changes", "merged"]

Array = NDArray[np.float64]

MAX_KINKS = 4096
ZERO = 2.0**-80  # nearer to zero is zero


def branch_changes(box: Box, left: float, right: float) -> Array:
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
    while np.any((high - low < width) & (np.maximum(-low, high) > ZERO)):
        if len(which) > 8 * MAX_KINKS:
            merged(low, box.eps)
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
    return merged(np.where(np.abs(position) < ZERO, 0.0, position), box.eps)


def merged(positions: Array, eps: float) -> Array:
    """Sorted positions, those that rounding has torn apart as one."""
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
