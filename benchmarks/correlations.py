"""Covariances at 200 correlations: against scipy `dblquad` and a grid of Gauss-Hermite nodes."""

import math
from contextlib import suppress
from typing import Any

import mpmath
import numpy as np
from scipy.integrate import dblquad

import meanfield as mf
from benchmarks.measure import once, seconds, table, warm
from benchmarks.peers import ARRAYS, CASES, DIGITS, FLOATS, dks_covariance

_C = np.linspace(-0.995, 0.995, 200)
_CHECKED = _C[[3, 60, 120, 199]]
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(100)
_WEIGHTS = _WEIGHTS / math.sqrt(2 * math.pi)
_REACH = 9.0


def by_dblquad(name: str, c: float) -> float:
    """`E[phi(u) phi(v)]` at q = 1 in the coordinates in which it is smooth apart from the kinks."""
    phi, root = CASES[name].phi, math.sqrt(1 - c * c)

    def density(w: float, z: float) -> float:
        weight = math.exp(-0.5 * (z * z + w * w)) / (2 * math.pi)
        return phi(FLOATS, z) * phi(FLOATS, c * z + root * w) * weight

    return dblquad(density, -_REACH, _REACH, -_REACH, _REACH, epsabs=1e-9, epsrel=1e-9)[0]


def by_hermite(name: str, c: np.ndarray) -> np.ndarray:
    """The same on 100 x 100 Gauss-Hermite nodes."""
    phi, z, w = CASES[name].phi, _NODES[:, None], _NODES[None, :]
    left = (_WEIGHTS * phi(ARRAYS, _NODES))[:, None] * _WEIGHTS
    return np.array([np.sum(left * phi(ARRAYS, x * z + math.sqrt(1 - x * x) * w)) for x in c])


def exact(name: str, c: float) -> float:
    """The same to more digits than float64 has: an integral of integrals."""
    case, c = CASES[name], mpmath.mpf(c)
    with mpmath.workdps(20):
        root = mpmath.sqrt(1 - c * c)

        def inner(z):
            ends = sorted({-9.5, -5, -2, 0, 2, 5, 9.5, *((k - c * z) / root for k in case.kinks)})
            return mpmath.quad(
                lambda w: case.phi(DIGITS, c * z + root * w) * mpmath.npdf(w),
                [x for x in ends if abs(x) <= 9.5],
            )

        ends = sorted({-9.5, -5, -2, 0, 2, 5, 9.5, *case.kinks})
        return float(mpmath.quad(lambda z: case.phi(DIGITS, z) * mpmath.npdf(z) * inner(z), ends))


def correlations() -> None:
    for name in ("tanh", "relu", "clip"):
        _compare(name)


def _compare(name: str) -> None:
    network = mf.Network(mf.Activation(CASES[name].jax), weight_var=1.0)
    C, second = mf.correlation_map(network, q=1.0), mf.variance_map(network)(1.0)
    some = _CHECKED[1:3]
    slow: dict[str, Any] = {"scipy dblquad": by_dblquad}
    if name != "clip":
        with suppress(ImportError):
            slow["dks"] = dks_covariance()
    found_slowly = {way: [] for way in slow}
    times = {
        "meanfield, reused map": warm(lambda: C(_C)),
        "meanfield, new map": warm(lambda: mf.correlation_map(network, q=1.0)(_C)),
        "numpy Gauss-Hermite 100^2": warm(lambda: by_hermite(name, _C)),
        **{
            f"{way}, from 2 of them": 100
            * once(lambda way=way: found_slowly[way].extend(slow[way](name, x) for x in some))
            for way in slow
        },
    }
    truth = np.array([exact(name, x) for x in _CHECKED])
    found = [C(_CHECKED) * second] * 2 + [by_hermite(name, _CHECKED)]
    errors = [np.abs(value - truth) for value in found]
    errors += [np.abs(np.array(values) - truth[1:3]) for values in found_slowly.values()]
    unit = next(iter(times.values()))
    rows = [
        [way, seconds(time), f"{time / unit:.3g}", f"{np.max(error):.1e}"]
        for (way, time), error in zip(times.items(), errors, strict=True)
    ]
    table(
        f"E[phi(u) phi(v)] of {name} at q = 1 and 200 correlations",
        ["time", "ratio", "largest error"],
        rows,
        f"errors at {len(truth)} of the correlations, those of double integrals at 2",
    )
