"""The slope `phi'` of an activation as polynomials, with every place where its square turns.

The samples know `phi'` at sixteen nodes of each panel, hence everywhere: no call of the activation
is needed, and one that is no JAX function costs the same.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, remembered
from meanfield.errors import MeanFieldError, UnresolvedError
from meanfield.legendre import ORDER, TO_COEFFICIENTS, coefficients, nodes, series, tail
from meanfield.precision import EPS
from meanfield.samples import UNBOUNDED, growth_beside

__all__ = ["SlopePieces", "slope_pieces"]

Array = NDArray[np.float64]

_NOISY = 8 * EPS  # of a slope: four roundings up at one node of a panel and four down at another
# of its series, if one rounding at each node is independent of the others: two deviations
_LEVELLED = 2 * EPS * np.linalg.norm(TO_COEFFICIENTS, axis=0)
_HIDDEN = 8.0  # times the noise: all 16 values of a panel within its four deviations of 0
_ROUGH = 1e-2  # of its size: of 16 values that underflow by steps not two digits make a series
_FAINT = EPS**0.5  # beside the largest slope: the square is rounding
LEVEL = 1e-10  # relative: a slope that differs by less from where it is one number is that number
_LEVEL_KNOWN = 1 / 16  # of that, noise by which it is known where it does
_FLAT = 1000 * _NOISY  # what changes less turns where rounding does, by 1/sqrt(1000) of a panel
_FALL = 3.0  # of log phi' across a panel
_SAME = 1e-5  # turning points nearer to one another, relatively, are one
_ENDS = 1e-9  # turning points so little outside their panel are at its end


@dataclass(frozen=True)
class SlopePieces:
    """`phi'` on panels from left to right, as Legendre series."""

    left: Array
    right: Array
    series: Array  # shape (panels, 16)
    constant: NDArray[np.bool_]
    flat: (
        Array  # where it is one number, up to kinks or to `LEVEL`: shape (runs, 2), maybe infinite
    )
    cuts: Array  # kinks, zeros and extrema of phi', and where it is lost, in order
    lost: Array  # where it comes to be so small that it cannot be told from 0
    noise: Array  # of phi', one number a panel
    steep: Array  # kinks at which it is unbounded, and on which side, -1 or 1: shape (sides, 2)

    def squared(self, z: Array, side: int = 1) -> Array:
        """`phi'(z)^2`, continued from the panel below or above a complex `z`.

        At the edge of two panels by that on the `side`, -1 or 1.
        """
        panel = self.panel(z, side)
        left, right = self.left[panel], self.right[panel]
        return series(self.series[panel], ((z - left) - (right - z)) / (right - left)) ** 2

    def ending(self, z: Array, side: int = 1) -> Array:
        """`phi'(z)^2` at the ends of what is monotone: 0 where `phi'` is within its rounding."""
        x = self.squared(z, side)
        return np.where(x <= self.rounding(z, side) ** 2, 0.0, x)

    def rounding(self, z: Array, side: int = 1) -> Array:
        """What `phi'` may be wrong by."""
        return 4 * (self.noise + EPS * self._size)[self.panel(z, side)]

    @cached_property
    def _size(self) -> Array:
        return np.sum(np.abs(self.series), axis=1)

    def turning(self, z: Array) -> Array:
        """The derivative of `phi'(z)^2` at real `z`."""
        panel = self.panel(z)
        left, right = self.left[panel], self.right[panel]
        u = ((z - left) - (right - z)) / (right - left)
        slope: Any = np.polynomial.legendre.legder(self.series, axis=1)[panel]
        return 2 * series(self.series[panel], u) * series(slope, u) * 2 / (right - left)

    def panel(self, z: Array, side: int = 1) -> NDArray[np.int_]:
        """The panel of each `z`."""
        where = "left" if side < 0 else "right"
        found = np.searchsorted(self.left, np.real(z), side=where) - 1
        return np.clip(found, 0, len(self.left) - 1)


@remembered
def slope_pieces(activation: Activation, reach: float) -> SlopePieces:
    """The slope on `[-reach, reach]`, or as far as the activation goes.

    Raises:
        MeanFieldError: `phi` jumps, so that the Jacobian has no finite law.
    """
    samples = activation.columns(reach).samples
    if len(samples.jumps):
        raise MeanFieldError(
            f"{activation.name}: it jumps at x = {samples.jumps[0]:.6g}, so chi1 is infinite and "
            "the Jacobian has no singular values in the limit of wide layers; use a continuous "
            "approximation of it, such as a steep ramp"
        )
    if np.any(samples.log_scale):
        raise UnresolvedError(
            f"{activation.name}: its slope overflows within |x| < {reach:g}; ask for a smaller q"
        )
    x, slope = samples.x.reshape(-1, ORDER), samples.slope.reshape(-1, ORDER)
    noise = np.max(samples.slope_noise.reshape(-1, ORDER), axis=1)
    middle, half = 0.5 * (x[:, 0] + x[:, -1]), 0.5 * samples.width[::ORDER]
    left, right = middle - half, middle + half
    for b in np.append(samples.kinks, 0.0):  # edges were computed back, kinks are exact
        for edges in (left, right):
            nearest = np.argmin(np.abs(edges - b))
            edges[nearest] = b if abs(edges[nearest] - b) <= _NOISY * reach else edges[nearest]
    right[:-1] = left[1:]
    left, right, slope, noise = _falling(activation, left, right, slope, noise)
    middle, half = 0.5 * (left + right), 0.5 * (right - left)
    size = np.max(np.abs(slope), axis=1)
    constant = np.ptp(slope, axis=1) <= 4 * noise + _NOISY * size
    lost = _cancelled(left, right, constant & (size > 0), size, samples.kinks)
    noise[lost], constant[lost] = EPS * np.max(size), False
    c = coefficients(np.where(np.isfinite(slope), slope, 0.0))
    small = np.abs(c) <= np.maximum(noise[:, None], size[:, None] * _LEVELLED)
    # beside the real axis noise would grow with the degree
    c[np.logical_and.accumulate(small[:, ::-1], axis=1)[:, ::-1]] = 0.0
    # nothing is known of it but that it is as small
    hidden = (size <= _HIDDEN * noise) | (tail(coefficients(slope)) > _ROUGH * size)
    c[hidden] = 0.0
    c[constant] = 0.0
    c[constant, 0] = slope[constant, ORDER // 2]  # itself: a mean would round
    kinks = samples.kinks
    steep = growth_beside(samples.x, samples.slope, kinks) > UNBOUNDED
    steep = np.array([(b, s) for s, some in zip((-1, 1), steep, strict=True) for b in kinks[some]])
    for b, side in steep.reshape(-1, 2).tolist():
        beyond = _innermost(left, right, hidden | constant, b, side)
        last = beyond[-1] + int(side)  # no digit is left of it farther in, where it is larger yet
        c[beyond] = np.sum(c[last] * (-side) ** np.arange(ORDER)) * (np.arange(ORDER) == 0)
        noise[beyond], hidden[beyond], constant[beyond] = noise[last], False, False
    # elsewhere it turns by rounding
    told = (size > _FAINT * np.max(size)) | (tail(coefficients(slope)) < _FAINT * size)
    told &= np.ptp(slope, axis=1) > _FLAT * size
    turns = [
        middle[k] + half[k] * _roots(inside)
        for k in np.flatnonzero(~constant & told)
        for inside in (c[k], np.polynomial.legendre.legder(c[k]))
    ]
    # next to zero a turning point may lie just outside the panels on both sides of it
    trend = np.sign(np.stack([slope[:, 1] - slope[:, 0], slope[:, -1] - slope[:, -2]]))
    meeting = np.flatnonzero((trend[1, :-1] * trend[0, 1:] < 0) & told[:-1] & told[1:])
    near = np.minimum(half[:-1], half[1:])[meeting]
    met = right[meeting]
    found = np.concatenate([kinks, *turns])
    lonely = np.min(np.abs(met[:, None] - np.append(found, np.inf)), axis=1) > near
    turns.append(met[lonely])
    lost = right[:-1][hidden[1:] != hidden[:-1]]  # there it is cut off
    flat = _flat(left, right, slope, c, constant, kinks, noise)
    ends = flat[np.isfinite(flat)]
    turns = np.concatenate([np.zeros(0), *turns])  # where it is flat, by rounding
    turns = turns[~np.any((turns[:, None] > flat[:, 0]) & (turns[:, None] < flat[:, 1]), axis=1)]
    return SlopePieces(
        left=left, right=right, series=c, constant=constant, flat=flat, lost=lost, noise=noise,
        steep=steep.reshape(-1, 2),
        cuts=_apart(np.unique(np.concatenate([kinks, lost, ends])), turns),
    )  # fmt: skip


def _cancelled(left, right, constant, size, kinks) -> NDArray[np.bool_]:
    """Panels on which a slope is one number that a smooth one has come to by rounding.

    In `x - log(1 + e^x)` a difference of slopes has no digits left, and can be the same anywhere.
    """
    found = constant & (size <= _NOISY * np.max(size))
    for run in np.split(np.arange(len(left)), np.flatnonzero(np.diff(found)) + 1):
        ends = np.array([left[run[0]], right[run[-1]]])
        found[run] &= not np.all(np.isin(ends, [left[0], *kinks, right[-1]]))
    return found


def _innermost(left, right, unknown, kink: float, side: float) -> NDArray[np.int_]:
    """The panels on one side of a kink up to the first one that is known."""
    inner = int(np.argmin(np.abs((left if side > 0 else right) - kink)))
    known = np.flatnonzero(~unknown[inner :: int(side)])
    return inner + int(side) * np.arange(max(1, int(known[0])))


def _falling(activation: Activation, left: Array, right: Array, slope: Array, noise: Array):
    """The panels, those divided on which the slope falls by much.

    On these it is known beside its largest value, and is to be known beside itself.
    """
    size = np.abs(slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = np.ptp(np.log(size), axis=1)
    fall[~np.isfinite(fall) | (np.abs(np.sum(np.sign(slope), axis=1)) < ORDER)] = 0.0
    count = np.ceil(np.maximum(fall / _FALL, 1.0)).astype(int)
    steep = np.repeat(count, count) > 1
    part = np.arange(np.sum(count)) - np.repeat(np.cumsum(count) - count, count)
    step = np.repeat((right - left) / count, count)
    starts = np.repeat(left, count) + part * step
    ends = np.append(starts[1:], right[-1])
    slope, noise = np.repeat(slope, count, axis=0), np.repeat(noise, count)
    if np.any(steep):
        sampled = activation.sampled(nodes(starts[steep], ends[steep]).ravel()).slope
        if sampled is None:
            return left, right, slope[np.cumsum(count) - 1], noise[np.cumsum(count) - 1]
        slope[steep] = sampled.reshape(-1, ORDER)
        noise[steep] = tail(coefficients(slope[steep]))
    return starts, ends, slope, noise


def _apart(kinks: Array, turns: Array) -> Array:
    """Kinks and turning points in order, those that are one found twice as one."""
    turns = np.sort(turns)
    same = _SAME * (_SAME + np.abs(turns))
    kept = list[float]()
    for i in np.flatnonzero(np.all(np.abs(turns[:, None] - kinks) > same[:, None], axis=1)):
        if not kept or turns[i] - kept[-1] > same[i]:  # thousands, and in order
            kept.append(turns[i])
    return np.sort(np.concatenate([kinks, kept]))


def _roots(c: Array) -> Array:
    used = np.flatnonzero(c)
    if not len(used) or used[-1] == 0:
        return np.zeros(0)
    c = c[: used[-1] + 1]
    if abs(c[0]) > np.sum(np.abs(c[1:])):
        return np.zeros(0)
    roots = np.polynomial.legendre.legroots(c)
    real = np.real(roots[np.abs(np.imag(roots)) <= _ENDS])
    return np.clip(real[np.abs(real) <= 1 + _ENDS], -1.0, 1.0)


def _flat(left, right, slope, c, constant, kinks, noise) -> Array:
    """Runs of panels on which the slope is one number, and what differs from it by `LEVEL`."""
    runs: list[tuple[float, float]] = []
    level = slope[:, ORDER // 2]
    k = 0
    while k < len(left):
        if not constant[k]:
            k += 1
            continue
        j = k
        while (
            j + 1 < len(left)
            and constant[j + 1]
            and left[j + 1] not in kinks
            and abs(level[j + 1] - level[k])
            <= 4 * max(noise[k], noise[j + 1]) + _NOISY * abs(level[k])
        ):
            j += 1
        middle = (k + j) // 2
        known = noise[middle] < _LEVEL_KNOWN * LEVEL * abs(level[middle])
        low = -np.inf if k == 0 else left[k]
        high = np.inf if j == len(left) - 1 else right[j]
        if low != -np.inf and low not in kinks:
            low = _leaving(left, right, c, kinks, level[middle], k - 1, -1) if known else np.nan
        if high != np.inf and high not in kinks:
            high = _leaving(left, right, c, kinks, level[middle], j + 1, 1) if known else np.nan
        if high > low:
            runs.append((low, high))
        k = j + 1
    return np.array(runs).reshape(-1, 2)


def _leaving(left, right, c, kinks, level: float, k: int, side: int) -> float:
    """Where the slope has come to differ from a level, from panel `k` on to a side."""
    while True:
        ends = (left[k], right[k])[::side]
        inside = [
            0.5 * ((1 - t) * left[k] + (1 + t) * right[k])
            for sign in (-1, 1)
            for t in _roots(c[k] - level * (1 + sign * LEVEL) * (np.arange(ORDER) == 0))
        ]
        if inside:
            return float(min(inside, key=lambda x: abs(x - ends[0])))
        k += side
        if (
            ends[1] in kinks
            or not 0 <= k < len(left)
            or abs(np.sum(c[k] * (-side) ** np.arange(ORDER)) / level - 1) > LEVEL
        ):
            return float(ends[1])
