"""Initializers: variances, shapes, and that finite networks drawn by them do as promised."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import meanfield as mf

ENSEMBLES = ("gaussian", "orthogonal")


@pytest.mark.parametrize("weights", ENSEMBLES)
@pytest.mark.parametrize(
    ("shape", "fan_in"),
    [((400, 300), 400), ((200, 500), 200), ((3, 3, 32, 64), 288), ((5, 40, 128), 200)],
)
def test_variance_is_over_fan_in(weights: str, shape: tuple[int, ...], fan_in: int) -> None:
    point = mf.critical("gelu", weights=weights)
    drawn = mf.initializer(point)(jax.random.key(1), shape, jnp.float32)
    assert drawn.shape == shape and drawn.dtype == jnp.float32
    entries = np.asarray(drawn, np.float64).ravel()
    expected = point.weight_var / fan_in
    # the mean and mean square of n Gaussians: 5 standard errors, 1/sqrt(n) and sqrt(2/n)
    assert abs(entries.mean()) <= 5 * math.sqrt(expected / entries.size)
    if weights == "gaussian":
        assert abs((entries**2).mean() / expected - 1) <= 5 * math.sqrt(2 / entries.size)
        assert abs((entries**4).mean() / expected**2 - 3) <= 5 * math.sqrt(96 / entries.size)
    else:  # the sum of all squares is exact
        assert (entries**2).mean() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(60, 60), (60, 20), (20, 60), (3, 3, 8, 20)])
def test_orthogonality(shape: tuple[int, ...]) -> None:
    point = mf.critical("tanh", weights="orthogonal")
    with jax.enable_x64(True):
        drawn = mf.initializer(point)(jax.random.key(0), shape, jnp.float64)
    matrix = np.asarray(drawn).reshape(-1, shape[-1])
    fan_in, fan_out = matrix.shape
    small = matrix.T @ matrix if fan_in >= fan_out else matrix @ matrix.T
    # n Var = weight_var: a wide block takes the factor fan_out/fan_in, so that it keeps norms on
    # average as a Gaussian one does
    scale = point.weight_var * max(1.0, fan_out / fan_in)
    np.testing.assert_allclose(small, scale * np.eye(len(small)), atol=1e-12 * scale)


def test_orthogonal_weights_are_haar() -> None:
    """The signs of the QR decomposition are random: entries have mean 0, traces variance 1."""
    init = mf.initializer(mf.critical("identity", weights="orthogonal"))
    keys = jax.random.split(jax.random.key(3), 400)
    traces = [float(jnp.trace(init(key, (5, 5), jnp.float32))) for key in keys]
    assert abs(np.mean(traces)) <= 5 / math.sqrt(400)
    # E[tr^4] = 3, so Var(tr^2) = 2
    assert abs(np.mean(np.square(traces)) - 1) <= 5 * math.sqrt(2 / 400)


@pytest.mark.parametrize("weights", ENSEMBLES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_dtypes_and_keys(weights: str, dtype: jnp.dtype) -> None:
    point = mf.critical("gelu", weights=weights)
    for init, shape in ((mf.initializer(point), (8, 4)), (mf.bias_initializer(point), (8,))):
        drawn = init(jax.random.key(0), shape, dtype)
        assert drawn.shape == shape and drawn.dtype == dtype
        assert np.array_equal(drawn, init(jax.random.key(0), shape, dtype))
        assert not np.array_equal(drawn, init(jax.random.key(1), shape, dtype))


@pytest.mark.parametrize("weights", ENSEMBLES)
def test_the_default_dtype_is_that_of_jax(weights: str, x64: bool) -> None:
    point = mf.critical("gelu", weights=weights)
    expected = jnp.zeros(()).dtype
    for init, shape in ((mf.initializer(point), (8, 4)), (mf.bias_initializer(point), (8,))):
        assert init(jax.random.key(0), shape).dtype == expected
        jitted = jax.jit(lambda key, init=init, shape=shape: init(key, shape))
        np.testing.assert_allclose(
            jitted(jax.random.key(0)), init(jax.random.key(0), shape), rtol=1e-5, atol=1e-6
        )


def test_biases() -> None:
    point = mf.critical("tanh", bias_var=0.3)
    drawn = np.asarray(mf.bias_initializer(point)(jax.random.key(2), (20000,)), np.float64)
    assert abs(drawn.mean()) <= 5 * math.sqrt(0.3 / drawn.size)
    assert abs(drawn.var() / 0.3 - 1) <= 5 * math.sqrt(2 / drawn.size)
    zero = mf.bias_initializer(mf.critical("relu"))(jax.random.key(2), (5,))
    np.testing.assert_array_equal(zero, 0.0)


@pytest.mark.parametrize("weights", ENSEMBLES)
@pytest.mark.parametrize("second_moment", [None, 0.05, 3.0])
def test_the_first_layer_sees_data(weights: str, second_moment: float | None) -> None:
    """Data of any mean square gives pre-activations of variance q."""
    point = mf.critical("tanh", q=0.6, weights=weights)
    inputs, units = 500, 4000
    size = point.input_second_moment if second_moment is None else second_moment
    assert point.input_second_moment == pytest.approx((0.6 - point.bias_var) / point.weight_var)
    x = np.random.default_rng(0).normal(size=inputs)
    x *= math.sqrt(size / np.mean(x**2))
    weight_key, bias_key = jax.random.split(jax.random.key(5))
    init = mf.initializer(point, input_second_moment=second_moment)
    drawn = np.asarray(init(weight_key, (inputs, units), jnp.float32), np.float64)
    z = x @ drawn + np.asarray(mf.bias_initializer(point)(bias_key, (units,)))
    assert abs(np.mean(z**2) / 0.6 - 1) <= 5 * math.sqrt(2 / units)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_bad_input_second_moment(bad: float) -> None:
    with pytest.raises(ValueError, match="input_second_moment: "):
        mf.initializer(mf.critical("tanh"), input_second_moment=bad)


def test_points_that_cannot_initialise() -> None:
    many = mf.critical("tanh", q=[1.0, 2.0])
    with pytest.raises(ValueError, match="point: .*several"):
        mf.initializer(many)
    with pytest.raises(ValueError, match="point: .*several"):
        mf.bias_initializer(many)
    (limit,) = mf.critical_points("tanh")
    assert mf.initializer(limit)(jax.random.key(0), (4, 4)).shape == (4, 4)
    with pytest.raises(ValueError, match="input_second_moment: .*q = 0"):
        mf.initializer(limit, input_second_moment=1.0)


@pytest.mark.parametrize("make", [mf.initializer, mf.bias_initializer])
def test_only_points_have_initializers(make) -> None:
    with pytest.raises(TypeError, match=r"point: must be a FixedPoint.* got Network\(tanh"):
        make(mf.Network("tanh", weight_var=2.0))


def test_variances_are_numbers() -> None:
    with pytest.raises(TypeError, match="bias_var: must be a finite variance >= 0, got 'a'"):
        mf.Network("tanh", 1.0, "a")


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("relu", "gaussian"),
        ("tanh", "gaussian"),
        ("tanh", "orthogonal"),
        pytest.param("gelu", "gaussian", marks=pytest.mark.slow),
        pytest.param("relu", "orthogonal", marks=pytest.mark.slow),
    ],
)
def test_an_ensemble_of_finite_networks(name: str, weights: str) -> None:
    """Every layer has variance q and hands down the gradient's mean square, as at infinite width.

    Within 4 standard errors, and the finite-width correction, which is of relative order
    layers/width: at most 2 percent here, and 4 for orthogonal weights, which are slow to draw.
    """
    width, depth, draws = (500, 10, 32) if weights == "gaussian" else (64, 3, 20)
    point = mf.critical(name, weights=weights)
    phi = point.activation
    first = mf.initializer(point, input_second_moment=1.0)
    rest, bias = mf.initializer(point), mf.bias_initializer(point)
    data = np.random.default_rng(7).normal(size=width)
    x = (data / np.sqrt(np.mean(data**2))).astype(np.float32)

    @jax.jit
    def forward(key, init_is_first, signal, probe):
        weight_key, bias_key = jax.random.split(key)
        weight = jax.lax.cond(
            init_is_first,
            lambda: first(weight_key, (width, width), jnp.float32),
            lambda: rest(weight_key, (width, width), jnp.float32),
        )

        def layer(z):
            return jnp.where(init_is_first, z, phi(z)) @ weight + bias(bias_key, (width,))

        after, pull = jax.vjp(layer, signal)
        (gradient,) = pull(probe)
        return after, jnp.mean(after**2), jnp.mean(gradient**2) / jnp.mean(probe**2)

    rng = np.random.default_rng(3)
    squares, factors = np.zeros((draws, depth)), np.zeros((draws, depth))
    for draw in range(draws):
        z = x
        for i in range(depth):
            key = jax.random.key(1000 * draw + i)
            probe = rng.normal(size=width).astype(np.float32)
            z, squares[draw, i], factors[draw, i] = forward(key, i == 0, z, probe)
    for measured, expected in ((squares, point.q), (factors[:, 1:], 1.0)):
        mean = measured.mean(axis=0)
        standard_error = measured.std(axis=0, ddof=1) / math.sqrt(draws)
        correction = expected * np.arange(1, len(mean) + 1) / width
        assert np.all(standard_error < 0.15 * expected)  # or else the next line says nothing
        assert np.all(np.abs(mean - expected) <= 4 * standard_error + correction)
