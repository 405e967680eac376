"""Named schemes: their variances against the papers', and how far signals get."""

import math
from pathlib import Path

import numpy as np
import pytest

import meanfield as mf
from pictures import forbid_side_effects


# VI3NR, table of gains; Kumar 2017; both as derived from the formulas
@pytest.mark.parametrize(
    ("scheme", "phi", "weight_var"),
    [
        ("lsuv", "tanh", 2.5362),
        ("lsuv", "sigmoid", 3.4086),
        ("vi3nr", "sigmoid", 103.0),
        ("vi3nr", "relu", 2.0),
        ("vi3nr", "tanh", 1.0),
        ("kumar", "sigmoid", 12.8),
        ("kumar", "softplus", 2.7019),
        ("kumar", "silu", 4.0),
        ("he", "relu", 2.0),
        ("lecun", "selu", 1.0),
    ],
)
def test_variances(scheme: str, phi: str, weight_var: float) -> None:
    found = mf.schemes.place(scheme, phi)
    assert found.network.weight_var == pytest.approx(
        weight_var, rel=5e-5 if scheme != "vi3nr" else 5e-4
    )
    assert found.network.bias_var == 0


def test_vi3nr_is_stationary_backward_and_forward() -> None:
    """`q = weight_var E[phi^2]` and `weight_var E[phi'^2] = 1` at its point."""
    point = mf.schemes.place("vi3nr", "sinc").point
    assert point is not None and point.chi1 == pytest.approx(1, abs=1e-9)
    assert math.sqrt(float(point.q)) == pytest.approx(2.22334, abs=1e-5)
    assert float(point.weight_var) == pytest.approx(10.687, abs=1e-3)


def test_shapes_of_layers() -> None:
    assert mf.schemes.place("glorot", "tanh", fan_in=100, fan_out=300).network.weight_var == 0.5
    assert mf.schemes.place("spectral", "tanh", fan_in=400, fan_out=100).network.weight_var == 0.25
    assert mf.schemes.place("pytorch", "tanh", fan_in=100).network.bias_var == 1 / 300
    assert mf.schemes.place("dag", "relu", in_degree=4).network.weight_var == 0.5


def test_reach() -> None:
    """Six depth scales; He is critical for ReLU, LeCun halves its signal in every layer."""
    assert mf.schemes.place("he", "relu").reach == math.inf
    assert mf.schemes.place("lecun", "relu").reach == pytest.approx(6 / math.log(2))
    assert mf.schemes.place("kumar", "gelu").point is None  # explodes: 4/2 per layer
    assert mf.schemes.place("kumar", "gelu").reach == pytest.approx(6 / math.log(2), rel=1e-6)
    he = mf.schemes.place("he", "tanh")
    assert he.point is not None and he.reach == 6 * he.point.depth_scale_c
    selu = mf.schemes.place("lecun", "selu")  # self-normalising: q = 1
    assert selu.point is not None and selu.point.q == pytest.approx(1, abs=1e-9)


def test_the_table() -> None:
    table = mf.schemes.compare("relu", depth=20)
    assert {p.scheme for p in table.placements} | set(table.missing) == set(mf.schemes.NAMES)
    assert list(table.missing) == ["kumar"]
    lines = repr(table).splitlines()
    he = next(line.split() for line in lines if line.split()[0] == "he")
    assert he == ["he", "2", "0", "1", "1", "critical", "inf", "yes"]


def test_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    table = mf.schemes.compare("tanh")
    ax = plt.figure().add_subplot()
    forbid_side_effects(monkeypatch)
    assert table.plot(ax=ax) is ax
    shown = [text.get_text() for text in ax.texts if text.get_visible()]
    named = {name for text in shown for name in text.split("\n")}
    assert named == {p.scheme for p in table.placements}
    monkeypatch.undo()
    plt.close("all")


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="scheme: must be one of lecun, .*; got 'kaiming'"):
        mf.schemes.place("kaiming", "relu")
    with pytest.raises(ValueError, match="depth: must be a whole number"):
        mf.schemes.compare("relu", depth=0)
    assert np.ndim(mf.schemes.NAMES) == 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from meanfield.cli import main

    picture, numbers = tmp_path / "schemes.png", tmp_path / "schemes.csv"
    assert main(["schemes", "tanh", "--depth", "90", "-o", str(picture), "-o", str(numbers)]) == 0
    printed = capsys.readouterr().out
    assert "lsuv" in printed and picture.stat().st_size > 10_000
    rows = {row.split(",")[0]: row.split(",") for row in numbers.read_text().splitlines()}
    assert rows["he"][1:3] == ["2.0", "0.0"] and rows["lsuv"][8] == "False"
