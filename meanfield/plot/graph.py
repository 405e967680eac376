"""Graph networks: how the nodes become one signal with depth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from meanfield.plot.style import CYCLE, GREY, axes, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.layers.graph.result import GraphNetwork

__all__ = ["graph_scale", "oversmoothing"]

_FLOOR = 1e-28  # 1 - c below is drawn on the edge


def oversmoothing(
    networks: "GraphNetwork | Sequence[GraphNetwork]",
    ax: "Axes | None" = None,
    *,
    labels: "Sequence[str] | None" = None,
) -> "Axes":
    """Draw mean `1 - c` of pairs of nodes against depth, both logarithmic.

    Args:
        networks: results of `meanfield.layers.graph_network`, one or several. Of a single one the
            range over pairs is shaded, and ReLU's own law `1 / depth^2` drawn as a guide.
        ax: axes to draw on; new ones if not given.
        labels: names of the networks.

    Returns:
        The axes.

    Example:
        >>> import meanfield as mf, meanfield.layers as ml
        >>> ring = ml.graph_network([[0, 1, 1], [1, 0, 1], [1, 1, 0]], depth=10)
        >>> mf.plot.oversmoothing(ring).get_xlabel()
        'depth (layers)'
    """
    shown = list(networks) if isinstance(networks, Sequence) else [networks]
    if any(np.all(np.isnan(network.one_minus)) for network in shown):
        raise ValueError("networks: of a single node that is heard there is no pair to draw")
    names = [_label(network) for network in shown] if labels is None else list(labels)
    with axes(ax, "oversmoothing") as ax:
        lowest = 1.0
        for network, name, (color, dashes) in zip(shown, names, CYCLE, strict=False):
            depth = np.arange(1, network.depth + 1)
            apart = _drawn(network.one_minus)
            ax.plot(depth, apart, color=color, linestyle=dashes, label=name)
            lowest = min(lowest, np.nanmin(apart, initial=1.0))
            if len(shown) == 1:
                low, high = _drawn(network.closest), _drawn(network.farthest)
                ax.fill_between(
                    depth, np.fmax(low, _FLOOR), high, color=color, alpha=0.15, linewidth=0,
                    label="range over pairs of nodes",
                )  # fmt: skip
        depth = max(network.depth for network in shown)
        if len(shown) == 1 and depth >= 8 and np.isfinite(apart[depth // 8]):
            tail = np.array([depth // 8 + 1, depth])
            guide = apart[depth // 8] * (tail / tail[0]) ** -2.0
            ax.plot(tail, guide, color=GREY, linewidth=1, linestyle=":", label="depth$^{-2}$")
        ax.set(xlabel="depth (layers)", xscale="log", yscale="log")
        ax.set_ylabel("$1 - c$, mean over pairs of nodes")
        ax.set_ylim(bottom=max(0.3 * lowest, _FLOOR), top=2.0)
        legend(ax)
    return ax


def _drawn(values: np.ndarray) -> np.ndarray:
    """Without the input, and without what a logarithm cannot show."""
    return np.where(values[1:] > _FLOOR, values[1:], np.nan)


def _label(network: "GraphNetwork") -> str:
    """What sets it apart, in few words."""
    parts = [f"{network.activation.name}, {network.normalisation or 'sum'}"]
    if network.residual_aggregation != 1:
        parts.append(f"$e$ = {network.residual_aggregation:.3g}")
    if network.residual_scale is not None:
        parts.append(f"branches of scale {network.residual_scale:.3g}")
    return ", ".join(parts)


def graph_scale(network: "GraphNetwork", ax: "Axes | None" = None) -> "Axes":
    """Draw the variances of the nodes and the growth of gradients against depth.

    Args:
        network: a result of `meanfield.layers.graph_network`.
        ax: axes to draw on; new ones if not given.

    Returns:
        The axes, of logarithmic height.

    Example:
        >>> import meanfield as mf, meanfield.layers as ml
        >>> ring = ml.graph_network([[0, 1, 1], [1, 0, 1], [1, 1, 0]], depth=10)
        >>> mf.plot.graph_scale(ring).get_yscale()
        'log'
    """
    depth = np.arange(network.depth + 1)
    with axes(ax, "signals of the nodes") as ax:
        (color, dashes), (other, dots) = CYCLE[:2]
        variance = np.where(network.variance > 0, network.variance, np.nan)
        ax.plot(depth, network.scale, color=color, linestyle=dashes, label="variance, mean")
        if len(network.nodes) > 1:
            ax.fill_between(
                depth, np.nanmin(variance, axis=1), np.nanmax(variance, axis=1), color=color,
                alpha=0.15, linewidth=0, label="range over nodes",
            )  # fmt: skip
        ax.plot(
            depth, network.gradient, color=other, linestyle=dots, label="squared gradient, mean"
        )
        ax.set(xlabel="depth (layers)", yscale="log", ylabel="variance $K_{aa}$, gradient growth")
        ax.locator_params(axis="x", integer=True)
        legend(ax)
    return ax
