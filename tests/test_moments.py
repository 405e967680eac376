"""Gaussian moments at every variance from 1e-8 to 1e6, against closed forms and quadrature."""

# pyright: reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportReturnType=false, reportAttributeAccessIssue=false

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import meanfield as mf
from closed_forms import CLOSED_FORMS, ONE, ZERO, _cosine, _join, _piecewise, _power, _sine
from meanfield.catalogue import CATALOGUE
from meanfield.gaussian import MOMENTS
from references import load_reference

RELATIVE = 1e-12
USEFUL = 1e-6  # the error is a bound, and may be far too large, but not as large as this
UNDERFLOW = mp.mpf("1e-300")  # weights below 2e-308 are lost
SMALLEST, LARGEST = mp.mpf("1e-290"), mp.mpf("1e300")
VARIANCES = np.geomspace(1e-8, 1e6, 29)
# A truncated mean of size 1e-d is a difference of numbers of size 1: it takes d digits more.
DIGITS, MORE_DIGITS = 60, 400


@pytest.fixture(autouse=True)
def digits() -> Iterator[None]:
    with mp.workdps(DIGITS):
        yield


def exact(form: Callable[..., Any], q: float, parameters: dict[str, float]) -> Any:
    """A closed form in numbers with enough digits; 0 below what a float64 can hold."""
    for digits in (DIGITS, MORE_DIGITS):
        with mp.workdps(digits):
            value = form(mp.mpf(q), **parameters)
            if abs(value) > mp.mpf(10) ** (30 - digits):
                return value
    return mp.mpf(0)


def table(forms: Any, variances: Any, parameters: dict[str, float]) -> dict[str, list[Any]]:
    return {name: [exact(form, q, parameters) for q in variances] for name, form in forms.items()}


def check(
    activation: mf.Activation,
    variances: Any,
    true: dict[str, list[Any]],
    last: float = np.inf,
    wobble: float = 0.0,
) -> None:
    """Every moment is as close as asked for and never farther off than its error says.

    `E[phi]` is judged beside the root of `E[phi^2]`. What no normal float64 holds may be 0, inf,
    a number with an honest error, or nan with the error inf; the last also at variances above
    `last`, where the whole of a mean comes from where `phi` overflows. `wobble` is what rounding
    makes of `phi'` in the best of cases.
    """
    m = activation.moments(np.array(variances, np.float64))
    complaints = []
    for name, values in true.items():
        column = MOMENTS.index(name)
        for i, (q, value) in enumerate(zip(variances, values, strict=True)):
            got, error = float(m.value[i, column]), float(m.error[i, column])
            where = f"{activation.name} {name} at q = {q:.3g}: {got!r} +- {error:.2g}"
            if name.startswith("dphi") and len(activation.jumps):
                value = mp.inf
            if value == mp.inf:
                if got != np.inf:
                    complaints.append(f"{where}, should be inf")
                continue
            if np.isnan(got) and error == np.inf and (abs(value) > LARGEST or q > last):
                continue
            scale = mp.sqrt(abs(true["phi2"][i])) if name == "phi" else abs(value)
            off = abs(mp.mpf(got) - value)
            # an error d of phi' makes 2 d rms(phi') of E[phi'^2], 4 d rms(phi'^3) of E[phi'^4]
            steep = mp.sqrt(true["dphi2"][i]) if wobble else 1
            of_slopes = {"dphi2": 2 * wobble / steep, "dphi4": 4 * wobble / steep}
            if SMALLEST < scale < LARGEST or scale == 0:
                if not off <= (RELATIVE + of_slopes.get(name, 0)) * scale:
                    complaints.append(f"{where}, off by {float(off / (scale or 1)):.2g} of it")
                if not off <= error:
                    complaints.append(f"{where}, off by {float(off):.2g}")
                if not error <= (USEFUL + 1e3 * of_slopes.get(name, 0)) * scale:
                    complaints.append(f"{where}: of no use")
            elif not (
                off <= max(error, UNDERFLOW)
                or (got == np.inf and value > LARGEST)
                or got == error == 0
            ):
                complaints.append(f"{where}, should be {mp.nstr(value, 6)}")
    assert not complaints, "\n".join(complaints)


