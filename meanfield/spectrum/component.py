"""One interval of the support, as series: all that is asked of it is asked of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import NODES, ORDER, WEIGHTS, nodes, series

__all__ = ["Component", "at_halves", "halves"]

Array = NDArray[np.float64]

_HALVINGS = 60
_INTEGRAL = np.polynomial.legendre.legint(np.eye(ORDER), lbnd=-1).T  # of a series, from the left


@dataclass(frozen=True, eq=False)
class Component:
    """One interval of the support of `y = log s^2`, on panels in `phi`.

    `y = bottom + (top - bottom) cos(phi/2)^2`, `phi` in `[0, pi]`, in which the edges of a spectrum
    are smooth. `low` and `high` are the ends of the support, infinite where it has none, `bottom`
    and `top` those of what is followed.
    """

    low: float
    high: float
    bottom: float
    top: float
    edges: Array
    mass: Array  # series of the density of phi
    beyond: float  # probability above `top`
    error: float

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

    def _locate(self, y: Array) -> Array:
        return 2 * np.arcsin(np.sqrt(np.clip((self.top - y) / (self.top - self.bottom), 0.0, 1.0)))

    def _y(self, phi: Array) -> Array:
        return self.top - (self.top - self.bottom) * np.sin(0.5 * phi) ** 2

    def _panel(self, phi: Array) -> tuple[NDArray[np.int_], Array]:
        panel = np.clip(np.searchsorted(self.edges, phi) - 1, 0, len(self.edges) - 2)
        left, right = self.edges[panel], self.edges[panel + 1]
        return panel, np.clip(((phi - left) - (right - phi)) / (right - left), -1.0, 1.0)

    def density(self, y: Array) -> Array:
        """Of `y`, strictly inside."""
        panel, t = self._panel(self._locate(y))
        slope = np.sqrt((self.top - y) * (y - self.bottom))
        return np.maximum(series(self.mass[panel], t), 0.0) / slope

    def tail(self, y: Array) -> Array:
        """`P(log s^2 > y)`, from `bottom` to `top`."""
        panel, t = self._panel(self._locate(y))
        return series(self.above[panel], t)

    def where(self, above: Array) -> Array:
        """`y` with `tail(y) = above`."""
        ends = np.append(self.beyond, np.sum(self.above, axis=1))
        panel = np.clip(np.searchsorted(ends, above) - 1, 0, len(self.edges) - 2)
        c = self.above[panel]
        low, high = -np.ones(len(above)), np.ones(len(above))
        slope: Any = np.polynomial.legendre.legder(c, axis=1)
        t = np.zeros(len(above))
        for _ in range(_HALVINGS):
            off = series(c, t) - above
            low, high = np.where(off < 0, t, low), np.where(off < 0, high, t)
            with np.errstate(all="ignore"):
                new = t - off / series(slope, t)
            new = np.where((new > low) & (new < high), new, 0.5 * (low + high))
            done, t = np.all(np.abs(new - t) < 1e-15), new
            if done:
                break
        left, right = self.edges[panel], self.edges[panel + 1]
        return self._y(0.5 * (left * (1 - t) + right * (1 + t)))

    @property
    def nodes(self) -> tuple[Array, Array]:
        """Values of `y` and their probabilities, for means over the component."""
        width = np.diff(self.edges)
        at = nodes(self.edges[:-1], self.edges[1:])
        mass = self.mass @ np.polynomial.legendre.legvander(NODES, ORDER - 1).T
        return self._y(at).ravel(), (0.5 * width[:, None] * WEIGHTS * mass).ravel()


def halves(left: Array, right: Array) -> tuple[Array, Array]:
    """Panels in halves, from left to right."""
    middle = 0.5 * (left + right)
    return np.column_stack([left, middle]).ravel(), np.column_stack([middle, right]).ravel()


_BOTH = np.concatenate([0.5 * (NODES - 1), 0.5 * (NODES + 1)])
_AT_HALVES = np.polynomial.legendre.legvander(_BOTH, ORDER - 1).T


def at_halves(series: Array) -> Array:
    """Values at the nodes of both halves of panels, shape (2 panels, 16)."""
    return (series @ _AT_HALVES).reshape(-1, ORDER)
