r"""Activations of several pre-activations: maxout, gated units, both signs side by side.

The maximum of `K` independent pre-activations of variance `q`, for two inputs of correlation `c`:

    E[max^2] = q M,   d/dc E[max max'] = q S(c),   S(c) = P(the same one is the largest for both)

(Price's theorem), so half the mean squared difference is `q` times the integral of `S` from `c`
to 1: nothing cancels. With `c = cos(t)`, `S` is a smooth function of the angle,

    S = K E[Phi_2(x, y; c)^(K-1)],   x, y = cos(t/2) p + sin(t/2) r, cos(t/2) p - sin(t/2) r,

of independent normal `p`, `r` and the bivariate normal distribution function. `S(1) = 1`: the mean
squared gradient, and small differences, are passed on as they are, while the signal takes `M`. So
for `K > 2`, where `M > 1`, no weights keep both: `weight_var = 1/M` is ordered.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from meanfield.activation import Activation, as_activation
from meanfield.chebyshev import points, to_series
from meanfield.gaussian import MOMENTS
from meanfield.keywords import spelt
from meanfield.layers.dense import activation, dense, dense_variance
from meanfield.layers.layer import Layer
from meanfield.layers.state import State
from meanfield.legendre import NODES, WEIGHTS
from meanfield.normal import normal_rule
from meanfield.whole import whole_number

__all__ = ["gated", "maxout", "maxout_moments"]

Array = NDArray[np.float64]

_NODES = 48  # in the angle
_FARTHEST = 9.0  # standard deviations, in p and in r
_SMOOTH = 8  # ranks up to which 6 panels on them resolve S to 13 digits; 14 do up to 64
_SAFETY = 50.0  # an integral over S is off by less than S itself, as finer rules show
_ERROR = 1e-13  # of the quadrature at least


@lru_cache(maxsize=8)
def maxout_moments(rank: int) -> tuple[float, float, float]:
    r"""`E[m]`, `E[m^2]` and `E[m^4]` of the largest `m` of `rank` standard normals.

    Means over one normal `x`, `E[f(m)] = rank E[f(x) Phi(x)^(rank - 1)]`: for `f = x^2` and `x^4`
    the second moments of activations, of which the engine has an error.

    Example:
        >>> import meanfield.layers as ml
        >>> round(1 / ml.maxout_moments(3)[1], 6)  # weight_var of Tseran & Montufar 2023
        0.783905
    """
    from jax.scipy.special import ndtr

    def moment(phi: Callable[[Any], Any], name: str) -> float:
        return float(Activation(phi).moments(np.ones(1)).value[0, MOMENTS.index(name)])

    half = 0.5 * (rank - 1)
    return (
        moment(lambda x: rank * x * ndtr(x) ** (rank - 1), "phi"),
        rank * moment(lambda x: x * ndtr(x) ** half, "phi2"),
        rank * moment(lambda x: x**2 * ndtr(x) ** half, "phi2"),
    )


@lru_cache(maxsize=8)
def _same(rank: int) -> tuple[Array, float]:
    """`S` as a Chebyshev series in the angle, on [0, pi], and an estimate of its error.

    From its last coefficients, and from what is known: its integral over `c` from 0 to 1 is
    `E[m^2] - E[m]^2`.
    """
    from scipy.special import ndtr, owens_t

    u = points(_NODES)
    z, w = normal_rule(np.linspace(-_FARTHEST, _FARTHEST, 7 if rank <= _SMOOTH else 15))
    values = np.empty_like(u)
    for k, t in enumerate(0.5 * np.pi * (1 + u)):
        p, r = np.cos(t / 2) * z[:, None], np.sin(t / 2) * z
        x, y = p + r, p - r
        # Owen 1956: the distribution function Phi_2(x, y) by his function T of either argument
        both = 0.5 * (ndtr(x) + ndtr(y)) - 0.5 * (x * y < 0)
        both -= owens_t(x, (y / x - np.cos(t)) / np.sin(t))
        both -= owens_t(y, (x / y - np.cos(t)) / np.sin(t))
        values[k] = rank * np.sum(w[:, None] * w * np.clip(both, 0.0, 1.0) ** (rank - 1))
    series = values @ to_series(_NODES)
    first, second, _ = maxout_moments(rank)
    off = float(_apart(np.array(0.5 * np.pi), series)) - (second - first**2)
    tail = float(np.max(np.abs(series[-4:])))
    return series, max(_ERROR, _SAFETY * max(abs(off) - _ERROR, 0.0), tail)


def _apart(angle: Array, same: Array) -> Array:
    """The integral of `S` over `c` from `cos(angle)` to 1."""
    t = 0.5 * angle[..., None] * (1 + NODES)
    of_same = WEIGHTS * np.sin(t) * chebyshev.chebval(2 * t / np.pi - 1, same)
    return 0.5 * angle * np.sum(of_same, axis=-1)


@dataclass(frozen=True)
class Maxout(Layer):
    """See `maxout`."""

    rank: int
    weight_var: float
    bias_var: float
    mixes = True

    def __call__(self, state: State) -> State:
        pre = dense(self.weight_var, self.bias_var)(state)
        mean, second, _ = maxout_moments(self.rank)
        angle = 2 * np.arcsin(np.sqrt(0.5 * pre.one_minus))
        same, error = _same(self.rank)
        return State(
            variance=second * pre.variance,
            one_minus=_apart(angle, same) / second,
            mean=mean * np.sqrt(pre.variance),
            tangent=pre.tangent * chebyshev.chebval(2 * angle / np.pi - 1, same),
            gaussian=False,
            error=pre.error + error,
            one_minus_error=pre.one_minus_error + error,
            spread=pre.spread,
            uneven=pre.uneven,
        )

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        layer = dense(self.weight_var, self.bias_var)
        return np.max([layer.sample(x, rng) for _ in range(self.rank)], axis=0)


@spelt
def maxout(rank: int, weight_var: float | None = None, bias_var: float = 0.0) -> Layer:
    r"""The largest of `rank` independent dense layers, unit by unit.

    `K'_aa = M (weight_var K_aa + bias_var)`, and see the module for two inputs. Random directions
    are multiplied by `weight_var`; the direction of the signal itself by `weight_var M`. Critical
    for both is `weight_var = 1` of rank 2 alone: `M` of larger ranks is above 1.

    Args:
        rank: how many, at least 1.
        weight_var: of each; `1/M`, which keeps the size of the signal, if not given.
        bias_var: of each.

    Returns:
        A `Layer`.

    Raises:
        ValueError: an argument is outside its range.
        TypeError: `rank` is no whole number.

    Source: Tseran & Montufar 2023, arXiv 2301.06956: `M = 1, 1.27566, 1.55133, ...`

    Example:
        >>> import meanfield.layers as ml
        >>> trace = ml.propagate(ml.repeat(ml.maxout(rank=5), 10), q=1.0, correlation=0.5)
        >>> [round(float(x), 4) for x in (trace.variance[-1], trace.gradient[-1])]
        [1.0, 0.0028]
    """
    rank = whole_number("rank", rank)
    weight_var = 1 / maxout_moments(rank)[1] if weight_var is None else weight_var
    return Maxout(
        rank, dense_variance("weight_var", weight_var), dense_variance("bias_var", bias_var)
    )


@dataclass(frozen=True)
class Gated(Layer):
    """See `gated`."""

    phi: Activation
    weight_var: float
    bias_var: float
    mixes = True

    def __call__(self, state: State) -> State:
        linear = dense(self.weight_var, self.bias_var)(state)
        gate = activation(self.phi)(linear)
        return State(
            variance=gate.variance * linear.variance,
            # correlations multiply
            one_minus=linear.one_minus + gate.one_minus * linear.correlation,
            mean=np.zeros_like(linear.variance),
            tangent=linear.tangent * gate.covariance + gate.tangent * linear.covariance,
            gaussian=False,
            # whose squares are products of two sizes
            error=linear.error + gate.error + linear.spread,
            one_minus_error=linear.one_minus_error + gate.one_minus_error + linear.together,
            spread=4 * linear.spread,
            uneven=gate.uneven + linear.uneven,
        )

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        layer = dense(self.weight_var, self.bias_var)
        gate = np.asarray(self.phi(layer.sample(x, rng)), np.float64)
        return gate * layer.sample(x, rng)


@spelt
def gated(phi: Callable | str | Activation, weight_var: float, bias_var: float = 0.0) -> Layer:
    r"""A gated unit, `y = phi(u) v` of two independent dense layers; SwiGLU with `"silu"`.

    `K'_ab = E[phi(u_a) phi(u_b)] q_ab` with `q = weight_var K + bias_var` of `u` and `v`, of degree
    four in the signal where `phi` is linear: far from its size no weights keep it, so it wants a
    norm before it. Squared gradients are multiplied by `weight_var (E[phi^2] + q E[phi'^2])`. There
    is no critical point for `phi` of degree one: where the signal stays they double.

    Args:
        phi: the activation of the gate: `"sigmoid"` for GLU, `"silu"` for SwiGLU, `"gelu"`, ...
        weight_var: of either dense layer.
        bias_var: of either.

    Returns:
        A `Layer`.

    Raises:
        ValueError: a variance is negative, or `phi` is no activation.

    Source: Shazeer 2020, arXiv 2002.05202, for the units.

    Example:
        >>> import meanfield.layers as ml
        >>> ml.propagate(ml.gated("relu", weight_var=1.0), q=2.0).variance  # q/2 of one, q
        array([2., 2.])
    """
    return Gated(
        as_activation(phi),
        dense_variance("weight_var", weight_var),
        dense_variance("bias_var", bias_var),
    )
