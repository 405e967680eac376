"""The catalogue alone: names, parameters, and every function against its formula in mpmath."""

import math
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from closed_forms import CLOSED_FORMS
from meanfield.catalogue import CATALOGUE, Entry, Parameter, lookup

EPS = np.finfo(np.float64).eps
NAMES = list(CATALOGUE)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True), mp.workdps(60):
        yield


# -- the oracle: textbook formulas in 60 digits, where cancellation does not matter --


def clip(x: Any, low: Any, high: Any) -> Any:
    return min(max(x, low), high)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def softplus(x: Any) -> Any:
    return mp.log1p(mp.exp(x))


def leaky(x: Any, alpha: Any) -> Any:
    return x if x > 0 else alpha * x


def soft_threshold(x: Any, tau: Any) -> Any:
    return mp.sign(x) * max(abs(x) - tau, 0)


def elu(x: Any, alpha: Any, width: Any = 1) -> Any:
    return x if x > 0 else alpha * mp.expm1(x / width)


FORMULAS: dict[str, Callable[..., Any]] = {
    "identity": lambda x: x,
    "relu": lambda x: max(x, 0),
    "leaky_relu": leaky,
    "prelu": leaky,
    "rrelu": lambda x, lower, upper: leaky(x, (lower + upper) / 2),
    "abs": abs,
    "relu6": lambda x: clip(x, 0, 6),
    "hard_tanh": lambda x: clip(x, -1, 1),
    "hard_sigmoid": lambda x: clip(x + 3, 0, 6) / mp.mpf(6),
    "sparse_sigmoid": lambda x: clip(x + 1, 0, 2) / mp.mpf(2),
    "shifted_relu": lambda x, tau: max(x - tau, 0),
    "crelu": lambda x, tau, m: clip(x - tau, 0, m),
    "soft_threshold": soft_threshold,
    "cst": lambda x, tau, m: clip(soft_threshold(x, tau), -m, m),
    "step": lambda x: int(x > 0),
    "sign": mp.sign,
    "hard_shrink": lambda x, tau: x if abs(x) > tau else 0,
    "threshold": lambda x, tau, value: x if x > tau else value,
    "squared_relu": lambda x: max(x, 0) ** 2,
    "star_relu": lambda x, scale, bias: scale * max(x, 0) ** 2 + bias,
    "smelu": lambda x, beta: x if x > beta else max(x + beta, 0) ** 2 / (4 * beta),
    "hard_silu": lambda x: x * clip(x + 3, 0, 6) / 6,
    "hard_mish": lambda x: x * clip(x + 2, 0, 2) / 2,
    "elu": elu,
    "selu": lambda x: (
        mp.mpf("1.0507009873554804934193349852946")
        * elu(x, mp.mpf("1.6732632423543772848170429916717"))
    ),
    "celu": lambda x, alpha: elu(x, alpha, alpha),
    "softplus": lambda x, beta: softplus(beta * x) / beta,
    "shifted_softplus": lambda x: softplus(x) - mp.log(2),
    "squareplus": lambda x, b: (x + mp.sqrt(x**2 + b)) / 2,
    "gelu": lambda x: x * mp.ncdf(x),
    "gelu_tanh": lambda x: x * sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3)),
    "quick_gelu": lambda x: x * sigmoid(mp.mpf("1.702") * x),
    "silu": lambda x, beta: x * sigmoid(beta * x),
    "mish": lambda x: x * mp.tanh(softplus(x)),
    "serf": lambda x: x * mp.erf(softplus(x)),
    "logish": lambda x: x * mp.log1p(sigmoid(x)),
    "telu": lambda x: x * mp.tanh(mp.exp(x)) if x < 10 else x,
    "log_sigmoid": lambda x: -softplus(-x),
    "bent_identity": lambda x: x + (mp.sqrt(x**2 + 1) - 1) / 2,
    "snake": lambda x, alpha: x + mp.sin(alpha * x) ** 2 / alpha,
    "tanh": mp.tanh,
    "lecun_tanh": lambda x: mp.mpf("1.7159") * mp.tanh(2 * x / 3),
    "erf": mp.erf,
    "arctan": mp.atan,
    "soft_sign": lambda x: x / (1 + abs(x)),
    "sigmoid": sigmoid,
    "laplace": lambda x, mu, sigma: mp.ncdf((x - mu) / sigma),
    "arcsinh": mp.asinh,
    "symlog": lambda x: mp.sign(x) * mp.log1p(abs(x)),
    "tanh_shrink": lambda x: x - mp.tanh(x),
    "sin": lambda x, frequency: mp.sin(frequency * x),
    "cos": lambda x, frequency: mp.cos(frequency * x),
    "sinc": mp.sinc,
    "sinc_pi": mp.sincpi,
    "gaussian": lambda x, width: mp.exp(-((x / width) ** 2)),
    "wavelet": lambda x: mp.cos(x) * mp.exp(-(x**2)),
    "square": lambda x: x**2,
    "cube": lambda x: x**3,
    "exp": mp.exp,
}

