"""Phase diagrams: against direct moments and root finding, references, and the theory."""

import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

import meanfield as mf
from meanfield.bivariate import Covariance
from meanfield.gaussian import MOMENTS
from meanfield.network import Phase
from meanfield.phase.branches import Landscape, follow
from meanfield.phase.tables import table_of
from references import load_reference

brentq: Any = optimize.brentq
_PHI2, _DPHI2 = MOMENTS.index("phi2"), MOMENTS.index("dphi2")
WEIGHTS, BIASES = np.linspace(0.5, 4.0, 23), np.linspace(0.0, 0.5, 11)


def moments(activation: mf.Activation, q: float) -> tuple[float, float, float]:
    """`E[phi^2]`, its derivative and `E[phi'^2]`, directly."""
    m = activation.moments(np.array([q]), derivatives=True)
    assert m.first is not None
    return m.value[0, _PHI2], m.first[0, _PHI2], m.value[0, _DPHI2]


def limit(activation: mf.Activation, w: float, b: float, q0: float = 1.0) -> float:
    """Where iteration from `q0` goes, if it does so in a few hundred steps; else NaN."""
    q = q0
    for _ in range(400):
        new = w * moments(activation, q)[0] + b
        if new > 1e8:
            return np.inf
        if new < 1e-8:
            return 0.0
        if abs(new - q) < 1e-13 * q:
            return new
        q = new
    return np.nan


# name, parameters, what makes it hard
PROBLEMS: dict[str, tuple[dict[str, Any], str]] = {
    "tanh": ({}, "smooth, marginal at zero"),
    "hard_tanh": ({}, "two kinks, linear to all digits at small q"),
    "crelu": ({"tau": 1.0, "m": 1.5}, "silent around zero"),
    "sin": ({}, "cannot be computed at large q"),
    "gaussian": ({}, "E' < 0 everywhere"),
    "gelu": ({}, "half-stable points, and explosion"),
    "relu": ({}, "E' is constant"),
    "shifted_relu": ({"tau": 0.5}, "tangent points along the edge"),
    "softplus": ({}, "not zero at zero"),
    "step": ({}, "jumps"),
    "hard_shrink": ({}, "jumps away from zero"),
    "identity": ({}, "never chaotic"),
    "square": ({}, "grows faster than q"),
}


SLOW = [pytest.param(n, marks=pytest.mark.slow) if n == "hard_shrink" else n for n in PROBLEMS]


@pytest.mark.parametrize("name", SLOW)
def test_random_points_against_iteration(name: str) -> None:
    activation = mf.Activation(name, **PROBLEMS[name][0])
    diagram = mf.phase_diagram(activation, WEIGHTS, BIASES)
    assert diagram.q.shape == diagram.shape == (11, 23)
    rng = np.random.default_rng(0)
    compared = 0
    for i, j in zip(rng.integers(11, size=16), rng.integers(23, size=16), strict=True):
        w, b, q = float(WEIGHTS[j]), float(BIASES[i]), float(diagram.q[i, j])
        end = limit(activation, w, b)
        if np.isnan(end):
            continue  # too slow to iterate: the equation is checked below all the same
        compared += 1
        assert (q == end) or abs(q / end - 1) < 1e-10
        if not 0 < q < np.inf:
            continue
        second, first, gradient = moments(activation, q)
        assert abs(w * second + b - q) < 1e-12 * q
        assert diagram.variance_slope[i, j] == pytest.approx(w * first, rel=1e-10, abs=1e-12)
        assert diagram.chi1[i, j] == pytest.approx(w * gradient, rel=1e-11)
        assert diagram.phase[i, j] == (Phase.CHAOTIC if w * gradient > 1 else Phase.ORDERED)
    assert compared >= 9


