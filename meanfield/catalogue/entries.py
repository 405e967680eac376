"""The activations themselves.

One line where the formula can be computed as it is written, and a function where the obvious form
loses digits. Value and derivative are finite wherever the true ones are, and as accurate as `x`
rounded by a few units in the last place allows. Kinks are spelled with the primitives that the
search for kinks knows: max, min, clip, abs, sign, where.

A definition on which libraries differ says so in its formula. `Phi` is the standard normal
distribution function.
"""

from functools import reduce
from math import factorial, inf, pi, sqrt

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from jax.scipy.special import erf, erfc

from .entry import Entry, Parameter

Array = jax.Array

# -- functions whose obvious form loses digits --


def _series(coefficients: list[float], u: Array) -> Array:
    """`sum_k coefficients[k] u^k`."""
    return reduce(lambda total, c: total * u + c, reversed(coefficients), jnp.zeros_like(u))


def _sinc(x: Array) -> Array:
    """`sin(x)/x`: near zero by its series, because there the quotient's derivative cancels."""
    near = x * x < 1
    inner, outer = jnp.where(near, x, 0.0), jnp.where(near, 1.0, x)
    series = _series([(-1) ** k / factorial(2 * k + 1) for k in range(10)], inner * inner)
    return jnp.where(near, series, jnp.sin(outer) / outer)


def _tanh_shrink(x: Array) -> Array:
    """`x - tanh(x)`: near zero `(x cosh(x) - sinh(x))/cosh(x)`, a series of positive terms."""
    near = x * x < 1
    inner, outer = jnp.where(near, x, 0.0), jnp.where(near, 1.0, x)
    series = _series([2 * k / factorial(2 * k + 1) for k in range(1, 11)], inner * inner)
    return jnp.where(near, inner**3 * series / jnp.cosh(inner), outer - jnp.tanh(outer))


def _elu(x: Array, alpha: float) -> Array:
    """`alpha (exp(x) - 1)` below zero; the inner `where` keeps it from overflowing above."""
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0.0, x)))


def _celu(x: Array, alpha: float) -> Array:
    """`alpha (exp(x/alpha) - 1)` below zero; the slope at zero is 1 for every `alpha`."""
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0.0, x) / alpha))


def _squareplus(x: Array, b: float) -> Array:
    """`sqrt(b) exp(asinh(x/sqrt(b)))/2`: in `(x + sqrt(x^2 + b))/2` negative `x` cancels."""
    root = jnp.sqrt(b)
    return root * jnp.exp(jnp.arcsinh(x / root)) / 2


def _bent_identity(x: Array) -> Array:
    """`x + (sqrt(x^2 + 1) - 1)/2`, the difference rationalised: it cancels near zero."""
    return x + x * x / (2 * (jnp.sqrt(x * x + 1) + 1))


def _shifted_softplus(x: Array) -> Array:
    """`log((1 + exp(x))/2)`; softplus less `log(2)` would cancel near zero.

    `min(x, -x)` is `-|x|` with slope 0 at 0, where jax gives `|x|` the slope 1.
    """
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.expm1(jnp.minimum(x, -x)) / 2)


def _symlog(x: Array) -> Array:
    """`sign(x) log(1 + |x|)`, each side apart: a factor `sign(x)` has derivative 0 at 0, not 1."""
    return jnp.log1p(jnp.maximum(x, 0.0)) - jnp.log1p(jnp.maximum(-x, 0.0))


def _gelu(x: Array) -> Array:
    """`x Phi(x)` with `Phi(x) = erfc(-x/sqrt(2))/2`: `1 + erf` cancels for negative `x`."""
    return x * erfc(-sqrt(0.5) * x) / 2


def _gelu_tanh(x: Array) -> Array:
    """`x (1 + tanh(u/2))/2 = x sigmoid(u)`: `1 + tanh` cancels for negative `x`."""
    return x * sigmoid(sqrt(8 / pi) * (x + 0.044715 * x**3))


def _laplace(x: Array, mu: float, sigma: float) -> Array:
    """`Phi((x - mu)/sigma)` through `erfc`, as in `gelu`."""
    return erfc((mu - x) * (sqrt(0.5) / sigma)) / 2


