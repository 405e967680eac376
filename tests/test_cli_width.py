"""`meanfield width` and the pictures of finite width."""

# pyright: reportArgumentType=false, reportOptionalMemberAccess=false

import csv
from pathlib import Path

import numpy as np
import pytest

import meanfield as mf
from commands import run, strict_json
from meanfield import plot
from meanfield.cli import main
from meanfield.files import read
from pictures import forbid_side_effects, labelled

WIDTH = "width tanh --depth 12 --width 50"


# -- the command ----------------------------------------------------------------------------------


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without variances it is the critical point; several widths are printed one by one."""
    fw = mf.finite_width(mf.critical("tanh"), 12, 50)
    assert run(WIDTH, capsys) == f"{fw}\n  deep networks: {fw.asymptote}\n"
    out = run("width relu --depth 60 --width 100 1000", capsys)
    assert out.count("FiniteWidth of") == 2 and out.count("warning:") == 1


@pytest.mark.parametrize(
    ("options", "network", "q"),
    [
        ("--q 0.5", mf.critical("tanh", q=0.5), None),
        ("--weight-var 1 --q 0.5", mf.Network("tanh", 1.0), 0.5),
        ("--weight-var 1.5 --bias-var 0.1", mf.Network("tanh", 1.5, 0.1), None),
        ("--weights orthogonal", mf.critical("tanh", weights="orthogonal"), None),
    ],
)
def test_which_network(options: str, network, q, capsys: pytest.CaptureFixture[str]) -> None:
    record = strict_json(run(f"{WIDTH} {options} --json", capsys))
    fw = mf.finite_width(network, 12, 50, q=q)
    np.testing.assert_allclose(record["four_point"], fw.four_point, rtol=1e-12)
    np.testing.assert_allclose(record["kernel"], fw.kernel, rtol=1e-12)


def test_several_records(capsys: pytest.CaptureFixture[str]) -> None:
    records = strict_json(run("width relu --depth 5 --width 10 20 --json", capsys))
    assert [record["width"][0] for record in records] == [10, 20]


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {s: tmp_path / f"width{s}" for s in (".png", ".npz", ".csv", ".json")}
    out = run(" -o ".join([f"{WIDTH} 60", *map(str, files.values())]), capsys)
    assert all(f"wrote {file}\n" in out for file in files.values())
    fw = mf.finite_width(mf.critical("tanh"), 12, 50)
    arrays = read(files[".npz"])
    assert arrays["four_point"].shape == (2, 12)
    np.testing.assert_array_equal(arrays["four_point"][0], fw.four_point)
    rows = list(csv.DictReader(files[".csv"].read_text().splitlines()))
    assert [int(row["layer"]) for row in rows] == list(range(1, 13))
    np.testing.assert_array_equal([float(row["four_point"]) for row in rows], fw.four_point)
    results = strict_json(files[".json"].read_text())["results"]
    assert results[1]["width"] == [60] * 12
    assert files[".png"].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ("--depth 0", 1, "depth: must be from 1 to 10000000, got 0"),
        ("--width 0", 1, "width: must be at least 1"),
        ("--weight-var 1", 1, "no stable fixed point"),
        ("--weight-var 1 --q -1", 1, "q: a variance must be finite and >= 0"),
    ],
)
def test_what_is_refused(
    options: str, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert main(f"width tanh {options}".split()) == status
    except SystemExit as error:
        assert error.code == status
    assert message in " ".join(capsys.readouterr().err.split())


# -- the pictures ---------------------------------------------------------------------------------

RELU = mf.Network("relu", weight_var=2.0)


def test_fluctuations_are_drawn_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    several = [mf.finite_width(RELU, 30, n) for n in (64, 128)]
    ax = Figure().add_subplot()
    forbid_side_effects(monkeypatch)
    assert plot.finite_width(several, ax) is ax
    lines = labelled(ax)
    for fw, label in zip(several, ("$n$ = 64", "$n$ = 128"), strict=True):
        np.testing.assert_array_equal(lines[label].get_xdata(), np.arange(1, 31))
        np.testing.assert_array_equal(lines[label].get_ydata(), fw.fluctuation)
    np.testing.assert_array_equal(lines["exact law"].get_ydata(), several[0].exact.fluctuation)


def test_what_tells_results_apart() -> None:
    from matplotlib.figure import Figure

    net = mf.Network("tanh", weight_var=1.0)
    both = [mf.finite_width(net, 9, 30, q=0.5, weights=w) for w in ("gaussian", "orthogonal")]
    ax = Figure().add_subplot()
    plot.finite_width(both, ax, quantity="four_point", scaled=True)
    lines = labelled(ax)
    assert set(lines) == {"gaussian", "orthogonal"}
    np.testing.assert_allclose(lines["orthogonal"].get_ydata(), both[1].four_point * 30)
    with pytest.raises(ValueError, match="quantity: must be one of fluctuation, "):
        plot.finite_width(both, ax, quantity="speed")
    with pytest.raises(ValueError, match="results: there is none"):
        plot.finite_width([], ax)


@pytest.mark.parametrize("log", [False, True])
def test_densities(log: bool) -> None:
    from matplotlib.figure import Figure

    fw = mf.finite_width(RELU, 8, 10)
    lines = labelled(plot.output_density(fw, Figure().add_subplot(), log=log))
    z = lines["with first correction"].get_xdata()
    value = fw.output_density(z)
    np.testing.assert_array_equal(
        lines["with first correction"].get_ydata(), np.where(value > 0, value, np.nan)
    )
    np.testing.assert_array_equal(lines["exact law"].get_ydata(), fw.exact.output_density(z))
    assert ("negative: no density" in lines) == (not log)


def test_fan_and_region() -> None:
    from matplotlib.figure import Figure

    fw = mf.finite_width(RELU, 30, 100)
    ax = plot.gradient_fan(fw, Figure().add_subplot())
    lines = labelled(ax)
    np.testing.assert_array_equal(lines["median"].get_ydata(), fw.gradient_log_norm.mean)
    np.testing.assert_allclose(lines["log of the mean"].get_ydata(), 0.0, atol=1e-12)
    ax = plot.valid_region(fw, Figure().add_subplot())
    lines = labelled(ax)
    np.testing.assert_array_equal(
        lines["the expansion is valid above"].get_ydata(), np.maximum(fw.least_width, 1)
    )
    assert lines["this network"].get_ydata() == [100]
    assert fw.plot(Figure().add_subplot()).get_ylabel().startswith("fluctuation")
