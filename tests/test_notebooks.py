"""What is in notebooks/: the notebook runs, and the study of clipping does what it says."""

from dataclasses import replace
from math import isnan
from pathlib import Path

import jax
import numpy as np
import pytest

import meanfield as mf

pytestmark = pytest.mark.notebooks

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
NOTEBOOK = NOTEBOOKS / "sparsity_and_clipping.ipynb"


@pytest.fixture
def networks():
    return pytest.importorskip("deep_networks", exc_type=ImportError)


@pytest.fixture
def study(networks):
    return pytest.importorskip("clipping_study", exc_type=ImportError)


@pytest.fixture
def small(networks):
    return networks.Setting(depth=3, width=16, batch=8, steps=300)


@pytest.fixture
def committed(study):
    return study.Table(study.FIGURES / "clipping_study.csv")


def test_the_notebook_runs(networks):
    run = pytest.importorskip("run_notebooks", exc_type=ImportError)
    book = run.executed(NOTEBOOK)
    tables = [
        output["data"]["text/markdown"]
        for cell in book.cells
        for output in cell.get("outputs", ())
        if "text/markdown" in output.get("data", {})
    ]
    trained = next(table for table in tables if table.startswith("| network "))
    rows = [[text.strip() for text in line.split("|")] for line in trained.splitlines()[2:]]
    losses = {row[1]: float(row[2]) for row in rows}
    assert isnan(losses["shifted_relu 0.85"]) and isnan(losses["soft_threshold 0.85"])
    assert losses["crelu 0.85, V' = 0.7"] < np.log(10) / 2  # half of what guessing loses


def test_the_notebook_shows_the_committed_study_and_is_small(study, committed):
    text = NOTEBOOK.read_text("utf-8")
    assert len(text) < 400_000  # 300 kB of pictures, in base 64
    shown = study.short_table(committed.rows, "sgd", study.GRID.steps).splitlines()
    assert all(line in text for line in shown)


def test_the_committed_study_is_complete(study, committed):
    assert [run for ladder in study.plan() if (run := study.following(committed, ladder))] == []


def test_the_first_learning_rate_is_the_best_of_the_committed_searches(study, networks, committed):
    for optimizer, how in networks.OPTIMIZERS.items():
        for cell in study.TYPICAL:
            losses = {
                run.rate: committed.find(run)["loss"]
                for (run,) in study.searches()
                if (run.optimizer, run.cell) == (optimizer, cell)
            }
            assert min(losses, key=losses.__getitem__) == how.rates[0]


def test_committed_runs_start_where_runs_start_now(study, networks, committed):
    """The same seeds draw the same networks at the same critical point, to single precision."""
    for cell in (networks.Cell("crelu", 0.85, 0.7), networks.Cell("cst", 0.7, 0.5)):
        rate = networks.OPTIMIZERS["sgd"].rates[0]
        row = committed.find(study.Run("sgd", cell, rate, 1, study.GRID))
        drawing, _ = jax.random.split(jax.random.key(1))
        weights = networks.initial(cell.point, study.GRID, drawing)
        seen = networks.output(cell, weights, networks.digits().test)
        assert row["m"] == pytest.approx(cell.parameters["m"], rel=1e-5)
        assert row["variance_initial"] == pytest.approx(float(seen.variances[-1]), rel=1e-3)
        assert row["sparsity_initial"] == pytest.approx(float(np.mean(seen.zeros)), rel=1e-3)


def test_networks_start_at_their_critical_point(networks):
    cell, setting = networks.Cell("cst", 0.8, 0.5), networks.Setting(depth=20)
    images = networks.digits().test
    assert np.mean(images**2, axis=1) == pytest.approx(1, rel=1e-5)
    seen = [
        networks.output(cell, networks.initial(cell.point, setting, jax.random.key(seed)), images)
        for seed in range(20)
    ]
    choice = mf.clip_threshold("soft_threshold", sparsity=0.8, slope=0.5)
    error = choice.noise(width=setting.width).sampled / np.sqrt(len(seen))
    for layer in (0, 19):
        variance = np.mean([s.variances[layer] for s in seen])
        assert variance == pytest.approx(1, abs=5 * error)  # five standard errors
    assert np.mean([s.zeros for s in seen]) == pytest.approx(0.8, abs=0.01)


def test_training_learns_and_says_when_it_does_not(networks, small):
    longer = replace(small, batch=32, steps=1000)
    learned = networks.train(networks.Cell("relu"), "sgd", 1e-2, 0, longer)
    assert learned["test_accuracy"] > 0.8
    assert not learned["failed"]
    lost = networks.train(networks.Cell("shifted_relu", 0.7), "sgd", 1e6, 0, small)
    assert lost["failed"]
    assert isnan(lost["loss"])
    assert isnan(lost["sparsity_test"])


def test_an_interrupted_study_goes_on(study, networks, small, tmp_path, monkeypatch):
    clipped = networks.Cell("crelu", 0.85, 0.7)
    monkeypatch.setattr(study, "UNCLIPPED", {"crelu": "shifted_relu"})
    monkeypatch.setattr(study, "TYPICAL", [networks.Cell("relu"), clipped])
    monkeypatch.setattr(study, "GRID", small)
    monkeypatch.setattr(study, "LONG", replace(small, steps=600))
    monkeypatch.setattr(study, "SPARSITIES", (0.85,))
    monkeypatch.setattr(study, "SLOPES", (0.7,))
    monkeypatch.setattr(study, "SEEDS", (0,))
    path = tmp_path / "new" / "study.csv"
    study.study(study.Table(path), workers=1)
    whole = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(whole[:-3]), "utf-8")
    study.study(study.Table(path), workers=1)
    again = path.read_text("utf-8").splitlines(keepends=True)
    assert sorted(again) == sorted(whole)  # to the last digit: seeds are fixed
    rows = study.Table(path).rows
    for ladder in study.plan():  # rates are tried until one trains
        found = [study.Table(path).find(run) for run in ladder]
        tried = [row for row in found if row is not None]
        assert found[len(tried) :] == [None] * (len(ladder) - len(tried))
        assert all(row["failed"] for row in tried[:-1])
        assert not tried[-1]["failed"] or len(tried) == len(ladder)
    assert study.long_table(rows).count("\n") == 1 + 3 + 1 + 3  # a line for each cell
    study.picture(rows, small.steps, 600)


def test_the_notebook_on_graphs_runs():
    run = pytest.importorskip("run_notebooks", exc_type=ImportError)
    pytest.importorskip("sklearn")
    run.executed(NOTEBOOKS / "graph_networks.ipynb")
