r"""Normalisation: layers that divide the signal by its own size, or each unit by that of a batch.

    RMSNorm     K'_ab = K_ab / sqrt(K_aa K_bb)
    LayerNorm   the same of `K_ab - m_a m_b`
    BatchNorm   K' = I - (1 - I) / (B - 1) for a batch of B inputs alike: correlation is forgotten

Gradients are divided by the same sizes. In a batch of `B` the squared size of a unit is `chi^2`
of `B - 1` degrees of freedom, and the mean of its inverse makes `B / (B - 3)` of them: gradients
explode, for ReLU by `pi / (pi - 1)` per layer as `B` grows.
"""

from dataclasses import dataclass, replace
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray

from meanfield.errors import MeanFieldError
from meanfield.keywords import spelt
from meanfield.layers.layer import Layer
from meanfield.layers.state import State, complements

__all__ = ["batch_norm", "layer_norm", "rms_norm"]

Array = NDArray[np.float64]

_UNLIKE = 0.1  # share of a gradient that may be unknown


@dataclass(frozen=True)
class Norm(Layer):
    """See `rms_norm` and `layer_norm`."""

    centred: bool

    def __call__(self, state: State) -> State:
        size, one_minus, mean = state.variance, state.one_minus, state.mean
        if self.centred and np.any(mean):
            size = size - mean**2
            _check(size, state)
            one_minus = complements(size, state.gap - 0.5 * (mean[:, None] - mean) ** 2)
        _check(size, state)
        root, lost = np.sqrt(size), float(np.max(state.variance / size))
        return replace(
            state,
            variance=np.ones_like(size),
            one_minus=one_minus,
            mean=np.zeros_like(mean) if self.centred else mean / root,
            tangent=state.tangent / root[:, None] / root,
            error=state.error * lost,
            # E[t/K] is E[t]/E[K] (1 + spread - cov(t, K)/(t K)), to second order
            one_minus_error=(
                state.one_minus_error + state.error * (lost > 1) + state.spread + state.together
            )
            * lost,
            spread=0.0,
            uneven=state.uneven + sqrt(state.spread),
        )

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        if self.centred:
            x = x - np.mean(x, axis=1, keepdims=True)
        return x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))


def _check(size: Array, state: State) -> None:
    """Refuse what has no size, or none beside its rounding."""
    _check_finite(state)
    if not np.all(size > 4 * state.error * state.variance):
        raise MeanFieldError(
            "norm: a signal of variance 0, or as good as constant, cannot be normalised; give the "
            "layer before it a weight_var or bias_var"
        )


def _check_finite(state: State) -> None:
    if np.any(np.isposinf(state.variance)):
        raise MeanFieldError(
            "norm: the signal has grown beyond float64, and what a norm makes of it is not known; "
            "lower the weight variances before it"
        )


@spelt
def rms_norm() -> Layer:
    r"""RMSNorm without gain: `y_i = x_i / sqrt(<x^2>)`.

    `K'_ab = K_ab / sqrt(K_aa K_bb)`; squared gradients are divided by `K_aa`. Weights before it are
    forgotten. Behind it `phi` and weights without biases multiply squared gradients by
    `E[phi'^2] / E[phi^2]` at variance 1 from one norm to the next: critical where that is 1,
    whatever the weights, as for ReLU.

    Returns:
        A `Layer`.

    Raises:
        ValueError: `propagate`, where a signal is 0.

    Source: Zhang & Sennrich 2019, arXiv 1910.07467.

    Example:
        >>> import meanfield.layers as ml
        >>> ml.propagate(ml.rms_norm(), q=4.0).gradient
        array([1.  , 0.25])
    """
    return Norm(centred=False)


@spelt
def layer_norm() -> Layer:
    r"""LayerNorm without gain and bias: `y_i = (x_i - <x>) / sqrt(<x^2> - <x>^2)`.

    `K'_ab = (K_ab - m_a m_b) / (s_a s_b)` with `s_a^2 = K_aa - m_a^2`, by which squared gradients
    are divided. Critical as `rms_norm`. In a block `x + W phi(layer_norm(x)) + b` gradients grow as
    a power of depth, of exponent `weight_var E[phi'^2] / (weight_var E[phi^2] + bias_var)` at unit
    variance.

    Returns:
        A `Layer`.

    Raises:
        ValueError: `propagate`, where a signal is constant or as good as.

    Source: Ba, Kiros & Hinton 2016, arXiv 1607.06450; the exponent: Doshi, He & Gromov 2023,
    arXiv 2111.12143.

    Example:
        >>> import meanfield.layers as ml
        >>> block = ml.residual(ml.serial(ml.layer_norm(), ml.activation("tanh"), ml.dense(2.0)))
        >>> round(ml.propagate(ml.repeat(block, 1000), q=1.0).exponent, 2)
        1.18
    """
    return Norm(centred=True)


