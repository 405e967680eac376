r"""What travels through an architecture: second moments of a set of signals.

For signals `x_a` of a wide layer (one for each input, or for each node of a graph), with averages
over the units of the layer:

    variance[a]    K_aa = <x_a^2>
    gap[a, b]      <(x_a - x_b)^2> / 2, so that K_ab = (K_aa + K_bb)/2 - gap[a, b]
    mean[a]        <x_a>, which is 0 behind any dense layer
    tangent[a, b]  <dx_a dx_b> of what one random direction of the input, of size 1, has become

Gaps are sums of squares: through every layer they keep their relative precision, where `K_ab`
loses that of `1 - c`. The diagonal of the tangents is the growth of the mean squared gradient, the
averaged partial Jacobian of Doshi, He & Gromov 2023, arXiv 2111.12143.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.criticality import checked_numbers, checked_variances

__all__ = ["State", "start"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class State:
    """Second moments of `n` signals in one layer; see the module.

    Attributes:
        variance: shape `(n,)`.
        gap: shape `(n, n)`.
        mean: shape `(n,)`.
        tangent: shape `(n, n)`.
        gaussian: whether the units are jointly Gaussian, as behind a dense layer.
        error: bound of the relative errors of variances and gaps.
    """

    variance: Array
    gap: Array
    mean: Array
    tangent: Array
    gaussian: bool
    error: float = 0.0

    @property
    def covariance(self) -> Array:
        """`K_ab`, shape `(n, n)`."""
        return 0.5 * (self.variance[:, None] + self.variance) - self.gap

    @property
    def one_minus(self) -> Array:
        """`1 - c_ab`; of signals of one variance to full relative precision, shape `(n, n)`."""
        root = np.sqrt(self.variance)
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = (self.gap - 0.5 * (root[:, None] - root) ** 2) / (root[:, None] * root)
        return np.clip(gap, 0.0, 2.0)

    @property
    def correlation(self) -> Array:
        """`c_ab`, shape `(n, n)`."""
        return 1 - self.one_minus


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
    if not (np.all(np.abs(c) <= 1) and np.array_equal(c, c.T) and np.all(np.diag(c) == 1)):
        raise ValueError(
            f"correlation: must be symmetric, in [-1, 1] and 1 on its diagonal, got {correlation!r}"
        )
    root = np.sqrt(variance)
    gap = 0.5 * (root[:, None] - root) ** 2 + root[:, None] * root * (1 - c)
    return State(variance, gap, np.zeros(len(variance)), np.ones_like(c), gaussian=True)
