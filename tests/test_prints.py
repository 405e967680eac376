"""Results print as words and a few numbers, whatever arrays they hold."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

import meanfield as mf
import meanfield.layers as ml


@cache
def choice() -> mf.ClipChoice:
    return mf.clip_threshold("shifted_relu", 0.85, 0.7)


@cache
def relu() -> Any:
    return mf.finite_width(mf.critical("relu"), 50, 300)


# made, and what is said of it
PRINTS: dict[str, tuple[Callable[[], Any], str]] = {
    "CriticalLine": (
        lambda: mf.critical_line("gaussian", [0.1, 1.0, 2.0, 4.0]),
        "CriticalLine of 4 points: 2 critical, at q from 2 to 4",
    ),
    "no CriticalLine": (
        lambda: mf.critical_line("gaussian", [0.1]), "CriticalLine of 1 points: 0 critical"
    ),
    "Noise": (lambda: choice().noise(), "Noise(kernel=0.128194, sampled=0.151988)"),
    "ClipTrajectory": (lambda: choice().trajectory(9), "10 layers, variance 1 to 1; of networks"),
    "Chain": (lambda: choice().chain(9), "Chain of 10 layers: 0 of the networks have left"),
    "LogNorm": (lambda: relu().gradient_log_norm, "LogNorm of the gradient, exact: ln |J u|^2 has"),
    "Asymptote": (lambda: relu().asymptote, "V4/K^2 grows by 5 a layer (scale-invariant)"),
    "CriticalScale": (
        lambda: ml.critical(ml.residual(ml.serial(ml.activation("relu"), ml.dense(2.0)))),
        "blocks, like depth^-0.5",
    ),
    "LogKernel": (lambda: relu().exact.log_kernel(), "LogKernel(mean=-0."),
    "ExactLaw": (lambda: relu().exact, "ExactLaw of slopes 0 and 1, weight_var 2 and q 1: 50"),
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTS)
def test_in_a_line(name: str) -> None:
    made, words = PRINTS[name]
    text = repr(made())
    assert words in text and len(text) < 160 and "\n" not in text, text
