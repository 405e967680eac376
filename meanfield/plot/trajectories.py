"""Layer by layer: the variance of one input, and the correlation of two."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meanfield.plot.style import axes, legend, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.maps.correlation import CorrelationTrajectory
    from meanfield.maps.variance_trajectory import VarianceTrajectory

__all__ = ["correlation_trajectory", "variance_trajectory"]


def variance_trajectory(
    trajectory: "VarianceTrajectory", ax: "Axes | None" = None, *, scale: str = "linear",
    **line: Any,
) -> "Axes":  # fmt: skip
    r"""Draw the variance layer by layer; call it again on the same axes to add another.

    Args:
        trajectory: a `VarianceTrajectory`; one line for each start. A line ends where the
            variance overflows.
        ax: axes to draw on; new ones if not given.
        scale: `"linear"` or `"log"`, of the variance.
        **line: keywords of the lines, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        ValueError: `scale` is another word.

    Example:
        >>> import meanfield as mf
        >>> V = mf.variance_map(mf.Network("tanh", weight_var=2.25, bias_var=0.0025))
        >>> mf.plot.variance_trajectory(V.iterate(q0=1.0, depth=20)).get_xlabel()
        'depth (layers)'
    """
    if scale not in ("linear", "log"):
        raise ValueError(f"scale: must be 'linear' or 'log', got {scale!r}")
    values = np.asarray(trajectory.variance, np.float64)
    with axes(ax, f"variance in {trajectory.network.activation.name}") as ax:
        _draw(ax, values, "linear", scale, line)
        ax.set(ylabel="variance $q$ of pre-activations")
    return ax


def correlation_trajectory(
    trajectory: "CorrelationTrajectory", ax: "Axes | None" = None, *, complement: bool = False,
    **line: Any,
) -> "Axes":  # fmt: skip
    r"""Draw the correlation of two inputs layer by layer; call it again to add another.

    Args:
        trajectory: a `CorrelationTrajectory`; one line for each start.
        ax: axes to draw on; new ones if not given.
        complement: draw `1 - c` instead, both axes logarithmic: a power law, as on the edge of
            chaos, is a straight line. Layer 0, the input, is not on such an axis.
        **line: keywords of the lines, as for `Axes.plot`.

    Returns:
        The axes.

    Example:
        >>> import meanfield as mf
        >>> C = mf.correlation_map(mf.Network("relu", weight_var=2.0))
        >>> way = C.iterate(c0=0.3, depth=20)
        >>> mf.plot.correlation_trajectory(way, complement=True).get_ylabel()
        'difference $1 - c$ of two inputs'
    """
    values = np.asarray(trajectory.one_minus if complement else trajectory.correlation, np.float64)
    with axes(ax, f"correlation in {trajectory.network.activation.name}") as ax:
        scale = "log" if complement else "linear"
        _draw(ax, values, scale, scale, line)
        ax.set(ylabel=f"{'difference $1 - c$' if complement else 'correlation $c$'} of two inputs")
    return ax


def _draw(
    ax: "Axes", values: NDArray[np.float64], xscale: str, yscale: str, line: dict[str, Any]
) -> None:
    """A line for each start; what is infinite, or zero where that has no logarithm, is left out."""
    layers, columns = np.arange(len(values)), values.reshape(len(values), -1)
    shown = np.isfinite(columns) & ((columns > 0) | (yscale == "linear"))
    first = int(xscale == "log")
    ax.plot(layers[first:], np.where(shown, columns, np.nan)[first:], **merged(line))
    ax.set(xlabel="depth (layers)", xscale=xscale, yscale=yscale)
    if xscale == "linear":
        ax.locator_params(axis="x", integer=True)
    legend(ax)
