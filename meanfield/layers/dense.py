"""The dense layer, and the activation that acts on what it makes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp, inf, lgamma, log, sqrt

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, as_activation
from meanfield.criticality import checked_variances
from meanfield.ensembles import Ensemble, Gaussian, ensemble_of
from meanfield.errors import MeanFieldError
from meanfield.gaussian import MOMENTS
from meanfield.keywords import spelt
from meanfield.layers.duals import dual, dual_of_slopes
from meanfield.layers.layer import Layer
from meanfield.layers.state import State, joined
from meanfield.layers.weights import drawn_weights
from meanfield.precision import EPS

__all__ = ["activation", "dense", "dense_variance", "overflown"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Dense(Layer):
    """See `dense`."""

    weight_var: float
    bias_var: float
    weights: Ensemble = Gaussian()
    mixes = True

    def __call__(self, state: State) -> State:
        variance, one_minus = self.weight_var * state.variance, state.one_minus
        if self.bias_var:
            bias = np.full_like(variance, self.bias_var), np.zeros_like(one_minus)
            variance, one_minus = joined([(variance, one_minus), bias])
        return State(
            variance=variance,
            one_minus=one_minus,
            mean=np.zeros_like(state.variance),
            tangent=self.weight_var * state.tangent,
            gaussian=True,
            error=state.error + EPS,
            one_minus_error=state.one_minus_error + EPS,
            spread=state.spread,
            uneven=state.uneven,
        )

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        width = x.shape[1]
        weights = drawn_weights(self.weights, width, rng) * np.sqrt(self.weight_var)
        return x @ weights + rng.normal(size=width) * np.sqrt(self.bias_var)


@spelt
def dense(weight_var: float, bias_var: float = 0.0, weights: str | Ensemble = "gaussian") -> Layer:
    r"""A fully connected layer: `y_i = sum_j W_ij x_j + b_i`.

    `K' = weight_var K + bias_var`; squared gradients are multiplied by `weight_var`. So it is for
    all ensembles whose entries have that variance and whose rows and columns are exchangeable:
    orthogonal, of low rank, sparse, in blocks. What they do differently (the singular values of a
    Jacobian, the noise of finite networks) is not in these maps; `sample` draws of the ensemble.
    Networks of random rotations, `SparseOrthogonal`, are near them at very large widths only.

    Its critical condition is that of what is around it: `weight_var E[phi'^2] = 1` behind `phi`.

    Args:
        weight_var: `W_ij` has variance `weight_var / fan_in`; 0 silences a residual branch, as the
            initialisation of its last layer in Fixup does.
        bias_var: `b_i ~ N(0, bias_var)`.
        weights: the name of an ensemble, or one of `meanfield.ensembles`, as `LowRank(0.25)`,
            `MaskedOrthogonal(0.2)`, `SparseOrthogonal(0.1)`, `BlockSparse(1/8)`.

    Returns:
        A `Layer`.

    Raises:
        ValueError: a variance is negative or not finite, or no ensemble has this name.
        TypeError: `weights` is neither a name nor an ensemble.

    Source: Poole et al. 2016, arXiv 1606.05340; ensembles that are not Gaussian: Nait Saada,
    Naderi & Tanner 2024, arXiv 2310.16597.

    Example:
        >>> import meanfield.layers as ml
        >>> ml.propagate(ml.dense(weight_var=2.0, bias_var=0.5), q=1.0).variance
        array([1. , 2.5])
        >>> import numpy as np, meanfield as mf
        >>> thin = ml.dense(weight_var=2.0, weights=mf.ensembles.LowRank(0.25))
        >>> ml.propagate(thin, q=1.0).variance
        array([1., 2.])
        >>> int(np.linalg.matrix_rank(thin.sample(np.eye(40), np.random.default_rng(0))))
        10
    """
    return Dense(
        dense_variance("weight_var", weight_var),
        dense_variance("bias_var", bias_var),
        ensemble_of(weights),
    )


@dataclass(frozen=True)
class ActivationLayer(Layer):
    """See `activation`."""

    phi: Activation

    def __call__(self, state: State) -> State:
        if not state.gaussian:
            raise MeanFieldError(
                f"activation: {self.phi.name} gets signals that are not Gaussian, as behind "
                "another activation; put a dense layer before it"
            )
        if state.batch < inf and not self.phi.is_homogeneous:
            raise MeanFieldError(
                f"activation: {self.phi.name} behind a batch norm of {state.batch:g} inputs has no "
                "map, since its units are not Gaussian; take batch_norm() of infinitely many"
            )
        if not np.all(np.isfinite(state.variance)):
            return overflown(state)
        if state.radial:
            state = replace(state, tangent=state.tangent + state.radial * state.covariance)
        values, slopes = dual(self.phi, state), dual_of_slopes(self.phi, state)
        bent = together = 0.0
        uneven = state.uneven
        if not self.phi.is_homogeneous:
            # of E[V(K)] beside V(E[K]), and E[t V(K)] beside E[t] V(E[K]), to second order
            bent, together = 0.5 * state.spread, state.together
            uneven += sqrt(state.spread)
        tangent = slopes.covariance  # no longer needed as such: large on graphs
        tangent *= state.tangent
        if state.radial:  # phi'(x) x = phi(x) wherever something was lost along the signal
            root = np.sqrt(values.variance)
            tangent -= state.radial * root[:, None] * root * (1 - values.one_minus)
        return State(
            variance=values.variance,
            one_minus=values.one_minus,
            mean=self._mean(state.variance) * _of_batch(state.batch),
            tangent=tangent,
            gaussian=False,
            error=state.error + max(values.error, slopes.error) + bent,
            one_minus_error=state.one_minus_error + values.one_minus_error + bent + together,
            spread=state.spread,
            uneven=uneven,
        )

    def _mean(self, variance: Array) -> Array:
        """`E[phi]`; nan at variances where it is not known, which matters to residuals only."""
        mean = np.full_like(variance, np.nan)
        known = (variance > 1e-10) & (variance < 1e10)
        if np.any(known):
            mean[known] = self.phi.moments(variance[known]).value[:, MOMENTS.index("phi")]
        return mean

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        return np.asarray(self.phi(x), np.float64)


def _of_batch(batch: float) -> float:
    r"""What a mean of degree 1 over normalised units is beside that over Gaussian ones.

    `sqrt(B - 1) / E[chi]` of `B - 1` degrees of freedom: their size is not random any more.
    """
    n = 0.5 * (batch - 1)
    return 1.0 if batch == inf else exp(0.5 * log(n) + lgamma(n) - lgamma(n + 0.5))


def overflown(state: State) -> State:
    """Of a signal that exploded beyond float64 nothing is known but that."""
    unknown = np.full_like(state.one_minus, np.nan)
    return replace(
        state,
        variance=np.where(np.isinf(state.variance), np.inf, np.nan),
        one_minus=unknown,
        mean=np.full_like(state.mean, np.nan),
        tangent=unknown,
        gaussian=False,
    )


@spelt
def activation(phi: Callable | str | Activation) -> Layer:
    r"""An activation: `K'_ab = E[phi(u_a) phi(u_b)]` for Gaussian `u` of covariance `K`.

    Squared gradients are multiplied by `E[phi'(u_a) phi'(u_b)]`. With a dense layer behind it is
    critical where `weight_var E[phi'^2] = 1`.

    Args:
        phi: the activation, as for `meanfield.critical`.

    Returns:
        A `Layer`. Its input must be Gaussian: behind a dense layer, or sums of such.

    Raises:
        ValueError: `phi` is no activation; and `propagate`, where its input is not Gaussian, or a
            moment is not known.

    Source: Poole et al. 2016, arXiv 1606.05340; Schoenholz et al. 2017, arXiv 1611.01232.

    Example:
        >>> import meanfield.layers as ml
        >>> ml.propagate(ml.activation("relu"), q=3.0).variance
        array([3. , 1.5])
    """
    return ActivationLayer(as_activation(phi))


def dense_variance(name: str, value: float) -> float:
    """A variance that a person gave, checked."""
    variance = checked_variances(name, value, ">= 0")
    if variance.ndim:
        raise ValueError(f"{name}: must be one variance, got an array of shape {variance.shape}")
    return float(variance)
