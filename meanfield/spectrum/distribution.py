"""A distribution of `y = log s^2` made of curves and atoms, with all that is asked of one."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from meanfield.precision import EPS
from meanfield.spectrum.component import Component
from meanfield.spectrum.single import Image

__all__ = ["Distribution", "middle"]

Array = NDArray[np.float64]


def middle(part: Component | Image | tuple[float, float]) -> float:
    """What orders parts also where one ends at an atom."""
    return part[0] if isinstance(part, tuple) else 0.5 * (part.bottom + part.top)


@dataclass(frozen=True, eq=False)
class Distribution:
    """Probability `zero` of `y = -inf`, and parts in ascending order.

    Attributes:
        zero: probability of `s = 0`.
        parts: `Component`s or `Image`s, and atoms as pairs `(y, mass)`.
    """

    zero: float
    parts: tuple[Component | Image | tuple[float, float], ...]

    @cached_property
    def components(self) -> list[Component | Image]:
        """The parts that have a density."""
        return [part for part in self.parts if not isinstance(part, tuple)]

    @cached_property
    def atoms(self) -> list[tuple[float, float]]:
        """`(y, mass)` of those above 0."""
        return [part for part in self.parts if isinstance(part, tuple)]

    @property
    def missing(self) -> float:
        """By how much its probabilities do not add up to 1."""
        masses = [part.whole if not isinstance(part, tuple) else part[1] for part in self.parts]
        return abs(1 - self.zero - sum(masses))

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest `y`."""
        if not self.parts:
            return -np.inf, -np.inf
        first, last = self.parts[0], self.parts[-1]
        low = first[0] if isinstance(first, tuple) else first.low
        high = last[0] if isinstance(last, tuple) else last.high
        return (-np.inf if self.zero else low), high

    def density(self, y: Array) -> Array:
        """The density of `y` without the atoms."""
        density = np.zeros(y.shape)
        for part in self.components:
            inside = (y > part.bottom) & (y < part.top)
            density[inside] = part.density(y[inside])
            edge = (y == part.top) | (y == part.bottom)
            density[edge] = part.density(np.clip(y[edge], *part.inner))
        return density

    def cumulative(self, y: Array) -> Array:
        """`P(log s^2 <= y)`."""
        total = np.where(np.isnan(y), np.nan, self.zero)
        for part in self.parts:
            if not isinstance(part, tuple):
                there = y > part.bottom
                total[there] = 1 - part.tail(np.minimum(y[there], part.top))
            else:
                total[y >= _reached(part[0])] += part[1]
        total[y >= _reached(self.ends[1])] = 1.0
        return np.clip(total, 0.0, 1.0)

    def quantile(self, p: Array) -> Array:
        """The least `y` with `P(log s^2 <= y) >= p`."""
        y = np.where(np.isnan(p), np.nan, -np.inf)
        below = self.zero
        for part in self.parts:
            there = p > below
            if not isinstance(part, tuple):
                below = 1 - float(part.tail(np.array([part.top]))[0])
                y[there] = part.where(1 - np.minimum(p[there], below))
            else:
                below += part[1]
                y[there] = part[0]
        low, high = self.ends
        y[p >= 1] = high
        y[p <= 0] = low
        return y

    @cached_property
    def moments(self) -> tuple[float, float]:
        """Mean and variance of `y` where it is finite."""
        y = [np.array([a for a, _ in self.atoms])]
        w = [np.array([mass for _, mass in self.atoms])]
        for part in self.components:
            at, mass = part.nodes
            y.append(at)
            w.append(mass)
        y, w = np.concatenate(y), np.concatenate(w)
        if not len(y):
            return float("nan"), float("nan")
        mean = float(w @ y / np.sum(w))
        return mean, float(w @ (y - mean) ** 2 / np.sum(w))


def _reached(y: float) -> float:
    """From where on a value counts as `y`, whose `s` is only known to rounding."""
    return y - 4 * EPS * (1 + abs(y))
