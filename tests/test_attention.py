"""Attention: its exact weights at any length, limits, and finite layers with their derivatives."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import meanfield as mf
import meanfield.layers as ml
from finite import check_within_3_standard_errors
from meanfield.bivariate import Covariance
from meanfield.layers.random_energies import shares
from meanfield.layers.state import start


def test_uniform_attention() -> None:
    """Noci et al. 2022: rank collapses after a few layers, not with `1/L` branches."""
    block = ml.residual(ml.attention(tokens=64))
    assert ml.propagate(ml.repeat(block, 10), 1.0, 0.0).correlation[-1] == pytest.approx(
        0.941, abs=5e-4
    )
    for depth in (50, 200):
        scaled = ml.residual(ml.attention(tokens=64), scale=lambda depth: depth**-0.5)
        c = ml.propagate(ml.repeat(scaled, depth), 1.0, 0.0).correlation[-1]
        assert c == pytest.approx(0.026, abs=5e-4)


@pytest.mark.parametrize(("sigma", "c"), [(0.05, 0.3), (0.7, -0.9), (2.0, 0.95), (20.0, 0.4)])
def test_weights_of_two_scores(sigma: float, c: float) -> None:
    """`A = 1/(1 + e^-x)` of the difference `x` of scores: sums are means of smooth functions of it.

    With `w = A (1 - A)`: `sum A^2 = 1 - 2w`, and both bends are `4 w w`.
    """
    q = 2 * sigma**2
    slope = mf.Activation(lambda x: 1 / (2 + jnp.exp(x) + jnp.exp(-x)))
    first, second = Covariance(mf.Activation("sigmoid"), q), Covariance(slope, q)

    def product(of: Covariance) -> float:
        return of.second_moment - float(of.difference(np.array([1 - c])).value[0])

    found = shares(sigma, c, 2.0)
    assert found.own == pytest.approx(2 * first.second_moment, rel=1e-10)
    assert found.both == pytest.approx(2 * product(first), rel=1e-10)
    assert found.own_bend == pytest.approx(4 * second.second_moment, rel=1e-9)
    assert found.both_bend == pytest.approx(4 * product(second), rel=1e-9)
    of_squares = 4 * (second.second_moment - float(slope.moments(np.array([q])).value[0, 0]) ** 2)
    assert found.spread == pytest.approx(of_squares, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("ratio", [0.6, 1.0, 2.5])
@pytest.mark.parametrize("c", [0.4, -0.02])
def test_weights_of_drawn_scores(ratio: float, c: float) -> None:
    tokens, draws = 32, 4000
    sigma, rng = ratio * math.sqrt(2 * math.log(tokens)), np.random.default_rng(0)
    sides = np.array([1.0, math.copysign(1.0, c)])[:, None]
    common, own = rng.normal(size=(draws, 1, tokens)), rng.normal(size=(draws, 2, tokens))
    scores = sigma * (math.sqrt(abs(c)) * sides * common + math.sqrt(1 - abs(c)) * own)
    weights = np.exp(scores - np.max(scores, axis=2, keepdims=True))
    A, B = np.moveaxis(weights / np.sum(weights, axis=2, keepdims=True), 1, 0)
    two, three, both = (np.sum(x, axis=1) for x in (A**2, A**3, A * B))
    mixed = np.sum(A * B * (A + B), axis=1)
    drawn = np.array([two, two - 2 * three + two**2, both, both - mixed + both**2])
    found = shares(sigma, c, tokens)
    error = np.std(drawn, axis=1) / math.sqrt(draws)
    expected = np.array([found.own, found.own_bend, found.both, found.both_bend])
    assert np.all(np.abs(np.mean(drawn, axis=1) - expected) <= 3 * error)
    assert np.all(error <= 0.1 * expected)
    assert found.spread == pytest.approx(np.var(two), rel=0.2)


@given(q=st.floats(0.1, 5), c=st.floats(0, 0.95), ratio=st.floats(1.01, 20))
def test_limit_of_long_sequences(q: float, c: float, ratio: float) -> None:
    """Giorlandino & Goldt 2025: uniform below `beta_c`, a share `1 - beta_c / beta` above."""
    critical = ml.critical_beta(q, q * c)
    below = ml.propagate(ml.attention(1.3, beta=0.99 * critical), q, c)
    assert below.variance[-1] == pytest.approx(1.3 * q * c, abs=1e-14 * q)
    assert below.gradient[-1] == 0 and below.error[-1] < 1e-10
    above = ml.propagate(ml.attention(beta=ratio * critical), q, c)
    share = 1 - 1 / ratio
    assert above.variance[-1] == pytest.approx(q * (c + (1 - c) * share), rel=1e-13)
    assert above.gradient[-1] == math.inf
    state = ml.attention(beta=ratio * critical)(start(q, c))
    size = c + (1 - c) * share  # Var(Y) of Poisson and Dirichlet
    expected = (1 - c) ** 2 * share / ratio / 3 / size**2
    assert state.spread == pytest.approx(expected, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("ratio", [0.7, 1.5, 4.0])
def test_finite_lengths_go_to_the_limit(ratio: float) -> None:
    """As slowly as `1 / sqrt(ln T)`, the gradient above `beta_c` as `ln T`."""
    beta = ratio * ml.critical_beta(1.0, 0.2)
    limit = ml.propagate(ml.attention(beta=beta), 1.0, 0.2)
    off, growth = [], []
    for tokens in (1e3, 1e6, 1e12):
        trace = ml.propagate(ml.attention(beta=beta, tokens=tokens), 1.0, 0.2)
        off.append(abs(trace.variance[-1] - limit.variance[-1]))
        growth.append(trace.gradient[-1] / math.log(tokens))
        assert off[-1] <= 0.65 * 0.8 / math.sqrt(math.log(tokens))
    assert off[0] > off[1] > off[2]
    m = 1 / ratio  # B -> m (1 - m) / 3, of directions that are independent at every token
    expected = beta**2 * 0.8 * (0.8 + 1) * m * (1 - m) / 3 if m < 1 else 0.0
    apart = np.abs(np.array(growth) - expected)
    assert apart[0] > apart[1] > apart[2] and apart[2] < 0.2 * expected + 0.01


def test_deep_stacks_of_infinite_sequences() -> None:
    """What is infinite stays so, and nothing is unknown."""
    block = ml.residual(ml.attention(beta=3.0))
    trace = ml.propagate(ml.repeat(block, 5), 1.0, 0.3)
    assert np.all(trace.gradient[1:] == math.inf) and np.all(np.isfinite(trace.variance))
    gone = ml.propagate(ml.repeat(ml.residual(ml.attention(1e30, tokens=16)), 12), 1.0, 0.2)
    assert gone.variance[-1] == math.inf and gone.verdict is ml.TraceVerdict.EXPLODES
    same = ml.propagate(ml.repeat(ml.attention(beta=3.0, tokens=20), 3), 1.0, 1.0)
    assert np.all(same.variance == 1) and np.all(same.one_minus == 0)


@jax.jit
def drawn_layers(keys: jax.Array, x: jax.Array, scale: jax.Array, s: jax.Array) -> jax.Array:
    """Of each key a layer of unit values: mean squares and products, and those of derivatives."""
    tokens, n = x.shape

    def moments(key: jax.Array) -> jax.Array:
        of_scores, of_values, common, own = jax.random.split(key, 4)
        M, V = jax.random.normal(of_scores, (n, n)), jax.random.normal(of_values, (n, n))
        dx = jnp.sqrt(s) * jax.random.normal(common, (1, n))
        dx += jnp.sqrt(1 - s) * jax.random.normal(own, (tokens, n))

        def attended(x: jax.Array) -> jax.Array:
            return jax.nn.softmax(x @ M @ x.T * (scale / n), axis=1) @ x @ V / jnp.sqrt(n)

        result = []
        for y in jax.jvp(attended, (x,), (dx,)):
            products = y @ y.T / n
            size = jnp.trace(products) / tokens
            result += [size, (jnp.sum(products) / tokens - size) / (tokens - 1)]
        return jnp.array(result)

    return jax.lax.map(moments, keys)


@pytest.mark.parametrize(("c", "ratio", "s"), [(0.3, 0.7, 0.0), (0.0, 1.6, 0.4)])
def test_finite_layers_and_their_derivatives(c: float, ratio: float, s: float) -> None:
    """8 tokens of norm `q` and overlap `qc`, directions with products `s`: by `jax.jvp`."""
    q, tokens, value_var, draws = 1.3, 8, 1.4, 250
    beta = ratio * ml.critical_beta(q, q * c)
    ones = np.ones((tokens, tokens))
    state = replace(
        start(q, c * ones + (1 - c) * np.eye(tokens)), tangent=s * ones + (1 - s) * np.eye(tokens)
    )
    out = ml.attention(value_var, beta, tokens)(state)
    expected = np.array([
        out.variance[0], out.covariance[0, 1], out.tangent[0, 0], out.tangent[0, 1]
    ])  # fmt: skip
    value, squares = np.zeros(4), np.zeros(4)
    for width, factor in ((128, 2.0), (64, -1.0)):
        basis = np.linalg.qr(np.random.default_rng(0).normal(size=(width, tokens + 1)))[0].T
        basis *= math.sqrt(q * width)
        x = jnp.asarray(math.sqrt(c) * basis[0] + math.sqrt(1 - c) * basis[1:], jnp.float32)
        keys = jax.random.split(jax.random.key(width), draws)
        scale = jnp.float32(beta * math.sqrt(math.log(tokens)))
        drawn = value_var * np.array(drawn_layers(keys, x, scale, jnp.float32(s)), np.float64)
        value += factor * np.mean(drawn, axis=0)
        squares += factor**2 * np.var(drawn, axis=0) / draws
    check_within_3_standard_errors((value, np.sqrt(squares)), expected)


def test_sampled_layers() -> None:
    """`sample` draws that layer, too."""
    tokens, c = 16, 0.3
    layer = ml.attention(1.3, 1.5 * ml.critical_beta(1.0, c), tokens)
    trace = ml.propagate(layer, 1.0, c)
    rng, found = np.random.default_rng(1), np.empty((200, 2))
    for draw in range(200):
        basis = np.linalg.qr(rng.normal(size=(200, tokens + 1)))[0].T * math.sqrt(200)
        y = layer.sample(math.sqrt(c) * basis[0] + math.sqrt(1 - c) * basis[1:], rng)
        size = np.mean(y**2)
        found[draw] = size, (tokens * np.mean(np.mean(y, axis=0) ** 2) - size) / (tokens - 1)
    expected = trace.variance[-1] * np.array([1, 1 - trace.one_minus[-1]])
    off = np.abs(np.mean(found, axis=0) - expected)
    # width 200 is off by some q/n
    assert np.all(off <= 3 * np.std(found, axis=0) / math.sqrt(200) + 1.3 / 200)


def test_tokens_of_different_norms() -> None:
    """Behind peaked attention an activation sees the mean of them; `error` says the difference."""
    tokens, c = 16, 0.3
    layer = ml.attention(2.0, 2 * ml.critical_beta(1.0, c), tokens)
    behind = ml.propagate(ml.serial(layer, ml.activation("tanh")), 1.0, c)
    rng, found = np.random.default_rng(1), np.empty((200, 2))
    for draw in range(200):
        basis = np.linalg.qr(rng.normal(size=(200, tokens + 1)))[0].T * math.sqrt(200)
        y = layer.sample(math.sqrt(c) * basis[0] + math.sqrt(1 - c) * basis[1:], rng)
        norms = np.mean(y**2, axis=1)
        found[draw] = np.mean(np.tanh(y) ** 2), np.var(norms) / np.mean(norms) ** 2
    off = abs(np.mean(found[:, 0]) - behind.variance[-1])
    error = np.std(found[:, 0]) / math.sqrt(200)
    assert 3 * error < off <= behind.error[-1] * behind.variance[-1] + 3 * error
    state = layer(start(1.0, c))
    assert ml.rms_norm()(state).spread == 0
    relu = ml.propagate(ml.serial(layer, ml.activation("relu")), 1.0, c)
    assert relu.error[-1] < 1e-9


def drawn_gradients(act, layer: ml.Layer, tokens: int, c: float, scale: float) -> tuple:
    """Of `act(attended)` of finite networks: squared derivatives, and what `layer` says of them."""
    width, draws = 256, 150
    beta = 2 * ml.critical_beta(1.0, c)
    attended = ml.attention(beta=beta, tokens=tokens)
    first = ml.residual(attended, scale) if scale else attended
    trace = ml.propagate(ml.serial(first, layer), 1.0, c)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(width, tokens + 1)))[0].T
    basis *= math.sqrt(width)
    x = jnp.asarray(math.sqrt(c) * basis[0] + math.sqrt(1 - c) * basis[1:], jnp.float32)
    of_scores = jnp.float32(beta * math.sqrt(math.log(tokens)) / width)

    def squares(key: jax.Array) -> jax.Array:
        M, V = jax.random.normal(key, (2, width, width))
        dx = jax.random.normal(jax.random.fold_in(key, 1), x.shape)

        def network(x: jax.Array) -> jax.Array:
            y = jax.nn.softmax(x @ M @ x.T * of_scores, axis=1) @ x @ V / jnp.sqrt(width)
            return act(x + scale * y if scale else y)

        return jnp.mean(jax.jvp(network, (x,), (dx,))[1] ** 2)

    keys = jax.random.split(jax.random.key(0), draws)
    found = np.array(jax.jit(lambda keys: jax.lax.map(squares, keys))(keys), np.float64)
    return np.mean(found), np.std(found) / math.sqrt(draws), trace


def normed(x: jax.Array, axis: int) -> jax.Array:
    x = x - jnp.mean(x, axis, keepdims=True)
    return x / jnp.sqrt(jnp.mean(x**2, axis, keepdims=True))


@pytest.mark.parametrize("phi", ["tanh", "relu"])
def test_norms_behind_peaked_attention(phi: str) -> None:
    """Sizes and gradients of tokens depend on each other: `error` covers what that makes."""
    act = {"tanh": jnp.tanh, "relu": jax.nn.relu}[phi]
    norm = ml.serial(ml.activation(phi), ml.layer_norm())
    found, error, trace = drawn_gradients(lambda x: normed(act(x), 1), norm, 16, 0.3, 0.0)
    off = abs(found - trace.gradient[-1])
    assert 3 * error < off <= trace.error[-1] * trace.gradient[-1] - 3 * error


def test_batch_norm_behind_attention() -> None:
    """Refused where networks differ much in their tokens, and covered where they differ little."""
    peaked, c = ml.attention(beta=2.0, tokens=16), 0.3
    for between in (ml.identity(), ml.rms_norm(), ml.serial(ml.dense(2.0), ml.layer_norm())):
        for first in (peaked, ml.residual(peaked), ml.attention(beta=1e-3, tokens=16)):
            with pytest.raises(ValueError, match="batch_norm: behind attention"):
                ml.propagate(ml.serial(first, between, ml.batch_norm(16)), 1.0, c)
    below = ml.serial(ml.residual(ml.attention(beta=1.0)), ml.batch_norm())
    assert ml.propagate(below, 1.0, c).error[-1] < 1e-14
    found, error, trace = drawn_gradients(lambda x: normed(x, 0), ml.batch_norm(16), 16, c, 0.4)
    assert 0.01 < trace.error[-1] < 0.1 and error < 0.02 * found
    off = abs(found - trace.gradient[-1])
    assert off <= trace.error[-1] * trace.gradient[-1] + 3 * error


@given(
    beta=st.floats(0, 5), c=st.floats(0, 0.9), q=st.floats(0.2, 3), tokens=st.sampled_from([4, 32])
)
def test_bounds_of_unevenness(beta: float, c: float, q: float, tokens: int) -> None:
    """It is 0 of uniform attention alone, and a skip connection makes it less."""
    state = start(q, c)
    layer = ml.attention(beta=beta, tokens=tokens)
    alone, beside = layer(state), ml.residual(layer)(state)
    assert np.all((alone.uneven > 0) == (beta > 0))
    assert np.all(beside.uneven <= alone.uneven) and beside.spread <= alone.spread
    assert np.all(ml.rms_norm()(alone).uneven >= alone.uneven)


BAD = [
    (lambda: ml.attention(beta=-1.0), "beta: must be"),
    (lambda: ml.attention(tokens=1), "tokens: must be"),
    (lambda: ml.propagate(ml.attention(tokens=64), 1.0, -0.9), "attention: 64 tokens have"),
    (
        lambda: ml.attention(beta=1.0, tokens=8).sample(np.ones((4, 4)), np.random.default_rng(0)),
        "attention: a sequence of 8 tokens",
    ),
    (lambda: ml.critical_beta(1.0, 1.0), "q, p: must have"),
    (lambda: ml.propagate(ml.attention(), q=1.0), "attention: needs tokens"),
    (lambda: ml.propagate(ml.attention(beta=1e5, tokens=64), 1.0, 0.0), "beta: scores of standard"),
    (lambda: shares(500.0, 0.9999, 64), "beta: two rows of 64 scores .* too much work"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_input(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_trace_prints_the_digits_that_are_known() -> None:
    layers = ml.serial(ml.attention(beta=4.0, tokens=16), ml.activation("tanh"), ml.layer_norm())
    trace = ml.propagate(layers, 1.0, 0.3)
    assert 0.1 < trace.error[-1] < 1
    gradient = float(np.ravel(trace.gradient[-1])[0])
    assert f"  gradient   1 to {gradient:.1g}\n" in str(trace)
