"""`phase_diagram`: where depth takes every network on a grid of variances."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from math import isnan
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield import files
from meanfield.activation import Activation, as_activation
from meanfield.criticality import CriticalLine, checked_variances
from meanfield.errors import UnresolvedError
from meanfield.keywords import spelt
from meanfield.network import REACH, Phase
from meanfield.phase.branches import follow
from meanfield.phase.correlations import correlations_of
from meanfield.phase.edge import edge_in_window
from meanfield.phase.tables import table_of

__all__ = ["PhaseDiagram", "phase_diagram"]

Array = NDArray[np.float64]

_PAIRS = 64  # points of the edge on one small grid, of which the diagonal is wanted
_SAME = 1e-4  # relative distance of two variances that are one: a tangent point is known to 1e-7


@dataclass(frozen=True, eq=False, repr=False)
class PhaseDiagram:
    """Fixed points on a grid of variances; arrays have shape `(len(bias_var), len(weight_var))`.

    Attributes:
        activation: the activation.
        weight_var: the grid of `sigma_w^2`, shape (n,).
        bias_var: the grid of `sigma_b^2`, shape (m,).
        q0: the variance from which the fixed points are reached.
        q: variance of the pre-activations; inf where it explodes, NaN where unresolved.
        chi1: `weight_var E[phi'^2]`; NaN where `q` explodes.
        correlation: the correlation `c*` to which two inputs go; NaN where it is not known.
        variance_slope: `V'(q)`.
        depth_scale_q: `-1 / ln |V'|` layers; inf at slope 1.
        depth_scale_c: the same for correlations, at `c*`.
        phase: codes of `Phase`.
        n_stable: the number of stable fixed points (`q = 0` counts), -1 where unresolved.
        error: bound of the relative error of `q`.
        chi1_error: bound of the absolute error of `chi1`.
        correlation_error: bound of the absolute error of `correlation`.
    """

    activation: Activation
    weight_var: Array
    bias_var: Array
    q0: float
    q: Array
    chi1: Array
    correlation: Array
    variance_slope: Array
    depth_scale_q: Array
    depth_scale_c: Array
    phase: NDArray[np.int8]
    n_stable: NDArray[np.int32]
    error: Array
    chi1_error: Array
    correlation_error: Array

    @property
    def shape(self) -> tuple[int, int]:
        """`(len(bias_var), len(weight_var))`."""
        return len(self.bias_var), len(self.weight_var)

    @property
    def trainable_depth(self) -> Array:
        """`6 depth_scale_c`, as for a `FixedPoint`."""
        return REACH * self.depth_scale_c

    def branch(self, q0: float) -> "PhaseDiagram":
        """The same grid as reached from another `q0`; 0 and inf give the outermost branches."""
        return phase_diagram(self.activation, self.weight_var, self.bias_var, q0)

    @cached_property
    def edge(self) -> CriticalLine:
        """The edge of chaos in the window, root-found; its pieces are separated by NaN.

        All of it: what other branches than that of `q0` reach too, see `edge_reached`.
        """
        table = table_of(self.activation)
        return edge_in_window(self.activation, table, self.weight_var, self.bias_var)

    @cached_property
    def edge_reached(self) -> NDArray[np.bool_]:
        """Which points of `edge` are reached from `q0`: there it is the border of the phases."""
        edge = self.edge
        reached = np.zeros(len(edge.q), bool)
        (valid,) = np.nonzero(edge.valid)
        for start in range(0, len(valid), _PAIRS):
            here = valid[start : start + _PAIRS]
            here = here[np.argsort(edge.bias_var[here])]
            points, _ = follow(
                table_of(self.activation), edge.weight_var[here], edge.bias_var[here], self.q0
            )
            reached[here] = np.abs(np.diagonal(points.q) - edge.q[here]) < _SAME * edge.q[here]
        return reached

    def to_dict(self) -> dict[str, Any]:
        """All numbers by name, arrays as nested lists; the activation by its name."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in self._numbers().items()
        }

    def _numbers(self) -> dict[str, Any]:
        numbers: dict[str, Any] = {"activation": self.activation.name}
        numbers |= {f.name: getattr(self, f.name) for f in fields(self)[1:]}
        edge = {f"edge_{name}": column for name, column in self.edge._asdict().items()}
        return numbers | edge | {"edge_reached": self.edge_reached}

    def save(self, path: str | PathLike[str]) -> Path:
        """Write all numbers: `.npz` and `.json` whole, `.csv` as one line for each grid point.

        Raises:
            ValueError: the suffix is another one.
        """
        return files.write(path, self._numbers, self.to_dict, self._columns)

    def _columns(self) -> dict[str, Array]:
        """A value for each grid point, row by row."""
        weight_var, bias_var = np.meshgrid(self.weight_var, self.bias_var)
        values = {f.name: getattr(self, f.name) for f in fields(self)[4:]}
        named = {"weight_var": weight_var, "bias_var": bias_var, **values}
        return {name: value.ravel() for name, value in named.items()}

    @classmethod
    def load(
        cls, path: str | PathLike[str], phi: Callable | str | Activation | None = None
    ) -> "PhaseDiagram":
        """Read what `save` wrote to an `.npz` file.

        Args:
            path: the file.
            phi: its activation; by default the catalogued one of that name.
        """
        numbers = files.read(path)
        activation = as_activation(str(numbers["activation"]) if phi is None else phi)
        values = {f.name: numbers[f.name] for f in fields(cls)[1:]}
        diagram = cls(activation, **{**values, "q0": float(values["q0"])})
        edge = CriticalLine(*(numbers[f"edge_{name}"] for name in CriticalLine._fields))
        diagram.__dict__.update(edge=edge, edge_reached=numbers["edge_reached"])
        return diagram

    def plot(self, ax: Any = None, **options: Any):
        """Draw it; see `meanfield.plot.phase_diagram`. Returns the `Axes`."""
        from meanfield import plot

        return plot.phase_diagram(self, ax, **options)

    def __repr__(self) -> str:
        m, n = self.shape
        lines = [
            f"PhaseDiagram of {self.activation.name}, {m} x {n}, from q0 = {self.q0:g}",
            f"  weight_var  {self.weight_var[0]:.6g} to {self.weight_var[-1]:.6g}",
            f"  bias_var    {self.bias_var[0]:.6g} to {self.bias_var[-1]:.6g}",
        ]
        for phase in Phase:
            share = np.mean(self.phase == phase)
            if share:
                lines.append(f"  {phase!s:11} {share:.1%}")
        if np.any(self.n_stable > 1):
            lines.append(f"  {np.mean(self.n_stable > 1):.1%} with several stable fixed points")
        known = self.error[np.isfinite(self.error)]
        if known.size:
            lines.append(f"  q known to {known.max():.0e}, relative, or better")
        return "\n".join(lines)

    __str__ = __repr__


