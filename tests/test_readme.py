"""Every command line of the README and of the tour runs, but for the set-up, which `.ci/run` does.

Their examples with `>>>` are doctests.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from meanfield.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = README + (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")


def blocks(language: str, text: str) -> list[str]:
    """What is fenced as of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


LINES = [
    line.partition("#")[0].strip() for block in blocks("sh", PAGES) for line in block.splitlines()
]
COMMANDS = [line for line in LINES if line.startswith("meanfield ")]
OTHERS = [line for line in LINES if not line.startswith(("meanfield ", "pip install "))]


def marked(command: str):
    """The simulation takes a minute, and ELU is torch's."""
    if command.startswith("meanfield simulate"):
        return pytest.param(command, marks=pytest.mark.slow)
    return pytest.param(command, marks=pytest.mark.torch) if "torch" in command else command


@pytest.mark.parametrize("command", [marked(command) for command in COMMANDS])
def test_command(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with a package and a graph of one's own."""
    if "torch" in command:
        pytest.importorskip("torch")
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "activations.py").write_text("def swoosh(x):\n    return x / (1 + abs(x))\n")
    (tmp_path / "edges.csv").write_text("a,b\nb,c\nc,d\nd,a\na,c\n")
    monkeypatch.chdir(tmp_path)
    name, *arguments = shlex.split(command)
    assert name == "meanfield" and main(arguments) == 0
    for option, file in zip(arguments, arguments[1:], strict=False):
        if option == "-o":
            assert (tmp_path / file).stat().st_size > 1000


@pytest.mark.torch
def test_the_hand_over_to_torch(capsys: pytest.CaptureFixture[str]) -> None:
    """The one block that is no doctest, since torch can be absent."""
    pytest.importorskip("torch")
    (block,) = (text for text in blocks("python", README) if ">>>" not in text)
    exec("import meanfield as mf\n" + block, {})
    assert "output" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("command", [line for line in OTHERS if line.startswith("python -m ")])
def test_benchmarks(command: str) -> None:
    _, *arguments = shlex.split(command)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=True)


def test_the_documentation_is_built_as_it_says() -> None:
    (command,) = (line for line in OTHERS if not line.startswith("python -m "))
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text()


def test_what_it_shows_is_there() -> None:
    for path in re.findall(r'src="([^"]+)"|\]\(((?!http)[^)]+)\)', README):
        assert (ROOT / "".join(path)).exists(), path


def test_all_are_seen() -> None:
    assert len(COMMANDS) >= 10 and len(README.splitlines()) <= 150
