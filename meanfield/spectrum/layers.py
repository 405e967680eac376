r"""Layers that differ: the product of their S-transforms, solved for all of its unknowns at once.

Layer `l` has `n_l` units, slopes `X_l` and weights of shape `(n_l, n_(l-1))`. Non-zero singular
values are counted alike in every layer, so `m_l = (n_0 / n_l) m`, and with `M_l(u_l) = m_l`

    log z = log((1 + m)/m) + sum_l [ log u_l + log(m_l / n_l) - log S_W(m_(l-1), l) ]

where Gaussian weights have `S_W = 1 / (weight_var (a + m_(l-1)))`, `a = n_l / n_(l-1)`, and
orthogonal ones `(1 + m) / (weight_var (a + m))` if `a <= 1`, else `1 / (weight_var a)`. The
unknowns are `log m` and every `log u_l`. On the negative axis all is real and monotone; from there
the argument of `z` is turned from `pi` to 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.ensembles import Ensemble, Gaussian, LowRank, OrthogonalLowRank
from meanfield.errors import UnresolvedError
from meanfield.legendre import ORDER, coefficients, nodes, tail
from meanfield.spectrum.component import Component, at_halves, halves
from meanfield.spectrum.distribution import Distribution
from meanfield.spectrum.law import SlopeLaw

__all__ = ["Kind", "layered_distribution"]

Array = NDArray[np.float64]
Complex = Any  # an array of complex128

_DEFICIENT = LowRank, OrthogonalLowRank
_ITERATIONS = 80
_CLOSE = 1e-11
_ON_AXIS = 1e-5  # an angle
_STRIDE = 0.5
_TURNS = 24  # steps of the argument of z
_SKETCH = 48
_PANELS = 8
_BISECTIONS = 9
_RESOLVED = 1e-11
_REACH = 28.0  # exp(-28): less probability cannot be seen
_FAR = 300.0
_DEEP = 32.0  # so near to a band that it is its end
_SCAN = 257
_HALVINGS = 64


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
    def rank_loss(self) -> float:
        """The probability of 0 of `W^T W`, beside what the ratio takes away."""
        return 1 - self.ensemble.ratio if isinstance(self.ensemble, _DEFICIENT) else 0.0

    def weights(self, m: Complex, n: Complex) -> tuple[Complex, Complex]:
        """`-log S_W` without `weight_var`, and its derivative, by `m_l` and `n_l`."""
        a = self.ratio
        if isinstance(self.ensemble, Gaussian):
            return np.log(a * n), 1 / n
        if a == 1:
            value: Any = -self.ensemble.log_s(m, n)
            real = m.imag == 0  # below the axis, whatever became of the sign of 0
            value.imag[real] = -np.abs(value.imag[real])
            return value, -self.ensemble.log_s_slope(m, n)
        if a > 1:
            return np.full(m.shape, np.log(a) + 0j), np.zeros(m.shape, complex)
        before = 1 + a * m
        return np.log(a * n) - np.log(before), 1 / n - a / before


def layered_distribution(kinds: list[Kind]) -> tuple[Distribution, float]:
    """The law of `log s^2` over the inputs, and a bound of the error of its distribution."""
    zero = max(0.0, 1 - min((1 - max(k.law.at_zero, k.rank_loss)) / k.share for k in kinds))
    negative = _negative(kinds, zero)
    low, high = _lower_edge(kinds, zero), _upper_edge(kinds)
    bottom = low if low > -np.inf else float(negative.y[-1])
    top = high if high < np.inf else float(negative.y[0])
    middle = np.linspace(0, np.pi, _SKETCH + 1)[1:-1]
    phi = np.concatenate([[1e-3, 1e-2], middle, [np.pi - 1e-2, np.pi - 1e-3]])
    kinds, state = _turned(kinds, top - (top - bottom) * np.sin(0.5 * phi) ** 2, negative)
    edges = np.linspace(0, np.pi, _PANELS + 1)
    left, right, done = edges[:-1], edges[1:], []
    at = nodes(left, right)
    guess = np.array([np.interp(at.ravel(), phi, row) for row in state])
    for generation in range(_BISECTIONS):
        target = top - (top - bottom) * np.sin(0.5 * at) ** 2
        found = _solved(kinds, target.ravel() + 0j, guess)
        rate = 0.5 * (top - bottom) * np.sin(at)
        density = ((1 / np.expm1(found[0])).imag / np.pi).reshape(at.shape)
        missed = tail(coefficients(rate * density)) * (right - left)
        good = (missed < _RESOLVED) | (generation == _BISECTIONS - 1)
        done.append([a[good] for a in (left, right, at, target, rate, density, missed)])
        if np.all(good):
            break
        left, right = halves(left[~good], right[~good])
        at = nodes(left, right)
        rows = found.reshape(len(found), -1, ORDER)[:, ~good]
        guess = np.array([_split(row.real) + 1j * _split(row.imag) for row in rows])
    left, right, *values, missed = (np.concatenate(part) for part in zip(*done, strict=True))
    order = np.argsort(left)
    component = Component.of(
        (bottom, top), np.append(left[order], np.pi), *(a[order] for a in values),
        soft=(low > -np.inf, high < np.inf), low=low, high=high, beyond=0.0,
        error=float(np.sum(missed)),
    )  # fmt: skip
    distribution = Distribution(zero, (component,))
    return distribution, component.error + distribution.missing


def _split(values: Array) -> Array:
    """Values at the nodes of both halves of panels, from those of the panels."""
    return at_halves(coefficients(values)).ravel()


class _Sum(NamedTuple):
    """`log z`, and what Newton's method needs beside it."""

    log_z: Complex
    by_u: Complex  # derivatives by each log u
    misfit: Complex  # of each u: logarithms of its transform less what it should be
    rate: Complex  # derivatives of these by log u
    pull: Complex  # and, negative, by log(m/n)


