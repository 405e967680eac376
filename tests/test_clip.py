"""Choosing a clip level: against 40-digit references, closed forms, and what theory says of it."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meanfield as mf
from meanfield.clip import ClipVerdict
from meanfield.clip.clipping import CLIPS
from meanfield.clip.families import FAMILIES
from meanfield.clip.search import edge_at
from meanfield.clip.subject import Subject
from references import load_reference

FAMILY = {"crelu": "shifted_relu", "cst": "soft_threshold"}
RECORDS = load_reference("clip")["records"]
PAIRS = [(record, target) for record in RECORDS for target in record["targets"] if "m" in target]
CASES, SOME = (
    [
        pytest.param(record, target, marks=[pytest.mark.slow] * (slow and not others),
                     id=f"{record['kind']}-{record['sparsity']}-{target['target_V1']}")
        for record, target in PAIRS
        for others in [len(target["other_fixed_points"])]
    ]
    for slow in (False, True)
)  # fmt: skip


def mine(x: Any) -> Any:
    return x * jnp.abs(x) + x


# -- the reference --------------------------------------------------------------------------------


@pytest.mark.parametrize(("record", "target"), CASES)
def test_reference(record: dict, target: dict) -> None:
    choice = mf.clip_threshold(
        FAMILY[record["kind"]], float(record["sparsity"]), float(target["target_V1"])
    )
    got = (choice.tau, choice.m, choice.weight_var, choice.bias_var, choice.curvature)
    expected = (record["tau"], target["m"], target["sw2"], target["sb2"], target["V2"])
    assert got == pytest.approx([float(x) for x in expected], rel=1e-12, abs=1e-12)
    assert abs(choice.slope - float(target["V1"])) < 1e-12
    assert choice.point.sparsity == pytest.approx(float(record["sparsity"]), rel=1e-12)
    assert choice.error < 1e-12
    assert choice.other_thresholds == ()


@pytest.mark.parametrize(("record", "target"), SOME)
def test_other_fixed_points(record: dict, target: dict) -> None:
    choice = mf.clip_threshold(
        FAMILY[record["kind"]], float(record["sparsity"]), float(target["target_V1"])
    )
    expected = target["other_fixed_points"]
    assert len(choice.other_fixed_points) == len(expected)
    for point, other in zip(choice.other_fixed_points, expected, strict=True):
        got = (point.q, point.variance_slope, point.chi1)
        assert got == pytest.approx([float(other[k]) for k in ("q", "V1", "chi1")], abs=2e-10)
        assert point.stability == other["stability"]
    (low, high) = choice.basin[0]
    assert low == 0
    assert high == (choice.other_fixed_points[0].q if expected else np.inf)
    assert choice.edges == (low, high)


def test_one_sided_and_two_sided_families_are_one() -> None:
    """At one `tau`, `m` and `q` the soft threshold has half the weight variance, all else alike."""
    relu = mf.clip_threshold("shifted_relu", 0.85, 0.7)
    soft = mf.clip_threshold("soft_threshold", 0.7, 0.7)
    assert soft.tau == pytest.approx(relu.tau, rel=1e-14)
    assert soft.m == pytest.approx(relu.m, rel=1e-13)
    assert 2 * soft.weight_var == pytest.approx(relu.weight_var, rel=1e-12)
    assert soft.bias_var == pytest.approx(relu.bias_var, rel=1e-12)
    assert soft.curvature == pytest.approx(relu.curvature, abs=1e-12)


# -- any activation -------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "sparsity"), [("shifted_relu", 0.85), ("soft_threshold", 0.8)])
def test_families_by_their_samples(name: str, sparsity: float) -> None:
    closed = mf.clip_threshold(name, sparsity, 0.8)
    sampled = mf.clip_threshold(mf.Activation(name, tau=closed.tau), slope=0.8)
    assert sampled.tau is None
    assert sampled.m == pytest.approx(closed.m, rel=1e-13)
    assert sampled.weight_var == pytest.approx(closed.weight_var, rel=1e-12)
    assert sampled.sparsity == pytest.approx(sparsity, rel=1e-12)


def _numpy(x: Any) -> Any:
    return x * np.abs(x) + x


def _python(x: float) -> float:
    return x * abs(x) + float(x)


@pytest.mark.parametrize("phi", [_numpy, _python])
def test_functions_that_are_not_jax(phi: Any) -> None:
    expected = mf.clip_threshold(mine, slope=0.6)
    got = mf.clip_threshold(phi, slope=0.6)
    assert got.m == pytest.approx(expected.m, rel=1e-10)
    assert got.weight_var == pytest.approx(expected.weight_var, rel=1e-10)


@pytest.mark.torch
def test_torch() -> None:
    torch = pytest.importorskip("torch")
    expected = mf.clip_threshold("elu", slope=0.6)
    got = mf.clip_threshold(torch.nn.ELU(), slope=0.6)
    assert got.m == pytest.approx(expected.m, rel=1e-9)


def test_kinks_of_the_clip_are_those_of_the_levels() -> None:
    choice = mf.clip_threshold(mine, slope=0.7)
    at = 0.5 * (np.sqrt(1 + 4 * choice.m) - 1)  # x^2 + x = m
    # and that of |x|, which leaves none
    assert choice.activation.kinks == pytest.approx([-at, 0.0, at], rel=1e-14, abs=1e-14)


def test_given_kinks_are_kept() -> None:
    phi = mf.Activation(lambda x: np.where(x > 0.5, 2 * x - 0.5, x), kinks=[0.5])
    choice = mf.clip_threshold(phi, slope=0.7)
    m = choice.m
    assert choice.activation.given_kinks == pytest.approx([-m, 0.5, (m + 0.5) / 2], rel=1e-12)
    plain = mf.clip_threshold(lambda x: jnp.where(x > 0.5, 2 * x - 0.5, x), slope=0.7)
    assert plain.m == pytest.approx(m, rel=1e-12)


@pytest.mark.parametrize(
    ("phi", "clip"),
    [("gelu", "two-sided"), ("gelu", "smooth"), ("relu", "upper"), ("elu", "upper"),
     ("elu", "smooth")],
)  # fmt: skip
def test_the_slope_is_that_of_the_clipped_map(phi: Any, clip: str) -> None:
    choice = mf.clip_threshold(phi, slope=0.6, q=0.5, clip=clip)
    level = choice.m
    by_hand = {
        "two-sided": lambda y: jnp.clip(y, -level, level),
        "upper": lambda y: jnp.minimum(y, level),
        "smooth": lambda y: level * jnp.tanh(y / level),
    }[clip]
    f = mf.Activation(phi).function
    point = mf.critical(lambda x: by_hand(f(x)), q=0.5)
    assert point.variance_slope == pytest.approx(0.6, abs=1e-11)
    assert point.weight_var == pytest.approx(choice.weight_var, rel=1e-11)


def test_lower_clip_mirrors_the_upper_one() -> None:
    upper = mf.clip_threshold("shifted_relu", 0.8, 0.7, clip="upper")
    lower = mf.clip_threshold(lambda x: -jnp.maximum(x - upper.tau, 0.0), slope=0.7, clip="lower")
    assert lower.m == pytest.approx(upper.m, rel=1e-13)


def test_all_levels_are_found() -> None:
    """`V'` of a function that folds back is not monotone in `m`: up, down and up again."""

    def folded(x: Any) -> Any:
        return x + 1.2 * jnp.sin(3 * x)

    levels = np.geomspace(0.05, 12.0, 4001)
    clippable = Subject(CLIPS["two-sided"], own=mf.Activation(folded)).clippable(1.0)
    slopes = edge_at(clippable, levels, 1.0).slope
    wanted = 0.001
    crossings = levels[np.flatnonzero(np.diff(np.sign(slopes - wanted)))]
    choice = mf.clip_threshold(folded, slope=wanted)
    found = np.array([*choice.other_thresholds, choice.m])
    assert len(found) == len(crossings) == 3
    assert np.all(np.diff(found) > 0)
    assert found == pytest.approx(crossings, rel=2e-3)
    for m in choice.other_thresholds:
        assert mf.clip_threshold(folded, m=m).slope == pytest.approx(wanted, abs=1e-12)


# -- larger variances -----------------------------------------------------------------------------


def test_table_of_larger_variances() -> None:
    """Section 1b: with all thresholds growing nothing changes but units; with `m` held all does."""
    one = mf.clip_threshold("shifted_relu", 0.85, 0.7)
    curvatures = (0.0229, 0.0115, 0.0076, 0.0046)
    for q, curvature in zip((1.0, 2.0, 3.0, 5.0), curvatures, strict=True):
        scaled = one.at(q)
        assert scaled.curvature == pytest.approx(curvature, abs=6e-5)
        assert scaled.dimensionless_curvature == pytest.approx(one.dimensionless_curvature)
        assert scaled.gradient_sensitivity == pytest.approx(0.603, abs=6e-4)
        assert scaled.weight_var == pytest.approx(one.weight_var, rel=1e-12)
        assert scaled.bias_var == pytest.approx(q * one.bias_var, rel=1e-12)
        again = mf.clip_threshold("shifted_relu", 0.85, 0.7, q)
        assert (scaled.tau, scaled.m) == pytest.approx((again.tau, again.m), rel=1e-13)
    held = [one.at(q, hold="m") for q in (1.0, 2.0, 3.0, 5.0)]
    assert [c.slope for c in held] == pytest.approx([0.700, 0.511, 0.416, 0.317], abs=6e-4)
    got = [c.dimensionless_curvature for c in held]
    assert got == pytest.approx([0.023, -0.139, -0.170, -0.173], abs=6e-4)
    assert [c.weight_var for c in held] == pytest.approx([7.335, 8.415, 9.384, 11.04], abs=6e-3)
    assert [c.bias_var for c in held] == pytest.approx([0.595, 1.313, 2.087, 3.721], abs=6e-4)
    assert [c.sparsity for c in held] == pytest.approx([0.85] * 4, rel=1e-12)
    assert one.at(4.0, hold=("tau", "m")).tau == one.tau


@settings(max_examples=4)
@given(
    sparsity=st.floats(0.5, 0.97), slope=st.floats(0.05, 0.95), q=st.floats(1e-4, 1e4),
    name=st.sampled_from(sorted(FAMILIES)),
)  # fmt: skip
def test_scaling_identity(sparsity: float, slope: float, q: float, name: str) -> None:
    """`phi_(r tau, r m)(r x) = r phi_(tau, m)(x)`: everything but the units is as at `q = 1`."""
    one, other = (mf.clip_threshold(name, sparsity, slope, at) for at in (1.0, q))
    assert other.tau == pytest.approx(np.sqrt(q) * one.tau, rel=1e-12, abs=1e-12)
    assert other.m == pytest.approx(np.sqrt(q) * one.m, rel=1e-11)
    assert other.weight_var == pytest.approx(one.weight_var, rel=1e-10)
    assert other.noise().kernel == pytest.approx(q * one.noise().kernel, rel=1e-9)


@settings(max_examples=8)
@given(
    sparsity=st.floats(0.5, 0.98), slope=st.floats(0.01, 0.99),
    name=st.sampled_from(sorted(FAMILIES)),
)  # fmt: skip
def test_the_two_families_can_hold_any_slope_below_1(
    sparsity: float, slope: float, name: str
) -> None:
    """`V'(q) = 1 - u n(b)/I_0` takes every value in (0, 1), once, if `tau >= 0`."""
    choice = mf.clip_threshold(name, sparsity, slope)
    assert choice.slope == pytest.approx(slope, abs=1e-11)
    assert choice.bias_var >= 0
    assert choice.other_thresholds == ()
    assert choice.point.stable


def test_unclipped() -> None:
    """Tangent to the diagonal and convex: that is what clipping is for."""
    choice = mf.clip_threshold("shifted_relu", 0.85, m=np.inf)
    assert choice.slope == 1
    assert choice.curvature == pytest.approx(0.806, abs=5e-4)
    assert choice.weight_var == pytest.approx(1 / 0.15, rel=1e-12)
    assert choice.verdict is ClipVerdict.UNSTABLE
    assert choice.margin() == 0
    assert choice.noise().kernel == np.inf
    clipped = mf.clip_threshold("shifted_relu", 0.85)
    assert clipped.unclipped is not None
    assert clipped.unclipped.weight_var == choice.weight_var
    assert mf.clip_threshold("shifted_relu", 0.3, -0.02).unclipped is None  # bias_var < 0


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"phi": "shifted_relu", "sparsity": 0.0}, ["sparsity", "0.0"]),
        ({"phi": "shifted_relu", "sparsity": 1.0}, ["sparsity", "1.0"]),
        ({"phi": "soft_threshold", "sparsity": -0.2}, ["sparsity", "-0.2"]),
        ({"phi": "shifted_relu", "sparsity": np.nan}, ["sparsity", "nan"]),
        ({"phi": "shifted_relu"}, ["sparsity", "tau"]),
        ({"phi": "shifted_relu", "sparsity": 0.5, "tau": 0.1}, ["sparsity", "tau"]),
        ({"phi": "soft_threshold", "tau": -1.0}, ["tau", "-1.0"]),
        ({"phi": mine, "sparsity": 0.5}, ["sparsity", "shifted_relu"]),
        ({"phi": "shifted_relu", "sparsity": 0.8, "slope": 1.0}, ["slope", "1.0"]),
        ({"phi": "shifted_relu", "sparsity": 0.8, "slope": -0.5}, ["slope", "-0.5", "from"]),
        ({"phi": "gelu", "slope": 0.999999, "q": 20.0}, ["slope", "largest at m"]),
        ({"phi": "shifted_relu", "sparsity": 0.8, "q": -1.0}, ["q", "-1.0"]),
        ({"phi": "shifted_relu", "sparsity": 0.8, "q": [1.0, 2.0]}, ["q", "one variance"]),
        ({"phi": "shifted_relu", "sparsity": 0.8, "clip": "round"}, ["clip", "two-sided"]),
        ({"phi": "shifted_relu", "sparsity": 0.8, "width": 0}, ["width", "0"]),
        ({"phi": "shifted_relu", "sparsity": 0.8, "weights": "nothing"}, ["weights", "nothing"]),
        ({"phi": "shifted_relu", "sparsity": 0.8, "m": 0.0}, ["m", "0.0"]),
        ({"phi": "shifted_relu", "sparsity": 0.8, "m": 1.0, "slope": 0.5}, ["slope, m"]),
        ({"phi": "shifted_relu", "sparsity": 0.8, "margin": -1}, ["margin", "-1"]),
        ({"phi": "shifted_relu", "sparsity": 0.5, "margin": 2}, ["margin", "slope"]),
        ({"phi": "shifted_relu", "sparsity": 0.8, "risk": 1.5}, ["risk", "1.5"]),
        ({"phi": "tanh"}, ["phi", "tanh", "bounded"]),
        ({"phi": "sin"}, ["bounded"]),
        ({"phi": "relu6"}, ["bounded"]),
        ({"phi": "crelu"}, ["bounded", "shifted_relu"]),
        ({"phi": np.arctan}, ["bounded"]),
        ({"phi": "gelu", "clip": "lower"}, ["bounded"]),
        ({"phi": lambda x: x + 5.0}, ["no edge of chaos", "q = 1"]),
    ],
)  # fmt: skip
def test_bad_input(arguments: dict, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        mf.clip_threshold(**arguments)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"phi": 3.0}, {"phi": "shifted_relu", "sparsity": "much"}, {"phi": "shifted_relu",
         "sparsity": 0.8, "width": 300.0}, {"phi": "shifted_relu", "sparsity": 0.8, "clip": 1},
    ],
)  # fmt: skip
def test_wrong_types(arguments: dict) -> None:
    with pytest.raises(TypeError):
        mf.clip_threshold(**arguments)


def test_jumps_have_no_edge() -> None:
    with pytest.raises(mf.NoCriticalPointError, match="jumps"):
        mf.clip_threshold(lambda x: jnp.where(x > 0.5, x + 1, 0 * x))


def test_bad_holds() -> None:
    choice = mf.clip_threshold("shifted_relu", 0.8)
    with pytest.raises(ValueError, match="hold"):
        choice.at(2.0, hold="q")
    with pytest.raises(ValueError, match="q"):
        choice.at(-2.0)
    with pytest.raises(ValueError, match="beyond"):
        choice.risk(beyond=0.5)
