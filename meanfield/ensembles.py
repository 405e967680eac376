r"""Weight ensembles: matrices whose entries have one variance, and singular values that differ.

At infinite width the maps of variance and correlation see only the variance of the entries,
`weight_var / fan_in` (Nait Saada, Naderi & Tanner 2024, arXiv 2310.16597). A Jacobian sees more.
An `Ensemble` knows how to draw a matrix, and the S-transform of `W^T W` of a square `W` whose mean
squared singular value is 1::

    Gaussian, Uniform, Sparse, ...  S(m) = 1 / (1 + m)
    Orthogonal, SparseOrthogonal    S(m) = 1
    LowRank                         S(m) = 1 / (1 + m/r)
    OrthogonalLowRank               S(m) = (1 + m) / (1 + m/r)
    MaskedOrthogonal                S(m) = 2 / (1 + 2am + sqrt(1 + 4adm)),  a = 1 - d

with `r` the rank over the width and `d` the density. The last is `sqrt(d)` times an orthogonal
matrix plus a free Gaussian one of variance `a`: what the mask takes away and adds is noise.
"""

from dataclasses import dataclass, fields
from math import erf, exp, pi, sqrt
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import jax

__all__ = [
    "DeltaOrthogonal",
    "Ensemble",
    "Gaussian",
    "LowRank",
    "MaskedOrthogonal",
    "Orthogonal",
    "OrthogonalLowRank",
    "Sparse",
    "SparseOrthogonal",
    "TruncatedNormal",
    "Uniform",
    "ensemble_of",
    "rank_of",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class Ensemble:
    """A law of weight matrices, up to the variance of their entries.

    Functions of `m` take `n = 1 + m` beside it, because the sum may have lost its digits.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for share in fields(self):
            value = getattr(self, share.name)
            if not (isinstance(value, (int, float)) and 0 < value <= 1):
                raise ValueError(
                    f"{share.name}: must be in (0, 1] for {self.name} weights, got {value!r}"
                )

    def __str__(self) -> str:
        shares = ", ".join(f"{f.name}={getattr(self, f.name):g}" for f in fields(self))
        return f"{self.name}({shares})" if shares else self.name

    @property
    def spread(self) -> float:
        """`Var(s^2) / E[s^2]^2` over the singular values `s` of a square matrix; `-S'(0)`."""
        return -float(self.log_s_slope(np.zeros(()), np.ones(())))

    def log_s(self, m: Array, n: Array) -> Array:
        """`log S(m)`."""
        raise NotImplementedError

    def log_s_slope(self, m: Array, n: Array) -> Array:
        """The derivative of `log S(m)`."""
        raise NotImplementedError

    def log_s_integral(self, m: Array, n: Array) -> Array:
        """An antiderivative of `log S(m)`."""
        raise NotImplementedError

    def draw(
        self, key: "jax.Array", fan_out: int, fan_in: int, weight_var: Any, dtype: Any = float
    ) -> "jax.Array":
        """A matrix of shape `(fan_out, fan_in)` with entries of variance `weight_var / fan_in`.

        Sizes are static, all else may be traced: it can be jitted and vmapped.

        Raises:
            ValueError: the ensemble has no matrix of these sizes.
        """
        raise NotImplementedError

    def draw_kernel(self, key, field: tuple[int, ...], fan_out: int, channels: int, weight_var: Any,
                    dtype: Any = float) -> "jax.Array":  # fmt: skip
        """A kernel of shape `(fan_out, *field, channels)`, of fan-in `prod(field) channels`."""
        fan_in = channels * int(np.prod(field))
        return self.draw(key, fan_out, fan_in, weight_var, dtype).reshape(fan_out, *field, channels)


class Gaussian(Ensemble):
    """Independent Gaussian entries: Marchenko & Pastur's law, of spread 1."""

    name = "gaussian"

    def log_s(self, m: Array, n: Array) -> Array:
        return -np.log(n)

    def log_s_slope(self, m: Array, n: Array) -> Array:
        return -1 / n

    def log_s_integral(self, m: Array, n: Array) -> Array:
        return m - n * np.log(n)

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax.numpy as jnp

        return jnp.sqrt(weight_var / fan_in).astype(dtype) * _normal(key, fan_out, fan_in, dtype)


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


class Orthogonal(Ensemble):
    """Haar orthogonal matrices, scaled; if not square, with orthonormal rows or columns."""

    name = "orthogonal"

    def log_s(self, m: Array, n: Array) -> Array:
        return np.zeros_like(m)

    def log_s_slope(self, m: Array, n: Array) -> Array:
        return np.zeros_like(m)

    def log_s_integral(self, m: Array, n: Array) -> Array:
        return np.zeros_like(m)

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax.numpy as jnp

        # entries of a Haar block have variance 1 / max(fan_in, fan_out)
        scale = jnp.sqrt(weight_var * max(fan_in, fan_out) / fan_in).astype(dtype)
        return scale * _haar(key, fan_out, fan_in, dtype)


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
class LowRank(Ensemble):
    """`W = C P` of rank `ratio` times the width, `C` with orthonormal columns, `P` Gaussian.

    The entries of `P` have variance `weight_var / rank`: with `weight_var / fan_in`, as one might
    copy from full rank, the signal would shrink by `ratio` in every layer.
    """

    ratio: float
    name = "low-rank"

    def log_s(self, m: Array, n: Array) -> Array:
        return -np.log1p(m / self.ratio)

    def log_s_slope(self, m: Array, n: Array) -> Array:
        return -1 / (self.ratio + m)

    def log_s_integral(self, m: Array, n: Array) -> Array:
        return m - (self.ratio + m) * np.log1p(m / self.ratio)

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax
        import jax.numpy as jnp

        rank = rank_of(self, fan_out, fan_in)
        left, right = jax.random.split(key)
        scale = jnp.sqrt(weight_var * fan_out / (rank * fan_in)).astype(dtype)
        factor = _normal(right, rank, fan_in, dtype)
        return scale * (_haar(left, fan_out, rank, dtype) @ factor)


@dataclass(frozen=True)
class OrthogonalLowRank(Ensemble):
    """`W = C P` of rank `ratio` times the width, both with orthonormal columns or rows, scaled."""

    ratio: float
    name = "orthogonal-low-rank"

    def log_s(self, m: Array, n: Array) -> Array:
        return np.log(n) - np.log1p(m / self.ratio)

    def log_s_slope(self, m: Array, n: Array) -> Array:
        return 1 / n - 1 / (self.ratio + m)

    def log_s_integral(self, m: Array, n: Array) -> Array:
        return n * np.log(n) - (self.ratio + m) * np.log1p(m / self.ratio)

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        import jax
        import jax.numpy as jnp

        rank = rank_of(self, fan_out, fan_in)
        left, right = jax.random.split(key)
        scale = jnp.sqrt(weight_var * fan_out / rank).astype(dtype)
        return scale * (_haar(left, fan_out, rank, dtype) @ _haar(right, rank, fan_in, dtype))


@dataclass(frozen=True)
class Sparse(Gaussian):
    """Independent entries, Gaussian with probability `density`, else 0.

    Those left have variance `weight_var / (density fan_in)`. The singular values are those of
    Gaussian weights as long as rows have many entries left.
    """

    density: float
    name = "sparse"

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        return _masked(key, super(), self.density, fan_out, fan_in, weight_var, dtype)


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

    def log_s_integral(self, m: Array, n: Array) -> Array:
        a, root = self._root(n)
        if a == 0:
            return np.zeros_like(m)

        def part(c: float) -> Array:  # an antiderivative of root log(c + root)
            return (root**2 - c**2) / 2 * np.log(c + root) - root**2 / 4 + c * root / 2

        whole = root**2 / 2 * np.log(4 * self.density) - part(1.0) - part(2 * self.density - 1)
        return whole / (2 * a * self.density)

    def draw(self, key, fan_out, fan_in, weight_var, dtype=float):
        return _masked(key, Orthogonal(), self.density, fan_out, fan_in, weight_var, dtype)


@dataclass(frozen=True)
class SparseOrthogonal(Orthogonal):
    """Exactly orthogonal and sparse: random Givens rotations until `density` is reached.

    Nowak et al. 2024, arXiv 2406.01755. Singular values of a product are as for dense ones as
    long as rows have many entries. Square matrices only.
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


_PLAIN = (Uniform, TruncatedNormal, DeltaOrthogonal, Gaussian, Orthogonal)
_NAMED = {kind.name: kind for kind in _PLAIN}


def ensemble_of(weights: "str | Ensemble") -> Ensemble:
    """The ensemble that a name or an `Ensemble` means.

    Raises:
        ValueError: there is none of this name.
        TypeError: it is neither.
    """
    if isinstance(weights, Ensemble):
        return weights
    if isinstance(weights, str):
        if weights in _NAMED:
            return _NAMED[weights]()
        raise ValueError(
            f"weights: must be one of {', '.join(map(repr, _NAMED))} or made in "
            f"meanfield.ensembles, as ensembles.LowRank(0.25); got {weights!r}"
        )
    raise TypeError(f"weights: must be the name of an ensemble or an Ensemble, got {weights!r}")


def _normal(key, rows: int, columns: int, dtype):
    import jax

    return jax.random.normal(key, (rows, columns), dtype)


def _haar(key, rows: int, columns: int, dtype):
    import jax
    import jax.numpy as jnp

    # factorised in float32 at least, which is what LAPACK knows
    wide = jnp.promote_types(jax.dtypes.canonicalize_dtype(dtype), jnp.float32)
    return jax.nn.initializers.orthogonal()(key, (rows, columns), wide).astype(dtype)


def rank_of(ensemble: "LowRank | OrthogonalLowRank", fan_out: int, fan_in: int) -> int:
    """The rank of a matrix; an error where it would be 0."""
    rank = round(ensemble.ratio * min(fan_out, fan_in))
    if rank < 1:
        raise ValueError(f"shape: {ensemble} weights of shape ({fan_out}, {fan_in}) have rank 0")
    return rank


def _masked(key, dense, density: float, fan_out: int, fan_in: int, weight_var, dtype):
    import jax

    mask, drawn = jax.random.split(key)
    kept = jax.random.bernoulli(mask, density, (fan_out, fan_in))
    return kept * dense.draw(drawn, fan_out, fan_in, weight_var / density, dtype)