def _sum(kinds: list[Kind], state: Complex) -> _Sum:
    """The sum over layers at `log(m/n)` and the `log u`, the rows of `state`."""
    w, log_u = state[0], state[1:]
    log_m, n = w - np.log(-np.expm1(w)), -1 / np.expm1(w)
    log_z = -w
    by_u, misfit, rate, pull = np.empty((4, *log_u.shape), complex)
    for k, kind in enumerate(kinds):
        m_k, n_k, um = kind.law.transforms(log_u[k])
        weights, slope = kind.weights(m_k, n_k)
        imag = np.where(np.abs(m_k) < np.abs(n_k), m_k.imag, n_k.imag)
        angle = np.arctan2(imag, m_k.real * n_k.real + imag**2)
        ratio = np.log(np.abs(m_k / n_k)) + 1j * angle
        log_z = log_z + kind.count * (kind.log_weight_var + weights + log_u[k] + ratio)
        by_u[k] = kind.count * (1 + um * (slope + 1 / (m_k * n_k)))
        if kind.share == 1:  # then 1 + m is known as well as m
            misfit[k], rate[k], pull[k] = ratio - w, um / (m_k * n_k), 1.0
        else:
            misfit[k] = np.log(m_k) - log_m - np.log(kind.share)
            rate[k], pull[k] = um / m_k, n
    return _Sum(log_z, by_u, misfit, rate, pull)


