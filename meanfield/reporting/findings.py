"""What a report is about: the results of the other wings for one activation, computed once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from meanfield.activation import Activation
from meanfield.clip import ClipChoice, clip_threshold
from meanfield.criticality import CriticalLine, critical, critical_line
from meanfield.dynamical_isometry.isometry import Isometry, isometry
from meanfield.errors import MeanFieldError
from meanfield.fixedpoints import FixedPoints, fixed_points
from meanfield.maps.correlation import CorrelationMap, correlation_map
from meanfield.network import FixedPoint
from meanfield.search import critical_points
from meanfield.width import FiniteWidth, finite_width

if TYPE_CHECKING:
    from meanfield.spectrum import Spectrum

__all__ = ["Findings", "findings_of"]

T = TypeVar("T")

# the variances that a person would choose, near 1 first
_ROUND = np.array([m * 10.0**e for e in range(-2, 3) for m in (1, 2, 5)])
_WINDOW = np.geomspace(1e-3, 1e3, 121)
_TANGENT = 1e-9  # a slope so near 1 is 1


@dataclass(frozen=True, eq=False)
class Findings:
    """Results by their kinds; None where there is none, with the reason in `missing`.

    Attributes:
        activation: the `Activation`.
        depth: number of layers that was asked for.
        width: of the layers.
        edge: the edge of chaos for `q` from 1e-3 to 1e3; None where `phi` jumps.
        point: the critical point that is recommended.
        special: the points where both susceptibilities are 1.
        points: all fixed points of the recommended network.
        correlations: its correlation map.
        isometry: whether it can be isometric.
        spectrum: of the recommended network with the best weights.
        finite: its corrections at this width.
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
    finite: FiniteWidth | None
    clip: ClipChoice | None
    missing: dict[str, str]

    @property
    def holds(self) -> bool:
        """Whether the recommended variance is kept: stable, or the same for all."""
        return self.point is not None and (
            bool(self.point.stable) or bool(self.points and self.points.continuum)
        )


def _recommended(edge: CriticalLine, activation: Activation) -> float:
    """A round `q` near 1: a stable one if there is any, else any on the edge of chaos."""
    if activation.is_homogeneous:
        return 1.0
    line = critical_line(activation, _ROUND)
    near = np.abs(np.log(_ROUND))
    for good in (line.valid & (np.abs(line.variance_slope) < 1 - _TANGENT), line.valid):
        if np.any(good):
            return float(_ROUND[good][np.argmin(near[good])])
    return float(edge.q[edge.valid][0]) if np.any(edge.valid) else 1.0


def findings_of(activation: Activation, q: float | None, depth: int, width: int) -> Findings:
    """Everything, one after the other; what cannot be had is told and not raised."""
    missing: dict[str, str] = {}

    def tried(name: str, compute: Callable[[], T]) -> T | None:
        try:
            return compute()
        except MeanFieldError as error:
            missing[name] = str(error)
            return None

    edge = tried("edge", lambda: critical_line(activation, _WINDOW))
    chosen = q
    if q is None:
        chosen = (
            1.0 if edge is None or activation.is_homogeneous else _recommended(edge, activation)
        )
    point = tried("point", lambda: critical(activation, q=chosen))
    special = tried("special", lambda: critical_points(activation)) or ()
    # one row of its table, which is the spectrum that is told
    at = None if point is None else float(point.q)
    judged = tried("isometry", lambda: isometry(activation, depth, at, "orthogonal"))
    points = correlations = spectrum = finite = clip = None
    if point is not None:
        points = tried("points", lambda: fixed_points(point))
        correlations = tried("correlations", lambda: correlation_map(point))
        spectrum = judged.table[0].spectrum if judged is not None else None
        finite = tried("finite", lambda: finite_width(point, depth=depth, width=width))
        if not activation.is_homogeneous and point.variance_slope > 1 - _TANGENT:
            clip = tried("clip", lambda: clip_threshold(activation, q=float(point.q), width=width))
    return Findings(
        activation, depth, width, edge, point, special, points, correlations, judged, spectrum,
        finite, clip, missing,
    )  # fmt: skip
