"""Jacobian spectra: against Newton continuation on the master equation, and against sampling.

FreeNN (github.com/redachhaibi/FreeNN) finds the density of `s^2` at `x` from the polynomial that a
slope of two values gives, by Newton's method in `m` at `z = x + iy`, from far out on the imaginary
axis down in many small steps ("lilypads"). That is written anew here in numpy, for one point.
"""

from typing import Any

import numpy as np

import meanfield as mf
from benchmarks.measure import once, seconds, table, warm

_POINTS = 1000


def by_continuation(p: float, weight_var: float, depth: int, x: float) -> float:
    """The density of `s^2` for orthogonal weights and a slope that is 1 with probability `p`."""

    def misfit(m: complex, z: complex) -> tuple[complex, complex]:
        # m z weight_var^-L (1 + m)^(L - 1) = (p + m)^L
        left = m * z * weight_var**-depth * (1 + m) ** (depth - 1)
        right = (p + m) ** depth
        slope = left * (1 / m + (depth - 1) / (1 + m)) - depth * right / (p + m)
        return left - right, slope

    y, m = 1e3, 0j
    m = (weight_var * p) ** depth / (x + 1j * y)
    while True:
        z = x + 1j * y
        for _ in range(50):
            value, slope = misfit(m, z)
            step = value / slope
            m -= step
            if abs(step) < 1e-12 * abs(m):
                break
        if y < 1e-9:
            return -m.imag / np.pi / x
        y *= 0.8


def sampled(point: mf.FixedPoint, depth: int, n: int = 500) -> np.ndarray:
    rng = np.random.default_rng(0)
    jacobian = np.eye(n)
    for _ in range(depth):
        q, r = np.linalg.qr(rng.standard_normal((n, n)))
        z = np.sqrt(point.q) * rng.standard_normal(n)
        slope: Any = point.activation.sampled(z).slope
        jacobian = slope[:, None] * (np.sqrt(point.weight_var) * q * np.sign(np.diag(r)) @ jacobian)
    return np.linalg.svd(jacobian, compute_uv=False)


def spectrum() -> None:
    first = once(lambda: mf.jacobian_spectrum(mf.critical(mf.Activation("elu")), 64, "orthogonal"))
    print(f"\nthe first spectrum of a process: {seconds(first)}")
    for name in ("relu", "hard_tanh", "tanh", "gelu"):
        _compare(name, 16)
    growth()


def _compare(name: str, depth: int) -> None:
    point = mf.critical(mf.Activation(name), q=0.5)
    found = mf.jacobian_spectrum(point, depth, "orthogonal")
    s = np.linspace(0.01, 0.99, _POINTS) * found.s_max
    both = warm(lambda: mf.jacobian_spectrum(point, depth, "orthogonal").density(s))
    rows = [
        ["meanfield, spectrum and 1000 points", both, both / _POINTS, found.error],
        ["meanfield, 1000 points more", t := warm(lambda: found.density(s)), t / _POINTS, np.nan],
    ]
    if name in ("relu", "hard_tanh"):
        some = s[::100]
        p = 1 / point.weight_var
        peer: list[float] = []
        time = once(
            lambda: peer.extend(by_continuation(p, point.weight_var, depth, x * x) for x in some)
        )
        off = np.max(np.abs(2 * some * np.array(peer) - found.density(some)))
        each = time / len(some)
        rows.append(["Newton continuation, from 10 points", _POINTS * each, each, off])
    values: list[np.ndarray] = []
    time = once(lambda: values.append(sampled(point, depth)))
    rank = np.arange(1, len(values[0]) + 1) / len(values[0])
    off = np.max(np.abs(found.cdf(np.sort(values[0])) - rank)[np.sort(values[0]) > 1e-12])
    rows.append(["sampling 500 x 500, one draw", time, time / _POINTS, off])
    table(
        f"Jacobian of {name}, orthogonal, q = 0.5, {depth} layers",
        ["time", "a point", "ratio", "off"],
        [[row[0], seconds(row[1]), seconds(row[2]), f"{row[1] / both:.3g}",
          "" if np.isnan(row[3]) else f"{row[3]:.0e}"] for row in rows],
        "off: of the distribution function, of continuation that of the density",
    )  # fmt: skip


def growth() -> None:
    rows = []
    for depth in (1, 4, 64, 1024, 10_000):
        cells = []
        for name in ("relu", "tanh", "gelu"):
            point = mf.critical(mf.Activation(name), q=1.0)
            mf.jacobian_spectrum(point, depth, "gaussian")
            cells.append(
                seconds(warm(lambda p=point, d=depth: mf.jacobian_spectrum(p, d, "gaussian")))
            )
        rows.append([f"{depth} layers", *cells])
    table("Spectra by depth, gaussian, q = 1", ["relu", "tanh", "gelu"], rows)
