"""Finite networks a second: against plain loops in NumPy and torch, on one device and on eight."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import meanfield as mf
from benchmarks.measure import once, seconds, table
from meanfield import ensembles

_WIDTH, _DEPTH = 300, 100
_DRAWS, _SOME, _FEW = 1024, 32, 2  # ours; with whole matrices; of loops, which take far longer
_BY_DEVICES = """
import json, sys
from benchmarks.networks import measured
print(json.dumps(measured("relu", sys.argv[1])))
"""


class _Gaussian(ensembles.Gaussian):
    """Drawn whole: what is derived from an ensemble has no shortcut."""


class _Orthogonal(ensembles.Orthogonal):
    """Drawn whole."""


_WHOLE = {"gaussian": _Gaussian(), "orthogonal": _Orthogonal()}


def _inputs() -> np.ndarray:
    """Two inputs of mean square 1/2, at which ReLU at weight variance 2 has q = 1."""
    return np.sqrt(0.5) * np.random.default_rng(0).standard_normal((2, _WIDTH))


def by_numpy(weights: str, draws: int) -> None:
    """One network after the other; the same measures, without errors."""
    rng = np.random.default_rng(0)
    for _ in range(draws):
        x, v = _inputs(), rng.standard_normal(_WIDTH)
        for layer in range(_DEPTH):
            w = rng.standard_normal((_WIDTH, _WIDTH))
            if weights == "orthogonal":
                q, r = np.linalg.qr(w)
                w = np.sqrt(_WIDTH) * q * np.sign(np.diagonal(r))
            z = x @ (np.sqrt(2 / _WIDTH) * w).T
            if layer:
                v = np.sqrt(2 / _WIDTH) * w @ v
            _ = np.mean(z[0] ** 2), np.mean(z[0] ** 4), np.mean(z[0] * z[1]), np.log(v @ v)
            x = np.maximum(z, 0.0)
            _, v = np.mean(x[0] == 0), (z[0] > 0) * v


def by_torch(torch: Any, weights: str, draws: int) -> None:
    """The same in torch, as one would write it: float64, its own initialisers."""
    with torch.no_grad():
        for _ in range(draws):
            x, v = torch.from_numpy(_inputs()), torch.randn(_WIDTH, dtype=torch.float64)
            for layer in range(_DEPTH):
                w = torch.empty(_WIDTH, _WIDTH, dtype=torch.float64)
                if weights == "orthogonal":
                    torch.nn.init.orthogonal_(w, gain=2**0.5)
                else:
                    torch.nn.init.normal_(w, std=(2 / _WIDTH) ** 0.5)
                z = x @ w.T
                if layer:
                    v = w @ v
                _ = (z[0] ** 2).mean(), (z[0] ** 4).mean(), (z[0] * z[1]).mean(), (v @ v).log()
                x = torch.relu(z)
                _, v = (x[0] == 0).double().mean(), (z[0] > 0) * v


def measured(phi: Any, weights: Any, draws: int = _DRAWS) -> float:
    """Seconds of a warm call."""
    net = mf.Network(mf.Activation(phi), weight_var=2.0, weights=weights)

    def job() -> None:
        mf.simulate(net, _WIDTH, _DEPTH, draws, q=1.0, progress=False)

    job()
    return min(once(job), once(job))


def _row(way: str, time: float, draws: int, unit: float) -> list[str]:
    return [way, f"{draws / time:.3g}", seconds(time / draws), f"{time / draws / unit:.3g}"]


def networks() -> None:
    try:
        torch = import_module("torch")
    except ImportError:
        torch = None
    for weights in ("gaussian", "orthogonal"):
        ours = measured("relu", weights)
        unit = ours / _DRAWS
        rows = [
            _row("meanfield", ours, _DRAWS, unit),
            _row("meanfield, of NumPy samples",
                 measured(lambda x: np.maximum(x, 0.0), weights), _DRAWS, unit),
            _row("meanfield, whole matrices",
                 measured("relu", _WHOLE[weights], _SOME), _SOME, unit),
            _row("numpy loop", once(lambda w=weights: by_numpy(w, _FEW)), _FEW, unit),
        ]  # fmt: skip
        if torch is not None:
            loop = once(lambda w=weights: by_torch(torch, w, _FEW))
            rows.append(_row("torch loop", loop, _FEW, unit))
        note = "" if torch is not None else "torch: not installed"
        table(
            f"ReLU networks of {weights} weights, width {_WIDTH}, depth {_DEPTH}",
            ["networks/s", "each", "ratio"],
            rows,
            f"loops draw whole matrices, of {_FEW} networks one after the other. {note}",
        )


def devices() -> None:
    rows = []
    unit = 0.0
    for count in (1, 2, 4, 8):
        flags = f"--xla_force_host_platform_device_count={count}"
        result = subprocess.run(
            [sys.executable, "-c", _BY_DEVICES, "gaussian"],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "XLA_FLAGS": flags},
            capture_output=True,
            text=True,
            check=True,
        )
        time = json.loads(result.stdout)
        unit = unit or time / _DRAWS
        rows.append(_row(f"{count} host devices", time, _DRAWS, unit))
    table(
        f"The same Gaussian ensemble on forced host devices of {os.cpu_count()} cores",
        ["networks/s", "each", "ratio"],
        rows,
        "one device already uses several cores; the numbers are the same to the last bit",
    )