def _mish(x: Array) -> Array:
    """`x ((1 + r)^2 - 1)/((1 + r)^2 + 1)` where `r = exp(x) = a/b`, with neither above 1.

    Through `tanh` the derivative would have the term `x (1 - tanh^2)`, which cancels and grows.
    """
    a, b = jnp.exp(jnp.minimum(x, 0.0)), jnp.exp(jnp.minimum(-x, 0.0))
    numerator = a * (a + 2 * b)
    return x * (numerator / (numerator + 2 * b * b))


def _telu(x: Array) -> Array:
    """`x tanh(exp(x))`; `tanh(exp(5))` is 1 to the last digit and `exp` of more may overflow."""
    return x * jnp.tanh(jnp.exp(jnp.minimum(x, 5.0)))


# -- functions with steps and thresholds --


def _step(x: Array) -> Array:
    """1 above zero, else 0; the ones and zeros take the dtype of `x`."""
    return jnp.where(x > 0, jnp.ones_like(x), jnp.zeros_like(x))


def _soft_threshold(x: Array, tau: float) -> Array:
    """`sign(x) max(|x| - tau, 0)`, as what is left of `x` outside of `[-tau, tau]`."""
    return x - jnp.clip(x, -tau, tau)


def _smelu(x: Array, beta: float) -> Array:
    """`(x + beta)^2/(4 beta)` between `-beta` and `beta`, then `x`."""
    return jnp.where(x < beta, jnp.square(jnp.maximum(x + beta, 0.0)) / (4 * beta), x)


def _leaky_relu(x: Array, alpha: float) -> Array:
    """`alpha x` below zero; not `max(x, alpha x)`, since `alpha` may exceed 1."""
    return jnp.where(x > 0, x, alpha * x)


# -- parameters that several entries share --

POSITIVE = (0.0, inf)
TAU = Parameter("tau", r"\tau", 0.5, usual=(-1.0, 2.0))
TAU_POSITIVE = Parameter("tau", r"\tau", 0.5, (0.0, inf), closed=True, usual=(0.0, 2.0))
CLIP = Parameter("m", "m", 1.0, POSITIVE, usual=(0.3, 3.0))
FREQUENCY = Parameter("frequency", r"\omega", 1.0, POSITIVE, usual=(0.3, 3.0))
BETA = Parameter("beta", r"\beta", 1.0, POSITIVE, usual=(0.5, 3.0))


def _slope(default: float) -> Parameter:
    return Parameter("alpha", r"\alpha", default, usual=(-0.5, 0.9))


# -- the catalogue --

PIECEWISE_LINEAR = [
    Entry("identity", "x", lambda x: x, aliases=("linear",)),
    Entry("relu", "max(x, 0)", lambda x: jnp.maximum(x, 0.0)),
    Entry(
        "leaky_relu",
        "x for x > 0, else alpha x (alpha = 0.01 in jax and torch, 0.3 in Keras 2)",
        _leaky_relu,
        (_slope(0.01),),
    ),
    Entry(
        "prelu",
        "x for x > 0, else alpha x (trained; torch starts it here)",
        _leaky_relu,
        (_slope(0.25),),
    ),
    Entry(
        "rrelu",
        "x for x > 0, else (lower + upper)/2 x (as in evaluation: the random slope is its mean)",
        lambda x, lower, upper: _leaky_relu(x, (lower + upper) / 2),
        (
            Parameter("lower", r"\ell", 1 / 8, usual=(0.0, 0.3)),
            Parameter("upper", "u", 1 / 3, usual=(0.3, 0.8)),
        ),
    ),
    Entry("abs", "|x|", jnp.abs, aliases=("absolute",)),
    Entry("relu6", "clip(x, 0, 6)", lambda x: jnp.clip(x, 0.0, 6.0)),
    Entry("hard_tanh", "clip(x, -1, 1)", lambda x: jnp.clip(x, -1.0, 1.0)),
    Entry(
        "hard_sigmoid",
        "clip(x + 3, 0, 6)/6 (jax, torch, Keras 3; Keras 2 has clip(0.2 x + 0.5, 0, 1))",
        lambda x: jnp.clip(x + 3, 0.0, 6.0) / 6,
    ),
    Entry("sparse_sigmoid", "clip(x + 1, 0, 2)/2", lambda x: jnp.clip(x + 1, 0.0, 2.0) / 2),
    Entry("shifted_relu", "max(x - tau, 0)", lambda x, tau: jnp.maximum(x - tau, 0.0), (TAU,)),
    Entry(
        "crelu",
        "clip(x - tau, 0, m) (clipped shifted ReLU; not the concatenated one)",
        lambda x, tau, m: jnp.clip(x - tau, 0.0, m),
        (TAU, CLIP),
        ("clipped_shifted_relu",),
    ),
    Entry(
        "soft_threshold",
        "sign(x) max(|x| - tau, 0)",
        _soft_threshold,
        (TAU_POSITIVE,),
        ("soft_shrink",),
    ),
    Entry(
        "cst",
        "sign(x) clip(|x| - tau, 0, m)",
        lambda x, tau, m: jnp.clip(_soft_threshold(x, tau), -m, m),
        (TAU_POSITIVE, CLIP),
        ("clipped_soft_threshold",),
    ),
]

