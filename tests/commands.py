"""What the tests of subcommands share."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meanfield.cli import main

ROOT = Path(__file__).parents[1]
HEADS = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


def run(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints; it succeeds, and complains of nothing."""
    assert main(arguments.split()) == 0
    captured = capsys.readouterr()
    assert captured.err == ""  # no progress bar where nobody looks on, either
    return captured.out


def python(*args: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Another interpreter, which finds the package as it is here."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, env=environment, **kwargs
    )


def strict_json(text: str) -> Any:
    """What it says, if it is JSON as the standard has it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)
