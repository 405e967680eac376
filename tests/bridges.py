"""What the tests of the bridges share."""

import doctest
from importlib import import_module
from typing import Any

import numpy as np
import pytest

DRAWS = 24


def examples_run(name: str) -> None:
    """Run the examples in the docstrings of a bridge."""
    failed, tried = doctest.testmod(import_module(f"meanfield.bridges.{name}"))
    assert tried > 0 and failed == 0


def assert_variances(squares: np.ndarray, q: float, width: int) -> None:
    """Mean squares of pre-activations, shape (draws, layers), are `q` in every layer.

    Within 4 standard errors and the finite-width correction, of relative order layers / width.
    """
    mean = squares.mean(axis=0)
    standard_error = squares.std(axis=0, ddof=1) / np.sqrt(len(squares))
    assert np.all(standard_error < 0.15 * q)  # or else the next line says nothing
    correction = q * np.arange(1, len(mean) + 1) / width
    assert np.all(np.abs(mean - q) <= 4 * standard_error + correction), mean


def mean_squares(model: Any, x: Any, kinds: Any) -> list[float]:
    """Of the outputs of all layers of these kinds in a torch model, by forward hooks."""
    torch: Any = pytest.importorskip("torch")

    seen: list[float] = []
    hooks = [
        module.register_forward_hook(lambda _, __, out: seen.append(float((out**2).mean())))
        for module in model.modules()
        if isinstance(module, kinds)
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return seen


def entries(weight: Any) -> np.ndarray:
    """Those of a torch tensor."""
    return weight.detach().double().numpy()


def poisoned() -> Any:
    """A torch model with a weight that is no number."""
    torch: Any = pytest.importorskip("torch")

    nn = torch.nn
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight[0] = float("nan")
    return model
