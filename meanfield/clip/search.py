r"""Clip levels at which the edge of chaos is as wanted: all of them.

`V'(q)` on the edge is a smooth function of `m` between the levels at which `phi` turns, monotone
for the shifted ReLU and the soft threshold but not for everything. A scan brackets its crossings of
the wanted slope, an extremum between two scanned levels that comes near to it is looked at closely,
and each bracket is closed to the last digit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.clip.moments import Clippable, ClippedEdge, edge_of
from meanfield.errors import MeanFieldError, NoCriticalPointError
from meanfield.precision import EPS

__all__ = ["NoLevel", "Scan", "levels_of", "scan_of", "slope_at"]

Array = NDArray[np.float64]

_LEVELS = 400  # scanned between the least and the largest


class NoLevel(MeanFieldError):
    """No clip level is as wanted; or every one is, so that there is no need of any."""

    def __init__(self, message: str, every: bool = False) -> None:
        super().__init__(message)
        self.every = every


class Scan(NamedTuple):
    """The edge of chaos at `q` along clip levels."""

    m: Array
    edge: ClippedEdge

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Where there is an edge of chaos: its bias variance is not negative."""
        return (self.edge.bias_var >= 0) & np.isfinite(self.edge.slope)


def scan_of(clippable: Clippable, q: float, name: str) -> Scan:
    """The edge along all clip levels that make a difference.

    Raises:
        NoCriticalPointError: there is an edge of chaos for none of them.
    """
    levels = clippable.levels(q)
    if not len(levels):
        raise NoCriticalPointError(
            f"q: at q = {q:.6g} {name} has no value that a clip would change; give a larger q"
        )
    m = np.union1d(np.geomspace(levels[0], levels[-1], _LEVELS), levels)
    scan = Scan(m, edge_at(clippable, m, q))
    if not np.any(scan.valid):
        raise NoCriticalPointError(
            f"q: {name} has no edge of chaos at q = {q:.6g} whatever the clip level: bias_var = "
            "q - E[phi^2]/E[phi'^2] would be negative, at least "
            f"{-np.nanmax(scan.edge.bias_var):.4g} too small; give another q"
        )
    return scan


def edge_at(clippable: Clippable, m: Array, q: float) -> ClippedEdge:
    """The edge of chaos at `q` for each level of `m`, shape (M,)."""
    return edge_of(clippable.moments(m, q), q)


def slope_at(clippable: Clippable, m: float, q: float) -> float:
    """`V'(q)` on the edge at one clip level."""
    return float(edge_at(clippable, np.array([m]), q).slope[0])


def levels_of(clippable: Clippable, scan: Scan, q: float, slope: float, name: str) -> Array:
    """All clip levels with `V'(q) = slope` on the edge of chaos, increasing; at least one.

    Raises:
        NoLevel: none has this slope; says which slopes there are.
        NoCriticalPointError: those that do have no edge of chaos.
    """

    def excess(m: float) -> float:
        return slope_at(clippable, m, q) - slope

    roots = np.array(_roots(excess, scan.m, scan.edge.slope - slope))
    known = scan.edge.slope[scan.valid]
    if not len(roots):
        raise NoLevel(
            f"slope: no clip level of {name} has V'(q) = {slope:.6g} on the edge of chaos at q = "
            f"{q:.6g}; the slopes that exist are from {known.min():.4g} to {known.max():.4g}, the "
            f"largest at m = {scan.m[scan.valid][np.argmax(known)]:.4g}"
        )
    valid = roots[edge_at(clippable, roots, q).bias_var >= 0]
    if not len(valid):
        raise NoCriticalPointError(
            f"slope: {name} has V'(q) = {slope:.6g} only where there is no edge of chaos at q = "
            f"{q:.6g} (its bias variance would be negative); slopes from {known.min():.4g} to "
            f"{known.max():.4g} can be had"
        )
    return valid


def _roots(f: Callable[[float], float], x: Array, values: Array) -> list[float]:
    """All roots of `f`, from its values at increasing `x`; NaN where it is not defined."""
    from scipy.optimize import brentq, minimize_scalar

    near, here, far = values[:-2], values[1:-1], values[2:]
    size, most = np.abs(here), np.maximum(np.abs(near), np.abs(far))
    # an extremum towards zero that a parabola through three points, were it twice as bent, reaches
    towards = (size <= np.minimum(np.abs(near), np.abs(far))) & (near * here > 0) & (here * far > 0)
    for k in 1 + np.flatnonzero(towards & (2 * size < most)):
        side = np.sign(values[k])
        closest: Any = minimize_scalar(
            lambda t, side=side: side * f(t), bounds=(x[k - 1], x[k + 1]), method="bounded",
            options={"xatol": 1e-10 * x[k]},
        )  # fmt: skip
        x, values = np.append(x, closest.x), np.append(values, f(closest.x))
    order = np.argsort(x)
    x, values = x[order], values[order]
    roots = x[values == 0].tolist()
    for k in np.flatnonzero(values[:-1] * values[1:] < 0):
        root: Any = brentq(f, x[k], x[k + 1], xtol=1e-300, rtol=np.float64(4 * EPS))
        roots.append(float(root))
    return sorted(roots)