@pytest.mark.parametrize("name", ["tanh", "hard_tanh", "crelu", "sin", "gaussian", "step"])
def test_correlations_against_root_finding(name: str) -> None:
    activation = mf.Activation(name, **PROBLEMS[name][0])
    top = 12.0 if name == "crelu" else 4.0
    weights = np.linspace(top / 8, top, 9)
    diagram = mf.phase_diagram(activation, weights, [0.0, 0.03, 0.4])
    rows, columns = np.nonzero(diagram.phase == Phase.CHAOTIC)
    assert len(rows) >= 3
    for i, j in list(zip(rows, columns, strict=True))[:: max(1, len(rows) // 8)]:
        q, w = diagram.q[i, j], weights[j]
        covariance = Covariance(activation, float(q))

        def excess(g: float, covariance=covariance, q=q, w=w) -> float:
            return float(covariance.difference(np.array([g])).value[0]) * w - q * g

        g = 1.0 if excess(1.0) >= -1e-14 else brentq(excess, 1e-9, 1.0, xtol=1e-15, rtol=1e-14)
        slope = covariance.difference(np.array([g])).slope[0] * w / q
        error = diagram.correlation_error[i, j]
        assert error < 1e-8
        assert abs(diagram.correlation[i, j] - (1 - g)) <= error + 1e-13
        assert diagram.depth_scale_c[i, j] == pytest.approx(-1 / np.log(slope), rel=1e-9)


# -- reference values --


def _reference_network(record: dict[str, Any]) -> tuple[mf.Activation, float, float]:
    names = {"leaky_relu_0.01": ("leaky_relu", {"alpha": 0.01}),
             "shifted_relu_0.5": ("shifted_relu", {"tau": 0.5}),
             "soft_threshold_0.5": ("soft_threshold", {"tau": 0.5})}  # fmt: skip
    name, parameters = names.get(record["activation"], (record["activation"], {}))
    if record["params"] and name not in ("leaky_relu", "shifted_relu", "soft_threshold"):
        name = name.split("_")[0]
        parameters: dict[str, Any] = {
            k: float(v) for k, v in record["params"].items() if k in ("tau", "m")
        }
    return mf.Activation(name, **parameters), float(record["sw2"]), float(record["sb2"])


RECORDS = load_reference("fixedpoints")["records"]


@pytest.mark.parametrize("record", RECORDS, ids=[r["label"] for r in RECORDS])
def test_reference_fixed_points(record: dict[str, Any]) -> None:
    activation, w, b = _reference_network(record)
    stable = [p for p in record["fixed_points"] if p["stability"] == "stable"]
    for point in stable:
        q0 = float(point["q"]) * 1.001
        diagram = mf.phase_diagram(activation, w, b, q0=q0)
        values = {f: getattr(diagram, f)[0, 0] for f in ("q", "chi1", "variance_slope")}
        assert diagram.n_stable[0, 0] == len(stable)
        for field, key in (("q", "q"), ("chi1", "chi1"), ("variance_slope", "V1")):
            if point.get(key) is not None:
                assert values[field] == pytest.approx(float(point[key]), rel=1e-11, abs=1e-13)
        if point.get("c_star") is not None:
            assert diagram.correlation[0, 0] == pytest.approx(float(point["c_star"]), abs=1e-10)
        if point.get("phase") is not None:
            assert str(Phase(diagram.phase[0, 0])) == point["phase"]
        for field, key in (("depth_scale_q", "xi_q"), ("depth_scale_c", "xi_c")):
            if point.get(key) not in (None, "inf"):
                expected = float(point[key])
                assert getattr(diagram, field)[0, 0] == pytest.approx(expected, rel=1e-8)


# -- phases, and the edge between them --


def test_phases_of_tanh_are_those_on_both_sides_of_the_edge() -> None:
    diagram = mf.phase_diagram("tanh", np.linspace(0.5, 4.0, 64), np.linspace(0.0, 0.5, 64))
    edge = diagram.edge
    assert np.all(edge.valid) and len(edge.q) > 100
    assert edge.bias_var[-1] == pytest.approx(0.5, rel=1e-12)  # it ends on the border
    assert edge.weight_var[0] == pytest.approx(1.0, rel=1e-8)
    border = np.interp(diagram.bias_var, edge.bias_var, edge.weight_var)
    # between its points the drawn curve is off by less than its steps squared
    away = np.abs(diagram.weight_var - border[:, None]) > 1e-3
    chaotic = diagram.weight_var > border[:, None]
    np.testing.assert_array_equal((diagram.phase == Phase.CHAOTIC)[away], chaotic[away])
    assert np.all(diagram.edge_reached[1:])


def test_the_phase_is_not_that_of_autodiff_at_the_end_of_the_correlation_map() -> None:
    """There `chi1` of tanh at q = 1 comes out 0.182, and a third of the diagram ordered."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / np.sqrt(2 * np.pi)
    diagram = mf.phase_diagram("tanh", np.linspace(0.5, 4.0, 32), np.linspace(0.0, 0.5, 32))
    chi1 = np.empty(diagram.shape)
    for (i, j), q in np.ndenumerate(diagram.q):
        slope = 1 / np.cosh(np.sqrt(q) * nodes) ** 2
        chi1[i, j] = diagram.weight_var[j] * np.sum(weights * slope**2)
    clear = np.abs(chi1 - 1) > 1e-3  # 80 nodes know chi1 to 1e-4
    np.testing.assert_array_equal((diagram.phase == Phase.CHAOTIC)[clear], (chi1 > 1)[clear])
    np.testing.assert_allclose(diagram.chi1, chi1, rtol=2e-4)
    assert np.mean(diagram.phase == Phase.CHAOTIC) > 0.4


@pytest.mark.parametrize("name", ["tanh", "hard_tanh", "crelu", "elu", "gelu", "sin", "erf"])
def test_points_on_the_edge_are_critical(name: str) -> None:
    activation = mf.Activation(name, **PROBLEMS.get(name, ({}, ""))[0])
    for q in (0.7, 2.0):
        line = mf.critical_line(activation, q)
        if not line.valid or line.variance_slope >= 1:
            continue
        diagram = mf.phase_diagram(activation, float(line.weight_var), float(line.bias_var), q0=q)
        assert diagram.q[0, 0] == pytest.approx(q, rel=1e-11)
        assert diagram.phase[0, 0] == Phase.CRITICAL
        assert diagram.chi1[0, 0] == 1.0 and diagram.correlation[0, 0] == 1.0
        assert diagram.depth_scale_c[0, 0] == np.inf


# -- zero, infinity, several fixed points --


def test_zero() -> None:
    below = mf.phase_diagram("tanh", [0.25, 1.0, 1.5], 0.0)
    assert below.q[0, :2].tolist() == [0.0, 0.0] and below.q[0, 2] > 0
    np.testing.assert_allclose(below.chi1[0, :2], [0.25, 1.0], rtol=1e-14)
    np.testing.assert_allclose(below.variance_slope[0, :2], [0.25, 1.0], rtol=1e-14)
    assert below.phase[0].tolist() == [Phase.ORDERED, Phase.CRITICAL, Phase.CHAOTIC]
    assert below.n_stable[0].tolist() == [1, 0, 1]  # marginal is not stable
    assert below.depth_scale_c[0, 1] == np.inf
    assert below.depth_scale_q[0, 0] == pytest.approx(1 / np.log(4), rel=1e-13)
    # linear to all digits below q = 0.01, and no continuum
    assert mf.phase_diagram("hard_tanh", 1.0, 0.0).q[0, 0] == 0.0
    # a kink at zero: the slopes approach their limits like sqrt(q)
    elu = mf.phase_diagram("elu", 0.5, 0.0)
    assert elu.q[0, 0] == 0.0 and elu.chi1[0, 0] == pytest.approx(0.5, rel=1e-10)
    silent = mf.phase_diagram("shifted_relu", 0.7, [0.0, 1e-12])
    assert silent.q[:, 0].tolist() == [0.0, 1e-12]
    step = mf.phase_diagram("hard_shrink", 0.5, 0.0)
    assert step.q[0, 0] == 0.0 and np.isnan(step.correlation[0, 0])


def test_scale_invariance() -> None:
    for q0 in (1.0, 0.3):
        diagram = mf.phase_diagram("relu", [1.9, 2.0, 2.1], [0.0, 0.1], q0)
        assert diagram.q[0].tolist() == [0.0, q0, np.inf]  # a continuum leaves q0 where it is
        assert diagram.q[1, 0] == pytest.approx(2.0, rel=1e-12)
        assert np.isinf(diagram.q[1, 1:]).all()
        codes = [[Phase.ORDERED, Phase.CRITICAL, Phase.EXPLODES],
                 [Phase.ORDERED, Phase.EXPLODES, Phase.EXPLODES]]  # fmt: skip
        assert diagram.phase.tolist() == codes
        assert diagram.n_stable.tolist() == [[1, 0, 0], [1, 0, 0]]
        assert np.isnan(diagram.chi1[diagram.phase == Phase.EXPLODES]).all()
        assert diagram.chi1[0, 1] == diagram.variance_slope[0, 1] == 1.0
    assert len(diagram.edge.q) == 1 and diagram.edge.weight_var[0] == pytest.approx(2.0)


def test_bistable_clipped_relu() -> None:
    """Sparsity 0.9 and slope 0.9: two stable fixed points (arXiv 2402.16184)."""
    tau, low = 1.2815515655446004, 0.05

    def slope(m: float) -> float:
        point = mf.critical(mf.Activation("crelu", tau=tau, m=m))
        return point.variance_slope - 0.9

    m = brentq(slope, 0.5, 6.0, xtol=1e-12)
    activation = mf.Activation("crelu", tau=tau, m=m)
    point = mf.critical(activation)
    grids = point.weight_var * np.linspace(0.98, 1.02, 9), point.bias_var * np.linspace(0.9, 1.0, 9)
    diagram = mf.phase_diagram(activation, *grids, q0=1.0)
    assert np.any(diagram.n_stable == 2) and diagram.n_stable.max() == 2
    bottom, top = diagram.branch(0.0), diagram.branch(np.inf)
    several = diagram.n_stable > 1
    assert np.all(bottom.q[several] < top.q[several])
    np.testing.assert_allclose(bottom.q[~several], top.q[~several], rtol=1e-9)
    either = np.isclose(diagram.q, bottom.q, rtol=1e-9) | np.isclose(diagram.q, top.q, rtol=1e-9)
    assert np.all(either)
    assert "several stable fixed points" in str(diagram)
    for branch, q0 in ((bottom, low), (top, 1e3)):
        for i, j in np.argwhere(several)[:3]:
            w, b, q = grids[0][j], grids[1][i], q0
            for _ in range(60):
                q = w * moments(activation, q)[0] + b
            assert abs(np.log(branch.q[i, j] / q)) < 0.5 * abs(np.log(top.q[i, j] / bottom.q[i, j]))


def test_half_stable_points_are_reached_from_their_side_only() -> None:
    point = mf.critical_points("gelu")[-1]
    grid = [float(point.weight_var)], [float(point.bias_var)]
    diagram = mf.phase_diagram("gelu", *grid, q0=1.0)
    # a double root: half the digits; the variance falls towards 3.56 from above only
    assert diagram.n_stable[0, 0] == 1
    from_above = diagram.branch(30.0)
    # sqrt(2 rounding / curvature) of q, with a curvature of 3e-4
    assert from_above.q[0, 0] == pytest.approx(point.q, rel=1e-5)
    assert from_above.error[0, 0] > 1e-9  # and it says so
    assert abs(from_above.q[0, 0] / point.q - 1) <= from_above.error[0, 0]


def test_where_iteration_jumps_over_a_fixed_point() -> None:
    """A bump: large variances are sent far down, past the upper fixed point."""
    activation = mf.Activation(lambda x: 3 * x * x * jnp.exp(-x * x / 4), name="bump")
    weights, biases = np.linspace(0.05, 1.5, 12), np.linspace(0.0, 0.6, 9)
    table = table_of(activation)
    for q0 in (1.0, 300.0):
        diagram = mf.phase_diagram(activation, weights, biases, q0)
        q = np.full(diagram.shape, q0)
        for _ in range(3000):
            q = np.maximum(weights * table(q) + biases[:, None], table.low)
        settled = np.abs(weights * table(q) + biases[:, None] - q) < 1e-12 * q
        assert settled.sum() > 50 and np.all(diagram.phase != Phase.UNRESOLVED)
        np.testing.assert_allclose(diagram.q[settled], q[settled], rtol=1e-8)


def test_what_cannot_be_computed_says_so() -> None:
    # the fixed point 1 / (1 - 0.5 * 1.9999999999) is beyond every table, and finite
    beyond = mf.phase_diagram("relu", 2 - 1e-11, 0.5)
    assert np.isnan(beyond.q[0, 0]) and beyond.phase[0, 0] == Phase.UNRESOLVED
    assert beyond.n_stable[0, 0] == -1
    # x sin x is never resolved at the variances that it reaches
    wild = mf.phase_diagram(lambda x: x * jnp.sin(x), [0.5, 3.0], 0.1)
    assert wild.phase[0].tolist() == [Phase.ORDERED, Phase.UNRESOLVED]
    assert np.isfinite(wild.q[0]).tolist() == [True, False]
    with pytest.raises(mf.UnresolvedError, match=r"q0: .* tabulated up to"):
        mf.phase_diagram(jnp.sinh, 1.0, 0.1, q0=1e6)
    assert mf.phase_diagram(jnp.sinh, 1.0, 0.1).phase[0, 0] == Phase.EXPLODES


# -- the table --


@pytest.mark.parametrize("name", PROBLEMS)
def test_errors_of_the_table_are_honest(name: str) -> None:
    activation = mf.Activation(name, **PROBLEMS[name][0])
    table = table_of(activation)
    rng = np.random.default_rng(0)
    q = np.exp(rng.uniform(np.log(table.low), np.log(table.high), 300))
    m = activation.moments(q, derivatives=True)
    assert m.first is not None and m.first_error is not None
    pairs = (m.value[:, _PHI2], m.error[:, _PHI2]), (m.first[:, _PHI2], m.first_error[:, _PHI2]), (
        m.value[:, _DPHI2], m.error[:, _DPHI2])  # fmt: skip
    for which, (value, error) in enumerate(pairs):
        if which == 2 and table.infinite_slope:
            continue
        assert np.all(np.abs(table(q, which) - value) <= table.error_at(q, which) + error)
        assert np.all(
            table.error_at(q, which) <= 1e-9 * (np.abs(value) + m.value[:, _PHI2] / q + q)
        )
    assert np.isnan(table(np.array([0.5 * table.low, 2 * table.high]))).all()


pieces = st.lists(st.tuples(st.floats(-3, 3), st.floats(-2, 2)), min_size=2, max_size=5)


@settings(max_examples=12)
@given(pieces, st.floats(0.05, 2.0), st.floats(0.0, 1.0))
def test_piecewise_linear_activations(knots, w: float, b: float) -> None:
    """Every `q` solves its equation, is the first crossing from `q0`, and is counted if stable."""
    at = np.unique(np.round([k for k, _ in knots], 1))
    heights = np.resize([h for _, h in knots], len(at))

    def phi(x):
        slopes = np.diff(np.concatenate([[0.0], heights]))
        return sum(s * np.maximum(x - k, 0.0) for s, k in zip(slopes, at, strict=True))

    activation = mf.Activation(phi, kinks=at, name="broken line")
    table, biases = table_of(activation), np.array([b, b + 0.1])
    points, _ = follow(table, np.array([w]), biases, 1.0)
    land = Landscape(table, np.array([w]), 1.0)
    stable, unstable = land.crossings(biases, True)[0], land.crossings(biases, False)[0]
    for i, level in enumerate(biases):
        q = points.q[0, i]
        grid = np.geomspace(table.low, table.high, 20001)
        rises = np.sign(grid - w * table(grid) - level)
        flips = np.flatnonzero(np.diff(rises))
        assert np.sum(np.diff(rises)[flips] > 0) <= stable[i] + 1
        assert stable[i] - unstable[i] in (-1, 0, 1)  # they alternate
        if 0 < q < np.inf:
            assert abs(w * table(np.array([q]))[0] + level - q) <= 1e-9 * q
            between = (grid > min(q, 1.0) * (1 + 1e-6)) & (grid < max(q, 1.0) * (1 - 1e-6))
            assert np.all(rises[between] == (-1 if q > 1 else 1))
        elif q == np.inf:
            assert np.all(rises[grid > 1] <= 0)


# -- what the function takes and gives --


def test_saving_and_loading(tmp_path) -> None:
    diagram = mf.phase_diagram("tanh", np.linspace(0.5, 3, 5), np.linspace(0, 0.2, 4))
    again = mf.PhaseDiagram.load(diagram.save(tmp_path / "tanh.npz"))
    numbers, others = diagram.to_dict(), again.to_dict()
    assert numbers.keys() == others.keys()
    for name, value in numbers.items():
        np.testing.assert_array_equal(value, others[name])
    text = diagram.save(tmp_path / "tanh.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["q"] == diagram.q.tolist()
    rows = np.genfromtxt(diagram.save(tmp_path / "tanh.csv"), delimiter=",", names=True)
    np.testing.assert_array_equal(rows["q"].reshape(4, 5), diagram.q)
    np.testing.assert_array_equal(rows["weight_var"].reshape(4, 5)[0], diagram.weight_var)
    with pytest.raises(ValueError, match=r"path: must end in \.npz, \.json or \.csv"):
        diagram.save(tmp_path / "tanh.pdf")
    assert str(diagram).startswith("PhaseDiagram of tanh, 4 x 5, from q0 = 1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(([1.0, 1.0], 0.1), "weight_var: must increase, but entry 1"),
     (([0.0, 1.0], 0.1), "weight_var: a variance must be finite and > 0"),
     ((1.0, [0.1, -0.1]), "bias_var: a variance must be finite and >= 0"),
     ((np.ones((2, 2)), 0.1), "weight_var: must be a one-dimensional grid"),
     ((1.0, 0.1, -1.0), "q0: must be a variance"), ((1.0, 0.1, np.nan), "q0: must be a variance")],
)  # fmt: skip
def test_refusals(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mf.phase_diagram("tanh", *arguments)


def test_both_settings_of_x64(x64: bool) -> None:
    diagram = mf.phase_diagram("tanh", [1.0, 2.25], 0.0025)
    assert diagram.q.dtype == diagram.correlation.dtype == np.float64
    assert diagram.q[0, 1] == pytest.approx(0.798387114308096, rel=1e-13)
    assert diagram.correlation[0, 1] == pytest.approx(0.05208623637174848, abs=1e-11)
