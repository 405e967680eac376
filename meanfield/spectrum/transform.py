r"""The explicit inverse of a transform: `log z` and all that follows as functions of `u`.

A layer multiplies `J J^T` by `X = phi'^2` and by the weights, both free of what was before, so that
S-transforms multiply. With `m = E[X / (u - X)]` and `n = 1 + m`, the point `u` at which `X` has the
transform `m` is explicit where `u` itself is the unknown, and the Jacobian has it at

    F(u) = log z = L log(weight_var u) + (L - 1) log(m / n) - L log S_W(m)

The density of `log s^2` at `x = z > 0` is `-Im m / pi`.

Polar coordinates `u = r exp(i theta)`: on each circle `Im F / sin(theta)` rises with `theta`, so at
most one point is mapped to the positive axis.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.ensembles import Ensemble, Orthogonal
from meanfield.spectrum.law import SlopeLaw
from meanfield.spectrum.projected import Projected

__all__ = ["Point", "Transform"]

Complex = NDArray[np.complex128]


class Point(NamedTuple):
    """What is known at points `u` of the upper half plane or, from above, of the axis."""

    m: Complex
    n: Complex
    F: Complex
    D: Complex  # u F'(u)
    um: Complex  # u m'(u)


@dataclass(frozen=True, eq=False)
class Transform:
    """The Jacobian of `depth` layers with one law of slopes and one ensemble."""

    law: SlopeLaw | Projected
    ensemble: Ensemble
    depth: int
    log_weight_var: float

    @property
    def on_axis(self) -> bool:
        """Whether the Jacobian has the law of `X` itself, scaled: then the curve is the axis."""
        return self.depth == 1 and isinstance(self.ensemble, Orthogonal)

    @np.errstate(all="ignore")  # at an atom of X nothing is finite
    def at(self, log_u: Complex) -> Point:
        """What is known at points `u`."""
        m, n, um = self.law.transforms(log_u)
        L = self.depth
        # Im n = Im m, so that the angle of m / n has no cancellation; the smaller knows it better
        imag = np.where(np.abs(m) < np.abs(n), m.imag, n.imag)
        ratio = np.log(np.abs(m / n)) + 1j * np.arctan2(imag, m.real * n.real + imag**2)
        F = L * (self.log_weight_var + log_u) + (L - 1) * ratio
        F = F - L * self.ensemble.log_s(m, n)
        slope = (L - 1) / (m * n) - L * self.ensemble.log_s_slope(m, n)
        return Point(m, n, F, L + um * slope, um)

    def atoms(self) -> list[tuple[float, float, float]]:
        """`(value of X, log x, mass)` of the atoms above 0."""
        found = []
        for value, mass in self.law.atoms.tolist():
            mass = 1 - self.depth * (1 - mass)
            if mass > 0 and isinstance(self.ensemble, Orthogonal):
                log_x = self.depth * (self.log_weight_var + float(np.log(value)))
                found.append((value, log_x, mass))
        return found
