"""Fixed points of the variance map: reference table, closed forms, and what holds for any."""

# pyright: reportArgumentType=false, reportOptionalSubscript=false

from functools import cache
from typing import Any

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpmath import mpf

import meanfield as mf
from meanfield.fixedpoints import Verdict
from meanfield.maps.settle import settled_variance, settling
from meanfield.network import Phase
from references import load_reference
from test_properties import PHASES, polynomials

RECORDS = load_reference("fixedpoints")["records"]
EPS = 2.0**-52


@cache
def activation(name: str, parameters: tuple[tuple[str, str], ...]) -> mf.Activation:
    """The catalogued activation that the tables call `name`, such as `crelu_s0.7_m1.5`."""
    known = {k: float(v) for k, v in parameters if k in ("alpha", "tau", "m")}
    for base in ("leaky_relu", "shifted_relu", "soft_threshold", "crelu", "cst"):
        if name.startswith(base + "_"):
            return mf.Activation(base, **known)
    return mf.Activation(name, **known)


def network_of(record: dict[str, Any]) -> mf.Network:
    phi = activation(record["activation"], tuple(record["params"].items()))
    return mf.Network(phi, float(record["sw2"]), float(record["sb2"]))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["label"])
def test_variances_settle_as_in_the_table(record: dict[str, Any]) -> None:
    found = settling(network_of(record))
    assert len(found.points) == len(record["fixed_points"])
    for point, row in zip(found.points, record["fixed_points"], strict=True):
        assert row["stability"].startswith(point.stability)
        q_error, slope_error, curvature_error = point.errors
        # the table is for decimal variances: their rounding is in the errors
        assert abs(mpf(point.q) - mpf(row["q"])) <= q_error
        assert abs(mpf(point.slope) - mpf(row["V1"])) <= slope_error
        if "V2" in row:
            assert abs(mpf(point.curvature) - mpf(row["V2"])) <= curvature_error
    assert (found.continuum is not None) == ("continuum" in record)
    off = abs(mpf(found.asymptotic_slope) - mpf(record["asymptotic_slope_V"]))
    assert off <= found.asymptotic_error <= 1e-12
    way = record["q_to_infinity"]
    if "above" in way and way.startswith("diverges"):
        ((low, high),) = found.explodes
        np.testing.assert_allclose(low, float(way.split("q=")[1]), rtol=1e-10)
        assert high == np.inf
    else:
        assert found.explodes == (((0.0, np.inf),) if "no positive" in way else ())


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["label"])
def test_fields_as_in_the_table(record: dict[str, Any]) -> None:
    points = mf.fixed_points(network_of(record))
    for point, row in zip(points, record["fixed_points"], strict=True):
        assert point.stability is not None and row["stability"].startswith(point.stability)
        assert point.stable == (row["stability"] == "stable")
        if point.q == 0:
            continue  # the table has no more of it
        assert abs(mpf(point.chi1) - mpf(row["chi1"])) <= point.errors["chi1"]
        assert str(point.phase) == row["phase"]
        assert abs(mpf(point.sparsity) - mpf(row["sparsity"])) <= point.errors["q"] + 1e-14
        check_scale(point.depth_scale_q, row["xi_q"], point.errors["depth_scale_q"])
        for name, key in (("correlation", "c_star"), ("correlation_slope", "R1_at_c_star")):
            off = abs(mpf(getattr(point, name)) - mpf(row[key]))
            assert off <= point.errors[name] + EPS and point.errors[name] < 1e-6
        check_scale(point.depth_scale_c, row["xi_c"], point.errors["depth_scale_c"])


def check_scale(computed: float, expected: str | None, error: float) -> None:
    if expected is None:  # the slope exceeds 1
        assert np.isnan(computed)
    elif expected == "inf":
        assert computed == np.inf
    else:
        assert abs(mpf(computed) - mpf(expected)) <= 2 * error + 4 * EPS * mpf(expected)


# -- closed forms --

CLOSED: dict[str, Any] = {
    "identity": lambda q: q,
    "relu": lambda q: q / 2,
    "erf": lambda q: 2 / mp.pi * mp.asin(2 * q / (1 + 2 * q)),
    "sin": lambda q: -mp.expm1(-2 * q) / 2,
    "gaussian": lambda q: 1 / mp.sqrt(1 + 4 * q),
}


