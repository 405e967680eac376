"""Clip levels: the heat map, and one choice, against scipy by hand, cell by cell."""

from math import exp, inf, pi, sqrt
from time import perf_counter
from typing import Any

import numpy as np

import meanfield as mf
from benchmarks.measure import once, seconds, table, warm

_SHARES, _LEVELS = (0.5, 0.97), (0.1, 3.0)
_CELLS = 24  # of the peer, for all others


def _mean(f, q: float, kinks: tuple[float, float]) -> float:
    """A Gaussian mean of what is zero below the first kink and constant above the second."""
    from scipy.integrate import quad
    from scipy.special import ndtr

    ends = sorted({min(max(x, -12 * sqrt(q)), 12 * sqrt(q)) for x in kinks})
    inner = 0.0
    if len(ends) == 2:
        weight = 1 / sqrt(2 * pi * q)
        low, high = ends
        inner = quad(lambda x: f(x) * exp(-x * x / (2 * q)) * weight, low, high, epsrel=1e-12)[0]
    return inner + f(inf) * float(ndtr(-kinks[1] / sqrt(q)))


def by_hand(sparsity: float, m: float) -> tuple[float, float]:
    """`V'(1)` on the edge of chaos and the unstable variance above 1, if there is one."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    tau = float(ndtri(sparsity))
    kinks = tau, tau + m
    w = 1 / _mean(lambda x: float(x < inf), 1.0, kinks)
    b = 1 - w * _mean(lambda x: min(x - tau, m) ** 2, 1.0, kinks)

    def excess(q: float) -> float:
        return w * _mean(lambda x: min(x - tau, m) ** 2, q, kinks) + b - q

    slope = 1 + (excess(1 + 1e-5) - excess(1 - 1e-5)) / 2e-5
    grid = np.geomspace(1.001, max(w * m * m + b, 1.01), 24)
    values = [excess(q) for q in grid]
    for low, high, left, right in zip(grid, grid[1:], values, values[1:], strict=False):
        if left < 0 < right:
            root: Any = brentq(excess, low, high, xtol=1e-12)
            return slope, float(root)
    return slope, inf


def clip() -> None:
    for n in (50, 200):
        shares, levels = np.linspace(*_SHARES, n), np.linspace(*_LEVELS, n)

        def heat_map(shares=shares, levels=levels) -> mf.ClipDiagram:
            return mf.clip_diagram("shifted_relu", shares, levels)

        first = once(heat_map)
        time = warm(heat_map)
        diagram = heat_map()
        cells = np.random.default_rng(0).integers(n, size=(_CELLS, 2))
        start = perf_counter()
        peer = [by_hand(float(shares[i]), float(levels[j])) for i, j in cells]
        hand = (perf_counter() - start) * n * n / _CELLS
        slope, above = np.array(peer).T
        ours = diagram.slope[*cells.T], np.nan_to_num(diagram.above[*cells.T], nan=inf)
        both = np.isfinite(above) & np.isfinite(ours[1])
        other = int(np.sum(np.isfinite(above) != np.isfinite(ours[1])))
        apart = np.abs(ours[1][both] / above[both] - 1) if np.any(both) else [0.0]
        note = (
            f"scipy: {n * n} times the mean of {_CELLS} cells; it differs by "
            f"{np.max(np.abs(ours[0] - slope)):.0e} in V' (a difference quotient), "
            f"{np.max(apart):.0e} in the end of the basin, in {other} cells on whether there is one"
        )
        rows = [
            ["meanfield, warm", seconds(time), "1"],
            ["meanfield, first call", seconds(first), f"{first / time:.3g}"],
            ["scipy quad and brentq by hand", seconds(hand), f"{hand / time:.3g}"],
        ]
        title = f"Clip levels of shifted_relu, {n} x {n}: edge, slopes, basins, margins"
        table(title, ["time", "ratio"], rows, note)
    jobs = {
        "family, by slope": lambda: mf.clip_threshold("shifted_relu", 0.85, 0.7),
        "family, by margin": lambda: mf.clip_threshold("shifted_relu", 0.9, margin=2.0),
        "family, by risk": lambda: mf.clip_threshold("shifted_relu", 0.85, risk=0.01),
        "gelu, by slope": lambda: mf.clip_threshold("gelu", slope=0.7),
        "gelu, smooth, by slope": lambda: mf.clip_threshold("gelu", slope=0.7, clip="smooth"),
    }
    times = {name: warm(job) for name, job in jobs.items()}
    unit = next(iter(times.values()))
    rows = [[name, seconds(time), f"{time / unit:.3g}"] for name, time in times.items()]
    table("One clip level, the clipped activation sampled", ["time", "ratio"], rows)
