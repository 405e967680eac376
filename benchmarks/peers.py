"""Other ways to `E[phi^2]` and `E[phi'^2]`, and the truth.

Two peers are measured where they import beside this version of jax, and need not be there:
`pip install dks autograd` (0.1.2: its NumPy half works with any jax, `dks.jax` with none of
today's) and `pip install neural-tangents` (0.6.5 does not import with jax 0.8 or newer).
"""

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from scipy import special
from scipy.integrate import quad

_ROOT = math.sqrt(2 * math.pi)

FLOATS = SimpleNamespace(
    tanh=math.tanh,
    clip=lambda x: min(max(x, -1.0), 1.0),
    relu=lambda x: max(x, 0.0),
    true=float,
    cdf=lambda x: 0.5 * math.erfc(-x / math.sqrt(2)),
    pdf=lambda x: math.exp(-0.5 * x * x) / _ROOT,
)
ARRAYS = SimpleNamespace(
    tanh=np.tanh,
    clip=lambda x: np.clip(x, -1.0, 1.0),
    relu=lambda x: np.maximum(x, 0.0),
    true=np.float64,
    cdf=special.ndtr,
    pdf=lambda x: np.exp(-0.5 * x * x) / _ROOT,
)
DIGITS = SimpleNamespace(
    tanh=mpmath.tanh,
    clip=lambda x: min(max(x, -1), 1),
    relu=lambda x: max(x, 0),
    true=int,
    cdf=mpmath.ncdf,
    pdf=mpmath.npdf,
)


class Case(NamedTuple):
    """An activation: in JAX, and with its derivative for one of the kinds of number above."""

    jax: Callable
    phi: Callable
    slope: Callable
    kinks: tuple[float, ...] = ()


CASES = {
    "tanh": Case(jnp.tanh, lambda m, x: m.tanh(x), lambda m, x: 1 - m.tanh(x) ** 2),
    "gelu": Case(
        lambda x: jax.nn.gelu(x, approximate=False),
        lambda m, x: x * m.cdf(x),
        lambda m, x: m.cdf(x) + x * m.pdf(x),
    ),
    "relu": Case(jax.nn.relu, lambda m, x: m.relu(x), lambda m, x: m.true(x > 0), (0.0,)),
    "clip": Case(
        lambda x: jnp.clip(x, -1.0, 1.0),
        lambda m, x: m.clip(x),
        lambda m, x: m.true(abs(x) < 1),
        (-1.0, 1.0),
    ),
}


@cache
def exact(name: str, q: float) -> tuple[Any, Any]:
    """Both moments to more than 20 digits, on pieces that suit each scale."""
    case = CASES[name]
    with mpmath.workdps(30):
        spread = [mpmath.sqrt(q) * k / 2 for k in (1, 2, 4, 6, 9, 12, 16, 20, 28)]
        spread += [mpmath.mpf(2) ** k for k in range(-3, 6) if 2.0**k < spread[-1]]
        edges = sorted({0, *(k for k in case.kinks if abs(k) < max(spread))}.union(
            *({-x, x} for x in spread)))  # fmt: skip

        def moment(f: Callable) -> Any:
            def density(x):
                return f(DIGITS, x) ** 2 * mpmath.exp(-x * x / (2 * q))

            integral = mpmath.quad(density, edges, method="gauss-legendre")
            return integral / mpmath.sqrt(2 * mpmath.pi * q)

        return moment(case.phi), moment(case.slope)


def error(value: Any, truth: Any) -> str:
    """Relative."""
    return f"{float(abs(mpmath.mpf(float(value)) / truth - 1)):.0e}"


def by_quad(name: str, q: float, moments: int = 2) -> list[float]:
    """`scipy.integrate.quad` on the pieces between the kinks."""
    case = CASES[name]
    edges = [-math.inf, *(case.kinks or [0.0]), math.inf]

    def piece(f: Callable, a: float, b: float) -> float:
        def density(x: float) -> float:
            return f(FLOATS, x) ** 2 * math.exp(-x * x / (2 * q))

        return quad(density, a, b, epsabs=0, epsrel=1e-13, limit=200)[0] / (_ROOT * math.sqrt(q))

    pieces = list(zip(edges[:-1], edges[1:], strict=True))
    return [sum(piece(f, a, b) for a, b in pieces) for f in (case.phi, case.slope)[:moments]]


_Z, _W = np.polynomial.hermite_e.hermegauss(64)


def by_hermite(name: str, q: Any, moments: int = 2) -> list[Any]:
    """Gauss-Hermite with 64 nodes, at a variance or at many."""
    x = np.sqrt(q)[..., None] * _Z
    case = CASES[name]
    return [f(ARRAYS, x) ** 2 @ _W / _ROOT for f in (case.phi, case.slope)[:moments]]


def _dks_function(name: str) -> Callable:
    if name == "clip":
        return lambda x: import_module("autograd").numpy.clip(x, -1.0, 1.0)
    by_name = import_module("dks.base.activation_getter").get_activation_function
    return by_name({"gelu": "gelu_exact"}.get(name, name))


def dks_moments() -> Callable[[str], list[float]]:
    """The quadrature of deep kernel shaping, for which it has no public name, at `q = 1`."""
    transform = import_module("dks.base.activation_transform")
    autograd = import_module("autograd")

    def moments(name: str) -> list[float]:
        f = _dks_function(name)
        slope = autograd.elementwise_grad(f)
        return [transform._estimate_gaussian_mean(lambda x, g=g: g(x) ** 2) for g in (f, slope)]

    return moments


def dks_covariance() -> Callable[[str, float], float]:
    """Its double integral, at `q = 1` and a correlation; of `clip` it takes hours."""
    transform = import_module("dks.base.activation_transform")

    def covariance(name: str, c: float) -> float:
        f, root = _dks_function(name), math.sqrt(1 - c * c)
        return transform._estimate_2d_gaussian_mean(lambda x, y: f(x) * f(c * x + root * y))

    return covariance


def neural_tangents_moments() -> Callable[[str], list[float]]:
    """`ElementwiseNumerical` of degree 400, compiled, at `q = 1`."""
    stax = import_module("neural_tangents").stax

    @cache
    def kernel(name: str) -> Callable:
        layers = stax.Dense(1), stax.ElementwiseNumerical(CASES[name].jax, deg=400)
        kernel_fn = stax.serial(*layers)[2]
        return jax.jit(lambda x: kernel_fn(x, None, ("nngp", "ntk")))

    def moments(name: str) -> list[float]:
        with jax.enable_x64(True):
            result = kernel(name)(np.ones((1, 1)))
        return [float(result.nngp[0, 0]), float(result.ntk[0, 0])]

    return moments
