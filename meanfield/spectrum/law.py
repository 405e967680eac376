r"""The law of `X = phi'(z)^2`, `z ~ N(0, q)`, as nodes and weights for `E[f(X)]`, `f` analytic.

Where `X` has a density its transform `E[X / (u - X)]` has poles on the path of integration as `u`
in the upper half plane comes down to the axis. The path is moved out of their way: between the
kinks of the activation and the zeros and extrema of `phi'` it runs where `X` is in the lower half
plane. Gauss-Legendre panels on it then give nodes and weights that are complex, and the transform
up to the axis, whether `X` has much mass there or next to none.

Pieces on which `phi'` is constant are atoms, of exact probability.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, log2, sqrt
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import LEAST_REACH, Activation
from meanfield.errors import UnresolvedError
from meanfield.legendre import TO_COEFFICIENTS, WEIGHTS
from meanfield.spectrum.bands import beyond, union
from meanfield.spectrum.path import SIGMAS, on_panels, panels
from meanfield.spectrum.slope import LEVEL, SlopePieces, slope_pieces
from meanfield.spectrum.sums import Sums

__all__ = ["SlopeLaw", "slope_law"]

Array = NDArray[np.float64]
Complex = Any  # an array of complex128

_RESOLVED = 1e-14
_NEGLIGIBLE = 1e-18
_TINIEST = 1e-290  # which times a probability is not yet 0
_SMALLEST = 1e-280  # what is less is not followed
_ROUNDING = 1e-14
_SETTLED = 1e-9
_NARROWEST = 1e-14  # standard deviations: less is rounding
_LEAST_SEEN = 8.5  # standard deviations that an activation must go on for
_AT_ONCE = 1 << 12  # pairs of points and panels
_NEAR = 8.0  # radii of the values on a panel: poles farther out are no matter to 16 nodes
_LAST = TO_COEFFICIENTS[:, -2:].astype(complex)
_HALVINGS = 60
_MOST_PANELS = 1 << 11


@dataclass(frozen=True, eq=False)
class SlopeLaw:
    """A law on `[0, inf)`: atoms, and nodes of what is continuous.

    Attributes:
        zero: probability of 0.
        atoms: (value, probability) of the others, shape (k, 2).
        left, right: panels in units of the standard deviation of `z`.
        value: `X` at their nodes, shape (panels, 16).
        density: of `z` there.
        bands: smallest intervals that hold all of `X` but 0, in order, shape (bands, 2); the end
            of the last can be infinite.
        seen: the same of what has a probability that can be seen.
        turns: values at the kinks of the activation, the extrema of `phi'` and far out, in order.
    """

    pieces: SlopePieces
    sigma: float
    zero: float
    atoms: Array
    left: Complex
    right: Complex
    value: Complex
    density: Complex
    bands: Array
    seen: Array
    turns: Array
    roots: ClassVar = ()  # ends of bands at which a density is a square root: it is none

    @cached_property
    def nodes(self) -> tuple[Array, Array]:
        """Values other than 0 and their weights, both complex; each value once."""
        weight = 0.5 * (self.right - self.left)[:, None] * WEIGHTS * self.density
        x = np.concatenate([self.value.ravel(), self.atoms[:, 0]])
        w = np.concatenate([weight.ravel(), self.atoms[:, 1]])
        # the transform far out is `E[X] / u`, and near zero `-1 - u E[1/X]`
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            size, mean = np.abs(x), abs(w @ x)
            kept = np.abs(w) * (1 + size / mean + mean / size) > _NEGLIGIBLE
        kept &= size > _TINIEST * mean
        order = np.argsort(np.abs(x[kept]))
        x, w = x[kept][order], w[kept][order]
        # an even activation gives each value twice
        start = np.flatnonzero(np.append(True, np.abs(np.diff(x)) > 1e-14 * np.abs(x[1:])))
        return x[start], np.add.reduceat(w, start)

    @property
    def shoulders(self) -> Array:
        """Values from where on a slope is so near to an atom that it is of it."""
        return self.turns[np.any(self._beside, axis=1)]

    @property
    def levelled(self) -> float:
        """The probability of atoms that have such shoulders."""
        return float(np.any(self._beside, axis=0) @ self.atoms[:, 1])

    @property
    def _beside(self) -> NDArray[np.bool_]:
        off = np.abs(self.turns[:, None] / self.atoms[:, 0] - 1)
        return (off > LEVEL) & (off < 4 * LEVEL)

    @cached_property
    def _sums(self) -> Sums:
        x, w = self.nodes
        atoms = np.flatnonzero(np.isin(x, self.atoms[:, 0])).tolist()
        return Sums(x, w, self.at_zero, atoms)

    @cached_property
    def at_zero(self) -> float:
        """The probability of 0, with that of what is too small to be told from it."""
        rest = 1 - float(np.sum(self.nodes[1].real))
        return rest if abs(rest - self.zero) > _ROUNDING else self.zero

    @property
    def hidden(self) -> float:
        """The probability of what is not 0, and too small to be told from it."""
        return self.at_zero - self.zero

    @cached_property
    def mean(self) -> float:
        """`E[X]`."""
        x, w = self.nodes
        return float((w @ x).real)

    @cached_property
    def spread(self) -> float:
        """`Var(X) / E[X]^2`."""
        x, w = self.nodes
        return float((w @ (x - self.mean) ** 2).real) / self.mean**2 + self.at_zero

    def transforms(self, log_u: Complex) -> tuple[Complex, Complex, Complex]:
        """`m = E[X/(u - X)]`, `n = 1 + m` and `u m'`, above the axis or on its upper side."""
        m, n, first, _ = self.sums(log_u)
        return m, n, -first

    def sums(self, log_u: Complex) -> tuple[Complex, Complex, Complex, Complex]:
        """`E[X/(u-X)]`, `E[u/(u-X)]`, `E[uX/(u-X)^2]`, `E[u^2/(u-X)^2]`, on the upper side."""
        m, n, first, second = self._sums.at(log_u)
        for sum_ in (m, n):  # what rounding puts above the axis
            sum_.imag[sum_.imag >= 0] = -0.0
        return m, n, first, second

    def refined(self, u: Complex) -> "SlopeLaw":
        """The law on panels that resolve `X / (u - X)` for every `u`; itself if they do.

        Without any, that resolve the moments of `X`, and with them what is far from all `u`.
        """
        law, known = self, 0
        m, _, _ = self.transforms(np.log(u))
        for _ in range(_HALVINGS):
            width = np.abs(law.right - law.left)
            bad = (np.arange(len(width)) >= known) & (width > _NARROWEST)
            bad[bad] = (law._misses(bad, u, m) if len(u) else law._moments(bad)) > _RESOLVED
            if not np.any(bad):
                break
            known = len(bad) - np.sum(bad)
            law = law._bisected(bad)
            if len(law.left) > _MOST_PANELS:
                raise UnresolvedError(
                    "phi: its slope is one number but for rounding where it is not known to be "
                    "constant, which is not resolved; tell Activation(phi, kinks=[...]) where the "
                    "constant part ends, or take gaussian weights"
                )
        return law

    def _moments(self, some: NDArray[np.bool_]) -> Array:
        """What some panels may be wrong by in `E[(X/E[X])^k]`, beside it or 1."""
        f = self.density[some] * (self.value[some] / self.mean) ** np.arange(3)[:, None, None]
        missed = _missed(f) / np.array([1.0, 1.0, 1 + self.spread])[:, None]
        return np.max(missed, axis=0, initial=0.0) * np.abs(self.right - self.left)[some]

    @np.errstate(all="ignore")
    def _misses(self, some: NDArray[np.bool_], u: Complex, m: Complex) -> Array:
        """What some panels may be wrong by, beside `m`."""
        value, density = self.value[some], self.density[some]
        at = self.sigma * 0.5 * (self.left + self.right)[some].real
        noise = 2 * np.sqrt(np.abs(value[:, 0])) * self.pieces.rounding(at)
        centre = np.mean(value, axis=1)
        radius = np.max(np.abs(value - centre[:, None]), axis=1, initial=0.0)
        near = np.abs(u[:, None] - centre) < _NEAR * radius
        worst, pairs = np.zeros(len(value)), np.argwhere(near)
        for i in range(0, len(pairs), _AT_ONCE):
            point, panel = pairs[i : i + _AT_ONCE].T
            pole = 1 / (u[point, None] - value[panel])
            f = value[panel] * pole * density[panel]
            off = u[point, None] * pole**2 * density[panel]  # df/dX
            miss = _missed(f, noise[panel] * np.max(np.abs(off), axis=1))
            np.maximum.at(worst, panel, miss / np.fmax(np.abs(m[point]), 1.0))
        return worst * np.abs(self.right - self.left)[some]

    def _bisected(self, bad: NDArray[np.bool_]) -> "SlopeLaw":
        left, right = self.left[bad], self.right[bad]
        # towards a cut by quarters: there the poles are at an angle
        share = np.select(
            [np.isreal(left) & ~np.isreal(right), ~np.isreal(left) & np.isreal(right)],
            [0.25, 0.75],
            0.5,
        )
        middle = (1 - share) * left + share * right
        new = np.concatenate([left, middle]), np.concatenate([middle, right])
        added = *new, *on_panels(self.pieces, self.sigma, *new)
        names = "left", "right", "value", "density"
        return replace(
            self,
            **{
                name: np.concatenate([getattr(self, name)[~bad], part])
                for name, part in zip(names, added, strict=True)
            },
        )


def _missed(f: Complex, noise: Any = 0.0) -> Array:
    """The square of what the last terms of functions on panels are, without their noise."""
    size = np.max(np.abs(f), axis=-1)
    last = np.max(np.abs(f @ _LAST), axis=-1)
    last = np.maximum(last - noise, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(size > 0, last * (last / size), 0.0)


def slope_law(activation: Activation, q: float) -> SlopeLaw:
    """The law of `phi'(z)^2`, `z ~ N(0, q)`.

    Raises:
        MeanFieldError: `phi` jumps.
        UnresolvedError: the activation ends, or its slope overflows, where the Gaussian has weight.
    """
    sigma = sqrt(q)
    reach = max(LEAST_REACH, 2.0 ** ceil(log2((SIGMAS + 1) * sigma)))
    pieces = slope_pieces(activation, reach)
    if min(-pieces.left[0], pieces.right[-1]) < _LEAST_SEEN * sigma:
        raise UnresolvedError(activation.why_not(q, "the law of phi'^2"))
    zero, atoms = _atoms(pieces, sigma)
    left, right = panels(pieces, sigma)
    value, density = on_panels(pieces, sigma, left, right)
    ends = pieces.ending(sigma * left.real), pieces.ending(sigma * right.real, -1)
    tails = [beyond(activation, pieces, side * SIGMAS * sigma) for side in (-1, 1)]
    within, levels = np.sort(np.column_stack(ends), axis=1), np.repeat(atoms[:, :1], 2, axis=1)
    for level in atoms[:, 0]:  # it ends there, but for rounding
        within[np.abs(within - level) <= _ROUNDING * level] = level
    steep = [(pieces.squared(np.array([b]), int(side))[0], np.inf) for b, side in pieces.steep]
    tails.append(np.array(steep).reshape(-1, 2))
    bands = union(np.concatenate([within, levels, *tails]))
    nearest = np.minimum(np.abs(left.real), np.abs(right.real)) * (left.real * right.real > 0)
    mass = 0.5 * np.abs(right - left) * np.exp(-0.5 * nearest**2)
    mean = mass @ within[:, 1] / np.sum(mass) if len(mass) else 1.0
    visible = mass * (1 + within[:, 1] / mean) > _NEGLIGIBLE
    within[within < _SMALLEST * mean] = 0.0
    seen = union(np.concatenate([within[visible], levels]))
    # the ends of tails that have come to their limits
    limits = [high for low, high in np.concatenate(tails) if high - low <= _SETTLED * high]
    turns = [pieces.squared(pieces.cuts, side) for side in (-1, 1)]
    turns = np.unique(np.concatenate([*turns, limits]))
    turns = turns[turns > _ROUNDING**2 * np.max(turns, initial=0.0)]
    return SlopeLaw(
        pieces, sigma, zero, atoms, left, right, value, density, bands, seen, turns
    ).refined(np.zeros(0))  # fmt: skip


def _atoms(pieces: SlopePieces, sigma: float) -> tuple[float, Array]:
    """The probability of 0, and the other atoms."""
    from scipy.special import ndtr

    zero, found = 0.0, {}
    for a, b in pieces.flat.tolist():
        middle = 0.5 * (max(a, pieces.left[0]) + min(b, pieces.right[-1]))
        level = float(pieces.squared(np.array([middle]))[0])
        # by the tail in which nothing cancels
        a, b = (a, b) if a < 0 else (-b, -a)
        mass = float(ndtr(b / sigma) - ndtr(a / sigma))
        if level == 0:
            zero += mass
        else:
            near = [x for x in found if abs(x - level) <= _ROUNDING * x]
            level = near[0] if near else level
            found[level] = found.get(level, 0.0) + mass
    return zero, np.array(sorted(found.items())).reshape(-1, 2)
