r"""What travels through an architecture: second moments of a set of signals.

For signals `x_a` of a wide layer (one for each input, or for each node of a graph), with averages
over the units of the layer:

    variance[a]      K_aa = <x_a^2>
    one_minus[a, b]  1 - c_ab = <(x_a / |x_a| - x_b / |x_b|)^2> / 2, with |x_a|^2 = K_aa
    mean[a]          <x_a>, which is 0 behind any dense layer
    tangent[a, b]    <dx_a dx_b> of what independent random directions of size 1, one at each
                     signal of the input, have become

`1 - c` is a sum of squares: through every layer it keeps its relative precision, which `K_ab`
loses where signals become one. The diagonal of the tangents is the growth of the mean squared
gradient, the averaged partial Jacobian of Doshi, He & Gromov 2023, arXiv 2111.12143.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.criticality import checked_numbers, checked_variances
from meanfield.precision import EPS

__all__ = ["State", "beside_silent", "complements", "joined", "row_blocks", "start"]

Array = NDArray[np.float64]

_CHECKED = 1000  # signals, up to which eigenvalues take less than a second
_ROUNDING = 1e-9
_AT_ONCE = 1 << 18  # entries of a matrix: 2 MB


@dataclass(frozen=True, eq=False)
class State:
    """Second moments of `n` signals in one layer; see the module.

    Attributes:
        variance: shape `(n,)`.
        one_minus: `1 - c`, shape `(n, n)`; 1 beside a signal that is 0.
        mean: shape `(n,)`.
        tangent: shape `(n, n)`.
        gaussian: whether the units are jointly Gaussian, as behind a dense layer.
        error: estimate of the relative errors of variances.
        one_minus_error: that of `one_minus`, beside its largest entry, and of gradients.
        batch: of how many inputs each unit was normalised: it is Gaussian but for its size.
        radial: `r` where directions `dx` lost the part along the signal, so that given `x` their
            `<dx_a dx_b>` is `tangent_ab + r (K_ab - x_a x_b)`.
        spread: relative variance of what a single signal has for mean square, where networks
            differ in that at any width, as behind peaked attention; `variance` is its mean.
        uneven: upper estimates of the relative standard deviations of what a single pair has for
            `gap`, and a single signal for squared gradient, in the same networks: shape `(2,)`.
            Norms keep them.
    """

    variance: Array
    one_minus: Array
    mean: Array
    tangent: Array
    gaussian: bool
    error: float = 0.0
    one_minus_error: float = 0.0
    batch: float = inf
    radial: float = 0.0
    spread: float = 0.0
    uneven: Array = field(default_factory=lambda: np.zeros(2))

    @property
    def covariance(self) -> Array:
        """`K_ab`, shape `(n, n)`."""
        root = np.sqrt(self.variance)
        return root[:, None] * root * self.correlation

    @property
    def gap(self) -> Array:
        """`<(x_a - x_b)^2> / 2`, shape `(n, n)`."""
        root = np.sqrt(self.variance)
        return 0.5 * (root[:, None] - root) ** 2 + root[:, None] * root * self.one_minus

    @property
    def together(self) -> float:
        """Bound of the relative covariance of sizes and squared gradients of single signals."""
        return sqrt(self.spread) * float(self.uneven[1]) if self.spread else 0.0

    @property
    def is_exchangeable(self) -> bool:
        """Whether there are two signals at least, of one variance and one correlation."""
        pairs = self.one_minus[~np.eye(len(self.variance), dtype=bool)]
        return len(pairs) > 0 and not np.ptp(self.variance) and not np.ptp(pairs)

    @property
    def correlation(self) -> Array:
        """`c_ab`, shape `(n, n)`."""
        return 1 - self.one_minus


def complements(variance: Array, gap: Array) -> Array:
    """`1 - c` from variances and half mean squared differences, shape `(n, n)`."""
    root, result = np.sqrt(variance), np.empty_like(gap)
    for rows in row_blocks(len(root)):
        product = root[rows, None] * root
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (gap[rows] - 0.5 * (root[rows, None] - root) ** 2) / product
        result[rows] = np.clip(np.where(product > 0, found, 1.0), 0.0, 2.0)
    silent = root == 0
    result[silent, silent] = 0.0  # on the diagonal
    return result


def beside_silent(variance: Array, one_minus: Array) -> Array:
    """`1 - c`, which is 1 beside a signal that is 0."""
    silent = np.flatnonzero(variance == 0)
    if len(silent):
        one_minus = one_minus.copy()
        one_minus[silent] = one_minus[:, silent] = 1.0
        one_minus[silent, silent] = 0.0
    return one_minus


def joined(parts: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    r"""Variances and `1 - c` of a sum of independent signals, each given by its own.

    With `r^k = sqrt(variance^k)` and `r = sqrt(sum_k variance^k)`,

        r_a r_b (1 - c_ab) = sum_k r^k_a r^k_b (1 - c^k_ab)
            + sum_(j < k) (r^j_a r^k_b - r^k_a r^j_b)^2 / (r_a r_b + sum_k r^k_a r^k_b)

    by Lagrange's identity: no term is negative, so no digit is lost.
    """
    heard = [part for part in parts if np.any(part[0])]
    if len(heard) <= 1:
        return heard[0] if heard else parts[0]
    roots = [np.sqrt(variance) for variance, _ in heard]
    variance = np.asarray(sum(variance for variance, _ in heard))
    root, result = np.sqrt(variance), np.empty_like(heard[0][1])
    for rows in row_blocks(len(root)):
        sides = [(r[rows, None], r) for r in roots]
        crossed = (
            (first[0] * other[1] - other[0] * first[1]) ** 2
            for k, first in enumerate(sides)
            for other in sides[:k]
        )
        product, total = root[rows, None] * root, sum(left * right for left, right in sides)
        apart = sum(
            left * right * one_minus[rows]
            for (left, right), (_, one_minus) in zip(sides, heard, strict=True)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            result[rows] = (apart + sum(crossed) / (product + total)) / product
        silent = product == 0
        if np.any(silent):
            result[rows][silent] = 1.0
    np.fill_diagonal(result, 0.0)
    return variance, result


def row_blocks(n: int) -> Iterator[slice]:
    """Rows of an `n x n` matrix in blocks, so that temporary arrays are small beside it."""
    step = max(1, _AT_ONCE // n)
    return (slice(i, min(i + step, n)) for i in range(0, n, step))


def start(q: ArrayLike, correlation: ArrayLike | None = None) -> State:
    """The pre-activations of the first layer: Gaussian, with these variances and correlations."""
    variances = checked_variances("q", q, ">= 0")
    if correlation is None:
        variance = np.atleast_1d(variances)
        c = np.eye(len(variance)) if variance.ndim == 1 else np.zeros(0)
    else:
        c = checked_numbers("correlation", correlation)
        c = np.array([[1.0, c], [c, 1.0]]) if c.ndim == 0 else c
        variance = variances if variances.ndim else np.full(len(c), variances)
    if variance.ndim != 1 or c.shape != (len(variance),) * 2:
        raise ValueError(
            "q, correlation: must be one variance or n of them, and one correlation of two inputs "
            f"or an n x n matrix, got shapes {variances.shape} and {c.shape}"
        )
    own = np.diag(c)  # as rounding has left it
    c = np.where(np.eye(len(c), dtype=bool) & (np.abs(own - 1) <= 4 * EPS), 1.0, c)
    if not (np.all(np.abs(c) <= 1) and np.array_equal(c, c.T) and np.all(np.diag(c) == 1)):
        raise ValueError(
            f"correlation: must be symmetric, in [-1, 1] and 1 on its diagonal, got {correlation!r}"
        )
    n = len(variance)
    if 2 < n <= _CHECKED and (least := float(np.linalg.eigvalsh(c)[0])) < -_ROUNDING * n:
        raise ValueError(
            "correlation: must be a matrix of correlations, without negative eigenvalues, got "
            f"one of {least:.3g}"
        )
    return State(variance, beside_silent(variance, 1 - c), np.zeros(n), np.eye(n), gaussian=True)
