r"""Where depth takes the variance: all fixed points of `V`, what they attract, and what explodes.

`E[phi^2 (z^2/q - 1)] >= -E[phi^2]`, so that in `log q` the map never falls more steeply than with
slope -1/2. Hence it has no cycles: every variance goes to a fixed point or to infinity, and which
way it goes is decided by the signs of `V(q) - q`, with no iteration that stops and hopes. Where
`V` falls (sine, Gaussian) an iteration can jump over an unstable point; what it then lands in is
told by the preimages of those points, which cut the line into pieces that map into one another.
"""

from bisect import bisect_right
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from meanfield.activation import Activation, remembered
from meanfield.errors import UnresolvedError
from meanfield.maps.moment import OVERFLOW, Table, second_moment, table_of
from meanfield.maps.roots import Crossing, crossings, difference
from meanfield.maps.variance import VarianceMap, variance_map
from meanfield.network import FixedPoint, Network
from meanfield.precision import EPS

__all__ = ["Settling", "VariancePoint", "settled_variance", "settling"]

_STEP = 4  # binades by which the table of a function that oscillates grows
_HIGHEST = 272  # binade at which the search gives up
_FAR = 100  # binade at which limits are read off: 1e-15 is what 1/sqrt(q) leaves there
_LINEAR = 0.01  # an exponent of E[phi^2] that differs more from 1 is another
_SAME = 1e-9  # relative distance at which two preimages are one
_MANY = 64  # preimages; where there are more they pile up at an unstable point

Interval = tuple[float, float]


@dataclass(frozen=True)
class VariancePoint:
    """A fixed point of the variance map.

    Attributes:
        q: the variance.
        slope: `V'(q)`; from above at 0. Exactly 1 at a half-stable point.
        curvature: `V''(q)`.
        stability: `"stable"`, `"unstable"`, `"half-stable"` (attracts from one side), or
            `"marginal"` (the slope is 1 within its error, the point attracts or repels all the
            same: `attracts` tells).
        attracts: from below and from above.
        basin: intervals of the variances that go there, open at their ends.
        errors: bounds of the absolute errors of `q`, `slope` and `curvature`.
    """

    q: float
    slope: float
    curvature: float
    stability: str
    attracts: tuple[bool, bool]
    basin: tuple[Interval, ...]
    errors: tuple[float, float, float]


@dataclass(frozen=True)
class Settling:
    """All that depth does to variances.

    Attributes:
        points: the fixed points in order of `q`.
        continuum: `(0, inf)` if every variance is a fixed point, else None.
        asymptotic_slope: the limit of `V(q) / q` at infinity, and
        asymptotic_error: a bound of its error.
        explodes: intervals of the variances that grow without bound.
        unresolved: intervals of an octave or more on which `V(q) = q` within the error of `V`, or
            in which a fixed point must lie that cannot be computed.
        searched: the variances between which the search was complete.
        end: why it went no farther up; empty if infinity is known.
    """

    points: tuple[VariancePoint, ...]
    continuum: Interval | None
    asymptotic_slope: float
    asymptotic_error: float
    explodes: tuple[Interval, ...]
    unresolved: tuple[Interval, ...]
    searched: Interval
    end: str


@remembered
@np.errstate(all="ignore")
def growth(activation: Activation) -> tuple[float, float]:
    """The limit of `E[phi^2] / q` at infinity and a bound of its error."""
    table = table_of(activation)
    if table.end == OVERFLOW:
        return inf, 0.0
    q = np.exp2([_FAR, _FAR - 4.0])
    try:
        m = second_moment(activation, q)
    except UnresolvedError:
        m = None
    if m is None or np.any(np.isnan(m.value)):
        q = table.range[1] * np.array([1.0, 0.25])
        m = second_moment(activation, q)
    if m.value[0] == inf:
        return inf, 0.0
    exponent = q[0] * m.first[0] / m.value[0] if m.value[0] > 0 else 0.0
    if abs(exponent - 1) > _LINEAR:
        return (inf, 0.0) if exponent > 1 else (0.0, 0.0)
    # what is left goes as 1/sqrt(q), and is as large as what this takes away
    left = float(m.first[0] - m.first[1]) / (sqrt(q[0] / q[1]) - 1)
    return float(m.first[0]) + left, float(m.first_error[0]) + abs(left)


