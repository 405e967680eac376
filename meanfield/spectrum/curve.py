r"""The curve in the plane of `u` on which `z > 0`, followed from edge to edge.

Each circle `|u| = r` meets it once, so that it is followed by `log r` and found by its angle: there
is nothing that could be lost. Along it

    dy / dlog r = |D|^2 / Re D > 0,        y = log s^2 = Re F,

and towards an edge outside of `X` it comes down to the axis like a root of the distance.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import coefficients, nodes, tail
from meanfield.precision import EPS
from meanfield.spectrum.component import Component, at_halves, halves
from meanfield.spectrum.edges import Arc
from meanfield.spectrum.transform import Transform

__all__ = ["Sketch", "follow", "image", "redrawn", "sketch"]

Array = NDArray[np.float64]
Complex = Any  # an array of complex128

_LEAST = 1e-15  # probability beyond which the curve is not followed
_UNSEEN = 1e-16  # of a panel whose shape is of no matter
_ITERATIONS = 80
_TINY = 1e-20  # an angle that is none; next to an atom they are as small as the distance from it
_CLOSE = 1e-9  # a step of an angle, relative, after which the next one is rounding
_NEAR = 1e-3  # one after which steps fall, by more than half, or are rounding
_PANELS = 3
_NUDGE = 16 * EPS  # an end can be an atom of X, where nothing is finite
_FARTHEST = 690.0
_OUTWARDS = np.geomspace(1e-2, 1400.0, 13)
_RESOLVED = 1e-13
_BISECTIONS = 50
_SOME = 3  # of the points of a panel one in so many is a check of the law
_USUAL = 3  # times that panels are bisected where the law is resolved: then that is checked
_MANY = 256  # panels that are not resolved at once: by no singularity, but by noise
_SMALL = 1e-8  # a misfit of which rounding can be the reason
_SHARE = 0.25  # of what is missed
_NOISE = 0.25  # where it does not fall by more when a panel is halved, it is


class Sketch(NamedTuple):
    """A few points of the curve, at the nodes of even panels in `phi`.

    `bottom` and `top` are the ends of `log r`, as far as there is probability.
    """

    bottom: float
    top: float
    theta: Array
    log_u: Complex


def angles(transform: Transform, log_r: Array, guess: Array | None = None) -> Array:
    """The angle in `[0, pi)` at which each circle meets the curve; 0 where it does not.

    `Im F / sin(theta)` rises with `theta`: Newton's method in a bracket.
    """
    low, high = np.zeros(len(log_r)), np.full(len(log_r), np.pi)
    theta = np.full(len(log_r), 1.0) if guess is None else np.clip(guess, 2 * _TINY, np.pi - 1e-15)
    before, active = np.full(len(log_r), np.inf), np.arange(len(log_r))
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
        step = np.abs(new - t) / t
        inside = (new > low[active]) & (new < high[active])
        close = (step <= _CLOSE) | inside & (step <= _NEAR) & (step > 0.5 * before[active])
        close |= high[active] - low[active] <= _CLOSE * t  # a sign in it may have been rounding
        before[active] = np.where(inside, step, np.inf)
        # where there is none, the bracket shrinks on 0
        share = np.where(low[active] == 0, 0.05, 0.5)
        halved = low[active] + share * (high[active] - low[active])
        new = np.where(close | inside, new, halved)
        theta[active] = new
        active = active[~close & (new > _TINY)]
        if not len(active):
            break
    theta[theta <= _TINY] = 0.0
    return theta


def _place(phi: Array, bottom: float, top: float, bent: tuple[bool, bool]) -> tuple[Array, Array]:
    """`log r` at angles from 0, at the top, to pi, and its derivative without the sign.

    Quadratic towards bent ends, so that `theta` is smooth there.
    """
    width, t = top - bottom, phi / np.pi
    if bent == (True, True):
        return top - width * np.sin(0.5 * phi) ** 2, 0.5 * width * np.sin(phi)
    if bent == (False, True):
        return top - width * t**2, 2 * width * t / np.pi
    if bent == (True, False):
        return bottom + width * (1 - t) ** 2, 2 * width * (1 - t) / np.pi
    return top - width * t, np.full(phi.shape, width / np.pi)


def redrawn(transform: Transform, arc: Arc, known: Sketch) -> Sketch:
    """A sketch again, with a law that is known better."""
    bottom = np.log(arc.low) if arc.low else known.bottom
    top = np.log(arc.high) if arc.high < np.inf else known.top
    return _sketched(transform, arc, bottom, top, lambda _: known.theta)


def sketch(transform: Transform, arc: Arc) -> Sketch:
    """Points of the curve on an arc, as far as there is probability to be seen."""
    bottom, top = (np.log(arc.low) if arc.low else -np.inf), np.log(arc.high)
    passed = np.zeros((2, 0))  # log r and angles, in order, on the way outwards

    def guess(log_r: Array) -> Array | None:
        return np.interp(log_r, passed[0], passed[1]) if passed.size else None

    def last(start: float, side: int) -> float:
        """Where less is left than can be seen, outwards from a logarithm.

        `m = E[x/(z - x)]` and `n = E[z/(z - x)]` are what is left above and below `z`, or more.
        """
        nonlocal passed
        near, far = 0.0, 0.0
        for steps in (_OUTWARDS, np.linspace(0, 1, 18)[1:]):
            grid = steps if far == 0 else near + (far - near) * steps
            log_r = np.clip(start + side * grid, -_FARTHEST, _FARTHEST)
            theta = angles(transform, log_r, guess(log_r))
            passed = np.hstack([passed, [log_r, theta]])
            passed = passed[:, np.argsort(passed[0])]
            point = transform.at(log_r + 1j * theta)
            seen = np.abs(point.m if side > 0 else point.n - transform.law.at_zero) > _LEAST
            k = np.argmin(np.append(seen[:-1], False))
            near, far = (grid[k - 1] if k else near), grid[k]
        return float(np.clip(start + side * far, -_FARTHEST, _FARTHEST))

    middle = np.log(transform.law.mean)
    if not arc.low:
        bottom = last(min(top, middle), -1)
    if arc.high == np.inf:
        top = last(max(bottom, middle), 1)
    return _sketched(transform, arc, bottom, top, guess)


def _sketched(transform: Transform, arc: Arc, bottom: float, top: float, guess: Any) -> Sketch:
    edges = np.linspace(0.0, np.pi, _PANELS + 1)
    log_r = _place(nodes(edges[:-1], edges[1:]), bottom, top, arc.bent)[0].ravel()
    theta = angles(transform, log_r, guess(log_r))
    return Sketch(bottom, top, theta, log_r + 1j * theta)


def follow(
    transform: Transform, arc: Arc, known: Sketch, beyond: float
) -> tuple[Component, Complex, Transform]:
    """The component on an arc, the points of the curve that it was made of, and what resolves them.

    Panels are bisected until all is resolved on each, where the law of slopes is not what is not.

    Args:
        transform: of the Jacobian.
        arc: the arc.
        known: a sketch of it.
        beyond: the probability above.
    """
    depth = transform.depth
    edges = np.linspace(0.0, np.pi, _PANELS + 1)
    left, right = edges[:-1], edges[1:]
    phi, guess = nodes(left, right), known.theta
    before = np.full((2, len(left)), np.inf)  # missed on what they are halves and quarters of
    done, generation, checked, known_to = [], 0, False, 0.0
    while True:
        log_r, rate = _place(phi, known.bottom, known.top, arc.bent)
        theta = angles(transform, log_r.ravel(), guess.ravel()).reshape(phi.shape)
        log_u = log_r + 1j * theta
        point = transform.at(log_u.ravel())
        D = point.D.reshape(phi.shape)
        y, density = (a.reshape(phi.shape) for a in (point.F.real, -point.m.imag / np.pi))
        with np.errstate(all="ignore"):
            rate = rate * np.abs(D) ** 2 / D.real
        rate = np.where(np.isfinite(rate), np.maximum(rate, 0.0), 0.0)
        density = np.where(np.isfinite(density), density, 0.0)  # at an atom
        mass = rate * density
        rounding = 16 * EPS * (depth + np.max(np.abs(y), axis=1))
        off = np.maximum(tail(coefficients(y)) - rounding, 0.0) * np.max(density, axis=1)
        missed = np.maximum(tail(coefficients(mass)), off) * (right - left)
        good = (missed < _RESOLVED) | (np.max(mass, axis=1) * (right - left) < _UNSEEN)
        good |= (missed < _SMALL) & (missed > _NOISE * np.max(before, axis=0))
        if generation >= _USUAL and not checked and not np.all(good):
            law = transform.law.refined(np.exp(log_u[~good][:, ::_SOME]).ravel())
            if law is not transform.law:
                transform, guess, checked = replace(transform, law=law), theta, True
                continue
        generation, checked = generation + 1, False
        if generation == _BISECTIONS or np.sum(~good) > _MANY:
            good[:] = True
        known_to += float(np.sum(missed[good]))
        if np.sum(missed[~good]) < _SHARE * known_to:  # of no matter beside what is noise
            good[:] = True
        done.append([a[good] for a in (left, right, phi, y, rate, density, missed, log_u)])
        if np.all(good):
            break
        left, right = halves(left[~good], right[~good])
        phi = nodes(left, right)
        before = np.repeat([missed[~good], before[0, ~good]], 2, axis=1)
        guess = at_halves(coefficients(theta)[~good])
    left, right, phi, y, rate, density, missed, log_u = (
        np.concatenate(part) for part in zip(*done, strict=True)
    )
    order = np.argsort(left)
    ends = (
        image(transform, known.bottom, 1, arc.soft[0]),
        image(transform, known.top, -1, arc.soft[1]),
    )
    found = Component.of(
        ends, np.append(left[order], np.pi), phi[order], y[order], rate[order], density[order],
        arc.soft, low=ends[0] if arc.low else -np.inf,
        high=ends[1] if arc.high < np.inf else np.inf, beyond=beyond, error=float(np.sum(missed)),
    )  # fmt: skip
    return found, log_u[order].ravel(), transform


def image(transform: Transform, log_r: float, side: int, soft: bool = True) -> float:
    """`y` at an end of an arc, from its inner side; a soft one is on the axis."""
    inside = np.array([log_r + side * _NUDGE * (1 + abs(log_r))])
    log_u: Complex = inside + 0j if soft else inside + 1j * angles(transform, inside)
    return float(transform.at(log_u).F.real[0])