KINKS: dict[str, Callable[..., list[float]]] = {
    **dict.fromkeys(
        "relu leaky_relu prelu rrelu abs step sign squared_relu star_relu elu selu celu".split(),
        lambda **_: [0.0],
    ),
    "relu6": lambda: [0.0, 6.0],
    "hard_tanh": lambda: [-1.0, 1.0],
    "hard_sigmoid": lambda: [-3.0, 3.0],
    "sparse_sigmoid": lambda: [-1.0, 1.0],
    "shifted_relu": lambda tau: [tau],
    "crelu": lambda tau, m: [tau, tau + m],
    "soft_threshold": lambda tau: [-tau, tau],
    "cst": lambda tau, m: [-tau - m, -tau, tau, tau + m],
    "hard_shrink": lambda tau: [-tau, tau],
    "threshold": lambda tau, value: [tau],
    "smelu": lambda beta: [-beta, beta],
    "hard_silu": lambda: [-3.0, 3.0],
    "hard_mish": lambda: [-2.0, 0.0],
}

# Bounds on rounding errors, in units of EPS. XLA's tanh, exp and erfc are each good to about 4.
VALUE_UNITS, DERIVATIVE_UNITS = 8, 16

# Zero and nearly zero; where forms cancel; where libraries switch; tails and far out.
MAGNITUDES = [1e-20, 1e-12, 1e-7, 1e-4, 0.01, 0.1, 0.4, 0.8767, 0.999, 1.001, 1.3, 1.9, 2.2, 3.1]
MAGNITUDES += [4.7, 6.5, 9.0, 13.0, 19.5, 26.0, 36.7, 45.0, 120.0, 700.0, 1234.5, 1e5]
GRID = [0.0, *MAGNITUDES, *(-x for x in MAGNITUDES)]


def kinks(name: str, parameters: dict[str, float]) -> list[float]:
    return KINKS[name](**parameters) if name in KINKS else []


def points(name: str, parameters: dict[str, float]) -> np.ndarray:
    """The grid and both sides of each kink; a kink itself has no derivative to compare."""
    at = kinks(name, parameters)
    near = [x + sign * 1e-9 for x in at for sign in (-1, 1)]
    return np.array([x for x in (*GRID, *near) if x not in at])


def settings(entry: Entry) -> list[dict[str, float]]:
    """The defaults, and one draw from the usual range of each parameter."""
    if not entry.parameters:
        return [{}]
    random = np.random.default_rng(zlib.crc32(entry.name.encode()))
    drawn = {p.name: float(random.uniform(*p.usual)) for p in entry.parameters}
    return [entry.complete({}), drawn]


CASES = [
    pytest.param(entry, parameters, id=f"{name}-{which}")
    for name, entry in CATALOGUE.items()
    for which, parameters in zip(("default", "drawn"), settings(entry), strict=False)
]