@given(
    st.sampled_from(sorted(CLOSED)),
    st.floats(0.01, 100.0),
    st.one_of(st.just(0.0), st.floats(1e-12, 10.0)),
)
@settings(max_examples=60)
def test_against_closed_forms(name: str, weight_var: float, bias_var: float) -> None:
    """`V` is concave, or falls (Gaussian): it has one stable fixed point at most."""
    found = settling(mf.Network(name, weight_var, bias_var))
    slope = weight_var * mp.diff(CLOSED[name], 0)
    assume(abs(slope - 1) > 1e-9)
    assert [p.q for p in found.points].count(0.0) == int(bias_var == 0 and name != "gaussian")
    positive = [p for p in found.points if p.q > 0]
    linear = name in ("identity", "relu")
    if (
        linear
        and (slope > 1 or bias_var == 0)
        or (bias_var == 0 and name != "gaussian" and slope < 1)
    ):
        assert not positive
        assert found.explodes == (((0.0, np.inf),) if slope > 1 else ())
        return
    (point,) = positive
    assert point.stability == "stable" and point.basin == ((0.0, np.inf),)
    with mp.workdps(40):
        q = mpf(point.q)
        off = weight_var * CLOSED[name](q) + bias_var - q
        exact = mp.findroot(lambda q: weight_var * CLOSED[name](q) + bias_var - q, q)
    assert abs(off) <= 1e-12 * q
    assert abs(q - exact) <= point.errors[0]


# -- any activation --

linear_pieces = polynomials(1, True, most=3)
numbers = st.integers(-8, 8).map(lambda k: k / 4)


@st.composite
def smooth(draw: Any) -> Any:
    """Sums of steep and flat sigmoids and bumps."""
    terms = draw(st.lists(st.tuples(numbers, numbers, st.integers(1, 4), st.booleans()),
                          min_size=1, max_size=3))  # fmt: skip

    def phi(x):
        total = 0.0 * x
        for height, centre, width, is_bump in terms:
            u = width * (x - centre)
            total = total + height * (jnp.exp(-u * u) if is_bump else jnp.tanh(u))
        return total

    return phi


@given(
    st.one_of(linear_pieces, smooth()),
    st.floats(0.05, 50.0),
    st.one_of(st.just(0.0), st.floats(1e-4, 2.0)),
    st.lists(st.floats(-13.0, 13.0), min_size=12, max_size=12),
)
@settings(max_examples=12, phases=PHASES)
def test_what_holds_for_any_activation(
    phi: Any, weight_var: float, bias_var: float, starts: list[float]
) -> None:
    network = mf.Network(phi, weight_var, bias_var)
    V, found = mf.variance_map(network), settling(network)
    if found.continuum:
        assert V.activation.is_homogeneous
        return
    positive = np.array([p.q for p in found.points if p.q > 0])
    assert np.all(np.diff(positive) > 0)
    # each satisfies its equation, and its stability is that of its slope
    for p in found.points:
        assert abs(V(p.q) - p.q) <= 1e-12 * p.q
        if p.stability in ("stable", "unstable") and p.q > 0:
            assert (p.slope < 1) == (p.stability == "stable")
            assert p.slope >= -0.5 * (1 - bias_var / p.q) - p.errors[1]
    # none is missed: between two variances where V(q) - q has another sign lies an odd number
    q = np.geomspace(1e-8, 1e8, 512)
    excess = V(q) - q
    known = np.flatnonzero(np.abs(excess) > V.error(q))
    for a, b in zip(known[:-1], known[1:], strict=True):
        between = [p for p in found.points if q[a] < p.q < q[b] and p.stability != "half-stable"]
        assert len(between) % 2 == (excess[a] * excess[b] < 0), (q[a], q[b])
    # basins and what explodes tile the line
    pieces = sorted(
        [(*piece, p.q) for p in found.points for piece in p.basin]
        + [(*piece, np.inf) for piece in found.explodes]
    )
    ends = [0.0, *(high for _, high, _ in pieces)]
    assert [low for low, _, _ in pieces] == ends[:-1] and ends[-1] == np.inf
    # and what starts in one arrives
    inside = np.exp(np.array(starts))
    last = V.iterate(inside, 3000)[-1]
    slopes = {p.q: p.slope for p in found.points}
    for start, end in zip(inside, last, strict=True):
        goals = [goal for low, high, goal in pieces if low < start < high]
        if not goals:
            continue  # on the border
        if goals[0] == np.inf:
            assert end > start
        elif abs(slopes[goals[0]]) < 0.98:
            assert abs(end - goals[0]) <= 1e-9 * goals[0] + 1e-12
        else:  # slowly
            assert abs(end - goals[0]) <= abs(V(start) - goals[0]) + 1e-9


