r"""Self-attention at initialisation: tokens are signals, and one softmax mixes them.

Tokens of norm `q` and overlap `p` have random scores of variance proportional to `beta^2 ln T`, as
the energies of a random energy model. For long sequences (Giorlandino & Goldt 2025, arXiv
2505.24333)

    beta_c = sqrt(2 / (q (q - p))),    Y = 0 if beta <= beta_c else 1 - beta_c / beta,
    q' = value_var (p + (q - p) Y),    p' = value_var p.

Below `beta_c` attention is uniform and tokens become one (rank collapse, Noci et al. 2022, arXiv
2206.03126); above, each one attends to few others and keeps a share `Y` of its difference. With
`beta = 0` attention is uniform at any length `T`, and `Y = 1/T` in both lines is exact.

At finite length the share `Y` of a random energy model differs by up to `0.65 / sqrt(ln T)`, most
at `beta_c` (drawn models of 16 to 16384 energies: 0.60 to 0.65 at `beta_c`, half of that at `1.5
beta_c`). And two tokens of correlation `c` attend to the same one with a probability of up to
`T^(-(1-c)/(1+c))`, as largest of correlated normals coincide, which adds to `p'`. `error` says
both.
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

_SHARE = 0.7  # of 1 / sqrt(ln T): by how much the share of a finite sequence differs


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
        apart_by = g * (share - uniform)
        doubt, together = (0.0, 0.0) if known else self._doubts(1 - g)
        with np.errstate(divide="ignore", invalid="ignore"):
            of_size = g * doubt / np.float64(size) if doubt else 0.0
            of_gap = g * (doubt + together) / np.float64(apart_by) if doubt + together else 0.0
        return State(
            variance=np.full(n, self.value_var * q * size),
            one_minus=np.where(apart, apart_by / size if size else 1.0, 0.0),
            mean=np.zeros(n),
            tangent=np.full((n, n), self.value_var * tangent if known else np.nan),
            gaussian=True,
            error=state.error + float(of_size),
            one_minus_error=state.one_minus_error + float(of_size + of_gap),
        )

    def _doubts(self, c: float) -> tuple[float, float]:
        """What the shares of one token, and of two, may be off by in a sequence of this length."""
        same = 0.0 if c >= 1 or self.tokens == inf else self.tokens ** (-(1 - c) / (1 + c))
        return _SHARE / sqrt(log(self.tokens)), same

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        width = x.shape[1]
        if not self.beta:
            return dense(self.value_var).sample(np.tile(np.mean(x, axis=0), (len(x), 1)), rng)
        if len(x) != self.tokens:
            raise MeanFieldError(
                f"attention: a sequence of {self.tokens:g} tokens cannot be sampled with {len(x)} "
                "signals; give it as many"
            )
        score = (
            x @ rng.normal(size=(width, width)) @ x.T * (self.beta * sqrt(log(self.tokens)) / width)
        )
        weight = np.exp(score - np.max(score, axis=1, keepdims=True))
        return dense(self.value_var).sample(weight / np.sum(weight, axis=1, keepdims=True) @ x, rng)


def attention(value_var: float = 1.0, beta: float = 0.0, tokens: float = inf) -> Layer:
    r"""One head of self-attention with random weights, for tokens that are all alike.

    Args:
        value_var: variance of values and output together, as `weight_var` of a dense layer.
        beta: strength of the scores; 0 attends to all tokens alike.
        tokens: length `T` of the sequence. For `beta > 0` the maps are those of long sequences,
            whose corrections fall as slowly as `1 / sqrt(ln T)`: `error` is a bound of them.

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
