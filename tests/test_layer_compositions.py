"""Random architectures of many kinds of layers against finite networks that draw them."""

import math
from collections.abc import Callable

import numpy as np
import pytest

import meanfield.layers as ml
from finite import at_infinite_width
from meanfield import ensembles
from test_layers import pair

PHI = "relu tanh gelu sigmoid sin elu hard_tanh softplus leaky_relu silu erf soft_threshold".split()
WEIGHTS = ["gaussian", "orthogonal", ensembles.LowRank(0.5), ensembles.BlockSparse(0.5)]
Made = Callable[[], ml.Layer]


def block(r: np.random.Generator) -> ml.Layer:
    """From a Gaussian signal to another, some kinds of layers in it."""
    w, b, phi = float(r.uniform(0.5, 2.2)), float(r.choice([0.0, 0.2])), str(r.choice(PHI))
    last = ml.dense(w, b, WEIGHTS[r.integers(len(WEIGHTS))])
    kinds: list[Made] = [
        lambda: ml.serial(ml.activation(phi), last),
        lambda: ml.serial(ml.activation(phi), ml.dropout(0.2), last),
        lambda: ml.serial(ml.maxout(int(r.integers(2, 5)), 0.7, b), last),
        lambda: ml.serial(ml.rms_norm(), ml.gated(phi, w, b), ml.layer_norm(), last),
        lambda: ml.serial(ml.layer_norm(), ml.activation(phi), last),
        lambda: ml.serial(ml.activation(phi), ml.layer_norm(), last),
        lambda: ml.serial(ml.both_signs(phi, w, b), last),
        lambda: ml.looks_linear(phi, w, b),
        lambda: ml.residual(block(r), 0.6),
        lambda: ml.parallel(ml.serial(last, block(r)), block(r), scales=(0.7, 0.8)),
        lambda: ml.serial(
            ml.residual(ml.serial(last, ml.activation(phi)), 0.5), ml.dropout(0.1), ml.dense(w)
        ),
    ]
    return kinds[r.integers(len(kinds))]()


def tokens_block(r: np.random.Generator, n: int) -> ml.Layer:
    """The same for `n` signals alike, as tokens or the inputs of a batch."""
    w, b, phi = float(r.uniform(0.5, 2.2)), float(r.choice([0.0, 0.2])), str(r.choice(PHI))
    last, batch = ml.dense(w, b), ml.batch_norm(n)
    relu = ml.activation(["relu", "leaky_relu"][r.integers(2)])
    kinds: list[Made] = [
        lambda: ml.serial(batch, relu, last),
        lambda: ml.serial(batch, relu, ml.dropout(0.1), last),
        lambda: ml.serial(batch, relu, ml.layer_norm(), last),
        lambda: ml.residual(ml.serial(batch, relu, last), 0.7),
        lambda: ml.serial(batch, ml.maxout(2, 1.0, b), last),
        lambda: ml.serial(ml.activation(phi), last, batch, ml.dense(1.1)),
        lambda: ml.residual(ml.attention(w, 0.0, n), 0.8),
        lambda: ml.serial(ml.activation(phi), ml.dropout(0.1), last),
    ]
    return kinds[r.integers(len(kinds))]()


def deviations(
    layer: ml.Layer, q: tuple[float, ...], c: float, inputs: Callable, seed: int
) -> np.ndarray:
    """In standard errors: mean squares, mean products, and mean squares of derivatives."""
    n = len(q)
    trace = ml.propagate(layer, q, np.full((n, n), c) + (1 - c) * np.eye(n))
    size = np.sqrt(trace.variance[-1])
    products = size[:, None] * size * trace.correlation[-1]
    apart = ~np.eye(n, dtype=bool)
    expected = [np.mean(size**2), np.mean(products[apart]), np.mean(trace.gradient[-1])]

    def measured(width: int, rng: np.random.Generator) -> np.ndarray:
        x, key = inputs(width, rng), int(rng.integers(1 << 30))
        dx = 1e-5 * rng.normal(size=x.shape)
        y, above, below = (
            layer.sample(x + side * dx, np.random.default_rng(key)) for side in (0, 1, -1)
        )
        found = y @ y.T / width
        growth = np.mean(((above - below) / 2e-5) ** 2)
        return np.array([np.mean(np.diagonal(found)), np.mean(found[apart]), growth])

    value, error = at_infinite_width(measured, 80, 100, seed)
    return (value - expected) / (error + 1e-9 * np.abs(expected))


def check(found: list[np.ndarray]) -> None:
    """As 3 numbers of so many networks are that are off by nothing but chance."""
    z = np.array(found)
    assert np.all(np.abs(z) <= 4), np.abs(z).max(axis=1)
    # mean squares of normal numbers, which are 3 for each network and depend on each other
    assert np.mean(z**2) <= 1 + 3 * math.sqrt(2 / len(z))


@pytest.mark.slow
def test_random_architectures() -> None:
    found = []
    for seed in range(25):
        r = np.random.default_rng(seed)
        layer = ml.serial(*(ml.serial(block(r), ml.dense(1.0)) for _ in range(r.integers(1, 4))))
        q, c = (float(r.uniform(0.3, 2)), float(r.uniform(0.3, 2))), float(r.uniform(-0.5, 0.9))
        found.append(
            deviations(layer, q, c, lambda n, rng, q=q, c=c: pair(n, q, c, rng), 1000 + seed)
        )
    check(found)


@pytest.mark.slow
def test_random_architectures_of_tokens() -> None:
    found = []
    for seed in range(25):
        r = np.random.default_rng(seed)
        n, q, c = int(r.choice([6, 8, 12])), float(r.uniform(0.3, 2)), float(r.uniform(0, 0.8))
        layer = ml.serial(*(tokens_block(r, n) for _ in range(r.integers(1, 4))))

        def inputs(width: int, rng: np.random.Generator, n: int = n, q=q, c=c) -> np.ndarray:
            basis = np.linalg.qr(rng.normal(size=(width, n + 1)))[0].T * math.sqrt(q * width)
            return math.sqrt(c) * basis[0] + math.sqrt(1 - c) * basis[1:]

        found.append(deviations(layer, (q,) * n, c, inputs, 1000 + seed))
    check(found)
