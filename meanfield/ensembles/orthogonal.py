"""Orthogonal matrices, dense, sparse, at the centre of a kernel, and masked."""

from dataclasses import dataclass

import numpy as np

from meanfield.ensembles.ensemble import Array, Ensemble
from meanfield.ensembles.factors import haar, masked

__all__ = ["DeltaOrthogonal", "MaskedOrthogonal", "Orthogonal", "SparseOrthogonal"]


class Orthogonal(Ensemble):
    """Haar orthogonal matrices, scaled; if not square, with orthonormal rows or columns."""

    name = "orthogonal"

    def log_s(self, m: Array, n: Array) -> Array:
        return np.zeros_like(m)

    def log_s_slope(self, m: Array, n: Array) -> Array:
        return np.zeros_like(m)

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax.numpy as jnp

        # entries of a Haar block have variance 1 / max(fan_in, fan_out)
        scale = jnp.sqrt(weight_var * max(fan_in, fan_out) / fan_in).astype(dtype)
        return scale * haar(key, fan_out, fan_in, dtype)


class DeltaOrthogonal(Orthogonal):
    """Kernels of convolutions that are 0 but at their centre, an orthogonal matrix there.

    The variance that other kernels spread over the field is all at the centre. Matrices of dense
    layers are orthogonal. Xiao et al. 2018, arXiv 1806.05393, algorithm 1.
    """

    name = "delta-orthogonal"

    def draw_kernel(self, key, field, fan_out, channels, weight_var, dtype=float):
        import jax.numpy as jnp

        if any(size % 2 == 0 for size in field):
            raise ValueError(
                f"shape: {self} kernels have a centre, so odd sizes, got {field}; take "
                "'orthogonal' weights there"
            )
        centre = (slice(None), *(size // 2 for size in field))
        kernel = jnp.zeros((fan_out, *field, channels), dtype)
        return kernel.at[centre].set(self.draw(key, fan_out, channels, weight_var, dtype))


@dataclass(frozen=True)
class SparseOrthogonal(Orthogonal):
    """Exactly orthogonal and sparse: random Givens rotations until `density` is reached.

    Nowak et al. 2024, arXiv 2406.01755. Singular values of a product are as for dense ones as
    long as rows have many entries. Square matrices only.

    A rotation doubles the entries of two rows and leaves 3/4 of the sum of their fourth powers,
    which so falls as `(density fan_in)^(-1/4)` only: sums of so few large terms are far from
    Gaussian in all networks but very wide ones.
    """

    density: float
    name = "sparse-orthogonal"

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax
        import jax.numpy as jnp

        if fan_out != fan_in:
            raise ValueError(f"shape: {self} weights are square, got ({fan_out}, {fan_in})")
        signs, key = jax.random.split(key)

        def too_sparse(state):
            return jnp.count_nonzero(state[0]) < self.density * fan_in**2

        def rotated(state):
            matrix, key = state
            key, pair, angle = jax.random.split(key, 3)
            rows = jax.random.choice(pair, fan_in, (2,), replace=False)
            turn = jax.random.uniform(angle, (), dtype, 0, 2 * np.pi)
            cosine, sine = jnp.cos(turn), jnp.sin(turn)
            first, second = matrix[rows[0]], matrix[rows[1]]
            turned = jnp.stack([cosine * first - sine * second, sine * first + cosine * second])
            return matrix.at[rows].set(turned), key

        start = jnp.diag(jax.random.rademacher(signs, (fan_in,), dtype))
        matrix, key = jax.lax.while_loop(too_sparse, rotated, (start, key))
        return jnp.sqrt(weight_var).astype(dtype) * jax.random.permutation(key, matrix)


@dataclass(frozen=True)
class MaskedOrthogonal(Ensemble):
    """A Haar orthogonal matrix with entries kept with probability `density`, and rescaled.

    Of spread `1 - density^2`: hardly better than Gaussian once sparse.
    """

    density: float
    name = "masked-orthogonal"

    def _root(self, n: Array) -> tuple[float, Array]:
        a = 1 - self.density
        # of 1 + 4adm: what is left of it at n = 0
        return a, np.sqrt((1 - 2 * self.density) ** 2 + 4 * a * self.density * n)

    def log_s(self, m: Array, n: Array) -> Array:
        a, root = self._root(n)
        # 1 + root + 2am in factors, each with its logarithm off the cut
        return np.log(4 * self.density) - np.log(1 + root) - np.log(self._rest(n, root))

    def _rest(self, n: Array, root: Array) -> Array:
        """`root + 2d - 1`, which is 0 at `n = 0` where `d < 1/2`."""
        c = 1 - 2 * self.density
        return 4 * (1 - self.density) * self.density * n / (root + c) if c > 0 else root - c

    def log_s_slope(self, m: Array, n: Array) -> Array:
        a, root = self._root(n)
        whole = (1 + root) * self._rest(n, root) / (2 * self.density)  # 1 + 2am + root
        return -2 * a * (1 + self.density / root) / whole

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        return masked(key, Orthogonal(), self.density, fan_out, fan_in, weight_var, dtype)
