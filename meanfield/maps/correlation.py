r"""The correlation map: what one layer does to the correlation of two inputs.

    C(c) = (weight_var E[phi(u) phi(v)] + bias_var) / V(q),

with `u`, `v` of variance `q` and correlation `c`. `C(1) = 1`; its slope there decides the phase.
Near 1 it is `1 - C` that carries the information, and that is what is computed, with full relative
precision in `g`: `1 - C(1 - g) = weight_var D(g) / V(q)` (see `meanfield.bivariate`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.bivariate import Covariance, Values
from meanfield.criticality import checked_numbers, checked_variances, depth_scale
from meanfield.errors import MeanFieldError
from meanfield.keywords import spelt
from meanfield.maps.decay import Decay, decay_of
from meanfield.maps.settle import settled_variance
from meanfield.maps.variance import network_of
from meanfield.network import FixedPoint, Network, digits, short
from meanfield.precision import EPS

if TYPE_CHECKING:
    from meanfield.maps.correlation_trajectory import CorrelationTrajectory

__all__ = ["CorrelationFixedPoint", "CorrelationMap", "correlation_map"]

Array = NDArray[np.float64]

_LEAST_GAP = 1e-60  # 1 - c* below this is 0


@dataclass(frozen=True, repr=False)
class CorrelationFixedPoint:
    """The correlation to which depth takes two inputs; converts with `float()`.

    Attributes:
        correlation: `c*`, stable, in [0, 1].
        one_minus: `1 - c*`, to full relative precision.
        slope: `C'(c*)`.
        depth_scale: `-1 / ln C'(c*)` layers; inf at slope 1.
        error: bound of the absolute error of `correlation` and of `one_minus`.
        slope_error: the same for `slope`.
    """

    correlation: float
    one_minus: float
    slope: float
    depth_scale: float
    error: float
    slope_error: float

    def __float__(self) -> float:
        return self.correlation

    def __repr__(self) -> str:
        correlation = digits(self.correlation, self.error)
        slope = digits(self.slope, self.slope_error)
        return (
            f"CorrelationFixedPoint(correlation={correlation}, slope={slope}, "
            f"depth_scale={self.depth_scale:.6g})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class CorrelationMap:
    r"""`C(c)`, the correlation after one layer of two inputs of correlation `c`.

    `C(c) = (weight_var E[phi(u) phi(v)] + bias_var) / sqrt(V(q1) V(q2))` for inputs whose
    pre-activations have variances `q1`, `q2`; `C(1) = 1` where they are one `q`. Made by
    `correlation_map`. Calls take numbers or arrays of any shape.

    Attributes:
        network: the `Network`.
        q: the variance of both inputs, or the pair of their variances.
    """

    network: Network
    q: Any

    def __call__(self, c: ArrayLike) -> Any:
        """`C(c)` for correlations in [-1, 1]; absolute error about 1e-15."""
        return _applied(lambda *gaps: 1 - self._complement(*gaps).value, *_both_gaps(c))

    def complement(self, g: ArrayLike) -> Any:
        """`1 - C(1 - g)` for `g` in [0, 2]; of equal variances to full relative precision."""
        return _applied(lambda g: self._complement(g).value, _gaps(g))

    def slope(self, c: ArrayLike) -> Any:
        """`C'(c)`, from `E[phi'(u) phi'(v)]`; `chi1` at 1, and infinite there if `phi` jumps."""
        return _applied(lambda *gaps: self._slope(*gaps)[0], *_both_gaps(c))

    def curvature(self, c: ArrayLike) -> Any:
        """`C''(c)`, from `E[phi''(u) phi''(v)]`; at 1 infinite if `phi'` jumps.

        Raises:
            ValueError: `phi` jumps, and its second derivative has no meaning.
        """
        if self._is_rough:
            raise MeanFieldError(
                f"C.curvature: {self.network.activation.name} jumps or its slope is unbounded, so "
                "C'' is not had from its derivatives; take differences of C.slope"
            )
        return _applied(self._curvature, *_both_gaps(c))

    def error(self, c: ArrayLike) -> Any:
        """A bound of the absolute error of `C(c)`."""
        return _applied(lambda *gaps: self._complement(*gaps).error + EPS, *_both_gaps(c))

    def iterate(self, c0: ArrayLike, depth: int) -> "CorrelationTrajectory":
        """Correlations through `depth` layers, and the variances that go with them.

        Variances that one layer does not reproduce evolve along with the correlations.

        Args:
            c0: correlations in [-1, 1] of the pre-activations of the first layer, any shape.
            depth: number of layers, at least 0.

        Returns:
            A `CorrelationTrajectory`, of length `depth + 1`, with `c0` at index 0.
        """
        from meanfield.maps.correlation_trajectory import correlation_trajectory

        return correlation_trajectory(self, _correlations("c0", c0), depth)

    def fixed_point(self) -> CorrelationFixedPoint:
        """The stable fixed point in [0, 1]: 1 where `C'(1) <= 1`, else the one below.

        `C` is increasing and convex on [0, 1] with `C(0) >= 0`, so there is no other.

        Raises:
            ValueError: the two variances differ.
        """
        if isinstance(self.q, tuple):
            raise MeanFieldError(
                f"q: fixed points of the correlation are for inputs of one variance, got {self.q}"
            )
        slope, slope_error = (float(part[0]) for part in self._slope(np.zeros(1)))
        if slope <= 1 + slope_error:
            slope = 1.0 if slope >= 1 - slope_error else slope
            return CorrelationFixedPoint(1.0, 0.0, slope, depth_scale(slope), 0.0, slope_error)
        gap, error = self._gap()
        slope, slope_error = (float(part[0]) for part in self._slope(np.array([gap])))
        bend = abs(slope - float(self._slope(np.array([gap * (1 - 1e-3)]))[0][0])) / (1e-3 * gap)
        return CorrelationFixedPoint(
            1 - gap, gap, slope, depth_scale(slope), error + EPS, slope_error + bend * error
        )

    def _gap(self) -> tuple[float, float]:
        """The root `g` in (0, 1] of `1 - C(1 - g) = g` and its error; `(1 - C)/g` falls in `g`."""
        from scipy.optimize import brentq

        def excess(t: float) -> float:
            g = float(np.exp(t))
            return float(self._complement(np.array([g])).value[0]) / g - 1

        end = self._complement(np.ones(1))
        if abs(end.value[0] - 1) <= end.error[0]:  # C(0) = 0
            return 1.0, float(end.error[0])
        low = -1.0
        while excess(low) <= 0:
            low *= 2
            if low < np.log(_LEAST_GAP):
                return 0.0, _LEAST_GAP
        root: Any = brentq(excess, low, 0.0, xtol=1e-16)
        gap = float(np.exp(root))
        at = self._complement(np.array([gap]))
        return gap, float(at.error[0] / np.abs(1 - at.slope[0]))

    @property
    def decay(self) -> Decay:
        """How the distance from the fixed point falls with depth, for many layers."""
        return decay_of(self)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw it with `meanfield.plot.correlation_map`; returns the Axes."""
        from meanfield.plot import correlation_map

        return correlation_map(self, ax=ax, **options)

    def __repr__(self) -> str:
        return (
            f"CorrelationMap of {self.network!r} at q = {_shown(self.q)}: call it with c, or "
            "iterate(c0, depth)"
        )

    # -- the pieces of the formulas, on arrays of g = 1 - c and, if it is had, h = 1 + c -----------

    @cached_property
    def _covariance(self) -> Covariance:
        return Covariance(self.network.activation, self.q)

    @cached_property
    def _of_slopes(self) -> Covariance:
        return Covariance(self.network.activation, self.q, derivative=True)

    @cached_property
    def _is_rough(self) -> bool:
        steep = self.network.activation.is_steep
        return steep or not np.isfinite(self._of_slopes.second_moment)

    @cached_property
    def _size(self) -> tuple[float, float]:
        """`sqrt(V(q1) V(q2))` over `weight_var`, and its relative error."""
        moments, errors = self._covariance.moments
        weight_var, bias_var = self.network.weight_var, self.network.bias_var
        after = moments + bias_var / weight_var
        if np.min(after) <= 0:
            raise MeanFieldError(
                f"correlation_map: {self.network!r} maps the variance q = {_shown(self.q)} to 0, "
                "where correlations have no meaning; give it a bias_var, or another q"
            )
        size = float(np.prod(np.sqrt(after)))  # the product of 1e-200 and 1e-200 is no number
        return size, float(np.sum(0.5 * errors / after)) + 4 * EPS

    def _complement(self, g: Array, h: Array | None = None) -> Values:
        """`1 - C`: with `A` the mean of `V(q1)` and `V(q2)`, `sqrt(V1 V2) - A + weight_var D`."""
        size, relative = self._size
        moments, errors = self._covariance.moments
        apart = float(np.sqrt(moments[0] + self._ratio) - np.sqrt(moments[1] + self._ratio)) ** 2
        d = self._covariance.difference(g, h)
        value = (d.value - 0.5 * apart) / size
        error = d.error / size + np.abs(value) * relative
        if apart:
            error = error + np.sum(errors) / size
        return Values(value, d.slope / size, error)

    @property
    def _ratio(self) -> float:
        return self.network.bias_var / self.network.weight_var

    def _slope(self, g: Array, h: Array | None = None) -> tuple[Array, Array]:
        """`C'` at `c = 1 - g`, with its error."""
        if self._is_rough:
            return self._rough_slope(g, 2 - g if h is None else h)
        d = self._of_slopes.difference(g, h)
        return self._from_slopes(d.value, d.error)

    def _from_slopes(self, d: Array, error: Array) -> tuple[Array, Array]:
        """`C'` where `phi'` has the difference `d`: at 1 it has none."""
        (size, relative), slopes = self._size, self._of_slopes
        scale = float(np.sqrt(np.prod(slopes.q))) / size
        value = scale * (slopes.second_moment - d)
        return value, scale * (error + slopes.second_moment_error) + np.abs(value) * relative

    def _rough_slope(self, g: Array, h: Array) -> tuple[Array, Array]:
        """That of a `phi` whose slope is unbounded, so that only `C` itself can be had."""
        _, slope, error = self._complement(g, h)
        # differentiated from 20 Chebyshev nodes on an octave, and from powers of sqrt(g)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = error * (20**2 * 2 / np.log(2.0) + 1 / np.minimum(g, h))
        same = (g == 0) & np.isfinite(slope) & (not isinstance(self.q, tuple))
        if np.any(same):
            slope[same], error[same] = self._from_slopes(*np.zeros((2, np.sum(same))))
        return slope, np.where(np.isinf(slope), 0.0, error)

    def _curvature(self, g: Array, h: Array | None = None) -> Array:
        size, _ = self._size
        return float(np.prod(self._of_slopes.q)) / size * self._of_slopes.difference(g, h).slope


