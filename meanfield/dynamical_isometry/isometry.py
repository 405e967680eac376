"""`isometry`: can deep networks of an activation be isometric, at which `q`, with which weights?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import Activation, as_activation
from meanfield.criticality import checked_variances
from meanfield.dynamical_isometry.classes import q_for_depth
from meanfield.dynamical_isometry.ensemble_verdict import listed, sentence
from meanfield.dynamical_isometry.growth import Growth, growth_of
from meanfield.dynamical_isometry.mirrored import mirrored
from meanfield.dynamical_isometry.row import MIRRORED, IsometryRow, critical_with, row_of
from meanfield.dynamical_isometry.scan import EdgeScan, edge_scan
from meanfield.dynamical_isometry.verdict import IsometryVerdict, judge
from meanfield.edge import edge_at
from meanfield.ensembles import Ensemble
from meanfield.keywords import spelt
from meanfield.spectrum import Spectrum, jacobian_spectrum
from meanfield.whole import whole_number

__all__ = ["Growth", "Isometry", "IsometryRow", "isometry"]

Array = NDArray[np.float64]

_USUAL = (0.01, 0.1, 1.0)
# a column of the table: its head, and the number that it holds
_COLUMNS = {
    "sd of ln s": "log_std",
    "largest s": "s_max",
    "condition number": "condition_number",
    "of the middle 98 %": "inner_condition_number",
    "share at 0": "at_zero",
    "lasts": "lasts",
    "V'": "variance_slope",
}


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
        point = critical_with(self.activation, self.best_q if q is None else q, weights)
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
        if depths is None:
            depths = [2**k for k in range(1, self.depth.bit_length()) if 2**k < self.depth]
            depths = [*depths, self.depth]
        return growth_of(self.activation, q, listed(weights) or self.ensembles, depths)

    @property
    def ensembles(self) -> "list[str | Ensemble]":
        """Those of the table, each once."""
        return list(dict.fromkeys(row.weights for row in self.table))

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name; the verdict by its name and as its sentence."""
        return {
            "activation": self.activation.name,
            "depth": self.depth,
            "verdict": self.verdict.name,
            "sentence": str(self.verdict),
            "ensembles": {str(k): sentence(k) for k in self.ensembles if k != MIRRORED},
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
        table = [["q", "weights", *_COLUMNS]] + [
            [
                f"{row.q:.4g}", str(row.weights),
                *(f"{getattr(row, name):.4g}" for name in _COLUMNS.values()),
            ]
            for row in self.table
        ]  # fmt: skip
        if self.table:
            widths = [max(map(len, column)) + 2 for column in zip(*table, strict=True)]
            for line in table:
                cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
                lines.append("  " + "".join(cells).rstrip())
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)

    __repr__ = __str__

    @property
    def notes(self) -> list[str]:
        """What else there is to know, in sentences."""
        notes = [sentence(kind) for kind in self.ensembles if kind not in ("orthogonal", MIRRORED)]
        if self.table:
            notes.append("lasts: layers until the variance of s^2 is 1")
        if any(row.variance_slope > 1 for row in self.table):
            notes.append(
                "where V' > 1 the edge of chaos does not hold its q: the variance leaves it"
            )
        unresolved = dict.fromkeys(row.unresolved for row in self.table if row.unresolved)
        return [*notes, *(f"nan: {why}" for why in unresolved)]


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
        weights: an ensemble or a list of them, for the table: names (`"orthogonal"`,
            `"delta-orthogonal"`, ...), those of `meanfield.ensembles`, and `"mirrored"` for
            mirrored orthogonal weights. Orthogonal and Gaussian if not given, and mirrored ones if
            they are the way. The verdict is on the activation with orthogonal weights; what others
            leave of it is said beside it, and in `notes`.

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
    kinds = listed(weights)
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
        table += [row_of(activation, variance, kind, depth) for variance in chosen]
    table.sort(key=lambda row: row.q)
    return Isometry(activation, depth, verdict, tuple(table), best, scan)


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
