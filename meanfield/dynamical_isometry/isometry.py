"""`isometry`: can deep networks of an activation be isometric, at which `q`, with which weights?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import Activation, as_activation
from meanfield.criticality import checked_variances, critical
from meanfield.dynamical_isometry.classes import q_for_depth
from meanfield.dynamical_isometry.logarithms import log_moments
from meanfield.dynamical_isometry.mirrored import mirrored
from meanfield.dynamical_isometry.scan import EdgeScan, edge_scan
from meanfield.dynamical_isometry.spread import slope_spread
from meanfield.dynamical_isometry.verdict import IsometryVerdict, judge
from meanfield.edge import edge_at
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.errors import UnresolvedError
from meanfield.keywords import spelt
from meanfield.network import FixedPoint
from meanfield.spectrum import Spectrum, jacobian_spectrum
from meanfield.whole import whole_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Growth", "Isometry", "IsometryRow", "isometry"]

Array = NDArray[np.float64]

_USUAL = (0.01, 0.1, 1.0)
MIRRORED = "mirrored"


_NUMBERS = (
    "q", "weight_var", "bias_var", "variance_slope", "log_std", "s_max", "condition_number",
    "inner_condition_number", "at_zero", "growth", "lasts",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class IsometryRow:
    """A network on the edge of chaos, and the singular values `s` of its Jacobian.

    Attributes:
        weights: the ensemble.
        point: the `FixedPoint`; with mirrored weights that of `mirrored(phi)`, on half the width.
        growth: what each layer adds to `Var(s^2) / E[s^2]^2`.
        log_std: standard deviation of `log s`, of those that are not 0.
        spectrum: the `Spectrum`; None where it could not be resolved, and the numbers that rest
            on it are nan.
    """

    weights: str
    point: FixedPoint
    growth: float
    log_std: float
    spectrum: Spectrum | None

    q = property(lambda self: float(self.point.q))
    weight_var = property(lambda self: float(self.point.weight_var))
    bias_var = property(lambda self: float(self.point.bias_var))
    variance_slope = property(lambda self: float(self.point.variance_slope))

    @property
    def lasts(self) -> float:
        """The depth at which the variance of `s^2` is 1; inf where it does not grow."""
        return 1 / self.growth if self.growth else inf

    @property
    def s_max(self) -> float:
        """The largest singular value."""
        return self.spectrum.s_max if self.spectrum else nan

    @property
    def condition_number(self) -> float:
        """The largest over the smallest; inf where they go down to 0."""
        return self.spectrum.condition_number if self.spectrum else nan

    @property
    def inner_condition_number(self) -> float:
        """The 99 % quantile over the 1 % quantile."""
        if self.spectrum is None:
            return nan
        low, high = self.spectrum.log_quantile([0.01, 0.99])
        with np.errstate(over="ignore"):
            return float(np.exp(high - low)) if low > -inf else inf

    @property
    def at_zero(self) -> float:
        """The share of singular values that are 0."""
        if self.spectrum is None:
            return nan
        return float(sum(mass for s, mass in self.spectrum.atoms if s == 0))

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name."""
        return {"weights": self.weights} | {name: getattr(self, name) for name in _NUMBERS}