@dataclass(frozen=True)
class BatchNorm(Layer):
    """See `batch_norm`."""

    batch: float

    def __call__(self, state: State) -> State:
        n = len(state.variance)
        apart = ~np.eye(n, dtype=bool)
        _check_finite(state)
        if not state.is_exchangeable:
            raise MeanFieldError(
                "batch_norm: needs inputs that stand for a batch, two at least, of one variance "
                "and one correlation; give propagate a correlation"
            )
        of_gaps, of_gradients = (float(x) for x in state.uneven)
        if not (unlike := of_gaps * (of_gaps + of_gradients)) <= _UNLIKE:
            raise MeanFieldError(
                "batch_norm: behind attention each network has tokens of other norms and "
                f"correlations, and gradients would be known to {unlike:.2g} of themselves only; "
                "take rms_norm or layer_norm, a smaller scale of the attention branch, or "
                "attention of beta 0, or of tokens=inf and beta below critical_beta"
            )
        gap, tangent = state.gap[0, 1], state.tangent[0, 0] - state.tangent[0, 1]
        if not gap > 0:
            raise MeanFieldError("batch_norm: the inputs of the batch are all the same")
        b = self.batch
        # C B/|u|^2 (C - U U^T/B) on average, of centred u = |u| U / sqrt(B); C = I - 1/B
        growth, share = (b / (b - 3), 1 / b) if b < inf else (1.0, 0.0)
        gaps = np.where(apart, 1 / (1 - share), 0.0)
        radial = growth * share * tangent / gap
        return State(
            variance=np.ones(n),
            one_minus=gaps,
            mean=np.zeros(n),
            tangent=growth * tangent / gap * (~apart - share) - radial * (1 - gaps),
            gaussian=state.gaussian,
            error=state.error,
            one_minus_error=state.one_minus_error + unlike,
            batch=b,
            radial=radial,
            spread=of_gaps**2,  # sizes of its signals are their gaps over those of all
            uneven=state.uneven + of_gaps,
        )

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        x = x - np.mean(x, axis=0)
        return x / np.sqrt(np.mean(x**2, axis=0))


@spelt
def batch_norm(batch: float = inf) -> Layer:
    r"""BatchNorm without gain and bias: each unit minus its mean over the batch, by its deviation.

    The inputs given to `propagate` stand for a batch whose members are all alike. Whatever they
    were, they leave with correlation `-1/(B - 1)`, and gradients grow by `B/(B - 3)` over their
    squared deviation: infinite at 3 inputs. No weights are critical: from one norm to the next
    gradients grow by `E[phi'^2] / Var(phi)` of large batches, whatever the weights, and that is
    above 1 unless `phi` is linear.

    Args:
        batch: number of inputs in a batch, above 3. Behind a finite batch units are no longer
            Gaussian, and only activations with `phi(a x) = a phi(x)` have their maps.

    Returns:
        A `Layer`.

    Raises:
        ValueError: `batch` is 3 or less; and `propagate`, where inputs are not alike, or all one,
            or differ from network to network, as behind peaked attention.

    Source: Yang et al. 2019, arXiv 1902.08129.

    Example:
        >>> import math, meanfield.layers as ml
        >>> layer = ml.serial(ml.batch_norm(), ml.activation("relu"), ml.dense(2.0))
        >>> trace = ml.propagate(ml.repeat(layer, 5), q=1.0, correlation=0.2)
        >>> round(float(trace.partial_jacobian(4, 5)), 12) == round(math.pi / (math.pi - 1), 12)
        True
    """
    if not batch > 3:
        raise ValueError(
            f"batch: must be above 3, or the mean squared gradient is infinite; got {batch!r}"
        )
    return BatchNorm(float(batch))
