"""`Activation`: what is refused and why, and what is accepted."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from jax import lax

import meanfield as mf

GENERATOR = np.random.default_rng(0)
DRAWS = "random|draws"
MIXES = "not elementwise"


@jax.custom_jvp
def pretends_to_be_linear(x):
    return jnp.tanh(x)


pretends_to_be_linear.defjvp(lambda primals, tangents: (jnp.tanh(primals[0]), tangents[0]))


# -- refused --

NO_ACTIVATIONS: dict[str, tuple[Callable, str]] = {
    "softmax": (jax.nn.softmax, MIXES),
    "log_softmax": (jax.nn.log_softmax, MIXES),
    "standardize": (jax.nn.standardize, MIXES),
    "by_norm": (lambda x: x / jnp.linalg.norm(x), MIXES),
    "by_largest": (lambda x: x / jnp.max(jnp.abs(x)), MIXES),
    "centred": (lambda x: x - jnp.mean(x), MIXES),
    "sorted": (jnp.sort, MIXES),
    "reversed": (lambda x: x[::-1], MIXES),
    "rolled": (lambda x: jnp.roll(x, 1), MIXES),
    "cumulative": (jnp.cumsum, MIXES),
    "winner_takes_all": (lambda x: jnp.where(x == jnp.max(x), x, 0.0), MIXES),
    "five_winners": (lambda x: jnp.where(x >= jnp.sort(x)[-5], x, 0.0), MIXES),
    "numpy_softmax": (lambda x: np.exp(np.asarray(x)) / np.exp(np.asarray(x)).sum(), MIXES),
    "numpy_sorted": (np.sort, MIXES),
    "numpy_winner": (lambda x: np.where(np.asarray(x) == np.max(x), np.asarray(x), 0.0), MIXES),
    "jax_key": (lambda x: x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), DRAWS),
    "jax_old_key": (lambda x: x + jax.random.normal(jax.random.PRNGKey(0), x.shape), DRAWS),
    "numpy_random_in_jax": (lambda x: x * GENERATOR.random(), DRAWS),
    "numpy_random": (lambda x: np.asarray(x) * GENERATOR.random(), DRAWS),
    "numpy_random_array": (
        lambda x: np.asarray(x) * GENERATOR.random(np.shape(x)), f"{DRAWS}|{MIXES}"
    ),
    "glu": (jax.nn.glu, r"shape \(1024,\).*\(512,\)"),
    "slice": (lambda x: x[:10], r"shape .*\(10,\)"),
    "sum": (jnp.sum, r"shape .*\(\)"),
    "outer": (lambda x: jnp.outer(x, x), r"shape .*\(1024, 1024\)"),
    "constant": (lambda x: 1.0, r"shape .*c \+ 0 \* x"),
    "nothing": (lambda x: None, "0 arrays"),
    "two": (lambda x: (x, x), "2 arrays"),
    "complex": (lambda x: jnp.exp(1j * x), "complex128.*real"),
    "numpy_complex": (lambda x: np.exp(1j * np.asarray(x)), "complex128.*real"),
    "integer": (lambda x: (x > 0).astype(int), r"int\d+.*astype\(x.dtype\)"),
    "boolean": (lambda x: x > 0, r"bool.*astype\(x.dtype\)"),
    "numpy_boolean": (lambda x: np.asarray(x) > 0, r"bool.*astype\(x.dtype\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_ACTIVATIONS)
def test_no_activation(name: str) -> None:
    phi, message = NO_ACTIVATIONS[name]
    with pytest.raises(mf.NotElementwiseError, match=message):
        mf.Activation(phi)  # at once, not when it is used


@pytest.mark.torch
@pytest.mark.parametrize(
    ("module", "message"),
    [("Softmax(dim=-1)", MIXES), ("Softmin(dim=-1)", MIXES), ("GLU()", "shape"),
     ("Dropout(0.5)", f"({DRAWS}).*evaluation mode"), ("RReLU()", f"({DRAWS}).*evaluation mode")],
)  # fmt: skip
def test_no_activation_of_torch(module: str, message: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(mf.NotElementwiseError, match=message):
        mf.Activation(eval(f"torch.nn.{module}", {"torch": torch}))


def test_a_class_is_made_an_instance_of() -> None:
    class Ramp:
        def __init__(self, slope=2.0):
            self.slope = slope

        def __call__(self, x):
            return self.slope * x

    for phi, weight_var in ((Ramp, 0.25), (Ramp(), 0.25), (mf.Activation(Ramp, slope=4.0), 0.0625)):
        assert mf.critical(phi).weight_var == pytest.approx(weight_var, rel=1e-12)


@pytest.mark.torch
def test_layer_norm_of_torch() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(mf.NotElementwiseError, match=MIXES):
        mf.Activation(lambda x: torch.nn.functional.layer_norm(x, x.shape))


@pytest.mark.torch
def test_evaluation_mode_of_torch() -> None:
    torch = pytest.importorskip("torch")
    assert mf.critical(torch.nn.Dropout(0.5).eval()).weight_var == pytest.approx(1, rel=1e-12)
    slope = (1 / 8 + 1 / 3) / 2
    point = mf.critical(torch.nn.RReLU().eval())
    assert point.weight_var == pytest.approx(2 / (1 + slope**2), rel=1e-12)


UNUSABLE: dict[str, tuple[Callable, str]] = {
    "log": (jnp.log, r"nan at x = -"),
    "sqrt": (jnp.sqrt, r"nan at x = -"),
    "numpy_sqrt": (np.sqrt, r"nan at x = -"),
    "nan_above_3": (lambda x: jnp.where(x > 3, jnp.nan, x), r"nan at x = 3\.0"),
    "nan_below_-1": (lambda x: jnp.where(x < -1, jnp.nan, x), r"nan at x = -1\.0"),
    "inf_above_2": (lambda x: jnp.where(x > 2, jnp.inf, x), r"inf at x = 2\.0"),
    "exp(x^2)": (lambda x: jnp.exp(x**2), "q = 1"),
    "exp(exp)": (lambda x: jnp.exp(jnp.exp(x**2)), "q = 1"),
    "numpy_exp(x^2)": (lambda x: np.exp(np.asarray(x) ** 2), "q = 1"),
    "1/x": (lambda x: 1 / x, r"\b0\b.*infinite"),
    "1/(x - 1)": (lambda x: 1 / (x - 1), r"\b1\b.*infinite"),
    "tan": (jnp.tan, r"towards b = .*infinite"),
    "many_jumps": (lambda x: jnp.floor(1000 * x) / 1000, "more than 4096 kinks"),
    "many_kinks": (lambda x: jnp.abs(1e5 * x - jnp.round(1e5 * x)), "more than 4096 kinks"),
    "fast": (lambda x: jnp.sin(1e6 * x), "rough|resolved"),
    "straight_through": (lambda x: x + lax.stop_gradient(jnp.round(x) - x), "derivative|jumps"),
    "smooth_straight_through": (lambda x: x + lax.stop_gradient(jnp.tanh(x) - x), "derivative"),
    "custom_jvp": (pretends_to_be_linear, r"derivative by jax.jvp is 1 .*custom derivative"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable(name: str) -> None:
    phi, message = UNUSABLE[name]
    with pytest.raises(mf.MeanFieldError, match=message):
        mf.critical(phi)


def test_what_nobody_asked_about_does_not_matter() -> None:
    here = mf.critical(lambda x: jnp.where(jnp.abs(x) > 60, jnp.nan, jnp.tanh(x)))
    assert here.weight_var == pytest.approx(mf.critical("tanh").weight_var, rel=1e-13)


def test_not_callable() -> None:
    with pytest.raises(TypeError, match="With JAX and NumPy and .*a Python float: "):
        mf.Activation(lambda: 1.0)
    with pytest.raises(TypeError, match="zz"):
        mf.Activation(jnp.tanh, zz=1.0)
    with pytest.raises(TypeError, match="is an Activation already"):
        mf.Activation(mf.Activation("tanh"))


# -- accepted, growth included: E[phi^2], E[phi'^2] at q in closed form --

GROWTH: dict[str, tuple[Callable, Callable]] = {
    "exp": (jnp.exp, lambda q: (mp.exp(2 * q), mp.exp(2 * q))),
    "cube": (lambda x: x**3, lambda q: (15 * q**3, 27 * q**2)),
    "twelfth": (lambda x: x**6, lambda q: (10395 * q**6, 36 * 945 * q**5)),
    "squared_relu": (lambda x: jax.nn.relu(x) ** 2, lambda q: (1.5 * q**2, 2 * q)),
    "numpy_cube": (lambda x: np.asarray(x) ** 3, lambda q: (15 * q**3, 27 * q**2)),
    # E[exp(2 c z^2)] = (1 - 4 c q)^-1/2
    "gaussian_growth": (
        lambda x: jnp.exp(x**2 / 40),
        lambda q: ((1 - q / 10) ** -0.5, q / 400 * (1 - q / 10) ** -1.5),
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", GROWTH)
@pytest.mark.parametrize("q", [0.25, 1.0, 4.0])
def test_growth_that_a_gaussian_survives(name: str, q: float) -> None:
    phi, closed = GROWTH[name]
    moments = mf.Activation(phi).moments(np.array([q]))
    for column, true in zip((1, 3), closed(mp.mpf(q)), strict=True):
        off = abs(moments.value[0, column] - true)
        assert off <= 1e-12 * true
        assert off <= moments.error[0, column]


# -- functions that compute in less than double precision --

EXACT = 2.1533026489027889, 0.1509646293785526  # tanh at q = 1

SINGLE: dict[str, Callable] = {
    "jax": lambda x: jnp.tanh(x.astype(jnp.float32)),
    "jax_back": lambda x: jnp.tanh(x.astype(jnp.float32)).astype(x.dtype),
    "numpy": lambda x: np.tanh(np.asarray(x).astype(np.float32)),
    "numpy_back": lambda x: np.tanh(np.asarray(x).astype(np.float32)).astype(np.float64),
}


def check_honest(point: mf.FixedPoint, useful: float) -> None:
    weight_var, bias_var = EXACT
    off = max(abs(point.weight_var / weight_var - 1), abs(point.bias_var - bias_var))
    assert off > 1e-10, "it computes in double precision: the test tests nothing"
    assert off <= point.error < useful
    assert abs(point.weight_var - weight_var) <= point.errors["weight_var"]
    assert abs(point.bias_var - bias_var) <= point.errors["bias_var"]


@pytest.mark.parametrize("name", SINGLE)
def test_single_precision_is_admitted(name: str, x64: bool) -> None:
    check_honest(mf.critical(SINGLE[name]), 1e-4)


@pytest.mark.torch
@pytest.mark.parametrize("back", [False, True])
def test_single_precision_of_torch_is_admitted(back: bool) -> None:
    torch = pytest.importorskip("torch")
    phi = (lambda x: torch.tanh(x.float()).double()) if back else lambda x: torch.tanh(x.float())
    check_honest(mf.critical(phi), 1e-4)


@pytest.mark.torch
def test_parameters_of_torch_are_single() -> None:
    torch = pytest.importorskip("torch")
    point = mf.critical(torch.nn.PReLU())  # slope 0.25
    true = 2 / (1 + 0.25**2)
    assert abs(point.weight_var - true) <= point.errors["weight_var"] < 1e-4 * true


def test_bfloat16_is_admitted(x64: bool) -> None:
    check_honest(mf.critical(lambda x: jnp.tanh(x.astype(jnp.bfloat16))), 0.1)


# -- ways to write a function --


def by_cases(x):
    if x > 0:
        return x
    return 0.5 * x


HALF_LEAKY: dict[str, Callable] = {
    "python": by_cases,
    "vectorised": np.vectorize(by_cases, otypes=[float]),
    "numpy": lambda x: np.where(np.asarray(x) > 0, np.asarray(x), 0.5 * np.asarray(x)),
    "cond": lambda x: lax.cond(x > 0, lambda v: v, lambda v: 0.5 * v, x),
    "switch": lambda x: lax.switch(
        (x > 0).astype(jnp.int32), [lambda v: 0.5 * v, lambda v: 1.0 * v], x
    ),
    "jit": jax.jit(lambda x: jnp.where(x > 0, x, 0.5 * x)),
    "jax_nn": lambda x: jax.nn.leaky_relu(x, 0.5),
    "partial": mf.Activation("leaky_relu", alpha=0.5),
}


@pytest.mark.parametrize("name", HALF_LEAKY)
def test_ways_to_write_a_function(name: str, x64: bool) -> None:
    activation = HALF_LEAKY[name]
    if not isinstance(activation, mf.Activation):
        activation = mf.Activation(activation)
    np.testing.assert_allclose(activation.kinks, [0.0], rtol=0, atol=1e-15)
    point = mf.critical(activation)
    off = abs(point.weight_var - 1.6)
    assert off <= 1e-12
    assert off <= point.errors["weight_var"]
    assert point.bias_var == 0.0


@pytest.mark.parametrize(
    "phi",
    [math.sin, np.sin, jnp.sin, lambda x: np.sin(x), lambda x: lax.map(jnp.sin, x)],
    ids=["math", "numpy", "jax", "lambda", "map"],
)
def test_sine_by_anybody(phi: Callable) -> None:
    point = mf.critical(phi)
    for value, true, name in (
        (point.weight_var, 1 + math.tanh(1), "weight_var"),
        (point.bias_var, 1 - math.tanh(1), "bias_var"),
    ):
        assert abs(value - true) <= min(1e-12, point.errors[name])


@pytest.mark.torch
def test_sine_by_torch() -> None:
    torch = pytest.importorskip("torch")
    assert mf.critical(torch.sin).weight_var == pytest.approx(1 + math.tanh(1), rel=1e-12)


# -- names, parameters, kinks, immutability --


def test_parameters_are_passed_on() -> None:
    def ramp(x, *, at, slope):
        return slope * jnp.maximum(x - at, 0.0)

    activation = mf.Activation(ramp, at=0.25, slope=3.0)
    assert activation.name == "ramp(at=0.25, slope=3)"
    np.testing.assert_array_equal(activation.kinks, [0.25])
    assert float(activation(jnp.float32(1.25))) == 3.0
    with pytest.raises(ValueError, match="m must be .*above 0.*-1"):
        mf.Activation("crelu", m=-1.0)
    with pytest.raises(TypeError, match="no parameter 'tua'.*tau, m"):
        mf.Activation("crelu", tua=1.0)


def test_names() -> None:
    assert mf.Activation(jnp.tanh).name == "tanh"
    assert mf.Activation(jnp.tanh, name="mine").name == "mine"
    assert repr(mf.Activation("crelu", tau=1.0, m=1.5)) == (
        "Activation('crelu(tau=1, m=1.5)', kinks=[1, 2.5])"
    )
    assert mf.critical("swish").weight_var == mf.critical("silu").weight_var
    assert mf.Activation("swish").name == "silu"


def test_kinks_of_the_caller_are_believed() -> None:
    def phi(x):
        return np.maximum(np.asarray(x) - 0.25, 0.0)

    found = mf.Activation(phi)
    np.testing.assert_allclose(found.kinks, [0.25], rtol=1e-14)
    given = mf.Activation(phi, kinks=[1.0, 0.25])
    np.testing.assert_array_equal(given.kinks, [0.25, 1.0])
    assert given.jumps.shape == (0,)
    expected = mf.critical(mf.Activation("shifted_relu", tau=0.25), q=0.7)
    for activation in (found, given):
        point = mf.critical(activation, q=0.7)
        assert point.weight_var == pytest.approx(expected.weight_var, rel=1e-12)


def test_a_kink_given_for_what_is_too_narrow_to_be_seen() -> None:
    at, width = 0.7, 1e-4

    def spike(x):
        x = np.asarray(x)
        return x + np.maximum(width - np.abs(x - at), 0.0)

    # E[phi'^2] - 1 = integral of (1 + s)^2 - 1 over the spike: slopes 2 and 0, so (3 - 1) n w
    point = mf.critical(mf.Activation(spike, kinks=[at - width, at, at + width]))
    density = math.exp(-(at**2) / 2) / math.sqrt(2 * math.pi)
    assert 1 / point.weight_var - 1 == pytest.approx(2 * width * density, rel=1e-3)


@pytest.mark.parametrize("bad", [[math.nan], [0.0, math.inf]])
def test_bad_kinks(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="kinks: "):
        mf.Activation(jnp.tanh, kinks=bad)


def test_kinks_of_a_wrong_type() -> None:
    with pytest.raises(TypeError, match="kinks: .*'zero'"):
        mf.Activation(jnp.tanh, kinks="zero")  # pyright: ignore[reportArgumentType]


def test_an_activation_is_immutable() -> None:
    activation = mf.Activation("crelu", tau=1.0, m=1.5)
    before = mf.critical(activation).weight_var
    for name in ("name", "function", "kinks", "new"):
        with pytest.raises(AttributeError):
            setattr(activation, name, 1)
    activation.kinks[:] = 0.0  # a copy
    activation.jumps[:0] = 1.0
    mf.critical(activation, q=1e4)  # samples farther out
    assert mf.critical(activation).weight_var == before


def test_an_answer_does_not_depend_on_what_was_asked_before() -> None:
    fresh, used = (mf.Activation(lambda x: jnp.clip(x - 0.2, 0.0, 1.3) + 0.1 * x) for _ in "12")
    mf.critical(used, q=[1e-3, 1e3])
    one, other = mf.critical(fresh), mf.critical(used)
    assert one.weight_var == pytest.approx(other.weight_var, rel=one.error)
    assert one.bias_var == pytest.approx(other.bias_var, rel=0, abs=one.error)