def test_an_iteration_jumps_over_an_unstable_point() -> None:
    """Large variances reach where a bump vanishes: they fall to 0 past a stable point."""
    network = mf.Network(lambda x: x**2 * jnp.exp(-0.5 * x**2), weight_var=12.0, bias_var=0.001)
    low, unstable, high = settling(network).points
    assert (low.stability, unstable.stability, high.stability) == ("stable", "unstable", "stable")
    ((start, border),) = high.basin
    assert start == unstable.q
    assert low.basin == ((0.0, unstable.q), (border, np.inf))
    V = mf.variance_map(network)
    np.testing.assert_allclose(V(border), unstable.q, rtol=1e-12)
    ends = V.iterate(border * np.array([0.999, 1.001]), 400)[-1]
    np.testing.assert_allclose(ends, [high.q, low.q], rtol=1e-12)


@pytest.mark.parametrize("bend", [-1, 1])
def test_a_fold(bend: int) -> None:
    """Two points, one half-stable, or none as `bias_var` passes the fold of a shifted relu."""
    point = mf.critical("shifted_relu", q=1.0)
    off = 1e-9
    network = mf.Network(point.activation, point.weight_var, point.bias_var + bend * off)
    found = settling(network)
    if bend > 0:
        assert not found.points and found.explodes == ((0.0, np.inf),)
    else:
        low, high = found.points
        assert (low.stability, high.stability) == ("stable", "unstable")
        # V - q = off - V''/2 (q - 1)^2
        apart = np.sqrt(2 * off / point.variance_curvature)
        np.testing.assert_allclose([1 - low.q, high.q - 1], apart, rtol=1e-3)
    (touching,) = settling(point.network).points
    assert touching.stability == "half-stable" and touching.attracts == (True, False)


def test_points_far_from_one() -> None:
    (tiny,) = settling(mf.Network("tanh", 0.5, 1e-30)).points
    assert abs(tiny.q - 2e-30) <= 1e-14 * 2e-30
    zero, near = settling(mf.Network("tanh", 1 + 2.0**-40)).points
    assert zero.stability == "unstable" and near.stability == "stable"
    np.testing.assert_allclose(near.q, 2.0**-41, rtol=1e-2)  # V - q = 2^-40 q - 2 q^2
    # E[phi^2] = q/2 + 2 sqrt(q/2pi) + 1/2 + ...: q - V = d q/2 - 2 (2 - d) sqrt(q/2pi) - 1 = 0
    (far,) = settling(mf.Network(lambda x: jnp.maximum(x + 1, 0), 2 - 2.0**-26)).points
    np.testing.assert_allclose(far.q, (8 * 2.0**26) ** 2 / (2 * np.pi), rtol=1e-6)
    assert far.stability == "stable" and far.basin == ((0.0, np.inf),)


def test_chi1_is_not_the_slope_of_the_correlation_map_by_differences() -> None:
    """E[phi'^2] of tanh at q = 1 is 0.464; what autodiff makes of the map's end is 0.182."""
    second = mf.Activation("tanh").moments(np.ones(1)).value[0, 1]
    network = mf.Network("tanh", weight_var=2.5, bias_var=1 - 2.5 * float(second))
    (point,) = mf.fixed_points(network)
    np.testing.assert_allclose(point.q, 1.0, rtol=1e-13)
    np.testing.assert_allclose(point.chi1, 2.5 * 0.464402, rtol=1e-5)
    assert point.phase == Phase.CHAOTIC


# -- the result --


@pytest.mark.parametrize(
    ("phi", "weight_var", "bias_var", "verdict"),
    [
        ("tanh", 1.0, 0.1, Verdict.ORDERED),
        ("tanh", 2.0, 0.1, Verdict.CHAOTIC),
        ("relu", 2.5, 0.1, Verdict.EXPLODES),
        ("relu", 2.0, 0.1, Verdict.EXPLODES),
        ("gelu", 2.1, 0.02, Verdict.EXPLODES_ABOVE),
        ("tanh", 0.9, 0.0, Verdict.COLLAPSES),
        ("tanh", 1.0, 0.0, Verdict.FADES),
        ("gelu", 2.0, 0.0, Verdict.COLLAPSES),
        ("relu", 2.0, 0.0, Verdict.CONTINUUM),
        ("leaky_relu", 2 / (1 + 0.01**2), 0.0, Verdict.CONTINUUM),
        ("sign", 2.0, 0.1, Verdict.TORN),
        (lambda x: x**2 * jnp.exp(-0.5 * x**2), 12.0, 0.001, Verdict.SEVERAL),
    ],
)
def test_verdicts(phi: Any, weight_var: float, bias_var: float, verdict: Verdict) -> None:
    points = mf.fixed_points(mf.Network(phi, weight_var, bias_var))
    assert points.verdict is verdict
    assert str(verdict) in str(points) and str(verdict) == verdict.value