def usual(name: str, seed: int) -> dict[str, float]:
    """Parameters drawn from their usual ranges."""
    entry = CATALOGUE[name]
    random = np.random.default_rng([seed, *name.encode()])
    return entry.complete({p.name: float(random.uniform(*p.usual)) for p in entry.parameters})


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form(name: str) -> None:
    parameters = CATALOGUE[name].complete({})
    true = table(CLOSED_FORMS[name], VARIANCES, parameters)
    # E[exp(z)^2] = exp(2 q) is the first to exceed float64
    check(mf.Activation(name), VARIANCES, true, last=350.0 if name == "exp" else np.inf)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", [name for name in CLOSED_FORMS if CATALOGUE[name].parameters])
def test_closed_form_at_other_parameters(name: str, seed: int) -> None:
    parameters = usual(name, seed)
    activation = mf.Activation(name, **parameters)
    variances = np.array(VARIANCES)
    if name == "snake" and parameters["alpha"] > 2.6:  # 27,000 waves: more panels than there may be
        with pytest.raises(mf.UnresolvedError, match="ask for a smaller variance"):
            activation.moments(np.array([1e6]))
        variances = variances[variances < 3e5]
    check(activation, variances, table(CLOSED_FORMS[name], variances, parameters))


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_derivatives_in_q(name: str) -> None:
    """First and second derivatives are as good: beside their size, and that of `E[f] / q^n`."""
    parameters = CATALOGUE[name].complete({})
    variances = [0.02, 1.0, 30.0] + [1e4] * (name != "exp")
    activation = mf.Activation(name)
    m = activation.moments(np.array(variances), derivatives=True)
    assert m.first is not None and m.second is not None
    for moment, form in CLOSED_FORMS[name].items():
        column = MOMENTS.index(moment)
        for order, (got, error) in enumerate(
            [(m.first, m.first_error), (m.second, m.second_error)], start=1
        ):
            for i, q in enumerate(variances):
                where = f"{moment}, derivative {order} at q = {q:.3g}"
                if moment.startswith("dphi") and len(activation.jumps):
                    assert np.isnan(got[i, column]), where
                    continue
                with mp.workdps(150 if q < 1 else DIGITS):
                    true = mp.diff(partial(form, **parameters), mp.mpf(q), order)
                    size = form(mp.mpf(q), **parameters)
                    if moment == "phi":
                        size = mp.sqrt(CLOSED_FORMS[name]["phi2"](mp.mpf(q), **parameters))
                if abs(size) < SMALLEST:
                    continue
                off = abs(mp.mpf(float(got[i, column])) - true)
                assert off <= error[i, column], f"{where}: off by {float(off):.2g}"
                assert off <= RELATIVE * (abs(true) + abs(size) / mp.mpf(q) ** order), where


# -- no closed form: quadrature in mpmath, made by reference/make_moments.py --


@cache
def tabulated(name: str) -> tuple[np.ndarray, dict[str, list[Any]]]:
    rows = [r for r in load_reference("moments")["records"] if r["activation"] == name]
    names = [key for key in rows[0] if key in MOMENTS]
    values = {key: [mp.mpf(row[key]) for row in rows] for key in names}
    return np.array([float(row["q"]) for row in rows]), values


TABULATED = list(dict.fromkeys(r["activation"] for r in load_reference("moments")["records"]))


def test_every_entry_is_tested() -> None:
    assert set(TABULATED) | set(CLOSED_FORMS) == set(CATALOGUE)
    for name in CATALOGUE:
        known = set(CLOSED_FORMS.get(name, {}))
        known |= set(tabulated(name)[1]) if name in TABULATED else set()
        assert known >= {"phi", "phi2", "phi4", "dphi2", "dphi4"}, name


@pytest.mark.parametrize("name", TABULATED)
def test_quadrature(name: str) -> None:
    variances, true = tabulated(name)
    closed = CLOSED_FORMS.get(name, {})
    check(mf.Activation(name), variances, {**table(closed, variances, {}), **true})


