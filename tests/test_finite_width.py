"""Finite width: the 1/n recursions against references, plain loops and laws of depth."""

# pyright: reportArgumentType=false, reportOptionalSubscript=false

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meanfield as mf
from meanfield import ensembles
from meanfield.width.averages import averages, slope_averages
from meanfield.width.recursion import carried
from meanfield.width.vertices import vertex_of
from references import load_reference

RECORDS = load_reference("finite_width")["records"]
KNOWN = {"leaky_relu_0.01": ("leaky_relu", {}), "crelu_s0.7_m1": ("crelu", {"m": 1.0})}
TAU = 0.52440051270804067  # 70 % of a standard Gaussian is below


def activation(name: str) -> mf.Activation:
    base, parameters = KNOWN.get(name, (name, {}))
    if base == "crelu":
        parameters = {"tau": TAU, **parameters}
    return mf.Activation(base, **parameters)


@pytest.mark.parametrize("record", RECORDS, ids=[r["label"] for r in RECORDS])
def test_the_reference_tables(record: dict) -> None:
    network = mf.Network(activation(record["activation"]), float(record["Cw"]), float(record["Cb"]))
    n, layers = 100, record["layers"]
    fw = mf.finite_width(network, len(layers), n, q=float(record["K1"]))
    for name, value, error in (
        ("K", fw.kernel, fw.kernel_error),
        ("V_over_K2", fw.fluctuation * n, fw.fluctuation_error * n),
        ("G1_over_K", fw.shift * n, fw.shift_error * n),
    ):
        true = np.array([float(layer[name]) for layer in layers])
        # the variances of the tables are rounded to float64, which an unstable point multiplies
        np.testing.assert_allclose(value, true, rtol=1e-12, atol=1e-12)
        assert np.all(np.abs(value - true) <= error + 1e-13 * np.abs(true))
    np.testing.assert_array_equal(fw.four_point, fw.fluctuation * fw.kernel**2)
    np.testing.assert_array_equal(fw.kernel_correction, fw.shift * fw.kernel)


def test_tanh_from_one_half() -> None:
    """The table of `V4/K^2` of Gaussian and orthogonal weights; they go to 2l/3 and to -2."""
    net, at = mf.Network("tanh", weight_var=1.0), [0, 1, 2, 3, 4, 5, 6, 7, 49, 99, 199, 399]
    tables = {
        "gaussian": [0, 0.87, 1.53, 2.16, 2.79, 3.41, 4.04, 4.67, 32.1, 65.2, 131.7, 264.8],
        "orthogonal": [-2, -1.84, -1.81, -1.81, -1.81, -1.82, -1.83, -1.84,
                       -1.956, -1.976, -1.987, -1.994],
    }  # fmt: skip
    for weights, table in tables.items():
        fw = mf.finite_width(net, 400, 100, q=0.5, weights=weights)
        for value, printed in zip(fw.fluctuation[at] * 100, table, strict=True):
            digits = len(f"{printed}".partition(".")[2])
            assert abs(value - printed) <= 0.51 * 10.0**-digits


def by_hand(net: mf.Network, q: float, widths: list[int], orthogonal: bool):
    """The recursions as they are written, one layer after another; `widths` with the inputs."""
    fan = np.array(widths, float)
    scale = np.minimum(1, fan[:-1] / fan[1:])  # a tall orthogonal matrix is a part of a larger one
    v = (-2.0 * orthogonal) * scale
    K, V, G = [q], [v[0] * (q - net.bias_var) ** 2], [0.0]
    for layer in range(1, len(widths) - 1):
        m = net.activation.moments(np.array([K[-1]]), derivatives=True)
        second, fourth = m.value[0, 1], m.value[0, 2]
        slope, bend = net.weight_var * m.first[0, 1], net.weight_var * m.second[0, 1]
        ratio = fan[layer] / fan[layer - 1]
        source = net.weight_var**2 * (fourth - second**2 + v[layer] * second**2)
        G.append(ratio * (slope * G[-1] + bend * V[-1] / 2))
        V.append(source + ratio * slope**2 * V[-1])
        K.append(net.weight_var * second + net.bias_var)
    return np.array(K), np.array(V) / fan[:-1], np.array(G) / fan[:-1]


@settings(max_examples=20)
@given(
    st.sampled_from(["tanh", "gelu", "elu", "crelu"]),
    st.floats(0.5, 2.5),
    st.floats(0.0, 0.5),
    st.floats(0.5, 2.0),
    st.lists(st.integers(2, 50), min_size=4, max_size=7),
    st.booleans(),
)
def test_any_network_by_hand(name, weight_var, bias_var, q, widths, orthogonal) -> None:
    net = mf.Network(activation(name), weight_var, bias_var)
    weights = "orthogonal" if orthogonal else "gaussian"
    fw = mf.finite_width(net, len(widths) - 1, widths, q=q, weights=weights)
    K, V, G = by_hand(net, q, widths, orthogonal)
    np.testing.assert_allclose(fw.kernel, K, rtol=1e-11)
    np.testing.assert_allclose(fw.four_point, V, rtol=1e-10, atol=1e-11 * np.max(K) ** 2)
    np.testing.assert_allclose(fw.kernel_correction, G, rtol=1e-10, atol=1e-11 * np.max(K))


