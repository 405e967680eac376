"""One layer with orthogonal weights: `s^2` is `weight_var phi'(z)^2`, by change of variables.

Between the places where `X = phi'^2` turns, each value is taken once on each branch, and

    density of log X = sum over branches of  n(z) X / |dX/dz|,        X(z) = x.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import coefficients, nodes, tail
from meanfield.precision import EPS
from meanfield.spectrum.component import Component
from meanfield.spectrum.law import SlopeLaw
from meanfield.spectrum.path import SIGMAS

__all__ = ["single_layer"]

Array = NDArray[np.float64]

_APART = 1 + 1e-9  # values of X between which there is something
_HALVINGS = 60
_PANELS = 4
_BISECTIONS = 12
_RESOLVED = 1e-13
_SEEN = 8.0  # standard deviations: beyond is a probability of 1e-15
_LEAST = 1e-14
_TINIEST = 1e-130


class _Branches(NamedTuple):
    """Intervals of `z` on which `X` is monotone, and its values at their ends."""

    left: Array
    right: Array
    low: Array
    high: Array
    rising: NDArray[np.bool_]


def single_layer(law: SlopeLaw, shift: float) -> list[Any]:
    """The components of `log X + shift`, from the top down."""
    branches = _branches(law)
    found: list[Any] = []
    for low, high in law.bands[::-1]:
        turns = law.turns[(law.turns > low * _APART) & (law.turns * _APART < high)]
        cuts = [low, *turns, high]
        for a, b in list(zip(cuts[:-1], cuts[1:], strict=True))[::-1]:
            if b > a * _APART:
                found.append(_component(law, branches, a, b, shift, found))
    return found


def _branches(law: SlopeLaw) -> _Branches:
    pieces, sigma = law.pieces, law.sigma
    edges = np.clip(np.concatenate([[-SIGMAS], pieces.cuts / sigma, [SIGMAS]]), -SIGMAS, SIGMAS)
    edges = np.unique(edges)
    left, right = edges[:-1], edges[1:]
    centre = sigma * 0.5 * (left + right)[:, None]
    flat = np.any((centre > pieces.flat[:, 0]) & (centre < pieces.flat[:, 1]), axis=1)
    left, right = left[~flat], right[~flat]
    first, last = pieces.squared(sigma * left), pieces.squared(sigma * right, -1)
    return _Branches(left, right, np.fmin(first, last), np.fmax(first, last), last > first)


def _component(
    law: SlopeLaw, branches: _Branches, low: float, high: float, shift: float, above: list[Any]
) -> Component:
    """The part of the law between two values at which it may be singular."""
    bottom, top = _seen(law, branches, low, high)
    edges = np.linspace(0, np.pi, _PANELS + 1)
    left, right, done = edges[:-1], edges[1:], []
    for generation in range(_BISECTIONS):
        phi = nodes(left, right)
        x = np.exp(top - (top - bottom) * np.sin(0.5 * phi) ** 2)
        density = _density(law, branches, x.ravel()).reshape(x.shape)
        mass = density * 0.5 * (top - bottom) * np.sin(phi)
        series = coefficients(mass)
        missed = tail(series)
        # rounding of x next to an extremum of X
        rounding = EPS * np.max(mass / np.minimum(1 - np.cos(phi), 1 + np.cos(phi)), axis=1)
        missed = np.maximum(missed, rounding / (top - bottom))
        good = (missed < np.maximum(_RESOLVED, 4 * rounding)) | (generation == _BISECTIONS - 1)
        done.append((left[good], right[good], series[good], missed[good]))
        middle = 0.5 * (left + right)[~good]
        left, right = np.append(left[~good], middle), np.append(middle, right[~good])
        if not len(left):
            break
    left, right, series, missed = (np.concatenate(part) for part in zip(*done, strict=True))
    order = np.argsort(left)
    atoms = law.atoms[law.atoms[:, 0] >= high / _APART]
    found = Component(
        low=np.log(low) + shift if low else -np.inf,
        high=np.log(high) + shift,
        bottom=bottom + shift,
        top=top + shift,
        edges=np.append(left[order], np.pi),
        mass=series[order],
        beyond=sum(part.whole for part in above) + float(np.sum(atoms[:, 1])),
        error=float(np.sum(missed * (right - left))),
    )
    return found


def _seen(law: SlopeLaw, branches: _Branches, low: float, high: float) -> tuple[float, float]:
    """Logarithms of values between which all is that can be seen."""
    inside = (branches.low < high / _APART) & (branches.high > low * _APART)
    ends = []
    for end in (low, high):
        if 0 < end < np.inf:
            ends.append(np.log(end))
            continue
        # next to the turn, and where the Gaussian ends
        left, right = branches.left[inside], branches.right[inside]
        step = np.minimum(
            _LEAST * np.exp(0.5 * np.minimum(left**2, right**2)), 0.1 * (right - left)
        )
        z = np.clip(np.concatenate([left + step, right - step]), -_SEEN, _SEEN)
        x = law.pieces.squared(law.sigma * z)
        x = np.append(x[(x > low) & (x < high)], high * _TINIEST if end == 0 else 2 * low)
        ends.append(np.log(np.min(x[:-1], initial=x[-1]) if end == 0 else np.max(x)))
    return ends[0], ends[1]


def _density(law: SlopeLaw, branches: _Branches, x: Array) -> Array:
    """Of `log X`."""
    total = np.zeros(len(x))
    for k in range(len(branches.left)):
        on = (x > branches.low[k]) & (x < branches.high[k])
        if not np.any(on):
            continue
        target = x[on]
        below = np.full(len(target), branches.left[k])
        above = np.full(len(target), branches.right[k])
        for _ in range(_HALVINGS):
            z = 0.5 * (below + above)
            further = (law.pieces.squared(law.sigma * z) < target) == branches.rising[k]
            below, above = np.where(further, z, below), np.where(further, above, z)
        z = 0.5 * (below + above)
        with np.errstate(divide="ignore"):
            rate = np.abs(law.pieces.turning(law.sigma * z)) * law.sigma / target
            density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) / rate
        total[on] += np.where(np.isfinite(density), density, 0.0)
    return total
