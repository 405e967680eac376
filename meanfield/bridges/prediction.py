r"""What mean-field theory says of a batch in a model: the prediction beside an audit.

The prediction starts from the batch itself, `K_ab = <x_a x_b>`, and takes it through each layer by
the actual second moments of its weights and biases and the activation in between,

    K'_ab = weight_var E[phi(u_a) phi(u_b)] + bias_var,    |dL/dz|^2 = chi |dL/dz'|^2,

with `chi = weight_var E[phi'^2]`. Where something else stands between two layers (a skip
connection, a norm, pooling) it is taken up again from what was measured there.

A second prediction, of one layer from the measured variance before it, tells where theory and
model part: the first does not, since small departures travel on.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.bridges.passage import Feeds, Passage
from meanfield.errors import MeanFieldError
from meanfield.gaussian import MOMENTS
from meanfield.layers.dense import activation as activation_layer
from meanfield.layers.dense import dense
from meanfield.layers.layer import Layer
from meanfield.layers.state import State
from meanfield.maps.moment import second_moment

__all__ = ["Prediction"]

Array = NDArray[np.float64]

_LEAST = 1e-10  # variances below, or as far above 1, have no theory worth its time


class Prediction:
    """Of all layers with weights: see the module.

    Attributes:
        states: behind each layer.
        steps: variances from those measured one layer before.
        sparsity: `P(phi = 0)` before each layer.
        factors: `chi`, by which the gradient changes on its way back through it.
    """

    def __init__(self, passages: Sequence[Passage], feeds: Feeds) -> None:
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