def slope(function: Callable[..., Any], x: Any, parameters: dict[str, float]) -> tuple[Any, Any]:
    """The function and its derivative, by forward differentiation."""
    x = jnp.asarray(x)
    return jax.jvp(lambda t: function(t, **parameters), (x,), (jnp.ones_like(x),))


@cache
def oracle(name: str, items: tuple[tuple[str, float], ...]) -> np.ndarray:
    """Formula, first and second derivative at the points, in mpmath numbers."""
    exact = {key: mp.mpf(value) for key, value in items}

    def formula(x: Any) -> Any:
        return mp.mpf(FORMULAS[name](x, **exact))

    at = [mp.mpf(float(x)) for x in points(name, dict(items))]
    return np.array([[formula(x), mp.diff(formula, x), mp.diff(formula, x, 2)] for x in at])


def errors(measured: Any, true: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """`|measured - true|` in units of `EPS scale`, where the true value is a double."""
    tiny, huge = mp.mpf(np.finfo(np.float64).tiny), mp.mpf(np.finfo(np.float64).max)
    pairs = zip(np.asarray(measured), true, scale, strict=True)
    return np.array(
        [float(abs(mp.mpf(float(m)) - t) / (EPS * s + tiny)) for m, t, s in pairs if abs(t) < huge]
    )


# -- every function --


def test_every_entry_has_a_formula_and_nothing_else_has():
    assert set(FORMULAS) == set(CATALOGUE)
    assert set(KINKS) | set(CLOSED_FORMS) <= set(CATALOGUE)
    assert len(CATALOGUE) >= 45


@pytest.mark.parametrize(("entry", "parameters"), CASES)
def test_value_and_derivative(entry: Entry, parameters: dict[str, float]):
    """Both have the error of an argument rounded a few times: `EPS (|f| + |x f'|)`.

    A derivative may also lose digits far below its size near zero: `1 - tanh(x)^2` has those of 1.
    """
    x = points(entry.name, parameters)
    f, df, ddf = oracle(entry.name, tuple(parameters.items())).T
    value, derivative = slope(entry.function, x, parameters)
    assert errors(value, f, abs(f) + abs(x * df)).max() <= VALUE_UNITS
    bulk = max(abs(df[abs(x) < 3]))
    assert errors(derivative, df, abs(df) + abs(x * ddf) + bulk).max() <= DERIVATIVE_UNITS


@pytest.mark.parametrize("name", NAMES)
def test_finite_everywhere(name: str):
    """Value, slope, the slopes in the parameters and the reverse mode: no overflow, no 0/0."""
    entry = CATALOGUE[name]
    parameters = entry.complete({})
    most = 700.0 if name == "exp" else 1e5
    x = np.concatenate([np.linspace(-most, most, 2001), GRID, kinks(name, parameters)])
    x = jnp.asarray(x[abs(x) <= most])

    def total(x: jax.Array, parameters: dict[str, float]) -> jax.Array:
        return entry.function(x, **parameters).sum()

    @jax.jit
    def all_of_it(x: jax.Array, parameters: dict[str, float]) -> Any:
        reverse = jax.grad(total, argnums=(0, 1))(x, parameters)
        return slope(entry.function, x, parameters), reverse

    (value, derivative), (by_x, by_parameters) = all_of_it(x, parameters)
    assert np.isfinite(value).all() and np.isfinite(derivative).all()
    np.testing.assert_allclose(by_x, derivative, rtol=1e-12, atol=1e-15)
    assert all(np.isfinite(slope) for slope in by_parameters.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_elementwise_and_keeps_dtype(name: str, dtype: type):
    """Also compiled, with traced parameters, and where JAX is strict about promotion."""
    entry = CATALOGUE[name]
    x = jnp.linspace(-3, 3, 12, dtype=dtype)
    traced = {p.name: jnp.asarray(p.default, dtype) for p in entry.parameters}
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        flat = entry.function(x, **entry.complete({}))
        square = jax.jit(entry.function)(x.reshape(3, 4), **traced)
    assert flat.dtype == square.dtype == dtype
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(square, flat.reshape(3, 4), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [name for name in NAMES if CATALOGUE[name].parameters])
def test_derivative_in_the_parameters(name: str):
    """Against the formula's, at points away from all kinks."""
    entry = CATALOGUE[name]
    parameters = settings(entry)[-1]
    x = np.array([-2.27, -0.73, -0.011, 0.013, 0.37, 1.19, 2.83])
    for key, value in parameters.items():

        def by(t: Any, call: Callable[..., Any], at: Any, key: str = key) -> Any:
            return call(at, **{**parameters, key: t})

        exact = [
            float(mp.diff(lambda t, at=at: mp.mpf(by(t, FORMULAS[name], mp.mpf(at))), value))
            for at in x
        ]
        _, ours = slope(lambda t: by(t, entry.function, jnp.asarray(x)) + jnp.zeros(7), value, {})
        np.testing.assert_allclose(ours, exact, rtol=1e-13, atol=1e-14)


# -- against other libraries --

NOT_ELEMENTWISE_IN_JAX = {
    *("dot_product_attention", "get_scaled_dot_general_config", "glu", "initializers"),
    *("log_softmax", "logmeanexp", "logsumexp", "one_hot", "scaled_dot_general"),
    *("scaled_matmul", "softmax", "standardize"),
}
NOT_ACTIVATIONS_IN_JAX = {"log1mexp"}  # for positive arguments only
NOT_ELEMENTWISE_IN_TORCH = {"GLU", "MultiheadAttention", "Softmin", "Softmax", "Softmax2d"}
NOT_ELEMENTWISE_IN_TORCH |= {"LogSoftmax"}
MODERATE = np.concatenate([np.linspace(-8, 8, 65) + 0.01, GRID[:20]])


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in dir(jax.nn)
        if name[0] != "_" and name not in NOT_ELEMENTWISE_IN_JAX | NOT_ACTIVATIONS_IN_JAX
    ],
)
def test_agrees_with_jax(name: str):
    entry = lookup("gelu_tanh" if name == "gelu" else name)  # jax.nn.gelu approximates by default
    ours = entry.function(jnp.asarray(MODERATE), **entry.complete({}))
    np.testing.assert_allclose(ours, getattr(jax.nn, name)(MODERATE), rtol=1e-12, atol=1e-14)


