"""Matrices of a rank below their width, as products of two thin ones."""

from dataclasses import dataclass

import numpy as np

from meanfield.ensembles.ensemble import Array, Ensemble
from meanfield.ensembles.factors import haar, normal
from meanfield.ensembles.independent import Gaussian
from meanfield.ensembles.orthogonal import Orthogonal

__all__ = ["LowRank", "OrthogonalLowRank", "rank_of"]


@dataclass(frozen=True)
class LowRank(Ensemble):
    """`W = C P` of rank `ratio` times the width, `C` with orthonormal columns, `P` Gaussian.

    The entries of `P` have variance `weight_var / rank`: with `weight_var / fan_in`, as one might
    copy from full rank, the signal would shrink by `ratio` in every layer.
    """

    ratio: float
    name = "low-rank"

    @property
    def projected(self) -> tuple[float, Ensemble]:
        return self.ratio, Gaussian()

    def log_s(self, m: Array, n: Array) -> Array:
        return -np.log1p(m / self.ratio)

    def log_s_slope(self, m: Array, n: Array) -> Array:
        return -1 / (self.ratio + m)

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax
        import jax.numpy as jnp

        rank = rank_of(self, fan_out, fan_in)
        left, right = jax.random.split(key)
        scale = jnp.sqrt(weight_var * fan_out / (rank * fan_in)).astype(dtype)
        factor = normal(right, rank, fan_in, dtype)
        return scale * (haar(left, fan_out, rank, dtype) @ factor)


@dataclass(frozen=True)
class OrthogonalLowRank(Ensemble):
    """`W = C P` of rank `ratio` times the width, both with orthonormal columns or rows, scaled."""

    ratio: float
    name = "orthogonal-low-rank"

    @property
    def projected(self) -> tuple[float, Ensemble]:
        return self.ratio, Orthogonal()

    def log_s(self, m: Array, n: Array) -> Array:
        return np.log(n) - np.log1p(m / self.ratio)

    def log_s_slope(self, m: Array, n: Array) -> Array:
        return 1 / n - 1 / (self.ratio + m)

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax
        import jax.numpy as jnp

        rank = rank_of(self, fan_out, fan_in)
        left, right = jax.random.split(key)
        scale = jnp.sqrt(weight_var * fan_out / rank).astype(dtype)
        columns = haar(left, fan_out, rank, dtype)
        # Two batched factorisations at once may wait on CPU, for ever, for each other's threads.
        # This is `right`, but XLA does not know it before it has the columns.
        right = jnp.where(jnp.isnan(columns[0, 0]), left, right)
        return scale * (columns @ haar(right, rank, fan_in, dtype))


def rank_of(ensemble: "LowRank | OrthogonalLowRank", fan_out: int, fan_in: int) -> int:
    """The rank of a matrix; an error where it would be 0."""
    rank = round(ensemble.ratio * min(fan_out, fan_in))
    if rank < 1:
        raise ValueError(f"shape: {ensemble} weights of shape ({fan_out}, {fan_in}) have rank 0")
    return rank
