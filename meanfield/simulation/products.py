r"""`W x` for a random matrix `W` and a few vectors, without the matrix where its law allows.

Rows of a Gaussian `W` are independent, so of orthonormal vectors `e_j` it makes independent
Gaussian vectors; a Haar orthogonal `W` makes a uniformly random orthonormal frame of them. Both
are exact at every size and cost `O(n)` and not `O(n^2)` or `O(n^3)`: a fresh matrix that only ever
meets three vectors need not be drawn.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from meanfield.ensembles import (
    Ensemble,
    Gaussian,
    LowRank,
    Orthogonal,
    OrthogonalLowRank,
    rank_of,
)

__all__ = ["has_shortcut", "normals_for", "product"]

Array = jax.Array


def has_shortcut(ensemble: Ensemble) -> bool:
    """Whether products can be had without the matrix."""
    return type(ensemble) in _SHORT


def normals_for(ensemble: Ensemble, count: int) -> int:
    """How many rows of Gaussian numbers `product` takes for `count` vectors."""
    return count * _SHORT[type(ensemble)][0]


def product(ensemble: Ensemble, normal: Array, x: Array, fan_out: int, weight_var: Any) -> Array:
    """`x @ W.T` with a random `W`, from independent Gaussian numbers.

    Args:
        ensemble: the law of `W`, one that `has_shortcut`.
        normal: as many rows as `normals_for` says, as long as the larger of `fan_in`, `fan_out`.
        x: a few vectors, shape (k, fan_in).
        fan_out: length of the products.
        weight_var: as in `Network`.

    Returns:
        The products, shape (k, fan_out).
    """
    parts = normal.reshape(-1, len(x), normal.shape[1])
    return jnp.sqrt(weight_var) * _SHORT[type(ensemble)][1](ensemble, parts, x, fan_out)


def _orthonormal(x: Array) -> tuple[Array, Array]:
    """`x = r @ e` with orthonormal rows `e`, by Gram and Schmidt, twice for full precision.

    A row that depends on those before, or is 0, gets a row of `e` that `r` multiplies by nothing.
    """
    count = len(x)
    rows, factors = [], []
    for v in x:
        factor = [jnp.zeros(())] * count
        for _ in range(2):
            for j, e in enumerate(rows):
                along = jnp.sum(e * v)
                factor[j] = factor[j] + along
                v = v - along * e
        size = jnp.sqrt(jnp.sum(v * v))
        factor[len(rows)] = size
        rows.append(v / jnp.where(size > 0, size, 1.0))
        factors.append(jnp.stack(factor))
    return jnp.stack(rows), jnp.stack(factors)


def _mixed(r: Array, e: Array) -> Array:
    """`r @ e` for few rows, as sums of rows: batched products of tiny matrices are slow."""
    return sum(r[:, j, None] * e[j] for j in range(len(e)))  # pyright: ignore[reportReturnType]


def _gaussian(normal: Array, x: Array, rows: int) -> Array:
    """Times a matrix with independent entries of variance `1 / fan_in`."""
    _, r = _orthonormal(x)
    return _mixed(r, normal[:, :rows]) / jnp.sqrt(x.shape[-1])


def _haar(normal: Array, x: Array, rows: int) -> Array:
    """Times a block of a Haar orthogonal matrix, with orthonormal rows or columns."""
    _, r = _orthonormal(x)
    frame, _ = _orthonormal(normal[:, : max(rows, x.shape[-1])])
    return _mixed(r, frame[:, :rows])


def _independent(_: Ensemble, normals: Array, x: Array, rows: int) -> Array:
    return _gaussian(normals[0], x, rows)


def _orthogonal(_: Ensemble, normals: Array, x: Array, rows: int) -> Array:
    fan_in = x.shape[-1]
    return jnp.sqrt(max(rows, fan_in) / fan_in) * _haar(normals[0], x, rows)


def _low_rank(ensemble: LowRank, normals: Array, x: Array, rows: int) -> Array:
    rank = rank_of(ensemble, rows, x.shape[-1])
    return jnp.sqrt(rows / rank) * _haar(normals[0], _gaussian(normals[1], x, rank), rows)


def _orthogonal_low_rank(ensemble: OrthogonalLowRank, normals: Array, x: Array, rows: int) -> Array:
    rank = rank_of(ensemble, rows, x.shape[-1])
    return jnp.sqrt(rows / rank) * _haar(normals[0], _haar(normals[1], x, rank), rows)


# factors, and the product; by the type itself: what is derived from one of these draws otherwise
_SHORT: dict[type, tuple[int, Callable[..., Array]]] = {
    Gaussian: (1, _independent),
    Orthogonal: (1, _orthogonal),
    LowRank: (2, _low_rank),
    OrthogonalLowRank: (2, _orthogonal_low_rank),
}
