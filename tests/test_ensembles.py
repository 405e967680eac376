"""Weight ensembles: entries of the variance asked for, and the singular values they claim."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import meanfield as mf
from meanfield import ensembles

ALL = [
    ensembles.Gaussian(),
    ensembles.Orthogonal(),
    ensembles.LowRank(0.25),
    ensembles.OrthogonalLowRank(0.5),
    ensembles.Sparse(0.2),
    ensembles.BlockSparse(0.25),
    ensembles.MaskedOrthogonal(0.3),
    ensembles.MaskedOrthogonal(0.8),
    ensembles.SparseOrthogonal(0.3),
    ensembles.Uniform(),
    ensembles.TruncatedNormal(),
    ensembles.DeltaOrthogonal(),
]
SPREADS = [1, 0, 4, 1, 1, 1, 1 - 0.09, 1 - 0.64, 0, 1, 1, 0]
each = pytest.mark.parametrize("ensemble", ALL, ids=str)


@pytest.mark.parametrize(("ensemble", "spread"), list(zip(ALL, SPREADS, strict=True)), ids=str)
def test_spread(ensemble: ensembles.Ensemble, spread: float) -> None:
    """The closed form, and matrices of 400 rows: their spread is within O(1/n) of it."""
    assert ensemble.spread == pytest.approx(spread, abs=1e-15)
    matrix = np.asarray(ensemble.draw(jax.random.key(1), 400, 400, 1.0, jnp.float32), np.float64)
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    # the moments fluctuate by a few parts of n, more where few entries make them
    assert np.mean(squares) == pytest.approx(1, abs=0.03)
    assert np.var(squares) / np.mean(squares) ** 2 == pytest.approx(spread, abs=0.06 * (1 + spread))


@each
def test_the_s_transform_is_that_of_drawn_matrices(ensemble: ensembles.Ensemble) -> None:
    """`M(u) = E[x/(u - x)] = m` at `u = (1 + m)/(m S(m))`, outside the spectrum."""
    matrix = np.asarray(ensemble.draw(jax.random.key(7), 600, 600, 1.0, jnp.float32), np.float64)
    x = np.linalg.svd(matrix, compute_uv=False) ** 2
    m = np.array([0.02, 0.1, 0.3])
    u = (1 + m) / m * np.exp(-ensemble.log_s(m, 1 + m))
    measured = np.mean(x / (u[:, None] - x), axis=1)
    np.testing.assert_allclose(measured, m, rtol=0.05)


@each
@given(
    radius=st.floats(0.05, 5),
    angle=st.floats(0.05, math.pi - 0.05),
)
def test_slope(ensemble, radius: float, angle: float) -> None:
    """`(log S)' = log_s_slope`, across the upper half plane of `1 + m`."""
    n = radius * np.exp(1j * angle)
    h = 1e-4 * min(1.0, n.imag) * np.array([-2, -1, 1, 2])

    def slope_of(f) -> complex:  # of fourth order: h^4 f^(5) and rounding/h are both below 1e-9
        low2, low, high, high2 = f(n - 1 + h, n + h)
        return (8 * (high - low) - (high2 - low2)) / (12 * (h[3] - h[2]))

    m = n - 1
    slope, value = ensemble.log_s_slope(m, n), ensemble.log_s(m, n)
    assert abs(slope_of(ensemble.log_s) - slope) <= 1e-7 * (1 + abs(slope))
    # conjugate points have conjugate values: one branch for the whole half plane
    mirrored = ensemble.log_s(np.conj(m), np.conj(n))
    assert abs(mirrored - np.conj(value)) <= 1e-13 * (1 + abs(value))


@each
def test_entries_have_the_variance_of_the_weights(ensemble: ensembles.Ensemble) -> None:
    """With `(rows, columns)` that are not square where the ensemble has such matrices."""
    shape = (300, 300) if isinstance(ensemble, ensembles.SparseOrthogonal) else (240, 360)
    drawn = jax.jit(lambda key: ensemble.draw(key, *shape, 2.5, jnp.float32))(jax.random.key(3))
    assert drawn.shape == shape and drawn.dtype == jnp.float32
    mean_square = float(jnp.mean(drawn**2)) * shape[1] / 2.5
    entries = shape[0] * shape[1] * getattr(ensemble, "density", 1.0)
    # rank r: r (rows + columns) numbers at least make the matrix
    entries *= getattr(ensemble, "ratio", 1.0)
    assert abs(mean_square - 1) <= 5 * math.sqrt(3 / entries)
    assert abs(float(jnp.mean(drawn))) <= 5 * math.sqrt(2.5 / shape[1] / entries)


def test_exactly_orthogonal_and_sparse() -> None:
    ensemble = ensembles.SparseOrthogonal(0.2)
    with jax.enable_x64(True):
        drawn = np.asarray(ensemble.draw(jax.random.key(0), 100, 100, 1.0, jnp.float64))
    np.testing.assert_allclose(drawn @ drawn.T, np.eye(100), atol=1e-13)
    assert 0.2 <= np.mean(drawn != 0) < 0.22  # the last rotation adds two rows at most


def test_blocks_apart_from_their_order() -> None:
    """Rows that share a column share all of them; each row has the whole variance."""
    with jax.enable_x64(True):
        draw = ensembles.BlockSparse(1 / 3).draw(jax.random.key(0), 300, 200, 1.5, jnp.float64)
    drawn = np.asarray(draw)
    patterns, counts = np.unique(drawn != 0, axis=0, return_counts=True)
    assert len(patterns) == 3 and np.all(counts == 100)
    assert sorted(np.sum(patterns, axis=1)) == [66, 67, 67]
    assert not np.all(np.diff(np.flatnonzero(patterns[0])) == 1)
    assert np.sum(drawn**2) / 300 == pytest.approx(1.5, abs=5 * 1.5 * math.sqrt(2 / 20000))
    with pytest.raises(ValueError, match="density: must be 1 over a whole number"):
        ensembles.BlockSparse(0.3)
    with pytest.raises(ValueError, match="shape: .*10 blocks"):
        ensembles.BlockSparse(0.1).draw(jax.random.key(0), 5, 20, 1.0)


def test_low_rank_has_its_rank() -> None:
    for ensemble in (ensembles.LowRank(0.25), ensembles.OrthogonalLowRank(0.25)):
        drawn = ensemble.draw(jax.random.key(0), 60, 40, 1.0, jnp.float32)
        assert np.linalg.matrix_rank(np.asarray(drawn)) == 10


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.1, math.nan, "0.5", None])
def test_shares_are_in_0_1(bad) -> None:
    with pytest.raises(ValueError, match=r"ratio: must be in \(0, 1\] for low-rank weights"):
        ensembles.LowRank(bad)


def test_shapes_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="shape: .*rank 0"):
        ensembles.LowRank(0.01).draw(jax.random.key(0), 20, 20, 1.0)
    with pytest.raises(ValueError, match=r"shape: .*square, got \(20, 10\)"):
        ensembles.SparseOrthogonal(0.5).draw(jax.random.key(0), 20, 10, 1.0)


def test_networks_take_names_and_ensembles() -> None:
    point = mf.critical("gelu", weights=ensembles.LowRank(0.25))
    assert point.weight_var == mf.critical("gelu").weight_var
    assert str(point.network).endswith("weights='low-rank(ratio=0.25)')")
    assert point.to_dict()["weights"] == "low-rank(ratio=0.25)"
    drawn = np.asarray(mf.initializer(point)(jax.random.key(0), (80, 40)))
    assert np.linalg.matrix_rank(drawn) == 10
    with pytest.raises(ValueError, match="weights: .*'gaussian', 'orthogonal' or .*'haar'"):
        mf.Network("tanh", 1.0, weights="haar")
    with pytest.raises(TypeError, match="weights: "):
        mf.Network("tanh", 1.0, weights=0.5)  # pyright: ignore[reportArgumentType]


def test_bounded_entries() -> None:
    """Uniform to sqrt(3) deviations; a Gaussian cut at 2 is rescaled: 2 / sqrt(0.7737...)."""
    for ensemble, most in (
        (ensembles.Uniform(), math.sqrt(3)),
        (ensembles.TruncatedNormal(), 2.27375),
    ):
        entries = ensemble.draw(jax.random.key(2), 300, 300, 300.0, jnp.float32)
        largest = float(jnp.max(jnp.abs(entries)))
        assert most * 0.999 <= largest <= most * 1.00001


def test_kernels() -> None:
    """One matrix for most; delta-orthogonal ones are 0 but at their centre."""
    key, delta = jax.random.key(0), ensembles.DeltaOrthogonal()
    kernel = np.array(delta.draw_kernel(key, (3, 5), 16, 8, 2.0, jnp.float32))
    assert kernel.shape == (16, 3, 5, 8)
    centre = kernel[:, 1, 2].copy()
    kernel[:, 1, 2] = 0
    assert not kernel.any()
    np.testing.assert_allclose(centre.T @ centre, 2.0 * 16 / 8 * np.eye(8), atol=1e-5)
    with pytest.raises(ValueError, match=r"shape: .*odd sizes, got \(2, 3\)"):
        delta.draw_kernel(key, (2, 3), 16, 8, 2.0)
    flat = ensembles.Orthogonal().draw_kernel(key, (3, 5), 16, 8, 2.0, jnp.float32)
    rows = np.asarray(flat).reshape(16, -1)
    np.testing.assert_allclose(rows @ rows.T, 2.0 * np.eye(16), atol=1e-5)