@dataclass(frozen=True, eq=False, repr=False)
class Isometry:
    """Whether deep networks of an activation can be isometric, and how near they come.

    Attributes:
        activation: the `Activation`.
        depth: the number of layers of what is in the table.
        verdict: an `IsometryVerdict`; printing it prints a sentence with the next step.
        table: `IsometryRow`s, for each `q` and each ensemble.
        best_q: the `q` on the edge of chaos at which `phi'^2` varies least, for this depth: where
            that vanishes in a limit, `q_for_depth(depth)`; nan if there is no edge.
        spread_at_zero, spread_at_infinity: limits of `Var(phi'^2) / E[phi'^2]^2`, which orthogonal
            weights add to the variance of `s^2` in each layer, as `q -> 0` and `q -> inf`.
        scan: the `EdgeScan`: this spread along the whole edge of chaos.
    """

    activation: Activation
    depth: int
    verdict: IsometryVerdict
    table: tuple[IsometryRow, ...]
    best_q: float
    scan: EdgeScan

    @property
    def spread_at_zero(self) -> float:
        """The limit as `q -> 0`, whether there is an edge of chaos or not."""
        return self.scan.at_zero

    @property
    def spread_at_infinity(self) -> float:
        """The limit as `q -> inf`."""
        return self.scan.at_infinity

    def q_for_depth(self, depth: int | None = None, variance: float = 1.0) -> float:
        """The `q` that keeps the variance of `s^2` at a depth; see `meanfield.q_for_depth`."""
        return q_for_depth(self.activation, self.depth if depth is None else depth, variance)

    def spectrum(
        self, q: float | None = None, weights: "str | Ensemble" = "orthogonal"
    ) -> Spectrum:
        """The whole spectrum at this depth; at `best_q` if no `q` is given."""
        point = _point(self.activation, self.best_q if q is None else q, weights)
        return jacobian_spectrum(point, self.depth)

    def growth(
        self,
        q: float | None = None,
        weights: "str | Ensemble | Sequence[str | Ensemble] | None" = None,
        depths: Sequence[int] | None = None,
    ) -> "Growth":
        """How the singular values spread with depth, at a fixed `q`.

        Args:
            q: a variance on the edge of chaos; `best_q` if not given.
            weights: one ensemble or several; those of the table if not given.
            depths: numbers of layers; powers of 2, and `depth`, if not given.
        """
        q = self.best_q if q is None else float(q)
        kinds = (
            _several(weights)
            if weights is not None
            else list(dict.fromkeys(row.weights for row in self.table))
        )
        if depths is None:
            depths = [2**k for k in range(1, self.depth.bit_length()) if 2**k < self.depth]
            depths = [*depths, self.depth]
        depths = [whole_number("depths", depth) for depth in depths]
        rows = [[_row(self.activation, q, kind, depth) for depth in depths] for kind in kinds]
        numbers = {
            name: np.array([[getattr(row, name) for row in line] for line in rows])
            for name in ("s_max", "log_std", "condition_number", "inner_condition_number")
        }
        return Growth(self.activation, q, tuple(map(str, kinds)), np.array(depths), **numbers)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name; the verdict by its name and as its sentence."""
        return {
            "activation": self.activation.name,
            "depth": self.depth,
            "verdict": self.verdict.name,
            "sentence": str(self.verdict),
            "best_q": self.best_q,
            "spread_at_zero": self.spread_at_zero,
            "spread_at_infinity": self.spread_at_infinity,
            "table": [row.to_dict() for row in self.table],
        }

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the spread of slopes and the spectra; see `meanfield.plot.isometry`."""
        from meanfield import plot

        return plot.isometry(self, ax, **options)

    def __str__(self) -> str:
        lines = [f"Isometry of {self.activation.name} at depth {self.depth}", f"  {self.verdict}"]
        if self.table:
            heads = ("q", "weights", "sd of ln s", "s_max", "condition", "of 98 %", "share at 0",
                     "lasts", "V'")  # fmt: skip
            lines.append("  " + "".join(f"{head:<14}" for head in heads).rstrip())
        for row in self.table:
            names = ("log_std", "s_max", "condition_number", "inner_condition_number", "at_zero",
                     "lasts", "variance_slope")  # fmt: skip
            numbers = [getattr(row, name) for name in names]
            cells = [f"{row.q:.4g}", row.weights, *(f"{number:.4g}" for number in numbers)]
            lines.append("  " + "".join(f"{cell:<14}" for cell in cells).rstrip())
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)

    __repr__ = __str__

    @property
    def notes(self) -> list[str]:
        """What else there is to know, in sentences."""
        notes = []
        if self.table:
            notes.append("lasts: layers until the variance of s^2 is 1")
        if any(row.variance_slope > 1 for row in self.table):
            notes.append(
                "where V' > 1 the edge of chaos does not hold its q: the variance leaves it"
            )
        if any(row.spectrum is None for row in self.table):
            notes.append("nan: the spectrum could not be resolved")
        return notes


@dataclass(frozen=True, eq=False)
class Growth:
    """Singular values at several depths; arrays of shape (ensembles, depths), as in the table."""

    activation: Activation
    q: float
    weights: tuple[str, ...]
    depths: Array
    s_max: Array
    log_std: Array
    condition_number: Array
    inner_condition_number: Array

    def plot(self, ax: "Axes | None" = None, **options: Any) -> "Axes":
        """Draw them against depth; see `meanfield.plot.growth`."""
        from meanfield import plot

        return plot.growth(self, ax, **options)


