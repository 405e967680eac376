"""The edge of chaos: known numbers, classes, scaling laws, errors."""

import dataclasses
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meanfield as mf

# -- known numbers --


def close(value: float, printed: str) -> bool:
    """Whether a number rounds to the printed one (half a unit of its last digit, and rounding)."""
    decimals = len(printed.partition(".")[2])
    return abs(value - float(printed)) <= 0.5 * 10.0**-decimals * (1 + 1e-9) + 1e-15


# Pennington, Schoenholz & Ganguli 2017; Hayou, Doucet & Rousseau 2019: q; weight_var; bias_var
TRIPLES = {
    "hard_tanh": "0.1;1.001568;0.0001349 0.25;1.04767;0.008895 0.5;1.18666;0.059635 "
    "1;1.46479;0.24408 2;1.92123;0.76711",
    "tanh": "0.1;1.177569;0.000832 0.25;1.393962;0.008125 0.5;1.687975;0.038041 "
    "1;2.153303;0.150965 2;2.861162;0.512265",
    "erf": "0.5;1.36035;0.04655 1;1.756204;0.18414",
    "sin": "1;1.761594;0.238406",
    "elu": "1;1.49678;0.03466 5;1.70856;0.2562",
}


@pytest.mark.parametrize("name", TRIPLES)
def test_published_points_on_the_edge(name: str) -> None:
    rows = [triple.split(";") for triple in TRIPLES[name].split()]
    point = mf.critical(name, q=[float(q) for q, _, _ in rows])
    for i, (_, weight_var, bias_var) in enumerate(rows):
        assert close(point.weight_var[i], weight_var)
        assert close(point.bias_var[i], bias_var)
        alone = mf.critical(name, q=float(rows[i][0]))
        assert alone.weight_var == pytest.approx(point.weight_var[i], rel=1e-14)
        assert alone.bias_var == pytest.approx(point.bias_var[i], rel=1e-12)


def test_tanh_at_a_bias_variance() -> None:
    point = mf.critical("tanh", bias_var=0.05)
    assert point.q == pytest.approx(0.5700478816407642, rel=1e-12)
    assert point.weight_var == pytest.approx(1.760954639606738, rel=1e-12)
    assert point.bias_var == 0.05
    assert close(point.variance_slope, "0.51819")
    assert point.stable is True


@pytest.mark.parametrize(
    ("bias_var", "q", "weight_var"),
    [("0.01", "0.273301", "1.424205"), ("0.1", "0.805799", "1.986073"),
     ("0.3", "1.461169", "2.505127")],
)  # fmt: skip
def test_tanh_at_other_bias_variances(bias_var: str, q: str, weight_var: str) -> None:
    point = mf.critical("tanh", bias_var=float(bias_var))
    assert close(point.q, q) and close(point.weight_var, weight_var)


def test_exact_gelu() -> None:
    point = mf.critical("gelu", q=1.0)
    assert close(point.weight_var, "2.19369990353240")
    assert close(point.bias_var, "0.06719167470563")
    of_jax = mf.critical(lambda x: jax.nn.gelu(x, approximate=False))
    assert of_jax.weight_var == pytest.approx(point.weight_var, rel=1e-13)
    assert mf.critical("gelu").q == 1.0  # neither q nor bias_var means q = 1


# -- critical points and their classes --

# Roberts, Yaida & Hanin 2022, chapter 5: C_b, C_W, K* (SWISH's C_b is misprinted there: 0.0555)
HALF_STABLE = {
    "gelu": (0.1729223908, 1.9830582574, 3.5615528128),
    "silu": (0.5551431707, 1.9880046783, 14.3201736180),
}


@pytest.mark.parametrize("name", HALF_STABLE)
def test_half_stable(name: str) -> None:
    (point,) = mf.critical_points(name)
    bias_var, weight_var, q = HALF_STABLE[name]
    assert point.universality_class == "half-stable"
    assert point.bias_var == pytest.approx(bias_var, rel=0, abs=1e-9)
    assert point.weight_var == pytest.approx(weight_var, rel=0, abs=1e-9)
    assert point.q == pytest.approx(q, rel=0, abs=1e-9)
    assert point.variance_slope == 1.0
    assert point.depth_scale_q == math.inf
    assert not point.stable
    # V'' is not 0, so it attracts from one side only
    assert abs(point.variance_curvature) > 100 * point.errors["variance_curvature"]
    again = mf.critical(name, bias_var=point.bias_var)
    # q is where a slope that is nearly 1 all around is 1: it carries half the digits
    assert again.q == pytest.approx(point.q, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "weight_var"),
    [("identity", 1.0), ("relu", 2.0), ("abs", 1.0), ("leaky_relu", 2 / (1 + 0.01**2))],
)
def test_scale_invariant(name: str, weight_var: float) -> None:
    (point,) = mf.critical_points(name)
    assert point.universality_class == "scale-invariant"
    for p in (point, mf.critical(name, q=1e-3), mf.critical(name, q=700.0)):
        assert p.weight_var == pytest.approx(weight_var, rel=1e-13)
        assert p.bias_var == 0.0
        assert p.variance_slope == 1.0 and p.variance_curvature == 0.0
        assert p.depth_scale_q == math.inf and p.depth_scale_c == math.inf
        assert not p.stable
        assert "does not depend" in str(p) or "do not depend" in str(p)
    assert mf.critical(name, bias_var=0.0).q == 1.0


