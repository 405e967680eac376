"""Audit of a model: what was measured in it layer by layer, and what theory predicts."""

from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.plot.style import BLUE, GREY, VERMILION, style

if TYPE_CHECKING:
    from meanfield.bridges.audit import Audit

__all__ = ["audit"]

_NAMED = 12  # layers whose names have room
_DECADE = 10.0


def audit(audit: "Audit", ax: Any = None) -> Any:
    """Draw variance, correlation, sparsity and gradient by layer, measured and predicted.

    Args:
        audit: as made by `meanfield.bridges.torch.audit`.
        ax: four axes to draw on, in any shape; new ones, two by two, if not given.

    Returns:
        The axes, an array of four. Dotted lines are at the layers with findings.

    Raises:
        ValueError: `ax` are not four axes.
    """
    if ax is not None:
        panels = np.asarray(ax, object)
        if panels.size != 4:
            raise ValueError(f"ax: an audit has four panels, got {panels.size} axes")
        _draw(audit, panels.ravel())
        return panels
    import matplotlib.pyplot as plt

    with style():
        figure, panels = plt.subplots(2, 2, sharex=True, figsize=(9.0, 6.0), layout="constrained")
        _draw(audit, panels.ravel())
        for panel in panels[0]:
            panel.set_xlabel("")
        figure.suptitle("audit: a batch in the model, layer by layer")
    return panels


def _draw(audit: "Audit", panels: Any) -> None:
    layers = np.arange(1, len(audit.layers) + 1)
    shown = (
        ("variance of pre-activations", "log", audit.variance, audit.predicted_variance),
        ("correlation of two inputs", "linear", audit.correlation, audit.predicted_correlation),
        ("share of zeros before the layer", "linear", audit.sparsity, audit.predicted_sparsity),
        ("squared gradient over the last", "log", audit.gradient, audit.predicted_gradient),
    )
    for panel, (label, scale, measured, predicted) in zip(panels, shown, strict=True):
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
    panels[0].legend(loc="upper left")