WITH_JUMPS = [
    Entry("step", "1 for x > 0, else 0", _step, aliases=("heaviside",)),
    Entry("sign", "sign(x)", jnp.sign),
    Entry(
        "hard_shrink",
        "x for |x| > tau, else 0",
        lambda x, tau: jnp.where(jnp.abs(x) > tau, x, 0.0),
        (TAU_POSITIVE,),
        ("hard_threshold",),
    ),
    Entry(
        "threshold",
        "x for x > tau, else value",
        lambda x, tau, value: jnp.where(x > tau, x, value),
        (TAU, Parameter("value", "v", 0.0)),
    ),
]

PIECEWISE_SMOOTH = [
    Entry(
        "squared_relu",
        "max(x, 0)^2",
        lambda x: jnp.square(jnp.maximum(x, 0.0)),
        aliases=("relu2", "relu_squared"),
    ),
    Entry(
        "star_relu",
        "scale max(x, 0)^2 + bias",
        lambda x, scale, bias: scale * jnp.square(jnp.maximum(x, 0.0)) + bias,
        (
            Parameter("scale", "s", 0.8944, usual=(0.3, 2.0)),
            Parameter("bias", "b", -0.4472),
        ),
    ),
    Entry(
        "smelu",
        "0 for x < -beta, x for x > beta, else (x + beta)^2/(4 beta)",
        _smelu,
        (BETA,),
        ("sparse_plus",),
    ),
    Entry(
        "hard_silu",
        "x clip(x + 3, 0, 6)/6",
        lambda x: x * (jnp.clip(x + 3, 0.0, 6.0) / 6),
        aliases=("hard_swish",),
    ),
    Entry("hard_mish", "x clip(x + 2, 0, 2)/2", lambda x: x * (jnp.clip(x + 2, 0.0, 2.0) / 2)),
    Entry(
        "elu",
        "x for x > 0, else alpha (exp(x) - 1)",
        _elu,
        (Parameter("alpha", r"\alpha", 1.0, usual=(0.3, 2.0)),),
    ),
    Entry(
        "selu",
        "1.0507 x for x > 0, else 1.0507 1.6733 (exp(x) - 1), with the digits of its paper",
        lambda x: 1.0507009873554804934193349852946 * _elu(x, 1.6732632423543772848170429916717),
    ),
    Entry(
        "celu",
        "x for x > 0, else alpha (exp(x/alpha) - 1)",
        _celu,
        (Parameter("alpha", r"\alpha", 1.0, POSITIVE, usual=(0.3, 2.0)),),
    ),
]

