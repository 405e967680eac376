"""The benchmarks: each prints a table, or one for each activation."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import meanfield as mf
from benchmarks import peers
from benchmarks.clip import clip
from benchmarks.correlations import correlations
from benchmarks.measure import compiled, in_turns, once, seconds, table, warm
from benchmarks.networks import devices, networks
from benchmarks.peers import CASES, error, exact
from benchmarks.phase import phase
from benchmarks.spectrum import spectrum
from benchmarks.width import finite_width
from meanfield.gaussian import MOMENTS

_COLUMNS = [MOMENTS.index("phi2"), MOMENTS.index("dphi2")]


def _fresh(phi) -> mf.Activation:
    return mf.Activation(lambda x: phi(x))  # a new function, so that nothing of it is compiled


def _ours(activation: mf.Activation):
    return activation.moments(np.ones(1)).value[0, _COLUMNS]


def _row(name: str, time: float, unit: float, *cells: str) -> list[str]:
    return [name, seconds(time), f"{time / unit:.3g}", *cells]


def moments() -> None:
    others = {
        "scipy quad, told the kinks": lambda name: peers.by_quad(name, 1.0),
        "numpy Gauss-Hermite 64": lambda name: peers.by_hermite(name, 1.0),
    }
    missing = []
    for peer, load in (("dks", peers.dks_moments), ("neural-tangents deg 400",
                       peers.neural_tangents_moments)):  # fmt: skip
        try:
            others[peer] = load()
        except ModuleNotFoundError as reason:
            missing.append(f"{peer}: not installed ({reason.name})")
        except ImportError as reason:
            missing.append(f"{peer}: does not import: {str(reason).partition(' (')[0]}")
    for name, case in CASES.items():
        activation = mf.Activation(case.jax)
        ways = {
            "meanfield, reused Activation": lambda name, a=activation: _ours(a),
            "meanfield, fresh activation": lambda name: _ours(_fresh(CASES[name].jax)),
            **others,
        }
        times = {k: warm(lambda way=way, name=name: way(name)) for k, way in ways.items()}
        unit = next(iter(times.values()))
        rows = [
            _row(k, times[k], unit, *map(error, way(name), exact(name, 1.0)))
            for k, way in ways.items()
        ]
        header = ["time", "ratio", "error E[phi^2]", "error E[phi'^2]"]
        table(f"Two moments of {name} at q = 1", header, rows, "\n".join(missing))


def lengths() -> None:
    q = np.geomspace(1e-4, 1e2, 10_000)
    some, checked = slice(None, None, 100), slice(416, None, 833)
    for name in ("tanh", "clip"):
        activation = mf.Activation(CASES[name].jax)
        first = once(lambda a=activation: a.moments(q))
        times = [
            warm(lambda a=activation: a.moments(q)),
            first,
            warm(lambda name=name: peers.by_hermite(name, q, 1)),
            once(lambda name=name: [peers.by_quad(name, x, 1) for x in q[some]]) * 100,
        ]
        ours = activation.moments(q).value[checked, _COLUMNS[0]]
        values = [ours, ours, peers.by_hermite(name, q[checked], 1)[0],
                  [peers.by_quad(name, x, 1)[0] for x in q[checked]]]  # fmt: skip
        names = ["meanfield, all six moments", "meanfield, first call", "numpy Gauss-Hermite 64",
                 "scipy quad, from 100 variances"]  # fmt: skip
        truth = [exact(name, float(x))[0] for x in q[checked]]
        rows = [
            _row(way, time, times[0],
                 max((error(v, t) for v, t in zip(value, truth, strict=True)), key=float))
            for way, time, value in zip(names, times, values, strict=True)
        ]  # fmt: skip
        table(
            f"E[phi^2] of {name} at 10^4 variances, 1e-4 to 1e2",
            ["time", "ratio", "largest error"],
            rows,
            f"quad: 100 times what 100 variances took; errors at {len(truth)} of the variances",
        )


def critical() -> None:
    activation = mf.Activation(CASES["gelu"].jax)

    def edge(second, slope):
        return 1 / slope, 1 - second / slope

    def reused():
        point = mf.critical(activation, q=1.0)
        return point.weight_var, point.bias_var

    def by_hand():
        return edge(*peers.by_quad("gelu", 1.0))

    unit, truth = warm(reused), edge(*exact("gelu", 1.0))
    rows = [
        _row("meanfield, reused Activation", unit, unit, *map(error, reused(), truth)),
        _row("scipy quad by hand", warm(by_hand), unit, *map(error, by_hand(), truth)),
    ]
    header = ["time", "ratio", "error weight_var", "error bias_var"]
    table("Critical GELU at q = 1, warm", header, rows, "scipy: the two variances, nothing else")


def second_activation() -> None:
    mf.critical(mf.Activation(jnp.tanh))
    rows = []
    for name, phi in {
        "sin(x)": jnp.sin,
        "silu": jax.nn.silu,
        "mish": jax.nn.mish,
        "clip(x, -1, 2)": lambda x: jnp.clip(x, -1.0, 2.0),
    }.items():

        def compile_it(phi=phi) -> None:
            with jax.enable_x64(True):
                both = jax.jit(lambda x: jax.jvp(lambda x: phi(x), (x,), (x,)))
                jax.block_until_ready(both(np.ones(1024)))

        def use_it(phi=phi) -> None:
            mf.critical(_fresh(phi), q=2.0)

        names = compiled(use_it)
        total, own = in_turns([use_it, compile_it], 5)
        rows.append([name, seconds(total), seconds(own), f"{1e3 * (total - own):.1f} ms",
                     f"{len(names)}: {', '.join(names)}"])  # fmt: skip
    header = ["critical(phi)", "compiling phi", "beyond", "compilations"]
    note = "compiling phi: the jit of its jvp on 1024 inputs, traced, compiled and called"
    table("A second activation in one process", header, rows, note)


_BY_HAND = """
from math import exp, inf, pi, sqrt, tanh
from scipy.integrate import quad
k = sqrt(2 / pi)
def phi(x):
    return 0.5 * x * (1 + tanh(k * (x + 0.044715 * x**3)))
def slope(x):
    t = tanh(k * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x)
def mean(f):
    return quad(lambda x: f(x)**2 * exp(-x * x / 2) / sqrt(2 * pi), -inf, inf, epsrel=1e-12)[0]
weight_var = 1 / mean(slope)
bias_var = 1 - weight_var * mean(phi)
"""
_SCRIPTS = {
    "import jax and one jitted call": "import jax, jax.numpy as jnp\n"
    "jax.jit(lambda x: jnp.tanh(x) * 2)(jnp.ones(8)).block_until_ready()",
    "meanfield": "import meanfield as mf, jax; mf.critical(jax.nn.gelu)",
    "scipy quad by hand": _BY_HAND,
    "import jax": "import jax",
}


def new_process() -> None:
    def run(script: str) -> None:
        subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=True)

    processes = [lambda script=script: run(script) for script in _SCRIPTS.values()]
    in_turns(processes, 1)  # fills the caches of the file system
    times = in_turns(processes, 7)
    rows = [_row(k, time, times[0]) for k, time in zip(_SCRIPTS, times, strict=True)]
    table("Critical GELU in a new process", ["time", "ratio"], rows, "medians of 7 turns")


ALL = {
    "moments": moments,
    "lengths": lengths,
    "correlations": correlations,
    "critical": critical,
    "second": second_activation,
    "phase": phase,
    "spectrum": spectrum,
    "width": finite_width,
    "networks": networks,
    "devices": devices,
    "clip": clip,
    "process": new_process,
}
