"""The law of a product of equal layers: its atoms, and a component for each arc of the curve."""

from dataclasses import replace
from typing import Any

import numpy as np

from meanfield.precision import EPS
from meanfield.spectrum.component import Component
from meanfield.spectrum.curve import Sketch, follow, image, redrawn, sketch
from meanfield.spectrum.distribution import Distribution, middle
from meanfield.spectrum.edges import Arc, arcs
from meanfield.spectrum.law import SlopeLaw
from meanfield.spectrum.single import single_layer
from meanfield.spectrum.transform import Transform

__all__ = ["equal_layers"]

_ROUNDS = 6
_SOME = 3  # of the points of the curve one in so many is a check of the law
_SETTLED = 1e-13  # of probability: what is less does not matter
_TINY = 1e-10  # relative: of radii


def equal_layers(transform: Transform) -> tuple[Distribution, float]:
    """The law of `log s^2`, and a bound of the error of its distribution function."""
    if not len(transform.law.bands):
        return Distribution(1.0, ()), 0.0
    if transform.on_axis and isinstance(transform.law, SlopeLaw):
        parts = single_layer(transform.law, transform.log_weight_var)
        parts = sorted([*(a[1:] for a in transform.atoms()), *parts], key=middle)
    else:
        parts = _followed(transform)
    found = Distribution(transform.law.zero, tuple(parts))
    # a share of slopes changes as much of the rank in each layer, and no more of the distribution
    hidden = transform.depth * transform.law.hidden
    return found, sum(part.error for part in found.components) + max(found.missing, hidden)


def _followed(transform: Transform) -> list[Any]:
    """Atoms and components from the bottom up, on a law that is resolved all along the curve."""
    found: list[tuple[Arc, Component]] = []
    atoms, known = transform.atoms(), list[Sketch]()
    for _ in range(_ROUNDS):
        where = arcs(transform, transform.law.seen)
        if len(known) == len(where):
            known = [redrawn(transform, *pair) for pair in zip(where, known, strict=True)]
        else:
            known = [sketch(transform, arc) for arc in where]
        edges = [r for arc in where for r, soft in zip(arc, arc.soft, strict=False) if soft]
        points = [np.exp(near.log_u) for near in known]
        law = transform.law.refined(np.concatenate([edges, *points]))
        if law is not transform.law:
            transform = replace(transform, law=law)
            continue
        found, above, finer = [], 0.0, transform
        for arc, near in zip(where, known, strict=True):
            beyond = above + sum(mass for value, _, mass in atoms if value >= arc.high)
            part, log_u, finer = follow(finer, arc, near, beyond)
            found.append((arc, part))
            points.append(np.exp(log_u[::_SOME]))
            above += part.whole
        finer = replace(finer, law=finer.law.refined(np.concatenate([edges, *points])))
        enough = max(_SETTLED, 0.1 * sum(part.error for _, part in found))
        if finer.law is law or _same(transform, finer, np.log(np.concatenate(points)), enough):
            break
        transform = finer
    placed = [(arc.high, part) for arc, part in _to_their_ends(transform, found)]
    placed += [(value, (y, mass)) for value, y, mass in atoms]
    return [part for _, part in sorted(placed, key=lambda pair: pair[0])]


def _same(one: Transform, other: Transform, log_u: Any, enough: float) -> bool:
    """Whether two laws of slopes give the same spectrum along a curve: panels were fine enough."""
    a, b = one.at(log_u), other.at(log_u)
    # next to an atom m is as large as one likes, and places are known to rounding
    m_off = np.abs(a.m - b.m) / np.maximum(np.abs(a.m), 1.0)
    rounding = 16 * EPS * (one.depth + np.abs(a.F))
    off = np.maximum(m_off, np.maximum(np.abs(a.F - b.F) - rounding, 0.0) * np.abs(a.m.imag))
    return bool(np.all(off < enough))


def _to_their_ends(
    transform: Transform, found: list[tuple[Arc, Component]]
) -> list[tuple[Arc, Component]]:
    """The components with the ends of the support where next to nothing is seen of it."""
    law = transform.law
    if np.array_equal(law.bands, law.seen):
        return found
    result = []
    for whole in arcs(transform, law.bands):
        inside = [
            pair for pair in found
            if whole.low * (1 - _TINY) <= pair[0].low and pair[0].high <= whole.high * (1 + _TINY)
        ]  # fmt: skip
        if not inside:
            continue
        # of what lies between them one is as good as the other
        lows = [part.high for _, part in inside[1:]]
        lows.append(image(transform, np.log(whole.low), 1) if whole.low else -np.inf)
        top = image(transform, np.log(whole.high), -1) if whole.high < np.inf else np.inf
        highs = [max(top, inside[0][1].high), *(part.high for _, part in inside[1:])]
        result += [
            (arc, replace(part, low=min(low, part.low), high=high))
            for (arc, part), low, high in zip(inside, lows, highs, strict=True)
        ]
    # where next to nothing is seen an edge may be rounding, and what is seen lies on no one arc
    return result if len(result) == len(found) else found
