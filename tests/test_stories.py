"""The notebooks that tell of papers: they run, and say what they said when they were read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
STORIES = (
    "getting_started", "edge_of_chaos", "dynamical_isometry", "finite_width", "new_activation",
)  # fmt: skip
ALL = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))

# Numbers with so many digits are theory; with fewer they may be of random networks, whose rounding
# differs from machine to machine, or grow out of it, as what is trained.
DIGITS = 6
NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")


def read(name: str) -> Any:
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8"))


def printed(book: Any) -> list[str]:
    """The lines that a notebook prints, and the results that it shows as text."""
    lines = []
    for cell in book["cells"]:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            text = output.get("text", "" if "image/png" in data else data.get("text/plain", ""))
            lines += "".join(text).splitlines()
    return [line for line in lines if line.split()[:1] != ["error"]]


def differ(now: str, then: str) -> bool:
    """Whether words differ, or numbers by more than what they are given for."""
    if NUMBER.sub("#", now).split() != NUMBER.sub("#", then).split():
        return True
    for a, b in zip(NUMBER.findall(now), NUMBER.findall(then), strict=True):
        exact = len(re.sub(r"e.*|\D|^[-+0.]*", "", b)) >= DIGITS
        if float(a) != pytest.approx(float(b), rel=2e-5 if exact else 0.2, abs=0 if exact else 0.1):
            return True
    return False


@pytest.mark.notebooks
@pytest.mark.parametrize("name", STORIES)
def test_a_notebook_says_what_it_said(name: str) -> None:
    run = pytest.importorskip("run_notebooks", exc_type=ImportError)
    pytest.importorskip("sklearn")
    pytest.importorskip("optax")
    now = printed(run.executed(NOTEBOOKS / f"{name}.ipynb"))
    then = printed(read(name))
    assert len(now) == len(then)
    assert [(a, b) for a, b in zip(now, then, strict=True) if differ(a, b)] == []


@pytest.mark.parametrize("name", ALL)
def test_a_notebook_is_kept_with_its_outputs(name: str) -> None:
    """All cells were run, once and in order, without errors and warnings."""
    cells = [cell for cell in read(name)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if "Warning" in "".join(output.get("text", ""))]


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_light_and_tells_where_it_comes_from(name: str) -> None:
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < 250_000
    cells = read(name)["cells"]
    story = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert "arxiv.org/abs/" in story
    assert "agree" in story and ("What doesn't" in story or "What does not" in story
                                 or "What is new" in story)  # fmt: skip
    assert "/tmp" not in json.dumps(cells)


def test_numbers_and_words_are_told_apart() -> None:
    assert not differ("q = 1.2345678, seen 0.52", "q = 1.2345679, seen 0.50")
    assert differ("q = 1.23457", "q = 1.23467")
    assert differ("seen 0.9", "seen 0.5")
    assert differ("stable", "not stable")
    assert not differ("loss nan", "loss nan")