@spelt
def correlation_map(network: Network | FixedPoint, q: Any = None) -> CorrelationMap:
    r"""The map that takes the correlation of two inputs through one layer.

    `C(c) = (weight_var E[phi(u) phi(v)] + bias_var) / V(q)`, where `(u, v)` are Gaussian with
    variances `q` and correlation `c`.

    Args:
        network: a `Network` or a `FixedPoint` of one.
        q: the variance of the pre-activations of both inputs, or a pair `(q1, q2)` of two
            variances. If not given: that of the `FixedPoint`, or the stable fixed point of the
            `Network`.

    Returns:
        A `CorrelationMap`: call it, or its `complement`, `slope`, `curvature`, `iterate`,
        `fixed_point`, `decay`, `plot`.

    Raises:
        ValueError: `q` is not given and the network has not exactly one stable fixed point, or that
            is 0; or its variances are arrays.
        TypeError: `network` is none, or depends on a value that JAX traces.
        UnresolvedError: the activation cannot be sampled to useful accuracy.

    Source: Poole et al. 2016, arXiv 1606.05340, eq. (5).

    Example:
        >>> import meanfield as mf
        >>> C = mf.correlation_map(mf.Network("relu", weight_var=2.0))
        >>> round(C(0.0), 12), round(C.slope(1.0), 12)  # 1/pi, and critical
        (0.318309886184, 1.0)
        >>> C = mf.correlation_map(mf.Network("tanh", weight_var=2.25, bias_var=0.0025))
        >>> round(float(C.fixed_point()), 10)
        0.0520862364
    """
    if q is None:
        q = settled_variance(network)
        if q == 0:
            raise MeanFieldError(
                f"q: the variance of {network_of(network)!r} goes to 0, where correlations have no "
                "meaning; give the variance of the pre-activations as q"
            )
    elif isinstance(q, tuple | list) or getattr(q, "ndim", 0) == 1:
        pair = tuple(_variance(x) for x in q)
        if len(pair) != 2:
            raise ValueError(f"q: must be one variance, or a pair of two, got {q!r}")
        q = pair if pair[0] != pair[1] else pair[0]
    else:
        q = _variance(q)
    return CorrelationMap(network_of(network), q)


