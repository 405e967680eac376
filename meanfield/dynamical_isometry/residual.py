r"""Jacobian spectra of residual networks, exact at any depth.

The layer `z' = a z + W phi(z) + b` has the Jacobian `a + W D`, and `W D` looks the same from all
directions (it is R-diagonal): its singular values and those of the skip combine by rectangular free
convolution (Benaych-Georges 2009, arXiv math/0507336). If `h = m (1 + m) S(m)` has the inverse
`C(h)`, of a layer and of its parts, then

    C(h) = (sqrt(1 + 4 a^2 h) - 1) / 2 + C_branch(h).

At `u` the branch has `m = E[X / (u - X)]`, `X = phi'^2`, and `h = (1 + m)^2 S_W(m) / (v u)`, with
`v` the variance of its weights. With `T^2 = 1 + 4 a^2 h` and `M = (T - 1)/2 + m`, for `L` layers

    log x = F(u) = (L + 1) log(1 + M) + (L - 1) log M - L log h,       density of log x = -Im M / pi

is explicit. The curve `Im F = 0` starts at a real `u` above all `X`, where the largest singular
value is, and goes around 0, with `T` by continuity: where the skip is the larger, all the way to
the positive axis again, where the smallest one is; where the branch is, back to a real `u` below
all `X`; and where that is 0, to the negative axis between the two.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.criticality import checked_numbers, checked_variances
from meanfield.dynamical_isometry.curve import CurveLaw
from meanfield.dynamical_isometry.residual_curve import ResidualTransform, Slopes, Table, slopes
from meanfield.dynamical_isometry.universal import UniversalSpectrum
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.errors import UnresolvedError
from meanfield.keywords import spelt
from meanfield.network import FixedPoint, Network, digits
from meanfield.whole import whole_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ResidualSpectrum", "residual_spectrum"]

Array = NDArray[np.float64]

_RESOLVED = 1e-10
_PARTS = (1, 2, 4, 8, 16)
_COUNTS = (128, 256, 512, 1024, 2048)
_LOST = 1e-7  # of the probability or of the mean: then the curve is not all there is


@dataclass(frozen=True, eq=False, repr=False)
class ResidualSpectrum(CurveLaw):
    """The law of singular values `s` of a residual network, with the methods of `Spectrum`.

    Attributes:
        activation: of the branches.
        q: the variance that they see.
        weight_var: of their weights, with the factor `branch_var`.
        depth: the number of layers.
        skip: `a`.
        weights: the ensemble.
        mean, variance: of `s^2`.
        support, atoms, s_max, condition_number, log_variance: as of `Spectrum`.
        error: bound of the absolute error of `cdf`.
    """

    activation: Activation
    q: float
    weight_var: float
    depth: int
    skip: float
    weights: Ensemble

    @cached_property
    def gain(self) -> float:
        """What a branch adds to `E[s^2]` in a layer: `weight_var E[phi'^2]`."""
        return self.weight_var * float(self._law.p @ self._law.x)

    @property
    def mean(self) -> float:
        """`(a^2 + gain)^L`."""
        return (self.skip**2 + self.gain) ** self.depth

    @property
    def variance(self) -> float:
        """`mean^2 L (2 a^2 gain + k gain^2) / (a^2 + gain)^2`, `k` that of a branch alone."""
        x, p, zero = self._law
        mean, a2 = float(p @ x), self.skip**2
        alone = (float(p @ (x - mean) ** 2) + zero * mean**2) / mean**2 + self.weights.spread
        layer = (2 * a2 * self.gain + alone * self.gain**2) / (a2 + self.gain) ** 2
        return self.mean**2 * self.depth * layer

    @property
    def limit(self) -> UniversalSpectrum:
        """What `s / sqrt(mean)` tends to as layers become many and gains small: smooth class."""
        return UniversalSpectrum(2 * self.depth * self.gain / self.skip**2, 1.0)

    @property
    def atoms(self) -> Array:
        """None; a spectrum with atoms is refused. Shape (0, 2)."""
        return np.zeros((0, 2))

    @property
    def log_edges(self) -> tuple[float, float]:
        """`log x` at both ends."""
        low, high = self._resolved.table.ends
        return -np.inf if self._resolved.table.reaches_zero else low, high

    @cached_property
    def log_variance(self) -> float:
        """Variance of `log s`."""
        table = self._resolved.table
        mass = _masses(table)
        centred = table.log_x - np.sum(mass * table.log_x) / np.sum(mass)
        return float(0.25 * np.sum(mass * centred**2) / np.sum(mass))

    @cached_property
    def table(self) -> tuple[Array, Array]:
        """`log x` and `P(x' > x)`."""
        log_x = self._resolved.table.log_x
        return log_x, self.at(log_x)[1]

    @property
    def error(self) -> float:
        """Bound of the absolute error of `cdf`."""
        return self._resolved.error

    def at(self, log_x: Array) -> tuple[Array, Array]:
        """By the series `dP / d alpha = sum_k c_k cos(k alpha)`."""
        (low, high), c = self._resolved.table.ends, self._resolved.series
        # below what was followed towards 0, a power of x
        beyond = np.exp(np.minimum(log_x - low, 0.0) / (self.depth + 1))
        alpha = 2 * np.arcsin(np.sqrt((high - np.maximum(log_x, low)) / (high - low)))
        k = np.arange(1, len(c))
        above = c[0] * alpha + np.sin(np.outer(alpha, k)) @ (c[1:] / k)
        slope = 0.5 * (high - low) * np.maximum(np.sin(alpha), 1e-8)
        density = (c[0] + np.cos(np.outer(alpha, k)) @ c[1:]) / slope
        last = self._resolved.table.density[-1]
        density = np.where(log_x < low, last * beyond, np.maximum(density, 0.0))
        return density, np.clip(1 - (1 - above) * beyond, 0.0, 1.0)

    @property
    def _law(self) -> Slopes:
        return self._resolved.law

    @cached_property
    def _resolved(self) -> "_Resolved":
        """On panels and at points so many that more change nothing."""
        finer, missed, tail = slopes(self.activation, self.q, 1), np.inf, np.inf
        for parts in _PARTS:
            law, finer = finer, slopes(self.activation, self.q, 2 * parts)
            table = self._transform(law).table(_COUNTS[0])
            moved = np.abs(self._transform(finer).at(table.w, table.T).F - table.log_x)
            missed = float(np.max(moved * table.density))
            if missed < _RESOLVED:
                break
        for count in _COUNTS:
            table = self._transform(law).table(count)
            series = _cosines(table)
            tail = float(np.sum(np.abs(series[-8:])))
            if tail < _RESOLVED:
                break
        lost = abs(np.pi * series[0] - 1)
        mean = float(np.sum(_masses(table) * np.exp(table.log_x)))
        gain = self.weight_var * float(law.p @ law.x)
        lost += abs(mean / (self.skip**2 + gain) ** self.depth - 1)
        if not missed + tail + lost < _LOST:
            raise UnresolvedError(
                f"{self.activation.name}: the spectrum of this residual network is not resolved: "
                f"{lost:.1g} of it is missing; where most units are off it has gaps and atoms: "
                "take a larger branch_var or more layers"
            )
        return _Resolved(law, table, series, missed + tail + lost)

    def _transform(self, law: Slopes) -> ResidualTransform:
        return ResidualTransform(law, self.weights, self.depth, self.skip, self.weight_var)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name."""
        names = ("mean", "variance", "log_variance", "s_max", "condition_number", "error")
        return {
            "activation": self.activation.name, "q": self.q, "weight_var": self.weight_var,
            "depth": self.depth, "skip": self.skip, "weights": str(self.weights),
            "support": self.support.tolist(), "atoms": self.atoms.tolist(),
        } | {name: getattr(self, name) for name in names}  # fmt: skip

    def plot(self, ax: "Axes | None" = None, **options: Any) -> "Axes":
        """Draw the density; see `meanfield.plot.spectrum`."""
        from meanfield.plot.spectrum import spectrum

        return spectrum(self, ax, **options)

    def __str__(self) -> str:
        (low, high), e = self.support[0], self.error
        return "\n".join([
            f"ResidualSpectrum of {self.activation.name}, {self.depth} layers, {self.weights} "
            "weights",
            f"  {'mean of s^2':20} {digits(self.mean, self.mean * e)}",
            f"  {'variance of s^2':20} {digits(self.variance, self.variance * e)}",
            f"  {'s from':20} {digits(low, low * e)} to {digits(high, high * e)}",
            f"  {'variance of log s':20} {digits(self.log_variance, e)}",
        ])  # fmt: skip

    __repr__ = __str__


