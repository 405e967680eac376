"""Diagrams over clip levels: `clip_diagram`."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from math import inf, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import Activation
from meanfield.clip.clipping import clip_named
from meanfield.clip.margin import ends_of, highest_of, margins_of
from meanfield.clip.numbers import share, slope_of, variance, width_of
from meanfield.clip.rules import Noisy, Size, largest_by_risk
from meanfield.clip.search import NoLevel, edge_at, levels_of, scan_of
from meanfield.clip.subject import Subject, subject_of
from meanfield.criticality import checked_numbers
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.errors import NoCriticalPointError
from meanfield.keywords import spelt
from meanfield.whole import whole_number

if TYPE_CHECKING:
    from meanfield.clip.choice import ClipChoice

__all__ = ["ClipDiagram", "ClipRegion", "clip_diagram", "diagrams_around"]

Array = NDArray[np.float64]

_POINTS = 200
_NEARLY = 0.02  # of the whole way of the slope: where a diagram may end


class ClipRegion(IntEnum):
    """What the map of a clip level does with variances around `q`."""

    STABLE = 0  # q is stable, and nothing bounds its basin
    BISTABLE = 1  # q is stable, and an unstable fixed point bounds its basin
    UNSTABLE = 2  # |V'(q)| is not below 1
    NO_EDGE = 3  # no edge of chaos: the bias variance would be negative

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, eq=False, repr=False)
class ClipDiagram:
    """The edge of chaos over clip levels, at several sparsities; `clip_diagram` makes them.

    Arrays have shape (rows, len(m)); NaN where there is no edge of chaos.

    Attributes:
        subjects: what is clipped, one to a row.
        sparsity: of each row, shape (rows,).
        q: variance of the pre-activations.
        m: clip levels, shape (n,).
        weight_var, bias_var: on the edge of chaos.
        slope, curvature: `V'(q)` and `V''(q)` there.
        region: codes of `ClipRegion`.
        below, above: ends of the basin of `q`, the nearest unstable fixed points; NaN for none.
        margin: standard deviations of the noise at `size.width` to the nearer end.
        wanted: the slope that was asked for.
        threshold: the largest `m` of each row that has it, NaN where none, shape (rows,).
        size: width, depth and weights of the networks.
    """

    subjects: tuple[Subject, ...]
    sparsity: Array
    q: float
    m: Array
    weight_var: Array
    bias_var: Array
    slope: Array
    curvature: Array
    region: NDArray[np.int8]
    below: Array
    above: Array
    margin: Array
    wanted: float
    threshold: Array
    size: Size

    @property
    def name(self) -> str:
        """What is clipped."""
        first = self.subjects[0]
        return first.name if first.family is None else first.family.name

    def risk_levels(self, risk: float = 0.01, rows: int | None = None) -> Array:
        """The largest `m` of each row at which no more than that share of networks strays.

        Args:
            risk: as for `clip_threshold`.
            rows: of so many rows alone, 2 or more, and interpolated between: the level is smooth in
                the sparsity. Of all if not given.

        Returns:
            Array of shape (rows,), NaN where there is none and inf where no more stray at any `m`.

        Raises:
            ValueError: `risk` is no share, or `rows` below 2.
        """
        risk, last = share("risk", risk, "networks"), len(self.subjects) - 1
        which = np.arange(last + 1)
        if rows is not None:
            which = np.unique(np.linspace(0, last, whole_number("rows", rows, 2)).astype(int))
        levels = [self._risk_level(self.subjects[row], risk) for row in which]
        return np.interp(self.sparsity, self.sparsity[which], levels)

    def _risk_level(self, subject: Subject, risk: float) -> float:
        try:
            scan = scan_of(subject.clippable(self.q), self.q, subject.name)
            highest = highest_of(scan.edge, scan.m, self.q, subject.is_bounded)
            noisy = Noisy(subject.clippable(highest), self.q, self.size, subject.name)
            return largest_by_risk(noisy, scan, risk, highest)
        except NoLevel as error:
            return inf if error.every else nan
        except NoCriticalPointError:
            return nan

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw it: curves of a few sparsities, a map of many.

        See `meanfield.plot.clip_curves` and `meanfield.plot.clip_map`.
        """
        from meanfield import plot

        few = len(self.subjects) <= plot.MOST_CURVES
        return (plot.clip_curves if few else plot.clip_map)(self, ax, **options)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name; arrays as lists."""
        fields = vars(self).items()
        numbers = {name: value.tolist() for name, value in fields if isinstance(value, np.ndarray)}
        return {
            "activation": self.name,
            "clip": self.subjects[0].clip.name,
            "q": self.q,
            "wanted_slope": self.wanted,
            "width": self.size.width,
            "weights": str(self.size.weights),
            **numbers,
        }

    @cached_property
    def _summary(self) -> str:
        counts = (f"{np.mean(self.region == code):.0%} {code}" for code in ClipRegion)
        return ", ".join(counts)

    def __repr__(self) -> str:
        rows, n = self.slope.shape
        lines = [
            f"ClipDiagram of {self.name} at q = {self.q:.6g}: {rows} by {n} points, m from "
            f"{self.m[0]:.4g} to {self.m[-1]:.4g}",
            f"  {self._summary}",
        ]
        if rows <= 12:
            lines += [
                f"  sparsity {s:.4g}: V' = {self.wanted:g} at m = {m:.6g}"
                for s, m in zip(self.sparsity, self.threshold, strict=True)
            ]
        return "\n".join(lines)


@spelt
def clip_diagram(
    phi: Callable | str | Activation,
    sparsity: ArrayLike | None = None,
    m: ArrayLike | None = None,
    *,
    slope: float = 0.7,
    q: float = 1.0,
    clip: str = "two-sided",
    width: int = 300,
    depth: int = 100,
    weights: str | Ensemble = "gaussian",
) -> ClipDiagram:
    r"""The edge of chaos of a clipped activation over clip levels, at several sparsities.

    Args:
        phi: the activation, as for `clip_threshold`.
        sparsity: shares of silent neurons, increasing, shape (rows,), for `"shifted_relu"` and
            `"soft_threshold"`.
        m: clip levels, positive and increasing, shape (n,); 200, as far as `V'` changes, if not
            given.
        slope: the wanted `V'(q)`, marked in the pictures.
        q: variance of the pre-activations.
        clip: how values are clipped, as for `clip_threshold`.
        width: neurons a layer, for the noise.
        depth: layers, for the risk.
        weights: the ensemble.

    Returns:
        A `ClipDiagram`.

    Raises:
        ValueError: an argument is outside its range, or the activation is bounded already.

    Example:
        >>> import meanfield as mf, numpy as np
        >>> diagram = mf.clip_diagram("shifted_relu", [0.7, 0.85, 0.9], np.linspace(0.5, 2.5, 100))
        >>> diagram.slope.shape, diagram.threshold.round(3).tolist()
        ((3, 100), [1.447, 1.17, 1.063])
        >>> [str(mf.clip.ClipRegion(code)) for code in diagram.region[2, ::33]]
        ['stable', 'stable', 'bistable', 'bistable']
        >>> ax = diagram.plot()

    Source: Price et al. 2024, arXiv 2402.16184, figure 4 (slope and curvature over `m`).
    """
    q = variance("q", q)
    size = Size(width_of(width), whole_number("depth", depth, least=0), weights)
    ensemble_of(weights)
    how, wanted = clip_named(clip), slope_of(slope)
    if sparsity is None:
        subjects = (subject_of(phi, None, None, q, how),)
    else:
        shares = _increasing("sparsity", sparsity)
        subjects = tuple(subject_of(phi, s, None, q, how) for s in shares.tolist())
    for subject in subjects:
        subject.refuse()
    levels = _far_enough(subjects, q) if m is None else _increasing("m", m)
    if levels[0] <= 0 or not np.isfinite(levels[-1]):
        raise ValueError(f"m: must be positive and finite, got {levels[0]:g} to {levels[-1]:g}")
    rows = [_row(subject, levels, q, size) for subject in subjects]
    shares = [_share_of(subject, q) for subject in subjects] if sparsity is None else shares
    return ClipDiagram(
        subjects, np.asarray(shares, np.float64), q, levels,
        *(np.stack(column) for column in zip(*rows, strict=True)),
        wanted=wanted, size=size,
        threshold=np.array([_threshold(subject, q, wanted) for subject in subjects]),
    )  # fmt: skip


def diagrams_around(choice: "ClipChoice") -> tuple[ClipDiagram, ClipDiagram | None]:
    """Curves through a choice, between those of two sparsities; and the map around it.

    The map is of many sparsities: None where there are no closed forms, so that each would take
    samples of its own. An activation of one's own has one curve.
    """
    subject, s = choice.subject, choice.sparsity
    options: dict[str, Any] = {
        "slope": min(choice.slope, 0.999), "q": choice.q, "clip": subject.clip.name,
        "width": choice.width, "depth": choice.depth, "weights": choice.point.network.weights,
    }  # fmt: skip
    if subject.family is None:
        return clip_diagram(subject.unclipped, **options), None
    near = np.unique(np.clip([1.6 * s - 0.6, s, 1 - (1 - s) / 1.6], 0.01, 0.995))
    curves = clip_diagram(subject.family.name, near, **options)
    if subject.closed is None:
        return curves, None
    shares = np.linspace(min(0.5, 0.8 * s), max(0.97, 1 - (1 - s) / 4), 200)
    return curves, clip_diagram(subject.family.name, shares, curves.m, **options)


def _row(subject: Subject, m: Array, q: float, size: Size) -> tuple[Any, ...]:
    """The fields of one row of a diagram."""
    edge = edge_at(subject.clippable(q), m, q)
    highest = highest_of(edge, m, q, subject.is_bounded)
    clippable = subject.clippable(highest)
    ends = ends_of(clippable, m, q, edge, highest)
    margin = margins_of(q, edge, ends, size.width, size.weights, sampling=True)
    valid = (edge.bias_var >= 0) & np.isfinite(edge.slope)
    bounded = np.isfinite(ends.below) | np.isfinite(ends.above)
    region = np.select(
        [~valid, ~(np.abs(edge.slope) < 1), bounded],
        [ClipRegion.NO_EDGE, ClipRegion.UNSTABLE, ClipRegion.BISTABLE],
        ClipRegion.STABLE,
    ).astype(np.int8)
    held = region <= ClipRegion.BISTABLE
    columns = (edge.weight_var, edge.bias_var, edge.slope, edge.curvature)
    return (
        *(np.where(valid, column, np.nan) for column in columns),
        region,
        *(np.where(held, end, np.nan) for end in ends),
        margin,
    )


def _threshold(subject: Subject, q: float, slope: float) -> float:
    """The largest `m` with the wanted slope; NaN if there is none."""
    try:
        clippable = subject.clippable(q)
        scan = scan_of(clippable, q, subject.name)
        return float(levels_of(clippable, scan, q, slope, subject.name)[-1])
    except (NoLevel, NoCriticalPointError):
        return nan


def _far_enough(subjects: tuple[Subject, ...], q: float) -> Array:
    """Levels from nearly 0 to where the slope has come nearly all its way, in every row."""
    ends = []
    for subject in subjects:
        scan = scan_of(subject.clippable(q), q, subject.name)
        left = np.abs(scan.edge.slope[-1] - scan.edge.slope)
        ends.append(scan.m[np.flatnonzero(left > _NEARLY * np.max(left))[-1]])
    return np.linspace(0.01, 1.0, _POINTS) * 1.1 * max(ends)


def _share_of(subject: Subject, q: float) -> float:
    from meanfield.gaussian import MOMENTS

    moments = subject.unclipped.moments(np.array([q]))
    return float(moments.value[0, MOMENTS.index("sparsity")])


def _increasing(name: str, values: ArrayLike) -> Array:
    array = np.atleast_1d(checked_numbers(name, values))
    if array.ndim != 1 or not len(array) or np.any(np.diff(array) <= 0) or np.any(np.isnan(array)):
        raise ValueError(f"{name}: must be increasing numbers, shape (n,); got {values!r}")
    return array
