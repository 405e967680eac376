"""Named initialisation schemes on the phase diagram of an activation."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from meanfield.network import Phase
from meanfield.plot.phase import phase_diagram
from meanfield.plot.style import axes, legend, outlined

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.phase import PhaseDiagram
    from meanfield.schemes import Placement, SchemeTable

__all__ = ["schemes"]

Array = NDArray[np.float64]

# of small print, as shares of axes of the usual size, and the height of these in points
_LETTER, _LINE, _HEIGHT = 0.0125, 0.042, 270.0


def schemes(comparison: "SchemeTable", ax: "Axes | None" = None) -> "Axes":
    """Draw where every scheme lies on the phase diagram; those at one place share a label.

    A scheme that acts as a network of another activation (`Placement.acts_as`), as looks-linear and
    Fixup do, has a star, and is hollow: the phase there, at its own variances, is not that of what
    it makes.

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
        places: dict[tuple[float, float], list[Placement]] = {}
        for p in comparison.placements:
            at = p.network if _acts_otherwise(p) else p.acts_as
            # what no eye tells apart is one place
            place = round(float(at.weight_var), 2), round(float(at.bias_var), 3)
            places.setdefault(place, []).append(p)
        for text in ax.texts:
            text.set_visible(False)
        taken: list[Array] = []
        for (x, y), here in sorted(places.items(), key=lambda entry: entry[0][::-1]):
            names = [p.scheme + "*" * _acts_otherwise(p) for p in here]
            hollow = all(map(_acts_otherwise, here))
            ax.plot(
                x, y, "o", color="white" if hollow else "black",
                markeredgecolor="black" if hollow else "white", clip_on=False, zorder=5,
            )  # fmt: skip
            side, rise = _room(comparison.diagram, x, y, names, taken)
            ax.annotate(
                "\n".join(names), (x, y), xytext=(3 * side, 6 + rise), textcoords="offset points",
                fontsize="x-small", ha="left" if side > 0 else "right", va="bottom",
                path_effects=outlined(2),
                bbox={"facecolor": "white", "alpha": 0.6, "linewidth": 0, "pad": 0.5},
            )  # fmt: skip
        if any(map(_acts_otherwise, comparison.placements)):
            ax.plot([], [], "o", color="white", markeredgecolor="black",
                    label="*acts as another activation")  # fmt: skip
            legend(ax, "upper left")
    return ax


def _acts_otherwise(placement: "Placement") -> bool:
    """Whether what it does to signals is on the diagram of another activation."""
    return placement.acts_as.activation is not placement.network.activation


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
