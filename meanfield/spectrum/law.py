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

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import LEAST_REACH, Activation
from meanfield.errors import UnresolvedError
from meanfield.legendre import TO_COEFFICIENTS, WEIGHTS, nodes
from meanfield.spectrum.slope import SlopePieces, slope_pieces

__all__ = ["SlopeLaw", "slope_law"]

Array = NDArray[np.float64]

SIGMAS = 12.0  # beyond: a probability of 1e-33
_FARTHEST = 2.0**10
_RESOLVED = 1e-14
_NEGLIGIBLE = 1e-22
_ROUNDING = 1e-12
_ON_AXIS = 1e-13
_ZERO = 1e-20
_GRADING = 4.0 ** -np.arange(22, -1, -1.0)  # distances of panels from a zero of phi'
_NARROWEST = 1e-14  # standard deviations: less is rounding
_AT_ONCE = 1 << 19  # numbers in a table of points and nodes


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
    """

    pieces: SlopePieces | None
    sigma: float
    zero: float
    atoms: Array
    left: Array
    right: Array
    value: Array
    density: Array
    bands: Array

    @cached_property
    def nodes(self) -> tuple[Array, Array]:
        """Values other than 0 and their weights, both complex; each value once."""
        weight = 0.5 * (self.right - self.left)[:, None] * WEIGHTS * self.density
        x = np.concatenate([self.value.ravel(), self.atoms[:, 0]])
        w = np.concatenate([weight.ravel(), self.atoms[:, 1]])
        # the transform far out is `E[X] / u`, and near zero `-1 - u E[1/X]`
        with np.errstate(divide="ignore", invalid="ignore"):
            size, mean = np.abs(x), abs(w @ x)
            kept = np.abs(w) * (1 + size / mean + mean / size) > _NEGLIGIBLE
        kept &= x != 0
        order = np.argsort(x[kept].real)
        x, w = x[kept][order], w[kept][order]
        # an even activation gives each value twice
        start = np.flatnonzero(np.append(True, np.abs(np.diff(x)) > 1e-14 * np.abs(x[1:])))
        return x[start], np.add.reduceat(w, start)

    @cached_property
    def at_zero(self) -> float:
        """The probability of 0, with that of what is too small to be told from it."""
        rest = 1 - float(np.sum(self.nodes[1].real))
        return rest if abs(rest - self.zero) > _ROUNDING else self.zero

    @cached_property
    def mean(self) -> float:
        x, w = self.nodes
        return float((w @ x).real)

    @cached_property
    def spread(self) -> float:
        """`Var(X) / E[X]^2`."""
        x, w = self.nodes
        return float((w @ (x - self.mean) ** 2).real) / self.mean**2 + self.at_zero

    def refined(self, u: Array) -> "SlopeLaw":
        """The law on panels that resolve `X / (u - X)` for every `u`; itself if they do."""
        law = self
        for _ in range(60):
            width = np.abs(law.right - law.left)
            bad = (law._misses(u) > _RESOLVED) & (width > _NARROWEST)
            if not np.any(bad):
                break
            law = law._bisected(bad)
        return law

    def _misses(self, u: Array) -> Array:
        """What each panel may be wrong by: the error goes as the square of the last terms."""
        if not len(self.left):
            return np.zeros(0)
        worst = np.zeros(len(self.left))
        step = max(1, _AT_ONCE // self.value.size)
        for i in range(0, len(u), step):
            f = self.value / (u[i : i + step, None, None] - self.value) * self.density
            size = np.max(np.abs(f), axis=2)
            last = np.max(np.abs(f @ TO_COEFFICIENTS[:, -2:]), axis=2)
            with np.errstate(invalid="ignore", divide="ignore"):
                miss = np.where(size > 0, last * (last / size), 0.0)
            worst = np.maximum(worst, np.max(miss, axis=0))
        return worst * np.abs(self.right - self.left)

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
        added = *new, *_on_panels(self.pieces, self.sigma, *new)
        names = "left", "right", "value", "density"
        return replace(
            self,
            **{
                name: np.concatenate([getattr(self, name)[~bad], part])
                for name, part in zip(names, added, strict=True)
            },
        )


def _on_panels(pieces: SlopePieces, sigma: float, left: Array, right: Array) -> tuple[Array, Array]:
    """`X` and the density of `z` at the nodes of panels, which may be complex."""
    z = nodes(left, right)
    value = pieces.squared(sigma * z.ravel()).reshape(z.shape)
    if np.iscomplexobj(value):  # next to a turning point, by rounding
        value.imag[np.abs(value.imag) <= _ON_AXIS * np.abs(value)] = -0.0
    return value, np.exp(-0.5 * z * z) / sqrt(2 * np.pi)


def _lowered_edges(pieces: SlopePieces, sigma: float, edges: Array, cuts: Array) -> Array:
    """Edges of panels moved to where `X` is in the lower half plane; not those that are cuts."""
    distance = np.min(np.abs(edges[:, None] - np.append(cuts, np.inf)), axis=1)
    step = 1e-3 * np.where(distance > 0, distance, 1.0)
    before, value, after = (pieces.squared(sigma * (edges + k * step)) for k in (-1, 0, 1))
    slope = (after - before) / (2 * step)
    panel = pieces.panel(sigma * edges)
    wide = (pieces.right - pieces.left)[panel] / sigma
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.minimum.reduce(
            [0.5 * distance, 0.5 * value / np.abs(slope), 0.25 * wide, np.full(len(edges), 0.5)]
        )
    depth = np.where(np.isfinite(depth) & (distance > 0), depth, 0.0)
    return edges - 1j * np.sign(slope) * depth


def _lowered(pieces: SlopePieces, sigma: float, left: Array, right: Array, cuts: Array):
    """Panels, those between two cuts in halves, on the path that avoids the poles."""
    both = np.isin(left, cuts) & np.isin(right, cuts)
    middle = 0.5 * (left[both] + right[both])
    left, right = (
        np.sort(np.concatenate([left, middle])),
        np.sort(np.concatenate([right, middle])),
    )
    return (_lowered_edges(pieces, sigma, edges, cuts) for edges in (left, right))


def slope_law(activation: Activation, q: float) -> SlopeLaw:
    """The law of `phi'(z)^2`, `z ~ N(0, q)`.

    Raises:
        MeanFieldError: `phi` jumps.
        UnresolvedError: the activation ends, or its slope overflows, where the Gaussian has weight.
    """
    from scipy.special import ndtr

    sigma = sqrt(q)
    reach = max(LEAST_REACH, 2.0 ** ceil(log2((SIGMAS + 1) * sigma)))
    pieces = slope_pieces(activation, reach)
    low, high = max(-SIGMAS, pieces.left[0] / sigma), min(SIGMAS, pieces.right[-1] / sigma)
    if min(-low, high) < 8.5:
        raise UnresolvedError(activation.why_not(q, "the law of phi'^2"))
    turns = pieces.cuts / sigma
    zeros = turns[
        pieces.squared(pieces.cuts) <= _ZERO * np.max(pieces.squared(pieces.cuts), initial=0.0)
    ]
    graded = np.add.outer(zeros, np.concatenate([-_GRADING, _GRADING])).ravel()
    graded = graded[
        np.min(np.abs(graded[:, None] - np.append(turns, np.inf)), axis=1) >= 0.9 * _GRADING[0]
    ]
    cuts = np.concatenate([[low, high], turns, graded, np.arange(-SIGMAS, SIGMAS + 1)])
    cuts = np.unique(cuts[(cuts >= low) & (cuts <= high)])
    left, right = cuts[:-1], cuts[1:]
    centre = sigma * 0.5 * (left + right)
    flat = np.zeros(len(left), bool)
    zero, atoms = 0.0, []
    for a, b in pieces.flat:
        flat |= (centre > a) & (centre < b)
        middle = 0.5 * (max(a, pieces.left[0]) + min(b, pieces.right[-1]))
        level = float(pieces.squared(np.array([middle]))[0])
        # by the tail in which nothing cancels
        mass = float(
            ndtr(b / sigma) - ndtr(a / sigma) if a < 0 else ndtr(-a / sigma) - ndtr(-b / sigma)
        )
        if level == 0:
            zero += mass
        else:
            atoms.append((level, mass))
    left, right = left[~flat], right[~flat]
    atoms = _merged(np.array(atoms).reshape(-1, 2))
    ends = np.column_stack([pieces.squared(sigma * left), pieces.squared(sigma * right, -1)])
    intervals = [np.sort(ends, axis=1), np.repeat(atoms[:, :1], 2, axis=1)]
    intervals.extend(_beyond(activation, pieces, sigma, side) for side in (-1, 1))
    left, right = _lowered(pieces, sigma, left, right, pieces.cuts / sigma)
    value, density = _on_panels(pieces, sigma, left, right)
    return SlopeLaw(
        pieces, sigma, zero, atoms, left, right, value, density, _union(np.concatenate(intervals))
    )


def _merged(atoms: Array) -> Array:
    """Atoms of one value as one."""
    if not len(atoms):
        return atoms
    atoms = atoms[np.argsort(atoms[:, 0])]
    first = np.append(True, np.diff(atoms[:, 0]) > 1e-12 * atoms[1:, 0])
    start = np.flatnonzero(first)
    return np.column_stack([atoms[start, 0], np.add.reduceat(atoms[:, 1], start)])


def _union(intervals: Array) -> Array:
    """Intervals that do not touch."""
    intervals = intervals[np.argsort(intervals[:, 0])]
    bands: list[list[float]] = []
    for low, high in intervals.tolist():
        if bands and low <= bands[-1][1] * (1 + 1e-10):
            bands[-1][1] = max(bands[-1][1], high)
        else:
            bands.append([low, high])
    return np.array([band for band in bands if band[1] > 0]).reshape(-1, 2)


def _beyond(activation: Activation, pieces: SlopePieces, sigma: float, side: int) -> Array:
    """The interval in which `X` goes on beyond the panels, up to its limit."""
    end = side * SIGMAS * sigma
    x = np.array([end])
    if np.any((pieces.flat[:, 0] < end) & (end < pieces.flat[:, 1])):
        return np.zeros((0, 2))
    reached = float(pieces.squared(x)[0])
    far, before, limit = 2 * abs(end), reached, reached
    seen = [reached]
    for _ in range(12):
        reach = max(LEAST_REACH, 2.0 ** ceil(log2(far)))
        if reach > _FARTHEST:
            break
        try:
            wide = slope_pieces(activation, reach)
        except UnresolvedError:
            limit = np.inf
            break
        outer = wide.cuts[side * wide.cuts > abs(end)]
        if len(outer):  # it turns: what it reaches there it reaches nearer, or hardly ever
            break
        limit = float(wide.squared(np.array([side * far * (1 - 1e-9)]))[0])
        seen.append(limit)
        if abs(limit - before) <= 1e-12 * before:
            break
        before, far = limit, 2 * far
    if len(seen) > 2 and np.isfinite(limit):
        if seen[-1] < 0.9 * seen[-2]:
            limit = 0.0
        elif seen[-1] > 1.1 * seen[-2]:
            limit = np.inf
    return np.array([sorted([reached, limit])])
