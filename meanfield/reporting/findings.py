"""What a report is about: the results of the other wings for one activation, computed once."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from meanfield.activation import Activation
from meanfield.clip import ClipChoice, clip_threshold
from meanfield.criticality import CriticalLine, critical, line_of
from meanfield.dynamical_isometry.isometry import Isometry, isometry
from meanfield.edge import edge_where_known
from meanfield.errors import MeanFieldError
from meanfield.fixedpoints import FixedPoints, fixed_points
from meanfield.maps.correlation import CorrelationMap, correlation_map
from meanfield.network import FixedPoint
from meanfield.search import critical_points
from meanfield.width import FiniteWidth, finite_width

if TYPE_CHECKING:
    from meanfield.spectrum import Spectrum

__all__ = ["Findings", "findings_of", "width_needed"]

T = TypeVar("T")

# the variances that a person would choose, near 1 first
_ROUND = np.array([m * 10.0**e for e in range(-2, 3) for m in (1, 2, 5)])
_WINDOW = np.geomspace(1e-3, 1e3, 121)
_TANGENT = 1e-9  # a slope so near 1 is 1
_FOLLOWED = 2000  # layers
_ALIKE = 0.01  # of two inputs that differ by so little, as 1 - c


@dataclass(frozen=True, eq=False)
class Findings:
    """Results by their kinds; None where there is none, with the reason in `missing`.

    Attributes:
        activation: the `Activation`.
        depth: number of layers that was asked for.
        width: of the layers.
        edge: the edge of chaos for `q` from 1e-3 to 1e3, or as far as it can be computed; None
            where `phi` jumps.
        point: the critical point that is recommended.
        special: the points where both susceptibilities are 1.
        points: all fixed points of the recommended network.
        correlations: its correlation map.
        isometry: whether it can be isometric.
        spectrum: of the recommended network with the best weights.
        finite: its corrections at this width, by ensemble: with Gaussian weights, and with
            orthogonal ones where isometry asks for them.
        clip: where to clip, if the variance map asks for it.
        missing: reasons for what is None, by name.
    """

    activation: Activation
    depth: int
    width: int
    edge: CriticalLine | None
    point: FixedPoint | None
    special: tuple[FixedPoint, ...]
    points: FixedPoints | None
    correlations: CorrelationMap | None
    isometry: Isometry | None
    spectrum: "Spectrum | None"
    finite: dict[str, FiniteWidth]
    clip: ClipChoice | None
    missing: dict[str, str]

    @property
    def holds(self) -> bool:
        """Whether the recommended variance is kept: stable, or the same for all."""
        return self.point is not None and (
            bool(self.point.stable) or bool(self.points and self.points.continuum)
        )

    @cached_property
    def layers_to_alike(self) -> int | None:
        """Layers from `c = 0` to `1 - c = 0.01` where `c* = 1` is approached by a power of depth.

        Followed layer by layer, and far out by the law of the decay, where it holds.
        """
        C = self.correlations
        if C is None or C.decay.kind not in ("smooth", "kink"):
            return None
        below = np.flatnonzero(np.ravel(C.iterate(0.0, _FOLLOWED).one_minus) <= _ALIKE)
        if len(below):
            return int(below[0])
        return ceil((C.decay.coefficient / _ALIKE) ** (1 / C.decay.power))

    @property
    def best_stable(self) -> float | None:
        """The variance nearest to 1 on the edge of chaos that is stable; None if none is."""
        return None if self.edge is None else _nearest(self.edge, stable=True)


def width_needed(fw: FiniteWidth) -> float:
    """Neurons a layer from which on the depth is a sensible one; see `recommended_depth`."""
    return float(np.ceil(np.fmax(fw.least_width[-1], fw.least_width_for_gradients[-1])))


def _nearest(line: CriticalLine, stable: bool) -> float | None:
    """The `q` of a line that is nearest to 1, among the stable ones or all."""
    good = line.valid & (np.abs(line.variance_slope) < 1 - _TANGENT) if stable else line.valid
    if not np.any(good):
        return None
    return float(line.q[good][np.argmin(np.abs(np.log(line.q[good])))])


def _recommended(edge: CriticalLine | None, activation: Activation) -> float:
    """A round `q` near 1: a stable one if there is any, else any on the edge of chaos."""
    if edge is None or activation.is_homogeneous:
        return 1.0
    lines = [edge]
    with suppress(MeanFieldError):  # it may be known at none of these
        lines.insert(0, line_of(edge_where_known(activation, _ROUND)))
    for stable in (True, False):
        for line in lines:
            q = _nearest(line, stable)
            if q is not None:
                return q
    return 1.0


def _computed(C: CorrelationMap) -> CorrelationMap:
    """The map, asked for what a report tells of it: it computes nothing before."""
    _ = C.decay, C(0.0)
    return C


def findings_of(activation: Activation, q: float | None, depth: int, width: int) -> Findings:
    """Everything, one after the other; what cannot be had is told and not raised."""
    missing: dict[str, str] = {}

    def tried(name: str, compute: Callable[[], T]) -> T | None:
        try:
            return compute()
        except MeanFieldError as error:
            missing[name] = str(error)
            return None

    edge = tried("edge", lambda: line_of(edge_where_known(activation, _WINDOW)))
    chosen = _recommended(edge, activation) if q is None else q
    point = tried("point", lambda: critical(activation, q=chosen))
    special = tried("special", lambda: critical_points(activation)) or ()
    # one row of its table, which is the spectrum that is told
    at = None if point is None else float(point.q)
    judged = tried("isometry", lambda: isometry(activation, depth, at, "orthogonal"))
    points = correlations = spectrum = clip = None
    finite: dict[str, FiniteWidth] = {}
    if point is not None:
        points = tried("points", lambda: fixed_points(point))
        correlations = tried("correlations", lambda: _computed(correlation_map(point)))
        spectrum = judged.table[0].spectrum if judged is not None else None
        for weights in ("gaussian", "orthogonal"):
            if weights == "gaussian" or (judged and judged.verdict.weights == weights):
                of = tried(weights, partial(finite_width, point, depth, width, weights=weights))
                finite |= {} if of is None else {weights: of}
        if not activation.is_homogeneous and point.variance_slope > 1 - _TANGENT:
            clip = tried("clip", lambda: clip_threshold(activation, q=float(point.q), width=width))
    return Findings(
        activation, depth, width, edge, point, special, points, correlations, judged, spectrum,
        finite, clip, missing,
    )  # fmt: skip
