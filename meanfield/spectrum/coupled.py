r"""Layers that differ: the product of their S-transforms, solved for all of its unknowns at once.

Layer `l` has `n_l` units, slopes `X_l` and weights of shape `(n_l, n_(l-1))`. Non-zero singular
values are counted alike in every layer, so `m_l = (n_0 / n_l) m`, and with `M_l(u_l) = m_l`

    log z = log((1 + m)/m) + sum_l [ log u_l + log(m_l / (1 + m_l)) - log S_W(m_(l-1), l) ]

where Gaussian weights have `S_W = 1 / (weight_var (a + m_(l-1)))`, `a = n_l / n_(l-1)`, and
orthogonal ones `(1 + m) / (weight_var (a + m))` if `a <= 1`, else `1 / (weight_var a)`.

The unknowns are every `log u_l` and `w = log(t/(1 + t))`, where `m = r t` with `r` the rank of the
Jacobian over `n_0`: towards `z = 0`, where `m` comes to `-r`, that loses no digits.

With `z` in the upper half plane every `u_l` is there too and `m` is in the lower one, and there is
only one such solution: the fixed point of an analytic map of a half plane into itself (Belinschi &
Bercovici 2007, J. Anal. Math. 101). So what Newton's method finds off the axis is right.

What lies above `z = x` follows without an integral over `x`: `P(s^2 > x) = Im K / pi`, where

    K = int m dlog z
      = -log(1 + m) + sum_l (n_l/n_0) [E log(1 - X_l/u_l) + log(1 + m_l) - int m_l dlog S_W].
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.ensembles import Ensemble, Gaussian, LowRank, Orthogonal, OrthogonalLowRank
from meanfield.spectrum.law import SlopeLaw

__all__ = ["DEFICIENT", "Kind", "Product"]

Array = NDArray[np.float64]
Complex = Any  # an array of complex128

DEFICIENT = LowRank, OrthogonalLowRank  # whose rank is less than their width
_ITERATIONS = 80
_CLOSE = 1e-11
_ON_AXIS = 1e-5  # an angle
_STRIDE = 0.5
_SAME = 1e-14
# nodes of the double exponential rule on (0, 1), which minds no logarithm at an end
_T = 0.1 * np.arange(-32, 33)
_PART = 1 / (1 + np.exp(-np.pi * np.sinh(_T)))
_REST = _PART[::-1]
_WEIGHT = 0.1 * np.pi * np.cosh(_T) * _PART * _REST


@dataclass(frozen=True, eq=False)
class Kind:
    """Layers that are alike: how many, and what they do."""

    count: int
    law: SlopeLaw
    ensemble: Ensemble
    log_weight_var: float
    share: float  # n_0 / n_l
    ratio: float  # n_l / n_(l-1)

    @property
    def rank(self) -> float:
        """That of square weights over their width."""
        return self.ensemble.ratio if isinstance(self.ensemble, DEFICIENT) else 1.0

    @property
    def kept(self) -> float:
        """The part of their input on which weights are a multiple of an isometry."""
        if isinstance(self.ensemble, OrthogonalLowRank):
            return self.ensemble.ratio
        return min(1.0, self.ratio) if isinstance(self.ensemble, Orthogonal) else 0.0

    @cached_property
    def on(self) -> SlopeLaw:
        """The law of those slopes that are not 0."""
        law, share = self.law, 1 - self.law.at_zero
        atoms = law.atoms / np.array([1.0, share])
        return replace(law, zero=0.0, atoms=atoms, density=law.density / share)

    @property
    def spread(self) -> float:
        """What such a layer adds to `Var(s^2) / E[s^2]^2`."""
        one = np.ones(1, complex)
        weights = self.weights(0 * one, one)[1].real[0]
        if isinstance(self.ensemble, DEFICIENT):
            weights += 1 / self.rank
        return self.share * (self.law.spread + float(weights))

    def weights(self, m: Complex, n: Complex) -> tuple[Complex, Complex]:
        """`-log S_W` without `weight_var`, and its derivative, by `m_l` and `1 + m_l`.

        Without `log((rank + m) / rank)`, if the rank is deficient.
        """
        a, nothing = self.ratio, np.zeros(m.shape, complex)
        if isinstance(self.ensemble, Gaussian):
            return np.log(a * n), 1 / n
        if isinstance(self.ensemble, LowRank):
            return nothing, nothing
        if isinstance(self.ensemble, OrthogonalLowRank):
            return -np.log(n), -1 / n
        if a == 1:
            value: Any = -self.ensemble.log_s(m, n)
            real = m.imag == 0  # below the axis, whatever became of the sign of 0
            value.imag[real] = -np.abs(value.imag[real])
            return value, -self.ensemble.log_s_slope(m, n)
        if a > 1:
            return nothing + np.log(a), nothing
        before = _below(1 + a * m)
        return np.log(a * n) - np.log(before), 1 / n - a / before

    def integral(self, m: Complex, n: Complex, left: Complex) -> Complex:
        """`-int m dlog S_W` over `m_l` from 0, on a path below the axis; `left = rank + m`."""
        a, r = self.ratio, self.rank
        if isinstance(self.ensemble, Gaussian):
            return m - np.log(n)
        if isinstance(self.ensemble, LowRank):
            return m - r * np.log(left)
        if isinstance(self.ensemble, OrthogonalLowRank):
            return np.log(n) - r * np.log(left)
        if isinstance(self.ensemble, Orthogonal):
            return (
                np.log(_below(1 + a * m)) / a - np.log(n) if a < 1 else np.zeros(m.shape, complex)
            )
        size = np.abs(m)[:, None]
        sag = 1j * size * _PART * _REST
        path, one = m[:, None] * _PART - sag, n[:, None] - m[:, None] * _REST - sag
        speed = m[:, None] - 1j * size * (_REST - _PART)
        slope = -self.ensemble.log_s_slope(path, one)
        return (path * slope * speed) @ _WEIGHT


class Equations(NamedTuple):
    """`log z`, and what Newton's method needs beside it."""

    log_z: Complex
    by_w: Complex
    by_u: Complex  # derivatives by each log u
    misfit: Complex  # of each u: logarithms of its transform less what it should be
    rate: Complex  # derivatives of these by log u
    pull: Complex  # and, negative, by w