# q -> 0 by Taylor: V(q) = weight_var (a q + b q^2 + ...), so V''(0) = 2 b / a
@pytest.mark.parametrize(
    ("name", "weight_var", "curvature"),
    [("tanh", 1.0, -4.0), ("sin", 1.0, -2.0), ("erf", math.pi / 4, -4.0)],
)
def test_small_variances(name: str, weight_var: float, curvature: float) -> None:
    (point,) = mf.critical_points(name)
    assert point.universality_class == "K*=0"
    assert point.q == 0.0 and point.bias_var == 0.0
    assert point.weight_var == pytest.approx(weight_var, rel=1e-12)
    allowed = point.errors["variance_curvature"]
    assert allowed < 1e-4
    assert abs(point.variance_curvature - curvature) <= allowed
    assert point.variance_slope == 1.0 and not point.stable
    assert mf.critical(name, bias_var=0.0).q == 0.0


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "elu", "step"])
def test_no_critical_point(name: str) -> None:
    assert mf.critical_points(name) == ()


def test_a_continuum_is_represented_at_one() -> None:
    (point,) = mf.critical_points("shifted_relu")
    assert point.q == 1.0 and point.universality_class == "half-stable"
    for q in (0.3, 1.0, 20.0):  # V' = chi1 at every q: all kinks sit where phi = 0
        p = mf.critical("shifted_relu", q=q)
        assert p.variance_slope == 1.0 and not p.stable and p.depth_scale_q == math.inf


# -- arrays --


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)])
def test_shapes(shape: tuple[int, ...]) -> None:
    q = np.linspace(0.5, 2.0, max(1, math.prod(shape))).reshape(shape)
    point = mf.critical("tanh", q=q)
    by_bias = mf.critical("tanh", bias_var=point.bias_var)
    line = mf.critical_line("tanh", q=q)
    fields = [f.name for f in dataclasses.fields(mf.FixedPoint)[1:12]]
    for value in [getattr(point, name) for name in fields] + [by_bias.q, *line]:
        assert np.shape(value) == shape
    np.testing.assert_allclose(by_bias.q, q, rtol=1e-11)
    np.testing.assert_array_equal(line.weight_var, point.weight_var)
    if shape == ():
        assert isinstance(float(point.weight_var), float)
        assert isinstance(point.stable, bool)


def test_a_line_has_gaps_where_there_is_no_point() -> None:
    # gaussian: E[phi^2] = r, E[phi'^2] = 4 q r^3 with r = (1 + 4 q)^-1/2
    q = np.array([[0.5, 1.0], [1.5, 4.0]])
    bias_var = q - (1 + 4 * q) / (4 * q)
    line = mf.critical_line("gaussian", q=q)
    np.testing.assert_array_equal(line.valid, bias_var >= 0)
    assert line.valid.any() and not line.valid.all()
    np.testing.assert_allclose(line.bias_var, np.where(bias_var >= 0, bias_var, np.nan), rtol=1e-12)
    for column in (line.weight_var, line.variance_slope):
        np.testing.assert_array_equal(np.isfinite(column), line.valid)


