"""`jacobian_spectrum`: the singular values of the input-output Jacobian of a deep network."""

from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.criticality import checked_numbers
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.errors import UnresolvedError
from meanfield.gaussian import MOMENTS
from meanfield.keywords import spelt
from meanfield.maps.settle import settled_variance
from meanfield.maps.variance import network_of
from meanfield.network import FixedPoint, Network, digits
from meanfield.precision import EPS
from meanfield.spectrum.distribution import Distribution
from meanfield.spectrum.equal import equal_layers
from meanfield.spectrum.law import slope_law
from meanfield.spectrum.projected import Projected
from meanfield.spectrum.slope import LEVEL
from meanfield.spectrum.transform import Transform
from meanfield.whole import whole_number

__all__ = ["Spectrum", "jacobian_spectrum"]

Array = NDArray[np.float64]

_TOUCH = 1e-9
REFUSED = 1e-3  # an error of the distribution function that makes it useless
_DPHI2, _DPHI4 = MOMENTS.index("dphi2"), MOMENTS.index("dphi4")


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum:
    r"""The limiting law of the singular values `s` of a Jacobian.

    Attributes:
        activation: name of the activation.
        depth: number of layers.
        weights: the ensemble, as it was given.
        q: variance of the pre-activations, or of each layer.
        weight_var: variance of the weights times fan-in, or of each layer.
        log_mean: `L log chi1`, the logarithm of `mean`.
        spread: `Var(s^2) / E[s^2]^2`.
        distribution: the law of `log s^2`.
        error: bound of the absolute error of `cdf`.

    `mean` and `variance` are those of `s^2`, as in the literature; everything else is about `s`.
    """

    activation: str
    depth: int
    weights: str | Ensemble
    q: float | tuple[float, ...]
    weight_var: float | tuple[float, ...]
    log_mean: float
    spread: float
    distribution: Distribution
    error: float

    @property
    def mean(self) -> float:
        """`E[s^2] = chi1^L`."""
        with np.errstate(over="ignore", under="ignore"):
            return float(np.exp(self.log_mean))

    @property
    def variance(self) -> float:
        """`Var(s^2) = chi1^(2L) L (E[phi'^4]/E[phi'^2]^2 - 1 + spread of the weights)`."""
        if self.spread == 0:
            return 0.0
        with np.errstate(over="ignore", under="ignore"):
            return float(np.exp(2 * self.log_mean + np.log(self.spread)))

    @property
    def log_variance(self) -> float:
        """Variance of `log s`, of those that are not 0."""
        return 0.25 * self.distribution.moments[1]

    @property
    def log_support(self) -> Array:
        """Intervals of `log s` with a density, in order; shape (k, 2)."""
        bands: list[list[float]] = []
        for part in self.distribution.components:  # those that touch are one
            if bands and part.low - bands[-1][1] < _TOUCH:
                bands[-1][1] = part.high
            else:
                bands.append([part.low, part.high])
        return 0.5 * np.array(bands).reshape(-1, 2)

    @property
    def support(self) -> Array:
        """Intervals of `s` with a density, in order; shape (k, 2), (0, 2) if all are atoms.

        Slopes behind a turn of `phi'` that is farther out than 12 standard deviations of
        the pre-activations do not count: no network meets them.
        """
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.log_support)

    @property
    def atoms(self) -> Array:
        """`(s, mass)` of values with a probability of their own, in order; shape (k, 2)."""
        atoms = [(-np.inf, self.distribution.zero)] * (self.distribution.zero > 0)
        array = np.array([*atoms, *self.distribution.atoms]).reshape(-1, 2)
        with np.errstate(over="ignore", under="ignore"):
            array[:, 0] = np.exp(0.5 * array[:, 0])
        return array

    @property
    def s_max(self) -> float:
        """The largest singular value; inf where `phi'` is unbounded."""
        return self._of_log(self.distribution.ends[1])

    @property
    def s_min(self) -> float:
        """The smallest singular value."""
        return self._of_log(self.distribution.ends[0])

    @property
    def condition_number(self) -> float:
        """`s_max / s_min`."""
        low, high = self.distribution.ends
        with np.errstate(over="ignore"):
            return float(np.exp(0.5 * (high - low))) if low > -np.inf else float("inf")

    def density(self, s: ArrayLike) -> Any:
        """The density of `s` without the atoms; the shape of `s`."""
        s = checked_numbers("s", s)
        with np.errstate(divide="ignore", invalid="ignore"):
            y = 2 * np.log(np.where(s > 0, s, 0.0))
            density = np.where(s > 0, 2 / s * self.distribution.density(y), 0.0)
        return _like(s, density)

    def log_density(self, log_s: ArrayLike) -> Any:
        """The density of `log s`: `s` times that of `s`. For depths at which `s` overflows."""
        log_s = checked_numbers("log_s", log_s)
        return _like(log_s, 2 * self.distribution.density(2 * log_s))

    def cdf(self, s: ArrayLike) -> Any:
        """`P(s' <= s)`."""
        s = checked_numbers("s", s)
        with np.errstate(divide="ignore"):
            y = 2 * np.log(np.maximum(s, 0.0))
        return _like(s, np.where(s < 0, 0.0, self.distribution.cumulative(y)))

    def quantile(self, p: ArrayLike) -> Any:
        """The least `s` with `cdf(s) >= p`; those at 0 and 1 are the ends of the support."""
        with np.errstate(over="ignore", under="ignore"):
            return _like(np.asarray(p), np.exp(self.log_quantile(p)))

    def log_quantile(self, p: ArrayLike) -> Any:
        """The logarithm of `quantile(p)`."""
        p = checked_numbers("p", p)
        if not np.all((p >= 0) & (p <= 1)):
            raise ValueError(f"p: must be a probability, from 0 to 1, got {p!r}")
        return _like(p, 0.5 * self.distribution.quantile(np.atleast_1d(p)).reshape(p.shape))

    def plot(self, ax: Any = None, log: bool = False, **options: Any) -> Any:
        """Draw the density; see `meanfield.plot.spectrum`."""
        from meanfield import plot

        return plot.spectrum(self, ax=ax, log=log, **options)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name; arrays as lists."""
        names = "mean", "variance", "log_variance", "s_max", "condition_number", "error"
        return {
            "activation": self.activation, "depth": self.depth, "weights": str(self.weights),
            "q": self.q, "weight_var": self.weight_var,
            "support": self.support.tolist(), "atoms": self.atoms.tolist(),
        } | {name: getattr(self, name) for name in names}  # fmt: skip

    @property
    def _range(self) -> float:
        """Of `log s` that is followed: what is missing is as far out, or farther."""
        parts = self.distribution.components
        return 0.5 * (parts[-1].top - parts[0].bottom) if parts else 0.0

    def _of_log(self, y: float) -> float:
        with np.errstate(over="ignore", under="ignore"):
            return float(np.exp(0.5 * y))

    def __repr__(self) -> str:
        e, spread = self.error, self.log_variance
        lines = [
            f"Spectrum of the Jacobian of {self.activation}, {self.depth} layers, "
            f"{self.weights} weights",
            f"  {'mean of s^2':20} {digits(self.mean, self.mean * e)}",
            f"  {'variance of s^2':20} {digits(self.variance, self.variance * e)}",
            f"  {'variance of log s':20} {digits(spread, max(1.0, spread, self._range**2) * e)}",
        ]
        for low, high in self.support:
            ends = f"{digits(low, low * e)} to {digits(high, high * e)}"
            lines.append(f"  {'s from':20} {ends}")
        for s, mass in self.atoms:
            lines.append(f"  {'atom at s =':20} {digits(s, s * e)}, of mass {digits(mass, e)}")
        lines.append(
            f"  {'condition number':20} {digits(self.condition_number, self.condition_number * e)}"
        )
        return "\n".join(lines)


def _like(asked: Array, result: Array) -> Any:
    return float(result) if np.ndim(asked) == 0 else result


@spelt
def jacobian_spectrum(
    point: Network | FixedPoint, depth: int = 64, weights: str | Ensemble | None = None
) -> Spectrum:
    r"""The singular values of the input-output Jacobian of a network, in the limit of wide layers.

    `J = D W_L ... D W_1` with square `W_l` of the ensemble and diagonal `D` of `phi'(z)`,
    `z ~ N(0, q)`, all free of one another::

        E[s^2] = chi1^L,
        Var(s^2) = chi1^(2L) L (E[phi'^4] / E[phi'^2]^2 - 1 + spread of the weights)

    and the whole law from the S-transforms of `phi'^2` and of `W^T W`.

    Args:
        point: a `FixedPoint`, whose own `q` is used; or a `Network`, whose variance must settle.
            For layers that differ, see `layered_spectrum`.
        depth: number of layers, 1 or more.
        weights: the ensemble: `"gaussian"`, `"orthogonal"` or one of `meanfield.ensembles`. That
            of the network if not given.

    Returns:
        A `Spectrum`.

    Raises:
        ValueError: `depth` is not a number of layers, there is no such ensemble, `phi` jumps (so
            that `chi1` is infinite), or the network has no single variance.
        TypeError: `point` is neither.
        UnresolvedError: the activation or the curve is not resolved.

    Source: Pennington, Schoenholz & Ganguli 2018, arXiv 1802.09979, for the S-transforms.

    Example:
        >>> import meanfield as mf
        >>> spectrum = mf.jacobian_spectrum(mf.critical("relu"), depth=8, weights="orthogonal")
        >>> round(spectrum.s_max, 10), round(spectrum.quantile(0.75), 7)
        (4.5135349313, 0.3863165)
    """
    depth = whole_number("depth", depth)
    network = network_of(point, "point")
    q = settled_variance(point)
    weights = network.weights if weights is None else weights
    ensemble = ensemble_of(weights)
    activation = network.activation
    law = slope_law(activation, q)
    moments = activation.moments(np.array([q]))
    mean, mean_error = moments.value[0, _DPHI2], moments.error[0, _DPHI2]
    weight_var = float(network.weight_var)
    chi1 = float(point.chi1) if isinstance(point, FixedPoint) else weight_var * mean
    if not np.isfinite(chi1) or not mean_error < 0.05 * mean and mean > 0:
        raise UnresolvedError(activation.why_not(q, "E[phi'^2]"))
    relative = mean_error / mean if mean > 0 else 0.0
    second = moments.value[0, _DPHI4]
    spread = law.spread if np.isfinite(second) else np.inf
    log_weight_var = log(weight_var)
    ratio, square = ensemble.projected
    seen = law if ratio == 1 else Projected(law, ratio)
    transform = Transform(seen, square, depth, log_weight_var - log(ratio))
    distribution, error = equal_layers(transform)
    if not error < REFUSED:
        hidden = (
            f", because a share {law.hidden:.1g} of its slopes is lost in rounding"
            if depth * law.hidden > 0.5 * error
            else ""
        )
        raise UnresolvedError(
            f"{activation.name}: the spectrum of {depth} layers is known to {min(error, 1):.1g} "
            f"only at q = {q:.6g}{hidden}; ask for a smaller depth or q"
        )
    found = Spectrum(
        activation.name, depth, weights, q, weight_var,
        depth * log(chi1) if chi1 > 0 else -np.inf,
        depth * (spread + ensemble.spread), distribution,
        error + depth * (relative + 4 * EPS + LEVEL * law.levelled),
    )  # fmt: skip
    if found.s_max == np.inf and len(law.bands) and law.bands[-1, 1] < np.inf:
        raise UnresolvedError(
            f"{activation.name}: the largest singular value of {depth} layers at q = {q:.6g} is "
            "not resolved, as where a slope is all but constant with a narrow feature; ask for "
            "another q or gaussian weights"
        )
    return found