def _variance(q: Any) -> float:
    value = checked_variances("q", q)
    if value.ndim:
        raise TypeError(f"q: must be one variance, or a pair of two, got {q!r}")
    return float(value)


def _correlations(name: str, c: ArrayLike) -> Array:
    array = checked_numbers(name, c)
    good = np.abs(array) <= 1 + 4 * EPS
    if not np.all(good):
        raise ValueError(f"{name}: a correlation lies in [-1, 1], got {array[~good].ravel()[0]}")
    return np.clip(array, -1.0, 1.0)


def _both_gaps(c: ArrayLike) -> tuple[Array, Array]:
    """`1 - c` and `1 + c`: of each the other has lost the digits where it is small."""
    c = _correlations("c", c)
    return 1 - c, 1 + c


def _gaps(g: ArrayLike) -> Array:
    array = checked_numbers("g", g)
    good = (array >= 0) & (array <= 2)
    if not np.all(good):
        raise ValueError(f"g: 1 - c lies in [0, 2], got {array[~good].ravel()[0]}")
    return array


def _applied(function: Callable[..., Array], *gaps: Array) -> Any:
    """A function of arrays of shape (n,), at arrays of any shape, or at numbers."""
    shape = np.shape(gaps[0])
    result = function(*(np.ravel(part) for part in gaps)) if 0 not in shape else np.zeros(0)
    return float(result[0]) if shape == () else result.reshape(shape)


def _shown(q: Any) -> str:
    return f"({', '.join(map(short, q))})" if isinstance(q, tuple) else short(q)
