"""`isometry`: verdicts from numbers alone, for anything a person brings; mirrored weights."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

import meanfield as mf
from meanfield.dynamical_isometry.ensemble_verdict import judge_ensemble
from meanfield.dynamical_isometry.logarithms import log_moments
from meanfield.dynamical_isometry.scan import edge_scan
from meanfield.dynamical_isometry.spread import slope_spread
from meanfield.dynamical_isometry.verdict import judge
from meanfield.ensembles import (
    LowRank,
    MaskedOrthogonal,
    OrthogonalLowRank,
    Sparse,
    SparseOrthogonal,
    ensemble_of,
)


def verdict(phi: Any) -> str:
    activation = phi if isinstance(phi, mf.Activation) else mf.Activation(phi)
    return judge(edge_scan(activation)).name


CASES: dict[str, tuple[Any, str]] = {
    # phi'^2 is one number
    "identity": ("identity", "EXACT"),
    "absolute value": (jnp.abs, "EXACT"),
    # one slope at 0 and an edge of chaos there
    "tanh": ("tanh", "AT_ZERO"),
    "hard tanh": ("hard_tanh", "AT_ZERO"),
    "GELU, whose edge reaches 0": ("gelu", "AT_ZERO"),
    "SiLU": ("silu", "AT_ZERO"),
    "ELU, smooth enough at 0": ("elu", "AT_ZERO"),
    "sine": ("sin", "AT_ZERO"),
    "ReLU moved along both axes": (lambda x: jnp.maximum(x + 0.5, 0.0) - 0.5, "AT_ZERO"),
    "NumPy": (np.tanh, "AT_ZERO"),
    "one number at a time": (math.atan, "AT_ZERO"),
    "float32": (lambda x: jnp.tanh(x.astype(jnp.float32)), "AT_ZERO"),
    "a second slope": (lambda x: jnp.where(jnp.abs(x) < 1, x, 0.5 * (x + jnp.sign(x))), "AT_ZERO"),
    # one slope far out
    "soft threshold": ("soft_threshold", "AT_INFINITY"),
    "log cosh": (lambda x: jnp.logaddexp(x, -x) - jnp.log(2.0), "AT_INFINITY"),
    # phi(x) - phi(-x) is linear
    "ReLU": ("relu", "MIRRORED"),
    "leaky ReLU": ("leaky_relu", "MIRRORED"),
    "softplus, without an edge of chaos": ("softplus", "MIRRORED"),
    "ReLU less its mean": (lambda x: jnp.maximum(x, 0.0) - 0.4, "MIRRORED"),
    # phi(0) is in the way
    "sigmoid": ("sigmoid", "CENTRED"),
    "hard sigmoid": ("hard_sigmoid", "CENTRED"),
    "1 + |x|": (lambda x: 1 + jnp.abs(x), "CENTRED"),
    # phi(x) - phi(-x) is isometric in a limit
    "SELU, with a kink at 0": ("selu", "MIRRORED_LIMIT"),
    "ReLU6": ("relu6", "MIRRORED_LIMIT"),
    "shifted ReLU": ("shifted_relu", "MIRRORED_LIMIT"),
    # never
    "clipped shifted ReLU": ("crelu", "OFF"),
    "clipped soft threshold": ("cst", "OFF"),
    "cube": (lambda x: x**3, "NEVER"),
    "bell": ("gaussian", "NEVER"),
    "square": (lambda x: x * x, "NEVER"),
    "no edge of chaos": (lambda x: jnp.maximum(jnp.abs(x), 1.0), "NO_EDGE"),
}


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    phi, expected = CASES[name]
    assert verdict(phi) == expected


@settings(max_examples=6)
@given(
    st.sampled_from(["tanh", "relu", "sigmoid", "gelu", "selu", "identity"]),
    st.floats(0.2, 5.0),
    st.floats(0.3, 3.0),
    st.booleans(),
)
def test_verdicts_do_not_depend_on_units(name: str, a: float, b: float, flip: bool) -> None:
    """`a phi(+-b x)` at `q / b^2` has the slopes of `phi` at `q`, but for a factor."""
    phi, sign = mf.Activation(name), -1.0 if flip else 1.0
    scaled = mf.Activation(lambda x: a * phi(sign * b * x))
    assert verdict(scaled) == verdict(phi)
    q = np.array([0.01, 0.3, 2.0])
    there, here = slope_spread(scaled, q / b**2), slope_spread(phi, q)
    np.testing.assert_allclose(there.value, here.value, rtol=1e-9, atol=1e-13)


def test_what_jumps_or_is_constant_is_refused() -> None:
    for phi in ("sign", "heaviside", lambda x: jnp.where(x > 1, x + 1, x)):
        with pytest.raises(mf.NoCriticalPointError, match=r"jumps at x = .* chi1 is infinite"):
            mf.isometry(phi)
    with pytest.raises(mf.NoCriticalPointError, match=r"E\[phi'\^2\] is 0"):
        mf.isometry(lambda x: 0 * x + 1)


# -- spreads --------------------------------------------------------------------------------------


def test_spreads_of_the_literature() -> None:
    q = np.array([1 / 64, 0.1, 0.25, 0.5, 1.0])
    tanh, hard = (slope_spread(mf.Activation(phi), q) for phi in ("tanh", "hard_tanh"))
    np.testing.assert_allclose(
        tanh.value, [0.001689, 0.03971, 0.13698, 0.29924, 0.58348], atol=5.1e-6
    )
    off = np.array([math.erfc(1 / math.sqrt(2 * x)) for x in q])
    np.testing.assert_allclose(hard.off, off, rtol=1e-13)
    # also where the difference of two moments has no digits: 1.3e-15
    np.testing.assert_allclose(hard.value, off / (1 - off), rtol=1e-9)


def test_spread_of_erf() -> None:
    """`E[phi'^(2k)] = (1 + 4kq)^-1/2` up to a factor; the spread is 8 q^2 for small q."""
    q = np.geomspace(1e-8, 1e3, 45)
    spread = slope_spread(mf.Activation("erf"), q)
    root = np.sqrt(1 + 8 * q)  # (1 + 4q - root)/root, without the difference
    expected = 16 * q**2 / (root * (1 + 4 * q + root))
    np.testing.assert_allclose(spread.value, expected, rtol=1e-9)
    assert np.all(np.abs(spread.value - expected) <= spread.error + 1e-15 * expected)


def test_limits_of_the_spread() -> None:
    leaky, selu = edge_scan(mf.Activation("leaky_relu")), edge_scan(mf.Activation("selu"))
    a = 1e-4  # 0.01^2
    assert leaky.at_zero == pytest.approx(((1 - a) / (1 + a)) ** 2, rel=1e-12)
    alpha = 1.6732632423543772**2
    assert selu.at_zero == pytest.approx(((1 - alpha) / (1 + alpha)) ** 2, rel=1e-3)
    assert selu.at_infinity == pytest.approx(1.0, rel=1e-2)
    assert edge_scan(mf.Activation("gelu")).at_zero == 0


def test_the_best_q_may_be_where_the_edge_ends() -> None:
    scan = edge_scan(mf.Activation("sigmoid"))
    q, spread = scan.best()
    assert mf.critical("sigmoid", q=q).bias_var < 1e-9 * q
    assert spread == pytest.approx(float(slope_spread(scan.activation, np.array([q])).value[0]))
    inside = edge_scan(mf.Activation("selu"))
    near = slope_spread(inside.activation, inside.best()[0] * np.array([0.8, 1.25]))
    assert np.all(near.value > inside.best()[1])


# -- the table ------------------------------------------------------------------------------------


def test_relu_never_as_it_stands() -> None:
    result = mf.isometry("relu", depth=16)
    assert result.verdict is mf.IsometryVerdict.MIRRORED
    rows = {row.weights: row for row in result.table}
    assert list(rows) == ["orthogonal", "gaussian", "mirrored"]
    assert rows["orthogonal"].s_max ** 2 == pytest.approx(42.126, abs=1e-3)
    assert rows["gaussian"].s_max ** 2 == pytest.approx(87.013, abs=1e-3)
    assert [row.growth for row in result.table] == pytest.approx([1, 2, 0], abs=1e-12)
    assert [row.at_zero for row in result.table] == pytest.approx([0.5, 0.5, 0])
    mirrored = rows["mirrored"]
    assert (mirrored.s_max, mirrored.condition_number) == pytest.approx((1, 1), rel=1e-12)
    assert (mirrored.log_std, mirrored.lasts) == (pytest.approx(0, abs=1e-7), np.inf)


def test_same_gaussian_process_different_spectrum() -> None:
    """The variances of the weights are the same, the spread of a layer is not."""
    kinds = ["orthogonal", MaskedOrthogonal(0.5), "gaussian"]
    table = mf.isometry("tanh", depth=8, q=0.5, weights=kinds).table
    assert len({(row.weight_var, row.bias_var, row.variance_slope) for row in table}) == 1
    spread = 0.29924
    assert [row.growth for row in table] == pytest.approx(
        [spread, spread + 0.75, spread + 1], abs=1e-5
    )
    assert table[0].s_max < table[1].s_max < table[2].s_max


def test_ensembles_are_judged_by_their_rank_and_spread() -> None:
    """What is exactly orthogonal leaves the verdict as it is, and the spectrum too."""
    kinds = [
        "orthogonal", "delta-orthogonal", SparseOrthogonal(0.2), Sparse(0.1),
        MaskedOrthogonal(0.6), LowRank(0.25), OrthogonalLowRank(0.25),
    ]  # fmt: skip
    result = mf.isometry("tanh", depth=4, q=0.5, weights=kinds)
    rows = {str(row.weights): row for row in result.table}
    names = [judge_ensemble(ensemble_of(kind)).name for kind in kinds]
    assert names == ["ROTATIONS"] * 3 + ["SPREAD"] * 2 + ["DEFICIENT"] * 2
    dense = rows["orthogonal"]
    for name in ("delta-orthogonal", "sparse-orthogonal(density=0.2)"):
        assert (rows[name].s_max, rows[name].growth) == (dense.s_max, dense.growth)
    added = [row.growth - dense.growth for row in rows.values()]
    assert added == pytest.approx([0, 0, 0, 1, 1 - 0.36, 4, 3], abs=1e-9)
    assert [row.at_zero for row in rows.values()][-2:] == pytest.approx([0.75, 0.75])
    notes = "\n".join(result.notes)
    assert "masked-orthogonal(density=0.6): never" in notes and "adds 0.64 a layer" in notes
    assert "low-rank(ratio=0.25): never" in notes and "a share 0.75 of all directions" in notes
    assert "sparse-orthogonal(density=0.2): matrices are orthogonal but for a factor" in notes
    # and a growth takes them from the table
    grown = result.growth(q=0.5, depths=[4])
    assert grown.s_max[:, 0].tolist() == [row.s_max for row in rows.values()]
    assert len(str(grown).splitlines()) == 1 + 4 * (2 + len(kinds))
    assert grown.to_dict()["weights"] == list(rows)


def test_rows_are_spectra() -> None:
    (row,) = mf.isometry("tanh", depth=8, q=1.0, weights="orthogonal").table
    assert row.s_max == pytest.approx(3.65088009487, rel=1e-9)
    assert row.growth * 8 == pytest.approx(4.6678395309, rel=1e-9)
    assert row.spectrum is not None
    assert row.log_std**2 == pytest.approx(row.spectrum.log_variance, rel=1e-9)
    low, high = row.spectrum.quantile([0.01, 0.99])
    assert row.inner_condition_number == pytest.approx(high / low)


@pytest.mark.parametrize(
    ("phi", "q", "depth", "weights"),
    [
        ("tanh", 0.1, 8, "orthogonal"),
        ("relu", 1.0, 8, "gaussian"),
        ("gelu", 1.0, 64, "orthogonal"),  # phi' = 0 at a point
        ("hard_tanh", 0.5, 8, "orthogonal"),
        ("identity", 1.0, 64, "gaussian"),
        ("relu", 1.0, 8, LowRank(0.9)),
    ],
)
def test_variance_of_logarithms_without_a_spectrum(
    phi: str, q: float, depth: int, weights: Any
) -> None:
    """Two ways: integrals over the negative axis, and over the density."""
    point = mf.critical(phi, q=q, weights=weights)
    spectrum = mf.jacobian_spectrum(point, depth)
    found = log_moments(point.activation, q, point.weight_var, depth, ensemble_of(weights))
    assert found[1] == pytest.approx(spectrum.log_variance, rel=1e-8)


def test_logarithms_of_weights_of_low_rank() -> None:
    """Of a rank below the share of units that are on: `E[log x]` of one layer of each, by hand."""
    r, p = 0.3, 0.5
    found = log_moments(mf.Activation("relu"), 1.0, 2.0, 1, LowRank(r))
    # log y = log 2 + t + log(1 + m/r), m = -p/(1 + e^t) from -r to 0
    integral = quad(lambda m: np.log(2 * (p + m) / -m) + np.log1p(m / r), -r, 0)[0]
    assert found[0] == pytest.approx(0.5 * integral / r, rel=1e-8)


def test_best_q_follows_the_depth() -> None:
    for depth in (16, 64):
        result = mf.isometry("hard_tanh", depth=depth, weights="orthogonal")
        best = [row for row in result.table if row.q == result.best_q]
        assert best[0].lasts == pytest.approx(depth, rel=1e-6)
        assert result.best_q == result.q_for_depth() == mf.q_for_depth("hard_tanh", depth)


def test_text_and_dictionary() -> None:
    result = mf.isometry("gelu", depth=8, q=[0.1, 1.0])
    text = str(result)
    assert text.startswith("Isometry of gelu at depth 8\n  isometric in the limit q -> 0")
    assert "does not hold its q" in text  # V' > 1
    record = result.to_dict()
    assert record["verdict"] == "AT_ZERO"
    assert [row["q"] for row in record["table"]] == [0.1, 0.1, 1.0, 1.0]
    assert all(math.isfinite(row["s_max"]) for row in record["table"])


def test_growth() -> None:
    growth = mf.isometry("relu", depth=16, weights=["orthogonal", "gaussian"]).growth()
    assert growth.depths[-1] == 16
    assert growth.s_max.shape == (2, len(growth.depths))
    expected = {4: 9.4815, 8: 20.372, 16: 42.126}
    for depth, top in expected.items():
        (i,) = np.flatnonzero(growth.depths == depth)
        assert growth.s_max[0, i] ** 2 == pytest.approx(top, rel=1e-4)
    assert np.all(np.diff(growth.log_std) > 0)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"depth": 0}, ValueError, "depth"),
        ({"depth": 2.5}, TypeError, "depth"),
        ({"q": -1.0}, ValueError, "q"),
        ({"weights": "cauchy"}, ValueError, "weights"),
        ({"weights": []}, ValueError, "weights"),
        ({"weights": 3}, TypeError, "weights"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        mf.isometry("tanh", **options)


def test_a_q_off_the_edge_of_chaos_is_named() -> None:
    with pytest.raises(mf.NoCriticalPointError, match="There is one for q from"):
        mf.isometry("sigmoid", q=1.0)


def test_the_name_is_a_function_whatever_was_imported() -> None:

    assert callable(mf.isometry)


# -- mirrored weights -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "softplus"])
def test_mirrored_networks_are_linear(name: str) -> None:
    """The full Jacobian of twelve layers: it is one orthogonal matrix."""
    n, depth, q = 24, 12, 1.7
    point = mf.critical(mf.mirrored(name), q=q, weights="orthogonal")
    assert (point.weight_var, point.bias_var) == pytest.approx((1.0, 0.0), abs=1e-13)
    box = mf.Activation(name).sampled
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), depth)
        first, *others = (
            np.asarray(
                mf.mirrored_weights(
                    key, n, n // 2 if k == 0 else n, 1.0, first=k == 0, dtype=jnp.float64
                )
            )
            for k, key in enumerate(keys)
        )
    x = np.sqrt(q) * np.random.default_rng(0).standard_normal(n // 2)
    z, J = first @ x, first
    for W in others:
        slope = np.asarray(box.slopes(z))
        z, J = W @ box.values(z), W @ (slope[:, None] * J)
    # the whole output is (u, -u), so that each s is sqrt(2)
    np.testing.assert_allclose(np.linalg.svd(J, compute_uv=False), np.sqrt(2), rtol=1e-12)
    np.testing.assert_allclose(np.mean(z**2), np.mean(x**2), rtol=1e-12)


def test_entries_of_mirrored_weights() -> None:
    """The variance of an entry is `2 weight_var / fan_in`: He's for ReLU."""
    W = np.asarray(mf.mirrored_weights(jax.random.key(0), 200, 300, 1.0, "gaussian"))
    assert W.shape == (200, 300)
    # 15000 independent entries: a standard error of 1.2 %
    assert 300 * W.var() == pytest.approx(2.0, rel=0.05)
    with pytest.raises(ValueError, match="fan_out: must be even"):
        mf.mirrored_weights(jax.random.key(0), 3, 4)
    with pytest.raises(ValueError, match="fan_in: must be even"):
        mf.mirrored_weights(jax.random.key(0), 4, 3)


