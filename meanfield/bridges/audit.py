"""Audit of a model: what a batch does in it, layer by layer, beside what theory says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import as_activation
from meanfield.aligned import aligned
from meanfield.bridges.findings import Finding, Findings
from meanfield.bridges.passage import Passage, mean_correlation, sources
from meanfield.bridges.prediction import Prediction

__all__ = ["Audit", "Finding", "audited"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """Measured and predicted signals, one entry for each layer with weights, in their order.

    Attributes:
        layers: names.
        kinds: classes.
        activations: the activation between the layer before and this; None where something else
            stands there, and at the first.
        weight_var: `fan_in` times the mean square of the weights, and
        bias_var: the mean square of the biases.
        variance: mean square of the pre-activations over units and inputs.
        variance_error: its standard error, from the spread over units.
        predicted_variance: by theory, from the batch on.
        step_variance: by theory, from the variance that was measured one layer before.
        correlation: mean over pairs of inputs; nan for one input.
        predicted_correlation: the same.
        sparsity: share of zeros among the inputs of the layer.
        predicted_sparsity: `P(phi = 0)`; nan where no activation is known.
        gradient: mean squared norm of the gradient at the pre-activations, over that at the last.
        predicted_gradient: the same, backwards from the last.
        findings: a `Finding` each; the first is the first in depth. Empty if all is well.
        notes: sentences on what the prediction does not see.
    """

    layers: tuple[str, ...]
    kinds: tuple[str, ...]
    activations: tuple[str | None, ...]
    weight_var: Array
    bias_var: Array
    variance: Array
    variance_error: Array
    predicted_variance: Array
    step_variance: Array
    correlation: Array
    predicted_correlation: Array
    sparsity: Array
    predicted_sparsity: Array
    gradient: Array
    predicted_gradient: Array
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """What was found, in a sentence that names the layer and the fix."""
        if self.findings:
            return str(self.findings[0])
        return "the signal and its gradient arrive, as theory says: use the model"

    def to_dict(self) -> dict[str, Any]:
        """All of it, in lists and dictionaries."""
        made = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}
        made["findings"] = [dict(vars(finding)) for finding in self.findings]
        return {**made, "verdict": self.verdict}

    def plot(self, ax: Any = None) -> Any:
        """Draw it with `meanfield.plot.audit`; returns the Axes."""
        from meanfield import plot

        return plot.audit(self, ax=ax)

    def __repr__(self) -> str:
        head = ["layer", "kind", "activation", "variance", "theory", "correlation", "theory"]
        head += ["zeros", "theory", "gradient^2", "theory"]
        pairs = (
            (self.variance, self.predicted_variance),
            (self.correlation, self.predicted_correlation),
            (self.sparsity, self.predicted_sparsity),
            (self.gradient, self.predicted_gradient),
        )
        table = [head]
        for k, name in enumerate(self.layers):
            cells = [name or "(model)", self.kinds[k], self.activations[k] or ""]
            for column in (column for pair in pairs for column in pair):
                cells.append("" if np.isnan(column[k]) else f"{column[k]:.3g}")
            table.append(cells)
        said = [str(finding) for finding in self.findings] or [self.verdict]
        said += [f"note: {note}" for note in self.notes]
        lines = [f"  {line}" for line in (*aligned(table), *said)]
        return "\n".join(["Audit, measured beside theory", *lines])


def audited(
    passages: Sequence[Passage], activation: Any, fix: str, notes: Sequence[str] = ()
) -> Audit:
    """The audit of what was seen of a batch.

    Args:
        passages: the layers with weights, in the order of their calls.
        activation: the activation of the model, or None to recognise those of the catalogue.
        fix: how to initialise the model in its framework.
        notes: sentences to go with it.

    Raises:
        ValueError: there is no layer.
    """
    if not passages:
        raise ValueError(
            "model: the batch went through no dense layer or convolution that could be audited"
        )
    phi = None if activation is None else as_activation(activation)
    feeds = sources(passages, phi)
    theory = Prediction(passages, feeds)
    last = passages[-1].gradient
    with np.errstate(all="ignore"):
        gradient = np.array([p.gradient for p in passages]) / last
    columns = {
        "weight_var": np.array([p.weight_var for p in passages]),
        "bias_var": np.array([p.bias_var for p in passages]),
        "variance": np.array([np.mean(p.after.variance) for p in passages]),
        "variance_error": np.array([p.after.error for p in passages]),
        "predicted_variance": np.array([np.mean(s.variance) for s in theory.states]),
        "step_variance": theory.steps,
        "correlation": np.array([p.after.correlation for p in passages]),
        "predicted_correlation": np.array([mean_correlation(s.one_minus) for s in theory.states]),
        "sparsity": np.array([p.before.zeros for p in passages]),
        "predicted_sparsity": theory.sparsity,
        "gradient": gradient,
        "predicted_gradient": theory.gradients(gradient),
    }
    anew = [passages[k].name for k in range(1, len(passages)) if feeds[k] is None]
    if anew:
        shown = ", ".join(anew[:5]) + (", ..." if len(anew) > 5 else "")
        notes = [
            *notes,
            f"before {shown} stands more than one known activation (a skip connection, a norm, "
            "pooling, dropout, or a function to be named by activation=), so the prediction is "
            "taken up again there from what was measured",
        ]
    found = Findings(passages, feeds, columns, fix).all()
    names = tuple(None if feed is None else feed[1].name for feed in feeds)
    return Audit(
        tuple(p.name for p in passages), tuple(p.kind for p in passages), names,
        **columns, findings=tuple(found), notes=tuple(notes),
    )  # fmt: skip
