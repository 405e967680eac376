"""The command line and the public names: what a person meets first."""

import importlib
import math
import sys
from pathlib import Path
from typing import Any

import pytest

import meanfield as mf
from commands import python, strict_json
from meanfield.cli import main

USER_MODULE = """
import jax.numpy as jnp

def swoosh(x, shift=1.0):
    return jnp.logaddexp(0.0, x - shift) - 0.08 * x

class Ramp:
    def __init__(self, slope=1.0):
        self.slope = slope

    def __call__(self, x):
        return self.slope * x

class Family:
    @staticmethod
    def relu(x):
        return jnp.maximum(x, 0.0)

def fails(x):
    return jnp.sort(x)
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of the current directory, which is not on the path yet."""
    name = "a_users_activations"
    (tmp_path / f"{name}.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    return name


# -- importing is free ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", ["import meanfield", "from meanfield import cli; cli.build_parser()"]
)
def test_nothing_heavy_is_imported(code: str) -> None:
    heavy = "{'jax', 'numpy', 'scipy', 'matplotlib'}"
    result = python("-c", f"{code}; import sys; print(sorted({heavy} & set(sys.modules)))")
    assert result.stdout == "[]\n", result.stderr


def test_every_public_name_loads() -> None:
    for name in mf.__all__:
        assert getattr(mf, name).__name__ == name
    assert set(mf.__all__) <= set(dir(mf))
    with pytest.raises(AttributeError, match="no attribute 'mystery'"):
        _ = mf.mystery


# -- usage ----------------------------------------------------------------------------------------


def test_help_names_the_commands() -> None:
    result = python("-m", "meanfield", "--help")
    assert result.returncode == 0
    assert "critical" in result.stdout
    assert "activations" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "mystery",
        "critical",
        "critical relu --q one",
        "critical relu --q 1 --bias-var 0.1",
        "critical relu --weights uniform",
        "critical crelu --tau",
        "critical crelu --tau one",
        "critical crelu --tau 1 --tau 2",
        "critical crelu 1",
        "critical crelu -t 1",
        "activations relu --tau 1",
        "phase",
        "phase tanh --weight-var 1",
        "phase tanh --weight-var 2 1",
        "phase tanh --weight-var 1 2 2.5",
        "phase tanh --weight-var 1 2 3 4",
        "phase tanh --bias-var 0 1 1",
        "phase tanh --bias-var 0 1 2.5",
        "phase tanh --colour blue",
        "phase tanh --axes sigma",
        "phase tanh -o tanh.txt",
        "phase tanh -o no/such/folder/tanh.png",
        "maps tanh --weight-var one",
        "maps tanh -o tanh",
        "maps tanh --q0 1",
        "maps tanh --q0 0 -o tanh.png",
        "maps tanh --log",
    ],
)
def test_usage_errors_exit_with_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    assert (
        f"usage: meanfield {arguments.split()[0] if ' ' in arguments else ''}"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "critical mystery",
        "maps mystery",
        "maps relu --weight-var -1",
        "maps step",
        "phase mystery",
        "phase step",
        "critical relu --tau 1",
        "critical step",
        "critical relu --q -1",
        "critical a_module_nobody_has:f",
        "critical math:mystery",
        "critical math:pi",
        "critical a_users_activations:fails",
        "activations mystery",
    ],
)
def test_refusals_are_one_line_and_exit_with_1(
    arguments: str, user_module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("meanfield: error: ")
    assert captured.err.count("\n") == 1


def test_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("meanfield.criticality.critical", interrupted)
    assert main(["critical", "relu"]) == 130


def test_a_closed_pipe_is_no_traceback() -> None:
    code = "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n"
    code += "from meanfield.cli import main; sys.exit(main(['activations', 'relu']))"
    result = python("-c", code)
    assert (result.returncode, result.stderr) == (141, "")


# -- meanfield critical ---------------------------------------------------------------------------


def test_critical_prints_the_point_and_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["critical", "gelu"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(str(mf.critical("gelu")))
    assert 'phi = mf.Activation("gelu")' in out and "point = mf.critical(phi, q=1.0)" in out
    assert "sqrt(weight_var / fan_in)" in out


@pytest.mark.parametrize(
    "arguments",
    [
        "gelu --q 0.5",
        "tanh --bias-var 0.05",
        "crelu --tau 1.0 --m=1.5",
        "tanh --weights orthogonal",
    ],
)
def test_the_lines_to_paste_run(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["critical", *arguments.split()]) == 0
    lines = capsys.readouterr().out.split("In JAX")[1].split("Anywhere else")[0].splitlines()[1:]
    namespace: dict[str, Any] = {}
    exec("\n".join(line.strip() for line in lines), namespace)
    assert main(["critical", *arguments.split(), "--json"]) == 0
    printed = strict_json(capsys.readouterr().out)
    assert printed["weight_var"] == pytest.approx(float(namespace["point"].weight_var), rel=1e-12)


def test_critical_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["critical", "gelu", "--json"]) == 0
    point = strict_json(capsys.readouterr().out)
    assert point["weight_var"] == pytest.approx(2.19369990353240, rel=1e-12)
    assert point["bias_var"] == pytest.approx(0.06719167470563, rel=1e-12)


def test_several_values_give_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["critical", "gelu", "--q", "0.5", "2", "--json"]) == 0
    points = strict_json(capsys.readouterr().out)
    assert [point["q"] for point in points] == [0.5, 2.0]


