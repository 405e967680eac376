"""A law of singular values on one interval: density, distribution function and quantiles."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.criticality import checked_numbers
from meanfield.precision import EPS

__all__ = ["CurveLaw", "solved"]

Array = NDArray[np.float64]
Complex = Any  # arrays of complex128, which NumPy's stubs lose in every operation

_HALVINGS = 100
_STEPS = 60
_LEAST = -1e17  # log x below which no probability is left


class CurveLaw(ABC):
    """What laws on one interval of `s`, with perhaps atoms beside it, have in common.

    A subclass says where its edges and atoms are, gives a table, and what holds at a point.
    """

    @property
    @abstractmethod
    def log_edges(self) -> tuple[float, float]:
        """`log x` at both ends of the interval; `-inf` where it goes down to 0."""

    @property
    @abstractmethod
    def atoms(self) -> Array:
        """`(s, mass)` in order of `s`, none inside the interval; shape (k, 2)."""

    @property
    @abstractmethod
    def table(self) -> tuple[Array, Array]:
        """Values of `log x` inside, from the top down, and `P(x' > x)` there; shape (n,)."""

    @abstractmethod
    def at(self, log_x: Array) -> tuple[Array, Array]:
        """Density of `log x`, and `P(x' > x)`, inside the interval; all of shape (n,)."""

    @property
    def support(self) -> Array:
        """The interval of `s` on which the density is positive; shape (1, 2)."""
        return np.exp(0.5 * np.array([self.log_edges]))

    @property
    def s_max(self) -> float:
        """The largest singular value."""
        return float(max([self.support[0, 1], *self.atoms[:, 0]]))

    @property
    def condition_number(self) -> float:
        """The largest singular value over the smallest; inf where they go down to 0."""
        low = float(min([self.support[0, 0], *self.atoms[:, 0]]))
        return self.s_max / low if low else np.inf

    def log_density(self, log_s: ArrayLike) -> Any:
        """Density of `log s`, the atoms apart; a number or an array like `log_s`."""
        log_x = 2 * checked_numbers("log_s", log_s)
        return _like(log_x, 2 * self._anywhere(log_x.ravel())[0])

    def density(self, s: ArrayLike) -> Any:
        """Density of `s`, the atoms apart; a number or an array like `s`."""
        values = checked_numbers("s", s)
        positive = np.where(values > 0, values, 1.0).ravel()
        density = 2 * self._anywhere(2 * np.log(positive))[0] / positive
        return _like(values, np.where(values.ravel() > 0, density, 0.0))

    def cdf(self, s: ArrayLike) -> Any:
        """`P(s' <= s)`, the atoms included; a number or an array like `s`."""
        values = checked_numbers("s", s)
        positive = np.where(values > 0, values, 1.0).ravel()
        below = 1 - self._anywhere(2 * np.log(positive))[1]
        at_zero = float(np.sum(self.atoms[self.atoms[:, 0] == 0, 1]))
        at_most_zero = np.where(values.ravel() == 0, at_zero, 0.0)
        return _like(values, np.where(values.ravel() > 0, np.clip(below, 0.0, 1.0), at_most_zero))

    def quantile(self, p: ArrayLike) -> Any:
        """The least `s` with `cdf(s) >= p`; a number or an array like `p`.

        Raises:
            ValueError: `p` is not in [0, 1].
        """
        values = checked_numbers("p", p)
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(f"p: a probability must be in [0, 1], got {p!r}")
        # one on top of the other: atoms below the interval, the interval, atoms above it
        places, masses = self.atoms.T
        first = int(np.sum(places <= self.support[0, 0]))
        tops = np.cumsum(np.insert(masses, first, 1 - np.sum(masses)))
        tops[-1] = 1.0
        which = np.searchsorted(tops, values.ravel())
        result = np.insert(places, first, 0.0)[which]
        inside = which == first
        if np.any(inside):
            result[inside] = self._inverse(1 - values.ravel()[inside])
        return _like(values, result)

    def _inverse(self, above: Array) -> Array:
        """The `s` in the interval with `P(s' > s)` as given: Newton's method in a bracket."""
        (known, reached), edges = self.table, self.log_edges
        ends = np.concatenate([[edges[1]], known, [max(edges[0], _LEAST)]])
        cell = np.searchsorted(reached, above)
        high, low = ends[cell], ends[cell + 1]
        log_x = 0.5 * (low + high)
        for _ in range(_HALVINGS):
            density, reached = self._anywhere(log_x)
            low = np.where(reached >= above, log_x, low)
            high = np.where(reached >= above, high, log_x)
            with np.errstate(all="ignore"):
                new = log_x + (reached - above) / density
            new = np.where((new > low) & (new < high), new, 0.5 * (low + high))
            moved, log_x = np.abs(new - log_x), new
            if np.all(moved <= 4 * EPS * np.maximum(np.abs(new), 1.0)):
                break
        return np.exp(0.5 * log_x)

    def _anywhere(self, log_x: Array) -> tuple[Array, Array]:
        """Density of `log x` and `P(x' > x)`, in the interval or not."""
        low, high = self.log_edges
        places, masses = self.atoms.T
        with np.errstate(divide="ignore"):
            above = (log_x[:, None] < 2 * np.log(places)) @ masses
        above += np.where(log_x <= low, 1 - np.sum(masses), 0.0)
        density = np.zeros(len(log_x))
        inside = (log_x > low) & (log_x < high)
        if np.any(inside):
            density[inside], above[inside] = self.at(log_x[inside])
        return density, above


def solved(
    both: Callable[[Complex], tuple[Complex, Complex]], log_x: Array, start: Complex
) -> Complex:
    """The `w` above the axis with `F(w) = log x`, by Newton's method; `both` gives `F` and `F'`."""
    w = start
    for _ in range(_STEPS):
        F, slope = both(w)
        step = (F - log_x) / slope
        # on the axis, or below it, it would stay
        new = w - step
        w = np.where(new.imag > 0, new, new.real + 0.5j * w.imag)
        if np.all(np.abs(step) <= 4 * EPS * np.maximum(np.abs(w), 1.0)):
            break
    return w


def _like(shape: Array, values: Array) -> Any:
    return float(values[0]) if shape.ndim == 0 else values.reshape(shape.shape)
