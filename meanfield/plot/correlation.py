"""The correlation map: what one layer makes of the correlation of two inputs."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from meanfield.plot.style import GREY, axes, legend, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.maps.correlation import CorrelationMap

__all__ = ["correlation_map"]


def correlation_map(
    C: "CorrelationMap",
    ax: "Axes | None" = None,
    *,
    correlation: ArrayLike | None = None,
    **line: Any,
) -> "Axes":
    r"""Draw `C(c)` against the diagonal, its slope at 1, and the correlation `c*` it leads to.

    Of inputs with different variances only the curve: they never become one.

    Args:
        C: a `CorrelationMap`.
        ax: axes to draw on; new ones if not given.
        correlation: where to draw the map, shape (n,); on all of [-1, 1] if not given.
        **line: keywords of the line `C(c)`, as for `Axes.plot`.

    Returns:
        The axes.

    Source: Poole et al. 2016, arXiv 1606.05340, figure 2.

    Example:
        >>> import meanfield as mf
        >>> C = mf.correlation_map(mf.Network("tanh", weight_var=2.25, bias_var=0.0025))
        >>> mf.plot.correlation_map(C).get_ylabel()
        'correlation $C(c)$ a layer later'
    """
    # Dense at the ends, where a kink of the activation bends the map most.
    c = np.cos(np.linspace(np.pi, 0.0, 257)) if correlation is None else np.asarray(correlation)
    with axes(ax, f"correlation map of {C.network.activation.name}") as ax:
        ax.plot(c, c, color=GREY, linewidth=1, zorder=1.5, label="$c$ unchanged")
        (curve,) = ax.plot(c, C(c), **merged(line, label="$C(c)$", zorder=2))
        if not isinstance(C.q, tuple):
            _tangent(ax, float(C(1.0)), float(C.slope(1.0)), curve.get_color())
            star = float(C.fixed_point())
            if c.min() <= star <= c.max():
                ax.plot([star], [star], "o", color="black", clip_on=False, zorder=3,
                        label=f"$c^*$ = {star:.4g}")  # fmt: skip
        ax.set(xlabel="correlation $c$ of two inputs", ylabel="correlation $C(c)$ a layer later")
        ax.locator_params(axis="x", nbins=5)
        legend(ax, "lower right")
    return ax


def _tangent(ax: "Axes", end: float, slope: float, color: Any) -> None:
    """A short piece of the tangent at 1; upright where the slope is infinite."""
    run, rise = 0.35 / max(1.0, slope), min(0.35 * slope, 0.35)
    ax.plot([1.0 - run, 1.0], [end - rise, end], color=color, linestyle=":", linewidth=1.5,
            zorder=2.5, label=rf"slope at 1: $\chi_1$ = {slope:.4g}")  # fmt: skip
