"""The phase diagram over weight and bias variance, with the edge of chaos as a curve."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.network import Phase
from meanfield.plot.style import axes, legend, merged, outlined

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.phase import PhaseDiagram

__all__ = ["COLOURS", "UNITS", "borders", "check_units", "hatch", "name_axes", "phase_diagram"]

Array = NDArray[np.float64]

# What can be drawn in colour: its name beside the colour bar, and whether on a logarithmic scale.
COLOURS = {
    "phase": ("", False),
    "depth_scale_c": (r"depth scale $\xi_c$ of correlations (layers)", True),
    "depth_scale_q": (r"depth scale $\xi_q$ of variances (layers)", True),
    "chi1": (r"$\chi_1$, gradient growth per layer", False),
    "correlation": ("correlation $c^*$ of two inputs", False),
    "q": ("variance $q$ of pre-activations", True),
    "variance_slope": ("slope $V'(q)$ of the variance map", False),
}

# Light to dark, so that the phases differ in grey too; each is also named in the picture.
_PHASES = {Phase.ORDERED: "#BFE3F5", Phase.CRITICAL: "#000000", Phase.CHAOTIC: "#E08A3C"}
_NOTHING = "#F4F4F4"  # no value: hatched, and the legend says why

UNITS = {"variance": lambda variance: variance, "standard deviation": np.sqrt}


def phase_diagram(
    diagram: "PhaseDiagram",
    ax: "Axes | None" = None,
    *,
    colour: str = "depth_scale_c",
    units: str = "variance",
    contours: ArrayLike = (),
    **line: Any,
) -> "Axes":
    r"""Draw a phase diagram: a field in colour, the phases by name, the edge of chaos as a curve.

    The edge is the root-found one of the diagram, not a contour of its cells. Hatching marks
    where the variance explodes, and where several variances are stable (which one is reached
    depends on the input; shown is the branch reached from the diagram's `q0`). The edge is dashed
    where it belongs to another branch, or to an unstable variance that no depth arrives at.

    Args:
        diagram: a `PhaseDiagram`.
        ax: axes to draw on; new ones if not given. A colour bar takes its room from them.
        colour: the field shown: `"phase"`, `"depth_scale_c"`, `"depth_scale_q"`, `"chi1"`,
            `"correlation"`, `"q"` or `"variance_slope"`. Depth scales and `q` are on a
            logarithmic scale; one that is infinite has the colour at its end.
        units: of the axes: `"variance"` or `"standard deviation"`.
        contours: depth scales `xi_c` in layers at which to draw contour lines. Signals reach a
            depth of about 6 `xi_c`.
        **line: keywords of the edge of chaos, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        ValueError: `colour` or `units` is another word, or a contour is not positive.

    Source: Poole et al. 2016, arXiv 1606.05340, figure 1; Schoenholz et al. 2017, arXiv
        1611.01232, figures 1 and 5.

    Example:
        >>> import meanfield as mf, numpy as np
        >>> diagram = mf.phase_diagram("tanh", np.linspace(0.5, 4, 64), np.linspace(0, 0.5, 64))
        >>> mf.plot.phase_diagram(diagram, units="standard deviation").get_xlabel()
        'weight standard deviation $\\sigma_w$'
    """
    if colour not in COLOURS:
        raise ValueError(f"colour: must be one of {', '.join(COLOURS)}; got {colour!r}")
    if line.get("color") in COLOURS:
        raise ValueError(
            f"color: is that of the edge of chaos; the field shown is colour={line['color']!r}"
        )
    transform = UNITS[check_units(units)]
    x, y = transform(borders(diagram.weight_var)), transform(borders(diagram.bias_var))
    explodes = diagram.phase == Phase.EXPLODES
    with axes(ax, f"phases of {diagram.activation.name}") as ax:
        _colour(ax, x, y, np.where(explodes, np.nan, getattr(diagram, colour)), colour)
        hatch(ax, x, y, explodes, "...", "variance explodes")
        hatch(ax, x, y, diagram.phase == Phase.UNRESOLVED, "xxx", "not resolved")
        hatch(ax, x, y, diagram.n_stable > 1, "///", "several stable $q$")
        depths = _depths(contours, diagram.phase.shape)
        if len(depths):
            centres = transform(diagram.weight_var), transform(diagram.bias_var)
            _contour(ax, *centres, diagram.depth_scale_c, np.sort(1 / depths))
        _edge(ax, transform, diagram, line)
        side = _clear_side(
            x, y, transform(diagram.edge.weight_var), transform(diagram.edge.bias_var)
        )
        covered = legend(ax, f"upper {side}") * len(y) // 9  # rows
        half = slice(len(x) // 2) if side == "left" else slice(len(x) // 2, None)
        for member in (Phase.ORDERED, Phase.CHAOTIC):
            region = diagram.phase == member
            region[len(region) - covered :, half] = False
            _name(ax, x, y, region, str(member))
        ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        ax.locator_params(axis="x", nbins=5)
        name_axes(ax, units)
    return ax


def check_units(units: str) -> str:
    """The name of a unit of the axes, or an error that lists them."""
    if units not in UNITS:
        raise ValueError(f"units: must be one of {', '.join(map(repr, UNITS))}; got {units!r}")
    return units


def name_axes(ax: "Axes", units: str) -> None:
    """Label the axes of weights and biases."""
    power = "^2" if units == "variance" else ""
    ax.set(xlabel=rf"weight {units} $\sigma_w{power}$", ylabel=rf"bias {units} $\sigma_b{power}$")


def borders(centres: Array) -> Array:
    """Borders of the cells around sorted variances, shape (n + 1,); a variance is not negative."""
    if len(centres) == 1:
        half = np.array([0.05 * (centres[0] or 1.0)])
    else:
        half = np.diff(centres) / 2
    inner = centres[:-1] + half[: len(centres) - 1]
    return np.concatenate([[max(centres[0] - half[0], 0.0)], inner, [centres[-1] + half[-1]]])


def _colour(ax: "Axes", x: Array, y: Array, values: Array, colour: str) -> None:
    """The field as coloured cells, with its colour bar, or with the phases in the legend."""
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, Normalize

    if colour == "phase":
        cmap = ListedColormap(list(_PHASES.values())).with_extremes(under=_NOTHING, bad=_NOTHING)
        norm = BoundaryNorm(np.arange(len(_PHASES) + 1) - 0.5, len(_PHASES))
        ax.pcolormesh(x, y, values, cmap=cmap, norm=norm, rasterized=True)
        for member, color in _PHASES.items():
            if np.any(values == member):
                ax.plot([], [], "s", color=color, markeredgecolor="0.35", label=str(member))
        return
    name, logarithmic = COLOURS[colour]
    known = values[np.isfinite(values) & ((values > 0) | (not logarithmic))]
    low, high = np.percentile(known, (0.5, 99.5)) if len(known) else (1.0, 1.0)
    if high - low <= 1e-9 * abs(high):
        low, high = low - 0.1 * (abs(low) or 1.0), high + 0.1 * (abs(high) or 1.0)
    norm = (LogNorm if logarithmic and high > 10 * low else Normalize)(low, high)
    below, above = np.any(values < low), np.any(values > high)
    extend = ("neither", "min", "max", "both")[below + 2 * above]
    cmap = colormaps["viridis"].with_extremes(bad=_NOTHING)
    shown = np.clip(values, low, high)
    mesh = ax.pcolormesh(x, y, shown, cmap=cmap, norm=norm, rasterized=True)
    ax.figure.colorbar(mesh, ax=ax, label=name, extend=extend)


def hatch(ax: "Axes", x: Array, y: Array, where: NDArray[np.bool_], hatch: str, label: str) -> None:
    """Hatch the cells: exactly these, as one patch with a rectangle for each run in a row."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    starts_and_ends = np.diff(np.pad(where, ((0, 0), (1, 1))).astype(int), axis=1)
    rows, starts = np.nonzero(starts_and_ends == 1)
    ends = np.nonzero(starts_and_ends == -1)[1]
    if len(rows) == 0:
        return
    left, right, bottom, top = x[starts], x[ends], y[rows], y[rows + 1]
    corners = np.stack([left, bottom, right, bottom, right, top, left, top, left, bottom], axis=1)
    codes = np.tile([Path.MOVETO, *3 * [Path.LINETO], Path.CLOSEPOLY], len(rows))
    veil = (1.0, 1.0, 1.0, 0.4)  # lightens dark colours, so that the hatching shows on all
    ax.add_patch(PathPatch(Path(corners.reshape(-1, 2), codes), facecolor=veil, linewidth=0,
                           edgecolor="0.2", hatch=hatch, label=label))  # fmt: skip


def _depths(contours: ArrayLike, shape: tuple[int, ...]) -> Array:
    depths = np.unique(np.asarray(contours, np.float64))
    if not np.all((depths > 0) & (depths < np.inf)):
        raise ValueError(f"contours: must be depth scales in layers, positive; got {contours!r}")
    if len(depths) and min(shape) < 2:
        raise ValueError(f"contours: need a grid of at least 2 by 2 points, got {shape}")
    return depths


def _contour(ax: "Axes", x: Array, y: Array, depth_scale: Array, levels: Array) -> None:
    """Contours of `1 / xi_c`, which passes smoothly through 0 where `xi_c` is infinite."""
    with np.errstate(divide="ignore"):
        rate = np.ma.masked_invalid(1 / depth_scale)
    lines = ax.contour(x, y, rate, levels, colors="black", linewidths=0.9)
    lines.set(path_effects=outlined(2.2))
    labels = ax.clabel(lines, fmt={level: f"{1 / level:g}" for level in levels}, fontsize="x-small")
    for text in labels:
        text.set(path_effects=outlined())


def _edge(ax: "Axes", transform: Any, diagram: "PhaseDiagram", line: dict[str, Any]) -> None:
    """The edge of chaos; dashed where it is that of variances not reached from `q0`."""
    edge = diagram.edge
    x, y = transform(edge.weight_var), transform(edge.bias_var)
    missed = edge.valid & ~diagram.edge_reached
    if not np.any(missed[1:] & missed[:-1]):
        missed[:] = False  # a point alone, as the end at q = 0 that no finite depth arrives at
    reached = edge.valid & ~missed
    joined = edge.valid & (reached | np.append(False, reached[:-1]) | np.append(reached[1:], False))
    rim = outlined()
    for where, dashes, label in ((joined, "-", "edge of chaos"),
                                 (missed, "--", "edge, not reached")):  # fmt: skip
        if np.any(where):
            is_point = np.ptp(x[where]) + np.ptp(y[where]) < 1e-9 * np.max(x[where])
            ax.plot(np.where(where, x, np.nan), np.where(where, y, np.nan),
                    **merged(line, color="black", linestyle=dashes, label=label,
                             marker="o" if is_point else "", path_effects=rim))  # fmt: skip


def _clear_side(x: Array, y: Array, edge_x: Array, edge_y: Array) -> str:
    """On which side the upper half has less of the edge of chaos, for the legend."""
    upper = (edge_y > (y[0] + y[-1]) / 2) & (edge_y <= y[-1]) & (edge_x <= x[-1])
    on_the_left = upper & (edge_x < (x[0] + x[-1]) / 2)
    return "right" if 2 * np.sum(on_the_left) > np.sum(upper) else "left"


def _name(ax: "Axes", x: Array, y: Array, where: NDArray[np.bool_], name: str) -> None:
    """Write the name where the region is widest, unless it is too small to hold it."""
    from scipy.ndimage import distance_transform_edt

    m, n = where.shape
    room = np.asarray(distance_transform_edt(np.pad(where, 1), sampling=(2 / m, 1 / n)))
    room = room[1:-1, 1:-1]
    i, j = np.unravel_index(np.argmax(room), room.shape)
    if room[i, j] > 0.1:
        ax.text((x[j] + x[j + 1]) / 2, (y[i] + y[i + 1]) / 2, name, ha="center", va="center",
                path_effects=outlined())  # fmt: skip
