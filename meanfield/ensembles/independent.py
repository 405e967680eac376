"""Independent entries: singular values by the law of Marchenko & Pastur, `S(m) = 1 / (1 + m)`."""

from dataclasses import dataclass
from math import erf, exp, pi, sqrt
from typing import ClassVar

import numpy as np

from meanfield.ensembles.ensemble import Array, Ensemble
from meanfield.ensembles.factors import masked, normal

__all__ = ["BlockSparse", "Gaussian", "Sparse", "TruncatedNormal", "Uniform"]


class Gaussian(Ensemble):
    """Independent Gaussian entries: Marchenko & Pastur's law, of spread 1."""

    name = "gaussian"

    def log_s(self, m: Array, n: Array) -> Array:
        return -np.log(n)

    def log_s_slope(self, m: Array, n: Array) -> Array:
        return -1 / n

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax.numpy as jnp

        return jnp.sqrt(weight_var / fan_in).astype(dtype) * normal(key, fan_out, fan_in, dtype)


class Uniform(Gaussian):
    """Independent entries, uniform on `+-sqrt(3 weight_var / fan_in)`."""

    name = "uniform"

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax
        import jax.numpy as jnp

        unit = jax.random.uniform(key, (fan_out, fan_in), dtype, -1.0, 1.0)
        return jnp.sqrt(3 * weight_var / fan_in).astype(dtype) * unit


class TruncatedNormal(Gaussian):
    """Independent Gaussian entries, none beyond two deviations, and rescaled to their variance."""

    name = "truncated-normal"
    # 1 - 4 p(2) / P(|z| < 2), what is left of the variance of a standard Gaussian
    LEFT: ClassVar[float] = 1 - 4 * exp(-2) / (sqrt(2 * pi) * erf(sqrt(2)))

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax
        import jax.numpy as jnp

        unit = jax.random.truncated_normal(key, -2.0, 2.0, (fan_out, fan_in), dtype)
        return jnp.sqrt(weight_var / (self.LEFT * fan_in)).astype(dtype) * unit


@dataclass(frozen=True)
class Sparse(Gaussian):
    """Independent entries, Gaussian with probability `density`, else 0.

    Those left have variance `weight_var / (density fan_in)`. The singular values are those of
    Gaussian weights as long as rows have many entries left.
    """

    density: float
    name = "sparse"

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        return masked(key, super(), self.density, fan_out, fan_in, weight_var, dtype)


@dataclass(frozen=True)
class BlockSparse(Gaussian):
    """Gaussian blocks along the diagonal, rows and columns permuted at random; else 0.

    There are `1/density` of them, as equal in size as the width allows. Entries within have
    variance `weight_var` over the columns of their block, so each row has the whole variance.
    """

    density: float
    name = "block-sparse"

    def __post_init__(self) -> None:
        super().__post_init__()
        if abs(self._blocks * self.density - 1) > 1e-9:
            raise ValueError(
                f"density: must be 1 over a whole number of blocks for {self.name} weights, as "
                f"1/{self._blocks}; got {self.density!r}"
            )

    @property
    def _blocks(self) -> int:
        return round(1 / self.density)

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax
        import jax.numpy as jnp

        if min(fan_out, fan_in) < self._blocks:
            raise ValueError(
                f"shape: {self} weights have {self._blocks} blocks, too many for shape "
                f"({fan_out}, {fan_in})"
            )
        row, column = (np.arange(size) * self._blocks // size for size in (fan_out, fan_in))
        columns = np.bincount(column)[row, None]  # of the block of each row
        scale = jnp.sqrt(weight_var / jnp.asarray(columns, dtype)).astype(dtype)
        key, first, last = jax.random.split(key, 3)
        block = (row[:, None] == column) * scale * normal(key, fan_out, fan_in, dtype)
        return jax.random.permutation(first, jax.random.permutation(last, block, axis=1))
