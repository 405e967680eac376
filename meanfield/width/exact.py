r"""Exact laws at any width: piecewise linear activations through zero, without biases.

Given the layer before, pre-activations are independent `N(0, K)`. For `phi(x) = a x` right of zero
and `b x` left of it one layer multiplies the kernel by

    F = (C_W/n) sum_i phi(h_i)^2 = (C_W/n) X T,     h_i ~ N(0, 1)

with independent `X ~ chi^2_n`, the length of `h`, and `T = b^2 + (a^2 - b^2) B`, where the share
`B` of it that lies on positive coordinates is `Beta(k/2, (n - k)/2)`, `k ~ Binomial(n, 1/2)`. So
the kernel is a product of independent factors, and `E[F^s]` is

    (2 C_W/n)^s Gamma(n/2 + s)/Gamma(n/2) E[T^s]

for any complex `s`: moments, log-moments and, by Fourier inversion, the law of `ln K` at any depth.
The length of a gradient has the same factors. For ReLU (b = 0) a layer is dead with probability
`2^-n`; laws are those of networks that are alive.

There is no law of two inputs here. As `phi` is homogeneous their angle is a Markov chain of its
own, and the factors of their lengths depend on nothing but the angle. But a step of the chain is
the angle of three sums over neurons, of `phi(u)^2`, `phi(u) phi(v)` and `phi(v)^2`. Those have a
characteristic function (Gaussian measures of cones, to the power n), their angle has a threefold
Fourier integral of it, anew for each angle and worst near 0, where all of them go. `simulate` draws
the chain exactly at `O(n)` a layer, and `finite_width_pair` has its first order in 1/n.

Source: Burkholz & Dubatovka 2019, arXiv 1806.06362; Hanin & Nica 2018, arXiv 1812.05994.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import log, pi
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.ensembles import Ensemble, Gaussian
from meanfield.network import Network

__all__ = ["ExactLaw", "LogKernel", "exact_law"]

Array = NDArray[np.float64]

_AT_ONCE, _MOST = 64, 1 << 15  # frequencies
_LEAST_WEIGHT = 1e-18  # of the binomial, and of double exponential quadrature


def exact_law(
    network: Network, ensemble: Ensemble, q: float, width: NDArray[np.int64]
) -> "ExactLaw | None":
    """The law, or None where there is none: `phi` is no such function, or has biases beside it."""
    homogeneous = network.activation.is_homogeneous
    if type(ensemble) is not Gaussian or float(network.bias_var) or not homogeneous or q == 0:
        return None
    values = network.activation.sampled.values(np.array([-1.0, 1.0]))
    left, right = (float(value) for value in values)
    return ExactLaw((0.0 - left, right), float(network.weight_var), q, width)


@dataclass(frozen=True)
class _Share:
    """The law of `T`, as nodes and weights that sum to 1; with `b = 0`, of what is not 0."""

    log: Array  # ln T
    weight: Array

    @cached_property
    def mean(self) -> float:
        """`E[ln T]`."""
        return float(self.weight @ self.log)

    @cached_property
    def variance(self) -> float:
        """`Var(ln T)`."""
        return float(self.weight @ (self.log - self.mean) ** 2)

    def power(self, s: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """`E[T^s]`."""
        return np.exp(s[:, None] * self.log) @ self.weight.astype(complex)


@lru_cache(maxsize=64)
def _share(width: int, left: float, right: float) -> _Share:
    from scipy.special import gammaln
    from scipy.stats import binom

    if abs(left) == abs(right):
        return _Share(np.array([2 * log(abs(right))]), np.ones(1))
    k = np.arange(width + 1)
    chance = binom.pmf(k, width, 0.5)
    inner = (k > 0) & (k < width) & (chance > _LEAST_WEIGHT)
    # double exponential nodes of (0, 1), that bear any power of B and 1 - B, close enough for the
    # width 1/sqrt(n) that the law has
    step = min(0.05, 0.2 / np.sqrt(width))
    reach = 10 / np.sqrt(width)  # of 1/2: eleven standard deviations
    end = 6.0 if reach > 0.49 else float(np.arcsinh(log((0.5 + reach) / (0.5 - reach)) / pi))
    t = np.arange(-end, end + step, step)
    with np.errstate(over="ignore", under="ignore"):
        u = pi * np.sinh(t)
        log_share, log_rest = -np.logaddexp(0, -u), -np.logaddexp(0, u)
    a, c = 0.5 * k[inner][:, None], 0.5 * (width - k[inner])[:, None]
    log_beta = gammaln(a) + gammaln(c) - gammaln(0.5 * width)
    with np.errstate(under="ignore"):
        density = np.exp(a * log_share + c * log_rest - log_beta)
        weight = chance[inner] @ density * step * pi * np.cosh(t)
    used = weight > 1e-3 * _LEAST_WEIGHT
    share, weight = np.exp(log_share[used]), weight[used]
    rest = np.exp(log_rest[used])
    log_t = np.log(right**2 * share + left**2 * rest)
    if left == 0:  # no cancellation where B is small
        log_t = 2 * log(abs(right)) + log_share[used]
    elif right == 0:
        log_t = 2 * log(abs(left)) + log_rest[used]
    ends = [(2 * log(abs(slope)), 0.5**width) for slope in (left, right) if slope]
    log_t = np.concatenate([log_t, [value for value, _ in ends]])
    weight = np.concatenate([weight, [mass for _, mass in ends]])
    return _Share(log_t, weight / np.sum(weight))


@dataclass(frozen=True, eq=False)
class LogKernel:
    """The law of `ln K` in one layer, of networks that are alive.

    Attributes:
        mean: of `ln K`.
        variance: of `ln K`.
    """

    mean: float
    variance: float
    frequency: Array = field(repr=False)  # positive ones, equally spaced
    # the characteristic function of ln K - mean at these
    coefficient: NDArray[np.complex128] = field(repr=False)

    @property
    def _period(self) -> float:
        return 2 * pi / float(self.frequency[0])

    def density(self, log_kernel: ArrayLike) -> Any:
        """The density at `ln K`, of any shape."""
        return self._sum(log_kernel, lambda phase: (self.coefficient * phase).real, 1.0)

    def cdf(self, log_kernel: ArrayLike) -> Any:
        """`P(ln K <= log_kernel)`, of any shape."""
        return self._sum(log_kernel, self._integrated, None)

    def _integrated(self, phase: Any) -> Any:
        # from the lower end of the period, where nothing is
        start = np.exp(1j * self.frequency * self._period / 2)
        return (1j * self.coefficient / self.frequency * (phase - start)).real

    def _sum(self, log_kernel: ArrayLike, term: Any, constant: float | None) -> Any:
        y = np.asarray(log_kernel, np.float64) - self.mean
        flat = np.clip(y.ravel(), -self._period / 2, self._period / 2)
        parts = [
            2 * np.sum(term(np.exp(-1j * self.frequency * some[:, None])), axis=1)
            for some in np.array_split(flat, max(1, len(flat) * len(self.frequency) >> 20))
        ]
        base = flat + self._period / 2 if constant is None else constant
        value = (np.concatenate(parts) + base) / self._period
        value = np.clip(value, 0.0, 1.0 if constant is None else None)
        return float(value[0]) if y.ndim == 0 else value.reshape(y.shape)

    def quantile(self, p: ArrayLike) -> Any:
        """`ln K` that a share `p` of networks does not exceed, `0 < p < 1`, of any shape."""
        share = np.asarray(p, np.float64)
        if not np.all((share > 0) & (share < 1)):
            raise ValueError(f"p: must be in (0, 1), got {p!r}")
        low, high = (np.full(share.shape, self.mean + end * self._period / 2) for end in (-1, 1))
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = np.asarray(self.cdf(middle)) < share
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        value = 0.5 * (low + high)
        return float(value) if share.ndim == 0 else value


@dataclass(frozen=True, eq=False, repr=False)
class ExactLaw:
    """The law of the kernel, of gradients and of outputs at any width; arrays by layer.

    Attributes:
        slopes: of the activation, left and right of zero.
        weight_var: of the network.
        q: the kernel of the first layer.
        width: number of neurons of each layer.
    """

    slopes: tuple[float, float]
    weight_var: float
    q: float
    width: NDArray[np.int64]

    def __repr__(self) -> str:
        left, right = self.slopes
        return (
            f"ExactLaw of slopes {left:g} and {right:g}, weight_var {self.weight_var:.6g} and q "
            f"{self.q:.6g}: {len(self.width)} layers"
        )

    def _each(self, of: Callable[[int, _Share], float]) -> Array:
        """A number for each layer but the last, from its width and the law of `T`."""
        widths, which = np.unique(self.width[:-1], return_inverse=True)
        values = [of(n, _share(n, *self.slopes)) for n in widths.tolist()]
        return np.array(values)[which] if values else np.zeros(0)

    @cached_property
    def dead(self) -> Array:
        """The probability that a layer before gives nothing but zeros."""
        chance = 0.5 ** self.width[:-1].astype(np.float64) * (0.0 in self.slopes)
        return _by_layer(-np.expm1(np.cumsum(np.log1p(-chance))))

    def moment(self, s: float) -> Array:
        """`E[K^s]` in each layer, over all networks, for any real `s >= 0`."""
        from scipy.special import gammaln

        if not s >= 0:
            raise ValueError(f"s: must be >= 0, got {s!r}")

        def gain(n: int, share: _Share) -> float:
            alive = 1 - 0.5**n * (0.0 in self.slopes)
            power = float(share.power(np.array([s + 0j]))[0].real) * alive
            scale = s * log(2 * self.weight_var / n) + gammaln(n / 2 + s) - gammaln(n / 2)
            return float(scale) + log(power)

        with np.errstate(over="ignore"):
            return self.q**s * np.exp(_by_layer(np.cumsum(self._each(gain))))

    @property
    def fluctuation(self) -> Array:
        """`Var(K) / E[K]^2`: `(1 + 5/n)^(l-1) - 1` for ReLU in layer `l`."""
        left, right = self.slopes
        second, fourth = 0.5 * (left**2 + right**2), 0.5 * (left**4 + right**4)
        growth = (3 * fourth / second**2 - 1) / self.width[:-1]
        return _by_layer(np.expm1(np.cumsum(np.log1p(growth))))

    @property
    def log_mean(self) -> Array:
        """`E[ln K]` in each layer, of networks that are alive."""
        return log(self.q) + _by_layer(np.cumsum(self._log_gain(self.width[:-1])[0]))

    @property
    def log_variance(self) -> Array:
        """`Var(ln K)` in each layer, of networks that are alive."""
        return _by_layer(np.cumsum(self._log_gain(self.width[:-1])[1]))

    def gradient_log_norm(self) -> tuple[Array, Array, Array]:
        """Mean and variance of `ln |J u|^2`, and `ln E[|J u|^2]` over all networks."""
        mean, variance = self._log_gain(self.width[1:])
        left, right = self.slopes
        growth = self.weight_var * 0.5 * (left**2 + right**2) * self.width[1:] / self.width[:-1]
        parts = (mean, variance, np.log(growth))
        mean, variance, log_of_mean = (_by_layer(np.cumsum(part)) for part in parts)
        return mean, variance, log_of_mean

    def _log_gain(self, length: NDArray[np.int64]) -> tuple[Array, Array]:
        """Of `ln (C_W/n X T)`, with `X ~ chi^2` of so many degrees of freedom."""
        from scipy.special import digamma, polygamma

        mean = self._each(lambda n, share: share.mean)
        variance = self._each(lambda n, share: share.variance)
        scale = np.log(2 * self.weight_var / self.width[:-1])
        return mean + scale + digamma(length / 2), variance + polygamma(1, length / 2)

    def log_kernel(self, layer: int = -1) -> LogKernel:
        """The law of `ln K` in a layer but the first, where it is fixed."""
        from scipy.special import loggamma

        count = range(len(self.width))[layer]
        if count == 0:
            raise ValueError("layer: the kernel of the first layer is q, and has no density")
        layers = Counter(self.width[:count].tolist())
        mean, variance = float(self.log_mean[count]), float(self.log_variance[count])
        # towards -inf the law falls as exp(x/2) where a single neuron is left
        tail = max(2 * (log(1e16 * count * n) - n * log(2)) for n in layers)
        half = max(16 * np.sqrt(variance), tail, 90 / min(layers))
        frequency, coefficient = np.zeros(0), np.zeros(0, complex)
        while True:
            new = (len(frequency) + np.arange(1, _AT_ONCE + 1)) * (pi / half)
            logs = 1j * new * (log(self.q) - mean)
            value = np.ones(len(new), complex)
            for n, times in layers.items():
                gain = 1j * new * log(2 * self.weight_var / n)
                logs += times * (gain + loggamma(n / 2 + 1j * new) - loggamma(n / 2))
                value *= _share(n, *self.slopes).power(1j * new) ** times
            frequency = np.concatenate([frequency, new])
            coefficient = np.concatenate([coefficient, value * np.exp(logs)])
            if np.max(np.abs(coefficient[-16:])) < 1e-16 or len(frequency) > _MOST:
                return LogKernel(mean, variance, frequency, coefficient)

    def output_density(self, x: ArrayLike, layer: int = -1) -> Any:
        """The density of one pre-activation at `x`, over networks; of those alive, for ReLU.

        A Gaussian whose variance has the law of the kernel: `E[N(x; 0, K)]`.
        """
        z = np.asarray(x, np.float64)
        K, mass = self._quadrature(layer)
        with np.errstate(under="ignore"):
            kernels = np.exp(-0.5 * z.ravel()[:, None] ** 2 / K) / np.sqrt(2 * pi * K)
        value = kernels @ mass
        return float(value[0]) if z.ndim == 0 else value.reshape(z.shape)

    def output_cdf(self, x: ArrayLike, layer: int = -1) -> Any:
        """The distribution function of one pre-activation, over networks that are alive."""
        from scipy.special import ndtr

        z = np.asarray(x, np.float64)
        K, mass = self._quadrature(layer)
        value = ndtr(z.ravel()[:, None] / np.sqrt(K)) @ mass
        return float(value[0]) if z.ndim == 0 else value.reshape(z.shape)

    def _quadrature(self, layer: int) -> tuple[Array, Array]:
        """Kernels and their masses: equally spaced `ln K`, which is exact for a period."""
        if range(len(self.width))[layer] == 0:
            return np.array([self.q]), np.ones(1)
        law = self.log_kernel(layer)
        points = 4 * len(law.frequency)
        y = law.mean + law._period * (np.arange(points) / points - 0.5)
        mass = np.asarray(law.density(y)) * law._period / points
        return np.exp(y), mass / np.sum(mass)


def _by_layer(sums: Array) -> Array:
    """What accumulates from the first layer on, where it is 0."""
    return np.concatenate([[0.0], sums])
