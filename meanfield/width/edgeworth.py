r"""The law of one pre-activation over networks: a Gaussian with its first correction.

To order 1/n only the fourth cumulant and the variance differ from the Gaussian's, so that

    p(z) = N(z; 0, s^2) (1 + kurtosis/24 He_4(z/s)),   He_4(x) = x^4 - 6 x^2 + 3

with `s^2 = K + G1/n` and excess kurtosis `3 V4/(n K^2)`: for one hidden layer of `N` ReLU it is
`15/N`. It is a density only where it is positive: everywhere for a kurtosis from 0 to 4; above, not
around `x^2 = 3`; below 0, not far out.

Source: Antognini 2019, arXiv 1908.10030 (one hidden layer); deep: Roberts, Yaida & Hanin 2022,
arXiv 2106.10165, chapter 4.
"""

from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Edgeworth"]


@dataclass(frozen=True, repr=False)
class Edgeworth:
    """A Gaussian with its fourth-order correction; call it with `z` for the density.

    Attributes:
        variance: of `z`.
        kurtosis: its excess kurtosis, 0 for a Gaussian.
    """

    variance: float
    kurtosis: float

    def __repr__(self) -> str:
        return f"Edgeworth(variance={self.variance:.6g}, kurtosis={self.kurtosis:.6g})"

    def __call__(self, z: ArrayLike) -> Any:
        """The density at `z`, of any shape; negative outside `positive`."""
        x = np.asarray(z, np.float64) / sqrt(self.variance)
        bent = 1 + self.kurtosis / 24 * (x**4 - 6 * x**2 + 3)
        value = np.exp(-0.5 * x**2) / sqrt(2 * np.pi * self.variance) * bent
        return float(value) if value.ndim == 0 else value

    def cdf(self, z: ArrayLike) -> Any:
        """The integral of the density up to `z`: `Phi(x) - n(x) kurtosis/24 He_3(x)`."""
        from scipy.special import ndtr

        x = np.asarray(z, np.float64) / sqrt(self.variance)
        density = np.exp(-0.5 * x**2) / sqrt(2 * np.pi)
        value = ndtr(x) - density * self.kurtosis / 24 * (x**3 - 3 * x)
        return float(value) if value.ndim == 0 else value

    @property
    def positive(self) -> tuple[tuple[float, float], ...]:
        """Intervals of `|z|` on which the density is positive."""
        s, k = sqrt(self.variance), self.kurtosis
        if 0 <= k <= 4:
            return ((0.0, inf),)
        root = sqrt(6 - 24 / k)
        if k < 0:
            return ((0.0, s * sqrt(3 + root)),)
        return ((0.0, s * sqrt(3 - root)), (s * sqrt(3 + root), inf))
