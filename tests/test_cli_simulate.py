"""`meanfield simulate`: numbers printed, numbers and pictures written."""

from pathlib import Path

import numpy as np
import pytest

import meanfield as mf
from commands import run, strict_json
from meanfield.cli import main

SMALL = "--width 16 --depth 4 --draws 16"


def untimed(text: str) -> list[str]:
    return [line for line in text.splitlines() if " networks in " not in line]


def test_the_critical_point_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"sim{suffix}" for suffix in (".png", ".npz", ".csv", ".json")]
    command = f"simulate crelu --tau 1.04 --m 1.17 {SMALL} --compare --escaped 3"
    out = run(" -o ".join([command, *map(str, files)]), capsys)
    point = mf.critical(mf.Activation("crelu", tau=1.04, m=1.17))
    sim = mf.simulate(point, 16, 4, 16)
    assert untimed(out)[: len(untimed(str(sim)))] == untimed(str(sim))
    assert str(sim.compare(point)) in out
    assert str(sim.compare(mf.finite_width(point, 4, 16))) in out
    assert f"above variance 3 in some layer: {sim.escaped(3):.1%}" in out
    assert all(f"wrote {file}" in out for file in files)
    assert files[0].read_bytes().startswith(b"\x89PNG")
    again = mf.Simulation.load(files[1], phi=point.activation)
    np.testing.assert_array_equal(again.variance, sim.variance)
    assert strict_json(files[3].read_text())["variance"] == sim.variance.tolist()


def test_options(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--weight-var 2 --bias-var 0.1 --q 0.7 --correlation 0.3 --key 5"
    record = strict_json(
        run(f"simulate tanh {options} --weights orthogonal {SMALL} --json --escaped 1", capsys)
    )
    net = mf.Network("tanh", 2.0, 0.1, weights="orthogonal")
    sim = mf.simulate(net, 16, 4, 16, q=0.7, correlation=0.3, key=5)
    assert record["variance"] == sim.variance.tolist()
    assert record["correlation_error"] == sim.correlation_error.tolist()
    assert (record["q"], record["escaped"]) == (0.7, sim.escaped(1.0))
    matrices = "--jacobian --tangent-kernel"
    record = strict_json(run(f"simulate tanh --q 0.5 {SMALL} {matrices} --json --compare", capsys))
    assert record["weight_var"] == mf.critical("tanh", q=0.5).weight_var
    assert record["comparison"]["variance"]["theory"][0] == pytest.approx(0.5)
    sim = mf.simulate(mf.critical("tanh", q=0.5), 16, 4, 16, jacobian=True, tangent_kernel=True)
    assert record["tangent_kernel"] == sim.tangent_kernel.tolist()
    assert sim.jacobian_singular_values is not None
    square = np.mean(sim.jacobian_singular_values**2)
    assert record["jacobian_mean_square"] == pytest.approx(square, rel=1e-14)
    largest = np.median(sim.jacobian_singular_values[:, 0])
    assert record["jacobian_largest"] == largest
    assert "tangent_kernel_std" in record["finite_width_comparison"]
    text = str(sim)
    assert "tangent kernel" in text and "singular values of the Jacobian: mean square" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--width 1", "width: must be at least 2"),
        ("--draws 1000000000 --depth 1000", "draws, width, depth"),
        ("--q 0.5 --bias-var 0.9 --weight-var 1", "q: the first layer's variance must be above"),
    ],
)
def test_what_is_refused_is_one_line(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(f"simulate tanh {arguments}".split()) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
