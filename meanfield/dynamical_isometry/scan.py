"""The spread of `phi'^2` along the whole edge of chaos, and where on it a depth can be afforded."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, remembered
from meanfield.dynamical_isometry.spread import SlopeSpread, slope_spread
from meanfield.edge import edge_at
from meanfield.search import PER_DECADE, edge_table

__all__ = ["EdgeScan", "edge_scan"]

Array = NDArray[np.float64]

_SHARE = 0.1  # of the last value: a limit below is 0, as far as two decades tell


@dataclass(frozen=True, eq=False)
class EdgeScan:
    """Arrays along `q`, shape (n,), and what they tend to.

    Attributes:
        q: variances, evenly spaced in their logarithm.
        valid: whether the edge of chaos is there: `bias_var` is not negative.
        weight_var, bias_var, variance_slope: on the edge.
        spread: the `SlopeSpread`.
        at_zero: limit of the spread as `q -> 0`, whether the edge is there or not.
        at_infinity: the same as `q -> inf`.
    """

    activation: Activation
    q: Array
    valid: NDArray[np.bool_]
    weight_var: Array
    bias_var: Array
    variance_slope: Array
    spread: SlopeSpread
    at_zero: float
    at_infinity: float

    @property
    def exact(self) -> bool:
        """Whether `phi'^2` is the same everywhere, as far as can be told."""
        return bool(np.all(self.spread.is_zero))

    def vanishes_at(self, end: int) -> bool:
        """Whether the edge reaches the end, 0 (first) or -1 (last), and the spread is 0 there."""
        limit = self.at_infinity if end else self.at_zero
        return bool(self.valid[end]) and limit == 0

    def value(self, q: float) -> float:
        """The spread at any variance."""
        return float(slope_spread(self.activation, np.array([q])).value[0])

    def best(self) -> tuple[float, float]:
        """The `q` on the edge at which the spread is least, and that spread.

        Where it is the same everywhere, or nearly, the `q` nearest to 1.
        """
        value = np.where(self.valid, self.spread.value, np.inf)
        least = float(np.min(value))
        doubt = np.where(np.isfinite(self.spread.error), self.spread.error, 0.0)
        same = np.flatnonzero(self.valid & (value <= least * (1 + 1e-9) + doubt))
        i = int(same[np.argmin(np.abs(np.log(self.q[same])))])
        q = float(self.q[i])
        for j in (i - 1, i + 1):  # between grid points, if the edge of chaos ends there
            if 0 <= j < len(self.q) and not self.valid[j] and self.spread.value[j] < least:
                q = self.end_between(q, float(self.q[j]))
        return q, self.value(q)

    def end_between(self, inside: float, outside: float) -> float:
        """Where the edge of chaos ends: `bias_var = 0`, on the valid side."""
        for _ in range(60):
            middle = float(np.sqrt(inside * outside))
            if middle in (inside, outside):
                break
            valid = edge_at(self.activation, middle).bias_var >= 0
            inside, outside = (middle, outside) if valid else (inside, middle)
        return inside

    def farthest(self, most: float) -> float | None:
        """The end of the range of `q` with a spread of at most `most`; None if there is none.

        The range is the one at the end of the edge where the spread vanishes, or else around the
        best `q`. Where all of the edge will do, the `q` on it that is nearest to 1.
        """
        good = self.valid & ((self.spread.value <= most) | self.spread.is_zero)
        from_one = np.abs(np.log(self.q))
        if np.any(good) and np.array_equal(good, self.valid):
            return float(self.q[np.argmin(np.where(good, from_one, np.inf))])
        best, least = self.best()
        if not np.any(good):
            return best if least <= most else None
        step = -1 if self.vanishes_at(-1) and not self.vanishes_at(0) else 1
        if self.vanishes_at(0):
            i = int(np.argmax(good))
        elif step < 0:
            i = len(good) - 1 - int(np.argmax(good[::-1]))
        else:
            i = int(np.argmin(np.where(good, np.abs(np.log(self.q / best)), np.inf)))
        while 0 <= i + step < len(good) and good[i + step]:
            i += step
        inside = float(self.q[i])
        if not 0 <= i + step < len(good):
            return inside
        outside = float(self.q[i + step])
        if not self.valid[i + step]:
            outside = self.end_between(inside, outside)
        return self._root(most, inside, outside)

    def _root(self, most: float, inside: float, outside: float) -> float:
        """Where the spread is `most`; `outside` if it is less there too."""
        from scipy.optimize import brentq

        def above(t: float) -> float:
            return self.value(float(np.exp(t))) - most

        ends = float(np.log(inside)), float(np.log(outside))
        if above(ends[1]) <= 0:
            return outside
        if above(ends[0]) >= 0:
            return inside
        root: Any = brentq(above, *ends, xtol=1e-15)
        return float(np.exp(root))


@remembered
def edge_scan(activation: Activation) -> EdgeScan:
    """Scan the edge of chaos of an activation.

    Raises:
        NoCriticalPointError: `chi1` is infinite, or `phi` is constant.
        UnresolvedError: the activation cannot be sampled to useful accuracy.
    """
    edge = edge_table(activation)
    spread = slope_spread(activation, edge.q)
    value = np.where(spread.is_zero, 0.0, spread.value)
    upwards, downwards = (_limit(value[::s], spread.error[::s]) for s in (1, -1))
    return EdgeScan(
        activation, edge.q, edge.bias_var >= 0, edge.weight_var, edge.bias_var, edge.slope, spread,
        upwards, downwards,
    )  # fmt: skip


def _limit(value: Array, error: Array) -> float:
    """What a function tends to at its first entry, from there and one and two decades inwards."""
    a, b, c = (value[min(k * PER_DECADE, len(value) - 1)] for k in range(3))
    if a == 0 or not np.isfinite(a):
        return float(a)
    bend = a - 2 * b + c
    if not abs(bend) > 4 * (error[0] + error[min(PER_DECADE, len(value) - 1)]):
        return float(a)
    limit = a - (b - a) ** 2 / bend  # exact for v + k q^p
    if a < b < c and abs(limit) <= _SHARE * a:
        return 0.0
    return float(limit) if abs(limit - a) < a else float(a)
