r"""Self-attention at initialisation: tokens are signals, and one softmax mixes them.

Tokens of norm `q` and overlap `p` have random scores `s_ij = beta sqrt(ln T) x_i M x_j / n`, whose
parts that differ from token to token have the variance `sigma^2 = beta^2 ln(T) q (q - p)`: the
energies of a random energy model, and its weights `A_ij = e^(s_ij) / Z_i`. With
`Y = E sum_j A_ij^2` and `Y' = E sum_j A_ij A_kj` of two tokens,

    q' = value_var (p + (q - p) Y),    p' = value_var (p + (q - p) Y'),

exactly at any length `T` (`meanfield.layers.random_energies`), for widths far above it. For long
sequences (Giorlandino & Goldt 2025, arXiv 2505.24333)

    beta_c = sqrt(2 / (q (q - p))),    Y -> 0 if beta <= beta_c else 1 - beta_c / beta,    Y' -> 0.

Below `beta_c` attention is uniform and tokens become one (rank collapse, Noci et al. 2022, arXiv
2206.03126); above, each one attends to few others and keeps a share `Y` of its difference.

Gradients go through the values and, from the token that asks and from those that it asks about,
through the scores. With `t`, `u` the tangents of one token and of two, before and after,

    t' = value_var (Y t + (1 - Y) u + beta^2 ln(T) B ((q-p)^2 t + q (q-p) (t - u))),
    B = E[sum A^2 - 2 sum A^3 + (sum A^2)^2]

and for two tokens the same with `A B` for `A^2`, `u` for the second `t`, and `p` for `q` before
`(t - u)`: derived here, as `E|C M' dx|^2` with the covariance `C` of tokens under `A`, and checked
by differentiating finite layers. Above `beta_c` `B` stays: gradients grow as `ln T`, without limit.
"""

from dataclasses import dataclass, replace
from math import inf, log, sqrt

import numpy as np
from numpy.typing import NDArray

from meanfield.errors import MeanFieldError
from meanfield.keywords import spelt
from meanfield.layers.dense import dense, dense_variance, overflown
from meanfield.layers.layer import Layer
from meanfield.layers.random_energies import Shares, shares
from meanfield.layers.state import State
from meanfield.precision import EPS

__all__ = ["attention", "critical_beta"]

Array = NDArray[np.float64]