@dataclass(frozen=True, eq=False)
class Product:
    """Layers of several kinds."""

    kinds: tuple[Kind, ...]

    @cached_property
    def zero(self) -> float:
        """The probability of 0: what the narrowest layer loses of the input."""
        left = [min(1 - k.law.at_zero, k.rank) / k.share for k in self.kinds]
        return max(0.0, 1 - min(left))

    @cached_property
    def shares(self) -> list[float]:
        """`t_l / t`, where `m_l = (1 - P(X_l = 0)) t_l`: 1 of the layers with the least rank."""
        found = [k.share * (1 - self.zero) / (1 - k.law.at_zero) for k in self.kinds]
        return [1.0 if abs(share - 1) < _SAME else share for share in found]

    def refined(self, state: Complex) -> "Product":
        """With laws of slopes that are resolved at a state; itself if they are."""
        kinds = tuple(
            replace(kind, law=kind.law.refined(np.exp(log_u)))
            for kind, log_u in zip(self.kinds, state[1:], strict=True)
        )
        changed = any(a.law is not b.law for a, b in zip(kinds, self.kinds, strict=True))
        return Product(kinds) if changed else self

    def transforms(self, w: Complex) -> tuple[Complex, Complex, Complex]:
        """`log t`, `1 + t` and `1 + m` at `w`, on the lower side of the axis."""
        inverse = -np.expm1(w)  # of 1 + t, above the axis
        inverse.imag = np.abs(inverse.imag)
        rest = _below(1 / inverse)
        n = _below(self.zero + (1 - self.zero) * rest)
        return w - np.log(inverse), rest, n

    @np.errstate(all="ignore")  # at an end of a law
    def equations(self, state: Complex) -> Equations:
        """The equations at `w` and the `log u`, the rows of `state`."""
        w, log_u = state[0], state[1:]
        log_t, rest, n = self.transforms(w)
        rank = 1 - self.zero
        log_z, by_w = np.log(n) - log_t - np.log(rank), -rest / n
        by_u, misfit, rate, pull = np.empty((4, *log_u.shape), complex)
        for k, (kind, share) in enumerate(zip(self.kinds, self.shares, strict=True)):
            t_k, rest_k, ut = kind.on.transforms(log_u[k])
            on = 1 - kind.law.at_zero
            m_k, n_k, um = on * t_k, kind.law.at_zero + on * rest_k, on * ut
            weights, slope = kind.weights(m_k, n_k)
            if isinstance(kind.ensemble, DEFICIENT):
                left = self._left(kind, rest)
                weights = weights + np.log(left / kind.rank)
                by_w = by_w + kind.count * rank * rest * (rest - 1) / left
            log_z = log_z + kind.count * (kind.log_weight_var + weights + log_u[k] + _log(m_k, n_k))
            by_u[k] = kind.count * (1 + um * (slope + 1 / (m_k * n_k)))
            if share == 1:  # then 1 + t is known as well as t
                misfit[k], rate[k], pull[k] = _log(t_k, rest_k) - w, ut / (t_k * rest_k), 1.0
            else:
                misfit[k] = np.log(t_k) - log_t - np.log(share)
                rate[k], pull[k] = ut / t_k, rest
        return Equations(log_z, by_w, by_u, misfit, rate, pull)

    def _left(self, kind: Kind, rest: Complex) -> Complex:
        """`rank + m`, which is next to nothing where the rank is the least, as is `1 + t`."""
        return _below(kind.rank - (1 - self.zero) + (1 - self.zero) * rest)

    def solved(self, target: Complex, guess: Complex) -> tuple[Complex, Any]:
        """States, in columns, at which `log z` is the target, and whether they were found."""
        state, active = guess.copy(), np.arange(len(target))
        for iteration in range(_ITERATIONS):
            now = state[:, active]
            at = self.equations(now)
            with np.errstate(all="ignore"):
                # each log u follows w: d log u = (pull dw - misfit) / rate
                gap = target[active] - at.log_z + np.sum(at.by_u * at.misfit / at.rate, axis=0)
                step = np.empty(now.shape, complex)
                step[0] = gap / (at.by_w + np.sum(at.by_u * at.pull / at.rate, axis=0))
                step[1:] = (at.pull * step[0] - at.misfit) / at.rate
            size = np.max(np.abs(step), axis=0)
            size[np.isnan(size)] = np.inf
            step[:, np.isinf(size)] = 0.0
            step *= np.minimum(1.0, _STRIDE / np.maximum(size, _CLOSE))
            new = now + step
            # m is below the axis and each u above it; in a gap they come to lie on it
            new[0].imag = -_kept(-new[0].imag, -now[0].imag)
            new[1:].imag = _kept(new[1:].imag, now[1:].imag)
            state[:, active] = new
            close = _CLOSE if iteration < _ITERATIONS // 2 else 1e3 * _CLOSE
            done = np.isfinite(size) & (np.max(np.abs(new - now), axis=0) <= close)
            active = active[~done]
            if not len(active):
                break
        found = np.ones(len(target), bool)
        found[active] = False
        return state, found

    @np.errstate(all="ignore")
    def above(self, state: Complex) -> Array:
        """`P(s^2 > x)`."""
        _, rest, n_0 = self.transforms(state[0])
        total = -np.log(n_0).imag
        for kind, log_u in zip(self.kinds, state[1:], strict=True):
            x, p = kind.law.nodes
            m, n, _ = kind.law.transforms(log_u)
            logs = np.log(np.exp(log_u)[:, None] - x) - log_u[:, None]
            part = logs @ p + np.log(n) + kind.integral(m, n, self._left(kind, rest))
            total = total + kind.count / kind.share * part.imag
        return total / np.pi


def _below(z: Complex) -> Complex:
    """Numbers on the lower side of the axis, whatever became of the sign of 0."""
    z.imag = -np.abs(z.imag)
    return z


def _log(m: Complex, n: Complex) -> Complex:
    """`log(m/n)`, by the imaginary part that both have, as the smaller knows it."""
    imag = np.where(np.abs(m) < np.abs(n), m.imag, n.imag)
    return np.log(np.abs(m / n)) + 1j * np.arctan2(imag, m.real * n.real + imag**2)


def _kept(new: Array, now: Array) -> Array:
    """Angles from 0 to pi: half the way to an end that was to be passed, or all of it."""
    for end, side in ((0.0, 1), (np.pi, -1)):
        beyond, left = side * (new - end) < 0, np.abs(now - end)
        new = np.where(beyond, np.where(left < _ON_AXIS, end, end + 0.5 * side * left), new)
    return new