@spelt
def isometry(
    phi: "Callable | str | Activation",
    depth: int = 64,
    q: ArrayLike | None = None,
    weights: "str | Ensemble | Sequence[str | Ensemble] | None" = None,
) -> Isometry:
    r"""Whether deep networks of an activation can keep all singular values of their Jacobian at 1.

    On the edge of chaos the mean of `s^2` is 1 at any depth; each layer adds
    `Var(phi'^2) / E[phi'^2]^2`, and with Gaussian weights 1 more, to its variance. The verdict
    follows from where this spread vanishes.

    Args:
        phi: the activation: a function, a name or an `Activation`.
        depth: the number of layers.
        q: variances on the edge of chaos, for the table; chosen if not given.
        weights: an ensemble or a list of them, for the table: names, `Ensemble`s, and
            `"mirrored"` for mirrored orthogonal weights. Orthogonal and Gaussian if not given, and
            mirrored ones if they are the way.

    Returns:
        An `Isometry`, with `verdict`, `table`, `q_for_depth()`, `growth()`, `spectrum()`, `plot()`.

    Raises:
        NoCriticalPointError: `phi` jumps, so that `chi1` is infinite, or is constant; or there is
            no edge of chaos at a `q` that was asked for.
        UnresolvedError: the activation cannot be sampled to useful accuracy.
        ValueError, TypeError: `depth` is no number of layers, or there is no such ensemble.

    Source: Pennington, Schoenholz & Ganguli 2017, arXiv 1711.04735, and 2018, arXiv 1802.09979.

    Example:
        >>> import meanfield as mf
        >>> [mf.isometry(phi).verdict.name for phi in ("tanh", "relu", "identity", "sigmoid")]
        ['AT_ZERO', 'MIRRORED', 'EXACT', 'CENTRED']
        >>> row = mf.isometry("relu", depth=16, weights="orthogonal").table[0]
        >>> round(row.s_max**2, 3), row.at_zero
        (42.126, 0.5)
    """
    depth, activation = whole_number("depth", depth), as_activation(phi)
    kinds = _several(weights)
    scan = edge_scan(activation)
    verdict = judge(scan)
    if weights is None:
        kinds = ["orthogonal", "gaussian"]
        if verdict in (IsometryVerdict.MIRRORED, IsometryVerdict.MIRRORED_LIMIT):
            kinds.append(MIRRORED)
    best = _best(scan, depth)
    table = []
    for kind in kinds:
        seen = edge_scan(mirrored(activation)) if kind == MIRRORED else scan
        chosen = _chosen(seen, depth) if q is None else checked_variances("q", q).ravel().tolist()
        table += [_row(activation, variance, kind, depth) for variance in chosen]
    table.sort(key=lambda row: row.q)
    return Isometry(activation, depth, verdict, tuple(table), best, scan)


def _several(weights: Any) -> list[Any]:
    """One ensemble or several, checked, as a list; `"mirrored"` stays."""
    if weights is None:
        return []
    listed = list(weights) if isinstance(weights, Sequence) else [weights]
    listed = [weights] if isinstance(weights, str) else listed
    if not listed:
        raise ValueError("weights: must name at least one ensemble, got an empty list")
    for kind in listed:
        if not (isinstance(kind, str) and kind == MIRRORED):
            ensemble_of(kind)
    return listed


def _best(scan: EdgeScan, depth: int) -> float:
    """The `q` to take at a depth; nan if there is no edge of chaos."""
    if not np.any(scan.valid):
        return float("nan")
    if scan.exact or not (scan.vanishes_at(0) or scan.vanishes_at(-1)):
        return scan.best()[0]
    return q_for_depth(scan.activation, depth)


def _chosen(scan: EdgeScan, depth: int) -> list[float]:
    """A few `q` on the edge of chaos, the best among them; one where all are the same."""
    if not np.any(scan.valid):
        return []
    best, value = _best(scan, depth), scan.spread.value[scan.valid]
    same = np.all(np.isfinite(value)) and np.ptp(value) <= 2 * np.max(scan.spread.error[scan.valid])
    if same:
        return [best]
    usual = [
        q for q in _USUAL
        if scan.q[0] <= q <= scan.q[-1] and edge_at(scan.activation, q).bias_var >= 0
    ]  # fmt: skip
    return sorted({best, *usual})


def _point(activation: Activation, q: float, weights: Any) -> FixedPoint:
    if isinstance(weights, str) and weights == MIRRORED:
        return critical(mirrored(activation), q, weights="orthogonal")
    return critical(activation, q, weights=weights)


def _row(activation: Activation, q: float, weights: Any, depth: int) -> IsometryRow:
    point = _point(activation, q, weights)
    kind = "orthogonal" if weights == MIRRORED else weights
    slopes = slope_spread(point.activation, np.array([q]))
    spread = 0.0 if slopes.is_zero[0] else float(slopes.value[0])
    ensemble = ensemble_of(kind)
    growth = spread + ensemble.spread
    log_variance = 0.0
    if growth:
        log_variance = log_moments(
            point.activation, float(q), float(point.weight_var), depth, ensemble
        )[1]
    try:
        spectrum = jacobian_spectrum(point, depth)
    except UnresolvedError:
        spectrum = None
    return IsometryRow(str(weights), point, growth, float(np.sqrt(log_variance)), spectrum)
