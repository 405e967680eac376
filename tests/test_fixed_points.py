"""Fixed points of the variance map: reference table, closed forms, and what holds for any."""

# pyright: reportArgumentType=false, reportOptionalSubscript=false

from functools import cache
from typing import Any

import numpy as np
import pytest
from mpmath import mpf

import meanfield as mf
from conftest import load_reference
from meanfield.maps.settle import settled_variance, settling

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
    assert len(found.points) == record["fixed_points"].__len__()
    for point, row in zip(found.points, record["fixed_points"], strict=True):
        assert row["stability"].startswith(point.stability)
        q_error, slope_error, curvature_error = point.errors
        # the table is for decimal variances: their rounding is in the errors
        assert abs(mpf(point.q) - mpf(row["q"])) <= q_error
        assert abs(mpf(point.slope) - mpf(row["V1"])) <= slope_error
        if "V2" in row:
            assert abs(mpf(point.curvature) - mpf(row["V2"])) <= curvature_error
    assert (found.continuum is not None) == ("continuum" in record)
    np.testing.assert_allclose(
        found.asymptotic_slope, float(record["asymptotic_slope_V"]), rtol=1e-14, atol=0
    )
    way = record["q_to_infinity"]
    if "above" in way and way.startswith("diverges"):
        ((low, high),) = found.explodes
        np.testing.assert_allclose(low, float(way.split("q=")[1]), rtol=1e-10)
        assert high == np.inf
    else:
        assert found.explodes == (((0.0, np.inf),) if "no positive" in way else ())


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
