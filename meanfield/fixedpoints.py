r"""All fixed points of a network: where depth takes the size of a signal and the angle of two.

At a fixed point `q = V(q)` of the variance map the correlation of two inputs goes to a fixed point
`c*` of the correlation map: to 1 where `chi1 = weight_var E[phi'^2] <= 1`, else below. Distances to
`q` and `c*` fall by the slopes of the two maps in each layer, that is by 1/e in `depth_scale_q` and
`depth_scale_c` layers (Poole et al. 2016, arXiv 1606.05340; Schoenholz et al. 2017, arXiv
1611.01232).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite, nan
from typing import Any, overload

import numpy as np

from meanfield.activation import LEAST_REACH, Activation
from meanfield.criticality import depth_scale
from meanfield.gaussian import MOMENTS
from meanfield.keywords import spelt
from meanfield.maps.correlation import correlation_map
from meanfield.maps.moment import second_moment
from meanfield.maps.powers import NEAREST
from meanfield.maps.settle import Settling, VariancePoint, settling
from meanfield.maps.variance import network_of
from meanfield.network import FixedPoint, Network, Phase, digits, intervals
from meanfield.precision import EPS

__all__ = ["FixedPoints", "Verdict", "fixed_points"]


class Verdict(StrEnum):
    """What depth does to a network, in a sentence that names the next step."""

    ORDERED = (
        "ordered: two inputs become one, to 1/e in depth_scale_c layers, and gradients vanish; "
        "raise weight_var towards the edge of chaos, which critical(phi, bias_var=...) gives"
    )
    CHAOTIC = (
        "chaotic: inputs that are almost the same grow apart until their correlation is c*, "
        "settled to 1/e in depth_scale_c layers, and gradients explode; lower weight_var towards "
        "the edge of chaos, which critical(phi, bias_var=...) gives where there is one"
    )
    TORN = (
        "chaotic whatever the variances: phi jumps or its slope is unbounded, so chi1 is infinite "
        "and there is no edge of chaos; take a continuous approximation of it, such as a steep ramp"
    )
    CRITICAL = (
        "critical: on the edge of chaos, where gradients keep their mean square at any depth; "
        "use it: initializer(point) draws weights for it"
    )
    EXPLODES = (
        "variance explodes: from every input it grows without bound; lower weight_var, or take "
        "an activation that saturates"
    )
    EXPLODES_ABOVE = (
        "variance explodes above a threshold: inputs of a variance above explodes_above grow "
        "without bound; keep the inputs below it, or lower weight_var until it is inf"
    )
    COLLAPSES = (
        "variance collapses to 0: from every input the signal dies out; raise weight_var, or "
        "give the biases a variance"
    )
    FADES = (
        "critical at zero: from every input the variance falls to 0, and gradients with it, but "
        "not exponentially, mostly like a power of depth; use it for deep networks, or where the "
        "variance is to stay take critical(phi, q=...)"
    )
    SEVERAL = (
        "several fixed points attract: which one is reached depends on the variance of the "
        "inputs; look at basin of each and scale the inputs into the one that is wanted"
    )
    CONTINUUM = (
        "continuum of fixed points: every variance is kept as it is; scale the inputs to the "
        "variance that is wanted"
    )
    UNRESOLVED = (
        "unresolved: there are variances at which the activation cannot be computed, or V(q) not "
        "be told from q; look at unresolved and searched, or scale the activation"
    )


@dataclass(frozen=True, eq=False, repr=False)
class FixedPoints(Sequence[FixedPoint]):
    """All fixed points of a network in order of `q`, as a tuple of `FixedPoint`s that knows more.

    Attributes:
        network: the `Network`.
        points: the tuple itself.
        verdict: a `Verdict`; printing it prints a sentence with the next step.
        continuum: `(0, inf)` if every variance is a fixed point, else None.
        asymptotic_slope: the limit of `V(q) / q` at infinity, and
        asymptotic_error: a bound of its error.
        explodes: intervals of the variances that grow without bound.
        unresolved: intervals of an octave or more on which `V(q) = q` within the error of `V`, or
            in which a fixed point must lie that cannot be computed.
        searched: the variances between which the search is complete.
        end: why it went no farther up; empty if nothing prevented it.
    """

    network: Network
    points: tuple[FixedPoint, ...]
    verdict: Verdict
    continuum: tuple[float, float] | None
    asymptotic_slope: float
    asymptotic_error: float
    explodes: tuple[tuple[float, float], ...]
    unresolved: tuple[tuple[float, float], ...]
    searched: tuple[float, float]
    end: str

    @property
    def explodes_above(self) -> float:
        """The variance above which all grow without bound: 0 if all do, inf if it is not so."""
        return self.explodes[-1][0] if self.explodes and self.explodes[-1][1] == inf else inf

    @overload
    def __getitem__(self, index: int) -> FixedPoint: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[FixedPoint, ...]: ...
    def __getitem__(self, index: Any) -> Any:
        return self.points[index]

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[FixedPoint]:
        return iter(self.points)

    def __str__(self) -> str:
        lines = [f"FixedPoints of {self.network!r}"]
        if self.points:
            heads = ("q", "V'", "chi1", "c*", "phase", "stability")
            lines.append("  " + "".join(f"{head:<18}" for head in heads) + "basin")
        for p in self.points:
            names = ("q", "variance_slope", "chi1", "correlation")
            numbers = [digits(getattr(p, name), p.errors.get(name)) for name in names]
            cells = [*numbers, str(p.phase), str(p.stability)]
            lines.append("  " + "".join(f"{cell:<18}" for cell in cells) + intervals(p.basin or ()))
        lines.append(f"  {self.verdict}")
        for p in self.points:
            if not self.continuum and p.variance_slope == 1:
                lines.append(f"  q = {p.q:.6g}: {p.marginality}")
        slope = digits(self.asymptotic_slope, self.asymptotic_error)
        lines.append(f"  V(q)/q goes to {slope} as q grows")
        if self.explodes:
            lines.append(f"  explodes: {intervals(self.explodes)}")
        known = self.verdict is Verdict.FADES and self.points[0].variance_power_law > 0
        if self.unresolved and not known:  # near a marginal 0 of course it is so
            lines.append(f"  V(q) = q within its error: {intervals(self.unresolved)}")
        if self.end:
            lines.append(f"  searched up to q = {self.searched[1]:.3g}: {self.end}")
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the variance map with the fixed points; see `meanfield.plot.variance_map`."""
        from meanfield import plot

        return plot.variance_map(self, ax=ax, **options)


