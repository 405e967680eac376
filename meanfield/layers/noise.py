r"""What takes entries away: dropout from signals, pruning and averaging from weights.

    dropout    K_aa / keep, K_ab as it is: a mask for each input, so no two stay alike
    pruned     weight_var times the share of it that the kept weights hold
    averaged   weight_var and bias_var over the number of models, unless corrected by its root

The last two are dense layers of another variance. To be where the whole layer was, multiply the
kept weights by the inverse root of that share.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from meanfield.keywords import spelt
from meanfield.layers.dense import dense, dense_variance
from meanfield.layers.layer import Layer
from meanfield.layers.state import State
from meanfield.whole import whole_number

__all__ = ["averaged", "dropout", "kept_variance"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Dropout(Layer):
    """See `dropout`."""

    keep: float

    def __call__(self, state: State) -> State:
        apart = ~np.eye(len(state.variance), dtype=bool)
        return replace(
            state,
            variance=state.variance / self.keep,
            one_minus=np.where(apart, 1 - self.keep + self.keep * state.one_minus, 0.0),
            tangent=state.tangent * np.where(apart, 1.0, 1 / self.keep),
            gaussian=False,
        )

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        return x * (rng.random(x.shape) < self.keep) / self.keep


@spelt
def dropout(rate: float) -> Layer:
    r"""Inverted dropout: `y = x mask / (1 - rate)`, a mask for each input.

    `K'_aa = K_aa / (1 - rate)`, `K'_ab = K_ab`, and squared gradients are divided by `1 - rate`.
    Two inputs never become one, and no weights put a network with dropout on the edge of chaos:
    there is no critical point, and their correlation goes to `c* < 1`, in a finite depth scale.

    Args:
        rate: probability in [0, 1) with which an entry is dropped.

    Returns:
        A `Layer`.

    Raises:
        ValueError: it is outside.

    Source: Schoenholz et al. 2017, arXiv 1611.01232, section 5.

    Example:
        >>> import meanfield.layers as ml
        >>> layer = ml.serial(ml.activation("relu"), ml.dropout(0.1), ml.dense(2 * 0.9))
        >>> round(float(ml.propagate(ml.repeat(layer, 100), 1.0, 1.0).correlation[-1]), 4)
        0.6271
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate: must be in [0, 1), got {rate!r}")
    return Dropout(1.0 - float(rate))


@spelt
def kept_variance(keep: float, by: str = "magnitude") -> float:
    r"""The share of the variance of Gaussian weights that those hold which pruning keeps.

    `keep` at random; `keep + 2 t n(t)`, `t = Phi^-1(1 - keep/2)`, of the largest by magnitude, with
    the normal density `n`. A pruned layer is `dense(weight_var * kept_variance(keep))`; divide its
    weights by the root of it to return to where it was.

    Args:
        keep: share of the weights that are kept, in (0, 1].
        by: `"magnitude"` or `"random"`.

    Returns:
        The share, in (0, 1].

    Raises:
        ValueError: an argument is outside.

    Source: Hayou et al. 2021, arXiv 2002.08797.

    Example:
        >>> import meanfield.layers as ml
        >>> round(ml.kept_variance(0.2), 4), ml.kept_variance(0.2, by="random")
        (0.6498, 0.2)
    """
    from scipy.stats import norm

    if not 0 < keep <= 1:
        raise ValueError(f"keep: must be in (0, 1], got {keep!r}")
    if by not in ("magnitude", "random"):
        raise ValueError(f"by: must be 'magnitude' or 'random', got {by!r}")
    if by == "random" or keep == 1:
        return float(keep)
    t = norm.isf(keep / 2)
    return float(keep + 2 * t * norm.pdf(t))


@dataclass(frozen=True)
class Averaged(Layer):
    """See `averaged`."""

    models: int
    weight_var: float
    bias_var: float
    corrected: bool
    mixes = True

    def __call__(self, state: State) -> State:
        share = 1.0 if self.corrected else 1 / self.models
        return dense(share * self.weight_var, share * self.bias_var)(state)

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        layer = dense(self.weight_var, self.bias_var)
        total = np.sum([layer.sample(x, rng) for _ in range(self.models)], axis=0)
        return total / (np.sqrt(self.models) if self.corrected else self.models)


@spelt
def averaged(
    models: int, weight_var: float, bias_var: float = 0.0, corrected: bool = False
) -> Layer:
    r"""A dense layer whose parameters are the mean of several models that were drawn apart.

    `K' = (weight_var K + bias_var) / models`, squared gradients are multiplied by
    `weight_var / models`: both vanish. Parameters times `sqrt(models)` have the variance of a
    single model again, and are critical where that is, `weight_var E[phi'^2] = 1`.

    Args:
        models: how many, `K` of Tian et al.; as decentralised training averages them.
        weight_var: of each model.
        bias_var: of each model.
        corrected: multiply what is averaged by `sqrt(models)`.

    Returns:
        A `Layer`.

    Raises:
        ValueError: `models` is less than 1, or a variance is negative.
        TypeError: `models` is no whole number.

    Source: Tian et al. 2024, arXiv 2404.04616.

    Example:
        >>> import meanfield.layers as ml
        >>> [float(ml.propagate(ml.averaged(4, 2.0, corrected=c)).variance[-1]) for c in (0, 1)]
        [0.5, 2.0]
    """
    return Averaged(
        whole_number("models", models),
        dense_variance("weight_var", weight_var),
        dense_variance("bias_var", bias_var),
        bool(corrected),
    )
