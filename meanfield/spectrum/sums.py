r"""Sums over the nodes of a law of slopes: near ones one by one, far ones by their moments.

With many decades of `X` most nodes are far from any `u`. Those below it and those above it act by

    sum w x/(u - x) = sum_j (sum w x^j) / u^j,        j >= 1,   |x| << |u|,
    sum w x/(u - x) = - sum_j (sum w x^-j) u^j,       j >= 0,   |x| >> |u|,

whose sums over all nodes up to a decade, and from one on, are known beforehand.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sums"]

Array = NDArray[np.float64]
Complex = Any  # an array of complex128

_FAR = 3.0  # decades
_J = np.arange(6.0)  # powers of 10^-3: what is beyond the last of these is rounding
_AT_ONCE = 32  # points
_IN_CACHE = 1 << 14  # points times nodes, and too few for threads


class _Moments(NamedTuple):
    """Of the nodes in all decades below each, and of those in and above each, one more at the end.

    `log` is the logarithm of the size of which powers are taken, `start` the first node.
    """

    decade: NDArray[np.int_]
    start: NDArray[np.int_]
    below: Complex
    above: Complex


@dataclass(frozen=True, eq=False)
class Sums:
    """Nodes `x` in the order of their sizes, their weights `w`, and the probability of 0.

    `real` are the places of those next to which nothing may cancel.
    """

    x: Complex
    w: Complex
    zero: float
    real: list[int]

    @cached_property
    def _weights(self) -> Complex:
        """Those of `X` and of 1, shape (nodes, 2)."""
        return np.column_stack([self.w * self.x, self.w])

    @cached_property
    def _moments(self) -> _Moments:
        """Powers of `x` beside the size of the decade, so that none overflows."""
        each = np.floor(np.log10(np.abs(self.x))).astype(int)
        decade, start = np.unique(each, return_index=True)
        x, w = (self.x / 10.0**each)[:, None], self.w[:, None]
        below, above = (np.add.reduceat(w * x**j, start) for j in (_J, -_J))
        step = 10.0 ** -np.outer(np.diff(decade), _J)
        for k in range(1, len(decade)):
            below[k] += below[k - 1] * step[k - 1]
            above[-k - 1] += above[-k] * step[-k]
        return _Moments(decade, np.append(start, len(self.x)), below, above)

    @np.errstate(all="ignore")  # at an atom of X nothing is finite
    def at(self, log_u: Complex) -> Complex:
        """`E[X/(u-X)]`, `E[u/(u-X)]`, `E[uX/(u-X)^2]`, `E[u^2/(u-X)^2]`, shape (4, points)."""
        total = np.empty((4, len(log_u)), complex)
        count, first = _IN_CACHE // (len(self.x) + 1), 0
        if count >= _AT_ONCE:
            for first in range(0, len(log_u), count):
                some = slice(first, first + count)
                total[:, some] = self._near(log_u[some], 0, len(self.x))
        while count < _AT_ONCE and first < len(log_u):
            some = log_u[first : first + _AT_ONCE]
            total[:, first : first + len(some)] = self._near_and_far(some)
            first += len(some)
        total[1::2] += self.zero
        return total

    def _near(self, log_u: Complex, start: int, stop: int) -> Complex:
        u, size = np.exp(log_u), np.exp(log_u.real)
        turn = u / size
        ratio = u[:, None] - self.x[start:stop]
        for k in self.real:
            if start <= k < stop:
                ratio[:, k - start] = self.x[k] * np.expm1(log_u - np.log(self.x[k].real))
        ratio *= 1 / size[:, None]
        np.reciprocal(ratio, out=ratio)  # |u| / (u - x): neither it nor its square overflows
        one = (ratio @ self._weights[start:stop]).T
        ratio *= ratio
        two = (ratio @ self._weights[start:stop]).T  # with one column BLAS would take threads
        return np.stack([one[0] / size, one[1] * turn, two[0] / size * turn, two[1] * turn**2])

    def _near_and_far(self, log_u: Complex) -> Complex:
        decade, start, below, above = self._moments
        tens = log_u.real / np.log(10)
        low = int(np.searchsorted(decade, np.min(tens) - _FAR - 1))
        high = int(np.searchsorted(decade, np.max(tens) + _FAR))
        first, last = int(start[low]), int(start[high])
        count = max(2, _IN_CACHE // (last - first + 1))
        total = np.concatenate(
            [self._near(log_u[i : i + count], first, last) for i in range(0, len(log_u), count)],
            axis=1,
        )
        some = np.minimum(_J, 1)
        if low > 0:
            powers = np.exp(np.outer(decade[low - 1] * np.log(10) - log_u, _J)) * below[low - 1]
            total += np.stack([some, some + 1 - some, _J, _J + 1]) @ powers.T
        if high < len(decade):
            powers = np.exp(np.outer(log_u - decade[high] * np.log(10), _J)) * above[high]
            total += np.stack([some - some - 1, -some, _J, _J - some]) @ powers.T
        return total
