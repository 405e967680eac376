"""`meanfield maps` and `meanfield phase`: numbers printed, numbers and pictures written."""

import csv
from pathlib import Path

import numpy as np
import pytest

import meanfield as mf
from commands import HEADS, run, strict_json
from meanfield.cli import main
from meanfield.files import read
from meanfield.phase.window import around_the_edge

CRELU = "crelu --tau 1.2815515655446004 --m 1.6106 --weight-var 10.195 --bias-var 0.6204"
SMALL = "--weight-var 0.5 4 7 --bias-var 0 0.5 5"


@pytest.mark.parametrize("arguments", ["maps tanh", f"phase tanh {SMALL}"])
def test_pictures(arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / f"picture{suffix}" for suffix in HEADS]
    out = run(" -o ".join([arguments, *map(str, files)]), capsys)
    for file in files:
        assert file.read_bytes().startswith(HEADS[file.suffix])
        assert f"wrote {file}\n" in out


def test_what_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken.csv").mkdir()
    with pytest.raises(SystemExit) as stop:  # before anything is computed
        main(["maps", "tanh", "-o", str(tmp_path / "taken.csv")])
    assert stop.value.code == 2
    assert "taken.csv': it cannot be written; take another name" in capsys.readouterr().err


# -- meanfield maps -------------------------------------------------------------------------------


def test_maps_prints_all_fixed_points(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(f"maps {CRELU}", capsys)
    points = mf.fixed_points(
        mf.Network(mf.Activation("crelu", tau=1.2815515655446004, m=1.6106), 10.195, 0.6204)
    )
    assert out.startswith(str(points))
    assert str(points.verdict) in out
    assert out.count("correlations at q = ") == 2  # at each stable one


def test_maps_json(capsys: pytest.CaptureFixture[str]) -> None:
    record = strict_json(run(f"maps {CRELU} --json", capsys))
    q = [point["q"] for point in record["fixed_points"]]
    assert q == pytest.approx([1.0, 1.398, 3.474], abs=2e-3)  # rounded variances
    assert [point["stable"] for point in record["fixed_points"]] == [True, False, True]
    assert record["weight_var"] == 10.195


@pytest.mark.parametrize(
    ("arguments", "weight_var", "bias_var"),
    [
        ("tanh", mf.critical("tanh").weight_var, mf.critical("tanh").bias_var),
        ("tanh --bias-var 0.05", mf.critical("tanh", bias_var=0.05).weight_var, 0.05),
        ("tanh --weight-var 2", 2.0, 0.0),
        ("tanh --weight-var 2 --bias-var 0.1", 2.0, 0.1),
    ],
)
def test_what_is_not_given_is_critical(
    arguments: str, weight_var: float, bias_var: float, capsys: pytest.CaptureFixture[str]
) -> None:
    record = strict_json(run(f"maps {arguments} --json", capsys))
    assert record["weight_var"] == pytest.approx(weight_var, rel=1e-12)
    assert record["bias_var"] == pytest.approx(bias_var, rel=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        "relu",  # every q is a fixed point
        "relu --weight-var 2.5 --bias-var 0.1 --q0 0.3",  # none
        "relu --weight-var 1.0",  # q = 0 only
        "tanh --weight-var 2 --log --q0 0.01",
        "gelu",
    ],
)
def test_maps_draws_every_kind(
    arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(f"maps {arguments} -o {tmp_path / 'maps.png'}", capsys)


def test_the_numbers_of_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {suffix: tmp_path / f"maps{suffix}" for suffix in (".npz", ".csv", ".json")}
    run(" -o ".join([f"maps {CRELU}", *map(str, files.values())]), capsys)
    network = mf.Network(mf.Activation("crelu", tau=1.2815515655446004, m=1.6106), 10.195, 0.6204)
    points = mf.fixed_points(network)
    arrays = read(files[".npz"])
    np.testing.assert_array_equal(arrays["variance"], mf.variance_map(network)(arrays["q"]))
    np.testing.assert_array_equal(arrays["fixed_point_q"], [point.q for point in points])
    np.testing.assert_array_equal(arrays["correlation_at"], [points[0].q, points[2].q])
    C = mf.correlation_map(points[2])
    np.testing.assert_array_equal(arrays["correlation"][1], C(arrays["c"]))
    rows = list(csv.DictReader(files[".csv"].read_text().splitlines()))
    assert [float(row["q"]) for row in rows] == [point.q for point in points]
    record = strict_json(files[".json"].read_text())
    np.testing.assert_array_equal(record["curves"]["variance"], arrays["variance"])
    assert len(record["fixed_points"]) == 3


# -- meanfield phase ------------------------------------------------------------------------------


def test_phase_prints_a_summary_and_writes_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"tanh{suffix}" for suffix in (".npz", ".csv", ".json")]
    out = run(" -o ".join([f"phase tanh {SMALL}", *map(str, files)]), capsys)
    diagram = mf.phase_diagram("tanh", np.linspace(0.5, 4, 7), np.linspace(0, 0.5, 5))
    assert out.startswith(str(diagram))
    np.testing.assert_array_equal(read(files[0])["chi1"], diagram.chi1)
    assert len(files[1].read_text().splitlines()) == 36
    np.testing.assert_array_equal(strict_json(files[2].read_text())["chi1"], diagram.chi1)


def test_bands_of_a_large_diagram_are_the_diagram(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(f"phase tanh {SMALL} --json", capsys)
    monkeypatch.setattr("meanfield.phase.window._BAND", 14)  # two rows of seven
    assert run(f"phase tanh {SMALL} --json", capsys) == whole


def test_phase_json(capsys: pytest.CaptureFixture[str]) -> None:
    record = strict_json(run(f"phase relu --q0 2 {SMALL} --json", capsys))
    assert np.shape(record["chi1"]) == (5, 7)
    assert record["q"][4][6] == "inf"  # the variance explodes


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "sin", "gaussian"])
def test_the_default_range_holds_the_edge_of_chaos(activation: str) -> None:
    weight_var, bias_var = around_the_edge(mf.Activation(activation), 256)
    line = mf.critical_line(activation, np.geomspace(0.1, 10, 41))
    inside = (line.weight_var > weight_var[0]) & (line.weight_var < weight_var[-1])
    assert np.any(inside & (line.bias_var <= bias_var[-1]))
    assert len(weight_var) == len(bias_var) == 256


@pytest.mark.parametrize(
    "options", ["--axes std", "--colour phase", "--colour chi1 --axes variance"]
)
def test_options_of_the_picture(
    options: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(f"phase relu {SMALL} {options} -o {tmp_path / 'relu.png'}", capsys)
