"""The activations themselves.

One line where the formula can be computed as it is written, and a function of `formulas` where not.

A definition on which libraries differ says so in its formula. `Phi` is the standard normal
distribution function.
"""

from math import inf, pi, sqrt

import jax.numpy as jnp
from jax.nn import sigmoid
from jax.scipy.special import erf

from meanfield.catalogue import formulas
from meanfield.catalogue.entry import Entry, Parameter

# -- parameters that several entries share --

POSITIVE = (0.0, inf)
TAU = Parameter("tau", 0.5, usual=(-1.0, 2.0))
TAU_POSITIVE = Parameter("tau", 0.5, (0.0, inf), closed=True, usual=(0.0, 2.0))
CLIP = Parameter("m", 1.0, POSITIVE, usual=(0.3, 3.0))
FREQUENCY = Parameter("frequency", 1.0, POSITIVE, usual=(0.3, 3.0))
BETA = Parameter("beta", 1.0, POSITIVE, usual=(0.5, 3.0))


def _slope(default: float) -> Parameter:
    return Parameter("alpha", default, usual=(-0.5, 0.9))


# -- the catalogue --

PIECEWISE_LINEAR = [
    Entry("identity", "x", lambda x: x, aliases=("linear",)),
    Entry("relu", "max(x, 0)", lambda x: jnp.maximum(x, 0.0)),
    Entry(
        "leaky_relu",
        "x for x > 0, else alpha x (alpha = 0.01 in jax and torch, 0.3 in Keras 2)",
        formulas.leaky_relu,
        (_slope(0.01),),
    ),
    Entry(
        "prelu",
        "x for x > 0, else alpha x (trained; torch starts it here)",
        formulas.leaky_relu,
        (_slope(0.25),),
    ),
    Entry(
        "rrelu",
        "x for x > 0, else (lower + upper)/2 x (as in evaluation: the random slope is its mean)",
        lambda x, lower, upper: formulas.leaky_relu(x, (lower + upper) / 2),
        (
            Parameter("lower", 1 / 8, usual=(0.0, 0.3)),
            Parameter("upper", 1 / 3, usual=(0.3, 0.8)),
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
        formulas.soft_threshold,
        (TAU_POSITIVE,),
        ("soft_shrink",),
    ),
    Entry(
        "cst",
        "sign(x) clip(|x| - tau, 0, m)",
        lambda x, tau, m: jnp.clip(formulas.soft_threshold(x, tau), -m, m),
        (TAU_POSITIVE, CLIP),
        ("clipped_soft_threshold",),
    ),
]

WITH_JUMPS = [
    Entry("step", "1 for x > 0, else 0", formulas.step, aliases=("heaviside",)),
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
        (TAU, Parameter("value", 0.0)),
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
            Parameter("scale", 0.8944, usual=(0.3, 2.0)),
            Parameter("bias", -0.4472),
        ),
    ),
    Entry(
        "smelu",
        "0 for x < -beta, x for x > beta, else (x + beta)^2/(4 beta)",
        formulas.smelu,
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
        formulas.elu,
        (Parameter("alpha", 1.0, usual=(0.3, 2.0)),),
    ),
    Entry(
        "selu",
        "1.0507 x for x > 0, else 1.0507 1.6733 (exp(x) - 1), with the digits of its paper",
        formulas.selu,
    ),
    Entry(
        "celu",
        "x for x > 0, else alpha (exp(x/alpha) - 1)",
        formulas.celu,
        (Parameter("alpha", 1.0, POSITIVE, usual=(0.3, 2.0)),),
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
    Entry("shifted_softplus", "log((1 + exp(x))/2)", formulas.shifted_softplus, aliases=("ssp",)),
    Entry(
        "squareplus",
        "(x + sqrt(x^2 + b))/2",
        formulas.squareplus,
        (Parameter("b", 4.0, POSITIVE, usual=(0.3, 6.0)),),
    ),
    Entry(
        "gelu",
        "x Phi(x) (the exact one, torch's default; that of jax.nn.gelu is gelu_tanh)",
        formulas.gelu,
        aliases=("gelu_exact", "gelu_erf"),
    ),
    Entry(
        "gelu_tanh",
        "x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))/2",
        formulas.gelu_tanh,
        aliases=("gelu_new", "gelu_approximate", "gelu_pytorch_tanh"),
    ),
    Entry("quick_gelu", "x sigmoid(1.702 x)", lambda x: x * sigmoid(1.702 * x)),
    Entry(
        "silu",
        "x sigmoid(beta x)",
        lambda x, beta: x * sigmoid(beta * x),
        (Parameter("beta", 1.0, usual=(0.5, 3.0)),),
        ("swish", "swish_beta"),
    ),
    Entry("mish", "x tanh(log(1 + exp(x)))", formulas.mish),
    Entry("serf", "x erf(log(1 + exp(x)))", lambda x: x * erf(jnp.logaddexp(x, 0.0))),
    Entry("logish", "x log(1 + sigmoid(x))", lambda x: x * jnp.log1p(sigmoid(x))),
    Entry("telu", "x tanh(exp(x))", formulas.telu),
    Entry("log_sigmoid", "-log(1 + exp(-x))", lambda x: -jnp.logaddexp(-x, 0.0)),
    Entry("bent_identity", "x + (sqrt(x^2 + 1) - 1)/2", formulas.bent_identity),
    Entry(
        "snake",
        "x + sin(alpha x)^2/alpha",
        lambda x, alpha: x + jnp.square(jnp.sin(alpha * x)) / alpha,
        (Parameter("alpha", 1.0, POSITIVE, usual=(0.3, 3.0)),),
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
        formulas.laplace,
        (
            Parameter("mu", sqrt(0.5)),
            Parameter("sigma", sqrt(0.25 / pi), POSITIVE, usual=(0.2, 2.0)),
        ),
    ),
    Entry("arcsinh", "log(x + sqrt(x^2 + 1))", jnp.arcsinh, aliases=("asinh",)),
    Entry("symlog", "sign(x) log(1 + |x|)", formulas.symlog),
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
    Entry("sinc", "sin(x)/x (numpy's and jax's is sinc_pi)", formulas.sinc),
    Entry("sinc_pi", "sin(pi x)/(pi x)", lambda x: formulas.sinc(pi * x)),
    Entry(
        "gaussian",
        "exp(-(x/width)^2)",
        lambda x, width: jnp.exp(-jnp.square(x / width)),
        (Parameter("width", 1.0, POSITIVE, usual=(0.5, 2.0)),),
    ),
    Entry("wavelet", "cos(x) exp(-x^2)", lambda x: jnp.cos(x) * jnp.exp(-x * x)),
]

GROWING = [
    Entry("tanh_shrink", "x - tanh(x)", formulas.tanh_shrink),
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