# -- tails --


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("shifted_relu", {"tau": 6.0}),
        ("shifted_relu", {"tau": 20.0}),
        ("crelu", {"tau": 8.0, "m": 0.25}),
        ("crelu", {"tau": 5.0, "m": 1e-3}),
        ("cst", {"tau": 7.0, "m": 2.0}),
        ("soft_threshold", {"tau": 3.7}),
        ("hard_shrink", {"tau": 9.0}),
        ("threshold", {"tau": 10.0, "value": 0.0}),
    ],
    ids=str,
)
def test_tiny_tails(name: str, parameters: dict[str, float]) -> None:
    """`E[relu(x - 6)^2]` at q = 0.03 is 1e-267: the whole of it within 0.01 of the kink."""
    variances = [0.03, 0.1, 1.0, 3.0, 17.0]
    true = table(CLOSED_FORMS[name], variances, parameters)
    assert min(true["phi2"]) < 1e-100
    check(mf.Activation(name, **parameters), variances, true)


@pytest.mark.parametrize("tau", [6.0, 20.0])
def test_a_step_far_out(tau: float) -> None:
    forms = _piecewise(lambda: _join([tau], ZERO, ONE))
    variances = [0.5, 1.0, 4.0]
    phi = mf.Activation(lambda x: jnp.where(x > tau, 1.0, 0.0))
    check(phi, variances, table(forms, variances, {}))


# -- growth --


def test_exponential_growth() -> None:
    """`E[exp(z)^2] = exp(2q)` comes from around `x = 2q`: 24 standard deviations at q = 150."""
    variances = [1e-3, 1.0, 10.0, 31.6, 50.0, 86.0, 110.0, 150.0]
    check(mf.Activation("exp"), variances, table(CLOSED_FORMS["exp"], variances, {}))


def test_exponential_growth_is_the_same_from_wider_samples() -> None:
    activation = mf.Activation("exp")
    activation.moments(np.array([1e5]))
    variances = [1.0, 31.6, 86.0, 150.0]
    check(activation, variances, table(CLOSED_FORMS["exp"], variances, {}))


def test_what_overflows_is_infinite() -> None:
    q = np.array([400.0, 1e4, 1e6])
    m = mf.Activation("exp").moments(q)
    assert not np.isfinite(m.value[:, 1:5]).any()
    assert np.all((m.value[:, 1:5] == np.inf) | (m.error[:, 1:5] == np.inf))


@pytest.mark.parametrize("power", [1, 2, 3])
def test_powers_of_relu(power: int) -> None:
    forms = _piecewise(lambda: _join([0], ZERO, _power(1, power)))
    phi = mf.Activation(lambda x: jax.nn.relu(x) ** power)
    check(phi, VARIANCES, table(forms, VARIANCES, {}))


# -- narrow and fast --

B = 0.05
# the function, its moments, and the length over which it changes by its own size
NARROW: dict[str, tuple[Callable[[Any, Any], Any], Any, float]] = {
    "sin(30x)": (
        lambda xp, x: xp.sin(30.0 * x),
        _piecewise(lambda: _join([], _sine(mp.mpf(30)))),
        1 / 30,
    ),
    "exp(-x^2/2b^2)": (
        lambda xp, x: xp.exp(-0.5 * (x / B) ** 2),
        _piecewise(lambda: _join([], _power(1, k=1 / (2 * mp.mpf(B) ** 2)))),
        B,
    ),
    "cos(x)exp(-x^2)": (lambda xp, x: xp.cos(x) * xp.exp(-x * x), CLOSED_FORMS["wavelet"], 1.0),
    "cos(40x)exp(-9x^2)": (
        lambda xp, x: xp.cos(40.0 * x) * xp.exp(-9.0 * x * x),
        _piecewise(lambda: _join([], _cosine(mp.mpf(1), mp.mpf(40), k=mp.mpf(9)))),
        1 / 40,
    ),
}
FAST = {name: np.geomspace(1e-8, 1e3 if name == "sin(30x)" else 1e6, 15) for name in NARROW}


@pytest.mark.parametrize("name", NARROW)
def test_narrow_and_fast(name: str) -> None:
    function, forms, _ = NARROW[name]
    check(mf.Activation(partial(function, jnp)), FAST[name], table(forms, FAST[name], {}))