def test_mirrored_keeps_the_kinks_it_is_told() -> None:
    activation = mf.Activation(lambda x: np.maximum(x - 0.5, 0), kinks=[0.5])
    np.testing.assert_array_equal(mf.mirrored(activation).kinks, [-0.5, 0.5])
    assert mf.mirrored(activation) is mf.mirrored(activation)


# -- convolution ----------------------------------------------------------------------------------


def test_delta_orthogonal_convolutions_are_orthogonal() -> None:
    """As matrices on channels and places, so that their spectra are those of orthogonal weights."""
    channels, size = 6, 5
    with jax.enable_x64(True):
        kernel = np.asarray(
            jax.nn.initializers.delta_orthogonal()(
                jax.random.key(0), (3, channels, channels), jnp.float64
            )
        )
    J = np.zeros((size, channels, size, channels))
    for place in range(size):
        for k in range(3):
            J[place, :, (place + k - 1) % size] += kernel[k].T
    J = J.reshape(size * channels, -1)
    np.testing.assert_allclose(J @ J.T, np.eye(size * channels), atol=1e-14)


def test_why_a_row_is_unresolved() -> None:
    """The edge of chaos of `2 + tanh(x)/10` is so far out that most slopes are rounding there."""
    result = mf.isometry(lambda x: 2 + 0.1 * jnp.tanh(x), depth=8)
    assert result.table
    for row in result.table:
        assert row.q > 1e5 and row.spectrum is None
        assert math.isnan(row.s_max) and math.isnan(row.log_std)
        assert "lost in rounding" in row.unresolved and f"q = {row.q:.6g}" in row.unresolved
    assert str(result).count("nan: ") == 1
    assert "lost in rounding" in str(result).splitlines()[-1]
