"""An architecture layer by layer: signal, gradient, and the difference of two inputs."""

from typing import TYPE_CHECKING

import numpy as np

from meanfield.plot.style import CYCLE, axes, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.layers.propagate import Trace

__all__ = ["trace"]


def trace(trace: "Trace", ax: "Axes | None" = None) -> "Axes":
    r"""Draw variance, gradient growth and `1 - c` of an architecture against its steps.

    Args:
        trace: a `meanfield.layers.Trace`. Of several signals the mean is drawn, and the range.
        ax: axes to draw on; new ones if not given.

    Returns:
        The axes, of logarithmic height.

    Example:
        >>> import meanfield as mf, meanfield.layers as ml
        >>> block = ml.residual(ml.serial(ml.activation("relu"), ml.dense(2.0)), scale=0.3)
        >>> mf.plot.trace(ml.propagate(ml.repeat(block, 30), q=1.0)).get_yscale()
        'log'
    """
    shown = [
        ("variance of the signal", trace.variance),
        ("growth of the squared gradient", trace.gradient),
    ]
    if trace.one_minus is not None:
        gaps = trace.one_minus
        if gaps.ndim == 3:
            gaps = gaps[:, *np.triu_indices(gaps.shape[1], 1)]
        shown.append(("difference $1 - c$ of two inputs", gaps))
    with axes(ax, "signal through the architecture") as ax:
        for (label, values), (color, dashes) in zip(shown, CYCLE, strict=False):
            rows = np.where(np.isfinite(values) & (values > 0), values, np.nan)
            rows = rows.reshape(len(rows), -1)
            steps, middle = np.arange(len(rows)), np.exp(np.mean(np.log(rows), axis=1))
            ax.plot(steps, middle, color=color, linestyle=dashes, label=label)
            if rows.shape[1] > 1:
                ax.fill_between(
                    steps, np.min(rows, axis=1), np.max(rows, axis=1), color=color, alpha=0.15,
                    linewidth=0,
                )  # fmt: skip
        ax.set(xlabel="depth (steps of the architecture)", yscale="log", ylabel="value")
        ax.locator_params(axis="x", integer=True)
        legend(ax)
    return ax
