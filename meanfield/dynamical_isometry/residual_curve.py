"""The curve of a residual network in the plane of `log u`; `residual` has the formulas."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, reach_of
from meanfield.dynamical_isometry.curve import solved
from meanfield.ensembles import Ensemble
from meanfield.errors import UnresolvedError
from meanfield.legendre import WEIGHTS, nodes
from meanfield.sides import cut
from meanfield.spectrum.slope import SlopePieces, slope_pieces

__all__ = ["ResidualTransform", "Slopes", "Table", "slopes"]

Array = NDArray[np.float64]
Complex = Any  # arrays of complex128, which NumPy's stubs lose in every operation

_SIGMAS = 12
_CHANGE = 2.0  # of log X across a panel
_UNSEEN = 1e-30  # probability that is left out
_STEP = 0.1  # along the curve
_FALL = 0.2  # of log x in a step, times L + 1: towards 0 it is a power of what is left
_MOST_STEPS = 2000
_LEFT = 1e-11  # probability that is not followed: it is a multiple of 1 + M, which has 1e-16
_AT_ONCE = 1 << 18
_CLOSE = 1e-12  # to the largest X, relatively


class Slopes(NamedTuple):
    """The law of `X = phi'^2`: values above 0, their probabilities, and that of 0."""

    x: Array
    p: Array
    zero: float


def slopes(activation: Activation, q: float, parts: int, octaves: int = 0) -> Slopes:
    """The law at the variance `q`, on panels of `1 / parts` standard deviations at most.

    Towards zeros of `phi'` (and its kinks and extrema) they are graded over so many octaves.

    Raises:
        UnresolvedError: the activation ends, or its slope overflows, where the Gaussian has weight.
    """
    sigma = np.sqrt(q)
    pieces = slope_pieces(activation, reach_of(q))
    low, high = max(-_SIGMAS, pieces.left[0] / sigma), min(_SIGMAS, pieces.right[-1] / sigma)
    if min(-low, high) < 0.7 * _SIGMAS:
        raise UnresolvedError(activation.why_not(q, "the law of phi'^2"))
    ends = 2.0 ** -np.arange(octaves)
    near = (pieces.cuts[:, None] / sigma + np.concatenate([-ends, [0.0], ends])).ravel()
    cuts = np.concatenate([near, np.arange(-_SIGMAS, _SIGMAS + 1)])
    cuts = np.unique(np.clip(cuts, low, high))
    shares = np.arange(parts) / parts
    edges = np.append((cuts[:-1, None] + np.diff(cuts)[:, None] * shares).ravel(), cuts[-1])
    edges = _divided(pieces, sigma, edges)
    z = nodes(edges[:-1], edges[1:])
    weight = 0.5 * np.diff(edges)[:, None] * WEIGHTS * np.exp(-0.5 * z * z)
    x, where = np.unique(pieces.squared(sigma * z.ravel()), return_inverse=True)
    p = np.bincount(where, weight.ravel())
    p /= np.sum(p)
    seen = (x > 0) & (p > _UNSEEN)
    return Slopes(x[seen], p[seen], float(np.sum(p[~seen])))


def _divided(pieces: SlopePieces, sigma: float, edges: Array) -> Array:
    """Panels across which `log X` does not change by much: functions of `X / y` turn with it."""
    ends = np.array([pieces.squared(sigma * edges[:-1]), pieces.squared(sigma * edges[1:], -1)])
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(np.diff(np.log(ends), axis=0))[0]
    return cut(edges, np.where(np.isfinite(change), np.ceil(change / _CHANGE), 1.0))


class Point(NamedTuple):
    """What is known at `u`."""

    F: Complex
    slope: Complex  # dF / d log u
    M: Complex
    T: Complex


class Table(NamedTuple):
    """The density on `log x = ends[1] - (ends[1] - ends[0]) sin(alpha / 2)^2`.

    The `alpha` are midpoints of even steps, at which edges of a spectrum are smooth.
    """

    log_x: Array
    w: Complex
    T: Complex
    density: Array
    ends: tuple[float, float]
    reaches_zero: bool


@dataclass(frozen=True)
class ResidualTransform:
    """`depth` layers `skip + W D`, with weights of variance `weight_var`."""

    law: Slopes
    ensemble: Ensemble
    depth: int
    skip: float
    weight_var: float

    def at(self, w: Complex, near: Complex) -> Point:
        """At `u = e^w`, `0 <= Im w <= 2 pi`, and the root `T` that is nearer to `near`."""
        x, p, zero = self.law
        L, u = self.depth, np.exp(w)
        m, n, um = np.empty((3, len(w)), complex)
        step = max(1, _AT_ONCE // len(x))
        for i in range(0, len(w), step):
            part = slice(i, i + step)
            inverse = 1 / (u[part, None] - x)
            m[part], n[part] = inverse @ (p * x), zero + u[part] * (inverse @ p)
            um[part] = -u[part] * (inverse**2 @ (p * x))
        log_h = 2 * np.log(n) + self.ensemble.log_s(m, n) - w - np.log(self.weight_var)
        log_h_slope = um * (2 / n + self.ensemble.log_s_slope(m, n)) - 1
        T = np.sqrt(1 + 4 * self.skip**2 * np.exp(log_h))
        T = np.where((T * near.conj()).real < 0, -T, T)
        M = 0.5 * (T - 1) + m
        M_slope = 0.25 * (T - 1 / T) * log_h_slope + um
        F = (L + 1) * np.log(1 + M) + (L - 1) * np.log(M) - L * log_h
        slope = M_slope * ((L + 1) / (1 + M) + (L - 1) / M) - L * log_h_slope
        return Point(F, slope, M, T)

    def table(self, count: int) -> Table:
        """Follow the curve from the largest singular value to the smallest.

        Raises:
            UnresolvedError: it does not arrive.
        """
        known, T, log_x, reaches_zero = self._traced()
        T[0], T[-1] = T[1], T[-2]  # where all X are one, it is infinite at the edges
        ends = float(log_x[-1]), float(log_x[0])
        alpha = (np.arange(count) + 0.5) * (np.pi / count)
        wanted = ends[1] - (ends[1] - ends[0]) * np.sin(0.5 * alpha) ** 2
        place = np.arccos(np.clip(2 * (log_x - ends[0]) / (ends[1] - ends[0]) - 1, -1, 1))
        near = np.interp(alpha, place, T)

        def both(w: Complex) -> tuple[Complex, Complex]:
            nonlocal near
            F, slope, _, near = self.at(w, near)
            return F, slope

        w = solved(both, wanted, np.interp(alpha, place, known))
        density = -self.at(w, near).M.imag / np.pi
        return Table(wanted, w, near, density, ends, reaches_zero)

    def _traced(self) -> tuple[Any, ...]:
        """Points from edge to edge, `T` and `log x` there, and whether the last would be 0."""
        top = self._edge(0.0, 1, 1.0, float(np.log(self.law.x[-1])) + 1.0)
        w: Complex = np.array([top[0] + 1j * _STEP])
        found = [top]
        T = np.array([top[1] * (1 - 1j)])  # it turns below the axis
        for _ in range(_MOST_STEPS):
            for _ in range(2):
                point = self.at(w, T)
                w = w - 1j * point.F.imag / point.slope
            F, slope, M, T = self.at(w, T)
            found.append((complex(w[0]), complex(T[0]), float(F.real[0])))
            # towards 0 the density goes like x^(1/(L + 1)), so that this is left
            left = -M.imag[0] * (self.depth + 1) / np.pi
            if w.imag[0] < 1.5 * np.pi and left < _LEFT:
                return (*map(np.array, zip(*found, strict=True)), True)
            step = min(_STEP, _FALL * (self.depth + 1) / abs(slope[0]))
            middle = self.at(w - 0.5 * step * np.abs(slope) / slope, T).slope
            w = w - step * np.abs(middle) / middle
            around = w.imag[0] >= 2 * np.pi - 0.5 * step
            if around or w.imag[0] <= 0.5 * step:
                # above all X if the skip is the larger, below if the branch is
                end = (2 * np.pi, 1, -1.0) if around else (0.0, -1, 1.0)
                found.append(self._edge(*end, float(w.real[0])))
                return (*map(np.array, zip(*found, strict=True)), False)
        raise UnresolvedError(
            f"residual spectrum: its curve does not end within {_MOST_STEPS} steps; where most "
            "units are off it may have gaps: take a larger branch_var or more layers"
        )

    def _edge(
        self, angle: float, side: int, sign: float, near: float
    ) -> tuple[complex, complex, float]:
        """`log u`, `T` and `log x` where `F' = 0` at a real `u` above all `X`, or below.

        At the end of `X` if nowhere. Of the roots `T` it is the one of this sign.
        """
        from scipy.optimize import brentq

        end = float(np.log(self.law.x[-1 if side > 0 else 0])) + side * _CLOSE

        def at(t: Array) -> Point:
            return self.at(end + side * np.exp(t) + 1j * angle, np.full(len(t), sign + 0j))

        t = np.linspace(-27.0, 6.0, 133)
        D = at(t).slope.real
        known = np.abs(D) > _CLOSE * np.exp(-t)  # a difference of terms like 1 / (u - X)
        t, D = t[known], D[known]
        changes = np.flatnonzero(D[:-1] * D[1:] < 0)
        root: Any = -np.inf
        if len(changes):
            k = changes[np.argmin(np.abs(end + side * np.exp(t[changes]) - near))]
            root = brentq(lambda t: float(at(np.array([t])).slope.real[0]), t[k], t[k + 1])
        point = at(np.array([root]))
        return end + side * np.exp(root) + 1j * angle, complex(point.T[0]), float(point.F.real[0])
