"""The expensive step, done once: an activation sampled in pre-activation space.

The panels are graded dyadically towards zero, split at every kink and bisected until the
activation is resolved. One set of nodes then serves every variance: the weight
`exp(-x^2 / 2q) / sqrt(2 pi q)` varies by the same amount across the panel `[x, 2x]` whichever
octave of `q` looks at it. Beyond a kink the panels are graded again, because there the
whole mass of a Gaussian moment can sit within `q / x` of the kink (`E[relu(x - 6)^2]`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.callables import Box
from meanfield.errors import MeanFieldError, UnresolvedError
from meanfield.kinks import Kinks, find_kinks, judge
from meanfield.legendre import WEIGHTS, coefficients, series, slope_series
from meanfield.panels import Panels, resolve
from meanfield.precision import EPS

__all__ = ["INNERMOST", "Samples", "sample"]

Array = NDArray[np.float64]

INNERMOST = -17  # the panels next to zero end at 2^-17: a variance of 1e-8 sees 13 of them
_BEYOND_KINK = 8  # e^-745 underflows, so q / x is at least x / 1490: graded down to x / 256
_NARROWEST = 2.0**-46
_SQUARE = 0.4999  # |x|^-a is square-integrable at 0 for a < 1/2


@dataclass(frozen=True)
class Samples:
    """An activation at the nodes of its panels. The arrays up to `silent` have shape `(n,)`."""

    x: Array
    dx: Array  # quadrature weights: an integral is `sum(f * dx)`
    width: Array  # of the node's panel
    value: Array
    slope: Array  # phi', the ordinary derivative between the kinks
    noise: Array  # what `value` may be wrong by
    slope_noise: Array
    silent: NDArray[np.bool_]  # phi = 0 on the whole panel, and a kink bounds the silence
    kinks: Array
    kink_doubts: Array  # what their positions may be wrong by
    jumps: Array  # positions where phi jumps
    jump_sides: Array  # values beside them, shape (jumps, 2)
    reach: tuple[float, float]  # ends of the range that was sampled
    broken: tuple[str | None, str | None]  # why it ends there, if the activation is to blame
    steep: tuple[bool, bool]  # whether phi'^2 and phi'^4 are not integrable at a kink


@np.errstate(all="ignore")  # what overflows is judged by its place and value
def sample(box: Box, reach: float, given_kinks: Array | None = None) -> Samples:
    """Sample `box` on `[-reach, reach]`, or as far as its values are finite.

    Args:
        box: the activation.
        reach: a power of two, at least 2.
        given_kinks: the kinks, all of them, if the caller knows; otherwise they are found.

    Raises:
        UnresolvedError: it is not resolved with any reasonable number of panels, or its
            derivative by differentiation is not that of its values.
        MeanFieldError: it is NaN or infinite in the middle of the range.
    """
    reaches, broken = _finite_range(box, reach)
    known, missed = given_kinks, np.array([])
    if known is None:
        for _ in range(3):
            kinks = find_kinks(box, *reaches, missed)
            panels = resolve(box, _graded(reaches, kinks.position, kinks.doubt), _NARROWEST)
            again = _missed(panels, kinks.pieces)
            if not len(again):
                break
            missed = np.union1d(missed, again)
    else:
        known = known[(known > reaches[0]) & (known < reaches[1])]
        pieces = resolve(box, _graded(reaches, known, 0 * known), _NARROWEST)
        kinks = judge(box, pieces, known, known, keep_all=True)
        panels = resolve(box, _graded(reaches, kinks.position, kinks.doubt), _NARROWEST)
    place, growth = _growth(panels, panels.value, kinks.position)
    if growth >= _SQUARE:
        raise MeanFieldError(
            f"activation: it grows like |x - b|^-{growth:.2g} towards b = {place:.6g}, so "
            "E[phi^2] is infinite; an activation must be square-integrable"
        )
    slope, slope_noise = _slopes(panels, kinks)
    _, steepness = _growth(panels, slope, kinks.position)
    per_node = np.ones_like(panels.x)
    return Samples(
        x=panels.x.ravel(),
        dx=(0.5 * (panels.right - panels.left)[:, None] * WEIGHTS).ravel(),
        width=((panels.right - panels.left)[:, None] * per_node).ravel(),
        value=panels.value.ravel(),
        slope=slope.ravel(),
        noise=(panels.noise[:, None] * per_node).ravel(),
        slope_noise=(slope_noise[:, None] * per_node).ravel(),
        silent=np.repeat(_silent(panels, kinks), panels.x.shape[1]),
        kinks=kinks.position,
        kink_doubts=kinks.doubt,
        jumps=kinks.position[kinks.is_jump],
        jump_sides=kinks.sides[kinks.is_jump],
        reach=reaches,
        broken=broken,
        steep=(steepness >= _SQUARE, steepness >= 0.5 * _SQUARE),
    )


def _finite_range(box: Box, reach: float) -> tuple[tuple[float, float], tuple]:
    """The largest range about zero on which the values are finite."""
    grid = np.concatenate([2.0 ** np.arange(INNERMOST - 3.0, 0), np.arange(1.0, 17.0, 0.0625)])
    grid = np.concatenate([grid, np.geomspace(17.0, max(reach, 17.1), 1024)])
    grid = 0.99713 * np.unique(np.append(grid[grid < reach], reach))  # where nobody puts a pole
    ends, broken = [], []
    for sign in (-1.0, 1.0):
        sampled = box(sign * grid)
        parts = [sampled.value] if sampled.slope is None else [sampled.value, sampled.slope]
        bad = ~np.all([np.isfinite(part) for part in parts], axis=0)
        if not np.any(bad):
            ends.append(sign * float(reach))
            broken.append(None)
            continue
        first = int(np.argmax(bad))
        what = sampled.value[first]
        what = f"it is {what}" if not np.isfinite(what) else "its derivative is not finite"
        if first == 0:
            raise MeanFieldError(
                f"activation: {what} at x = {sign * grid[0]:.3g}; it must be finite around zero"
            )
        ends.append(sign * float(grid[first - 1]))
        broken.append(f"{what} at x = {sign * grid[first]:.6g}")
    return (ends[0], ends[1]), (broken[0], broken[1])


def _graded(reaches: tuple[float, float], kinks: Array, doubts: Array) -> Array:
    """Edges at powers of two, at the kinks, and graded outwards from each kink."""
    octaves = 2.0 ** np.arange(INNERMOST, np.ceil(np.log2(max(-reaches[0], reaches[1]))) + 1)
    beyond = np.outer(kinks, 1 + 2.0 ** -np.arange(_BEYOND_KINK + 1)).ravel()
    edges = np.concatenate([-octaves, [0.0], octaves, beyond])
    for b, doubt in zip(kinks, doubts, strict=True):
        # no panel a few roundings wide, as between a kink at 1 + 1e-16 and the octave's edge at 1
        edges = edges[np.abs(edges - b) > 64 * EPS * abs(b) + 4 * doubt]
    edges = np.concatenate([edges, kinks])
    edges = edges[(edges > reaches[0]) & (edges < reaches[1])]
    return np.unique(np.concatenate([[reaches[0]], edges, [reaches[1]]]))


def _missed(panels: Panels, pieces: Panels) -> Array:
    """Edges of the panels on which the pieces do not give the values that are seen there."""
    x = panels.x.ravel()
    which = np.clip(np.searchsorted(pieces.left, x, side="right") - 1, 0, len(pieces.left) - 1)
    u = (2 * x - pieces.left[which] - pieces.right[which]) / (pieces.right - pieces.left)[which]
    predicted = series(coefficients(pieces.value)[which], u).reshape(panels.x.shape)
    miss = np.abs(predicted - panels.value)
    missed = miss > 1e-9 * np.max(np.abs(panels.value)) + 100 * panels.noise[:, None]
    missed &= panels.finished[:, None] & pieces.finished[which].reshape(panels.x.shape)
    bad = np.any(missed, axis=1)
    return np.union1d(panels.left[bad], panels.right[bad])


def _slopes(panels: Panels, kinks: Kinks) -> tuple[Array, Array]:
    """`phi'` at the nodes: as the box tells it, else from the series on the widest pieces."""
    pieces, shape, x = kinks.pieces, panels.x.shape, panels.x.ravel()
    width = pieces.right - pieces.left
    which = np.clip(np.searchsorted(pieces.left, x, side="right") - 1, 0, len(width) - 1)
    u = (2 * x - pieces.left[which] - pieces.right[which]) / width[which]
    values = coefficients(pieces.value)
    spectral = series(slope_series(values, width)[which], u).reshape(shape)
    # the largest |dP_n/du| for n = 15 is 120, beside an edge
    rounding = np.maximum(pieces.noise, EPS * np.max(np.abs(pieces.value), axis=1))
    doubt = np.max((100 / width * rounding)[which].reshape(shape), axis=1)
    trusted = panels.finished[:, None] & pieces.finished[which].reshape(shape)
    if panels.slope is None:
        miss = np.abs(series(values[which], u).reshape(shape) - panels.value)
        if len(_missed(panels, pieces)):
            where = panels.x.flat[np.argmax(miss * trusted)]
            raise UnresolvedError(
                f"activation: it has a feature near x = {where:.6g} too narrow to be "
                "differentiated from values alone; write it in JAX, or give `kinks=`"
            )
        return spectral, doubt + np.max(100 / width[which].reshape(shape) * miss, axis=1)
    wrong = np.abs(panels.slope - spectral) > 1e-4 * np.abs(panels.slope) + 1e6 * doubt[:, None]
    wrong &= np.abs(panels.slope - spectral) > 1e-4 * np.max(np.abs(spectral))
    wrong &= trusted
    if np.mean(wrong) > 0.02:
        at = panels.x[wrong][0]
        raise UnresolvedError(
            f"activation: its derivative by jax.jvp is {panels.slope[wrong][0]:.6g} at x = "
            f"{at:.6g}, but its values have slope {spectral[wrong][0]:.6g}. A custom derivative "
            "(straight-through estimator, stop_gradient) has no single mean-field theory: pass "
            "the function without it"
        )
    return panels.slope, panels.slope_noise


def _silent(panels: Panels, found: Kinks) -> NDArray[np.bool_]:
    """Panels on which phi is zero, in runs that a kink bounds: others only underflow."""
    kinks, zero = found.position, panels.value == 0
    for b, doubt in zip(kinks, found.doubt, strict=True):
        zero |= np.abs(panels.x - b) <= doubt
    zero = np.all(zero, axis=1) & np.any(panels.value == 0, axis=1)
    starts = zero & ~np.concatenate([[False], zero[:-1]])
    run = np.cumsum(starts) * zero
    for r in range(1, run.max(initial=0) + 1):
        inside = np.nonzero(run == r)[0]
        ends = panels.left[inside[0]], panels.right[inside[-1]]
        if not np.all(zero) and not np.isin(ends, kinks).any():
            zero[inside] = False
    return zero


def _growth(panels: Panels, f: Array, kinks: Array) -> tuple[float, float]:
    """Where `f` grows fastest towards a kink, and the `a` with which it does, as `|x - b|^-a`."""
    place, growth = 0.0, 0.0
    for b in np.append(kinks, 0.0):
        for side in (panels.x < b, panels.x > b):
            distance, size = np.abs(panels.x[side] - b), np.abs(f[side])
            targets = max(abs(b), 2.0**-6) * 2.0 ** np.array([-32, -24, -16])
            nodes = [np.argmin(np.abs(distance - target)) for target in targets]
            if np.any(distance[nodes] > 4 * targets):
                continue  # a smooth side has no panels so small
            rise = np.min(-np.diff(np.log(size[nodes])) / np.diff(np.log(distance[nodes])))
            if np.isfinite(rise) and rise > growth:
                place, growth = float(b), float(rise)
    return place, growth
