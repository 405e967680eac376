"""Independent entries: singular values by the law of Marchenko & Pastur, `S(m) = 1 / (1 + m)`."""

from dataclasses import dataclass
from math import erf, exp, pi, sqrt
from typing import ClassVar

import numpy as np

from meanfield.ensembles.ensemble import Array, Ensemble
from meanfield.ensembles.factors import masked, normal

__all__ = ["Gaussian", "Sparse", "TruncatedNormal", "Uniform"]


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