@spelt
def fixed_points(network: Network | FixedPoint) -> FixedPoints:
    r"""All fixed points `q = V(q)` of a network, stable and not, and what depth does around them.

    Complete between the variances in `searched`: `V(q) - q` is a piecewise polynomial there, and
    points where it only touches zero are found at its extrema. `q = 0` is among them where
    `V(0) = 0`, with limits from above as its fields.

    Args:
        network: a `Network` or a `FixedPoint`, with one weight and one bias variance.

    Returns:
        `FixedPoints`: a sequence of `FixedPoint`s with a `verdict`. Where every `q` is a fixed
        point (`continuum`), it holds the one at 0.

    Raises:
        TypeError: `network` is none, or depends on a value that JAX traces.
        ValueError: its variances are arrays.
        UnresolvedError: the activation cannot be sampled to useful accuracy.

    Source: Poole et al. 2016, arXiv 1606.05340; half-stable points: Roberts, Yaida & Hanin 2022,
    arXiv 2106.10165, chapter 5.

    Example:
        >>> import meanfield as mf
        >>> points = mf.fixed_points(mf.Network("gelu", weight_var=2.1, bias_var=0.02))
        >>> [(round(p.q, 9), p.stability) for p in points]
        [(0.046306929, 'stable'), (2.764941051, 'unstable')]
        >>> round(points.explodes_above, 9)
        2.764941051
        >>> print(mf.fixed_points(mf.Network("tanh", weight_var=0.9)).verdict)
        variance collapses to 0: ... raise weight_var, or give the biases a variance
    """
    network = network_of(network)
    found = settling(network)
    points = tuple(_point(network, p) for p in found.points)
    return FixedPoints(
        network=network,
        points=points,
        verdict=_verdict(found, points),
        continuum=found.continuum,
        asymptotic_slope=found.asymptotic_slope,
        asymptotic_error=found.asymptotic_error,
        explodes=found.explodes,
        unresolved=found.unresolved,
        searched=found.searched,
        end=found.end,
    )


def _verdict(found: Settling, points: tuple[FixedPoint, ...]) -> Verdict:
    """What the fixed points come to.

    | every q | explodes | points with a basin | verdict        |
    | ------- | -------- | ------------------- | -------------- |
    | fixed   |          |                     | CONTINUUM      |
    |         | some     | none                | EXPLODES       |
    |         | some     | any                 | EXPLODES_ABOVE |
    |         | none     | none                | UNRESOLVED     |
    |         | none     | several             | SEVERAL        |
    |         | none     | one                 | that of it     |
    """
    attracting = [p for p in points if p.basin]
    if found.continuum is not None:
        return Verdict.CONTINUUM
    if found.explodes:
        return Verdict.EXPLODES_ABOVE if attracting else Verdict.EXPLODES
    if not attracting:
        return Verdict.UNRESOLVED
    if len(attracting) > 1:
        return Verdict.SEVERAL
    return attracting[0].verdict


