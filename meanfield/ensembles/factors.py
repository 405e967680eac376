"""The matrices that ensembles are built of: Gaussian, Haar orthogonal, and masked ones."""

__all__ = ["haar", "masked", "normal"]


def normal(key, rows: int, columns: int, dtype):
    """Independent standard Gaussian entries."""
    import jax

    return jax.random.normal(key, (rows, columns), dtype)


def haar(key, rows: int, columns: int, dtype):
    """A Haar orthogonal matrix, or a block of one with orthonormal rows or columns."""
    import jax
    import jax.numpy as jnp

    # factorised in float32 at least, which is what LAPACK knows
    wide = jnp.promote_types(jax.dtypes.canonicalize_dtype(dtype), jnp.float32)
    return jax.nn.initializers.orthogonal()(key, (rows, columns), wide).astype(dtype)


def masked(key, dense, density: float, fan_out: int, fan_in: int, weight_var, dtype):
    """A matrix of the ensemble `dense` with entries kept with probability `density`, rescaled."""
    import jax

    mask, drawn = jax.random.split(key)
    kept = jax.random.bernoulli(mask, density, (fan_out, fan_in))
    return kept * dense.draw(drawn, fan_out, fan_in, weight_var / density, dtype)
