r"""The two families that make hidden layers sparse, in closed form.

The shifted ReLU `max(x - tau, 0)` clipped at `m` is `clip(x - tau, 0, m)`; the soft threshold is
the same on both sides of zero, so that its moments are twice those. With `s = sqrt(q)`,
`a = tau/s`, `u = m/s`, `b = a + u`, the normal density `n`, its upper tail `Q`, and
`I_k = int_a^b x^k n(x) dx`,

    E[phi^2]   = q (I_2 - 2a I_1 + a^2 I_0 + u^2 Q(b)),      E[phi'^2]      = I_0,
    dE[phi^2]/dq = I_0 - u n(b),      d^2 E[phi^2]/dq^2 = (a n(a) - b n(b) - u n(b) (b^2 - 1)) / 2q.

On the edge of chaos therefore `V'(q) = 1 - u n(b) / I_0`: less than 1 for every finite `m`, and
unclipped 1 whatever `tau`, with `V''(q) > 0` where `tau > 0`. That is why these activations cannot
be trained deep unclipped (Price et al. 2024, arXiv 2402.16184). Everything depends on `a` and `u`
alone: thresholds that grow like `sqrt(q)` change nothing but units.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from meanfield.activation import Activation
from meanfield.catalogue import lookup
from meanfield.clip.moments import ClippedMoments

__all__ = ["FAMILIES", "Family", "Thresholded", "family_named"]

Array = NDArray[np.float64]

_SMALLEST, _FARTHEST = 1e-4, 9.0  # of u and b: V' is that of m = 0 and of m = inf to 1e-4 and 1e-15


@dataclass(frozen=True)
class Family:
    """Activations that are zero up to a threshold `tau` on one side of zero or on both."""

    name: str  # in the catalogue
    clipped: str  # what the catalogue calls the clipped one
    sides: int

    def threshold(self, sparsity: Any, q: Any) -> Any:
        """`tau` with `P(phi = 0) = sparsity` at the variance `q`."""
        # the tail of each side: small numbers keep their digits
        return 0.0 - np.sqrt(q) * ndtri((1 - np.asarray(sparsity, np.float64)) / self.sides)

    def sparsity(self, tau: Any, q: Any) -> Any:
        """`P(phi = 0)` at the variance `q`."""
        return 1 - self.sides * ndtr(-np.asarray(tau, np.float64) / np.sqrt(q))

    def activation(self, tau: float, m: float = np.inf) -> Activation:
        """The activation itself, clipped at `m`."""
        if np.isinf(m):
            return Activation(self.name, tau=tau)
        return Activation(self.clipped, tau=tau, m=m)

    def second(self, tau: Any, m: Any, q: Any) -> tuple[Any, Any]:
        """`E[phi^2]` and its derivative in `q` for arrays that broadcast; `m` is finite."""
        s = np.sqrt(q)
        a, u = tau / s, m / s
        b = a + u
        at_a, at_b, beyond = _density(a), _density(b), ndtr(-b)
        I0 = ndtr(-a) - beyond
        k = float(self.sides)
        # q (I_2 - 2a I_1 + a^2 I_0 + u^2 Q(b)), with I_1 and I_2 inserted
        scaled = (1 + a * a) * I0 - a * at_a + (a - u) * at_b + u * u * beyond
        return k * q * scaled, k * (I0 - u * at_b)

    def moments(self, tau: Any, m: Any, q: Any) -> ClippedMoments:
        """Moments for arrays that broadcast; `m` may be inf."""
        s = np.sqrt(q)
        a, u = np.asarray(tau / s), np.asarray(m / s)
        b = a + u
        at_a, at_b = _density(a), _density(b)
        below, beyond = ndtr(-a), ndtr(-b)
        clipped = np.isfinite(u)
        u, b = np.where(clipped, u, 0.0), np.where(clipped, b, 0.0)  # of no weight out there
        I0 = below - beyond
        I1 = at_a - at_b
        I2 = I0 + a * at_a - b * at_b
        I3 = 2 * I1 + a * a * at_a - b * b * at_b
        I4 = 3 * I2 + a**3 * at_a - b**3 * at_b
        k = float(self.sides)
        return ClippedMoments(
            second=k * q * (I2 - 2 * a * I1 + a * a * I0 + u * u * beyond),
            gradient=k * I0,
            first=k * (I0 - u * at_b),
            bend=k * (a * at_a - b * at_b - u * at_b * (b * b - 1)) / (2 * q),
            fourth=k * q * q * (
                I4 - 4 * a * I3 + 6 * a * a * I2 - 4 * a**3 * I1 + a**4 * I0 + u**4 * beyond
            ),
        )  # fmt: skip


def _density(x: Array) -> Array:
    return np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


FAMILIES = {
    family.name: family
    for family in (Family("shifted_relu", "crelu", 1), Family("soft_threshold", "cst", 2))
}


def family_named(phi: Any) -> Family | None:
    """The family of this name, or by any name the catalogue has for it; None if it is another."""
    if not isinstance(phi, str) or ":" in phi:
        return None
    return FAMILIES.get(lookup(phi).name)


@dataclass(frozen=True)
class Thresholded:
    """A family at one threshold: see `Clippable`."""

    family: Family
    tau: float

    def moments(self, m: Any, q: Any) -> ClippedMoments:
        """Moments for arrays that broadcast."""
        return self.family.moments(self.tau, m, q)

    def second(self, m: Any, q: Any) -> tuple[Any, Any]:
        """`E[phi_m^2]` and its derivative in `q`."""
        return self.family.second(self.tau, m, q)

    def levels(self, q: float) -> Array:
        """From where a clip leaves next to nothing to where it changes nothing."""
        s = np.sqrt(q)
        return np.array([_SMALLEST * s, max(_FARTHEST * s - self.tau, s)])