def test_the_verdict_on_the_edge_of_chaos() -> None:
    points = mf.fixed_points(mf.critical("tanh", q=0.5))
    assert points.verdict is Verdict.CRITICAL
    assert points[0].chi1 == 1.0 and points[0].depth_scale_c == np.inf


def test_a_sequence_that_knows_more() -> None:
    points = mf.fixed_points(mf.Network("gelu", weight_var=2.1, bias_var=0.02))
    assert len(points) == 2 and list(points) == [points[0], points[1]] and points[1] is points[-1]
    assert points[:1] == (points[0],)
    assert points[0] in points and points.explodes_above == points[1].q
    assert points.continuum is None and points.unresolved == ()
    with pytest.raises(AttributeError):
        points.verdict = None  # pyright: ignore[reportAttributeAccessIssue]
    text = str(points)
    assert "0.0463069289" in text and "unstable" in text and "explodes: q from 2.76494" in text
    numbers = points[0].to_dict()
    assert numbers["stability"] == "stable" and numbers["basin"] == [[0.0, points[1].q]]
    assert "half" not in str(points[0]) and "basin" in str(points[0])
    assert "basin" not in str(mf.critical("gelu"))


def test_what_could_not_be_searched_is_said() -> None:
    points = mf.fixed_points(mf.Network("sin", weight_var=2.0, bias_var=0.1))
    assert "oscillates" in points.end and points.searched[1] < 1e10
    assert "searched up to" in str(points)
    # exp(x) overflows at 709, long before softplus so written is linear to the last digit
    points = mf.fixed_points(mf.Network(lambda x: jnp.log1p(jnp.exp(x)), weight_var=1.0))
    assert points.end and abs(points.asymptotic_slope - 0.5) <= points.asymptotic_error < 1e-4
    points = mf.fixed_points(mf.Network("hard_tanh", weight_var=1.0))
    ((low, high),) = points.unresolved  # V(q) - q is of the size e^(-1/2q)
    assert low == 0.0 and 0.01 < high < 0.03
    assert "within its error" in str(points)


def test_settled_variance() -> None:
    point = mf.critical("tanh", q=0.3)
    assert settled_variance(point) == 0.3
    assert settled_variance(mf.Network("relu", 2.0)) == 1.0
    assert abs(settled_variance(mf.Network("relu", 1.5, 0.1)) - 0.4) < 1e-12
    assert settled_variance(mf.Network("tanh", 0.5)) == 0.0
    with pytest.raises(ValueError, match="no stable fixed point.*half-stable"):
        settled_variance(mf.critical("shifted_relu", q=1.0).network)
    with pytest.raises(ValueError, match="grows without bound"):
        settled_variance(mf.Network("relu", 2.5, 0.1))


@pytest.mark.parametrize(("phi", "above"), [("tanh", 0.5), ("sin", 0.5), ("gelu", 1e-3)])
def test_the_power_law_of_a_marginal_point(phi: str, above: float) -> None:
    """`d' = d - d^2 / a + O(d^3)`, so `1 / d` grows by `1 / a` a layer, up to the size of `d`."""
    (point,) = mf.critical_points(phi)
    path = np.asarray(mf.variance_map(point).iterate(point.q + above, 2000)) - point.q
    rate = (1 / path[2000] - 1 / path[1000]) / 1000
    assert rate * point.variance_power_law == pytest.approx(1, rel=3 * float(path[1000]))
    assert not point.stable and "marginal, V' = 1: from above, |q_l - q| falls like" in str(point)


def test_what_fades_is_no_collapse() -> None:
    points = mf.fixed_points(mf.Network("tanh", weight_var=1.0))
    text = str(points)
    assert points.verdict is Verdict.FADES and "collapses" not in text
    assert "q = 0: marginal, V' = 1: from above, |q_l - q| falls like 0.5 / l" in text
    assert "within its error" not in text
    assert points[0].variance_power_law == pytest.approx(0.5, rel=1e-9)
    assert "signals get through at any depth" in str(mf.schemes.place("lecun", "tanh"))
    # stable and scale-invariant ones have no such law, nor has one with a kink at 0
    assert np.isnan(mf.critical("tanh").variance_power_law)
    assert np.isnan(mf.critical("relu").variance_power_law)
    elu = mf.fixed_points(mf.Network("elu", weight_var=1.0))[0]
    assert elu.variance_slope == 1 and np.isnan(elu.variance_power_law)
    assert mf.critical("gelu", q=[1.0, 2.0]).variance_power_law.shape == (2,)
