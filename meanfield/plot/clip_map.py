"""Regions over sparsity and clip level, as a heat map."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.plot.style import axes, legend, merged, outlined

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.clip import ClipChoice, ClipDiagram

__all__ = ["clip_map"]

_NAMES = {
    "slope": "slope $V'(q)$",
    "curvature": "curvature $q V''(q)$",
    "margin": "standard deviations to the end of the basin",
}
_NOTHING = "#F4F4F4"


def clip_map(
    diagram: "ClipDiagram",
    ax: "Axes | None" = None,
    *,
    colour: str = "slope",
    choice: "ClipChoice | None" = None,
    margins: ArrayLike = (2.0,),
    risks: Mapping[float, NDArray[np.float64]] | None = None,
    **line: Any,
) -> "Axes":
    r"""Draw slope or curvature over sparsity and clip level, with the stable and bistable regions.

    In the hatched region the map has a second stable variance, and an unstable one bounds the basin
    of `q`. The line is where the slope is as wanted.

    Args:
        diagram: a `ClipDiagram` of several sparsities.
        ax: axes to draw on; new ones if not given. A colour bar takes its room from them.
        colour: `"slope"`, `"curvature"` (times `q`) or `"margin"`.
        choice: a `ClipChoice` to mark.
        margins: standard deviations of the noise at which to draw contours of the margin.
        risks: by shares of networks that stray, their clip levels: `{r: diagram.risk_levels(r)}`.
        **line: keywords of the line of the wanted slope, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        ValueError: `colour` is another word, or the diagram has one sparsity.

    Example:
        >>> import meanfield as mf, numpy as np
        >>> diagram = mf.clip_diagram("shifted_relu", np.linspace(0.5, 0.95, 50))
        >>> mf.plot.clip_map(diagram).get_xlabel()
        'clip level $m$'
    """
    from meanfield.clip import ClipRegion

    if colour not in _NAMES:
        raise ValueError(f"colour: must be one of {', '.join(_NAMES)}; got {colour!r}")
    if len(diagram.sparsity) < 2 or len(diagram.m) < 2:
        raise ValueError(
            f"diagram: a map needs at least 2 sparsities and 2 levels, got {diagram.slope.shape}"
        )
    unit = np.sqrt(diagram.q)
    m, share = diagram.m / unit, diagram.sparsity
    values = {
        "slope": diagram.slope,
        "curvature": diagram.q * diagram.curvature,
        "margin": np.where(np.isinf(diagram.margin), np.nan, diagram.margin),
    }[colour]
    with axes(ax, f"{diagram.name} clipped, on the edge of chaos") as ax:
        _colour(ax, m, share, values, colour)
        _regions(ax, m, share, diagram.region)
        margin = np.where(diagram.region == ClipRegion.STABLE, np.inf, diagram.margin)
        levels = np.sort(np.atleast_1d(np.asarray(margins, np.float64)))
        if len(levels) and np.nanmin(margin) < levels[-1]:
            shown = ax.contour(m, share, np.minimum(margin, 1e3), levels, colors="black",
                               linewidths=1.2, linestyles=":")  # fmt: skip
            shown.set(path_effects=outlined(2.5))
            ax.plot([], [], ":", color="black", linewidth=1.2, label=f"margin {levels[0]:g} std")
        for stray, at in (risks or {}).items():
            ax.plot(at / unit, share, color="black", linestyle="-.", linewidth=1.5,
                    path_effects=outlined(), label=f"{stray:.3g} of networks stray")  # fmt: skip
        ax.plot(diagram.threshold / unit, share,
                **merged(line, color="black", path_effects=outlined(),
                         label=f"$V'(q)$ = {diagram.wanted:g}"))  # fmt: skip
        if choice is not None:
            ax.plot([choice.m / unit], [choice.sparsity], "*", color="white", markersize=15,
                    markeredgecolor="black", zorder=4, label="chosen")  # fmt: skip
        ax.set(xlim=(m[0], m[-1]), ylim=(share[0], share[-1]), ylabel="sparsity, share of zeros")
        ax.set_xlabel(r"clip level $m/\sqrt{q}$" if diagram.q != 1 else "clip level $m$")
        legend(ax)
    return ax


def _colour(
    ax: "Axes", m: NDArray[np.float64], share: NDArray[np.float64], values: Any, colour: str
) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize, TwoSlopeNorm

    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    norm: Any = Normalize(low, high)
    name = "viridis"
    if colour == "curvature" and low < 0 < high:
        norm, name = TwoSlopeNorm(0.0, low, high), "RdBu_r"
    elif colour == "margin" and 0 < low < high:
        norm = LogNorm(low, high)
    cmap = colormaps[name].with_extremes(bad=_NOTHING)
    mesh = ax.pcolormesh(m, share, values, cmap=cmap, norm=norm, shading="nearest", rasterized=True)
    ax.figure.colorbar(mesh, ax=ax, label=_NAMES[colour])


def _regions(
    ax: "Axes", m: NDArray[np.float64], share: NDArray[np.float64], region: NDArray[np.int8]
) -> None:
    """Hatch what is bistable, and what has no edge of chaos."""
    from meanfield.clip import ClipRegion
    from meanfield.plot.phase import borders, hatch

    x, y = borders(m), borders(share)
    for code, pattern, label in (
        (ClipRegion.BISTABLE, "///", "bistable"),
        (ClipRegion.UNSTABLE, "xxx", "$q$ unstable"),
        (ClipRegion.NO_EDGE, "...", "no edge of chaos"),
    ):
        hatch(ax, x, y, region == code, pattern, label)
