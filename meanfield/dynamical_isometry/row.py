"""One network of the table of `isometry`: its singular values in numbers."""

from dataclasses import dataclass
from math import inf, nan
from typing import Any

import numpy as np

from meanfield.activation import Activation
from meanfield.criticality import critical
from meanfield.dynamical_isometry.logarithms import log_moments
from meanfield.dynamical_isometry.mirrored import mirrored
from meanfield.dynamical_isometry.residual_curve import slopes
from meanfield.dynamical_isometry.spread import slope_spread
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.errors import UnresolvedError
from meanfield.network import FixedPoint
from meanfield.spectrum import Spectrum, jacobian_spectrum
from meanfield.spectrum.spectrum import REFUSED

__all__ = ["MIRRORED", "IsometryRow", "critical_with", "row_of"]

MIRRORED = "mirrored"

_NUMBERS = (
    "q", "weight_var", "bias_var", "variance_slope", "log_std", "s_max", "condition_number",
    "inner_condition_number", "at_zero", "growth", "lasts",
)  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class IsometryRow:
    """A network on the edge of chaos, and the singular values `s` of its Jacobian.

    Attributes:
        weights: the ensemble.
        point: the `FixedPoint`; with mirrored weights that of `mirrored(phi)`, on half the width.
        growth: what each layer adds to `Var(s^2) / E[s^2]^2`.
        log_std: standard deviation of `log s`, of those that are not 0.
        spectrum: the `Spectrum`; None where it could not be resolved, and the numbers that rest
            on it are nan.
        unresolved: why it could not be.
    """

    weights: str | Ensemble
    point: FixedPoint
    growth: float
    log_std: float
    spectrum: Spectrum | None
    unresolved: str = ""

    q = property(lambda self: float(self.point.q))
    weight_var = property(lambda self: float(self.point.weight_var))
    bias_var = property(lambda self: float(self.point.bias_var))
    variance_slope = property(lambda self: float(self.point.variance_slope))

    @property
    def lasts(self) -> float:
        """The depth at which the variance of `s^2` is 1; inf where it does not grow."""
        return 1 / self.growth if self.growth else inf

    @property
    def s_max(self) -> float:
        """The largest singular value."""
        return self.spectrum.s_max if self.spectrum else nan

    @property
    def condition_number(self) -> float:
        """The largest over the smallest; inf where they go down to 0."""
        return self.spectrum.condition_number if self.spectrum else nan

    @property
    def inner_condition_number(self) -> float:
        """The 99 % quantile over the 1 % quantile."""
        if self.spectrum is None:
            return nan
        low, high = self.spectrum.log_quantile([0.01, 0.99])
        with np.errstate(over="ignore"):
            return float(np.exp(high - low)) if low > -inf else inf

    @property
    def at_zero(self) -> float:
        """The share of singular values that are 0."""
        if self.spectrum is None:
            return nan
        return float(sum(mass for s, mass in self.spectrum.atoms if s == 0))

    def __repr__(self) -> str:
        numbers = "log_std", "s_max", "condition_number", "at_zero", "lasts"
        shown = ", ".join(f"{name}={getattr(self, name):.4g}" for name in numbers)
        return f"IsometryRow(q={self.q:.4g}, weights={str(self.weights)!r}, {shown})"

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name."""
        return {"weights": str(self.weights)} | {name: getattr(self, name) for name in _NUMBERS}


def critical_with(activation: Activation, q: float, weights: Any) -> FixedPoint:
    """The critical point at a variance, of `mirrored(phi)` with mirrored weights."""
    if isinstance(weights, str) and weights == MIRRORED:
        return critical(mirrored(activation), q, weights="orthogonal")
    return critical(activation, q, weights=weights)


def row_of(activation: Activation, q: float, weights: Any, depth: int) -> IsometryRow:
    """The row of one variance and one ensemble."""
    point = critical_with(activation, q, weights)
    kind = "orthogonal" if weights == MIRRORED else weights
    spread_of = slope_spread(point.activation, np.array([q]))
    spread = 0.0 if spread_of.is_zero[0] else float(spread_of.value[0])
    ensemble = ensemble_of(kind)
    growth = spread + ensemble.spread
    log_std = 0.0
    if growth:
        log_variance = log_moments(
            point.activation, float(q), float(point.weight_var), depth, ensemble
        )[1]
        log_std = float(np.sqrt(log_variance))
    spectrum, unresolved = None, ""
    try:
        spectrum = jacobian_spectrum(point, depth)
    except UnresolvedError as error:
        unresolved = str(error)
        if depth * (slopes(point.activation, q, 2).zero - spread_of.off[0]) > REFUSED:
            log_std = nan  # of slopes that are lost it is not known how small they are
    return IsometryRow(weights, point, growth, log_std, spectrum, unresolved)
