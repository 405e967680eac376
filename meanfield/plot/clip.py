"""Choosing a clip level: slope and curvature over `m`, and the map that comes of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.plot.style import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    axes,
    legend,
    merged,
    panels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.clip import ClipChoice, ClipDiagram, ClipTrajectory

__all__ = ["MOST_CURVES", "clip_choice", "clip_curves", "clip_trajectory"]

MOST_CURVES = len(CYCLE)
_TALLEST = 1e8  # a ratio of what is shown: more has nothing to say
_OUTSIDE = 1e30  # of every picture
_WIDE = 30.0  # a ratio of what is drawn from which on the axis is logarithmic


def clip_curves(
    diagram: "ClipDiagram", ax: Any = None, *, choice: "ClipChoice | None" = None, **line: Any
) -> Any:
    r"""Draw `V'(q)` and `V''(q)` on the edge of chaos over the clip level, a line to a sparsity.

    The wanted slope is marked, and on each line the `m` that has it.

    Args:
        diagram: a `ClipDiagram` of at most seven sparsities.
        ax: two axes, for the slope and for the curvature; new ones if not given.
        choice: a `ClipChoice` to mark as well.
        **line: keywords of the lines, as for `Axes.plot`.

    Returns:
        Array of the two axes.

    Raises:
        ValueError: the diagram has more sparsities than lines can be told apart, or `ax` is not
            two axes.

    Source: Price et al. 2024, arXiv 2402.16184, figure 4.

    Example:
        >>> import meanfield as mf
        >>> diagram = mf.clip_diagram("shifted_relu", sparsity=[0.7, 0.85, 0.9])
        >>> [ax.get_ylabel() for ax in mf.plot.clip_curves(diagram)]
        ["slope $V'(q)$", "curvature $q V''(q)$"]
    """
    if len(diagram.subjects) > MOST_CURVES:
        raise ValueError(
            f"diagram: {len(diagram.subjects)} lines cannot be told apart, at most {MOST_CURVES}; "
            "call clip_map, or choose fewer sparsities"
        )
    unit = np.sqrt(diagram.q)
    with panels(ax, (2,), f"{diagram.name} clipped, on the edge of chaos") as both:
        for values, at, here in zip(
            (diagram.slope, diagram.q * diagram.curvature), both, ("slope", "bend"), strict=True
        ):
            for row, (color, dashes) in enumerate(CYCLE[: len(diagram.subjects)]):
                family = diagram.subjects[row].family
                of = diagram.name if family is None else f"sparsity {diagram.sparsity[row]:.3g}"
                at.plot(diagram.m / unit, values[row],
                        **merged(line, color=color, linestyle=dashes, label=of))  # fmt: skip
                m = diagram.threshold[row]
                level = np.interp(m, diagram.m, values[row])
                if diagram.m[0] <= m <= diagram.m[-1]:
                    at.plot([m / unit], [level], "o", color=color, markersize=6, zorder=3)
            if choice is not None:
                value = choice.slope if here == "slope" else choice.dimensionless_curvature
                at.plot([choice.m / unit], [value], "*", color="black", markersize=12, zorder=4,
                        label="chosen")  # fmt: skip
            at.set_xlabel(r"clip level $m/\sqrt{q}$" if diagram.q != 1 else "clip level $m$")
            at.set_xlim(0, diagram.m[-1] / unit)
        both[0].axhline(diagram.wanted, color=GREY, linewidth=1, zorder=1)
        both[0].annotate(f"wanted {diagram.wanted:g}", (0.98, diagram.wanted), ha="right",
                         va="bottom", xycoords=("axes fraction", "data"), color="0.35",
                         fontsize="small")  # fmt: skip
        both[1].axhline(0.0, color=GREY, linewidth=1, zorder=1)
        both[0].set_ylabel("slope $V'(q)$")
        both[1].set_ylabel("curvature $q V''(q)$")
        legend(both[0], "lower right" if diagram.wanted < 0.4 else "best")
    return both


def clip_choice(
    choice: "ClipChoice",
    ax: "Axes | None" = None,
    *,
    q: ArrayLike | None = None,
    deviations: float = 2.0,
    **line: Any,
) -> "Axes":
    r"""Draw the variance map clipped and unclipped against the diagonal, with basin and noise.

    The unclipped map touches the diagonal at `q`, the clipped one crosses it. Filled markers are
    stable fixed points, open ones unstable; a dashed line is the end of the basin, and the band is
    as far as the noise of the choice's width carries the variance.

    Args:
        choice: a `ClipChoice`.
        ax: axes to draw on; new ones if not given.
        q: variances at which to draw the maps, shape (n,); chosen around the fixed points if not
            given.
        deviations: standard deviations of the noise that the band is wide, to each side.
        **line: keywords of the line of the clipped map, as for `Axes.plot`.

    Returns:
        The axes.

    Source: Price et al. 2024, arXiv 2402.16184, figure 2; basin and noise are this package's.

    Example:
        >>> import meanfield as mf
        >>> choice = mf.clip_threshold("shifted_relu", sparsity=0.9, slope=0.9)
        >>> mf.plot.clip_choice(choice).get_xlabel()
        'variance $q$ of pre-activations'
    """
    from meanfield.maps.variance import variance_map

    places = [choice.q, *(p.q for p in choice.other_fixed_points if 0 < p.q < 20 * choice.q)]
    if q is None:
        q = np.linspace(0.0, max(2.5 * choice.q, 1.25 * max(places)), 401)
    q = np.asarray(q, np.float64)
    with axes(ax, f"variance map of {choice.activation.name}") as ax:
        low, high = float(q.min()), float(q.max())
        noise = choice.noise()
        if np.isfinite(noise.kernel):
            width = deviations * noise.kernel
            ax.axvspan(max(choice.q - width, low), min(choice.q + width, high), color=ORANGE,
                       alpha=0.25, linewidth=0, zorder=0.5,
                       label=rf"{deviations:g} std of $q$ at width {choice.width}")  # fmt: skip
        ax.plot(q, q, color=GREY, linewidth=1, zorder=1.5, label="$q$ unchanged")
        if choice.unclipped is not None and np.isfinite(choice.m):
            ax.plot(q, variance_map(choice.unclipped)(q), color=VERMILION, linestyle="--",
                    label="unclipped")  # fmt: skip
        V = variance_map(choice.point)(q)
        ax.plot(q, V, **merged(line, color=BLUE, zorder=2, label=f"clipped at $m$ = {choice.m:.4g}"
                if np.isfinite(choice.m) else "unclipped"))  # fmt: skip
        for end in choice.edges:
            if low < end < high and end != choice.q:
                ax.axvline(end, color=GREEN, linestyle=":", linewidth=2, label="end of the basin")
        for point in choice.fixed_points:
            if low <= point.q <= high:
                ax.plot([point.q], [point.q], "o", color="black", clip_on=False, zorder=3,
                        markerfacecolor="black" if point.stable else "white",
                        label="stable" if point.stable else "unstable")  # fmt: skip
        ax.set(xlabel="variance $q$ of pre-activations", ylabel="variance $V(q)$ a layer later")
        ax.set(xlim=(low, high), ylim=(0.0, _top(V, high)))
        legend(ax)
    return ax


def clip_trajectory(
    trajectory: "ClipTrajectory | Sequence[ClipTrajectory]",
    ax: "Axes | None" = None,
    *,
    simulation: Any = None,
    networks: int = 12,
    **line: Any,
) -> "Axes":
    r"""Draw the variance through the layers: theory, and finite networks if there are any.

    The line is infinite width; the band holds 90 % of the networks of the trajectory's width, as
    the law of their variance has it.

    Args:
        trajectory: a `ClipTrajectory`, or several, told apart by colour.
        ax: axes to draw on; new ones if not given.
        simulation: a `Simulation` of the same network, or one to a trajectory: their mean squares
            are drawn as thin lines, and the 5, 50 and 95 % of them as dots.
        networks: how many of them at most to draw as lines.
        **line: keywords of the line of infinite width, as for `Axes.plot`.

    Returns:
        The axes.

    Example:
        >>> import meanfield as mf
        >>> choice = mf.clip_threshold("shifted_relu", sparsity=0.85, slope=0.7)
        >>> choice.trajectory(depth=50).plot().get_xlabel()
        'layer'
    """
    several = trajectory if isinstance(trajectory, Sequence) else [trajectory]
    drawn = simulation if isinstance(simulation, Sequence) else [simulation] * (len(several) == 1)
    with axes(ax, f"width {several[0].width}: theory and networks") as ax:
        seen = []
        for k, one in enumerate(several):
            color = CYCLE[k % len(CYCLE)][0]
            layers = np.arange(1, len(one.variance) + 1)
            name = "infinite width" if len(several) == 1 else f"{one.name}, infinite width"
            ax.plot(layers, one.variance, **merged(line, color=color, label=name))
            ax.fill_between(layers, one.low, np.minimum(one.high, _OUTSIDE), color=color,
                            alpha=0.2, linewidth=0, label="90 % of networks, theory")  # fmt: skip
            ax.plot(layers, np.where(np.isinf(one.median), np.nan, one.median), ":", color=color,
                    linewidth=1.5, label="median network, theory")  # fmt: skip
            seen += [one.variance, one.low, one.high]
            if k < len(drawn) and drawn[k] is not None:
                seen.append(_networks(ax, drawn[k].samples["mean_square"], color, networks))
        _scale(ax, np.concatenate([np.ravel(values) for values in seen]))
        ax.set(xlabel="layer", ylabel="mean square of pre-activations")
        ax.locator_params(axis="x", integer=True)
        legend(ax)
    return ax


def _networks(
    ax: "Axes", squares: NDArray[np.float64], color: str, networks: int
) -> NDArray[np.float64]:
    """Some networks as lines, quantiles of all as dots; returns all that is drawn."""
    layers = np.arange(1, squares.shape[1] + 1)
    shown = np.fmin(squares, _OUTSIDE)  # also what overflowed
    ax.plot(layers, shown[:networks].T, color=color, linewidth=0.5, alpha=0.45, zorder=1)
    every = max(1, len(layers) // 20)
    quantiles = np.quantile(shown, (0.05, 0.5, 0.95), axis=0)
    for level in quantiles:
        ax.plot(layers[::every], level[::every], "o", color="black", markersize=3,
                label=f"5, 50, 95 % of {len(squares)} networks")  # fmt: skip
    return np.concatenate([shown[:networks], quantiles])


def _scale(ax: "Axes", values: NDArray[np.float64]) -> None:
    """A logarithmic axis where that is needed, as far as values go that are finite."""
    known = values[np.isfinite(values) & (values > 0) & (values < _OUTSIDE)]
    low = float(known.min())
    high = min(float(known.max()), _TALLEST * low)
    if high > _WIDE * low:
        ax.set(yscale="log", ylim=(low / 3, 3 * high))
    else:
        ax.set_ylim(0.0, 1.05 * high)


def _top(values: NDArray[np.float64], high: float) -> float:
    return 1.03 * max(high, min(float(np.nanmax(values)), 1.5 * high))