@spelt
def phase_diagram(
    phi: Callable | str | Activation,
    weight_var: ArrayLike,
    bias_var: ArrayLike,
    q0: float = 1.0,
) -> PhaseDiagram:
    r"""Where depth takes every network on a grid of variances.

    Each point is the limit of `q -> V(q) = weight_var E[phi^2] + bias_var` from `q0`, found from
    tables of `E[phi^2]` and `E[phi'^2]` over all variances, not by iteration; `chi1` is
    `weight_var E[phi'^2]` there, and in the chaotic phase `c*` solves
    `E[phi^2] - E[phi(u) phi(v)] = q (1 - c*) / weight_var`.

    Args:
        phi: the activation, as for `critical`. Pass an `Activation` to use its tables again.
        weight_var: a grid of variances, positive and increasing; shape (n,), or a number.
        bias_var: a grid of variances, increasing; shape (m,), or a number.
        q0: the variance at which iteration starts, positive; 0 and inf are the limits, and give
            the lowest and the highest branch where several fixed points are stable.

    Returns:
        A `PhaseDiagram` with arrays of shape (m, n).

    Raises:
        UnresolvedError: the activation cannot be sampled to useful accuracy, or not at `q0`.
        ValueError: a grid is not increasing, or has an entry that is no variance.

    Source: Poole et al. 2016, arXiv 1606.05340; Schoenholz et al. 2017, arXiv 1611.01232.

    Example:
        >>> import meanfield as mf
        >>> diagram = mf.phase_diagram("tanh", weight_var=[1.0, 2.25], bias_var=[0.0025, 0.09])
        >>> diagram.q.round(6).tolist()
        [[0.037122, 0.798387], [0.276299, 0.960844]]
        >>> [mf.Phase(code).name for code in diagram.phase[0]]
        ['ORDERED', 'CHAOTIC']
    """
    activation = as_activation(phi)
    weight_var = _grid("weight_var", weight_var, "> 0")
    bias_var = _grid("bias_var", bias_var, ">= 0")
    if isinstance(q0, bool) or not isinstance(q0, (int, float, np.number)):
        raise TypeError(f"q0: must be a number, got {q0!r}")
    q0 = float(q0)
    if isnan(q0) or q0 < 0:
        raise ValueError(f"q0: must be a variance, from 0 to inf, got {q0!r}")
    table = table_of(activation)
    if table.high < q0 < np.inf:
        raise UnresolvedError(
            f"q0: {activation.name} is tabulated up to q = {table.high:.6g}, got {q0:.6g}; start "
            "there, or use inf for the branch reached from above all fixed points"
        )
    points, n_stable = follow(table, weight_var, bias_var, q0)
    correlation, error = np.ones(points.q.shape), np.zeros(points.q.shape)
    blank = (points.phase == Phase.EXPLODES) | (points.phase == Phase.UNRESOLVED)
    correlation[blank] = error[blank] = np.nan
    silent = (points.phase == Phase.CHAOTIC) & (points.q == 0)  # a jump where no input is left
    correlation[silent] = error[silent] = np.nan
    chaotic = np.flatnonzero((points.phase == Phase.CHAOTIC) & (points.q > 0))
    if len(chaotic):
        q, chi1, doubt = (
            part.ravel()[chaotic] for part in (points.q, points.chi1, points.chi1_error)
        )
        limits = correlations_of(activation, table)(
            q, chi1, doubt, weight_var[chaotic // len(bias_var)]
        )
        correlation.ravel()[chaotic] = 1 - limits.one_minus
        error.ravel()[chaotic] = limits.error
        points.depth_scale_c.ravel()[chaotic] = limits.depth_scale
    return PhaseDiagram(
        activation, weight_var, bias_var, q0,
        q=points.q.T, chi1=points.chi1.T, correlation=correlation.T,
        variance_slope=points.variance_slope.T,
        depth_scale_q=points.depth_scale_q.T, depth_scale_c=points.depth_scale_c.T,
        phase=points.phase.T, n_stable=np.where(points.phase == Phase.UNRESOLVED, -1, n_stable).T,
        error=points.error.T, chi1_error=points.chi1_error.T, correlation_error=error.T,
    )  # fmt: skip


def _grid(name: str, value: ArrayLike, least: str) -> Array:
    grid = np.atleast_1d(checked_variances(name, value, least)).copy()
    if grid.ndim > 1:
        raise ValueError(f"{name}: must be a one-dimensional grid, got shape {grid.shape}")
    if np.any(np.diff(grid) <= 0):
        first = int(np.argmax(np.diff(grid) <= 0))
        raise ValueError(
            f"{name}: must increase, but entry {first + 1} is {grid[first + 1]:.6g} after "
            f"{grid[first]:.6g}; sort it, for example with np.unique"
        )
    return grid
