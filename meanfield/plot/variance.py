"""The variance map against the diagonal, with all its fixed points and a trajectory."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.plot.style import BLUE, GREY, VERMILION, axes, legend, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.fixedpoints import FixedPoints
    from meanfield.maps.variance import VarianceMap
    from meanfield.network import FixedPoint

__all__ = ["variance_map", "variances_in_view"]


def variance_map(
    result: "VarianceMap | FixedPoints",
    ax: "Axes | None" = None,
    *,
    q: ArrayLike | None = None,
    q0: float | None = None,
    depth: int = 50,
    scale: str = "linear",
    **line: Any,
) -> "Axes":
    r"""Draw `V(q)` against the diagonal, all fixed points, and the way from `q0` as a cobweb.

    Filled markers are stable, open ones unstable, half-filled ones attract from the filled side,
    and open diamonds are marginal. Where the variance grows without bound the ground is hatched.

    Args:
        result: a `VarianceMap`, or the `FixedPoints` of a network.
        ax: axes to draw on; new ones if not given.
        q: variances at which to draw the map, shape (n,); chosen around the fixed points and
            `q0` if not given.
        q0: where a trajectory starts; none is drawn if not given.
        depth: its number of layers.
        scale: `"linear"` or `"log"`, of both axes.
        **line: keywords of the line `V(q)`, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        ValueError: `scale` is another word.

    Source: the cobweb diagram of Poole et al. 2016, arXiv 1606.05340, figure 1.

    Example:
        >>> import meanfield as mf
        >>> points = mf.fixed_points(mf.Network("tanh", weight_var=2.25, bias_var=0.0025))
        >>> mf.plot.variance_map(points, q0=2.0).get_xlabel()
        'variance $q$ of pre-activations'
    """
    if scale not in ("linear", "log"):
        raise ValueError(f"scale: must be 'linear' or 'log', got {scale!r}")
    V, points = _both(result)
    if q is None:
        q = variances_in_view(points, q0, scale)
    q = np.asarray(q, np.float64)
    low, high = float(q.min()), float(q.max())
    with axes(ax, f"variance map of {V.network.activation.name}") as ax:
        ax.set(xscale=scale, yscale=scale)
        ax.plot(q, q, color=GREY, linewidth=1, zorder=1.5, label="$q$ unchanged")
        if points.continuum is not None:
            ends = np.clip(points.continuum, low, high)
            ax.plot(ends, ends, color=BLUE, alpha=0.3, linewidth=8, solid_capstyle="butt",
                    zorder=1.6, label="every $q$ is a fixed point")  # fmt: skip
        for start, end in points.explodes:
            if start < high and end > low:
                ax.axvspan(max(start, low), min(end, high), facecolor="none", edgecolor="0.75",
                           hatch="...", linewidth=0, zorder=0.5, label="explodes")  # fmt: skip
        ax.plot(q, V(q), **merged(line, label="$V(q)$", zorder=2))
        if q0 is not None:
            cobweb(ax, np.asarray(V.iterate(q0, depth), np.float64), high)
        _mark(ax, points, low, high, scale)
        ax.set(xlabel="variance $q$ of pre-activations", ylabel="variance $V(q)$ a layer later")
        ax.set(xlim=(low, high), ylim=_limits(V(q), low, high, scale))
        legend(ax)
    return ax


def _both(result: Any) -> tuple["VarianceMap", "FixedPoints"]:
    """The map and the fixed points of the network of either."""
    from meanfield.fixedpoints import FixedPoints, fixed_points
    from meanfield.maps.variance import variance_map as map_of

    if isinstance(result, FixedPoints):
        return map_of(result.network), result
    return result, fixed_points(result.network)


def variances_in_view(
    points: "FixedPoints", q0: float | None = None, scale: str = "linear"
) -> NDArray[np.float64]:
    """Variances around all fixed points and `q0`, as `variance_map` takes them; shape (401,)."""
    places = [point.q for point in points] + [points.network.bias_var, q0 or 0.0]
    seen = [q for q in places if 0 < q < np.inf] or [1.0]
    if scale == "log":
        return np.geomspace(min(seen) / 10, max(seen) * 10, 401)
    return np.linspace(0.0, 1.5 * max(seen), 401)


def _limits(v: NDArray[np.float64], low: float, high: float, scale: str) -> tuple[float, float]:
    """Where `V` and the diagonal are; what shoots up beyond three times the diagonal is cut."""
    top = max(high, min(float(np.nanmax(v)), 3 * high))
    if scale == "log":
        return max(min(low, float(np.nanmin(v))), low * 1e-3), top
    return 0.0, 1.03 * top


def cobweb(ax: "Axes", variance: NDArray[np.float64], high: float) -> None:
    """Up to the curve, across to the diagonal, and again, as far as the picture goes."""
    corners = np.minimum(np.repeat(variance, 2), 1e3 * high)  # matplotlib has no infinity
    ax.plot(corners[:-1], corners[1:], color=VERMILION, linewidth=1, zorder=2.5,
            label=f"from $q_0$ = {variance[0]:.4g}")  # fmt: skip


def _mark(ax: "Axes", points: "FixedPoints", low: float, high: float, scale: str) -> None:
    """Each fixed point in view by a marker that shows its stability, one legend entry for each."""
    named = set()
    for point in points:
        if scale == "log" and point.q == 0:
            ax.annotate(f"$q$ = 0 is {point.stability}", (0.03, 0.03), xycoords="axes fraction")
        elif low <= point.q <= high:
            ax.plot([point.q], [point.q], color="black", linestyle="none", clip_on=False, zorder=3,
                    label=None if point.stability in named else point.stability,
                    **_marker(point))  # fmt: skip
            named.add(point.stability)


def _marker(point: "FixedPoint") -> dict[str, Any]:
    """Filled, open, or filled on the side from which the point attracts."""
    if point.stability == "stable":
        return {"marker": "o"}
    if point.stability == "half-stable":
        below = any(low < point.q for low, _ in point.basin or ())
        return {"marker": "o", "fillstyle": "left" if below else "right",
                "markerfacecoloralt": "white"}  # fmt: skip
    return {"marker": "o" if point.stability == "unstable" else "D", "markerfacecolor": "white"}
