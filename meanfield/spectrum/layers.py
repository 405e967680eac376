r"""The law of a product of layers that differ: its atoms, and a component for each interval."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import ORDER, coefficients, nodes, tail
from meanfield.spectrum.axis import Axis, Points
from meanfield.spectrum.component import Component, at_halves, halves
from meanfield.spectrum.coupled import Kind, Product
from meanfield.spectrum.distribution import Distribution, middle
from meanfield.spectrum.intervals import Atoms, End, find_ends, intervals, scanned
from meanfield.spectrum.rigid import rigid_but_one

__all__ = ["Kind", "layered_distribution"]

Array = NDArray[np.float64]

_SCAN = 65
_BESIDE = 1e-7  # an atom
_LEAST = 1e-14  # an atom of less is none
_SAME = 1e-12  # atoms so near to one another are one
_PANELS = 8
_BISECTIONS = 10
_RESOLVED = 1e-11
_TRIES = 4


def layered_distribution(kinds: list[Kind]) -> tuple[Distribution, float]:
    """The law of `log s^2` over the inputs, and a bound of the error of its distribution."""
    axis, atoms = Axis(Product(tuple(kinds))), _atoms(kinds)
    parts: list[Any] | None = rigid_but_one(kinds)
    if parts is not None:
        parts = sorted([*atoms, *parts], key=middle)
    else:
        parts = _everything(axis, atoms)
    found = Distribution(axis.product.zero, tuple(parts))
    # a share of slopes changes as much of the rank in each layer, and no more of the distribution
    hidden = sum(kind.count * kind.law.hidden / kind.share for kind in kinds)
    return found, sum(part.error for part in found.components) + max(found.missing, hidden)


def _everything(axis: Axis, atoms: Atoms) -> list[Any]:
    """Atoms and components from the bottom up."""
    beside = [place + side * _BESIDE for place, _ in atoms for side in (-1, 1)]
    y = np.linspace(axis.negative[0][0], axis.negative[0][-1], _SCAN)
    points = axis.points(np.unique(np.append(y, beside)))
    parts: list[Any] = []
    for _ in range(_TRIES):
        points = scanned(axis, points, atoms)
        parts, gaps = _parts(axis, points, atoms)
        if not len(gaps.y):  # else there are more intervals than it seemed
            break
        points = points.and_(gaps)
    return parts


def _atoms(kinds: list[Kind]) -> Atoms:
    """`(y, mass)` of the atoms above 0: directions that are in an atom of every layer.

    Spaces in general position have in common what is left when what each lacks is taken away.
    """
    found = [(0.0, 1.0)]
    for kind in kinds:
        scale = kind.log_weight_var + np.log(max(1.0, kind.ratio) / kind.rank)
        lost = (1 - kind.kept) / (kind.share * kind.ratio)
        found = [
            (y + kind.count * (scale + float(np.log(value))),
             mass - kind.count * (lost + (1 - share) / kind.share))
            for y, mass in found
            for value, share in kind.law.atoms.tolist()
        ]  # fmt: skip
        found = [(y, mass) for y, mass in found if mass > _LEAST]
    atoms: Atoms = []
    for y, mass in sorted(found):
        if atoms and y - atoms[-1][0] < _SAME * (1 + abs(y)):
            atoms[-1] = atoms[-1][0], atoms[-1][1] + mass
        else:
            atoms.append((y, mass))
    return atoms


def _parts(axis: Axis, points: Points, atoms: Atoms) -> tuple[list[Any], Points]:
    """Atoms and components from the bottom up; and points in gaps that were met on the way."""
    runs = intervals(points, atoms)
    bounds = [
        (
            End.of(points, run, -1) if run.below else None,
            End.of(points, run, 1) if run.above else None,
        )
        for run in runs
    ]
    find_ends(axis, [end for pair in bounds for end in pair if end])
    parts: list[Any] = [(place, (place, mass)) for place, mass in atoms]
    met, beyond = points[:0], 0.0
    for run, (below, above) in list(zip(runs, bounds, strict=True))[::-1]:
        low, high = below.at if below else run.low, above.at if above else run.high
        bottom, top = max(low, float(points.y[0])), min(high, float(points.y[-1]))
        over = sum(mass for place, mass in atoms if place >= top)
        soft = bool(below and below.soft), bool(above and above.soft)
        part, gaps = _followed(axis, (low, bottom, top, high), soft, beyond + over)
        beyond, met = beyond + part.whole, met.and_(gaps)
        parts.append((0.5 * (bottom + top), part))
    return [part for _, part in sorted(parts, key=lambda pair: pair[0])], met


def _followed(
    axis: Axis, ends: tuple[float, float, float, float], soft: tuple[bool, bool], beyond: float
) -> tuple[Component, Points]:
    """The component between two ends, on panels that are bisected until all is resolved."""
    low, bottom, top, high = ends

    def place(phi: Array) -> Array:
        return top - (top - bottom) * np.sin(0.5 * phi) ** 2

    edges = np.linspace(0, np.pi, _PANELS + 1)
    left, right, done = edges[:-1], edges[1:], []
    at = nodes(left, right)
    start = axis.points(place(np.linspace(np.pi, 0, 2 * _PANELS + 2)[1:-1]))
    where = place(at).ravel()
    guess = np.array([np.interp(where, start.y, row) for row in start.state])
    gaps = start[start.gap]
    for generation in range(_BISECTIONS):
        y = place(at)
        point = axis.near(y.ravel(), guess)
        gaps = gaps.and_(point[point.gap])
        rate = 0.5 * (top - bottom) * np.sin(at)
        density = -axis.product.transforms(point.state[0])[2].imag.reshape(at.shape) / np.pi
        missed = tail(coefficients(rate * density)) * (right - left)
        good = (missed < _RESOLVED) | (generation == _BISECTIONS - 1)
        done.append([a[good] for a in (left, right, at, y, rate, density, missed)])
        if np.all(good):
            break
        left, right = halves(left[~good], right[~good])
        at = nodes(left, right)
        rows = point.state.reshape(len(guess), -1, ORDER)[:, ~good]
        guess = np.array([_split(row.real) + 1j * _split(row.imag) for row in rows])
    left, right, *values, missed = (np.concatenate(part) for part in zip(*done, strict=True))
    order = np.argsort(left)
    component = Component.of(
        (bottom, top), np.append(left[order], np.pi), *(a[order] for a in values),
        soft=soft, low=low, high=high, beyond=beyond, error=float(np.sum(missed)),
    )  # fmt: skip
    return component, gaps


def _split(values: Array) -> Array:
    """Values at the nodes of both halves of panels, from those of the panels."""
    return at_halves(coefficients(values)).ravel()
