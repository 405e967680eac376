r"""One-variable tables: `E(q) = E[phi^2]`, `E'(q)` and `D(q) = E[phi'^2]` over all variances.

A phase diagram needs nothing else of an activation, besides one table for correlations. All three
are analytic in `log q` in a strip of half-width `pi/2` (see `meanfield.interpolation`), so on half
an octave sixteen Chebyshev nodes resolve them; where they fall off like `exp(-b^2 / 2q)` (an
activation that is flat around zero) cells are halved. Each of these cells is then cut into eight,
with polynomials of degree seven in `q` itself: no logarithm and few operations a point.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from meanfield.activation import LEAST_REACH, Activation, remembered
from meanfield.chebyshev import LEBESGUE, points, to_series
from meanfield.errors import UnresolvedError
from meanfield.gaussian import MOMENTS
from meanfield.precision import EPS

__all__ = ["FINE", "HIGHEST", "LOWEST", "Table", "table_of"]

Array = NDArray[np.float64]

LOWEST, HIGHEST = 2.0**-30, 2.0**33
_NODES = 16
_CELL = 0.5 * np.log(2.0)
_STEP = 8  # cells whose moments are computed at once
_AFFORDABLE = 10_000  # samples; a function that oscillates for ever needs more the farther one goes
_FEW = 256  # more samples for two more octaves in x
_DEEPEST = 6  # halvings of a cell
_RESOLVED = 4e-15
_UNKNOWN = 1e-9  # a moment known worse than this is not tabulated
_NOTHING = 1e-100  # what is smaller counts as 0
_TINY = 1e-30
_HUGE = 1e20  # an `E[phi^2]` above this is beyond any fixed point of interest

FINE = 8  # fine cells to a cell
_DEGREE = 7

_TO_POWERS = np.zeros((_DEGREE + 1, _DEGREE + 1))
for _n in range(_DEGREE + 1):
    _TO_POWERS[_n, : _n + 1] = chebyshev.cheb2poly(np.eye(_DEGREE + 1)[_n, : _n + 1])


@dataclass(frozen=True, eq=False)
class Table:
    """`E`, `E'` and `D` of an activation, in cells between which nothing is missed.

    Cell `k` reaches from `edges[k]` to `edges[k + 1]`; `E` and `E'` are monotone in it. Its
    eight fine cells are `8k` to `8k + 7`; in fine cell `j`, with `u` from -1 to 1 across it, the
    functions are `sum_n powers[f, j, n] u^n` with `f` = 0, 1, 2 for `E`, `E'`, `D`.
    """

    edges: Array  # (cells + 1,)
    error: Array  # bounds of the absolute errors of E, E' and D, (3, cells)
    fine: Array  # edges of the fine cells, (8 cells + 1,)
    powers: Array  # (3, 8 cells, 8)
    infinite_slope: bool  # D is infinite (phi jumps): zeros stand for it
    at_zero: float  # E(0): the mean of phi(0-)^2 and phi(0+)^2

    @property
    def low(self) -> float:
        """The smallest tabulated variance."""
        return float(self.edges[0])

    @property
    def high(self) -> float:
        """The largest one."""
        return float(self.edges[-1])

    def __call__(self, q: Array, which: int = 0) -> Array:
        """`E`, `E'` or `D` at any `q`; NaN outside the table."""
        j = np.clip(np.searchsorted(self.fine, q, side="right") - 1, 0, len(self.fine) - 2)
        left, right = self.fine[j], self.fine[j + 1]
        u = (2 * q - left - right) / (right - left)
        total = np.zeros_like(u)
        for n in range(_DEGREE, -1, -1):
            total = total * u + self.powers[which, j, n]
        return np.where((q >= self.low) & (q <= self.high), total, np.nan)

    def error_at(self, q: Array, which: int = 0) -> Array:
        """A bound of the absolute error of `self(q, which)`."""
        k = np.clip(np.searchsorted(self.edges, q, side="right") - 1, 0, len(self.edges) - 2)
        return self.error[which, k]


@dataclass(frozen=True, eq=False)
class _Cells:
    """Cells in `t = log q`, with Chebyshev series of the three functions: the coarse half."""

    left: Array  # (cells,)
    right: Array
    series: Array  # (3, cells, 16)
    error: Array  # (3, cells)

    def __getitem__(self, which) -> "_Cells":
        return _Cells(
            self.left[which], self.right[which], self.series[:, which], self.error[:, which]
        )


def _joined(parts: list[_Cells]) -> _Cells:
    cells = _Cells(
        np.concatenate([p.left for p in parts]),
        np.concatenate([p.right for p in parts]),
        np.concatenate([p.series for p in parts], axis=1),
        np.concatenate([p.error for p in parts], axis=1),
    )
    return cells[np.argsort(cells.left)]


@remembered
def table_of(activation: Activation) -> Table:
    """The table of an activation, from 2^-30 to 2^33 or as far as it can be computed.

    Raises:
        UnresolvedError: it cannot be computed around `q = 1`.
    """
    cells = _monotone(_joined([_downwards(activation), *_upwards(activation)]))
    if not len(cells.left):
        raise UnresolvedError(
            f"{activation.name}: its moments cannot be computed to the digits of a phase diagram "
            "around q = 1: it ends, or its values are noisy (float32?); compute it in float64, or "
            "scale it: phi(b x) at q is phi at b^2 q"
        )
    infinite = bool(len(activation.jumps)) or activation.columns(LEAST_REACH).samples.is_infinite(2)
    beside = activation.sampled.values(np.array([-_TINY, _TINY]))
    at_zero = float(np.mean(beside**2))
    return _fine(cells, infinite, at_zero if at_zero > EPS**2 else 0.0)


def _downwards(activation: Activation) -> _Cells:
    edges = np.arange(2 * log2(LOWEST), 1) * _CELL
    return _resolve(activation, edges[:-1], edges[1:], upwards=False)[0]


def _upwards(activation: Activation) -> Iterator[_Cells]:
    """Cells from `q = 1` to `HIGHEST`, in strides while that is cheap, else in steps.

    Samples are needed up to `13 sqrt(q)`: few more for each octave where `phi` is simple far out,
    twice as many where it oscillates. Where it grows exponentially nothing far up is of interest.
    """
    here, stop, step, wary = 0, round(2 * log2(HIGHEST)), _STEP, False
    before = 0
    while here < stop:
        edges = np.arange(here, min(here + step, stop) + 1) * _CELL
        try:
            cells, whole = _resolve(activation, edges[:-1], edges[1:], upwards=True)
        except UnresolvedError:
            if here == 0:
                raise
            if wary:
                return
            step, wary = _STEP, True
            continue
        yield cells
        samples = activation.samples_up_to(float(np.exp(edges[-1])))
        if not whole or samples > _AFFORDABLE:
            return
        here += len(edges) - 1
        first, last = cells.series[0, -1] @ chebyshev.chebvander([-1.0, 1.0], _NODES - 1).T
        if last > 8 * first:  # faster than q^6 over half an octave
            step = 2
        elif not wary and samples < before + _FEW:
            step = stop
        before = samples


def _resolve(
    activation: Activation, left: Array, right: Array, upwards: bool
) -> tuple[_Cells, bool]:
    """These cells, halved until resolved, up to the first that is not; and whether all are."""
    parts: list[_Cells] = []
    bad: list[Array] = []
    for depth in range(_DEEPEST + 1):
        cells, finite, resolved = _sampled(activation, left, right, depth == _DEEPEST)
        parts.append(cells[resolved])
        bad.append(left[~finite])
        again = finite & ~resolved
        if not np.any(again):
            break
        middle = 0.5 * (left + right)[again]
        left, right = np.append(left[again], middle), np.append(middle, right[again])
    cells, missing = _joined(parts), np.concatenate(bad)
    if len(missing):
        near = cells.left < missing.min() if upwards else cells.left > missing.max()
        cells = cells[near]
    return cells, not len(missing)


def _sampled(
    activation: Activation, left: Array, right: Array, deepest: bool
) -> tuple[_Cells, NDArray[np.bool_], NDArray[np.bool_]]:
    """Series on the cells, and which of them are finite and which resolved."""
    t = 0.5 * (left + right)[:, None] + 0.5 * (right - left)[:, None] * points(_NODES)
    m = activation.moments(np.exp(t).ravel(), derivatives=True)
    assert m.first is not None and m.first_error is not None
    phi2, dphi2 = MOMENTS.index("phi2"), MOMENTS.index("dphi2")
    shape = (3, len(left), _NODES)
    f = np.stack([m.value[:, phi2], m.first[:, phi2], m.value[:, dphi2]]).reshape(shape)
    doubt = np.stack([m.error[:, phi2], m.first_error[:, phi2], m.error[:, dphi2]]).reshape(shape)
    if np.all(np.isposinf(f[2])):
        f[2], doubt[2] = 0.0, 0.0
    noise = np.min(doubt, axis=2)
    doubt[np.abs(f) < _NOTHING] = 0.0
    size, known = np.max(np.abs(f), axis=2), np.max(doubt, axis=2)
    # E is compared with q, and E', which changes sign, with D
    scale = np.stack([np.maximum(size[0], np.exp(left)), np.maximum(size[1], size[2]), size[2]])
    finite = np.all(np.isfinite(f), axis=(0, 2)) & np.all(known <= _UNKNOWN * scale, axis=0)
    finite &= size[0] < _HUGE
    series = np.where(np.isfinite(f), f, 0.0) @ to_series(_NODES)
    last = np.max(np.abs(series[..., -2:]), axis=2)
    least = np.min(np.abs(f), axis=2)
    least[0] = np.maximum(least[0], 1e-3 * np.exp(left))
    least[1] = np.maximum(least[1], least[2] if np.any(f[2]) else 1e-3 * size[1])
    small = last <= np.maximum(_RESOLVED * np.maximum(least, _NOTHING), noise)
    resolved = small | (size < _NOTHING) | (deepest & (last <= _UNKNOWN * scale))
    rounding = EPS * np.sum(np.abs(series) * (2 + np.arange(_NODES)), axis=2)
    error = LEBESGUE * known + last + rounding
    resolved = finite & np.all(resolved, axis=0)
    return _Cells(left, right, series, error), resolved if deepest else finite, resolved


def _monotone(cells: _Cells) -> _Cells:
    """The cells, split where `E` or `E'` turns: each takes a value at most once in a cell."""
    u = np.linspace(-1, 1, 33)
    slope = chebyshev.chebval(u, cells.series[1].T)
    bend = chebyshev.chebval(u, chebyshev.chebder(cells.series[1].T))
    signs = np.sign([slope, bend])
    turning = np.flatnonzero(np.any(signs[..., 1:] * signs[..., :-1] < 0, axis=(0, 2)))
    parts, whole = [], np.ones(len(cells.left), bool)
    for k in turning:
        series = cells.series[1, k]
        roots = np.concatenate([_roots(series), _roots(chebyshev.chebder(series))])
        ends = np.unique(np.concatenate([[-1.0], roots, [1.0]]))
        # turns within the error are noise: where all are, as for ReLU, E' is constant
        heights = chebyshev.chebval(ends, series)
        if np.max(np.abs(np.diff(heights))) <= cells.error[1, k] or not len(roots):
            continue
        whole[k] = False
        middle, half = 0.5 * (cells.left + cells.right)[k], 0.5 * (cells.right - cells.left)[k]
        edges = middle + half * ends
        edges[0], edges[-1] = cells.left[k], cells.right[k]
        inner = 0.5 * ((ends[1:] + ends[:-1])[:, None] + np.diff(ends)[:, None] * points(_NODES))
        parts.append(_Cells(
            edges[:-1], edges[1:],
            chebyshev.chebval(inner, cells.series[:, k].T) @ to_series(_NODES),
            np.repeat(cells.error[:, k : k + 1], len(ends) - 1, axis=1),
        ))  # fmt: skip
    return _joined([cells[whole], *parts])


def _roots(series: Array) -> Array:
    """Real roots of a Chebyshev series well inside [-1, 1]."""
    roots = chebyshev.chebroots(series)
    return roots.real[(np.abs(roots.imag) < 1e-6) & (np.abs(roots.real) < 1 - 1e-4)]


def _fine(cells: _Cells, infinite_slope: bool, at_zero: float) -> Table:
    """The table: each cell cut into eight, with polynomials of degree seven in `q`."""
    edges = np.exp(np.append(cells.left, cells.right[-1]))
    share = np.arange(FINE + 1) / FINE
    fine = edges[:-1, None] * (1 - share) + edges[1:, None] * share
    left, right = fine[:, :-1, None], fine[:, 1:, None]
    q = 0.5 * (left + right) + 0.5 * (right - left) * points(_DEGREE + 1)
    middle, half = 0.5 * (cells.left + cells.right), 0.5 * (cells.right - cells.left)
    u = (np.log(q) - middle[:, None, None]) / half[:, None, None]
    basis = chebyshev.chebvander(u, _NODES - 1)  # (cells, 8, 8, 16)
    values = np.einsum("cjpn,fcn->fcjp", basis, cells.series, optimize=True)
    series = values @ to_series(_DEGREE + 1)
    missed = np.max(np.abs(series[..., -1]), axis=2)
    return Table(
        edges=edges,
        error=cells.error + missed + _NOTHING + 4 * EPS * np.max(np.abs(values), axis=(2, 3)),
        fine=np.append(fine[:, :-1].ravel(), edges[-1]),
        powers=(series @ _TO_POWERS).reshape(3, -1, _DEGREE + 1),
        infinite_slope=infinite_slope,
        at_zero=at_zero,
    )