def _solved(kinds: list[Kind], target: Complex, guess: Complex) -> Complex:
    """`log m` and the `log u`, in rows, at which `log z` is the target, by Newton's method."""
    state, active = guess.copy(), np.arange(len(target))
    for iteration in range(_ITERATIONS):
        now = state[:, active]
        with np.errstate(all="ignore"):
            at = _sum(kinds, now)
            # each log u follows log(m/n): d log u = (pull d log(m/n) - misfit) / rate
            gap = target[active] - at.log_z + np.sum(at.by_u * at.misfit / at.rate, axis=0)
            step = np.empty(now.shape, complex)
            step[0] = gap / (-1 + np.sum(at.by_u * at.pull / at.rate, axis=0))
            step[1:] = (at.pull * step[0] - at.misfit) / at.rate
        size = np.max(np.abs(step), axis=0)
        step[:, ~np.isfinite(size)] = 0.0
        step *= np.minimum(1.0, _STRIDE / np.maximum(size, _CLOSE))
        new = now + step
        # m and m/n stay below the axis and each u above it; in a gap they come to lie on it
        new[0].imag = _kept(new[0].imag, now[0].imag, -1)
        new[1:].imag = _kept(new[1:].imag, now[1:].imag, 1)
        state[:, active] = new
        close = _CLOSE if iteration < _ITERATIONS // 2 else 1e3 * _CLOSE
        active = active[np.max(np.abs(new - now), axis=0) > close]
        if not len(active):
            return state
    raise UnresolvedError(
        f"layers: the spectrum is not resolved near log s = {0.5 * target[active[0]].real:.6g}; "
        "ask for fewer layers"
    )


def _kept(new: Array, now: Array, side: int) -> Array:
    """Angles on one side of the axis."""
    beyond = side * new < 0
    return np.where(beyond, np.where(np.abs(now) < _ON_AXIS, 0.0, 0.5 * now), new)


class _Negative(NamedTuple):
    """The negative axis of `z`, from far out to zero: `log(-z)` and what belongs to it."""

    y: Array
    state: Complex


def _negative(kinds: list[Kind], zero: float) -> _Negative:
    # where it is the weights that lose directions, S_W sees no smaller a rest
    rest = [
        4 if kind.rank_loss > kind.law.at_zero else 2
        for kind in kinds
        if kind.rank_loss >= zero > 0
    ]
    t = np.linspace(-_REACH, _REACH / max(rest, default=1), _SCAN)
    m, n = -(1 - zero) / (1 + np.exp(-t)), zero + (1 - zero) / (1 + np.exp(t))
    state = [np.log(-m) - np.log(n) - 1j * np.pi]
    for kind in kinds:
        n_k = n if kind.share == 1 else 1 + kind.share * m
        state.append(np.log(_inverse(kind.law, m * kind.share, n_k, -np.inf, 0.0)) + 1j * np.pi)
    y = _sum(kinds, np.array(state)).log_z.real
    falling = np.append(True, np.diff(np.minimum.accumulate(y)) < 0)
    return _Negative(y[falling], np.array(state)[:, falling])


def _turned(kinds: list[Kind], y: Array, negative: _Negative) -> tuple[list[Kind], Complex]:
    """The state on the upper side of the positive axis, from that on the negative one.

    And the layers with laws that are resolved there.
    """
    order = np.argsort(negative.y)
    state: Any = np.array([np.interp(y, negative.y[order], row[order]) for row in negative.state])
    for angle in np.linspace(np.pi, 0, _TURNS + 1)[1:]:
        # off the axis, where it starts
        state[0].imag = np.maximum(state[0].imag, -np.pi + 1e-3)
        state[1:].imag = np.minimum(state[1:].imag, np.pi - 1e-3)
        kinds = [
            replace(kind, law=kind.law.refined(np.exp(log_u)))
            for kind, log_u in zip(kinds, state[1:], strict=True)
        ]
        state = _solved(kinds, y + 1j * angle, state)
    return kinds, state


def _inverse(law: SlopeLaw, m: Array, n: Array, low: float, high: float) -> Array:
    """`|u|` with `M(u) = m` on a part of the real axis on which `M` falls, by bisection."""
    a, b = np.full(len(m), -_FAR), np.full(len(m), _FAR)

    def place(t: Array) -> Array:
        if low == -np.inf:
            return -law.mean * np.exp(t)
        t = np.maximum(t, -_DEEP) if high == np.inf else np.minimum(t, _DEEP)
        return low * (1 + np.exp(t)) if high == np.inf else high / (1 + np.exp(-t))

    for _ in range(_HALVINGS):
        t = 0.5 * (a + b)
        there = law.transforms(np.log(place(t) + 0j))
        more = np.where(np.abs(m) < np.abs(n), there[0].real > m, there[1].real > n)
        # on the negative axis M rises with |u|, elsewhere it falls
        further = more != (low == -np.inf)
        a, b = np.where(further, t, a), np.where(further, b, t)
    return np.abs(place(0.5 * (a + b)))


