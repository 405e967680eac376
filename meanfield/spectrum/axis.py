"""The axis of `y = log s^2`, and the way to it from the negative axis of `z`, where all is real."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.errors import UnresolvedError
from meanfield.spectrum.coupled import Product
from meanfield.spectrum.law import SlopeLaw

__all__ = ["Axis", "Points"]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Complex = Any  # an array of complex128

_REACH = 28.0  # exp(-28): less probability cannot be seen
_TABLE = 257
_FAR = 300.0
_HALVINGS = 64
# arguments of z: evenly at first, then down to the axis, from which a solution may keep away like
# a root of them
_TURNS = np.concatenate([np.linspace(np.pi, 0.1, 20)[1:], np.geomspace(0.03, 1e-5, 8), [0.0]])
_REAL = 1e-6  # an angle


@dataclass(frozen=True, eq=False)
class Points:
    """Solutions at ascending `y`, and what is known there."""

    y: Array
    state: Complex  # columns
    gap: Flags  # whether there is a gap
    above: Array  # P(log s^2 > y)

    def __getitem__(self, chosen: Any) -> "Points":
        return Points(self.y[chosen], self.state[:, chosen], self.gap[chosen], self.above[chosen])

    def and_(self, other: "Points") -> "Points":
        """Both, in order."""
        y = np.concatenate([self.y, other.y])
        order = np.argsort(y)
        return Points(
            y[order], np.hstack([self.state, other.state])[:, order],
            np.concatenate([self.gap, other.gap])[order],
            np.concatenate([self.above, other.above])[order],
        )  # fmt: skip


class Axis:
    """The axis of `log z`, and the way to it from the negative one, where all is real."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.negative = _negative(product)

    def points(self, y: Array) -> Points:
        """Solutions at `y` by turning the argument of `z`; those not found left out."""
        known, rows = self.negative
        state: Any = np.array([np.interp(y, known, row) for row in rows])
        found = np.ones(len(y), bool)
        for angle in _TURNS:
            # off the axis, where it starts
            state[0].imag = np.maximum(state[0].imag, -np.pi + 1e-3)
            state[1:].imag = np.minimum(state[1:].imag, np.pi - 1e-3)
            self.refine(state[:, found])
            state, found = self.product.solved(y + 1j * angle, state)
        return self.known(y[found], state[:, found])

    def near(self, y: Array, guess: Complex) -> Points:
        """Solutions at all `y`, from guesses, with laws that are resolved there.

        Raises:
            UnresolvedError: one was not found.
        """
        state, found = self.product.solved(y + 0j, guess)
        if self.refine(state[:, found]):
            state, found = self.product.solved(y + 0j, state)
        missed = np.flatnonzero(~found)
        if len(missed):
            other = self.points(y[missed])
            if len(other.y) < len(missed):
                lost = np.setdiff1d(y[missed], other.y)[0]
                raise UnresolvedError(
                    f"layers: the spectrum is not resolved near log s = {0.5 * lost:.6g}; ask for "
                    "fewer layers"
                )
            state[:, missed] = other.state
        return self.known(y, state)

    def refine(self, state: Complex) -> bool:
        """Resolve the laws of slopes at a state; whether that changed them."""
        before, self.product = self.product, self.product.refined(state)
        return self.product is not before

    def known(self, y: Array, state: Complex) -> Points:
        """Solutions with what follows from them."""
        angle = -state[0].imag
        gap = np.minimum(angle, np.pi - angle) < _REAL
        for kind, log_u in zip(self.product.kinds, state[1:], strict=True):
            # where slopes are as rare as one likes, but are there, it is no gap
            u, (low, high) = np.exp(log_u.real), kind.law.bands.T
            within = (u[:, None] > low) & (u[:, None] < high) & (np.abs(log_u.imag[:, None]) < 1)
            gap &= ~np.any(within, axis=1)
        return Points(y, state, gap, self.product.above(state))


def _negative(product: Product) -> tuple[Array, Complex]:
    """The negative axis of `z`, from far out to zero: `log(-z)` and what belongs to it."""
    t = np.linspace(-_REACH, _REACH, _TABLE)
    state = [-t - 1j * np.pi]
    for kind, share in zip(product.kinds, product.shares, strict=True):
        part, rest = -share / (1 + np.exp(t)), 1 - share + share / (1 + np.exp(-t))
        state.append(np.log(_inverse(kind.on, part, rest)) + 1j * np.pi)
    y = product.equations(np.array(state)).log_z.real
    rising = np.append(True, np.diff(np.maximum.accumulate(y)) > 0)
    return y[rising], np.array(state)[:, rising]


def _inverse(law: SlopeLaw, m: Array, n: Array) -> Array:
    """`|u|` with `M(u) = m` on the negative axis, on which `M` falls, by bisection."""
    a, b = np.full(len(m), -_FAR), np.full(len(m), _FAR)
    for _ in range(_HALVINGS):
        t = 0.5 * (a + b)
        there = law.transforms(np.log(law.mean) + t + 1j * np.pi)
        further = ~np.where(np.abs(m) < np.abs(n), there[0].real > m, there[1].real > n)
        a, b = np.where(further, t, a), np.where(further, b, t)
    return law.mean * np.exp(0.5 * (a + b))