def test_json_has_infinity_as_a_string(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["critical", "relu", "--json"]) == 0
    assert strict_json(capsys.readouterr().out)["depth_scale_q"] == "inf"


def test_parameters_reach_the_activation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["critical", "crelu", "--tau", "1.0", "--m=1.5", "--json"]) == 0
    between = (math.erf(2.5 / math.sqrt(2)) - math.erf(1 / math.sqrt(2))) / 2  # P(1 < z < 2.5)
    point = strict_json(capsys.readouterr().out)
    assert point["weight_var"] == pytest.approx(1 / between, rel=1e-12)


def test_a_users_function(user_module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["critical", f"{user_module}:Family.relu", "--json"]) == 0
    assert strict_json(capsys.readouterr().out)["weight_var"] == pytest.approx(2.0, rel=1e-12)
    assert main(["critical", f"{user_module}:Family.relu"]) == 0
    assert "phi = mf.Activation(Family.relu)" in capsys.readouterr().out
    assert main(["critical", f"{user_module}:swoosh", "--shift", "2", "--q", "5.0"]) == 0
    out = capsys.readouterr().out
    assert f"from {user_module} import swoosh" in out
    assert "phi = mf.Activation(swoosh, shift=2.0)" in out and "mf.critical(phi, q=5.0)" in out


def test_a_class_takes_the_parameters(user_module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["critical", f"{user_module}:Ramp", "--slope", "2"]) == 0
    out = capsys.readouterr().out
    assert "weight_var           0.25" in out
    assert "phi = mf.Activation(Ramp, slope=2.0)" in out


@pytest.mark.torch
def test_a_torch_function(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert main(["critical", "torch.nn.functional:mish", "--json"]) == 0
    of_torch = strict_json(capsys.readouterr().out)["weight_var"]
    assert of_torch == pytest.approx(float(mf.critical("mish").weight_var), rel=1e-5)


@pytest.mark.torch
def test_torch_may_be_imported_when_called() -> None:
    pytest.importorskip("torch")
    code = "import sys, meanfield as mf\ndef phi(x):\n    import torch\n    return torch.tanh(x)\n"
    code += "assert 'torch' not in sys.modules\nprint(float(mf.critical(phi).weight_var))"
    result = python("-c", code)
    assert float(result.stdout) == pytest.approx(float(mf.critical("tanh").weight_var), rel=1e-9)


# -- meanfield activations ------------------------------------------------------------------------


def test_the_catalogue_lists_every_activation(capsys: pytest.CaptureFixture[str]) -> None:
    from meanfield.catalogue import CATALOGUE

    assert main(["activations", "--json"]) == 0
    assert [record["name"] for record in strict_json(capsys.readouterr().out)] == list(CATALOGUE)
    assert main(["activations"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "parameters", "kinks", "also", "called", "formula"]
    assert [row.split()[0] for row in rows] == list(CATALOGUE)


def test_one_activation_by_any_of_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["activations", "swish", "--json"]) == 0
    assert strict_json(capsys.readouterr().out)["name"] == "silu"
    assert main(["activations", "step"]) == 0
    assert "0 (jump)" in capsys.readouterr().out