def test_agrees_with_jax_on_the_exact_gelu():
    ours = lookup("gelu").function(jnp.asarray(MODERATE))
    np.testing.assert_allclose(ours, jax.nn.gelu(MODERATE, approximate=False), rtol=1e-13)


@pytest.mark.torch
def test_agrees_with_torch():
    """Every elementwise module of torch.nn, by the name of its class and with its defaults."""
    torch = pytest.importorskip("torch")
    required = {"Threshold": {"threshold": 0.5, "value": 0.0}, "Softplus": {"threshold": 1e3}}
    for name in set(torch.nn.modules.activation.__all__) - NOT_ELEMENTWISE_IN_TORCH:
        module = getattr(torch.nn, name)(**required.get(name, {})).double().eval()
        entry = lookup(name)
        ours = entry.function(jnp.asarray(MODERATE), **entry.complete({}))
        theirs = module(torch.asarray(MODERATE)).detach().numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13, err_msg=name)


# -- names and parameters --


def test_names_are_canonical_and_distinct():
    for name, entry in CATALOGUE.items():
        assert name == entry.name == name.lower() and name.isidentifier()
        for known_as in (name, *entry.aliases):
            assert lookup(known_as) is entry
    assert len({id(lookup(a)) for e in CATALOGUE.values() for a in (e.name, *e.aliases)}) == len(
        CATALOGUE
    )


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("Swish", "silu"), ("Hardtanh", "hard_tanh"), ("softsign", "soft_sign"), ("TANH", "tanh")]
    + [("LeakyReLU", "leaky_relu"), ("hard-swish", "hard_silu"), ("logistic", "sigmoid")],
)
def test_lookup_forgives_spelling(spelling: str, name: str):
    assert lookup(spelling) is CATALOGUE[name]


