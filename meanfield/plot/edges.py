"""The edge of chaos of several activations on one pair of axes."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.plot.phase import UNITS, check_units, name_axes
from meanfield.plot.style import CYCLE, axes, merged, outlined

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.activation import Activation
    from meanfield.criticality import CriticalLine

__all__ = ["edges_of_chaos"]


def edges_of_chaos(
    lines: "Mapping[str, CriticalLine] | Iterable[Activation | Callable | str]",
    ax: "Axes | None" = None,
    *,
    units: str = "variance",
    **line: Any,
) -> "Axes":
    r"""Draw the edge of chaos of several activations, each as a curve with parameter `q`.

    A dot with its number is where `q` is a power of ten. An edge that is a single point, as that
    of ReLU, is a dot.

    Args:
        lines: `CriticalLine`s by name; or activations, whose lines are taken for `q` from 0.01
            to 10.
        ax: axes to draw on; new ones if not given.
        units: of the axes: `"variance"` or `"standard deviation"`.
        **line: keywords of the curves, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        ValueError: `units` is another word.

    Source: Hayou et al. 2019, arXiv 1902.06853, figure 1.

    Example:
        >>> import meanfield as mf
        >>> ax = mf.plot.edges_of_chaos(["tanh", "gelu", "relu"])
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['tanh', 'gelu', 'relu']
    """
    transform = UNITS[check_units(units)]
    with axes(ax, "edge of chaos") as ax:
        near_one, texts = [], []
        for index, (name, edge) in enumerate(_by_name(lines).items()):
            color, dashes = CYCLE[index % len(CYCLE)]
            x, y = transform(edge.weight_var), transform(edge.bias_var)
            dots = _dots(edge)
            ax.plot(x, y, **merged(line, color=color, linestyle=dashes, label=name, marker="o",
                                   markersize=5, markevery=list(dots)))  # fmt: skip
            texts += [(x[i], y[i], text, color) for i, text in dots.items()]
            if np.any(edge.valid):
                i = np.nanargmin(np.where(edge.valid, np.abs(np.log(edge.q)), np.nan))
                near_one.append((x[i], y[i]))
        # Where q is small an edge may run off to astronomic weights: show what is around q = 1.
        right, top = np.max(near_one, axis=0) if near_one else (1.0, 1.0)
        right, top = 2 * right, 3 * top or 1.0
        ax.set(xlim=(0, right), ylim=(0, top))
        _write(ax, texts, right, top)
        name_axes(ax, units)
        ax.legend(title="dots: $q$")
    return ax


def _write(ax: "Axes", texts: list[tuple], right: float, top: float) -> None:
    """The numbers at the dots, but for those that would lie on one already there."""
    taken = np.empty((0, 2))
    for x, y, text, color in reversed(texts):  # near the origin they crowd: large q first
        place = np.array([x / right, y / top])
        if not np.any(np.all(np.abs(taken - place) < [0.08, 0.05], axis=1)):
            taken = np.vstack([taken, place])
            ax.annotate(text, (x, y), xytext=(4, 4), textcoords="offset points",
                        fontsize="x-small", color=color, path_effects=outlined(2))  # fmt: skip


def _by_name(lines: Any) -> "dict[str, CriticalLine]":
    if isinstance(lines, Mapping):
        return dict(lines)
    from meanfield.activation import as_activation
    from meanfield.criticality import critical_line

    q = np.geomspace(1e-2, 1e1, 301)
    activations = [as_activation(phi) for phi in lines]
    return {activation.name: critical_line(activation, q) for activation in activations}


def _dots(edge: "CriticalLine") -> dict[int, str]:
    """The indices that get a dot, and what is written there: powers of ten, or a single point."""
    valid = np.flatnonzero(edge.valid)
    if len(valid) == 0:
        return {}
    if len(valid) == 1:
        return {int(valid[0]): f"{edge.q[valid[0]]:.4g}"}
    if np.ptp(edge.weight_var[valid]) < 1e-9 * edge.weight_var[valid[0]]:
        return {int(valid[0]): "any $q$"}
    decades = 10.0 ** np.round(np.log10(edge.q))
    whole = edge.valid & np.isclose(edge.q, decades, rtol=1e-9, atol=0)
    return {int(i): f"{decades[i]:g}" for i in np.flatnonzero(whole)}
