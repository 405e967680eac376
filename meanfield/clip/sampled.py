r"""Any activation at many clip levels, from one sampling of it.

Where `|phi| < m` the clipped activation is `phi`, elsewhere it is `m` and flat. With the samples
cut into pieces on which `phi` is monotone and of one sign, each clip level leaves a piece whole,
takes it away, or crosses it once: moments at all levels are sums over whole pieces and the parts of
crossed ones, on nodes of their own. A smooth clip is summed at all nodes, on pieces so short that
`|phi|` changes by a factor on each.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.clip.clipping import Clip
from meanfield.clip.moments import ClippedMoments
from meanfield.legendre import ORDER, WEIGHTS, coefficients, nodes, series
from meanfield.precision import EPS

__all__ = ["ClippedSamples", "crossings"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

_SIGMAS = 13.0  # as far as a Gaussian of the largest variance is looked at
_OCTAVES = 40.0  # below the largest |phi|, as far down as pieces are cut for a smooth clip
_FACTOR = 1.5  # by which |phi| changes on such a piece
_SMALLEST = 1e-4  # of the root mean square: what is left of a clip there tells the limit m = 0
_NEGLIGIBLE = 1e-17  # share of the Gaussian beyond which a clip is not felt


@dataclass(frozen=True)
class _Pieces:
    """Pieces of panels, on which `phi` is monotone and of one sign; rows are pieces."""

    left: Array
    right: Array
    value_series: Array  # of the panel they are from
    slope_series: Array
    panel_left: Array
    panel_right: Array

    def at(self, which: Any, x: Array) -> tuple[Array, Array]:
        """`phi` and `phi'` at places inside pieces, `x[k]` in piece `which[k]`."""
        left, right = self.panel_left[which, None], self.panel_right[which, None]
        u = (2 * x - left - right) / (right - left)
        return (
            series(self.value_series[which, None], u),
            series(self.slope_series[which, None], u),
        )

    def take(self, which: Any, left: Array, right: Array) -> "_Pieces":
        """Parts of the chosen pieces."""
        kept = (getattr(self, name)[which] for name in list(vars(self))[2:])
        return _Pieces(left, right, *kept)


@dataclass(frozen=True, eq=False)
class ClippedSamples:
    """An activation, to be clipped at any level: see `Clippable`.

    Args:
        phi: the activation.
        clip: how it is clipped.
        largest: the largest variance at which moments are wanted.
    """

    phi: Activation
    clip: Clip
    largest: float

    @cached_property
    def _pieces(self) -> _Pieces:
        pieces = _monotone(_panels(self.phi, self.largest))
        return _graded(pieces) if self.clip.smooth else pieces

    @cached_property
    def _nodes(self) -> tuple[Array, Array, Array, Array]:
        """Places, quadrature weights, `phi` and `phi'`; rows are pieces."""
        return _on_nodes(self._pieces)

    @cached_property
    def _ends(self) -> tuple[Array, Array]:
        """`|phi|` at both ends of each piece, with 0 where that side is not clipped; (pieces,)."""
        p = self._pieces
        which = np.arange(len(p.left))
        y = np.stack([p.at(which, end[:, None])[0][:, 0] for end in (p.left, p.right)])
        middle = self._nodes[2][:, ORDER // 2]
        felt = np.where(middle > 0, self.clip.above, self.clip.below)
        return tuple(np.where(felt, np.abs(y), 0.0))

    def levels(self, q: float) -> Array:
        """Clip levels at which pieces begin and end, within what counts at `q`."""
        x, dx, value, _ = self._nodes
        weight = dx * np.exp(-0.5 * x * x / q) / np.sqrt(2 * np.pi * q)
        size = float(np.sqrt(np.sum(weight * value**2)))
        low, high = self._ends
        counts = np.sum(weight, axis=1) > _NEGLIGIBLE
        if not np.any(counts & (np.maximum(low, high) > 0)):
            return np.array([])
        ends = np.concatenate([low[counts], high[counts]])
        least, most = _SMALLEST * size, float(np.max(ends))
        if self.clip.smooth:
            return np.array([least, 1e3 * most])
        turning = _extreme_levels(low, high, self._pieces)
        inside = turning[(turning > least) & (turning < most)]
        return np.unique(np.concatenate([[least], inside, [most]]))

    def moments(self, m: Any, q: Any) -> ClippedMoments:
        """Moments at levels and variances that broadcast."""
        m, q = np.broadcast_arrays(np.asarray(m, np.float64), q)
        levels, row = np.unique(m.ravel(), return_inverse=True)
        variances, column = np.unique(q.ravel(), return_inverse=True)
        of = self._smoothly if self.clip.smooth else self._sharply
        squares, slopes, odd, odd3, fourth = of(levels, row, variances, column).reshape(5, *m.shape)
        return ClippedMoments(
            second=squares,
            gradient=slopes,
            first=odd / q,
            bend=0.5 * (odd3 / q - 3 * odd) / q**2,
            fourth=fourth,
        )

    def second(self, m: Any, q: Any) -> tuple[Any, Any]:
        """`E[phi_m^2]` and its derivative in `q`."""
        return self.moments(m, q)[:3:2]

    def _sharply(self, m: Array, row: Indices, q: Array, column: Indices) -> Array:
        """Gaussian means of `phi_m^2, phi_m'^2, f, x^2 f, phi_m^4`, with `f = x phi_m phi_m'`.

        Shape (5, n), for the pairs of `m[row]` and `q[column]`, shape (n,).
        """
        low, high = self._ends
        inside = np.maximum(low, high) <= m[:, None]
        beyond = np.minimum(low, high) >= m[:, None]
        whole = _integrals(*self._nodes, q)[:, column]  # (6, n, pieces)
        kept = np.sum(whole[:5] * inside[row], axis=-1)
        lost = np.sum(whole[5] * beyond[row], axis=-1)
        crossed = ~inside & ~beyond
        if np.any(crossed):
            p = self._pieces
            cuts = np.zeros(crossed.shape)
            cuts[crossed] = _cut(p, np.nonzero(crossed)[1], m[np.nonzero(crossed)[0]])
            pair, piece = np.nonzero(crossed[row])
            cut = cuts[row[pair], piece]
            falls = low[piece] > high[piece]  # then it is the right part that is inside
            for first in (True, False):
                left = p.left[piece] if first else cut
                part = p.take(piece, left, cut if first else p.right[piece])
                integrals = _integrals(*_on_nodes(part), q[column[pair]], paired=True)
                stays = falls != first
                for total, addition in zip(kept, integrals, strict=False):
                    np.add.at(total, pair[stays], addition[stays])
                np.add.at(lost, pair[~stays], integrals[5, ~stays])
        kept[0] += m[row] ** 2 * lost
        kept[4] += m[row] ** 4 * lost
        return kept

    def _smoothly(self, m: Array, row: Indices, q: Array, column: Indices) -> Array:
        """The same for the smooth clip."""
        x, dx, value, slope = (part.ravel() for part in self._nodes)
        weight = _weights(x, dx, q[:, None])
        level = m[:, None]
        g = level * np.tanh(value / level)
        with np.errstate(over="ignore"):
            falling = slope / np.cosh(value / level) ** 2
        odd = g * falling * x
        functions = g**2, falling**2, odd, odd * x * x, g**4
        if len(m) * len(q) <= len(row):
            return np.stack([(f @ weight.T)[row, column] for f in functions])
        return np.stack([np.sum(f[row] * weight[column], axis=1) for f in functions])


def crossings(phi: Activation, clip: Clip, m: float) -> Array:
    """Places at which `phi` passes the limits of the clip."""
    clipped = ClippedSamples(phi, clip, 2.0**16)
    low, high = clipped._ends
    crossed = np.flatnonzero((np.minimum(low, high) < m) & (np.maximum(low, high) > m))
    return np.sort(_cut(clipped._pieces, crossed, np.full(len(crossed), m)))


def _panels(phi: Activation, largest: float) -> _Pieces:
    """The panels of the activation, as far as a variance up to `largest` looks."""
    reach = max(16.0, 2.0 ** np.ceil(np.log2(_SIGMAS * np.sqrt(largest))))
    samples = phi.columns(reach).samples
    with np.errstate(over="ignore", invalid="ignore"):
        value, slope = (
            np.nan_to_num((part * np.exp(samples.log_scale)).reshape(-1, ORDER))
            for part in (samples.value, samples.slope)
        )
    x, width = samples.x.reshape(-1, ORDER), samples.width.reshape(-1, ORDER)[:, 0]
    centre = 0.5 * (x[:, 0] + x[:, -1])
    left, right = centre - 0.5 * width, centre + 0.5 * width
    return _Pieces(left, right, coefficients(value), coefficients(slope), left, right)


def _on_nodes(pieces: _Pieces) -> tuple[Array, Array, Array, Array]:
    """Places, quadrature weights, `phi` and `phi'` at the nodes of pieces."""
    x = nodes(pieces.left, pieces.right)
    dx = 0.5 * (pieces.right - pieces.left)[:, None] * WEIGHTS
    return x, dx, *pieces.at(np.arange(len(x)), x)


def _weights(x: Array, dx: Array, q: Array) -> Array:
    """Gaussian weights of nodes."""
    return dx * np.exp(-0.5 * x * x / q) / np.sqrt(2 * np.pi * q)


def _integrals(
    x: Array, dx: Array, value: Array, slope: Array, q: Array, paired: bool = False
) -> Array:
    """Integrals over pieces of what moments are made of, and of 1.

    Shape (6, Q, pieces) for each `q` of shape (Q,), or (6, pieces) for a `q` to each piece.
    """
    weight = _weights(x, dx, q[:, None] if paired else q[:, None, None])
    odd = value * slope * x
    functions = value**2, slope**2, odd, odd * x * x, value**4, np.ones_like(x)
    return np.stack([np.sum(weight * f, axis=-1) for f in functions])


def _cut(pieces: _Pieces, which: Indices, level: Array) -> Array:
    """Where `|phi|` passes a level on monotone pieces: Newton steps, kept inside the bracket."""
    left, right = pieces.left[which].copy(), pieces.right[which].copy()
    rising = _size(pieces, which, right) > _size(pieces, which, left)
    x = 0.5 * (left + right)
    for _ in range(60):
        value, slope = (part[:, 0] for part in pieces.at(which, x[:, None]))
        excess = np.abs(value) - level
        before = (excess < 0) == rising
        left, right = np.where(before, x, left), np.where(before, right, x)
        with np.errstate(all="ignore"):
            new = x - excess / (np.sign(value) * slope)
        inside = ((new > left) & (new < right)) | (excess == 0)
        new = np.where(inside, new, 0.5 * (left + right))
        if np.all(np.abs(new - x) <= 2 * EPS * np.abs(x)):
            return new
        x = new
    return x


def _size(pieces: _Pieces, which: Indices, x: Array) -> Array:
    return np.abs(pieces.at(which, x[:, None])[0][:, 0])


def _monotone(panels: _Pieces) -> _Pieces:
    """Panels cut at the extrema and the zeros of `phi`."""
    for which in (1, 0):  # at zeros of the slope, then of the value
        x = nodes(panels.left, panels.right)
        x = np.column_stack([panels.left, x, panels.right])
        f = panels.at(np.arange(len(panels.left)), x)[which]
        row, k = np.nonzero(f[:, 1:] * f[:, :-1] < 0)
        left, right, rising = x[row, k], x[row, k + 1], f[row, k + 1] > 0
        for _ in range(54):
            middle = 0.5 * (left + right)
            before = (panels.at(row, middle[:, None])[which][:, 0] < 0) == rising
            left, right = np.where(before, middle, left), np.where(before, right, middle)
        panels = _divided(panels, row, 0.5 * (left + right))
    return panels


def _graded(pieces: _Pieces) -> _Pieces:
    """Pieces cut so that `|phi|` changes by no more than a factor on each, unless it is tiny."""
    which = np.arange(len(pieces.left))
    ends = np.stack([_size(pieces, which, end) for end in (pieces.left, pieces.right)])
    most = float(np.max(np.where(np.abs(pieces.right) < np.inf, ends, 0.0)))
    ends = np.log(np.maximum(ends, most * 2.0**-_OCTAVES)) / np.log(_FACTOR)
    first = np.floor(np.min(ends, axis=0)).astype(int) + 1
    count = np.maximum(np.ceil(np.max(ends, axis=0)).astype(int) - first, 0)
    row = np.repeat(which, count)
    step = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    level = _FACTOR ** (first[row] + step).astype(np.float64)
    return _divided(pieces, row, _cut(pieces, row, level))


def _divided(pieces: _Pieces, row: Indices, at: Array) -> _Pieces:
    """Pieces divided, piece `row[k]` at `at[k]`."""
    which = np.concatenate([np.arange(len(pieces.left)), row])
    left = np.concatenate([pieces.left, at])
    order = np.lexsort([left, which])
    which, left = which[order], left[order]
    last = np.append(which[1:] != which[:-1], True)
    right = np.where(last, pieces.right[which], np.append(left[1:], 0.0))
    keep = right > left
    return pieces.take(which[keep], left[keep], right[keep])


def _extreme_levels(low: Array, high: Array, pieces: _Pieces) -> Array:
    """`|phi|` where it turns or breaks: at ends where it does not go on the way it came."""
    rises = high > low
    turns = np.flatnonzero((rises[1:] != rises[:-1]) & (pieces.left[1:] == pieces.right[:-1]))
    return np.concatenate([high[turns], low[turns + 1]])