def test_many_layers_are_interpolated_as_well() -> None:
    net = mf.Network("tanh", weight_var=1.0)
    fw = mf.finite_width(net, 1500, 10, q=1.0)
    K, V, G = by_hand(net, 1.0, [10] * 1501, orthogonal=False)
    np.testing.assert_allclose(fw.kernel, K, rtol=1e-11)
    np.testing.assert_allclose(fw.four_point, V, rtol=1e-10)
    np.testing.assert_allclose(fw.kernel_correction, G, rtol=1e-10, atol=1e-15)


@given(st.lists(st.tuples(st.floats(-1.5, 1.5), st.floats(-2, 2)), max_size=40), st.floats(-3, 3))
def test_linear_recurrences(steps: list[tuple[float, float]], first: float) -> None:
    gain, source = np.array(steps).reshape(-1, 2).T
    x, rounding = [first], [0.0]
    for a, s in steps:
        x.append(a * x[-1] + s)
        rounding.append(abs(a) * rounding[-1] + 2e-15 * (abs(a * x[-2]) + abs(s)))
    assert np.all(np.abs(carried(first, gain, source) - x) <= rounding)


# -- laws of depth --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phi", "weight_var", "slope"),
    [("relu", 2.0, 5.0), ("identity", 1.0, 2.0), ("abs", 0.7, 2.0)],
)
def test_scale_invariant(phi: str, weight_var: float, slope: float) -> None:
    """`V4/K^2` grows by 5 a layer for ReLU, by 3 with orthogonal weights; unequal widths add 1/n.

    Also where the kernel has left what float64 holds long ago.
    """
    widths = [7, 30, 11, 64, 5]
    net = mf.Network(phi, weight_var)
    fw = mf.finite_width(net, 5, widths, q=0.3)
    exact = slope * np.concatenate([[0.0], np.cumsum(1 / np.array(widths[:-1]))])
    np.testing.assert_allclose(fw.fluctuation, exact, rtol=1e-13)
    np.testing.assert_array_equal(fw.shift, 0.0)
    deep = mf.finite_width(net, 3000, 100, weights="orthogonal", q=0.3)
    np.testing.assert_allclose(
        deep.fluctuation * 100, -2 + (slope - 2) * np.arange(3000.0), rtol=1e-9, atol=1e-9
    )
    assert str(deep.asymptote) == f"V4/K^2 grows by {slope - 2:g} a layer (scale-invariant)"


@pytest.mark.parametrize(
    ("phi", "weight_var", "bias_var", "weights", "kind", "rate"),
    [
        ("tanh", 1.0, 0.0, "gaussian", "K*=0", 2 / 3),
        ("elu", 1.0, 0.0, "gaussian", "K*=0", 2 / 3),
        ("tanh", 1.0, 0.0, "orthogonal", "K*=0", -2.0),
        ("elu", 1.0, 0.0, "orthogonal", "K*=0", -2.0),
        ("tanh", 0.8, 0.0, "gaussian", "dies out", 2.0),
        ("tanh", 1.5, 0.1, "orthogonal", "stable fixed point", None),
    ],
)
def test_where_depth_takes_the_vertex(phi, weight_var, bias_var, weights, kind, rate) -> None:
    net = mf.Network(phi, weight_var, bias_var)
    fw = mf.finite_width(net, 8000, 50, q=0.5, weights=weights)
    r, law = fw.fluctuation * 50, fw.asymptote
    assert law.universality_class == kind
    if rate is not None:
        assert law.rate == pytest.approx(rate, rel=2e-6)
    if law.kind == "linear":  # up to log(l)/l
        assert (r[-1] - r[4000]) / 3999 == pytest.approx(law.rate, rel=2e-3)
    else:
        assert law.kind == "saturates"
        assert r[-1] == pytest.approx(law.rate, rel=3e-3)


