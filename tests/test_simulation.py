"""Ensembles of finite networks: exact laws, networks built by hand, and what is refused."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import meanfield as mf
from meanfield import ensembles
from meanfield.simulation import draw
from meanfield.simulation import run as running
from meanfield.simulation.elementwise import elementwise
from meanfield.simulation.estimates import jackknife, median
from meanfield.simulation.products import has_shortcut, normals_for, product

LINEAR = mf.Activation(lambda x: 1.0 * x, name="linear")
RELU = mf.Network("relu", weight_var=2.0)
TANH = mf.critical("tanh")
SHORT = [
    ensembles.Gaussian(),
    ensembles.Orthogonal(),
    ensembles.LowRank(0.5),
    ensembles.OrthogonalLowRank(0.5),
]
WHOLE = [
    ensembles.Sparse(0.5),
    ensembles.MaskedOrthogonal(0.5),
    ensembles.SparseOrthogonal(0.5),
]


def deviation(found: Any, expected: Any, error: Any) -> float:
    """The largest of the deviations, in standard errors."""
    return float(np.max(np.abs((found - expected) / error)))


# -- products of random matrices with a few vectors ---------------------------------------------


def products(ensemble: Any, x: np.ndarray, fan_out: int, count: int) -> np.ndarray:
    """Many products `W x`, shape (count, k, fan_out), without a matrix."""
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        shape = (count, normals_for(ensemble, len(x)), max(x.shape[1], fan_out))
        normal = np.random.default_rng(1).standard_normal(shape)
        one = lambda normal: product(ensemble, normal, jnp.asarray(x), fan_out, 1.5)
        return np.asarray(jax.jit(jax.vmap(one))(normal))


def matrices(ensemble: Any, fan_out: int, fan_in: int, count: int) -> np.ndarray:
    """The matrices, by NumPy."""
    rng = np.random.default_rng(2)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal((count, *shape))

    def frame(rows: int, columns: int) -> np.ndarray:
        """A corner of a Haar matrix, entries of variance 1."""
        size = max(rows, columns)
        q, r = np.linalg.qr(normal(size, size))
        q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
        return math.sqrt(size) * q[:, :rows, :columns]

    if isinstance(ensemble, ensembles.LowRank | ensembles.OrthogonalLowRank):
        rank = round(ensemble.ratio * min(fan_out, fan_in))
        right = normal if isinstance(ensemble, ensembles.LowRank) else frame
        w = frame(fan_out, rank) @ right(rank, fan_in) / math.sqrt(rank)
    else:
        w = (normal if isinstance(ensemble, ensembles.Gaussian) else frame)(fan_out, fan_in)
    return math.sqrt(1.5 / fan_in) * w


@pytest.mark.parametrize(
    ("ensemble", "fan_in", "fan_out"),
    [*zip(SHORT, (6, 6, 4, 6), (4, 4, 6, 4), strict=True), (SHORT[1], 4, 6)],
    ids=str,
)
def test_products_without_the_matrix_have_the_law_of_products_with_it(
    ensemble: Any, fan_in: int, fan_out: int
) -> None:
    x = np.random.default_rng(3).standard_normal((3, fan_in))
    x[1] = x[0] + 1e-3 * x[1]  # nearly parallel
    count = 20_000

    def statistics(y: np.ndarray) -> np.ndarray:
        """Moments that see the Gram matrix, its fluctuations, and single neurons."""
        gram = np.einsum("dki,dli->dkl", y, y).reshape(count, 9)
        return np.column_stack([gram, gram[:, [0, 1, 8]] ** 2, y[:, :, 0] ** 4, gram[:, 0] ** 3])

    short = statistics(products(ensemble, x, fan_out, count))
    whole = statistics(x @ matrices(ensemble, fan_out, fan_in, count).transpose(0, 2, 1))
    error = np.sqrt((np.var(short, 0) + np.var(whole, 0)) / count)
    error += 1e-12 * np.abs(whole.mean(0))
    assert deviation(short.mean(0), whole.mean(0), error) < 4.5  # of 16 numbers
    gram = 1.5 * x @ x.T * fan_out / fan_in  # E[W^T W] = fan_out weight_var / fan_in
    error = np.std(short[:, :9], 0) / math.sqrt(count) + 1e-12 * np.abs(gram).ravel()
    assert deviation(short[:, :9].mean(0), gram.ravel(), error) < 4.5


def test_what_a_shortcut_keeps_exactly() -> None:
    x = np.random.default_rng(0).standard_normal((3, 5))
    x[2] = 0.0  # a dead direction
    (y,) = products(ensembles.Orthogonal(), x, 5, 1)
    np.testing.assert_allclose(y @ y.T, 1.5 * x @ x.T, rtol=1e-13, atol=1e-14)
    assert not np.any(y[2])
    (y,) = products(ensembles.LowRank(0.2), x[:2], 5, 1)  # of rank 1: all parallel
    assert np.linalg.svd(y, compute_uv=False)[1] < 1e-14


def test_what_is_derived_from_an_ensemble_has_no_shortcut() -> None:
    assert all(map(has_shortcut, SHORT))
    assert not any(map(has_shortcut, WHOLE))


# -- networks built by hand ---------------------------------------------------------------------


def test_every_measure_is_that_of_the_network() -> None:
    """The same matrices from the same keys, and JAX's own derivatives."""
    widths = (6, 6, 6)
    net = mf.Network("tanh", weight_var=1.7, bias_var=0.2)
    sim = mf.simulate(
        net, widths, draws=3, q=1.1, correlation=0.6, key=7, jacobian=True, tangent_kernel=True
    )
    ensemble, full = ensembles.Gaussian(), (widths[0], *widths)
    _, inputs = running._inputs(net, 1.1, 0.6, widths[0])

    def layers(parameters, x, z=None):
        found = []
        for w, b in parameters:
            x = w @ x + b if z is None or found else z
            found.append(x)
            x = jnp.tanh(x)
        return found

    def reference():
        key = jax.random.fold_in(jax.random.key(7, impl="threefry2x32"), 2)  # the last draw
        parameters, u = [], None
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(full)):
            own = jax.random.fold_in(key, layer)
            matrix = jax.random.fold_in(own, draw._MATRIX)
            w = ensemble.draw(matrix, fan_out, fan_in, 1.7, jnp.float64)
            fresh, b = draw._normal(own, 2, max(fan_in, fan_out), jnp.float64)
            parameters.append((w, jnp.sqrt(0.2) * b[:fan_out]))
            u = fresh[:fan_out] / jnp.linalg.norm(fresh[:fan_out]) if layer == 0 else u
        first, second = (layers(parameters, x) for x in inputs)
        _, moved = jax.jvp(lambda z: layers(parameters, inputs[0], z), (first[0],), (u,))
        gradients = jax.jacobian(lambda p: layers(p, inputs[0]))(parameters)
        jacobian = jax.jacobian(lambda x: jnp.tanh(layers(parameters, x)[-1]))(inputs[0])
        return first, second, moved, gradients, jacobian

    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        first, second, moved, gradients, jacobian = jax.jit(reference)()
    for layer in range(3):
        z, other = np.asarray(first[layer]), np.asarray(second[layer])
        kernel = sum(
            np.sum(np.asarray(of_w) ** 2, (1, 2)) / fan_in + np.sum(np.asarray(of_b) ** 2, 1)
            for (of_w, of_b), fan_in in zip(gradients[layer], full, strict=False)
        )
        expected = {
            "mean_square": np.mean(z**2),
            "mean_fourth": np.mean(z**4),
            "sparsity": 0.0,
            "overlap": np.mean(z * other),
            "one_minus_correlation": 1 - z @ other / np.linalg.norm(z) / np.linalg.norm(other),
            "log_gradient": np.log(np.sum(np.asarray(moved[layer]) ** 2)),
            "tangent_kernel": np.mean(kernel),
            "tangent_kernel_square": np.mean(kernel**2),
        }
        assert set(expected) == set(sim.samples)
        assert all(sample.dtype == np.float64 for sample in sim.samples.values())
        for name, value in expected.items():
            np.testing.assert_allclose(sim.samples[name][2, layer], value, 1e-11, 1e-13)
    singular = np.linalg.svd(np.asarray(jacobian), compute_uv=False)
    assert sim.jacobian_singular_values is not None
    np.testing.assert_allclose(sim.jacobian_singular_values[2], singular, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", WHOLE, ids=str)
def test_the_first_layer_has_its_variance_and_correlation(ensemble: Any) -> None:
    net = mf.Network("tanh", weight_var=2.0, bias_var=0.3)
    sim = mf.simulate(net, 12, 1, 200, q=0.9, correlation=0.7, weights=ensemble)
    assert (sim.q, sim.start_correlation) == (0.9, 0.7)
    assert abs(sim.variance[0] - 0.9) < 4 * sim.variance_error[0]
    assert abs(sim.covariance[0] - 0.63) < 4 * sim.covariance_error[0]


# -- exact laws ---------------------------------------------------------------------------------


def test_linear_orthogonal_networks_keep_everything() -> None:
    net = mf.Network(LINEAR, weight_var=1.0, weights="orthogonal")
    sim = mf.simulate(net, 8, 10, 400, q=2.0, correlation=-0.25, jacobian=True)
    np.testing.assert_allclose(sim.samples["mean_square"], 2.0, rtol=1e-12)
    np.testing.assert_allclose(sim.samples["one_minus_correlation"], 1.25, rtol=1e-12)
    np.testing.assert_allclose(sim.samples["log_gradient"], 0.0, atol=1e-12)
    np.testing.assert_allclose(np.asarray(sim.jacobian_singular_values), 1.0, rtol=1e-12)
    assert np.all(sim.variance_error < 1e-13) and np.all(sim.sampled_variance_std < 1e-7)
    # E[z_i^2 z_j^2] on a sphere is K^2 n/(n + 2): connected -2 K^2 / (n + 2)
    assert np.all(np.abs(sim.four_point + 2 * 4 / 10) < 4.5 * sim.four_point_error)


@pytest.mark.parametrize(
    ("net", "growth", "width"),
    [
        (RELU, 5.0, 4),
        pytest.param(mf.Network(LINEAR, weight_var=1.0), 2.0, 40, marks=pytest.mark.slow),
    ],
    ids=["relu", "linear"],
)
def test_exact_moments_at_any_width(net: mf.Network, growth: float, width: int) -> None:
    # given the layer before, neurons are Gaussian of variance w |x|^2 / n, of second moment
    # (1 + growth/n) that of the layer before: E[z_i^2 z_j^2] = K^2 (1 + growth/n)^(l - 1)
    sim = mf.simulate(net, width, 4, 20_000)
    expected = (1 + growth / width) ** np.arange(4) - 1
    assert np.all(np.abs(sim.four_point - expected) < 4 * sim.four_point_error)
    assert np.all(np.abs(sim.excess_kurtosis - 3 * expected) < 4 * sim.excess_kurtosis_error)
    assert np.all(np.abs(sim.variance - 1) < 4 * sim.variance_error)
    spread = np.sqrt((1 + expected) * (1 + 2 / width) - 1)
    error = sim.sampled_variance_std_error
    assert np.all(np.abs(sim.sampled_variance_std - spread) < 4 * error)


@pytest.mark.slow
def test_the_log_norm_of_relu() -> None:
    # |J u|^2 grows by (2/n) chi^2_n |D u|^2 in a layer: mean 1, and E[r^2] = (1 + 5/n)^l nearly
    sim = mf.simulate(RELU, 200, 11, 1000)
    assert sim.gradient_log_norm[0] == sim.gradient_log_norm_var[0] == 0
    error = sim.gradient_log_norm_var_error[-1]
    assert abs(sim.gradient_log_norm_var[-1] - 50 / 200) < 4 * error + (5 / 200) ** 2 * 10
    error = sim.gradient_log_norm_error[-1]
    assert abs(sim.gradient_log_norm[-1] + 25 / 200) < 4 * error + (5 / 200) ** 2 * 10


def test_a_dead_layer_is_seen_and_kept_out_of_logarithms() -> None:
    sim = mf.simulate(RELU, 4, 4, 20_000)  # compiled above
    dead = np.isneginf(sim.samples["log_gradient"])
    chance = 1 - (15 / 16) ** np.arange(4)  # four neurons die together with probability 1/16
    error = np.sqrt(chance * (1 - chance) / 20_000)
    assert np.all(np.abs(np.mean(dead, axis=0) - chance) <= 4 * error)
    assert np.all(np.isfinite(sim.gradient_log_norm))
    assert np.all(np.isfinite(sim.gradient_log_norm_median))  # most are alive
    assert "the gradient died in" in str(sim)


def test_what_explodes_beyond_float64_is_infinite() -> None:
    net = mf.Network(LINEAR, weight_var=1e40, weights="orthogonal")
    sim = mf.simulate(net, 8, 10, 400, q=1.0, jacobian=True)  # compiled above
    assert np.all(sim.samples["mean_square"][:, -2:] == np.inf)
    assert sim.variance[-1] == sim.variance_median[-1] == sim.variance_error[-1] == np.inf
    np.testing.assert_allclose(sim.gradient_log_norm, 40 * math.log(10) * np.arange(10), 1e-12)
    assert sim.escaped(1e300) == 1.0 and 0 < sim.escaped_error(1e300) < 0.1
    assert "grew beyond" in str(sim)
    with pytest.raises(AttributeError, match="escape"):
        _ = sim.escapes


def test_escapes_are_those_of_any_layer() -> None:
    sim = mf.simulate(TANH, 8, 3, 16)
    top = sim.samples["mean_square"].max(axis=1)
    assert sim.escaped(1.5) == np.mean(top > 1.5) > 0
    assert sim.escaped(1e9) == 0.0


# -- estimates ----------------------------------------------------------------------------------


def test_the_jackknife_takes_away_the_bias_of_a_square() -> None:
    x = np.random.default_rng(0).standard_normal((4000, 5)) + 1.0
    found = np.array([jackknife(lambda m: m * m, some[:, None]).value[0] for some in x])
    assert abs(found.mean() - 1.0) < 4 * found.std() / math.sqrt(4000)  # biased: 1 + 1/5


@pytest.mark.parametrize("law", ["normal", "lognormal"])
def test_standard_errors_are_those_of_repeated_experiments(law: str) -> None:
    rng = np.random.default_rng(1)
    x = getattr(rng, law)(0.0, 0.5, (400, 600))
    means, medians = jackknife(lambda m: m, x), median(x)
    for found in (means, medians):
        assert np.mean(found.error) == pytest.approx(np.std(found.value), rel=0.12)


def test_one_draw_tells_no_error() -> None:
    sim = mf.simulate(TANH, 8, 3, 1)
    assert np.all(np.isnan(sim.variance_error)) and np.all(np.isnan(sim.variance_median_error))
    assert np.all(np.isfinite(sim.variance))
    assert "error unknown" in str(sim)


# -- activations --------------------------------------------------------------------------------


@jax.custom_vjp
def backward(x):
    """Without a forward derivative."""
    return jnp.tanh(x)


backward.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g / jnp.cosh(x) ** 2,))