def _wider(activation: Activation, table: Table) -> Table | None:
    """A table that goes farther up, if there is any."""
    top = round(np.log2(table.range[1]))
    if top >= _HIGHEST:
        return None
    if table.end:
        wider = table_of(activation, top + _STEP, patient=True)
    else:
        wider = table_of(activation, 2 * top)
    return wider if wider.range[1] > table.range[1] else None


def settling(network: Network | FixedPoint) -> Settling:
    """All fixed points of the variance map of a network, and where every variance goes."""
    V = variance_map(network)
    limit, doubt = growth(V.activation)
    slope = V.weight_var * limit
    far = 0 if abs(slope - 1) <= V.weight_var * doubt + 4 * EPS else 1 if slope > 1 else -1
    table = table_of(V.activation)
    found = crossings(V, table)
    # below infinity but above the table there must be another fixed point
    end = table.end
    while -far == found.at_infinity != 0 and (wider := _wider(V.activation, table)) is not None:
        table, found, end = wider, crossings(V, wider), wider.end or end
    unresolved = found.unresolved
    beyond = found.at_infinity
    if found.at_infinity == 0:
        unresolved, continuum = (), (0.0, inf)
    else:
        continuum = None
        if -far == found.at_infinity:
            unresolved, beyond = (*unresolved, (table.range[1], inf)), 0
    points = [_point(V, root) for root in found.roots]
    origin = _origin(V, found.at_zero)
    if origin is not None:
        points.insert(0, origin)
    goals, pieces = _destinations(V, table, points, beyond) if continuum is None else ([], [])

    def going_to(goal: float) -> tuple[Interval, ...]:
        return tuple(piece for piece, at in zip(pieces, goals, strict=True) if at == goal)

    return Settling(
        points=tuple(
            VariancePoint(p.q, p.slope, p.curvature, p.stability, p.attracts, going_to(p.q),
                          p.errors) for p in points
        ),
        continuum=continuum,
        asymptotic_slope=slope,
        asymptotic_error=V.weight_var * doubt + EPS * slope if slope < inf else 0.0,
        explodes=going_to(inf),
        unresolved=unresolved,
        searched=table.range,
        end="" if end == OVERFLOW else end,
    )  # fmt: skip


@np.errstate(all="ignore")
def _point(V: VarianceMap, root: Crossing) -> VariancePoint:
    m = second_moment(V.activation, np.array([root.q]))
    w = V.weight_var
    slope, curvature = w * float(m.first[0]), w * float(m.second[0])
    off = float(V.error_of(m)[0]) + EPS * root.q
    # |1 - V'| d - |V''| d^2 / 2 = error: near a touching point q loses half its digits
    steep, bend = abs(1 - slope), abs(curvature)
    root_of = sqrt(max(steep * steep - 2 * bend * off, 0.0))
    touches = root.before == root.after
    shift = sqrt(2 * off / bend) if touches and bend else 2 * off / (steep + root_of or inf)
    shift = max(shift, root.width) + 4 * EPS * root.q
    slope_error = w * float(m.first_error[0]) + EPS * abs(slope) + bend * shift
    errors = (shift, slope_error, w * float(m.second_error[0]) + 4 * bend * shift / root.q)
    attracts = root.before > 0, root.after < 0
    if touches:
        return VariancePoint(root.q, 1.0, curvature, "half-stable", attracts, (), errors)
    if steep <= slope_error:
        return VariancePoint(root.q, 1.0, curvature, "marginal", attracts, (), errors)
    stability = "stable" if attracts[0] else "unstable"
    return VariancePoint(root.q, slope, curvature, stability, attracts, (), errors)


@np.errstate(all="ignore")
def _origin(V: VarianceMap, after: int) -> VariancePoint | None:
    """The fixed point at 0, if it is one; `after` is the sign of `V(q) - q` above it."""
    m = second_moment(V.activation, np.zeros(1))
    w = V.weight_var
    if w * m.value[0] + V.bias_var > 0:
        return None
    slope, curvature = w * float(m.first[0]), w * float(m.second[0])
    error = w * float(m.first_error[0]) + EPS * slope if np.isfinite(slope) else 0.0
    stability = "marginal" if abs(slope - 1) <= error else "stable" if slope < 1 else "unstable"
    attracts = stability == "stable" or (stability == "marginal" and after < 0)
    errors = (0.0, error, w * float(m.second_error[0]))
    slope = 1.0 if stability == "marginal" else slope
    return VariancePoint(0.0, slope, curvature, stability, (attracts, attracts), (), errors)


