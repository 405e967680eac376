"""Phase diagrams: against iteration with Gauss-Hermite nodes, and against writing the arrays."""

from time import perf_counter
from typing import Any

import numpy as np

import meanfield as mf
from benchmarks.measure import compiled, seconds, table, warm
from benchmarks.peers import CASES, by_hermite
from meanfield.gaussian import MOMENTS

_COLUMNS = [MOMENTS.index("phi2"), MOMENTS.index("dphi2")]
_CHECKED = 50
_WEIGHTS, _BIASES = (0.5, 4.0), (0.0, 0.5)


def _grid(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(*_WEIGHTS, n), np.linspace(*_BIASES, n)


def iterated(name: str, weight_var: np.ndarray, bias_var: np.ndarray) -> tuple[Any, Any]:
    """`q` and `chi1` by iterating the variance map where it still moves, 64 nodes, numpy."""
    w, b = (x.ravel() for x in np.meshgrid(weight_var, bias_var))
    q, active = np.ones_like(w), np.arange(len(w))
    for _ in range(300):
        new = w[active] * by_hermite(name, q[active], 1)[0] + b[active]
        moved = np.abs(new - q[active]) > 1e-8 * new
        q[active] = new
        active = active[moved & (new < 1e8) & (new > 1e-12)]
        if not len(active):
            break
    shape = len(bias_var), len(weight_var)
    return q.reshape(shape), (w * by_hermite(name, q)[1]).reshape(shape)


def _errors(activation: mf.Activation, q: np.ndarray, chi1: np.ndarray, n: int) -> list[str]:
    """Relative errors at random points: `q` from its equation, to first order, and `chi1`."""
    weight_var, bias_var = _grid(n)
    rng = np.random.default_rng(0)
    i, j = rng.integers(n, size=(2, 4 * _CHECKED))
    good = np.isfinite(q[i, j]) & (q[i, j] > 1e-8)
    i, j = i[good][:_CHECKED], j[good][:_CHECKED]
    if not len(i):
        return ["", ""]
    moments = activation.moments(q[i, j], derivatives=True)
    assert moments.first is not None
    w = weight_var[j]
    residual = w * moments.value[:, _COLUMNS[0]] + bias_var[i] - q[i, j]
    off = np.maximum(residual / (1 - w * moments.first[:, _COLUMNS[0]]), -0.9 * q[i, j])
    there = activation.moments(q[i, j] + off).value[:, _COLUMNS[1]]
    return [
        f"{np.max(np.abs(off / q[i, j])):.0e}",
        f"{np.max(np.abs(chi1[i, j] / (w * there) - 1)):.0e}",
    ]


def _copied(diagram: mf.PhaseDiagram) -> None:
    arrays = [getattr(diagram, f) for f in ("q", "chi1", "correlation", "variance_slope", "phase",
              "depth_scale_q", "depth_scale_c", "n_stable", "error")]  # fmt: skip
    for array in arrays:
        array.copy(order="K")


def phase() -> None:
    mf.phase_diagram(mf.Activation("erf"), *_grid(256))  # compiles; nothing compiles again
    for name in ("tanh", "clip", "gelu", "relu"):
        activation, grid = mf.Activation(CASES[name].jax), _grid(256)
        start = perf_counter()
        compilations = compiled(lambda a=activation, g=grid: mf.phase_diagram(a, *g))
        first = perf_counter() - start
        diagram = mf.phase_diagram(activation, *grid)
        start = perf_counter()
        peer = iterated(name, *grid)
        hermite = perf_counter() - start
        rows = [
            ["meanfield, warm", warm(lambda a=activation, g=grid: mf.phase_diagram(a, *g)),
             *_errors(activation, diagram.q, diagram.chi1, 256)],
            ["meanfield, new activation", first, "", ""],
            ["numpy Gauss-Hermite 64, q and chi1", hermite, *_errors(activation, *peer, 256)],
            ["writing the arrays", warm(lambda d=diagram: _copied(d)), "", ""],
        ]  # fmt: skip
        table(
            f"Phase diagram of {name}, 256 x 256",
            ["time", "ratio", "error q", "error chi1"],
            [[row[0], seconds(row[1]), f"{row[1] / rows[0][1]:.3g}", *row[2:]] for row in rows],
            f"compiled for the new activation: {', '.join(sorted(set(compilations))) or 'nothing'}",
        )
    growth()


def growth() -> None:
    activation, rows = mf.Activation(CASES["tanh"].jax), []
    for n in (16, 64, 256, 1024):
        diagram = mf.phase_diagram(activation, *_grid(n))
        time = warm(lambda n=n: mf.phase_diagram(activation, *_grid(n)))
        write = warm(lambda d=diagram: _copied(d))
        rows.append([f"{n} x {n}", seconds(time), f"{1e9 * time / n**2:.0f} ns",
                     f"{time / write:.3g}"])  # fmt: skip
    table("Phase diagrams of tanh", ["time", "a point", "over writing"], rows)
