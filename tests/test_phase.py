"""Phase diagrams: against direct moments and root finding, references, and the theory."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import load_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

import meanfield as mf
from meanfield.bivariate import Covariance
from meanfield.gaussian import MOMENTS
from meanfield.network import Phase
from meanfield.phase.branches import Landscape
from meanfield.phase.tables import table_of

_PHI2, _DPHI2 = MOMENTS.index("phi2"), MOMENTS.index("dphi2")
WEIGHTS, BIASES = np.linspace(0.5, 4.0, 23), np.linspace(0.0, 0.5, 17)


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
PROBLEMS: dict[str, tuple[dict[str, float], str]] = {
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


@pytest.mark.parametrize("name", PROBLEMS)
def test_random_points_against_iteration(name: str) -> None:
    activation = mf.Activation(name, **PROBLEMS[name][0])
    diagram = mf.phase_diagram(activation, WEIGHTS, BIASES)
    assert diagram.q.shape == diagram.shape == (17, 23)
    rng = np.random.default_rng(0)
    compared = 0
    for i, j in zip(rng.integers(17, size=25), rng.integers(23, size=25), strict=True):
        w, b, q = WEIGHTS[j], BIASES[i], diagram.q[i, j]
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
    assert compared >= 15


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
        parameters = {k: float(v) for k, v in record["params"].items() if k in ("tau", "m")}
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
