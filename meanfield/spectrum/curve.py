"""The curve in the plane of `u` on which `z > 0`, followed from edge to edge."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.errors import UnresolvedError
from meanfield.legendre import NODES, ORDER, coefficients, nodes, tail
from meanfield.legendre import series as legendre_sum
from meanfield.precision import EPS
from meanfield.spectrum.component import Component, at_halves, halves
from meanfield.spectrum.transform import Point, Transform

__all__ = ["Sketch", "follow", "sketch"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

_LEAST = 1e-13  # probability beyond which the curve is not followed
_ITERATIONS = 60
_TINY = 1e-13  # an angle that is none
_STRIDE = 0.3  # longest step of Newton's method in log u
_CLOSE = 1e-10  # a step after which the next one is rounding
_PANELS = 6
_SKETCH = 32  # intervals of a sketch
_ENDS = 1e-3, 8e-3  # of its angles next to 0 and pi
_NUDGE = 16 * EPS  # an edge can be an atom of X, where nothing is finite
_FARTHEST = 320.0  # the square of exp(-320) is not yet 0
_OUTWARDS = np.geomspace(1e-2, 600.0, 32)
_RESOLVED = 1e-12
_BISECTIONS = 40
_MANY = 64  # panels that are not resolved at once: by no singularity, but by noise
_HALVINGS = 60
_LOST = 1e-6


class Sketch(NamedTuple):
    """Some points of the curve, from the top down."""

    log_u: Complex
    y: Array  # log x


def angles(transform: Transform, log_r: Array) -> Array:
    """The angle in `[0, pi)` at which each circle meets the curve; 0 where it does not.

    `Im F / sin(theta)` rises with `theta`: Newton's method in a bracket.
    """
    low, high = np.zeros(len(log_r)), np.full(len(log_r), np.pi)
    theta, active = np.full(len(log_r), 1.0), np.arange(len(log_r))
    for _ in range(_ITERATIONS):
        t = theta[active]
        point = transform.at(log_r[active] + 1j * t)
        sine = np.sin(t)
        g = point.F.imag / sine
        slope = (point.D.real - g * np.cos(t)) / sine
        low[active] = np.where(g < 0, t, low[active])
        high[active] = np.where(g < 0, high[active], t)
        with np.errstate(all="ignore"):
            new = t - g / slope
        inside = (new > low[active]) & (new < high[active])
        # where there is none, the bracket shrinks on 0
        share = np.where(low[active] == 0, 0.05, 0.5)
        new = np.where(inside, new, low[active] + share * (high[active] - low[active]))
        theta[active] = new
        active = active[(np.abs(new - t) > 1e-9 * new) & (new > _TINY)]
        if not len(active):
            break
    theta[theta <= _TINY] = 0.0
    return theta


def sketch(transform: Transform, low: float, high: float, count: int = _SKETCH) -> Sketch:
    """Points of the curve between the circles, as far as there is probability to be seen."""
    bottom, top = (np.log(low) if low else -np.inf), np.log(high)

    def last(start: float, side: int) -> float:
        """Where less is left than can be seen, outwards from a logarithm.

        `m = E[x/(z - x)]` and `n = E[z/(z - x)]` are what is left above and below `z`, or more.
        """
        near, far = 0.0, 0.0
        for steps in (_OUTWARDS, np.linspace(0, 1, 18)[1:]):
            grid = steps if far == 0 else near + (far - near) * steps
            log_r = np.clip(start + side * grid, -_FARTHEST, _FARTHEST)
            point = transform.at(log_r + 1j * angles(transform, log_r))
            seen = np.abs(point.m if side > 0 else point.n - transform.zero) > _LEAST
            k = np.argmin(np.append(seen[:-1], False))
            near, far = (grid[k - 1] if k else near), grid[k]
        return float(np.clip(start + side * far, -_FARTHEST, _FARTHEST))

    middle = np.log(transform.law.mean)
    if not low:
        bottom = last(min(top, middle), -1)
    if high == np.inf:
        top = last(max(bottom, middle), 1)
    phi = np.linspace(0, np.pi, count + 1)[1:-1]
    phi = np.concatenate([[0.0], _ENDS, phi, np.pi - np.array(_ENDS[::-1]), [np.pi]])
    log_r = bottom + (top - bottom) * np.cos(0.5 * phi) ** 2
    theta = np.zeros(len(phi))
    inner = slice(int(high < np.inf), len(phi) - int(low > 0))
    theta[inner] = angles(transform, log_r[inner])
    log_u = log_r + 1j * theta
    return Sketch(log_u, transform.at(log_u).F.real)


def follow(
    transform: Transform, low: float, high: float, known: Sketch, parts: Sequence[Any] = ()
) -> Component:
    """The component between the circles, by Newton's method from points near by.

    Panels are bisected until the density is resolved on each.

    Args:
        transform: of the Jacobian.
        low: radius of the inner circle.
        high: of the outer one.
        known: points of the component.
        parts: the `Component`s and atoms of the distribution that are known, all above it.
    """
    bottom, top = known.y[-1], known.y[0]
    if high < np.inf:
        top = _image(transform, high * (1 + _NUDGE))
    if low:
        bottom = _image(transform, low * (1 - _NUDGE))
    inside = np.isfinite(known.y)
    known = Sketch(known.log_u[inside], known.y[inside])
    place = 2 * np.arcsin(np.sqrt(np.clip((top - known.y) / (top - bottom), 0.0, 1.0)))
    # an atom of X that is all but an atom of the product leaves a singularity
    images = transform.depth * (np.log(transform.law.atoms[:, 0]) + transform.log_weight_var)
    images = images[(images > bottom) & (images < top)]
    singular = 2 * np.arcsin(np.sqrt((top - images) / (top - bottom)))
    ends = np.union1d(np.linspace(0.0, np.pi, _PANELS + 1), singular)
    left, right = ends[:-1], ends[1:]
    between = float(np.min(known.log_u.real)), float(np.max(known.log_u.real))
    phi = nodes(left, right)
    guess = np.interp(phi, place, known.log_u.real) + 1j * np.interp(phi, place, known.log_u.imag)
    limit = _RESOLVED + 4 * EPS * transform.depth
    done = []
    for generation in range(_BISECTIONS):
        target = top - (top - bottom) * np.sin(0.5 * phi) ** 2
        log_u, m = _solved(transform, target.ravel(), guess.ravel(), between)
        mass = -m.imag.reshape(phi.shape) / np.pi * 0.5 * (top - bottom) * np.sin(phi)
        log_u = log_u.reshape(phi.shape)
        series = coefficients(mass)
        missed = tail(series)
        good = missed < limit
        if generation == _BISECTIONS - 1 or np.sum(~good) > _MANY:
            good[:] = True
        done.append((left[good], right[good], series[good], missed[good], log_u[good, ORDER // 2]))
        if np.all(good):
            break
        left, right = halves(left[~good], right[~good])
        phi = nodes(left, right)
        guess = at_halves(coefficients(log_u.real)[~good]) + 1j * at_halves(
            coefficients(log_u.imag)[~good]
        )
    left, right, series, missed, middle = (np.concatenate(part) for part in zip(*done, strict=True))
    order = np.argsort(left)
    found = Component(
        low=bottom if low else -np.inf,
        high=top if high < np.inf else np.inf,
        bottom=bottom,
        top=top,
        edges=np.append(left[order], np.pi),
        mass=series[order],
        beyond=sum(
            part.whole if isinstance(part, Component) else part[1] * (part[0] >= top - 1e-9)
            for part in parts
        ),
        error=float(np.sum(missed * (right - left))),
    )
    # the closed form at a point of each panel is a check of all
    t = np.full(len(left), NODES[ORDER // 2])
    off = transform.above_at(middle[order]) - legendre_sum(found.above, t)
    return replace(found, error=found.error + float(np.max(np.abs(off))))


def _image(transform: Transform, r: float) -> float:
    """`log x` of an edge."""
    return float(transform.at(np.array([np.log(r) + 0j])).F.real[0])


def _solved(
    transform: Transform, target: Array, guess: Complex, between: tuple[float, float]
) -> tuple[Complex, Complex]:
    """`log u` at which `F` is the target, and `m` there, by Newton's method.

    Where it fails by bisecting radii between two logarithms.
    """
    log_u, active = guess.copy(), np.arange(len(target))
    m = np.empty(len(target), complex)
    for _ in range(_ITERATIONS):
        point: Point = transform.at(log_u[active])
        off = point.F - target[active]
        with np.errstate(all="ignore"):
            step = off / point.D
        size = np.where(np.isfinite(step), np.abs(step), 0.0)
        step[size == 0] = 0.0
        terms = transform.depth * (1 + np.abs(log_u[active])) + np.abs(target[active])
        done = (size <= _CLOSE) | (np.abs(off) <= 16 * EPS * terms)
        # next to an edge D vanishes
        step *= np.minimum(1.0, _STRIDE / np.maximum(size, _CLOSE))
        new = log_u[active] - step
        # below the axis nothing is known
        new.imag = np.where(new.imag < 0, 0.5 * log_u[active].imag, new.imag)
        # to first order, which is all where the step is small
        m[active] = point.m - step * point.um
        log_u[active] = new
        active = active[~done]
        if not len(active):
            return log_u, m
    low, high = (np.full(len(active), end) for end in between)
    for _ in range(_HALVINGS):
        log_r = 0.5 * (low + high)
        new = log_r + 1j * angles(transform, log_r)
        rises = transform.at(new).F.real < target[active]
        low, high = np.where(rises, log_r, low), np.where(rises, high, log_r)
    log_u[active], found = new, transform.at(new)
    m[active] = found.m
    lost = np.abs(found.F.real - target[active]) > _LOST * (1 + np.abs(target[active]))
    if not np.any(lost):
        return log_u, m
    raise UnresolvedError(
        f"depth: the spectrum of {transform.depth} layers is not resolved near log s = "
        f"{0.5 * target[active[lost][0]]:.6g}; ask for a smaller depth or q"
    )
