"""Kinks and jumps: read off the jaxpr, and found in the values alone."""

# pyright: reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportReturnType=false, reportAttributeAccessIssue=false

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import meanfield as mf
from meanfield.catalogue import CATALOGUE
from test_catalogue import kinks

# A jump or a kink in the slope shows in the values at the last digit: the pieces cross. Where the
# second derivative jumps by c, values tell |x - b| down to sqrt(EPS / c).
SHARP, BLUNT = 1e-12, 1e-6
REACH = 128.0  # looked for within
HIGHER_ORDER = {"squared_relu", "star_relu", "smelu", "hard_mish", "elu", "celu"}
SOFT = {"soft_sign": [0.0], "symlog": [0.0]}  # |x| inside: only the second derivative jumps


def expected(name: str) -> list[float]:
    return SOFT.get(name) or kinks(name, CATALOGUE[name].complete({}))


def tolerance(name: str) -> float:
    return BLUNT if name in HIGHER_ORDER or name in SOFT else SHARP


def as_numpy(function: Callable[..., Any]) -> Callable[[np.ndarray], np.ndarray]:
    """The same function, without its jaxpr."""

    def call(x: np.ndarray) -> np.ndarray:
        if isinstance(x, jax.core.Tracer):
            raise TypeError("a black box")
        with jax.enable_x64(True):
            return np.asarray(function(jnp.asarray(x)))

    return call


