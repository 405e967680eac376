"""Named initialisation schemes on the phase diagram of an activation."""

from typing import TYPE_CHECKING

from meanfield.plot.phase import phase_diagram
from meanfield.plot.style import axes, outlined

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.schemes import Comparison

__all__ = ["schemes"]


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
        before = len(ax.texts)
        for (x, y), names in places.items():
            ax.plot(x, y, "o", color="black", markeredgecolor="white", clip_on=False, zorder=5)
            ax.annotate(
                "\n".join(names), (x, y), xytext=(3, 6), textcoords="offset points",
                fontsize="x-small", rotation=0, va="bottom", path_effects=outlined(2),
            )  # fmt: skip
        for text in ax.texts[:before]:
            text.set_visible(False)
    return ax
