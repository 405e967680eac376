"""Formulas that are more than a line: what is written down in the catalogue, computed with care.

The obvious form loses digits, overflows, or has another slope where two pieces meet. Value and
derivative are finite wherever the true ones are, and as accurate as `x` rounded by a few units in
the last place allows. Kinks are spelled with the primitives that the search for kinks knows: max,
min, clip, abs, sign, where.
"""

from functools import reduce
from math import factorial, pi, sqrt

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from jax.scipy.special import erfc

Array = jax.Array


def _series(coefficients: list[float], u: Array) -> Array:
    """`sum_k coefficients[k] u^k`."""
    return reduce(lambda total, c: total * u + c, reversed(coefficients), jnp.zeros_like(u))


def sinc(x: Array) -> Array:
    """`sin(x)/x`: near zero by its series, because there the quotient's derivative cancels."""
    near = x * x < 1
    inner, outer = jnp.where(near, x, 0.0), jnp.where(near, 1.0, x)
    series = _series([(-1) ** k / factorial(2 * k + 1) for k in range(10)], inner * inner)
    return jnp.where(near, series, jnp.sin(outer) / outer)


def tanh_shrink(x: Array) -> Array:
    """`x - tanh(x)`: near zero `(x cosh(x) - sinh(x))/cosh(x)`, a series of positive terms."""
    near = x * x < 1
    inner, outer = jnp.where(near, x, 0.0), jnp.where(near, 1.0, x)
    series = _series([2 * k / factorial(2 * k + 1) for k in range(1, 11)], inner * inner)
    return jnp.where(near, inner**3 * series / jnp.cosh(inner), outer - jnp.tanh(outer))


def elu(x: Array, alpha: float) -> Array:
    """`alpha (exp(x) - 1)` below zero; the inner `where` keeps it from overflowing above."""
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0.0, x)))


def selu(x: Array) -> Array:
    """`scale elu(x)` with the digits of its paper."""
    return 1.0507009873554804934193349852946 * elu(x, 1.6732632423543772848170429916717)


def celu(x: Array, alpha: float) -> Array:
    """`alpha (exp(x/alpha) - 1)` below zero; the slope at zero is 1 for every `alpha`."""
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0.0, x) / alpha))


def squareplus(x: Array, b: float) -> Array:
    """`sqrt(b) exp(asinh(x/sqrt(b)))/2`: in `(x + sqrt(x^2 + b))/2` negative `x` cancels."""
    root = jnp.sqrt(b)
    return root * jnp.exp(jnp.arcsinh(x / root)) / 2


def bent_identity(x: Array) -> Array:
    """`x + (sqrt(x^2 + 1) - 1)/2`, the difference rationalised: it cancels near zero."""
    return x + x * x / (2 * (jnp.sqrt(x * x + 1) + 1))


def shifted_softplus(x: Array) -> Array:
    """`log((1 + exp(x))/2)`; softplus less `log(2)` would cancel near zero.

    `min(x, -x)` is `-|x|` with slope 0 at 0, where jax gives `|x|` the slope 1.
    """
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.expm1(jnp.minimum(x, -x)) / 2)


def symlog(x: Array) -> Array:
    """`sign(x) log(1 + |x|)`, each side apart: a factor `sign(x)` has derivative 0 at 0, not 1."""
    return jnp.log1p(jnp.maximum(x, 0.0)) - jnp.log1p(jnp.maximum(-x, 0.0))


def gelu(x: Array) -> Array:
    """`x Phi(x)` with `Phi(x) = erfc(-x/sqrt(2))/2`: `1 + erf` cancels for negative `x`."""
    return x * erfc(-sqrt(0.5) * x) / 2


def gelu_tanh(x: Array) -> Array:
    """`x (1 + tanh(u/2))/2 = x sigmoid(u)`: `1 + tanh` cancels for negative `x`."""
    return x * sigmoid(sqrt(8 / pi) * (x + 0.044715 * x**3))


def laplace(x: Array, mu: float, sigma: float) -> Array:
    """`Phi((x - mu)/sigma)` through `erfc`, as in `gelu`."""
    return erfc((mu - x) * (sqrt(0.5) / sigma)) / 2


def mish(x: Array) -> Array:
    """`x ((1 + r)^2 - 1)/((1 + r)^2 + 1)` where `r = exp(x) = a/b`, with neither above 1.

    Through `tanh` the derivative would have the term `x (1 - tanh^2)`, which cancels and grows.
    """
    a, b = jnp.exp(jnp.minimum(x, 0.0)), jnp.exp(jnp.minimum(-x, 0.0))
    numerator = a * (a + 2 * b)
    return x * (numerator / (numerator + 2 * b * b))


def telu(x: Array) -> Array:
    """`x tanh(exp(x))`; `tanh(exp(5))` is 1 to the last digit and `exp` of more may overflow."""
    return x * jnp.tanh(jnp.exp(jnp.minimum(x, 5.0)))


def step(x: Array) -> Array:
    """1 above zero, else 0; the ones and zeros take the dtype of `x`."""
    return jnp.where(x > 0, jnp.ones_like(x), jnp.zeros_like(x))


def soft_threshold(x: Array, tau: float) -> Array:
    """`sign(x) max(|x| - tau, 0)`, as what is left of `x` outside of `[-tau, tau]`."""
    return x - jnp.clip(x, -tau, tau)


def smelu(x: Array, beta: float) -> Array:
    """`(x + beta)^2/(4 beta)` between `-beta` and `beta`, then `x`."""
    return jnp.where(x < beta, jnp.square(jnp.maximum(x + beta, 0.0)) / (4 * beta), x)


def leaky_relu(x: Array, alpha: float) -> Array:
    """`alpha x` below zero; not `max(x, alpha x)`, since `alpha` may exceed 1."""
    return jnp.where(x > 0, x, alpha * x)