def check_kinks(activation: mf.Activation, true: Any, tolerance: float, jumps: Any = ()) -> None:
    samples = activation.columns(REACH).samples
    assert len(samples.kinks) == len(true), f"{samples.kinks} should be {true}"
    np.testing.assert_allclose(samples.kinks, true, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(samples.jumps, jumps, rtol=tolerance, atol=tolerance)


# -- the catalogue --

JUMPS = {"step": [0.0], "sign": [0.0], "hard_shrink": [-0.5, 0.5], "threshold": [0.5]}


@pytest.mark.parametrize("name", CATALOGUE)
def test_of_the_catalogue_by_the_jaxpr(name: str) -> None:
    check_kinks(mf.Activation(name), expected(name), 4e-16, JUMPS.get(name, ()))


@pytest.mark.parametrize("name", CATALOGUE)
def test_of_the_catalogue_by_values(name: str) -> None:
    entry = CATALOGUE[name]
    parameters = entry.complete({})
    black_box = mf.Activation(as_numpy(lambda x: entry.function(x, **parameters)))
    check_kinks(black_box, expected(name), tolerance(name), JUMPS.get(name, ()))


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_is_shown(name: str) -> None:
    activation = mf.Activation(name)
    np.testing.assert_allclose(activation.kinks, expected(name), rtol=4e-16, atol=0)
    np.testing.assert_allclose(activation.jumps, JUMPS.get(name, []), rtol=4e-16, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", [n for n in CATALOGUE if CATALOGUE[n].parameters])
def test_both_ways_agree_at_other_parameters(name: str, seed: int) -> None:
    entry = CATALOGUE[name]
    random = np.random.default_rng([seed, *name.encode()])
    parameters = {p.name: float(random.uniform(*p.usual)) for p in entry.parameters}
    by_jaxpr = mf.Activation(name, **parameters)
    by_values = mf.Activation(as_numpy(lambda x: entry.function(x, **parameters)))
    check_kinks(by_values, by_jaxpr.kinks, BLUNT, by_jaxpr.jumps)


# -- many places --


@pytest.mark.parametrize("xp", [jnp, np], ids=["jax", "numpy"])
@pytest.mark.parametrize(
    "b", [0.0, 1e-3, 0.1, 1 / 3, 0.75, 1.25, 3.0, 3.25, 4.5, 17.0, 90.0, 100.3]
)
def test_a_kink_anywhere(b: float, xp: Any) -> None:
    check_kinks(mf.Activation(lambda x: xp.maximum(x - b, 0.0)), [b], 4e-16 if xp is jnp else SHARP)
    ends = [-b, b] if b else [0.0]
    phi = mf.Activation(lambda x: xp.clip(x, -b, b) if b else xp.abs(x))
    check_kinks(phi, ends, 4e-16 if xp is jnp else SHARP)


@pytest.mark.parametrize("xp", [jnp, np], ids=["jax", "numpy"])
@pytest.mark.parametrize("b", [-20.0, -0.3, 0.0, 0.01, 3.0, 64.0])
def test_a_jump_anywhere(b: float, xp: Any) -> None:
    check_kinks(mf.Activation(lambda x: xp.where(x > b, 1.0, 0.25) + 0.0 * x), [b], SHARP, [b])
    check_kinks(mf.Activation(lambda x: xp.tanh(x) + 0.01 * xp.sign(x - b)), [b], SHARP, [b])


@pytest.mark.parametrize("xp", [jnp, np], ids=["jax", "numpy"])
def test_a_kink_of_rounded_arguments(xp: Any) -> None:
    """`x + 2` is 2 for every `|x| < 2^-52`: the branch changes on both sides of the kink at 0."""
    for c in (0.5, 2.0, 100.0):
        check_kinks(mf.Activation(lambda x, c=c: xp.clip(x + c, 0.0, c)), [-c, 0.0], SHARP)


TABLE = np.array([-2.0, -1.2, -0.5, 0.3, 0.4, 1.7, 4.0])
HEIGHTS = np.array([0.0, 1.0, -0.5, 0.25, 2.0, 1.0, 0.5])


@pytest.mark.parametrize("xp", [jnp, np], ids=["jax", "numpy"])
def test_of_a_table(xp: Any) -> None:
    check_kinks(mf.Activation(lambda x: xp.interp(x, TABLE, HEIGHTS)), TABLE, SHARP)


# -- ways of writing them --

WAYS: dict[str, tuple[Callable[[Any], Any], list[float], list[float]]] = {
    "jit": (lambda x: jax.jit(jax.jit(jax.nn.relu))(x - 1.0), [1.0], []),
    "custom_jvp": (lambda x: jax.nn.relu6(x + 1.0), [-1.0, 5.0], []),
    "remat": (jax.checkpoint(lambda x: jnp.minimum(x, 0.5)), [0.5], []),
    "scalar cond": (
        lambda x: lax.cond(x > 0.25, lambda t: t - 0.25, lambda t: 0.0 * t, x),
        [0.25],
        [],
    ),
    "scalar switch": (
        lambda x: lax.switch(
            (x > 0.0).astype(int) + (x > 1.0), [lambda t: 0.0 * t, jnp.sin, jnp.cos], x
        ),
        [0.0, 1.0],
        [1.0],
    ),
    "vmap": (jax.vmap(lambda x: jnp.abs(x - 0.5)), [0.5], []),
    "select": (
        lambda x: jnp.select([x < -1.0, x < 1.0], [-1.0 + 0.0 * x, x], 1.0 + 0.0 * x),
        [-1.0, 1.0],
        [],
    ),
    "piecewise": (
        lambda x: jnp.piecewise(
            x, [x < -1.0, x >= 2.0], [lambda t: 0.0 * t - 1.0, lambda t: t * t, jnp.tanh]
        ),
        [-1.0, 2.0],
        [-1.0, 2.0],
    ),
    "lookup": (
        lambda x: jnp.array([0.0, 1.0, 0.5])[jnp.searchsorted(jnp.array([-0.5, 1.5]), x)] + 0.0 * x,
        [-0.5, 1.5],
        [-0.5, 1.5],
    ),
    "sign": (lambda x: jnp.sign(x - 0.5) * x, [0.5], [0.5]),
    "power": (lambda x: jnp.where(x > 0.0, x, 0.0) ** 1.5, [0.0], []),
    "relu of tanh": (lambda x: jax.nn.relu(jnp.tanh(x) - 0.5), [float(np.arctanh(0.5))], []),
    "relu of square": (lambda x: jax.nn.relu(x * x - 2.0), [-(2**0.5), 2**0.5], []),
    "abs of sin": (
        lambda x: jnp.abs(jnp.sin(x)) * jnp.exp(-x * x / 8.0) * (jnp.abs(x) < 4.0),
        [-4.0, -np.pi, 0.0, np.pi, 4.0],
        [-4.0, 4.0],
    ),
    "float32": (
        lambda x: jnp.clip(x.astype(jnp.float32), -0.5, 1.0).astype(x.dtype),
        [-0.5, 1.0],
        [],
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_of_writing(way: str) -> None:
    function, true, jumps = WAYS[way]
    tolerance = 2e-7 if way == "float32" else SHARP
    check_kinks(mf.Activation(function), true, tolerance, jumps)


PERIODIC: dict[str, tuple[Callable[[Any, Any], Any], float, bool]] = {
    "floor": (lambda xp, x: xp.floor(x), 0.0, True),
    "ceil": (lambda xp, x: xp.ceil(x) - x, 0.0, True),
    "round": (lambda xp, x: xp.round(x), 0.5, True),
    "mod": (lambda xp, x: xp.mod(x, 1.0), 0.0, True),
    "triangle": (lambda xp, x: xp.abs(xp.mod(x, 2.0) - 1.0), 0.0, False),
}


@pytest.mark.parametrize("way", ["jax", "numpy"])
@pytest.mark.parametrize("name", PERIODIC)
def test_infinitely_many(name: str, way: str) -> None:
    """Those in range are all found. From values alone only where they are 1/100 of `x` apart."""
    function, offset, jump = PERIODIC[name]
    period, xp = (1.0, jnp) if way == "jax" else (2.0, np)
    activation = mf.Activation(lambda x: function(xp, x / period))
    every = (np.arange(-127, 128) + offset) * period
    samples = activation.columns(REACH).samples
    inside, every = (k[np.abs(k) < 126.75] for k in (samples.kinks, every))
    assert len(inside) == len(every)
    np.testing.assert_allclose(inside, every, rtol=SHARP, atol=SHARP)
    assert len(samples.jumps) == (len(samples.kinks) if jump else 0)


def test_too_many_are_refused() -> None:
    with pytest.raises(mf.UnresolvedError, match=r"kinks|not resolved"):
        _ = mf.Activation(lambda x: jnp.floor(1000.0 * x)).kinks


# -- none --

SMOOTH: dict[str, Callable[[Any, Any], Any]] = {
    "sin(30x)": lambda xp, x: xp.sin(30.0 * x),
    "narrow": lambda xp, x: xp.exp(-0.5 * (x / 0.05) ** 2),
    "steep": lambda xp, x: xp.tanh(100.0 * x),
    "far": lambda xp, x: xp.tanh(3.0 * (x - 9.0)) + 0.1 * x,
    "polynomial": lambda xp, x: 0.1 * x**5 - x**2 + 3.0,
    "root": lambda xp, x: xp.sqrt(1.0 + x * x),
    "wavelet": lambda xp, x: xp.cos(5.0 * x) * xp.exp(-x * x),
    "noisy": lambda xp, x: xp.log(1.0 + xp.exp(x)),
}


@pytest.mark.parametrize("xp", [jnp, np], ids=["jax", "numpy"])
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_none(name: str, xp: Any) -> None:
    activation = mf.Activation(lambda x: SMOOTH[name](xp, x))
    check_kinks(activation, [], SHARP)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.abs(x) ** 2,
        lambda x: jnp.where(x > 1.0, x**3, x**3),
        lambda x: jnp.maximum(x, 0.0) - jnp.maximum(-x, 0.0),
        lambda x: jnp.cosh(jnp.abs(0.5 * x)),
        lambda x: jnp.where(jnp.abs(x) < 1e-3, x - x**3 / 6 + x**5 / 120, jnp.sin(x)),
        lambda x: jnp.logaddexp(x, 0.0),
        lambda x: jnp.sign(x) * jnp.sinh(jnp.abs(x) / 8.0),
    ],
    ids=["square", "where", "relus", "cosh", "series", "logaddexp", "sinh"],
)
def test_spurious_candidates_are_dropped(function: Any) -> None:
    """The jaxpr switches, the function is smooth."""
    check_kinks(mf.Activation(function), [], SHARP)


# -- given --


@pytest.mark.parametrize("xp", [jnp, np], ids=["jax", "numpy"])
def test_given_kinks_overrule(xp: Any) -> None:
    def narrow(x: Any) -> Any:  # a tent too narrow to be seen
        return xp.maximum(1.0 - xp.abs(x - 40.0) / 1e-4, 0.0)

    places = [40.0 - 1e-4, 40.0, 40.0 + 1e-4]
    activation = mf.Activation(narrow, kinks=places)
    np.testing.assert_array_equal(activation.columns(REACH).samples.kinks, places)
    mean = activation.moments(np.array([400.0])).value[0, 0]
    density = np.exp(-0.5 * 40.0**2 / 400.0) / np.sqrt(2 * np.pi * 400.0)
    # the tent has area 1e-4; its edges and the density over it are rounded at 40 EPS / 1e-4
    assert mean == pytest.approx(1e-4 * density, rel=1e-9)


def test_given_kinks_need_no_order_and_may_be_too_many() -> None:
    activation = mf.Activation(lambda x: np.maximum(x - 0.5, 0.0), kinks=[2.0, 0.5, 0.5])
    np.testing.assert_array_equal(activation.kinks, [0.5, 2.0])
    plain = mf.Activation("shifted_relu", tau=0.5).moments(np.array([1.0]))
    m = activation.moments(np.array([1.0]))
    assert np.all(np.abs(m.value - plain.value) <= m.error + plain.error)


def test_given_kinks_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="kinks"):
        mf.Activation("relu", kinks=[0.0, np.nan])


@pytest.mark.parametrize("name", ["relu", "step", "cst"])
def test_either_setting_of_x64(name: str, x64: bool) -> None:
    function = CATALOGUE[name].function
    parameters = CATALOGUE[name].complete({})
    activation = mf.Activation(lambda x: function(x, **parameters))
    check_kinks(activation, expected(name), 4e-16, JUMPS.get(name, ()))