@pytest.mark.parametrize("name", NARROW)
def test_narrow_and_fast_in_numpy(name: str) -> None:
    """The same from values alone, whose rounding over the length of a feature is that of `phi'`.

    Honesty of the error is what is tested strictly here: differentiation from values is allowed
    1e-12 of the function's size over its length.
    """
    function, forms, length = NARROW[name]
    true = table(forms, FAST[name], {})
    check(mf.Activation(partial(function, np)), FAST[name], true, wobble=1e-12 / length)


@pytest.mark.parametrize("xp", [jnp, np], ids=["jax", "numpy"])
def test_steep_tanh(xp: Any) -> None:
    """`tanh(100 x)` at q is `tanh` at `1e4 q`."""
    variances, true = tabulated("tanh")
    factor = {"phi": 1, "phi2": 1, "phi4": 1, "dphi2": 10**4, "dphi4": 10**8}
    scaled = {name: [factor[name] * v for v in values[1:]] for name, values in true.items()}
    wobble = 100 * 2.0**-53 * 100 if xp is np else 0.0
    check(mf.Activation(lambda x: xp.tanh(100.0 * x)), variances[1:] / 1e4, scaled, wobble=wobble)


def test_what_is_too_fast_is_refused() -> None:
    with pytest.raises(mf.MeanFieldError, match="not resolved"):
        mf.Activation(lambda x: jnp.sin(3e4 * x)).moments(np.array([1e6]))


# -- rounding of the callable itself --


def test_cancellation_is_in_the_error() -> None:
    """`exp(x) - 1` near zero has an absolute error of one rounding, whatever its size."""
    forms = _piecewise(lambda: _join([], {**_power(1, a=mp.mpf(1)), **_power(-1)}))
    phi = mf.Activation(lambda x: jnp.exp(x) - 1.0)
    q = np.geomspace(1e-8, 1.0, 9)
    m, column = phi.moments(q), MOMENTS.index("phi2")
    for i, true in enumerate(table({"phi2": forms["phi2"]}, q, {})["phi2"]):
        off, rounding = abs(m.value[i, column] - true), np.sqrt(2 * float(true)) * 2.0**-53
        assert off <= m.error[i, column]
        assert m.error[i, column] <= 100 * rounding + RELATIVE * true


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "hard_tanh"])
def test_single_precision_has_an_error_of_that_size(name: str) -> None:
    function = CATALOGUE[name].function
    phi = mf.Activation(lambda x: function(x.astype(jnp.float32)).astype(jnp.float64))
    q = np.geomspace(1e-4, 1e3, 8)
    single, double = phi.moments(q), mf.Activation(name).moments(q)
    off = np.abs(single.value - double.value)
    assert np.all(off <= single.error + double.error)
    # beside E[phi], its scale
    scale = np.column_stack([np.sqrt(double.value[:, 1]), double.value[:, 1:]])
    assert np.all(single.error <= 100 * 2.0**-23 * scale)
    assert np.all(single.error[:, 1] >= 2.0**-26 * scale[:, 1])


# -- what it should not depend on --


@pytest.mark.parametrize("name", ["crelu", "gelu", "square", "sin"])
def test_one_by_one_or_many_at_once(name: str) -> None:
    """A variance has the same moments alone, among others and among thousands."""
    some = np.geomspace(1e-6, 1e3, 10)
    many = np.sort(np.concatenate([np.geomspace(1e-7, 1e4, 3000), some]))
    at = np.searchsorted(many, some)
    together = mf.Activation(name).moments(some)
    crowd = mf.Activation(name).moments(many)
    for i, q in enumerate(some):
        alone = mf.Activation(name).moments(np.array([q]))
        for value, error in (
            (together.value[i], together.error[i]),
            (crowd.value[at[i]], crowd.error[at[i]]),
        ):
            assert np.all(np.abs(value - alone.value[0]) <= error + alone.error[0])


@pytest.mark.parametrize("name", ["tanh", "cst", "elu", "sin", "cube"])
def test_either_setting_of_x64(name: str) -> None:
    results = []
    for setting in (False, True):
        with jax.enable_x64(setting):
            results.append(mf.Activation(name).moments(VARIANCES, derivatives=True))
    np.testing.assert_array_equal(results[0].value, results[1].value)
    np.testing.assert_array_equal(results[0].second, results[1].second)
