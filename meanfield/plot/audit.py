"""Audit of a model: what was measured in it layer by layer, and what theory predicts."""

from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.plot.style import BLUE, GREY, VERMILION, panels

if TYPE_CHECKING:
    from meanfield.bridges.audit import Audit

__all__ = ["audit"]

_NAMED = 12  # layers whose names have room
_DECADE = 10.0


def audit(audit: "Audit", ax: Any = None) -> Any:
    """Draw variance, correlation, sparsity and gradient by layer, measured and predicted.

    Args:
        audit: as made by `meanfield.bridges.torch.audit`.
        ax: four axes to draw on, in any shape; new ones if not given.

    Returns:
        The axes, an array of two by two. Dotted lines are at the layers with findings.

    Raises:
        ValueError: `ax` are not four axes.
    """
    title = "audit: a batch in the model, layer by layer"
    with panels(ax, (2, 2), title, sharex=True, figsize=(9.0, 6.0)) as grid:
        _draw(audit, grid.ravel())
        if ax is None:  # the upper panels share the axis of the lower ones
            for panel in grid[0]:
                panel.set_xlabel("")
    return grid


def _draw(audit: "Audit", flat: Any) -> None:
    layers = np.arange(1, len(audit.layers) + 1)
    shown = (
        ("variance of pre-activations", "log", audit.variance, audit.predicted_variance),
        ("correlation of two inputs", "linear", audit.correlation, audit.predicted_correlation),
        ("share of zeros before the layer", "linear", audit.sparsity, audit.predicted_sparsity),
        ("squared gradient over the last", "log", audit.gradient, audit.predicted_gradient),
    )
    for panel, (label, scale, measured, predicted) in zip(flat, shown, strict=True):
        good = [np.isfinite(v) & ((v > 0) | (scale == "linear")) for v in (measured, predicted)]
        both = np.concatenate([measured[good[0]], predicted[good[1]]])
        if len(both) and np.max(both) < _DECADE * np.min(both):
            scale = "linear"  # a logarithmic axis would have no round numbers
        error = 2 * audit.variance_error if measured is audit.variance else np.zeros(len(layers))
        low = np.minimum(error, 0.99 * np.abs(measured))  # a logarithm has no negative end
        panel.plot(layers[good[1]], predicted[good[1]], "-", color=VERMILION, label="theory")
        panel.errorbar(
            layers[good[0]], measured[good[0]], yerr=np.stack([low, error])[:, good[0]], fmt="o",
            markersize=4, color=BLUE, label="measured",
        )  # fmt: skip
        panel.set(ylabel=label, yscale=scale)
        for k, name in enumerate(audit.layers):
            if any(finding.layer == name for finding in audit.findings):
                panel.axvline(float(layers[k]), color=GREY, linestyle=":", zorder=0)
        if len(layers) <= _NAMED:
            panel.set_xticks(layers, audit.layers, rotation=45, ha="right")
        else:
            panel.locator_params(axis="x", integer=True)
        if measured is audit.sparsity:
            panel.set_ylim(-0.05, 1.05)
        panel.set_xlabel("layer with weights")
    flat[0].legend()
