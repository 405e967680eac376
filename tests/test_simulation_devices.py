"""One device or eight, one process or two: the same numbers, to the last bit."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meanfield.files import read

ROOT = Path(__file__).parents[1]
# chaotic: a difference in the last bit would show after forty layers
SCRIPT = """
import sys
import jax
if len(sys.argv) > 4:
    jax.distributed.initialize(sys.argv[4], num_processes=2, process_id=int(sys.argv[5]))
import meanfield as mf
assert len(jax.devices()) == int(sys.argv[1]), jax.devices()
net = mf.Network("tanh", weight_var=4.0, bias_var=0.1)
few = {} if len(sys.argv) > 4 else {"one": jax.devices()[:1]}
for name, devices in {"all": None, **few}.items():
    sim = mf.simulate(net, 16, 40, 50, q=2.0, key=11, weights=sys.argv[2], devices=devices)
    sim.save(f"{sys.argv[3]}_{name}.npz")
"""


def started(count: int, per_process: int, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={per_process}",
    }
    command = [sys.executable, "-c", SCRIPT, str(count), *arguments]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finished(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err


def same(first: Path, *others: Path) -> None:
    expected = read(first)
    for other in others:
        found = read(other)
        samples = [name for name in expected if name.startswith("sample_")]
        assert len(samples) == 6
        for name in samples:
            np.testing.assert_array_equal(found[name], expected[name])


def test_eight_devices_draw_what_one_draws(tmp_path: Path) -> None:
    finished(started(8, 8, "gaussian", str(tmp_path / "eight")))
    same(tmp_path / "eight_one.npz", tmp_path / "eight_all.npz")


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_any_number_of_devices_and_processes(weights: str, tmp_path: Path) -> None:
    for count in (1, 2, 3, 5):
        finished(started(count, count, weights, str(tmp_path / f"{count}")))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    finished(
        *(started(4, 2, weights, str(tmp_path / f"process{k}"), address, str(k)) for k in (0, 1))
    )
    files = sorted(tmp_path.glob("*.npz"))
    assert len(files) == 10
    same(*files)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["'orthogonal'", "mf.ensembles.OrthogonalLowRank(0.5)"])
def test_batched_factorisations_do_not_wait_for_each_other(weights: str) -> None:
    """XLA runs them at once where it may, and with two threads they then stood still."""
    script = f"""
import meanfield as mf
import meanfield.ensembles
net = mf.Network("tanh", 1.5, 0.1, weights={weights})
sim = mf.simulate(net, [24, 22, 24, 22], draws=4000, jacobian=True)
assert sim.draws == 4000
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=300)