def test_lookup_names_the_nearest():
    with pytest.raises(ValueError, match=r"'rellu'.*relu.*meanfield activations"):
        lookup("rellu")
    with pytest.raises(ValueError, match=r"'qqqqqq'; `meanfield activations` lists all"):
        lookup("qqqqqq")
    with pytest.raises(TypeError, match="str"):
        lookup(jnp.tanh)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_declarations(name: str):
    """Defaults and usual ranges are allowed, and the function takes just the declared keywords."""
    entry = CATALOGUE[name]
    assert entry.formula
    for p in entry.parameters:
        for value in (p.default, *p.usual):
            p.check(name, value)
        assert p.name in entry.formula
    assert math.isfinite(float(entry.function(jnp.asarray(0.7), **entry.complete({}))))
    with pytest.raises(TypeError, match="no parameter 'unheard_of'"):
        entry.complete({"unheard_of": 1.0})


def test_check_says_what_is_allowed():
    m = Parameter("m", 1.0, (0.0, math.inf))
    tau = Parameter("tau", 0.5, (0.0, 1.0), closed=True)
    for value in (0.0, -1.0, math.inf, math.nan, np.float64(-2)):
        with pytest.raises(ValueError, match=r"cst: m must be a finite number and above 0, got"):
            m.check("cst", value)
    for value in ("1.0", None, [1.0], 1j):
        with pytest.raises(TypeError, match="cst: m must be"):
            m.check("cst", value)
    for value in (0, 1, np.float32(0.5), jnp.asarray(0.5)):
        tau.check("cst", value)
    with pytest.raises(ValueError, match="at least 0 and at most 1"):
        tau.check("cst", 1.5)


def test_check_leaves_tracers_alone():
    entry = CATALOGUE["crelu"]

    def value(m: Any) -> jax.Array:
        return entry.function(2.0, **entry.complete({"m": m, "tau": 0.5}))

    assert float(jax.grad(value)(-1.0)) == 1.0


# -- closed forms --


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms(name: str):
    """Against Gauss-Legendre quadrature of the formula, between kinks and in steps of about 1."""
    entry = CATALOGUE[name]
    nodes, weights = np.polynomial.legendre.leggauss(16)
    for q, parameters in zip((0.3, 2.0), (entry.complete({}), settings(entry)[-1]), strict=True):
        reach = 10 * math.sqrt(q) + 4 * q * (name == "exp")  # exp(4 x) moves the bulk by 4 q
        ends = np.linspace(-reach, reach, 2 * math.ceil(reach) + 1)
        ends = np.unique([*ends, *(k for k in kinks(name, parameters) if abs(k) < reach)])
        half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
        x = (middle + half * nodes).ravel()
        mass = (half * weights).ravel() * np.exp(-x * x / (2 * q)) / math.sqrt(2 * math.pi * q)
        with mp.workdps(20):
            exact = {key: mp.mpf(value) for key, value in parameters.items()}

            def formula(t: Any, exact: dict[str, Any] = exact) -> Any:
                return mp.mpf(FORMULAS[name](t, **exact))

            phi = np.array([float(formula(mp.mpf(t))) for t in x])
            dphi = np.array([float(mp.diff(formula, mp.mpf(t))) for t in x])
        integrands = {"phi": phi, "phi2": phi**2, "phi4": phi**4, "dphi2": dphi**2}
        integrands |= {"dphi4": dphi**4, "sparsity": phi == 0}
        for moment, closed_form in CLOSED_FORMS[name].items():
            measured = float(mass @ integrands[moment])
            scale = float(mass @ abs(integrands[moment]))
            exactly = float(closed_form(q, **parameters))
            assert measured == pytest.approx(exactly, rel=1e-12, abs=1e-12 * scale + 1e-15), moment
