r"""What Jacobian spectra become at infinite depth: the universality classes, in closed form.

Orthogonal weights, `L` layers, and `phi'^2` ever closer to a constant, so that the variance
`v = L (E[phi'^4] / E[phi'^2]^2 - 1)` of the squared singular values is kept: then all that remains
of the activation is `v`, and by how much `phi'^2` differs where it does. If it is rarely `y` times
what it usually is, a step of perturbation theory in each layer gives the S-transform of `s^2`

    log S(m) = -v m / (1 + (1 - y) m).

`y = 0` is the Bernoulli class (hard tanh: few units are off) and `y = 1` the smooth class (tanh:
all differ a little) of Pennington, Schoenholz & Ganguli 2018, arXiv 1802.09979; between them are
activations with a second slope (`y` its square over that of the first). With `m = 1 / (u - 1)`,

    log x = F(u) = log u + v / (u - y),        density of log x = -Im m / pi,

and for `u = r e^(i theta)` the condition `Im F = 0` is a quadratic equation in `r`:

    r^2 - 2 T r + y^2 = 0,        T = y cos(theta) + v sin(theta) / (2 theta).

The distribution function is the integral of `m dF`, by partial fractions.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meanfield.criticality import checked_variances
from meanfield.dynamical_isometry.curve import CurveLaw, solved
from meanfield.keywords import spelt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CLASSES", "UniversalSpectrum", "universal_spectrum"]

Array = NDArray[np.float64]
Complex = Any  # arrays of complex128, which NumPy's stubs lose in every operation

CLASSES = {"bernoulli": 0.0, "smooth": 1.0}

_NODES = 1024  # of the table
_LOGISTIC = np.linspace(-45.0, 45.0, 901)  # the trapezoidal rule errs by exp(-2 pi^2 / 0.1)
_HALVINGS = 60
_POWERS = np.arange(2, 20)  # 0.1^18 is nothing


@dataclass(frozen=True, eq=False, repr=False)
class UniversalSpectrum(CurveLaw):
    """The law of singular values at infinite depth, with the methods of `Spectrum`.

    The mean of `s^2` is 1: of a network off the edge of chaos, divide `s` by `chi1^(L/2)`.

    Attributes:
        variance: of `s^2`: the `v` that is kept while the depth grows.
        jump: `y`: what `phi'^2` rarely is, over what it usually is; 1 for small differences.
        support, atoms, s_max, condition_number, log_variance: as of `Spectrum`. In the Bernoulli
            class `log_variance` is infinite: `P(log s < -t)` falls like `1/t`.
    """

    variance: float
    jump: float
    mean = 1.0

    @cached_property
    def log_edges(self) -> tuple[float, float]:
        """`log x` where `F' = 0`: `(u - y)^2 = v u`."""
        v, y = self.variance, self.jump
        root = np.sqrt(v * (v + 4 * y))
        top = 0.5 * (2 * y + v + root)
        bottom = y * (y / top)  # the product of both is y^2
        low = np.log(bottom) - (v + root) / (2 * y) if y else -np.inf
        return float(low), float(np.log(top) + 2 * v / (root + v))

    @cached_property
    def atoms(self) -> Array:
        """`(s, mass)` at `u = 1`, where `m` is infinite: of units that never differ."""
        v, k = self.variance, 1 - self.jump
        if v >= k * k:
            return np.zeros((0, 2))
        return np.array([[np.exp(0.5 * v / k), 1 - v / k**2]])

    @cached_property
    def log_variance(self) -> float:
        """Variance of `log s`.

        `E[log(x)^2] = int log(-z(m))^2 dm - pi^2/3` over `m` from -1 to 0, and the same without
        squares and `pi^2/3` (expand the integrals over `x` of `x / (z - x)` and exchange them).
        With `m = -1/(1 + e^-t)`, `log(-z) = f(m) - t`, and the variance of `t` is `pi^2/3`.
        """
        v, y = self.variance, self.jump
        if y == 0:
            return np.inf
        m = -1 / (1 + np.exp(-_LOGISTIC))
        f = v * m / (1 + (1 - y) * m)
        weight = -m * (1 + m) * (_LOGISTIC[1] - _LOGISTIC[0])
        f -= weight @ f
        return float(0.25 * weight @ (f * (f - 2 * _LOGISTIC)))

    @cached_property
    def table(self) -> tuple[Array, Array]:
        """`log x` and `P(x' > x)` along the curve."""
        return self._log_x(self._path).real, self._known(self._path)[1]

    @cached_property
    def _path(self) -> Complex:
        """`w = log u` along the curve from edge to edge, at `log r = log y + rho cos(alpha)`."""
        v, y = self.variance, self.jump
        alpha = (np.arange(_NODES) + 0.5) * (np.pi / _NODES)
        if y == 0:
            # r = 2T; far out, where log x goes like 1 / (theta - pi), the steps are even in log
            far = np.pi - np.geomspace(1e-15, np.pi - alpha[-1], 256, endpoint=False)
            theta = np.concatenate([alpha, far[::-1]])
            return np.log(v * np.sin(theta) / theta) + 1j * theta
        half = np.arcsinh(np.sqrt(0.25 * v / y))  # r = y exp(+-2 half) at the edges
        rho = 2 * half * np.cos(alpha)
        # T = y cosh(rho), with cosh(2 half) - cosh(rho) as a product
        gap = 2 * np.sinh(half + 0.5 * rho) * np.sinh(2 * half * np.sin(0.5 * alpha) ** 2)
        return np.log(y) + rho + 1j * _angle(gap, 0.5 * v / y)

    def at(self, log_x: Array) -> tuple[Array, Array]:
        """By Newton's method for `F(u) = log x`."""
        start = self._near(log_x)
        return self._known(solved(lambda w: (self._log_x(w), self._slope(w)), log_x, start))

    def _near(self, log_x: Array) -> Complex:
        """`w` from the table: towards an edge it goes like the root of the distance in `log x`."""
        w, (low, high) = self._path, self.log_edges
        known = self._log_x(w).real

        def by(edge: float) -> Complex:
            distance = np.sqrt(np.abs(known - edge))
            order = np.argsort(distance)
            return np.interp(np.sqrt(np.abs(log_x - edge)), distance[order], w[order])

        if np.isinf(low):
            return by(high)
        return np.where(log_x < known[len(known) // 2], by(low), by(high))

    def _log_x(self, w: Complex) -> Complex:
        """`F`, at `u = e^w`."""
        return w + self.variance / (np.exp(w) - self.jump)

    def _slope(self, w: Complex) -> Complex:
        """`u F'(u)`."""
        u = np.exp(w)
        return 1 - self.variance * u / (u - self.jump) ** 2

    def _known(self, w: Complex) -> tuple[Array, Array]:
        """Density of `log x` and `P(x' > x)`, at points of the curve."""
        u, k = np.exp(w), 1 - self.jump
        t = k / (u - self.jump)
        total = np.log((u - 1) / u) - self.variance * _log_ratio(t) / (u - self.jump) ** 2
        return u.imag / (np.pi * np.abs(u - 1) ** 2), total.imag / np.pi

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name."""
        return {
            "variance": self.variance,
            "jump": self.jump,
            "mean": self.mean,
            "support": self.support.tolist(),
            "atoms": self.atoms.tolist(),
            "s_max": self.s_max,
            "log_variance": self.log_variance,
            "condition_number": self.condition_number,
        }

    def plot(self, ax: "Axes | None" = None, **options: Any) -> "Axes":
        """Draw the density; see `meanfield.plot.spectrum`."""
        from meanfield.plot.spectrum import spectrum

        return spectrum(self, ax, **options)

    def __str__(self) -> str:
        kind = next((name for name, y in CLASSES.items() if y == self.jump), f"jump {self.jump:g}")
        low, high = self.support[0]
        lines = [
            f"UniversalSpectrum, {kind} class: the limit of infinite depth",
            f"  mean of s^2      1, variance {self.variance:.6g}",
            f"  support of s     {low:.6g} to {high:.6g}",
            *(f"  atom             {mass:.6g} at s = {s:.6g}" for s, mass in self.atoms),
            f"  largest s        {self.s_max:.6g}",
            f"  variance of ln s {self.log_variance:.6g}",
        ]
        return "\n".join(lines)

    __repr__ = __str__


@spelt
def universal_spectrum(variance: float = 1.0, jump: float | str = "smooth") -> UniversalSpectrum:
    r"""The singular values of a Jacobian at infinite depth, whatever the activation.

    The limit `L -> inf` at a fixed variance `v = L (E[phi'^4] / E[phi'^2]^2 - 1)` of `s^2`, with
    orthogonal weights on the edge of chaos: `log S(m) = -v m / (1 + (1 - y) m)`.

    Args:
        variance: `v`, positive.
        jump: the class: `"bernoulli"` (`y = 0`), `"smooth"` (`y = 1`), or `y >= 0` itself: where
            `phi'^2` differs from what it usually is, the ratio of the two. `universality(phi)`
            tells it.

    Returns:
        A `UniversalSpectrum`.

    Raises:
        ValueError: `variance` is not positive and finite, `jump` is negative or no class.

    Source: Pennington, Schoenholz & Ganguli 2018, arXiv 1802.09979, section 4, for both classes.

    Example:
        >>> import meanfield as mf
        >>> limit = mf.universal_spectrum(1.0, "smooth")
        >>> (limit.support**2).round(6).tolist(), round(limit.quantile(0.5), 6)
        ([[0.075739, 4.857178]], 0.778801)
        >>> mf.universal_spectrum(0.25, "bernoulli").atoms.round(6).tolist()
        [[1.133148, 0.75]]
    """
    v = float(checked_variances("variance", variance))
    if isinstance(jump, str):
        if jump not in CLASSES:
            raise ValueError(
                f"jump: must be a number >= 0 or one of {', '.join(map(repr, CLASSES))}; "
                f"got {jump!r}"
            )
        jump = CLASSES[jump]
    return UniversalSpectrum(v, float(checked_variances("jump", jump, ">= 0")))


def _one_minus_sinc(theta: Array) -> Array:
    """`1 - sin(theta)/theta`."""
    series = theta**2 / 6 * (1 - theta**2 / 20 * (1 - theta**2 / 42 * (1 - theta**2 / 72)))
    return np.where(theta < 0.1, series, 1 - np.sinc(theta / np.pi))


def _angle(gap: Array, k: float) -> Array:
    """The `theta` in `(0, pi)` at which `k (1 - sin(theta)/theta) + 1 - cos(theta) = gap`."""
    low, high = np.zeros(len(gap)), np.full(len(gap), np.pi)
    for _ in range(_HALVINGS):
        theta = 0.5 * (low + high)
        more = k * _one_minus_sinc(theta) + 2 * np.sin(0.5 * theta) ** 2 < gap
        low, high = np.where(more, theta, low), np.where(more, high, theta)
    return 0.5 * (low + high)


def _log_ratio(t: Complex) -> Complex:
    """`(log(1 - t) + t) / t^2`."""
    small = np.abs(t) < 0.1
    series = np.polynomial.polynomial.polyval(np.where(small, t, 0.0), -1.0 / _POWERS)
    large = np.where(small, 0.5, t)
    return np.where(small, series, (np.log1p(-large) + large) / large**2)
