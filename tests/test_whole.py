"""Counts are whole numbers of Python, NumPy or JAX, and each function says so alike."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import meanfield as mf
import meanfield.layers as ml
from meanfield.whole import whole_number

NET: Any = mf.Network("tanh", weight_var=1.5, bias_var=0.1)
DENSE = ml.dense(1.0)


@pytest.mark.parametrize("value", [7, np.int8(7), np.uint64(7), np.array(7), jnp.array(7)])
def test_what_is_one(value: Any) -> None:
    number = whole_number("depth", value)
    assert number == 7 and type(number) is int


@pytest.mark.parametrize(
    "value", [True, np.True_, jnp.array(True), 2.0, np.array(2.0), "3", None, np.array([3]), [3]]
)
def test_what_is_none(value: Any) -> None:
    with pytest.raises(TypeError, match="^draws: must be a whole number, got "):
        whole_number("draws", value)


def test_ranges() -> None:
    assert whole_number("depth", 0, least=0) == 0 and whole_number("count", 9, most=9) == 9
    with pytest.raises(ValueError, match="^width: must be at least 2, got 1$"):
        whole_number("width", np.int64(1), least=2)
    for value in (0, 10):
        with pytest.raises(ValueError, match=f"^count: must be from 1 to 9, got {value}$"):
            whole_number("count", value, most=9)


# What takes a count, as a function of it, and the name of that argument.
TAKES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "finite_width": ("depth", lambda n: mf.finite_width(NET, n, 9)),
    "finite_width_pair": ("depth", lambda n: mf.finite_width_pair(NET, n, 9, 0.5)),
    "tangent_kernel": ("depth", lambda n: mf.tangent_kernel(NET, n)),
    "optimal_aspect_ratio": (
        "outputs", lambda n: mf.finite_width(NET, 3, 9).optimal_aspect_ratio(n)
    ),
    "hermite_coefficients": ("count", lambda n: mf.hermite_coefficients("tanh", count=n)),
    "VarianceMap": ("depth", lambda n: mf.variance_map(NET).iterate(1.0, n)),
    "CorrelationMap": ("depth", lambda n: mf.correlation_map(NET).iterate(0.5, n)),
    "simulate": ("draws", lambda n: mf.simulate(NET, 8, 2, n)),
    "clip_threshold": ("width", lambda n: mf.clip_threshold("shifted_relu", 0.7, width=n)),
    "clip_diagram": ("depth", lambda n: mf.clip_diagram("shifted_relu", [0.7], depth=n)),
    "clip_table": (
        "networks", lambda n: mf.clip_table("shifted_relu", [0.7], [0.7], networks=n)
    ),
    "report": ("depth", lambda n: mf.report("tanh", depth=n)),
    "place": ("fan_in", lambda n: mf.schemes.place("he", "relu", fan_in=n)),
    "repeat": ("times", lambda n: ml.repeat(DENSE, n)),
    "averaged": ("models", lambda n: ml.averaged(n, 1.0)),
    "maxout": ("rank", ml.maxout),
    "jacobian_spectrum": ("depth", lambda n: mf.jacobian_spectrum(NET, n)),
    "residual_spectrum": ("depth", lambda n: mf.residual_spectrum(NET, n)),
    "isometry": ("depth", lambda n: mf.isometry("tanh", n)),
    "q_for_depth": ("depth", lambda n: mf.q_for_depth("tanh", n)),
    "compare": ("depth", lambda n: mf.schemes.compare("relu", depth=n)),
    "fixup_scale": ("layers", lambda n: ml.fixup_scale(8, n)),
    "critical": ("depth", lambda n: ml.critical(ml.residual(DENSE), depth=n)),
    "graph_network": ("depth", lambda n: ml.graph_network([[0, 1], [1, 0]], depth=n)),
    "sample_graph_network": (
        "draws", lambda n: ml.sample_graph_network([[0, 1], [1, 0]], draws=n)
    ),
    "virgo": ("depth", lambda n: ml.virgo([[0, 1], [1, 0]], depth=n)),
}  # fmt: skip


@pytest.mark.parametrize("function", TAKES)
def test_it_is_asked_for(function: str) -> None:
    name, call = TAKES[function]
    for value in (True, 2.5, "3"):
        with pytest.raises(TypeError, match=f"^{name}: must be a whole number, got {value!r}"):
            call(value)
    with pytest.raises(ValueError, match=f"^{name}: must be (at least|from) .*, got -1$"):
        call(-1)