def one_number(x):
    """Not for arrays."""
    return jax.lax.cond(x > 0, lambda x: x, lambda x: 0.5 * x, x)


@pytest.mark.parametrize(
    ("other", "phi"),
    [
        (backward, jnp.tanh),
        (one_number, lambda x: jnp.where(x > 0, x, 0.5 * x)),
        (math.tanh, jnp.tanh),
        (lambda x: np.clip(x - 0.3, 0.0, 1.1), lambda x: jnp.clip(x - 0.3, 0.0, 1.1)),
        (lambda x: np.maximum(x, 0.1 * x), lambda x: jnp.maximum(x, 0.1 * x)),
        (np.sin, jnp.sin),
    ],
    ids=["backward", "one number", "float", "kinks", "leaky", "sin"],
)
def test_any_activation_is_as_good_as_one_of_jax(other: Any, phi: Any) -> None:
    x = np.sort(np.random.default_rng(0).normal(0, 3, 4000))
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        ours, theirs = elementwise(mf.Activation(other)), elementwise(mf.Activation(phi))
        assert theirs.reach == np.inf and ours.reach >= 16
        x = x.reshape(4, -1)
        value, slope = map(np.asarray, ours.value_and_slope(jnp.asarray(x)))
        exact, exact_slope = map(np.asarray, theirs.value_and_slope(jnp.asarray(x)))
        np.testing.assert_allclose(value, exact, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(slope, exact_slope, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(value == 0, exact == 0)
        if ours.reach < np.inf:
            assert np.isnan(ours.value(jnp.array([2 * ours.reach])))


@pytest.mark.torch
def test_torch() -> None:
    torch = pytest.importorskip("torch")
    x = np.linspace(-3, 3, 7)
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        value, slope = elementwise(mf.Activation(torch.nn.ReLU())).value_and_slope(jnp.asarray(x))
    np.testing.assert_allclose(value, np.maximum(x, 0), atol=1e-13)
    np.testing.assert_allclose(slope[x != 0], (x > 0)[x != 0], atol=1e-12)
