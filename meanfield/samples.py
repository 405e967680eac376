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
from meanfield.errors import MeanFieldError
from meanfield.kinks import Kinks, find_kinks, judge
from meanfield.legendre import ORDER, WEIGHTS
from meanfield.panels import Panels, largest_within, resolve
from meanfield.precision import EPS
from meanfield.slopes import from_values, slopes

__all__ = ["INNERMOST", "Samples", "sample"]

Array = NDArray[np.float64]

INNERMOST = -17  # the panels next to zero end at 2^-17: a variance of 1e-8 sees 13 of them
_BEYOND_KINK = 8  # e^-745 underflows, so q / x is at least x / 1490: graded down to x / 256
_NARROWEST = 2.0**-46
_CLOSE = 2.0**-10  # a kink takes the place of edges that are, relatively, no farther from it
_NARROW = 2.0 ** -(_BEYOND_KINK + 1)  # relative width of panels that need no dividing
_PARTS, _MOST_PARTS = 1.5, 16  # of a panel, for each power of e by which phi grows on half of it
_SQUARE = 0.4999  # |x|^-a is square-integrable at 0 for a < 1/2
UNBOUNDED = 0.02  # a smooth slope has changed by less, from 2^-16 to 2^-24 beside a kink


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
    log_scale: Array  # `value`, `slope` and noises are to be multiplied by its exponential
    silent: NDArray[np.bool_]  # phi = 0 on the whole panel, and a kink bounds the silence
    kinks: Array
    kink_doubts: Array  # what their positions may be wrong by
    jumps: Array  # positions where phi jumps
    jump_sides: Array  # values beside them, shape (jumps, 2)
    reach: tuple[float, float]  # ends of the range that was sampled
    broken: tuple[str | None, str | None]  # why it ends there, if the activation is to blame
    steepness: float  # phi' grows like |x - b|^-steepness towards a kink; 0 where it is bounded

    def is_infinite(self, power: int) -> bool:
        """Whether `E[|phi'|^power]` diverges at a kink."""
        return bool(len(self.jumps)) or power * self.steepness >= 2 * _SQUARE


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
    missed = np.array([])
    for _ in range(3):
        if given_kinks is None:
            kinks = find_kinks(box, *reaches, missed)
        else:
            known = given_kinks[(given_kinks > reaches[0]) & (given_kinks < reaches[1])]
            edges = np.union1d(_graded(reaches, known, 0 * known), missed)
            kinks = judge(box, resolve(box, edges, _NARROWEST), known, known, keep_all=True)
        panels = resolve(box, _graded(reaches, kinks.position, kinks.doubt), _NARROWEST)
        panels = _graded_for_powers(box, panels, kinks.position)
        seen = from_values(panels, kinks.pieces, box.eps)
        if not len(seen.missed):
            break
        missed = np.union1d(missed, seen.missed)
    place, growth = _growth(panels, panels.value, kinks.position)
    if growth >= _SQUARE:
        raise MeanFieldError(
            f"activation: it grows like |x - b|^-{growth:.2g} towards b = {place:.6g}, so "
            "E[phi^2] is infinite; an activation must be square-integrable"
        )
    slope, slope_noise = slopes(panels, seen)
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
        log_scale=np.zeros(panels.x.size),
        silent=np.repeat(_silent(panels, kinks), panels.x.shape[1]),
        kinks=kinks.position,
        kink_doubts=kinks.doubt,
        jumps=kinks.position[kinks.is_jump],
        jump_sides=kinks.sides[kinks.is_jump],
        reach=reaches,
        broken=broken,
        steepness=steepness if steepness > UNBOUNDED else 0.0,
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
        blurred = min(4 * doubt, _CLOSE * abs(b)) + 64 * EPS * abs(b)
        edges = edges[np.abs(edges - b) > blurred]
    edges = np.concatenate([edges, kinks])
    edges = edges[(edges > reaches[0]) & (edges < reaches[1])]
    return np.unique(np.concatenate([[reaches[0]], edges, [reaches[1]]]))


def _graded_for_powers(box: Box, panels: Panels, kinks: Array) -> Panels:
    """The panels, those divided on which `phi` grows outwards so much that `phi^4` needs more.

    Sixteen nodes integrate `x^12 exp(-x^2 / 2q)` on an octave, not `x^28`. What begins at a kink
    or at zero has its grading already.
    """
    outwards = np.abs(panels.left + panels.right)[:, None] < 2 * np.abs(panels.x[:, [0, -1]])
    size = np.abs(panels.value)
    outer, middle = np.where(outwards[:, 1], size[:, -1], size[:, 0]), size[:, ORDER // 2]
    inner = np.where(outwards[:, 1], panels.left, panels.right)
    free = panels.finished & (middle > 0) & np.isfinite(outer)
    free &= panels.right - panels.left > _NARROW * np.abs(inner)
    free &= ~np.isin(inner, np.append(kinks, 0.0))
    ends = np.maximum(np.abs(panels.left), np.abs(panels.right))
    free &= outer > 2 * largest_within(ends, np.max(size, axis=1), np.abs(inner))
    growth = np.log(np.where(free, outer, 1.0) / np.where(free, middle, 1.0))
    parts = np.clip(np.ceil(_PARTS * growth), 1, _MOST_PARTS)
    if np.all(parts == 1):
        return panels
    steps = np.arange(_MOST_PARTS) / parts[:, None]
    edges = panels.left[:, None] + (panels.right - panels.left)[:, None] * steps
    return resolve(box, np.append(edges[steps < 1], panels.right[-1]), _NARROWEST)


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
    b = np.append(kinks, 0.0)
    rise = growth_beside(panels.x.ravel(), f.ravel(), b)
    fastest = int(np.argmax(rise))
    return float(b[fastest % len(b)]), float(rise.ravel()[fastest])


@np.errstate(all="ignore")  # there are no powers of what is not positive and finite
def growth_beside(x: Array, f: Array, kinks: Array) -> Array:
    """The `a >= 0` with which `f` grows below and above kinks, as `|x - b|^-a`: shape (2, n)."""
    size, b = np.abs(f), kinks[:, None]
    targets = np.maximum(np.abs(b), 2.0**-6) * 2.0 ** np.array([-32, -24, -16])
    rises = []
    for side in (-1.0, 1.0):
        node = np.clip(np.searchsorted(x, b + side * targets), 0, len(x) - 1)
        distance = side * (x[node] - b)
        # a smooth side has no panels so small
        near = np.all((distance > 0) & (distance <= 4 * targets), axis=1)
        rise = np.min(-np.diff(np.log(size[node])) / np.diff(np.log(distance)), axis=1)
        rises.append(np.where(near & (rise > 0) & np.isfinite(rise), rise, 0.0))
    return np.array(rises)
