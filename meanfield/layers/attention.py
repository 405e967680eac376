r"""Self-attention at initialisation: tokens are signals, and one softmax mixes them.

Tokens of norm `q` and overlap `p` have random scores of variance proportional to `beta^2 ln T`, as
the energies of a random energy model. For long sequences (Giorlandino & Goldt 2025, arXiv
2505.24333)

    beta_c = sqrt(2 / (q (q - p))),    Y = 0 if beta <= beta_c else 1 - beta_c / beta,
    q' = value_var (p + (q - p) Y),    p' = value_var p.

Below `beta_c` attention is uniform and tokens become one (rank collapse, Noci et al. 2022, arXiv
2206.03126); above, each one attends to few others and keeps a share `Y` of its difference. With
`beta = 0` attention is uniform at any length `T`, and `Y = 1/T` in both lines is exact.
"""

from dataclasses import dataclass
from math import inf, log, sqrt

import numpy as np
from numpy.typing import NDArray

from meanfield.errors import MeanFieldError
from meanfield.layers.dense import dense, dense_variance
from meanfield.layers.layer import Layer
from meanfield.layers.state import State

__all__ = ["attention", "critical_beta"]

Array = NDArray[np.float64]


def critical_beta(q: float, p: float) -> float:
    """`sqrt(2 / (q (q - p)))`: attention is uniform below, and picks few tokens above.

    Args:
        q: mean square of a token.
        p: mean product of two, below `q`.

    Raises:
        ValueError: the tokens have no size, or are all the same.

    Source: Giorlandino & Goldt 2025, arXiv 2505.24333.

    Example:
        >>> import meanfield.layers as ml
        >>> round(ml.critical_beta(1.0, 0.0), 6)
        1.414214
    """
    if not (q > 0 and p < q):
        raise MeanFieldError(f"q, p: must have q > 0 and p < q, got {q!r} and {p!r}")
    return sqrt(2 / (q * (q - p)))


@dataclass(frozen=True)
class Attention(Layer):
    """See `attention`."""

    beta: float
    value_var: float
    tokens: float
    mixes = True

    def __call__(self, state: State) -> State:
        n = len(state.variance)
        apart = ~np.eye(n, dtype=bool)
        if not state.is_exchangeable:
            raise MeanFieldError(
                "attention: needs tokens that stand for a sequence, two at least, of one norm and "
                "one overlap; give propagate a correlation"
            )
        q, g = state.variance[0], state.one_minus[0, 1]
        uniform = 1 / self.tokens
        peaked = 0.0
        if self.beta > 0 and g > 0:
            peaked = max(0.0, 1 - critical_beta(q, q * (1 - g)) / self.beta)
        share = peaked + (1 - peaked) * uniform
        size = max(0.0, 1 - g * (1 - share))
        tangent = uniform * state.tangent[0, 0] + (1 - uniform) * state.tangent[0, 1]
        known = self.beta == 0  # the gradient through the scores is not
        doubt = 0.0 if known else 1 / log(self.tokens)
        return State(
            variance=np.full(n, self.value_var * q * size),
            one_minus=np.where(apart, g * (share - uniform) / size if size else 1.0, 0.0),
            mean=np.zeros(n),
            tangent=np.full((n, n), self.value_var * tangent if known else np.nan),
            gaussian=True,
            error=state.error + doubt,
            one_minus_error=state.one_minus_error + doubt,
        )

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        if self.beta:
            raise MeanFieldError("attention: finite networks are sampled at beta = 0 only")
        return dense(self.value_var).sample(np.tile(np.mean(x, axis=0), (len(x), 1)), rng)


def attention(value_var: float = 1.0, beta: float = 0.0, tokens: float = inf) -> Layer:
    r"""One head of self-attention with random weights, for tokens that are all alike.

    Args:
        value_var: variance of values and output together, as `weight_var` of a dense layer.
        beta: strength of the scores; 0 attends to all tokens alike.
        tokens: length of the sequence. For `beta > 0` the maps are those of long sequences, and
            corrections fall only as `1 / ln T`, which `error` says.

    Returns:
        A `Layer`. Gradients are known at `beta = 0`, and nan otherwise.

    Raises:
        ValueError: an argument is outside its range.

    Source: Giorlandino & Goldt 2025, arXiv 2505.24333; uniform: Noci et al. 2022, arXiv 2206.03126.

    Example:
        >>> import meanfield.layers as ml
        >>> block = ml.residual(ml.attention(tokens=64), scale=lambda depth: depth**-0.5)
        >>> trace = ml.propagate(ml.repeat(block, 50), q=1.0, correlation=0.0)
        >>> round(float(trace.correlation[-1]), 3)
        0.026
    """
    if not beta >= 0:
        raise ValueError(f"beta: must be >= 0, got {beta!r}")
    if not tokens >= 2:
        raise ValueError(f"tokens: must be at least 2, got {tokens!r}")
    return Attention(float(beta), dense_variance("value_var", value_var), float(tokens))
