"""Every number of the reference tables `maps.json` and `critical.json` that is computed so far."""

# pyright: reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportReturnType=false, reportAttributeAccessIssue=false

from functools import cache
from typing import Any

import numpy as np
import pytest
from mpmath import mpf

import meanfield as mf
from meanfield.gaussian import MOMENTS
from references import load_reference

RELATIVE, ABSOLUTE = 1e-12, 1e-13
PRINTED = 1e-23  # relative rounding of the tables, which print 24 digits

MAPS, CRITICAL = load_reference("maps"), load_reference("critical")
DEFINED = {entry["name"]: entry for entry in MAPS["activations"]}
NAMES = list(DEFINED)

# "inf" stands for itself in the tables: E[phi'^2] of a step
COLUMNS = dict(
    zip(MOMENTS, ("E_phi", "E_phi2", "E_phi4", "E_dphi2", "E_dphi4", "sparsity"), strict=True)
)


@cache
def activation(name: str) -> mf.Activation:
    """The catalogued activation that the tables call `name`, such as `crelu_s0.7_m1.5`."""
    known = {"alpha", "tau", "m"}  # sparsity_at_q1 only says where tau comes from
    parameters = {k: float(v) for k, v in DEFINED[name]["params"].items() if k in known}
    for base in ("leaky_relu", "shifted_relu", "soft_threshold", "crelu", "cst"):
        if name.startswith(base + "_"):
            return mf.Activation(base, **parameters)
    return mf.Activation(name, **parameters)


def records(table: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = [record for record in table["records"] if record["activation"] == name]
    assert len(found) == 5
    return found


def check(
    computed: float, expected: str, error: float, what: str, absolute: float = ABSOLUTE
) -> None:
    """Close to the table, and closer than the error that was reported beside it.

    `absolute` is for what cancels, and zero for what does not, such as the mean of a square.
    """
    computed = float(computed)
    if expected == "inf":
        assert computed == np.inf, what
        return
    true = mpf(expected)
    assert np.isfinite(computed), what
    off = abs(mpf(computed) - true)
    assert off <= max(RELATIVE * abs(true), absolute), f"{what}: off by {float(off):.2g}"
    allowed = error + PRINTED * abs(true)
    assert off <= allowed, f"{what}: off by {float(off):.2g}, error {error:.2g}"


def test_the_tables_are_there() -> None:
    assert len(NAMES) == 26
    for table in (MAPS, CRITICAL):
        assert sorted({r["activation"] for r in table["records"]}) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_kinks(name: str) -> None:
    expected = np.array([float(kink) for kink in DEFINED[name]["kinks"]])
    found = activation(name)
    assert len(found.kinks) == len(expected)
    np.testing.assert_allclose(found.kinks, expected, rtol=4e-16, atol=0)
    assert len(found.jumps) == (len(expected) if DEFINED[name]["jumps"] else 0)


@pytest.mark.parametrize("name", NAMES)
def test_moments(name: str) -> None:
    rows = records(MAPS, name)
    q = np.array([float(row["q"]) for row in rows])
    m = activation(name).moments(q, derivatives=True)
    phi2 = MOMENTS.index("phi2")
    assert m.first is not None and m.first_error is not None
    assert m.second is not None and m.second_error is not None
    for i, row in enumerate(rows):
        where = f"{name}, q = {row['q']}"
        for column, key in enumerate(COLUMNS.values()):
            absolute = ABSOLUTE if key == "E_phi" else 0.0
            check(m.value[i, column], row[key], m.error[i, column], f"{where}, {key}", absolute)
        first, second = m.first[i, phi2], m.second[i, phi2]
        check(first, row["V1_over_sw2"], m.first_error[i, phi2], f"{where}, V1")
        check(second, row["V2_over_sw2"], m.second_error[i, phi2], f"{where}, V2")


@pytest.mark.parametrize("name", NAMES)
def test_many_variances_at_once(name: str) -> None:
    """The same numbers where there are so many variances that they are interpolated."""
    rows = records(MAPS, name)
    q = np.concatenate([np.geomspace(0.09, 5.5, 4000), [float(row["q"]) for row in rows]])
    m = activation(name).moments(q)
    for row, value, error in zip(rows, m.value[4000:], m.error[4000:], strict=True):
        for column, key in enumerate(COLUMNS.values()):
            check(value[column], row[key], error[column], f"{name}, q = {row['q']}, {key}")


@pytest.mark.parametrize("name", NAMES)
def test_critical(name: str) -> None:
    for row in records(CRITICAL, name):
        q, where = float(row["q_star"]), f"{name}, q = {row['q_star']}"
        if not row["exists"]:
            with pytest.raises(mf.NoCriticalPointError):
                mf.critical(activation(name), q=q)
            continue
        point = mf.critical(activation(name), q=q)
        assert point.q == q
        check(point.weight_var, row["sw2"], point.errors["weight_var"], f"{where}, weight_var", 0.0)
        check(point.bias_var, row["sb2"], point.errors["bias_var"], f"{where}, bias_var")
        slope_error = point.errors["variance_slope"]
        check(point.variance_slope, row["V1"], slope_error, f"{where}, V1")
        check(
            point.variance_curvature, row["V2"], point.errors["variance_curvature"], f"{where}, V2"
        )
        # a slope within rounding of 1 is marginal, also where 24 digits tell that it is below 1
        if abs(1 - mpf(row["V1"])) > 2 * slope_error:
            assert point.stable == (row["stability"] == "stable"), where
        else:
            assert not point.stable, where
        check_depth(point.depth_scale_q, row["xi_q"], row["V1"], slope_error, where)


def check_depth(computed: float, expected: str | None, slope: str, error: float, what: str) -> None:
    """`xi = -1/ln V'` is only known as well as `1 - V'`: its error is `xi^2` times that of `V'`."""
    if expected is None:  # the slope exceeds 1
        assert np.isnan(computed), what
    elif expected == "inf" or abs(1 - mpf(slope)) <= 2 * error:
        assert computed == np.inf, what
    else:
        xi = mpf(expected)
        allowed = max(RELATIVE * xi, 2 * xi**2 * (error + 2.0**-53) / mpf(slope))
        assert abs(mpf(float(computed)) - xi) <= allowed, what


def test_critical_at_an_array_of_variances() -> None:
    rows = records(CRITICAL, "gelu")
    point = mf.critical(activation("gelu"), q=[float(row["q_star"]) for row in rows])
    for i, row in enumerate(rows):
        check(point.weight_var[i], row["sw2"], point.errors["weight_var"][i], row["q_star"])
        check(point.bias_var[i], row["sb2"], point.errors["bias_var"][i], row["q_star"])