def _destinations(
    V: VarianceMap, table: Table, points: list[VariancePoint], beyond: int
) -> tuple[list[float | None], list[Interval]]:
    """Where each piece of the line goes: the `q` of a fixed point, infinity, or None (unknown)."""
    inside = [p.q for p in points if p.q > 0 and all(p.attracts)]
    edges = [p.q for p in points if p.q > 0 and not all(p.attracts)]
    ends = {0.0: points[0].q == 0 if points else False, **{q: True for q in edges}, inf: beyond > 0}
    edges, mixed = _preimages(V, table, edges)
    cuts = [0.0, *edges, inf]
    pieces = list(zip(cuts[:-1], cuts[1:], strict=True))
    unclear = {bisect_right(edges, q) for q in mixed}
    # each piece maps into one piece: that of the image of any variance in it
    goals: list[float | None] = [None] * len(pieces)
    images: list[int | None] = [None] * len(pieces)
    for k, (low, high) in enumerate(pieces):
        if k in unclear:
            continue
        attractor = [q for q in inside if low < q < high]
        if attractor:
            goals[k] = attractor[0]
            continue
        q = sqrt(low) * sqrt(high) if low > 0 and high < inf else 2 * low or min(high, 2.0) / 2
        try:
            rise, doubt = (float(part[0]) for part in difference(V, np.array([q]), None))
        except UnresolvedError:
            continue
        image = bisect_right(edges, q + rise)
        if image != k:
            images[k] = image
        elif abs(rise) > doubt:
            end = high if rise > 0 else low
            goals[k] = end if ends.get(end) else None
    for _ in pieces:  # there are no cycles
        goals = [
            goals[image] if goal is None and image is not None else goal
            for goal, image in zip(goals, images, strict=True)
        ]
    return goals, pieces


def _preimages(V: VarianceMap, table: Table, edges: list[float]) -> tuple[list[float], list[float]]:
    """The edges with all that is mapped onto them, and preimages of those when there are too many.

    Where `V` rises everywhere, nothing but a fixed point is mapped onto it.
    """
    known, queue = sorted(edges), list(edges)
    mixed: list[float] = []
    while queue:
        target = queue.pop(0)
        for root in crossings(V, table, target).roots:
            if any(abs(root.q - q) <= _SAME * q for q in known):
                continue
            if len(known) >= _MANY:
                mixed.append(root.q)
            else:
                known = sorted([*known, root.q])
                queue.append(root.q)
    return known, mixed


def settled_variance(network: Network | FixedPoint) -> float:
    """The variance of the pre-activations deep in a network: what functions of a network use.

    Args:
        network: a `FixedPoint`, which has its own `q`, stable or not; or a `Network`, which has
            its one stable fixed point, and `q = 1` if every variance is a fixed point.

    Raises:
        ValueError: the network has no stable fixed point or several; the message lists them.
    """
    if isinstance(network, FixedPoint):
        if np.ndim(network.q):
            raise ValueError(
                f"point: must be one fixed point, got q of shape {np.shape(network.q)}; take them "
                "one by one"
            )
        return float(network.q)
    found = settling(network)
    if found.continuum is not None:
        return 1.0
    stable = [p.q for p in found.points if p.stability == "stable"]
    if len(stable) == 1:
        return stable[0]
    if not found.points:
        listed = "its variance map has no fixed point: every variance grows without bound"
    else:
        listed = "fixed points " + ", ".join(
            f"q = {p.q:.10g} ({p.stability})" for p in found.points
        )
    number = "no stable fixed point" if not stable else f"{len(stable)} stable fixed points"
    raise ValueError(
        f"network: {network!r} has {number}, so it does not tell which variance is meant: "
        f"{listed}; give q, or one of fixed_points(network)"
    )