# -- errors --


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"q": 1.0, "bias_var": 0.1}, ValueError, r"q, bias_var: give one"),
        ({"q": -1.0}, ValueError, r"q: .*-1"),
        ({"q": 0.0}, ValueError, r"q: .*0"),
        ({"q": math.nan}, ValueError, r"q: .*nan"),
        ({"q": math.inf}, ValueError, r"q: .*inf"),
        ({"q": [1.0, -2.0, 3.0, 0.0]}, ValueError, r"q: .*-2.*\[1, 3\]"),
        ({"q": []}, ValueError, r"q: .*empty"),
        ({"q": "one"}, TypeError, r"q: .*'one'"),
        ({"q": object()}, TypeError, r"q: .*object"),
        ({"q": 1j}, TypeError, r"q: .*1j"),
        ({"bias_var": -0.1}, ValueError, r"bias_var: .*-0.1"),
        ({"bias_var": math.nan}, ValueError, r"bias_var: .*nan"),
        ({"weights": "haar"}, ValueError, r"weights: .*'gaussian', 'orthogonal'.*'haar'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        mf.critical("tanh", **arguments)


def test_wrong_activations() -> None:
    with pytest.raises(TypeError, match="phi: .*5"):
        mf.critical(5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="gelo.*gelu"):
        mf.critical("gelo")


@pytest.mark.parametrize("name", ["step", "sign", "hard_shrink"])
def test_a_jump_has_no_edge(name: str) -> None:
    cases: list[dict[str, Any]] = [{}, {"q": [0.1, 7.0]}, {"bias_var": 0.1}]
    for arguments in cases:
        with pytest.raises(mf.NoCriticalPointError, match="jumps at x = .*chi1 is infinite"):
            mf.critical(name, **arguments)
    with pytest.raises(mf.NoCriticalPointError, match="jumps"):
        mf.critical_line(name, q=[1.0, 2.0])


def test_the_error_says_where_there_is_a_point() -> None:
    with pytest.raises(mf.NoCriticalPointError, match=r"q = 1: .*-0\.25") as caught:
        mf.critical("gaussian", q=1.0)
    found = re.search(r"for q from ([-+.e\d]+) to ([-+.e\d]+)$", str(caught.value))
    assert found, caught.value
    low, high = float(found[1]), float(found[2])
    # bias_var = q - 1 - 1/(4 q) vanishes at (1 + sqrt 2)/2
    assert low == pytest.approx((1 + math.sqrt(2)) / 2, rel=1e-3)
    for q in (low * 1.001, math.sqrt(low * high), high * 0.999):
        assert mf.critical("gaussian", q=q).bias_var >= 0
    with pytest.raises(mf.NoCriticalPointError):
        mf.critical("gaussian", q=low * 0.999)


def test_the_error_names_the_bad_entries() -> None:
    with pytest.raises(mf.NoCriticalPointError, match=r"q = 1 \(entries \[1, 2\]\)"):
        mf.critical("gaussian", q=[2.0, 1.0, 0.5, 3.0])


def test_no_variance_for_a_bias() -> None:
    with pytest.raises(mf.NoCriticalPointError, match="relu.*bias_var = 0.1.*bias_var = 0"):
        mf.critical("relu", bias_var=0.1)
    # exp: V = weight_var E[phi^2] = 1 on the edge, so bias_var = q - 1 and q = 1 + bias_var
    assert mf.critical("exp", bias_var=0.5).q == pytest.approx(1.5, rel=1e-12)
    with pytest.raises(mf.NoCriticalPointError, match="takes values from"):
        mf.critical("tanh", bias_var=1e9)


# -- scaling laws: on the edge, weight_var = 1/E[phi'^2] and bias_var = q - E[phi^2]/E[phi'^2] --

BASES = {
    "smooth": jnp.tanh,
    "kinked": lambda x: jnp.clip(x, -0.7, 0.7) + 0.2 * x,
    "growing": lambda x: 0.5 * x + jnp.sin(x),
}
FEW = settings(max_examples=15)  # each compiles an activation
scales = st.floats(-3, 3).filter(lambda a: abs(a) > 0.1)
variances = st.floats(-2, 2).map(lambda e: 10**e)


def agree(one: mf.FixedPoint, other: mf.FixedPoint, weight: float = 1, variance: float = 1) -> None:
    """`one` is `other` with weight_var and the variances multiplied by known factors."""
    error = one.error + other.error + 8 * 2.0**-52
    assert error < 1e-11
    assert one.weight_var == pytest.approx(other.weight_var * weight, rel=error)
    assert one.bias_var == pytest.approx(other.bias_var * variance, rel=0, abs=error * one.q)
    slack = one.errors["variance_slope"] + other.errors["variance_slope"] + 2.0**-52
    # a slope that one of them found to be marginal within its error was set to 1
    assert one.variance_slope == pytest.approx(other.variance_slope, rel=0, abs=2 * slack)


@pytest.mark.parametrize("name", BASES)
@FEW
@given(scale=scales, q=variances)
def test_of_a_multiple(name: str, scale: float, q: float) -> None:
    """`a phi`: E[phi'^2] takes a^2, so weight_var 1/a^2; bias_var does not change."""
    phi = BASES[name]
    agree(
        mf.critical(lambda x: scale * phi(x), q=q),
        mf.critical(phi, q=q),
        weight=scale**-2,
    )


@pytest.mark.parametrize("name", BASES)
@FEW
@given(scale=scales, q=variances)
def test_of_a_scaled_input(name: str, scale: float, q: float) -> None:
    """`phi(b x)` at q is phi at b^2 q: E[phi'^2] takes b^2, variances 1/b^2, slopes stay."""
    phi = BASES[name]
    agree(
        mf.critical(lambda x: phi(scale * x), q=q),
        mf.critical(phi, q=scale**2 * q),
        weight=scale**-2,
        variance=scale**-2,
    )


@FEW
@given(q=st.floats(-3, 3).map(lambda e: 10**e), scale=st.floats(0.1, 5))
def test_a_network_keeps_the_variance(q: float, scale: float) -> None:
    """By its definition: q = weight_var E[phi^2] + bias_var, with the moment of sin(a x)."""
    point = mf.critical(mf.Activation("sin", frequency=scale), q=q)
    second = mp.mpf(-mp.expm1(-2 * mp.mpf(scale) ** 2 * q)) / 2
    layer = float(point.weight_var * second + point.bias_var)
    assert layer == pytest.approx(q, rel=2 * point.error + 4 * 2.0**-52)
