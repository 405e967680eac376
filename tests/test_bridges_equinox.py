"""equinox: models that `init` returns have the variances that it promises."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import meanfield as mf
from bridges import DRAWS, assert_variances, examples_run

pytestmark = pytest.mark.frameworks
eqx: Any = pytest.importorskip("equinox", reason="pip install '.[equinox]'")
init: Any = mf.bridges.equinox.init
describe: Any = mf.bridges.equinox.describe
KEY = jax.random.key(0)


def assert_second_moment(values: Any, expected: float) -> None:
    values = np.asarray(values, np.float64)
    assert np.mean(values**2) == pytest.approx(expected, rel=5 * math.sqrt(2 / values.size))


def test_examples() -> None:
    examples_run("equinox")


@pytest.mark.parametrize("weights", ["gaussian", "truncated-normal", "orthogonal"])
def test_every_layer_has_the_variance(weights: str) -> None:
    model = eqx.nn.MLP(50, 128, 128, 3, activation=jnp.tanh, key=KEY)
    x = np.random.default_rng(1).normal(size=50)
    x = jnp.asarray(x * math.sqrt(1.7 / np.mean(x**2)), jnp.float32)

    @jax.jit
    def squares(key: Any) -> list[Any]:
        made = init(model, "tanh", key, q=0.7, weights=weights, input_second_moment=1.7)
        seen, z = [], x
        for layer in made.layers:
            z = layer(jnp.tanh(z) if seen else z)
            seen.append(jnp.mean(z**2))
        return seen

    drawn = np.array([squares(jax.random.key(k)) for k in range(DRAWS)])
    assert_variances(drawn, 0.7, 128)


class Model(eqx.Module):
    words: Any
    image: Any
    grown: Any
    norm: Any
    attention: Any
    scale: Any
    parts: dict[str, Any]

    def __init__(self) -> None:
        keys = jax.random.split(KEY, 6)
        self.words = eqx.nn.Embedding(300, 40, key=keys[0])
        self.image = eqx.nn.Conv2d(32, 64, (3, 5), groups=4, key=keys[1])
        self.grown = eqx.nn.ConvTranspose1d(64, 48, 6, stride=3, groups=2, key=keys[2])
        self.norm, self.attention = eqx.nn.LayerNorm(8), eqx.nn.MultiheadAttention(2, 8, key=KEY)
        self.scale = jnp.ones(3)
        stack = eqx.filter_vmap(lambda key: eqx.nn.Linear(4, 4, key=key))(keys)
        self.parts = {"head": [eqx.nn.Linear(300, 40, use_bias=False, key=keys[3])], "all": stack}


def test_kinds_of_layers() -> None:
    point = mf.critical("tanh")
    model, made = Model(), init(Model(), point, KEY)
    assert jax.tree.structure(made) == jax.tree.structure(model)
    assert_second_moment(made.words.weight, point.input_second_moment)
    assert_second_moment(made.image.weight, point.weight_var / (8 * 15))
    assert made.image.bias.shape == model.image.bias.shape
    assert_second_moment(made.grown.weight, point.weight_var / (32 * 2))
    assert_second_moment(made.parts["head"][0].weight, point.weight_var / 300)
    for part in ("norm", "attention", "scale"):
        assert eqx.tree_equal(getattr(made, part), getattr(model, part))
    report = describe(model, point)
    assert [(one.name, one.place, one.fan_in) for one in report.initialised] == [
        (".words", "embedding", 40),
        (".image", "hidden", 120),
        (".grown", "hidden", 64),
        (".parts['head'][0]", "output", 300),
    ]
    left = {one.name: one.why for one in report.left}
    assert set(left) == {"", ".norm", ".attention", ".parts['all']"}
    assert "scale" in left[""] and "stacked" in left[".parts['all']"]
    assert report.notes[0] == ".words counts as the first layer and .parts['head'][0] as the output"
    assert ".parts['head'][0] without" not in " ".join(report.notes)  # outputs need no biases


def test_shared_layers_are_drawn_once() -> None:
    class Tied(eqx.Module):
        shared: Any

        def __init__(self) -> None:
            pair = (eqx.nn.Embedding(30, 8, key=KEY), eqx.nn.Linear(8, 30, key=KEY))
            self.shared = eqx.nn.Shared(pair, lambda p: p[1].weight, lambda p: p[0].weight)

    report = describe(Tied(), "tanh")
    assert [one.kind for one in report.initialised] == ["Embedding"]
    assert [one.kind for one in report.left] == ["Linear"]
    made = init(Tied(), "tanh", KEY)
    first, second = made.shared()
    np.testing.assert_array_equal(first.weight, second.weight)


def test_outputs_dtypes_and_keys() -> None:
    model = eqx.nn.MLP(20, 30, 300, 1, key=KEY, dtype=jnp.bfloat16)
    made = init(model, "relu", KEY, output=0.01)
    assert made.layers[1].weight.dtype == jnp.bfloat16
    assert_second_moment(made.layers[1].weight, 0.02 / 300)
    assert not made.layers[1].bias.any()
    assert not init(model, "relu", KEY, output="zero").layers[1].weight.any()
    kept = init(model, "relu", KEY, output="keep")
    assert eqx.tree_equal(kept.layers[1], model.layers[1])
    assert eqx.tree_equal(init(model, "relu", KEY), init(model, "relu", KEY))
    assert not eqx.tree_equal(init(model, "relu", KEY), init(model, "relu", jax.random.key(1)))


def test_errors() -> None:
    with pytest.raises(ValueError, match="model: it has no Linear, Conv or Embedding.*LayerNorm"):
        init(eqx.nn.LayerNorm(4), "tanh", KEY)
    conv = eqx.nn.Conv1d(4, 4, 4, key=KEY)
    with pytest.raises(ValueError, match="Conv1d.*odd sizes"):
        init(conv, "tanh", KEY, weights="delta-orthogonal")


def test_audit_of_a_fresh_network() -> None:
    model = eqx.nn.MLP(128, 128, 128, 4, activation=jnp.tanh, key=KEY)
    model = init(model, "tanh", KEY)
    x = jax.random.normal(jax.random.key(2), (12, 128))
    result = mf.bridges.equinox.audit(model, x)
    z, measured = x, []
    for layer in model.layers:
        z = jax.vmap(layer)(jnp.tanh(z) if measured else z)
        measured.append(float(jnp.mean(z**2)))
    np.testing.assert_allclose(result.variance, measured, rtol=1e-5)
    assert result.activations == (None, *["tanh"] * 4) and result.findings == ()
    error = 5 * np.sqrt(np.arange(1, 6) * 2 / 128)
    assert np.all(np.abs(result.variance / result.predicted_variance - 1) <= error)
    assert np.all(np.abs(result.gradient / result.predicted_gradient - 1) <= error)


class Net(eqx.Module):
    first: Any
    second: Any
    head: Any

    def __init__(self) -> None:
        self.first = eqx.nn.Conv1d(16, 128, 5, padding=2, key=KEY)
        self.second = eqx.nn.ConvTranspose1d(128, 64, 4, stride=2, padding=1, key=KEY)
        self.head = eqx.nn.Linear(64 * 40, 8, key=KEY)

    def __call__(self, x: Any) -> Any:
        return self.head(jnp.maximum(self.second(jnp.maximum(self.first(x), 0)), 0).ravel())


def test_audit_of_convolutions() -> None:
    x = jax.random.normal(jax.random.key(2), (12, 16, 20))
    result = mf.bridges.equinox.audit(init(Net(), "relu", KEY), x)
    assert result.layers == (".first", ".second", ".head")
    assert result.activations == (None, "relu", "relu")
    # of 20 positions 2 at each end see 3 and 4 of 5
    share = (16 * 5 + 2 * (3 + 4)) / 100
    assert result.predicted_variance[0] == pytest.approx(share * result.weight_var[0], rel=0.02)
    assert not [f for f in result.findings if f.kind == "theory"]
    with pytest.raises(ValueError, match="batch: it has values that are not finite"):
        mf.bridges.equinox.audit(Net(), x.at[0].set(jnp.nan))
    with pytest.raises(ValueError, match="model: the batch went through no dense layer"):
        mf.bridges.equinox.audit(eqx.nn.Lambda(jnp.tanh), x)