RECTIFIER_LIKE = [
    Entry(
        "softplus",
        "log(1 + exp(beta x))/beta (exact everywhere; torch's is x beyond its threshold)",
        lambda x, beta: jnp.logaddexp(beta * x, 0.0) / beta,
        (BETA,),
        ("softplus_beta",),
    ),
    Entry("shifted_softplus", "log((1 + exp(x))/2)", _shifted_softplus, aliases=("ssp",)),
    Entry(
        "squareplus",
        "(x + sqrt(x^2 + b))/2",
        _squareplus,
        (Parameter("b", "b", 4.0, POSITIVE, usual=(0.3, 6.0)),),
    ),
    Entry(
        "gelu",
        "x Phi(x) (the exact one, torch's default; that of jax.nn.gelu is gelu_tanh)",
        _gelu,
        aliases=("gelu_exact", "gelu_erf"),
    ),
    Entry(
        "gelu_tanh",
        "x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))/2",
        _gelu_tanh,
        aliases=("gelu_new", "gelu_approximate", "gelu_pytorch_tanh"),
    ),
    Entry("quick_gelu", "x sigmoid(1.702 x)", lambda x: x * sigmoid(1.702 * x)),
    Entry(
        "silu",
        "x sigmoid(beta x)",
        lambda x, beta: x * sigmoid(beta * x),
        (Parameter("beta", r"\beta", 1.0, usual=(0.5, 3.0)),),
        ("swish", "swish_beta"),
    ),
    Entry("mish", "x tanh(log(1 + exp(x)))", _mish),
    Entry("serf", "x erf(log(1 + exp(x)))", lambda x: x * erf(jnp.logaddexp(x, 0.0))),
    Entry("logish", "x log(1 + sigmoid(x))", lambda x: x * jnp.log1p(sigmoid(x))),
    Entry("telu", "x tanh(exp(x))", _telu),
    Entry("log_sigmoid", "-log(1 + exp(-x))", lambda x: -jnp.logaddexp(-x, 0.0)),
    Entry("bent_identity", "x + (sqrt(x^2 + 1) - 1)/2", _bent_identity),
    Entry(
        "snake",
        "x + sin(alpha x)^2/alpha",
        lambda x, alpha: x + jnp.square(jnp.sin(alpha * x)) / alpha,
        (Parameter("alpha", r"\alpha", 1.0, POSITIVE, usual=(0.3, 3.0)),),
    ),
]

SIGMOIDAL = [
    Entry("tanh", "tanh(x)", jnp.tanh),
    Entry(
        "lecun_tanh",
        "1.7159 tanh(2 x/3)",
        lambda x: 1.7159 * jnp.tanh(x * (2 / 3)),
        aliases=("stanh",),
    ),
    Entry("erf", "erf(x) (slope 2/sqrt(pi) at 0)", erf),
    Entry("arctan", "arctan(x)", jnp.arctan, aliases=("atan",)),
    Entry("soft_sign", "x/(1 + |x|)", lambda x: x / (1 + jnp.abs(x))),
    Entry("sigmoid", "1/(1 + exp(-x))", sigmoid, aliases=("logistic",)),
    Entry(
        "laplace",
        "Phi((x - mu)/sigma) (approximates the squared ReLU near its defaults)",
        _laplace,
        (
            Parameter("mu", r"\mu", sqrt(0.5)),
            Parameter("sigma", r"\sigma", sqrt(0.25 / pi), POSITIVE, usual=(0.2, 2.0)),
        ),
    ),
    Entry("arcsinh", "log(x + sqrt(x^2 + 1))", jnp.arcsinh, aliases=("asinh",)),
    Entry("symlog", "sign(x) log(1 + |x|)", _symlog),
]

WAVES = [
    Entry(
        "sin",
        "sin(frequency x)",
        lambda x, frequency: jnp.sin(frequency * x),
        (FREQUENCY,),
        ("sine", "siren"),
    ),
    Entry(
        "cos",
        "cos(frequency x)",
        lambda x, frequency: jnp.cos(frequency * x),
        (FREQUENCY,),
        ("cosine",),
    ),
    Entry("sinc", "sin(x)/x (numpy's and jax's is sinc_pi)", _sinc),
    Entry("sinc_pi", "sin(pi x)/(pi x)", lambda x: _sinc(pi * x)),
    Entry(
        "gaussian",
        "exp(-(x/width)^2)",
        lambda x, width: jnp.exp(-jnp.square(x / width)),
        (Parameter("width", "w", 1.0, POSITIVE, usual=(0.5, 2.0)),),
    ),
    Entry("wavelet", "cos(x) exp(-x^2)", lambda x: jnp.cos(x) * jnp.exp(-x * x)),
]

GROWING = [
    Entry("tanh_shrink", "x - tanh(x)", _tanh_shrink),
    Entry("square", "x^2", jnp.square, aliases=("quadratic",)),
    Entry("cube", "x^3", lambda x: x**3, aliases=("cubic",)),
    Entry("exp", "exp(x)", jnp.exp, aliases=("exponential",)),
]

ENTRIES = (
    *PIECEWISE_LINEAR,
    *WITH_JUMPS,
    *PIECEWISE_SMOOTH,
    *RECTIFIER_LIKE,
    *SIGMOIDAL,
    *WAVES,
    *GROWING,
)
