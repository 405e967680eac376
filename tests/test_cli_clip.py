"""`meanfield clip`: the choice, the table, files and pictures."""

import csv
from pathlib import Path

import numpy as np
import pytest

import meanfield as mf
from commands import HEADS, run, strict_json
from meanfield.cli import main


def test_it_prints_the_choice(capsys: pytest.CaptureFixture[str]) -> None:
    out = run("clip shifted_relu --sparsity 0.85 --slope 0.7 --width 300", capsys)
    choice = mf.clip_threshold("shifted_relu", 0.85, 0.7)
    assert out.strip() == str(choice)
    assert "m                    1.17036734" in out


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("soft_threshold --tau 1.0 --risk 0.02", {"tau": 1.0, "risk": 0.02}),
        ("shifted_relu --sparsity 0.9 --margin 2 --weights orthogonal",
         {"sparsity": 0.9, "margin": 2.0, "weights": "orthogonal"}),
        ("elu --level 1.5 --alpha 0.5 --clip smooth --q 2", {"m": 1.5, "clip": "smooth", "q": 2.0}),
    ],
)  # fmt: skip
def test_json(arguments: str, options: dict, capsys: pytest.CaptureFixture[str]) -> None:
    record = strict_json(run(f"clip {arguments} --json", capsys))
    name = arguments.split()[0]
    phi = mf.Activation("elu", alpha=0.5) if name == "elu" else name
    choice = mf.clip_threshold(phi, **options)
    assert record["m"] == choice.m
    assert record["point"]["weight_var"] == choice.weight_var
    assert record["verdict"] == str(choice.verdict)


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Section 1's first table by one command; here two of its rows."""
    files = [tmp_path / f"table{suffix}" for suffix in (".csv", ".json", ".npz")]
    options = " -o ".join(["", *map(str, files)])
    out = run(f"clip shifted_relu --sparsity 0.6 0.9 --slope 0.7 1 --table{options}", capsys)
    cells = [line.split() for line in out.splitlines()[2:6]]
    assert [row[:7] for row in cells] == [
        ["0.60", "0.2533", "0.70", "1.6258", "-0.421", "2.704", "0.2385"],
        ["0.60", "0.2533", "1.00", "inf", "+0.122", "2.500", "0.1805"],
        ["0.90", "1.2816", "0.70", "1.0632", "+0.237", "11.052", "0.6628"],
        ["0.90", "1.2816", "1.00", "inf", "+1.125", "10.000", "0.6067"],
    ]
    with files[0].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["m"]) for row in rows][::2] == pytest.approx([1.6258, 1.0632], abs=5e-5)
    assert len(strict_json(files[1].read_text())["rows"]) == 4
    with np.load(files[2]) as saved:
        assert saved["weight_var"] == pytest.approx([2.704, 2.5, 11.052, 10.0], abs=5e-4)


def test_networks_beside_the_theory(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--sparsity 0.8 --slope 0.5 --networks 8 --width 50 --depth 6"
    out = run(f"clip shifted_relu --table {arguments}", capsys)
    assert "8 networks a row" in out
    assert len(out.splitlines()) == 6


def test_pictures_and_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / f"clip{suffix}" for suffix in (".png", ".json", ".npz", ".csv")]
    command = "clip shifted_relu --sparsity 0.9 --depth 20 --networks 4 --width 50"
    out = run(" -o ".join([command, *map(str, files)]), capsys)
    assert files[0].read_bytes().startswith(HEADS[".png"])
    record = strict_json(files[1].read_text())
    with np.load(files[2]) as saved:
        assert saved["m"] == record["m"]
        assert len(saved["trajectory_variance"]) == 20
        assert saved["curves_slope"].shape[1] == len(saved["curves_m"])
    assert out.count("wrote ") == 4
    assert "of 4 networks drawn 0." in out


def test_a_picture_of_ones_own_activation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gelu.svg"
    run(f"clip gelu --depth 20 -o {file}", capsys)
    assert file.read_bytes().startswith(HEADS[".svg"])


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("shifted_relu", 1, "sparsity"),
        ("shifted_relu --sparsity 1.5", 1, "sparsity"),
        ("tanh", 1, "bounded already"),
        ("nothing", 1, "nothing"),
        ("shifted_relu --sparsity 0.8 --slope 0.5 --margin 2", 2, "not allowed with"),
        ("shifted_relu --sparsity 0.8 --alpha 2", 2, "--alpha"),
        ("shifted_relu --sparsity 0.8 0.9 --risk 0.1", 2, "--table"),
        ("shifted_relu --sparsity 0.8 0.9 -o a.png", 2, "-o"),
        ("shifted_relu --sparsity 0.8 --networks -1", 2, "--networks"),
    ],
)  # fmt: skip
def test_what_is_refused(
    arguments: str, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert main(["clip", *arguments.split()]) == status
    except SystemExit as error:
        assert error.code == status
    assert words in capsys.readouterr().err
