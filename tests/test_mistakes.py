"""Mistakes that a newcomer makes: each is answered in one sentence that says what to do instead."""

import importlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import meanfield as mf
from meanfield.cli import main


class Ramp:
    """An activation that is made with its slope."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def __call__(self, x: Any) -> Any:
        return self.slope * x


def critical(phi: Any = "tanh", **options: Any) -> Any:
    return mf.critical(phi, **options)


ANY: Any = mf  # called in ways that its types forbid

# What is done wrong, what is raised, and words of the way out that the message has to name.
IN_PYTHON: dict[str, tuple[Callable[[], Any], type[Exception], tuple[str, ...]]] = {
    "a name with a typing error": (lambda: critical("geluu"), ValueError, ("'geluu'", "gelu")),
    "a name of nothing": (lambda: critical("banana"), ValueError, ("lists all", "function itself")),
    "softmax by name": (lambda: critical("softmax"), ValueError, ("one number", "no softmax")),
    "softmax": (lambda: critical(jax.nn.softmax), ValueError, ("not elementwise", "each number")),
    "a gated unit": (lambda: critical(jax.nn.glu), ValueError, ("shape", "each number alone")),
    "a sum over the inputs": (
        lambda: critical(lambda x: x / jnp.sum(x)), ValueError, ("not elementwise",)
    ),
    "whole numbers": (
        lambda: critical(lambda x: x.astype(int)), ValueError, ("int64", ".astype(x.dtype)")
    ),
    "a random function": (
        lambda: critical(lambda x: x * np.random.rand()), ValueError, ("random", "deterministic")
    ),
    "a function that returns nothing": (lambda: critical(lambda x: None), ValueError, ("one",)),
    "a logarithm": (lambda: critical(jnp.log), ValueError, ("nan at x = ", "finite")),
    "growth beyond all moments": (
        lambda: critical(lambda x: jnp.exp(x**2)), ValueError, ("infinite", "smaller q")
    ),
    "a constant": (lambda: critical(lambda x: 0 * x + 1), ValueError, ("E[phi'^2] is 0", "varies")),
    "a step": (lambda: critical("step"), ValueError, ("jumps at x = 0", "steep ramp")),
    "a parameter left out": (
        lambda: critical(lambda x, a: a * x), TypeError, ("'a'", "Activation(phi, slope=0.1)")
    ),
    "a class": (lambda: critical(Ramp), TypeError, ("class Ramp", "Ramp(...)", "'slope'")),
    "the value of the function": (lambda: critical(math.tanh(1.0)), TypeError, ("float", "name")),
    "no activation": (lambda: critical(None), TypeError, ("NoneType", "function")),
    "a list of names": (lambda: critical(["tanh", "relu"]), TypeError, ("list", "function")),
    "a misspelt parameter": (
        lambda: mf.Activation("crelu", taw=1.0), TypeError, ("'taw'", "it has tau, m")
    ),
    "a misspelt option": (lambda: critical(Q=1.0), TypeError, ("'Q'", "phi, q, bias_var, weights")),
    "a standard deviation": (
        lambda: ANY.Network("tanh", weight_std=1.5), TypeError, ("'weight_std'", "std**2")
    ),
    "a grid of sigmas": (
        lambda: ANY.phase_diagram("tanh", sigma_w=[1.0]), TypeError, ("'sigma_w'", "weight_var")
    ),
    "q as a string": (lambda: critical(q="1"), TypeError, ("q: must be a number", "'1'")),
    "q as a truth value": (lambda: critical(q=True), TypeError, ("q: must be a number", "True")),
    "q below zero": (lambda: critical(q=-1.0), ValueError, ("q: ", "> 0", "-1.0")),
    "q is zero": (lambda: critical(q=0), ValueError, ("q: ", "> 0", "0.0")),
    "one bad q of several": (lambda: critical(q=[1, -2]), ValueError, ("-2.0", "entries [1]")),
    "q is not a number": (lambda: critical(q=float("nan")), ValueError, ("finite", "nan")),
    "q is infinite": (lambda: critical(q=math.inf), ValueError, ("finite", "inf")),
    "both of q and bias_var": (
        lambda: critical(q=1.0, bias_var=0.1), ValueError, ("give one of them", "bias_var=0.1")
    ),
    "a negative variance": (lambda: mf.Network("tanh", -1.0), ValueError, ("weight_var: ", "-1.0")),
    "a variance as a string": (lambda: mf.Network("tanh", "2"), TypeError, ("weight_var: ", "'2'")),
    "unknown weights": (
        lambda: critical(weights="haar"), ValueError, ("weights: ", "'orthogonal'", "'haar'")
    ),
    "a name for a network": (
        lambda: ANY.fixed_points("tanh"), TypeError, ("Network or a FixedPoint", "'tanh'")
    ),
    "a function for a network": (
        lambda: ANY.variance_map(jnp.tanh), TypeError, ("Network or a FixedPoint",)
    ),
    "no layer": (
        lambda: mf.finite_width(critical(), depth=0, width=9), ValueError, ("depth: ", "got 0")
    ),
    "a report on no layer": (lambda: mf.report("tanh", depth=0), ValueError, ("depth: ", "got 0")),
    "half a layer": (
        lambda: mf.finite_width(critical(), depth=2.5, width=9),  # pyright: ignore
        TypeError, ("depth: ", "whole number", "2.5"),
    ),
    "a width of 10.5": (
        lambda: mf.finite_width(critical(), depth=2, width=10.5),  # pyright: ignore
        TypeError, ("width: ", "whole number", "10.5"),
    ),
    "a width as a string": (
        lambda: ANY.report("tanh", width="300"), TypeError, ("width: ", "whole number", "'300'")
    ),
    "a sparsity in per cent": (
        lambda: mf.clip_threshold("shifted_relu", sparsity=85), ValueError, ("sparsity: ", "85")
    ),
    "a slope that does not hold": (
        lambda: mf.clip_threshold("shifted_relu", sparsity=0.85, slope=1.5),
        ValueError, ("slope: ", "below 1"),
    ),
    "a decreasing grid": (
        lambda: mf.phase_diagram("tanh", [2.0, 1.0], [0.0]), ValueError, ("increase", "sort it")
    ),
    "no draws": (
        lambda: mf.simulate(critical(), width=4, depth=2, draws=0, key=0), ValueError, ("draws: ",)
    ),
    "weights of one axis": (
        lambda: mf.initializer(critical())(jax.random.key(0), (512,)),
        ValueError, ("shape: ", "bias_initializer"),
    ),
    "a point by name": (
        lambda: ANY.initializer("gelu"), TypeError, ("point: ", "critical(phi)", "'gelu'")
    ),
    "a call with a typing error": (lambda: ANY.critcal("tanh"), AttributeError, ("critical",)),
    "an unknown framework": (lambda: mf.bridges.pytorch, AttributeError, ("torch", "keras")),
    "an unknown scheme": (
        lambda: mf.schemes.place("kaiming", "relu"), ValueError, ("scheme: ", "he", "'kaiming'")
    ),
    "an unknown paper": (lambda: mf.citation("poole"), ValueError, ("poole2016", "'poole'")),
}  # fmt: skip


@pytest.mark.parametrize("mistake", IN_PYTHON)
def test_in_python(mistake: str) -> None:
    done, kind, words = IN_PYTHON[mistake]
    with pytest.raises(kind) as raised:
        done()
    message = str(raised.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    monkeypatch.delitem(sys.modules, "meanfield.bridges.keras", raising=False)
    with pytest.raises(ImportError, match=r"keras: .* pip install 'meanfield\[keras\]'"):
        _ = mf.bridges.keras


@pytest.mark.torch
def test_a_module_that_is_no_activation() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"cannot make an instance of the class Linear: .*missing"):
        mf.critical(torch.nn.Linear)
    made = mf.critical(mf.Activation(torch.nn.ELU, alpha=2.0))  # a class is as good as an instance
    assert made.weight_var == mf.critical(torch.nn.ELU(alpha=2.0)).weight_var
    with pytest.raises(TypeError, match="model: must be a torch.nn.Module, got type"):
        mf.bridges.torch.init_(torch.nn.Linear, "gelu")


USER_MODULES = {
    "newcomer": "class Ramp:\n    def __init__(self, slope):\n        pass\n"
    "def swoosh(x):\n    return x / (1 + abs(x))\ndef broken(x):\n    return undefined * x\n",
    "unclosed": "swoosh = (\n",
    "exits_at_once": "raise RuntimeError('no licence')\n",
}
# A command line, and words of its one line of answer.
ON_THE_COMMAND_LINE = {
    "critical geluu": ("'geluu'", "nearest names are gelu"),
    "critical softmax": ("one number", "package.module:function"),
    "critical newcomer.swoosh": ("newcomer:swoosh", "package.module:function"),
    "critical newcomer.py:swoosh": ("newcomer.py", "without .py"),
    "critical nobody_has_this:swoosh": ("No module named", "importable from here"),
    "critical newcomer:swish": ("no attribute 'swish'",),
    "critical unclosed:swoosh": ("SyntaxError", "unclosed.py"),
    "critical exits_at_once:swoosh": ("no licence",),
    "critical newcomer:broken": ("'undefined' is not defined",),
    "critical newcomer:Ramp": ("class Ramp", "'slope'", "are its arguments"),
    "critical jax.nn:softmax": ("not elementwise",),
    "critical tanh --weight-std 1.5": ("'weight_std'", "--help", "std^2"),
    "critical crelu --taw 1": ("'taw'", "tau, m"),
    "critical tanh --q -1": ("q: ", "> 0", "-1.0"),
    "critical tanh --q one": ("--q", "'one'"),
    "critical tanh --weights haar": ("--weights", "'haar'", "orthogonal"),
    "critcal tanh": ("'critcal'", "critical"),
    "critical": ("ACTIVATION",),
    "report tanh --depth 0": ("depth: ", "at least 1", "got 0"),
    "report tanh --depth 2.5": ("--depth", "'2.5'"),
    "report tanh --width 0": ("width: ", "got 0"),
    "report tanh -o tanh.docx": (".html", "'tanh.docx'"),
    "report tanh -o no/tanh.html": ("no folder 'no'", "make it first"),
    "report tanh -o folder.html": ("folder.html", "cannot be written", "another name"),
    "phase tanh -o phase.gif": (".png", "'phase.gif'"),
    "phase tanh --weight-var 2 1": ("--weight-var", "LOW < HIGH"),
    "maps tanh --weight-var -1": ("weight_var: ", "> 0", "-1.0"),
    "clip shifted_relu --sparsity 85": ("sparsity: ", "below 1", "85"),
    "simulate tanh --width 8 --depth 2 --draws 0": ("draws: ", "at least 1"),
    "graph nofile.csv": ("nofile.csv", "No such file"),
    "graph wide.csv": ("line 1", "first second weight"),
}


@pytest.mark.parametrize("line", ON_THE_COMMAND_LINE)
def test_on_the_command_line(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in USER_MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "wide.csv").write_text("a,b,c,d\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    importlib.invalidate_caches()
    try:
        status = main(line.split())
    except SystemExit as stop:  # argparse, after the usage
        status = stop.code
    answer = capsys.readouterr().err
    assert status in (1, 2)
    last = answer.splitlines()[-1]
    assert last.startswith("meanfield") and ": error: " in last and "Traceback" not in answer
    assert all(word in last for word in ON_THE_COMMAND_LINE[line]), last
