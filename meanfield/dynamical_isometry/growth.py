"""How the singular values of a Jacobian spread with depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.dynamical_isometry.row import row_of
from meanfield.whole import whole_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Growth", "growth_of"]

Array = NDArray[np.float64]

_QUANTITIES = {
    "log_std": "standard deviation of ln s",
    "s_max": "largest s",
    "condition_number": "condition number",
    "inner_condition_number": "condition number of the middle 98 %",
}


@dataclass(frozen=True, eq=False, repr=False)
class Growth:
    """Singular values at several depths; arrays of shape (ensembles, depths), as in the table.

    Attributes:
        activation: the `Activation`.
        q: the variance, on the edge of chaos.
        weights: names of the ensembles, one a row.
        depths: numbers of layers, one a column.
        s_max: largest singular values `s`.
        log_std: standard deviations of `log s`.
        condition_number: largest over smallest, inf where they go down to 0.
        inner_condition_number: 99 % quantiles over 1 % quantiles.
    """

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

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name; arrays as lists."""
        arrays = {name: getattr(self, name).tolist() for name in ("depths", *_QUANTITIES)}
        return {
            "activation": self.activation.name, "q": self.q, "weights": list(self.weights), **arrays
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [f"Growth of the singular values of {self.activation.name} at q = {self.q:.4g}"]
        wide = max(6, *map(len, self.weights))
        for name, title in _QUANTITIES.items():
            heads = "".join(f"{depth:>11d}" for depth in self.depths)
            lines += [f"  {title}", f"    {'depth':<{wide}}{heads}"]
            for kind, values in zip(self.weights, getattr(self, name), strict=True):
                lines.append(f"    {kind:<{wide}}" + "".join(f"{v:>11.4g}" for v in values))
        return "\n".join(lines)

    __repr__ = __str__


def growth_of(activation: Activation, q: float, kinds: list[Any], depths: Sequence[int]) -> Growth:
    """Rows of the table of `isometry` for all ensembles and depths."""
    layers = [whole_number("depths", depth) for depth in depths]
    rows = [[row_of(activation, q, kind, depth) for depth in layers] for kind in kinds]
    numbers = {
        name: np.array([[getattr(row, name) for row in line] for line in rows])
        for name in _QUANTITIES
    }
    return Growth(activation, q, tuple(map(str, kinds)), np.array(layers), **numbers)
