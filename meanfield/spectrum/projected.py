r"""The law of slopes that weights of low rank see: `X = phi'^2` between two free projections.

With `W = C P`, `C` of orthonormal columns, each layer multiplies by `P D C`: weights of full rank,
and slopes that are projected. In their transform that is one step of subordination,

    m'(v) = m(u),    v = u (r + m)/n = u - (1 - r) u/n,    r the rank over the width,

from where all is as for other laws of slopes: in `v` each circle meets the curve once, in `u` not.
Towards `v = 0`, where the lost rank is, `r + m` cancels; it is not needed where `v` is known.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.precision import EPS
from meanfield.spectrum.edges import gaps
from meanfield.spectrum.law import SlopeLaw
from meanfield.spectrum.slope import LEVEL

__all__ = ["Projected"]

Array = NDArray[np.float64]
Complex = Any  # an array of complex128

_ITERATIONS = 100
_CLOSE = 1e-9  # a step of Newton's method, relative, after which the next one is rounding
_LOWERED = 0.01  # an imaginary part, where it would change its sign
_FALLING = 0.1  # of steps, where it converges as it should
_ROUNDING = 4 * EPS
_FAR = 200.0  # of log |u|
_INSIDE = 1e-14  # of a gap, relative
_LEAST = 1e-290


@dataclass(frozen=True, eq=False)
class Projected:
    """A law of slopes after projections of relative rank `ratio`; asked like a `SlopeLaw`."""

    law: SlopeLaw
    ratio: float

    @property
    def _lost(self) -> float:
        return 1 - self.ratio

    @property
    def zero(self) -> float:
        """The probability of 0."""
        return max(self.law.zero, self._lost)

    @property
    def at_zero(self) -> float:
        """The same with that of what is too small to be told from it."""
        return max(self.law.at_zero, self._lost)

    @property
    def hidden(self) -> float:
        """The probability of what is not 0 in `X`, and too small to be told from it."""
        return self.law.hidden

    @property
    def mean(self) -> float:
        """`r E[X]`."""
        return self.ratio * self.law.mean

    @cached_property
    def atoms(self) -> Array:
        """What is left of (value, probability) of atoms of `X`, be it 0: a singularity."""
        value, left = (self.law.atoms - np.array([0.0, self._lost])).T
        left[np.abs(left) <= _ROUNDING] = 0.0
        return np.column_stack([value, left])[left >= 0]

    @property
    def shoulders(self) -> Array:
        """Values from where on one is of an atom, which has come nearer to them."""
        x, mass = self.law.atoms[self.law.atoms[:, 1] > self._lost].T
        off = self.law.shoulders[:, None] - x
        return (x + off * (1 - self._lost / mass))[np.abs(off) < 4 * LEVEL * x]

    @cached_property
    def bands(self) -> Array:
        """Smallest intervals that hold all but 0, in order."""
        return self._bands(self.law.bands)

    @cached_property
    def seen(self) -> Array:
        """The same of what has a probability that can be seen."""
        return self._bands(self.law.seen)

    @cached_property
    def roots(self) -> Array:
        """Ends of bands at which the density is a square root: all but those that `X` has."""
        walls = self._v(np.concatenate([self.law.bands.ravel(), self.law.seen.ravel()]))
        return np.setdiff1d(np.concatenate([self.bands.ravel(), self.seen.ravel()]), walls)

    def _bands(self, bands: Array) -> Array:
        """What lies between the gaps, which are intervals of real `u` with `dv/du > 0`."""

        def margin(log_u: Array) -> Array:
            v, rate = self._on_axis(np.exp(log_u))
            return np.where(np.isfinite(rate) & (v > 0), rate, -1.0)

        poles = self._poles(bands)
        ends = list(np.ravel(gaps(margin, np.sort(np.vstack([bands, poles]), axis=0))))
        if ends and ends[0] == 0:  # the lowest one goes on to v = 0, if at u < 0
            low = []
        elif self.law.at_zero < self._lost:
            low = [self._below_zero()]
        else:
            low = [0.0]
        ends = np.maximum(self._v(np.array([*low, *ends[not low :]])), 0.0)
        ends = ends[:-1] if ends[-1] == np.inf else np.append(ends, np.inf)
        return ends.reshape(-1, 2)

    @np.errstate(all="ignore")
    def _on_axis(self, u: Array) -> tuple[Array, Array]:
        """`v` and `dv/du` outside of `X`."""
        _, n, _, second = self.law.sums(np.log(u + 0j))
        return u - self._lost * (u / n.real), 1 - self._lost * second.real / n.real**2

    def _poles(self, bands: Array) -> Array:
        """Where `v` has one, as intervals: `E[1/(u - X)]` falls in each gap, and may be 0."""
        from scipy.optimize import brentq

        def n(u: float) -> float:
            return float(self.law.sums(np.log([u + 0j]))[1].real[0])

        ends = np.append(0.0, bands.ravel())[:-1].reshape(-1, 2)
        inside = [(low * (1 + _INSIDE), high * (1 - _INSIDE)) for low, high in ends.tolist()]
        inside = [(max(low, _LEAST), high) for low, high in inside if max(low, _LEAST) < high]
        found: Any = [brentq(n, *ab, xtol=_LEAST) for ab in inside if n(ab[0]) > 0 > n(ab[1])]
        return np.repeat(found, 2).reshape(-1, 2)

    def _v(self, u: Array) -> Array:
        """Of ends of gaps; at atoms of `X` it is `u`."""
        v, _ = self._on_axis(u)
        return np.where(np.isfinite(v), v, u)

    def _below_zero(self) -> float:
        """The `u < 0` with `dv/du = 0`."""
        from scipy.optimize import brentq

        def rate(t: float) -> float:
            return float(self._on_axis(-np.exp(np.array([t])))[1][0])

        ends = np.log(self.law.mean) + np.array([-_FAR, _FAR])
        root: Any = ends[0] if rate(ends[0]) >= 0 else brentq(rate, *ends, xtol=1e-14)
        return -float(np.exp(root))

    def refined(self, v: Complex) -> "Projected":
        """The law on panels that resolve all at every `v`; itself if they do."""
        law = self.law.refined(self._u(np.asarray(v, complex)))
        return self if law is self.law else Projected(law, self.ratio)

    @np.errstate(all="ignore")  # at an atom nothing is finite
    def transforms(self, log_v: Complex) -> tuple[Complex, Complex, Complex]:
        """`m`, `n = 1 + m` and `v dm/dv`, above the axis or on its upper side."""
        v = np.exp(log_v)
        u = self._u(v)
        m, n, first, second = self.law.sums(np.log(u))
        rest = v * (n / u)  # r + m, of which all digits are known
        small = np.abs(rest) < np.abs(m)
        m.imag, n.imag = np.where(small, [rest.imag] * 2, [m.imag, n.imag])
        for sum_ in (m, n):  # what rounding puts above the axis
            sum_.imag[sum_.imag >= 0] = -0.0
        return m, n, -first * (v / u) / (1 - self._lost * second / n**2)

    @np.errstate(all="ignore")
    def _u(self, v: Complex) -> Complex:
        """Newton's method, and where it leaves the half plane the map that has `u` as fixed point.

        That is `u -> v + (1 - r)/E[1/(u - X)]`, which converges everywhere, though slowly.
        """
        scale = self.law.mean
        u = (v - self._lost * scale) / self.ratio
        u = u.real + 1j * (np.abs(u.imag) + 0.5 * scale)
        before, active = np.full(len(v), np.inf), np.arange(len(v))
        for _ in range(_ITERATIONS):
            now, aim = u[active], v[active]
            _, n, _, second = self.law.sums(np.log(now))
            inverse = self._lost * (now / n)
            off = aim + inverse - now
            step = off / (1 - self._lost * second / n**2)
            new, size = now + step, np.abs(step) / np.abs(now)
            inside = new.imag > -now.imag - _ROUNDING * np.abs(new)
            known = np.abs(off) <= _ROUNDING * (np.abs(now) + np.abs(inverse))
            known |= inside & (size < _CLOSE) & (size <= _FALLING * before[active])
            new.imag = np.maximum(new.imag, np.where(known, 0.0, _LOWERED * now.imag))
            new = np.where(inside | known, new, aim + inverse)
            finite = np.isfinite(new)
            u[active[finite]] = new[finite]
            before[active] = np.where(inside, size, np.inf)
            active = active[~known & finite]
            if not len(active):
                break
        return u
