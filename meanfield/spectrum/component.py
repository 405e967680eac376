"""One interval of the support, as series along the curve, of which all is asked.

The curve is followed by an angle `phi` from the top (0) to the bottom (pi). In it `y = log s^2`,
its probability and its density are smooth wherever the curve is, however steep one of them is as
a function of another.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import NODES, ORDER, WEIGHTS, coefficients, series, tail

__all__ = ["Component", "at_halves", "halves"]

Array = NDArray[np.float64]

_STEPS = 60
_CLOSE = 1e-14
_SMOOTH = 1e-9  # of the logarithm of the density: else it is not interpolated
_LEAST = 1e-300
_INTEGRAL = np.polynomial.legendre.legint(np.eye(ORDER), lbnd=-1).T  # of a series, from the left
_SLOPE = np.polynomial.legendre.legder(np.eye(ORDER)).T


@dataclass(frozen=True, eq=False)
class Component:
    """One interval of the support of `y = log s^2`, on panels in `phi`.

    `low` and `high` are the ends of the support, infinite where it has none, `bottom` and `top`
    those of what is followed.
    """

    low: float
    high: float
    bottom: float
    top: float
    edges: Array  # of the panels in phi
    y: Array  # series
    mass: Array  # series of the density of phi
    log_density: Array  # series of the logarithm of that of y over `fading`
    soft: tuple[bool, bool]  # whether the density is a square root at the bottom, at the top
    beyond: float  # probability above `top`
    error: float

    @classmethod
    def of(cls, ends: tuple[float, float], edges: Array, phi: Array, y: Array, rate: Array,
           density: Array, soft: tuple[bool, bool], **rest: Any) -> "Component":  # fmt: skip
        """From the bottom and the top, and values at the nodes: `rate = -dy/dphi`."""
        with np.errstate(divide="ignore"):
            logarithm = np.log(np.maximum(density, _LEAST) / fading(phi, soft))
        return cls(
            bottom=ends[0], top=ends[1], edges=edges, y=coefficients(y),
            mass=coefficients(rate * density), log_density=coefficients(logarithm), soft=soft,
            **rest,
        )  # fmt: skip

    @cached_property
    def above(self) -> Array:
        """Series of `P(log s^2 > y)`, one degree more."""
        grown = (self.mass @ _INTEGRAL) * (0.5 * np.diff(self.edges))[:, None]
        whole = np.sum(grown, axis=1)
        grown[:, 0] += self.beyond + np.append(0.0, np.cumsum(whole[:-1]))
        return grown

    @property
    def whole(self) -> float:
        """Its probability."""
        return float(np.sum(self.above[-1])) - self.beyond

    @property
    def inner(self) -> tuple[float, float]:
        """The numbers next to the ends."""
        return float(np.nextafter(self.bottom, np.inf)), float(np.nextafter(self.top, -np.inf))

    @cached_property
    def _falling(self) -> Array:
        """`-y` at the edges of the panels."""
        ends = np.append(np.sum(self.y, axis=1)[:-1], self.bottom)
        return np.maximum.accumulate(-np.append(self.top, ends))

    @cached_property
    def _smooth(self) -> NDArray[np.bool_]:
        return tail(self.log_density) < _SMOOTH

    def _locate(self, y: Array) -> tuple[NDArray[np.int_], Array]:
        """The panel of each `y`, and where on it, from -1 to 1."""
        return _solved(self.y, self._falling, y, -1)

    def density(self, y: Array) -> Array:
        """Of `y`, strictly inside."""
        panel, t = self._locate(y)
        left, right = self.edges[panel], self.edges[panel + 1]
        phi = 0.5 * (left * (1 - t) + right * (1 + t))
        smooth = np.exp(series(self.log_density[panel], t)) * fading(phi, self.soft)
        with np.errstate(all="ignore"):
            rate = -series((self.y @ _SLOPE)[panel], t) * 2 / (right - left)
            steep = np.maximum(series(self.mass[panel], t), 0.0) / rate
        return np.where(self._smooth[panel] | ~(rate > 0), smooth, steep)

    def tail(self, y: Array) -> Array:
        """`P(log s^2 > y)`, from `bottom` to `top`."""
        panel, t = self._locate(y)
        return series(self.above[panel], t)

    def where(self, above: Array) -> Array:
        """`y` with `tail(y) = above`."""
        ends = np.maximum.accumulate(np.append(self.beyond, np.sum(self.above, axis=1)))
        panel, t = _solved(self.above, ends, above, 1)
        return np.clip(series(self.y[panel], t), self.bottom, self.top)

    @property
    def nodes(self) -> tuple[Array, Array]:
        """Values of `y` and their probabilities, for means over the component."""
        width = np.diff(self.edges)
        at_nodes = np.polynomial.legendre.legvander(NODES, ORDER - 1).T
        mass = 0.5 * width[:, None] * WEIGHTS * (self.mass @ at_nodes)
        return (self.y @ at_nodes).ravel(), mass.ravel()


def fading(phi: Array, soft: tuple[bool, bool]) -> Array:
    """What a density that is a square root at an end is in proportion to there."""
    bottom, top = np.cos(0.5 * phi), np.sin(0.5 * phi)
    return np.where(soft[0], bottom, 1.0) * np.where(soft[1], top, 1.0)


def _solved(c: Array, ends: Array, target: Array, sign: int) -> tuple[NDArray[np.int_], Array]:
    """Where series, that rise from end to end when multiplied by the sign, have a value.

    Newton's method in a bracket.
    """
    panel = np.clip(np.searchsorted(ends, sign * target) - 1, 0, len(c) - 1)
    slope: Any = np.polynomial.legendre.legder(c, axis=1)
    t = np.zeros(len(target))
    low, high, active = t - 1, t + 1, np.arange(len(target))
    for _ in range(_STEPS):
        now, rows = t[active], panel[active]
        off = sign * (series(c[rows], now) - target[active])
        low[active] = np.where(off < 0, now, low[active])
        high[active] = np.where(off < 0, high[active], now)
        with np.errstate(all="ignore"):
            new = now - sign * off / series(slope[rows], now)
        inside = (new > low[active]) & (new < high[active])
        close = np.abs(new - now) <= _CLOSE
        t[active] = np.where(inside | close, new, 0.5 * (low[active] + high[active]))
        active = active[~close]
        if not len(active):
            break
    return panel, t


def halves(left: Array, right: Array) -> tuple[Array, Array]:
    """Panels in halves, from left to right."""
    middle = 0.5 * (left + right)
    return np.column_stack([left, middle]).ravel(), np.column_stack([middle, right]).ravel()


_BOTH = np.concatenate([0.5 * (NODES - 1), 0.5 * (NODES + 1)])
_AT_HALVES = np.polynomial.legendre.legvander(_BOTH, ORDER - 1).T


def at_halves(series: Array) -> Array:
    """Values at the nodes of both halves of panels, shape (2 panels, 16)."""
    return (series @ _AT_HALVES).reshape(-1, ORDER)
