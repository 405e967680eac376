"""flax and haiku: layers that take our initializers have the variances that they promise."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import meanfield as mf
from bridges import DRAWS, assert_variances, examples_run

pytestmark = pytest.mark.frameworks
linen: Any = pytest.importorskip("flax.linen", reason="pip install '.[flax]'")
nnx: Any = pytest.importorskip("flax.nnx", reason="pip install '.[flax]'")
WIDTH, DEPTH = 128, 4
given: Any = mf.bridges.flax.initializers


def data(size: float, shape: tuple[int, ...] = (1, WIDTH)) -> jax.Array:
    x = np.random.default_rng(1).normal(size=shape)
    return jnp.asarray(x * math.sqrt(size / np.mean(x**2)), jnp.float32)


def second_moment(values: Any, expected: float) -> None:
    values = np.asarray(values, np.float64)
    assert np.mean(values**2) == pytest.approx(expected, rel=5 * math.sqrt(2 / values.size))


def test_examples() -> None:
    examples_run("flax")


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_every_layer_has_the_variance(kind: str, weights: str) -> None:
    point = mf.critical("tanh", q=0.7, weights=weights)
    phi, x = point.activation, data(1.7)
    options = [given(point, 1.7), *[given(point)] * (DEPTH - 1)]

    class Model(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> list[Any]:
            seen: list[Any] = []
            for option in options:
                x = phi(x) if seen else x
                x = linen.Dense(WIDTH, **option)(x)
                seen.append(jnp.mean(x**2))
            return seen

    def of_nnx(key: Any) -> list[Any]:
        rngs, seen, z = nnx.Rngs(key), [], x
        for option in options:
            z = phi(z) if seen else z
            z = nnx.Linear(WIDTH, WIDTH, rngs=rngs, **option)(z)
            seen.append(jnp.mean(z**2))
        return seen

    def of_linen(key: Any) -> Any:
        return Model().init_with_output(key, x)[0]

    one = jax.jit(of_linen if kind == "linen" else of_nnx)
    squares = [one(jax.random.key(k)) for k in range(DRAWS)]
    assert_variances(np.array(squares), 0.7, WIDTH)


def test_convolutions() -> None:
    point = mf.critical("gelu")
    layer = linen.Conv(96, (3, 5), feature_group_count=4, **given(point))
    kernel = layer.init(jax.random.key(0), jnp.ones((1, 6, 6, 64)))["params"]["kernel"]
    second_moment(kernel, point.weight_var / (16 * 15))
    layer = nnx.Conv(16, 96, (3, 5), rngs=nnx.Rngs(0), **given(point))
    second_moment(layer.kernel[...], point.weight_var / (16 * 15))


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_embeddings_and_biases(kind: str) -> None:
    point = mf.critical("tanh", q=0.8)
    init = mf.bridges.flax.embedding_initializer(point)
    if kind == "linen":
        table = linen.Embed(500, 100, embedding_init=init)
        rows = table.init(jax.random.key(0), jnp.array([0]))["params"]["embedding"]
        dense = linen.Dense(5000, **given(point)).init(jax.random.key(0), jnp.ones((1, 2)))
        bias: Any = dense["params"]["bias"]
    else:
        rows = nnx.Embed(500, 100, embedding_init=init, rngs=nnx.Rngs(0)).embedding[...]
        made: Any = nnx.Linear(2, 5000, rngs=nnx.Rngs(0), **given(point))
        bias = made.bias[...]
    second_moment(rows, point.input_second_moment)
    second_moment(bias, point.bias_var)
    with pytest.raises(ValueError, match="q = 0"):
        mf.bridges.flax.embedding_initializer(mf.critical_points("tanh")[0])


def test_haiku() -> None:
    hk = pytest.importorskip("haiku", reason="pip install '.[haiku]'")
    point, x = mf.critical("tanh", q=0.7), data(1.7)

    def forward(x: Any) -> list[Any]:
        seen = []
        for k in range(DEPTH):
            options = mf.bridges.haiku.initializers(point, None if k else 1.7)
            x = hk.Linear(WIDTH, **options)(point.activation(x) if k else x)
            seen.append(jnp.mean(x**2))
        return seen

    net = hk.transform(forward)
    one = jax.jit(lambda key: net.apply(net.init(key, x), None, x))
    squares = [one(jax.random.key(k)) for k in range(DRAWS)]
    assert_variances(np.array(squares), 0.7, WIDTH)


class OfLinen(linen.Module):
    options: Any

    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.relu(linen.Conv(96, (5,), **self.options[0])(x))
        x = linen.relu(linen.Conv(96, (3,), padding="CIRCULAR", **self.options[1])(x))
        return linen.Dense(50, **self.options[1])(x.reshape(len(x), -1))


class OfNnx(nnx.Module):
    def __init__(self, options: Any, rngs: Any) -> None:
        self.one = nnx.Conv(16, 96, (5,), rngs=rngs, **options[0])
        self.two = nnx.Conv(96, 96, (3,), padding="CIRCULAR", rngs=rngs, **options[1])
        self.head = nnx.Linear(96 * 20, 50, rngs=rngs, **options[1])

    def __call__(self, x: Any) -> Any:
        x = nnx.relu(self.two(nnx.relu(self.one(x))))
        return self.head(x.reshape(len(x), -1))


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_audit(kind: str) -> None:
    point, x = mf.critical("relu"), data(1.0, (12, 20, 16))
    options = (given(point, 1.0), given(point))
    if kind == "linen":
        model = OfLinen(options)
        variables = model.init(jax.random.key(0), x)
        result = mf.bridges.flax.audit(model, x, variables=variables)
        kernel: Any = variables["params"]["Conv_0"]["kernel"]
        assert result.layers == ("Conv_0", "Conv_1", "Dense_0")
    else:
        model = OfNnx(options, nnx.Rngs(0))
        result = mf.bridges.flax.audit(model, x)
        kernel = model.one.kernel[...]
        assert result.layers == ("one", "two", "head")
        assert type(model.one) is nnx.Conv  # the copy was watched, not the model
    assert result.activations == (None, "relu", "relu")
    assert result.weight_var[0] == pytest.approx(80 * float(jnp.mean(kernel**2)), rel=1e-5)
    # of 20 positions 2 at each end see 3 and 4 of 5
    share = (16 * 5 + 2 * (3 + 4)) / 100
    assert result.predicted_variance[0] == pytest.approx(share * result.weight_var[0], rel=0.02)
    assert not [f for f in result.findings if f.kind == "theory"]
    error = 5 * np.sqrt(np.array([1, 2, 3]) * 5 / 50)
    assert np.all(np.abs(result.variance / result.predicted_variance - 1) <= error)
    assert np.all(np.abs(result.gradient / result.predicted_gradient - 1) <= error)
