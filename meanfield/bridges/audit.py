r"""Audit of a model: what a batch does in it, layer by layer, beside what mean-field theory says.

The prediction starts from the batch itself, `K_ab = <x_a x_b>`, and takes it through each layer by
the actual second moments of its weights and biases and the activation in between,

    K'_ab = weight_var E[phi(u_a) phi(u_b)] + bias_var,    |dL/dz|^2 = chi |dL/dz'|^2,

with `chi = weight_var E[phi'^2]`. Where something else stands between two layers (a skip
connection, a norm, pooling) it is taken up again from what was measured there.

A second prediction, of one layer from the measured variance before it, tells where theory and
model part: the first does not, since small departures travel on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, log, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, as_activation
from meanfield.bridges.passage import Passage, mean_correlation, sources
from meanfield.criticality import critical
from meanfield.errors import MeanFieldError
from meanfield.gaussian import MOMENTS
from meanfield.layers.dense import activation as activation_layer
from meanfield.layers.dense import dense
from meanfield.layers.layer import Layer
from meanfield.layers.state import State
from meanfield.maps.moment import second_moment

__all__ = ["Audit", "Finding", "audited"]

Array = NDArray[np.float64]

_LOST = 1e-4  # a variance or gradient smaller by so much has died, and larger exploded
_ONE = 0.99  # a correlation above: two inputs have become one
_DEAD = 0.99  # a share of zeros above: the layer is silent
_PARTED = 0.1  # relative, and
_ERRORS = 5.0  # in standard errors: theory and model have parted
_CLOSE = 0.05  # a weight variance that is critical, but for how it was drawn
_LEAST = 1e-10  # variances below, or as far above 1, have no theory worth its time
_CRITICAL = "critical already: take fewer layers, or skip connections"
_COHERENT = 0.05  # share of a weight's second moment that is its mean


@dataclass(frozen=True)
class Finding:
    """Something wrong at a layer, and what to do."""

    kind: str
    layer: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.what}; {self.fix}"


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
        widths = [max(len(row[k]) for row in table) for k in range(len(head))]
        lines = ["Audit, measured beside theory"]
        for row in table:
            lines.append("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)))
        lines += [f"  {finding}" for finding in self.findings] or [f"  {self.verdict}"]
        return "\n".join(line.rstrip() for line in [*lines, *(f"  note: {n}" for n in self.notes)])


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
    theory = _Theory(passages, feeds)
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
    found = _Findings(passages, feeds, columns, fix).all()
    names = tuple(None if feed is None else feed[1].name for feed in feeds)
    return Audit(
        tuple(p.name for p in passages), tuple(p.kind for p in passages), names,
        **columns, findings=tuple(found), notes=tuple(notes),
    )  # fmt: skip


class _Theory:
    """The predictions; see the module."""

    def __init__(
        self, passages: Sequence[Passage], feeds: Sequence[tuple[int, Activation] | None]
    ) -> None:
        self.passages, self.feeds = passages, feeds
        self.states: list[State] = []
        self.steps = np.full(len(passages), nan)
        self.sparsity = np.full(len(passages), nan)
        self.factors = np.full(len(passages), nan)
        for k, p in enumerate(passages):
            layer, feed = dense(p.weight_var * p.reached, p.bias_var), feeds[k]
            if feed is None:
                self.states.append(_anew(layer, p.before.state))
                self.steps[k] = np.mean(self.states[k].variance)
                continue
            j, phi = feed
            sizes = self.states[j].variance
            least = 1e-150 if phi.is_homogeneous else _LEAST
            if not np.all((sizes > least) & (sizes < 1 / least)):
                self.states.append(_anew(layer, p.before.state))
                continue
            try:
                with np.errstate(all="ignore"):
                    self.states.append(layer(activation_layer(phi)(self.states[j])))
                self._one_step(k, j, phi)
            except MeanFieldError:  # it died, or is beyond what float64 can tell
                self.states.append(_anew(layer, p.before.state))

    def _one_step(self, k: int, j: int, phi: Activation) -> None:
        p, measured = self.passages[k], self.passages[j].after.variance
        if np.all(np.isfinite(measured)):
            squares = second_moment(phi, measured, derivatives=False).value
            self.steps[k] = p.weight_var * p.reached * np.mean(squares) + p.bias_var
        predicted = self.states[j].variance
        slopes = second_moment(phi, predicted, "dphi2", derivatives=False).value
        self.factors[k] = p.weight_var * p.reached * np.mean(slopes)
        moments = phi.moments(np.maximum(predicted, 1e-10))
        self.sparsity[k] = np.mean(moments.value[:, MOMENTS.index("sparsity")])

    def gradients(self, measured: Array) -> Array:
        """`|dL/dz_j|^2 = chi |dL/dz_k|^2` where layer `k` alone sees `j`; else as measured."""
        result = measured.copy()
        for j in range(len(measured) - 2, -1, -1):
            seen_by = [k for k, feed in enumerate(self.feeds) if feed and feed[0] == j]
            if len(seen_by) == 1 and isfinite(self.factors[seen_by[0]]):
                result[j] = self.factors[seen_by[0]] * result[seen_by[0]]
        return result


def _anew(layer: Layer, state: State) -> State:
    """Behind a layer by what was measured before it; nan if that overflowed."""
    if np.all(np.isfinite(state.variance)):
        return layer(state)
    unknown = np.full_like(state.one_minus, nan)
    return replace(state, variance=unknown[0], one_minus=unknown)


class _Findings:
    """What is wrong, layer by layer."""

    def __init__(self, passages, feeds, columns: dict[str, Array], fix: str) -> None:
        self.passages, self.feeds, self.columns, self.fix = passages, feeds, columns, fix
        used = [feed[1] for feed in feeds if feed is not None]
        self.phi = max(used, key=lambda phi: sum(phi is one for one in used)) if used else None

    def all(self) -> list[Finding]:
        """In the order of depth."""
        found = [self._size(), self._parts(), self._inputs(), self._zeros(), self._gradient()]
        order = [p.name for p in self.passages]
        found = sorted((f for f in found if f), key=lambda f: order.index(f.layer))
        return [
            replace(f, fix=f"it comes of {found[0].layer}: mend that first")
            if f.layer != found[0].layer and f.fix.endswith(_CRITICAL)
            else f
            for f in found
        ]

    def _finding(self, kind: str, k: int, what: str, fix: str | None = None) -> Finding:
        return Finding(kind, self.passages[k].name, what, fix or self._cure(k))

    def _cure(self, k: int) -> str:
        """What the variances here are, and what they should be."""
        here = f"its weight_var is {self.columns['weight_var'][k]:.3g}"
        if self.phi is None:
            return f"{here}: name the activation, and {self.fix.format('phi')}"
        try:
            point = critical(self.phi)
        except MeanFieldError:
            return f"{here}: meanfield.critical_line({self.phi.name!r}, q) has what it should be"
        if abs(self.columns["weight_var"][k] / point.weight_var - 1) < _CLOSE:
            return f"{here}, {_CRITICAL}"
        return (
            f"{here}, and {self.phi.name} at q = 1 is critical at {point.weight_var:.3g} with "
            f"bias_var {point.bias_var:.3g}: {self.fix.format(repr(self.phi.name))}"
        )

    def _crossing(self, values: Array, backwards: bool = False) -> tuple[int, str] | None:
        """At which layer a size leaves `[1e-4, 1e4]` of what it began with, and how."""
        order = range(len(values))[::-1] if backwards else range(len(values))
        start = values[order[0]]
        for at in order:
            with np.errstate(all="ignore"):
                ratio = values[at] / start
            if not ratio < 1 / _LOST:  # nan too
                change = "explodes"
            elif ratio < _LOST:
                change = "dies"
            else:
                continue
            way = [k for k in order if (k >= at if backwards else k <= at)]
            with np.errstate(all="ignore"):
                moves = np.abs(np.diff(np.log(values[way])))
            worst = int(np.argmax(np.nan_to_num(moves, nan=inf)))
            # the layer between two gradients is the later one
            steep = way[worst] if backwards else way[worst + 1]
            if not moves[worst] < 0.5 * abs(log(_LOST)):
                sides = values[way[worst]], values[way[worst + 1]]
                return steep, f"{change} at once, from {sides[0]:.3g} to {sides[1]:.3g}"
            return at, f"{change} little by little, from {start:.3g} to {values[at]:.3g}"
        return None

    def _size(self) -> Finding | None:
        values = self.columns["variance"]
        if not values[0] > 0 or not isfinite(values[0]):
            return self._finding("variance", 0, f"the variance of its outputs is {values[0]:.3g}")
        if crossing := self._crossing(values):
            k, how = crossing
            return self._finding("variance", k, f"the variance of the signal {how}")
        return None

    def _parts(self) -> Finding | None:
        for k, p in enumerate(self.passages):
            measured, step = self.columns["variance"][k], self.columns["step_variance"][k]
            if self.feeds[k] is None or not 0 < measured < inf or not isfinite(step):
                continue
            error = p.after.error + p.weight_var * p.before.error
            if abs(measured - step) > max(_ERRORS * error, _PARTED * step):
                if p.weight_mean > _COHERENT * p.weight_var:
                    why = "its weights have a mean, which adds up over its inputs"
                    fix = "subtract it"
                else:
                    why = "its weights are not independent of what they see, as after training"
                    fix = "theory holds for fresh weights only"
                what = f"theory and model part: variance {measured:.3g} where one layer of theory "
                return self._finding("theory", k, f"{what}makes {step:.3g}, since {why}", fix)
        return None

    def _inputs(self) -> Finding | None:
        values = self.columns["correlation"]
        for k, c in enumerate(values):
            if k and c > _ONE and values[0] < _ONE:
                what = f"inputs become one: their correlation is {c:.4g}, after {values[0]:.3g}"
                return self._finding("correlation", k, what)
        return None

    def _zeros(self) -> Finding | None:
        for k, share in enumerate(self.columns["sparsity"]):
            if k and share > _DEAD:
                return self._finding("sparsity", k, f"{share:.4g} of its inputs are 0")
        return None

    def _gradient(self) -> Finding | None:
        values = self.columns["gradient"]
        if not isfinite(values[-1]):
            return self._finding("gradient", len(values) - 1, "no gradient comes back to it")
        if len(values) > 1 and (crossing := self._crossing(values, backwards=True)):
            k, how = crossing
            return self._finding("gradient", k, f"the squared gradient, on its way back, {how}")
        return None