class _Resolved(NamedTuple):
    law: Slopes
    table: Table
    series: Array
    error: float


def _masses(table: Table) -> Array:
    """The probability around each point of the table."""
    n = len(table.w)
    alpha = (np.arange(n) + 0.5) * (np.pi / n)
    return table.density * 0.5 * (table.ends[1] - table.ends[0]) * np.sin(alpha) * (np.pi / n)


def _cosines(table: Table) -> Array:
    """`c_k` of `dP / d alpha = sum_k c_k cos(k alpha)`."""
    from scipy.fft import dct

    n = len(table.w)
    c: Any = dct(_masses(table) / (np.pi / n), type=2)
    c /= n
    c[0] *= 0.5
    return c


@spelt
def residual_spectrum(
    point: FixedPoint | Network,
    depth: int = 64,
    *,
    skip: float = 1.0,
    branch_var: float | None = None,
    weights: "str | Ensemble | None" = None,
) -> ResidualSpectrum:
    r"""The singular values of the Jacobian of a residual network.

    `depth` layers `z' = skip z + sqrt(branch_var) (W phi(z) + b)`, in which all branches see
    pre-activations of the variance `q` of `point`. They do where branches are normalised; else the
    variance grows, by no more than a factor if `branch_var` is of the order of `1 / depth`.

    In the limit of many layers with a small gain `g = branch_var chi1` the activation and the
    ensemble do not matter (Tarnowski et al. 2018): `E[s^2] = exp(depth g / skip^2)` if `skip = 1`,
    and `s / sqrt(E[s^2])` has the law `universal_spectrum(2 depth g / skip^2, "smooth")`.

    Args:
        point: the `FixedPoint`, or a `Network` with one, whose activation, `q` and `weight_var`
            the branches have.
        depth: the number of layers.
        skip: the factor of the skip connection, positive.
        branch_var: the factor of the variance of the branches; `1 / depth` if not given.
        weights: the ensemble; that of `point` if not given.

    Returns:
        A `ResidualSpectrum`.

    Raises:
        UnresolvedError: the spectrum falls into pieces, as with few layers and most units off; or
            the activation cannot be sampled.
        ValueError, TypeError: an argument is out of its range or of another type.

    Source: Tarnowski, Warchol, Jastrzebski, Tabor & Nowak 2018, arXiv 1809.08848, for the limit;
    Benaych-Georges 2009, arXiv math/0507336, for the convolution.

    Example:
        >>> import meanfield as mf
        >>> point = mf.critical("tanh", q=1.0)
        >>> spectrum = mf.residual_spectrum(point, depth=64, weights="gaussian")
        >>> round(spectrum.s_max, 4), round(spectrum.limit.s_max * spectrum.mean**0.5, 4)
        (4.54, 4.5751)
    """
    from meanfield.maps.settle import settled_variance
    from meanfield.maps.variance import network_of

    depth = whole_number("depth", depth)
    network = network_of(point, "point")
    factor = 1 / depth if branch_var is None else float(checked_variances("branch_var", branch_var))
    a = float(checked_numbers("skip", skip))
    if not 0 < a < np.inf:
        raise ValueError(f"skip: must be positive and finite, got {skip!r}")
    return ResidualSpectrum(
        network.activation, settled_variance(point), factor * float(network.weight_var), depth, a,
        ensemble_of(network.weights if weights is None else weights),
    )  # fmt: skip
