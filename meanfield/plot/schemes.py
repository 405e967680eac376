"""Named initialisation schemes on the phase diagram of an activation."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from meanfield.network import Phase
from meanfield.plot.phase import phase_diagram
from meanfield.plot.style import axes, outlined

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.phase import PhaseDiagram
    from meanfield.schemes import Comparison

__all__ = ["schemes"]

Array = NDArray[np.float64]

# of small print, as shares of axes of the usual size, and the height of these in points
_LETTER, _LINE, _HEIGHT = 0.0125, 0.036, 270.0


def schemes(comparison: "Comparison", ax: "Axes | None" = None) -> "Axes":
    """Draw where every scheme lies on the phase diagram; those at one place share a label.

    Args:
        comparison: as made by `meanfield.schemes.compare`.
        ax: axes to draw on; new ones if not given.

    Returns:
        The axes.

    Example:
        >>> import meanfield as mf
        >>> ax = mf.schemes.compare("tanh").plot()
        >>> ax.texts[-1].get_text()
        'edge of chaos'
    """
    with axes(ax, f"initialisation schemes for {comparison.activation.name}") as ax:
        phase_diagram(comparison.diagram, ax=ax, colour="phase")
        places: dict[tuple[float, float], list[str]] = {}
        for p in comparison.placements:
            # what no eye tells apart is one place
            place = round(float(p.network.weight_var), 2), round(float(p.network.bias_var), 3)
            places.setdefault(place, []).append(p.scheme)
        for text in ax.texts:
            text.set_visible(False)
        taken: list[Array] = []
        for (x, y), names in sorted(places.items(), key=lambda entry: entry[0][::-1]):
            ax.plot(x, y, "o", color="black", markeredgecolor="white", clip_on=False, zorder=5)
            side, rise = _room(comparison.diagram, x, y, names, taken)
            ax.annotate(
                "\n".join(names), (x, y), xytext=(3 * side, 6 + rise), textcoords="offset points",
                fontsize="x-small", ha="left" if side > 0 else "right", va="bottom",
                path_effects=outlined(2),
                bbox={"facecolor": "white", "alpha": 0.6, "linewidth": 0, "pad": 0.5},
            )  # fmt: skip
    return ax


def _room(
    diagram: "PhaseDiagram", x: float, y: float, names: list[str], taken: list[Array]
) -> tuple[int, float]:
    """On which side of a point its label goes (1: right), and how many points higher than usual.

    To the left of hatching and of the end of the axes, and above labels that are there already.
    """
    right, top = diagram.weight_var[-1], diagram.bias_var[-1]
    width = _LETTER * max(map(len, names)) * right
    label = (diagram.weight_var >= x) & (diagram.weight_var <= x + width)
    row = int(np.argmin(np.abs(diagram.bias_var - y)))
    hatched = np.isin(diagram.phase[row, label], (Phase.EXPLODES, Phase.UNRESOLVED))
    hatched |= diagram.n_stable[row, label] > 1
    side = -1 if x - width > 0 and (x + width > right or np.any(hatched)) else 1
    low, high = y / top, y / top + _LINE * len(names)
    ends = np.sort([x, x + side * width])
    rise = 0.0
    for left, end, bottom, above in taken:
        if left < ends[1] and ends[0] < end and bottom < high + rise and low + rise < above:
            rise = above - low
    taken.append(np.array([*ends, low + rise, high + rise]))
    return side, rise * _HEIGHT