@spelt
def critical_beta(q: float, p: float) -> float:
    """`sqrt(2 / (q (q - p)))`: attention is uniform below, and picks few tokens above.

    Args:
        q: mean square of a token.
        p: mean product of two, below `q`.

    Returns:
        The strength of the scores.

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
        if not np.all(np.isfinite(state.variance)):
            return replace(overflown(state), gaussian=True)
        if not state.is_exchangeable:
            raise MeanFieldError(
                "attention: needs tokens that stand for a sequence, two at least, of one norm and "
                "one overlap; give propagate a correlation"
            )
        q, g = float(state.variance[0]), float(state.one_minus[0, 1])
        if not q > 0 or g * (1 - 1 / self.tokens) > 1 + 8 * EPS:
            raise MeanFieldError(
                f"attention: {self.tokens:g} tokens have a norm above 0 and a correlation from "
                f"-1/(T - 1) on, got {q:.6g} and {1 - g:.6g}"
            )
        t, u = float(state.tangent[0, 0]), float(state.tangent[0, 1])
        part = self._shares(q, g)
        size = max(0.0, 1 - g * (1 - part.own))
        apart_by = g * (part.own - part.both)
        same = _times(part.own, t) + (1 - part.own) * u
        other = _times(part.both, t) + (1 - part.both) * u
        asked = 0.0
        if self.beta and g:
            scores = self.beta**2 * log(self.tokens) * q**2 * g  # inf of infinitely many
            asked = _times(scores * part.own_bend, g * t + (t - u)) if part.own_bend else 0.0
            same += asked
            other += (
                scores * part.both_bend * (g * u + (1 - g) * (t - u)) if part.both_bend else 0.0
            )
        varying = part.spread + part.error  # that small a spread is not resolved
        error = part.error + (0.5 * state.spread if self.beta else 0.0)
        return State(
            variance=np.full(n, self.value_var * q * size),
            one_minus=np.where(apart, apart_by / size if size else 1.0, 0.0),
            mean=np.zeros(n),
            tangent=self.value_var * np.where(apart, other, same),
            gaussian=True,
            error=state.error + error,
            one_minus_error=state.one_minus_error + error + (state.together if self.beta else 0.0),
            spread=g**2 * varying / size**2 if varying else 0.0,
            uneven=_uneven(part, varying, t - u, asked, same)
            + state.uneven
            + (sqrt(state.spread) if self.beta else 0.0),
        )

    def _shares(self, q: float, g: float) -> Shares:
        """What `T` weights are on average; those of long sequences if `T` is inf."""
        uniform = 1 / self.tokens
        if not (self.beta and g):
            return Shares(uniform, 0.0, 0.0, uniform, 0.0, 0.0, 0.0)
        if self.tokens < inf:
            sigma = self.beta * q * sqrt(log(self.tokens) * g)
            return shares(sigma, 1 - g, self.tokens)
        # weights of Poisson and Dirichlet's law of index m; at beta_c B falls less fast than 1/ln T
        m = critical_beta(q, q * (1 - g)) / self.beta
        of_squares = m * (1 - m) / 3 if m < 1 else 0.0
        return Shares(max(0.0, 1 - m), of_squares, of_squares or float(m == 1), 0.0, 0.0, 0.0, 0.0)

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


def _uneven(part: Shares, varying: float, apart: float, asked: float, t: float) -> Array:
    """Relative deviations, at most, of `Y - Y'`, and of `t' = Y (t - u) + asked B / E B + ...`.

    `0 <= B <= Y (1 - Y) <= 1/4`, since `Y^2 <= sum A^3`: so `E B^2` is at most `E B / 4`, and
    `E Y^2`.
    """
    if not varying:
        return np.zeros(2)
    own, gap, bend = sqrt(varying), part.own - part.both, part.own_bend
    of_gaps = (own + sqrt(part.both_spread + part.error)) / max(gap, part.error)
    square = min(0.25 * bend, part.own**2 + varying)
    of_bends = sqrt(max(0.0, square / bend**2 - 1)) if bend > 0 else inf
    if not asked < inf:
        return np.array([of_gaps, of_bends])
    of_gradients = (own * abs(apart) + _times(of_bends, asked)) / t if t > 0 else 0.0
    return np.array([of_gaps, of_gradients])


def _times(factor: float, x: float) -> float:
    """Their product, where 0 leaves nothing of what is infinite."""
    return factor * x if factor and x else 0.0


@spelt
def attention(value_var: float = 1.0, beta: float = 0.0, tokens: float = inf) -> Layer:
    r"""One head of self-attention with random weights, for tokens that are all alike.

    `q' = value_var (p + (q - p) Y)`, `p' = value_var (p + (q - p) Y')`, and gradients as the module
    says. Critical is `beta_c = critical_beta(q, p)`: below it attention is uniform and tokens
    become one, above gradients grow with the length of the sequence.

    Args:
        value_var: variance of values and output together, as `weight_var` of a dense layer.
        beta: strength of the scores; 0 attends to all tokens alike.
        tokens: length `T` of the sequence. Maps are exact at any length, of widths far above it;
            those of `inf` are limits, from which finite ones differ by up to `0.64 / sqrt(ln T)`.

    Returns:
        A `Layer`. Above `beta_c` norms differ from token to token, and layers behind see their
        mean: their `error` says what that may change. Gradients of infinitely many tokens are inf
        from `beta_c` on.

    Raises:
        ValueError: an argument is outside its range; and `propagate`, where tokens are not alike,
            or scores so strong that their weights are not known.

    Source: Giorlandino & Goldt 2025, arXiv 2505.24333; uniform: Noci et al. 2022, arXiv 2206.03126;
    finite lengths and gradients are derived here.

    Example:
        >>> import meanfield.layers as ml
        >>> block = ml.residual(ml.attention(tokens=64), scale=lambda depth: depth**-0.5)
        >>> trace = ml.propagate(ml.repeat(block, 50), q=1.0, correlation=0.0)
        >>> round(float(trace.correlation[-1]), 3)
        0.026
        >>> for tokens in (64, 4096, float("inf")):  # beta_c is 1.41
        ...     trace = ml.propagate(ml.attention(beta=2.0, tokens=tokens), 1.0, 0.0)
        ...     print(f"{trace.variance[-1]:.4f} {trace.gradient[-1]:.4f}")
        0.4668 3.8078
        0.4008 6.4177
        0.2929 inf
    """
    if not beta >= 0:
        raise ValueError(f"beta: must be >= 0, got {beta!r}")
    if not tokens >= 2:
        raise ValueError(f"tokens: must be at least 2, got {tokens!r}")
    return Attention(float(beta), dense_variance("value_var", value_var), float(tokens))
