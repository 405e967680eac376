"""keras: kernels and biases have the variances promised, and are saved with the model."""

import math
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

import meanfield as mf
from bridges import DRAWS, assert_variances

pytestmark = [
    pytest.mark.frameworks,
    # keras 3.15 reads its own variables so
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
os.environ.setdefault("KERAS_BACKEND", "jax")
keras: Any = pytest.importorskip("keras", reason="pip install '.[keras]'")
bridge: Any = mf.bridges.keras


@pytest.fixture(autouse=True)
def promoting() -> Iterator[None]:
    """Layers of keras add biases of one axis to signals of two."""
    with jax.numpy_rank_promotion("allow"):
        yield


def kernel_of(layer: Any, shape: tuple[Any, ...]) -> np.ndarray:
    layer.build(shape)
    return np.asarray(layer.kernel, np.float64)


def assert_second_moment(values: np.ndarray, expected: float) -> None:
    assert np.mean(values**2) == pytest.approx(expected, rel=5 * math.sqrt(2 / values.size))


@pytest.mark.parametrize("weights", ["gaussian", "uniform", "orthogonal"])
def test_every_layer_has_the_variance(weights: str) -> None:
    width, depth = 150, 4
    point = mf.critical("tanh", q=0.7, weights=weights)
    x = np.random.default_rng(1).normal(size=(1, width)).astype(np.float32)
    x *= math.sqrt(1.7 / np.mean(x**2))
    keras.utils.set_random_seed(0)
    squares = np.zeros((DRAWS, depth))
    for draw in range(DRAWS):
        z = x
        for k in range(depth):
            layer = keras.layers.Dense(
                width,
                kernel_initializer=bridge.initializer(point, None if k else 1.7),
                bias_initializer=bridge.bias_initializer(point),
            )
            z = np.asarray(layer(np.tanh(z) if k else z))
            squares[draw, k] = np.mean(z**2)
    assert_variances(squares, 0.7, width)


def test_convolutions() -> None:
    point = mf.critical("gelu")
    init = bridge.initializer(point)
    grouped = keras.layers.Conv2D(96, (3, 5), groups=4, kernel_initializer=init)
    kernel = kernel_of(grouped, (None, 8, 8, 64))
    assert_second_moment(kernel, point.weight_var / (16 * 15))
    depthwise = keras.layers.DepthwiseConv2D(
        5, depth_multiplier=2, depthwise_initializer=bridge.initializer(point, depthwise=True)
    )
    kernel = kernel_of(depthwise, (None, 8, 8, 200))
    assert kernel.shape == (5, 5, 200, 2)
    assert_second_moment(kernel, point.weight_var / 25)
    # orthonormal rows of each channel by itself
    point = mf.critical("tanh", weights="orthogonal")
    init = bridge.initializer(point, depthwise=True)
    kernel = np.asarray(init((3, 3, 4, 1), "float32"))
    assert np.mean(kernel**2) == pytest.approx(point.weight_var / 9, rel=0.5)


@pytest.mark.parametrize(
    "weights", ["gaussian", mf.ensembles.Sparse(0.3), mf.ensembles.DeltaOrthogonal()]
)
def test_it_saves_with_the_model(weights: Any, tmp_path: Any) -> None:
    init = bridge.initializer(mf.critical("tanh", weights=weights), seed=3)
    copy = keras.initializers.deserialize(keras.initializers.serialize(init))
    assert copy.get_config() == init.get_config() and copy.weights == init.weights
    np.testing.assert_array_equal(init((8, 6), "float32"), copy((8, 6), "float32"))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer=init)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].kernel_initializer.get_config() == init.get_config()


def test_seeds() -> None:
    point = mf.critical("tanh")
    init = bridge.initializer(point)
    keras.utils.set_random_seed(1)
    first, second = np.asarray(init((4, 4))), np.asarray(init((4, 4)))
    assert not np.array_equal(first, second)
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(init((4, 4)), first)
    with pytest.raises(ValueError, match="shape: kernels have two axes"):
        init((4,))
    biases = np.asarray(bridge.bias_initializer(point, seed=0)((20000,)))
    assert_second_moment(biases, point.bias_var)
