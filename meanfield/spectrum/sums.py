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
# of the powers of x/u and of u/x, in the four sums
_SOME = np.minimum(_J, 1)
_BELOW = np.stack([_SOME, _SOME**0, _J, _J + 1]).astype(complex)
_ABOVE = np.stack([-(_SOME**0), -_SOME, _J, _J - _SOME]).astype(complex)
_TEN = np.log(10)
_AT_ONCE = 32  # points
_IN_CACHE = 1 << 13  # points times nodes, and too few for threads


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
        if len(self.x) * _AT_ONCE <= _IN_CACHE:
            self._near(log_u, 0, len(self.x), total)
        else:
            for i in range(0, len(log_u), _AT_ONCE):
                some = slice(i, i + _AT_ONCE)
                self._near_and_far(log_u[some], total[:, some])
        total[1::2] += self.zero
        return total

    def _near(self, log_u: Complex, start: int, stop: int, total: Complex) -> None:
        x, weights = self.x[start:stop], self._weights[start:stop]
        real = [k for k in self.real if start <= k < stop]
        size = np.exp(log_u.real)
        turn = np.exp(1j * log_u.imag)
        u = size * turn
        step = max(2, _IN_CACHE // (stop - start + 1))
        for i in range(0, len(u), step):
            some = slice(i, i + step)
            ratio = u[some, None] - x
            for k in real:
                ratio[:, k - start] = self.x[k] * np.expm1(log_u[some] - np.log(self.x[k].real))
            ratio *= 1 / size[some, None]
            np.reciprocal(ratio, out=ratio)  # |u| / (u - x): neither it nor its square overflows
            total[:2, some] = (ratio @ weights).T
            ratio *= ratio
            total[2:, some] = (ratio @ weights).T  # with one column BLAS would take threads
        total[::2] /= size
        total[1:3] *= turn
        total[3] *= turn * turn

    def _near_and_far(self, log_u: Complex, total: Complex) -> None:
        decade, start, below, above = self._moments
        tens = log_u.real / _TEN
        low = int(np.searchsorted(decade, np.min(tens) - _FAR - 1))
        high = int(np.searchsorted(decade, np.max(tens) + _FAR))
        self._near(log_u, int(start[low]), int(start[high]), total)
        if low > 0:
            power = np.exp(np.outer(decade[low - 1] * _TEN - log_u, _J)) * below[low - 1]
            total += _BELOW @ power.T
        if high < len(decade):
            power = np.exp(np.outer(log_u - decade[high] * _TEN, _J)) * above[high]
            total += _ABOVE @ power.T