def _point(network: Network, point: VariancePoint) -> FixedPoint:
    """The `FixedPoint` with all that a fixed point of the variance map implies."""
    q, activation = point.q, network.activation
    weight_var = float(network.weight_var)
    q_error, slope_error, curvature_error = point.errors
    gradient = second_moment(activation, np.array([q]), "dphi2")
    chi1, chi1_error = weight_var * float(gradient.value[0]), 0.0
    if isfinite(chi1):
        chi1_error = weight_var * float(gradient.error[0]) + EPS * chi1
        if q_error > 0:
            chi1_error += weight_var * abs(float(gradient.first[0])) * q_error
        chi1 = 1.0 if abs(chi1 - 1) <= chi1_error else chi1
    phase = Phase.ORDERED if chi1 < 1 else Phase.CRITICAL if chi1 == 1 else Phase.CHAOTIC
    correlation, correlation_slope, correlation_errors = _correlation(
        network, q, chi1, q_error, chi1_error
    )
    torn = Verdict.TORN if chi1 == inf else Verdict[phase.name]
    verdict = torn
    if q == 0 and point.basin:
        verdict = Verdict.FADES if point.stability == "marginal" else Verdict.COLLAPSES
    depth_scale_q, depth_scale_c = depth_scale(point.slope), depth_scale(correlation_slope)
    errors = {
        "q": q_error, "weight_var": 0.0, "bias_var": 0.0, "chi1": chi1_error,
        "variance_slope": slope_error, "variance_curvature": curvature_error,
        "depth_scale_q": _scale_error(depth_scale_q, point.slope, slope_error),
        "depth_scale_c": _scale_error(
            depth_scale_c, correlation_slope, correlation_errors["correlation_slope"]
        ),
    }  # fmt: skip
    return FixedPoint(
        network=network, q=q, chi1=chi1, variance_slope=point.slope,
        variance_curvature=point.curvature, correlation=correlation,
        depth_scale_q=depth_scale_q, depth_scale_c=depth_scale_c,
        sparsity=_sparsity(activation, q), phase=phase, stable=point.stability == "stable",
        error=q_error / q if q else 0.0, errors={**errors, **correlation_errors},
        correlation_slope=correlation_slope, stability=point.stability, basin=point.basin,
        verdict=verdict,
    )  # fmt: skip


def _scale_error(scale: float, slope: float, slope_error: float) -> float:
    """The error of `-1 / ln |slope|`: the scale squared times the relative error of the slope."""
    return scale * scale * slope_error / abs(slope) if 0 < scale < inf else 0.0


def _correlation(
    network: Network, q: float, chi1: float, q_error: float, chi1_error: float
) -> tuple[float, float, dict[str, float]]:
    """`c*`, the slope of the correlation map there, and their errors.

    Of no size, two inputs have no correlation: where `q = 0` repels, `c*` is nan.
    """
    if chi1 <= 1:
        return 1.0, chi1, {"correlation": 0.0, "correlation_slope": chi1_error}
    if q == 0:
        return nan, nan, {"correlation": inf, "correlation_slope": inf}
    C = correlation_map(network, q)
    at = C.fixed_point()
    # An error of q moves 1 - C by as much, relatively, as it does the moments: by a small power,
    # twice that of the steeper one for good measure. Next to c = 1 also C'' is 1 / (1 - c) at most.
    powers = [
        q * float(m.first[0] / m.value[0])
        for m in (second_moment(network.activation, np.array([q]), f) for f in ("phi2", "dphi2"))
        if m.value[0] > 0 and isfinite(m.value[0])
    ]
    moved = 2 * max(1.0, *map(abs, powers)) * q_error / q
    shift = at.one_minus * moved / (1 - at.slope)
    errors = {
        "correlation": at.error + shift,
        "correlation_slope": at.slope_error + moved + 2 * shift / max(at.one_minus, shift),
    }
    return at.correlation, at.slope, errors


def _sparsity(activation: Activation, q: float) -> float:
    """`P(phi = 0)`; near zero only the sides matter on which `phi` is silent."""
    if q >= NEAREST:
        return float(activation.moments(np.array([q])).value[0, MOMENTS.index("sparsity")])
    samples = activation.columns(LEAST_REACH).samples
    right = int(np.searchsorted(samples.x, 0.0))
    return 0.5 * float(samples.silent[right - 1]) + 0.5 * float(samples.silent[right])