def test_half_stable_and_unstable_points() -> None:
    """`C_W^2 (<phi^4> - <phi^2>^2)/K^2` a layer: 4.9042 for GELU at its critical point."""
    (gelu,) = mf.critical_points("gelu")
    law = mf.finite_width(gelu, 20, 100).asymptote
    assert (law.kind, law.universality_class) == ("linear", "half-stable")
    assert law.rate == pytest.approx(4.9042, abs=5e-5)
    fw = mf.finite_width(mf.critical("gelu"), 200, 100)
    assert fw.asymptote.kind == "exponential"
    assert fw.fluctuation[-1] / fw.fluctuation[-2] == pytest.approx(fw.asymptote.rate, rel=1e-9)
    np.testing.assert_array_equal(fw.kernel, 1.0)  # a FixedPoint stays, unstable or not
    exploding = mf.finite_width(mf.Network("gelu", weight_var=3.0), 5000, 100, q=1.0)
    assert exploding.asymptote.kind == "unknown"
    assert np.isinf(exploding.kernel[-1]) and np.isnan(exploding.fluctuation[-1])
    assert any("overflows" in warning for warning in exploding.warnings)


def test_a_signal_that_dies_out_is_named() -> None:
    fw = mf.finite_width(mf.Network("shifted_relu", weight_var=0.5), 60, 100, q=1.0)
    assert fw.kernel[-1] == 0 and fw.warnings[0].startswith("the signal dies out")


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long doubles are doubles")
@pytest.mark.parametrize(
    ("phi", "weight_var", "bias_var", "vertex"),
    [(np.tanh, 1.0, 0.0, 0), (np.tanh, 1.0, 0.0, -2), (np.sin, 1.0, 0.0, 0),
     (np.tanh, 1.05, 0.01, 0)],
)  # fmt: skip
def test_errors_are_bounds_and_grow_no_faster_than_depth(
    phi: Callable, weight_var: float, bias_var: float, vertex: int
) -> None:
    """Beside 18 digits, by the trapezoidal rule: of entire functions it leaves exp(-2 pi^2/h^2)."""
    depth, n = 600, 100
    x = np.arange(-44, 45, dtype=np.longdouble) / 4
    mass = np.exp(-(x**2) / 2) / np.sum(np.exp(-(x**2) / 2))
    first, second = (x**2 - 1) / 2, (x**4 - 6 * x**2 + 3) / 4
    K = np.longdouble(0.5)
    layers = [(K, vertex * ((K - bias_var) / K) ** 2, np.longdouble(0))]
    for _ in range(depth - 1):
        K, r, g = layers[-1]
        square = phi(np.sqrt(K) * x) ** 2
        E, fourth, P, B = (mass @ part for part in
                           (square, square**2, square * first, square * second))  # fmt: skip
        after = weight_var * E + bias_var
        P, B = weight_var * P / after, weight_var * B / after
        r_after = (weight_var / after) ** 2 * (fourth - (1 - vertex) * E**2) + P**2 * r
        layers.append((after, r_after, P * g + B * r / 2))
    weights = "orthogonal" if vertex else "gaussian"
    net = mf.Network(phi.__name__, weight_var, bias_var, weights=weights)
    fw = mf.finite_width(net, depth, n, q=0.5)
    found = [(fw.kernel, fw.kernel_error), (fw.fluctuation * n, fw.fluctuation_error * n),
             (fw.shift * n, fw.shift_error * n)]  # fmt: skip
    for (value, error), true in zip(found, np.array(layers).T, strict=True):
        assert np.all(np.abs(value - true) <= error + 1e-18)
        # rounding of each layer adds up, and no more: a kernel that has lost digits is small
        assert np.all(error <= 1e-11 * np.arange(1, depth + 1) * np.maximum(np.abs(value), 1))


def test_at_zero_there_are_limits() -> None:
    """At the point `K* = 0` of tanh a network is linear: `V4/K^2 = 2 (l - 1)`."""
    (tanh,) = mf.critical_points("tanh")
    fw = mf.finite_width(tanh, 6, 10)
    np.testing.assert_array_equal(fw.kernel, 0.0)
    np.testing.assert_allclose(fw.fluctuation * 10, 2 * np.arange(6.0), rtol=1e-13)
    np.testing.assert_array_equal(fw.four_point, 0.0)
    assert "the kernel is 0" in fw.warnings[0]


@pytest.mark.parametrize("name", ["tanh", "elu", "gelu", "sigmoid", "softplus", "hard_tanh"])
def test_ratios_meet_where_sums_end(name: str) -> None:
    """Next to zero they are had from powers of `q`, and agree with sums over samples."""
    q = 2.0**-36 * np.array([1 - 1e-12, 1 + 1e-12])
    for table in (averages(activation(name), q), slope_averages(activation(name), q)):
        for part, error in table.errors.items():
            value = getattr(table, part)
            assert np.isfinite(error).all(), part
            assert abs(value[1] - value[0]) <= error.sum() + 1e-11 * abs(value[0]), part


