"""Every command line of the README runs, but for its set-up, which `.ci/run` does."""

import re
import shlex
from pathlib import Path

import pytest

from meanfield.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"^```sh\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("meanfield ")
]


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


def test_all_are_seen() -> None:
    assert len(COMMANDS) >= 10 and len(README.splitlines()) <= 150
