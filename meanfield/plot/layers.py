"""An architecture layer by layer, or node by node: signal, gradient, difference of two inputs."""

from typing import TYPE_CHECKING

import numpy as np

from meanfield.plot.style import CYCLE, axes, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.layers.dag import DagTrace
    from meanfield.layers.propagate import Trace

__all__ = ["dag_trace", "trace"]

_NAMES = 40  # nodes that are named along the axis


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


def dag_trace(trace: "DagTrace", ax: "Axes | None" = None) -> "Axes":
    r"""Draw variance, gradient growth and `1 - c` at every node of a graph of layers.

    Args:
        trace: a `meanfield.layers.DagTrace`. Of several signals the mean is drawn, and the range.
        ax: axes to draw on; new ones if not given.

    Returns:
        The axes, of logarithmic height; nodes are in an order in which signals reach them.

    Example:
        >>> import meanfield as mf, meanfield.layers as ml
        >>> cell = ml.dag({"in": [], "a": ["in"], "out": ["in", "a"]})
        >>> [t.get_text() for t in mf.plot.dag_trace(cell.trace(1.0, 0.3)).get_xticklabels()]
        ['in', 'a', 'out']
    """
    states = list(trace.states.values())
    shown = [
        ("variance of the signal", [state.variance for state in states]),
        ("growth of the squared gradient", [np.diag(state.tangent) for state in states]),
    ]
    if len(states[0].variance) > 1:
        pairs = np.triu_indices(len(states[0].variance), 1)
        shown.append(("difference $1 - c$ of two inputs", [s.one_minus[pairs] for s in states]))
    with axes(ax, "signal at the nodes of the graph") as ax:
        for k, (label, values) in enumerate(shown):
            color, marker = CYCLE[k][0], "osD"[k]
            rows = np.array(values)
            rows = np.where(np.isfinite(rows) & (rows > 0), rows, np.nan)
            places = np.arange(len(rows)) + 0.15 * (k - 1)  # beside each other
            middle = np.exp(np.mean(np.log(rows), axis=1))
            ax.plot(places, middle, marker, color=color, alpha=0.8, label=label)
            ax.vlines(places, np.min(rows, axis=1), np.max(rows, axis=1), color=color)
        if len(states) <= _NAMES:
            ax.set_xticks(range(len(states)), [str(node) for node in trace.states], rotation=90)
        ax.set(xlabel="node", yscale="log", ylabel="value")
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * (high / low) ** 0.6)  # room for the legend
        legend(ax, "upper left")
    return ax