# -- ensembles ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weights",
    ["gaussian", "orthogonal", ensembles.LowRank(0.25), ensembles.OrthogonalLowRank(0.5)],
    ids=str,
)
def test_the_vertex_of_weights(weights) -> None:
    """`2 (spread - 1)` of square matrices; of others as the lengths of `W x` have it."""
    ensemble = ensembles.ensemble_of(weights)
    assert vertex_of(ensemble, 64, 64) == pytest.approx(2 * (ensemble.spread - 1), rel=1e-12)
    rng, draws = np.random.default_rng(5), 3000

    def haar(rows: int, columns: int) -> np.ndarray:
        tall = np.linalg.qr(rng.normal(size=(draws, max(rows, columns), min(rows, columns))))[0]
        return tall if rows >= columns else tall.swapaxes(1, 2)

    for out, into in ((8, 16), (16, 8), (12, 12)):
        rank = round(getattr(ensemble, "ratio", 1.0) * min(out, into))
        if type(ensemble) is ensembles.Orthogonal:
            column = haar(out, into)[:, :, 0]
        elif type(ensemble) is ensembles.Gaussian:
            column = rng.normal(size=(draws, out))
        else:
            gaussian = type(ensemble) is ensembles.LowRank
            inner = rng.normal(size=(draws, rank)) if gaussian else haar(rank, into)[:, :, 0]
            column = np.einsum("dij,dj->di", haar(out, rank), inner)
        length = np.sum(column**2, axis=1)
        length /= np.mean(length)
        spread, size = np.var(length), vertex_of(ensemble, out, into) / into + 2 / out
        error = np.std((length - 1) ** 2) / draws**0.5
        assert abs(spread - size) <= 5 * error + 3 * size / rank + 1e-25  # order 1/n^2


def test_other_weights_are_refused() -> None:
    for weights in (ensembles.Sparse(0.5), ensembles.SparseOrthogonal(0.5)):
        with pytest.raises(ValueError, match=r"weights: .*gaussian, orthogonal, LowRank"):
            mf.finite_width(mf.critical("relu"), 3, 10, weights=weights)
    assert vertex_of(ensembles.DeltaOrthogonal(), 10, 10) == -2  # in dense layers orthogonal
    with pytest.raises(ValueError, match=r"width: .*rank 0; take a width of at least 10"):
        mf.finite_width(mf.critical("relu"), 3, 4, weights=ensembles.LowRank(0.1))


# -- what is printed, and what is refused ---------------------------------------------------------


def test_printing_and_dictionaries() -> None:
    fw = mf.finite_width(mf.critical("tanh"), 20, [30] * 10 + [40] * 10)
    text = str(fw)
    assert "width 30 to 40" in text and "\n  20 " in text and repr(fw) == text
    record = json.loads(json.dumps(fw.to_dict()))
    assert record["kernel"] == [1.0] * 20 and len(record["gradient_log_mean"]) == 20
    assert fw.error < 1e-12
    one = mf.finite_width(mf.critical("tanh"), 1, 30)
    assert len(one.kernel) == 1 and one.to_dict()["four_point"] == [0.0]
    assert one.gradient_log_norm.variance.shape == (1,)


def test_the_kernel_of_orthogonal_weights_is_fixed_in_the_first_layer() -> None:
    fw = mf.finite_width(mf.critical("tanh", weights="orthogonal"), 3, 64)
    assert fw.variance_std[0] == 0.0
    own = 1 - fw.network.bias_var
    assert fw.sampled_variance_std[0] == pytest.approx(np.sqrt(2 * (1 - own**2) / 64))
    gaussian = mf.finite_width(mf.critical("tanh"), 3, 64)
    np.testing.assert_allclose(gaussian.variance_std, np.sqrt(gaussian.four_point))


NET = mf.Network("tanh", weight_var=1.5, bias_var=0.1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"depth": 0}, ValueError, "depth: must be from 1 to 10000000, got 0"),
        ({"depth": 2.5}, TypeError, "depth: must be a whole number, got 2.5"),
        ({"depth": 10**9}, ValueError, "depth: must be from 1 to 10000000"),
        ({"width": 0}, ValueError, "width: must be at least 1, got 0"),
        ({"width": 30.0}, TypeError, "width: must be a whole number, or"),
        ({"width": [10, 20]}, ValueError, "width: must be one number, or one for each of 5"),
        ({"q": -1.0}, ValueError, "q: a variance must be finite and >= 0, got -1.0"),
        ({"q": [1.0, 2.0]}, ValueError, "q: must be one variance"),
        ({"q": 0.05, "weights": "orthogonal"}, ValueError, "q: .* must be at least as much"),
        ({"weights": "haar"}, ValueError, "weights: must be one of"),
        ({"network": "tanh"}, TypeError, "network: must be a Network"),
        ({"network": mf.Network("tanh", 1.0)}, ValueError, "no stable fixed point"),
    ],
)
def test_what_is_refused(arguments: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        mf.finite_width(**{"network": NET, "depth": 5, "width": 10, **arguments})
