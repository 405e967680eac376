r"""What happens beyond the ends of the table: `q = 0`, and variances without bound."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.criticality import depth_scale
from meanfield.network import Phase
from meanfield.phase.points import Points
from meanfield.phase.tables import HIGHEST, Table
from meanfield.precision import EPS

__all__ = ["settle_above", "settle_below", "zero_is_stable"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_ORDER = 4
_BENT = 1e-3  # how much less than 1 an exponent is that is not 1


class Zero(NamedTuple):
    """Limits of `E'` and `D` as `q` falls to 0, and bounds of their errors."""

    slope: float
    gradient: float
    slope_error: float
    gradient_error: float


@lru_cache(maxsize=16)
def at_zero(table: Table) -> Zero:
    """Limits from above, by a polynomial in `sqrt(q)`: a kink at 0 leaves such a term in `E'`."""
    s = 2.0 ** np.arange(_ORDER + 1)  # sqrt(q / low)
    q = table.low * s * s
    limits, doubts = [], []
    for which in (1, 2):
        f = table(q, which)
        limit, other = (
            float(np.polynomial.polynomial.polyfit(s[: k + 1], f[: k + 1], k)[0])
            for k in (_ORDER, _ORDER - 1)
        )
        limits.append(limit)
        doubts.append(abs(limit - other) + 8 * float(np.max(table.error_at(q, which))))
    return Zero(*limits, *doubts)


def zero_is_stable(table: Table, weight_var: Array, bias_var: Array) -> Mask:
    """Whether `q = 0` is a fixed point with `V'(0) < 1`; shape (n, m)."""
    zero = at_zero(table)
    attracts = (table.at_zero == 0) & (weight_var * (zero.slope + zero.slope_error) < 1)
    return attracts[:, None] & (bias_var == 0)


def settle_below(
    table: Table, weight_var: Array, bias_var: Array, below: Mask, points: Points
) -> None:
    """Fill in the points whose variance falls below the table."""
    if not np.any(below):
        return
    zero = at_zero(table)
    column, level = np.nonzero(below)
    w, b = weight_var[column], bias_var[level]
    silent = table(np.array([table.low]))[0] == 0  # V(q) = bias_var for all q so small
    known = silent | ((b == 0) & (table.at_zero == 0))
    chi1, slope = w * zero.gradient, w * zero.slope
    if table.infinite_slope:
        chi1 = np.full_like(w, np.inf)
    slope, chi1 = (
        np.where(np.abs(value - 1) <= w * doubt + 4 * EPS, 1.0, value)
        for value, doubt in ((slope, zero.slope_error), (chi1, zero.gradient_error))
    )
    fill(points, below, known,
         q=b, error=np.zeros_like(b), chi1=chi1,
         chi1_error=w * zero.gradient_error, variance_slope=slope,
         depth_scale_q=depth_scale(slope), depth_scale_c=depth_scale(chi1),
         phase=1 + np.sign(chi1 - 1))  # fmt: skip


def settle_above(
    table: Table, weight_var: Array, bias_var: Array, above: Mask, points: Points
) -> None:
    """Fill in the points whose variance leaves the table upwards."""
    if not np.any(above):
        return
    column, level = np.nonzero(above)
    w, b = weight_var[column], bias_var[level]
    top = np.array([table.high])
    value, slope = table(top)[0], table(top, 1)[0]
    # it explodes if it is beyond all tables after one layer more, unless V still nears the
    # diagonal, as it does sooner or later if E grows like a power of q below the first
    linear = slope * top[0] >= (1 - _BENT) * value
    grows = linear & (w * (slope + table.error_at(top, 1)[0]) + 4 * EPS >= 1)
    explodes = grows & (w * value + b >= HIGHEST * (1 - 1e-6))
    nan = np.full_like(w, np.nan)
    fill(points, above, explodes,
         q=nan + np.inf, error=nan, chi1=nan, chi1_error=nan, variance_slope=nan,
         depth_scale_q=nan, depth_scale_c=nan, phase=np.full_like(w, Phase.EXPLODES))  # fmt: skip
    points.q[above] = np.where(explodes, np.inf, np.nan)


def fill(points: Points, where: Mask, known: Mask, **values: Array) -> None:
    """Write values where they are known, NaN and `UNRESOLVED` elsewhere."""
    for name, value in values.items():
        blank = Phase.UNRESOLVED if name == "phase" else np.nan
        getattr(points, name)[where] = np.where(known, value, blank)
