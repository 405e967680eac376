"""`meanfield graph`: what it prints and writes."""

import csv
from pathlib import Path

import pytest

from commands import strict_json
from meanfield.cli import main
from meanfield.files import read


@pytest.fixture
def edges(tmp_path: Path) -> Path:
    path = tmp_path / "edges.csv"
    path.write_text("source,target\n" + "".join(f"{k},{(k + 1) % 7}\n" for k in range(7)))
    return path


def test_prints_and_writes(edges: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [edges.with_name(f"out{suffix}") for suffix in (".png", ".csv", ".json", ".npz")]
    outputs = [word for file in files for word in ("-o", str(file))]
    options = ["--depth", "12", "--residual-aggregation", "0.4", "--residual-scale", "depth"]
    assert main(["graph", str(edges), *options, *outputs]) == 0
    out = capsys.readouterr().out
    assert "GraphNetwork of 7 nodes, 7 edges: 12 layers of relu" in out
    assert all(f"wrote {file}\n" in out for file in files)
    assert files[0].read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(files[1].read_text().splitlines()))
    assert len(rows) == 13 and float(rows[0]["one_minus"]) == 1.0
    assert strict_json(files[2].read_text())["residual_scale"] == pytest.approx(12**-0.5)
    assert read(files[3])["last_one_minus"].shape == (7, 7)


def test_json_and_parameters(edges: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(edges), "--activation", "elu", "--alpha", "0.5", "--json"]) == 0
    record = strict_json(capsys.readouterr().out)
    assert record["activation"] == "elu(alpha=0.5)" and len(record["nodes"]) == 7


def test_pairs(edges: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(edges), "--depth", "3", "--pairs", "2"]) == 0
    assert "GraphNetwork of 7 nodes (of 2 pairs), 7 edges" in capsys.readouterr().out


def test_refusals(edges: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(edges.with_name("none.csv"))]) == 1
    assert "No such file" in capsys.readouterr().err
    edges.write_text("0,1,-1\n")
    assert main(["graph", str(edges)]) == 1
    assert "must not be negative" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["graph", str(edges), "--residual-scale", "much"])