def _upper_edge(kinds: list[Kind]) -> float:
    """`log x` at the upper edge: where `log z` first turns, from infinity; inf if there is none."""
    tops = [kind.law.bands[-1, 1] for kind in kinds]
    if max(tops) == np.inf:
        return np.inf

    def state_of(t: Array) -> Complex:
        m, n = np.exp(t), 1 + np.exp(t)
        rows = [np.log(m / n) + 0j]
        for kind, top in zip(kinds, tops, strict=True):
            u = _inverse(kind.law, m * kind.share, 1 + m * kind.share, top, np.inf)
            rows.append(np.log(u) + 0j)
        return np.array(rows)

    return _turning(kinds, state_of)


def _lower_edge(kinds: list[Kind], zero: float) -> float:
    """`log x` at the edge above 0: where `log z` first turns, from 0; -inf if there is no gap.

    Below `m = zero - 1` some of the `u` have come through 0 into a gap below all slopes.
    """

    @np.errstate(divide="ignore")  # of what is not taken
    def state_of(t: Array) -> Complex:
        m, n = zero - 1 - np.exp(t), zero - np.exp(t)
        rows = [np.log(np.abs(m / n)) - 1j * np.pi * (n > 0)]
        for kind in kinds:
            n_k = n if kind.share == 1 else 1 + kind.share * m
            through = n_k < kind.law.at_zero
            behind = _inverse(kind.law, m * kind.share, n_k, -np.inf, 0.0)
            u = _inverse(kind.law, m * kind.share, n_k, 0.0, kind.law.bands[0, 0])
            rows.append(np.where(through, np.log(u) + 0j, np.log(behind) + 1j * np.pi))
        return np.array(rows)

    near = state_of(np.array([-_REACH / 2]))
    blocked = [
        k.law.bands[0, 0] == 0 and u.imag == 0 for k, u in zip(kinds, near[1:, 0], strict=True)
    ]
    if any(blocked) or abs(_sum(kinds, near).log_z.imag[0]) > 1e-6:
        return -np.inf
    return _turning(kinds, state_of)


def _turning(kinds: list[Kind], state_of: Callable[[Array], Complex]) -> float:
    """`log z` where it turns first, of real states along a parameter."""
    from scipy.optimize import brentq

    def slope(t: Array) -> Array:
        """Negative until it turns: the slope, away from where m/n is 1."""
        with np.errstate(all="ignore"):
            state = state_of(t)
            at = _sum(kinds, state)
            side = np.where(state[0].imag == 0, 1.0, -1.0)
            return side * (-1 + np.sum(at.by_u * at.pull / at.rate, axis=0)).real

    t = np.linspace(-_REACH, _REACH, _SCAN)
    turned = ~(slope(t) < 0)
    if not np.any(turned):
        return float(_sum(kinds, state_of(t[-1:])).log_z.real[0])
    # next to where it starts there is but rounding
    k = (
        int(np.flatnonzero(turned & (t > -0.7 * _REACH))[0])
        if np.any(turned[t > -0.7 * _REACH])
        else 1
    )
    ends = [float(slope(t[i : i + 1])[0]) for i in (k - 1, k)]
    if ends[0] < 0 < ends[1]:
        root: Any = brentq(lambda t: slope(np.array([t]))[0], t[k - 1], t[k], xtol=1e-12)
    else:
        root = t[k - 1]
    return float(_sum(kinds, state_of(np.array([root]))).log_z.real[0])
