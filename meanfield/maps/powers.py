r"""Gaussian moments where no sum over samples reaches: at the smallest and the largest variances.

Near zero `phi` is `sum_i a_i |x|^i` on the right and `sum_i b_i |x|^i` on the left; `s = sqrt(q)`:

    E[phi^2] = sum_ij (a_i a_j + b_i b_j) h_(i+j) s^(i+j),    h_k = E[u^k; u > 0]

which needs no more than the values next to zero, kinked there or not. Where `phi` has no such
series (`sqrt|x|`), and far out, the moment is a power of `q`, its exponent by Stein's lemma.
"""

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import LEAST_REACH, Activation
from meanfield.callables import Box
from meanfield.gaussian import MOMENTS
from meanfield.precision import EPS
from meanfield.samples import Samples
from meanfield.tracing import TracedFunction

__all__ = ["FARTHEST", "NEAREST", "Powers", "far_out", "near_zero"]

Array = NDArray[np.float64]
Series = tuple[Array, Array]  # coefficients of powers of |x|, and their errors

# Between these moments are sums over samples. Beyond the second even what is smaller than the
# leading power by 1/sqrt(q), as in softplus, is below rounding.
NEAREST, FARTHEST = 2.0**-36, 2.0**120
# Of the range next to zero that is fitted, the widest that will do; the last is 16 deviations at
# NEAREST. Wide ones tell higher coefficients, narrow ones bear kinks nearby.
_WIDTHS = (2.0**-6, 2.0**-10, 2.0**-14)
_DEGREE = 8
_ULPS = 4 * EPS  # noise of a function value, where nothing tells of more
_ROUNDING = 16.0  # a fit leaves so many times the noise, or else is none
_HALF = [0.5, 1 / sqrt(2 * pi)]
for _k in range(4 * _DEGREE - 1):
    _HALF.append((_k + 1) * _HALF[_k])  # by partial integration


@dataclass(frozen=True)
class Powers:
    """`sum_k c_k q^(p_k)` with errors of the `c_k`, and one of the exponent away from `anchor`."""

    exponents: Array
    coefficients: Array
    errors: Array
    exponent_error: float = 0.0
    anchor: float = 1.0

    @np.errstate(all="ignore")
    def derivative(self, q: Array, order: int) -> tuple[Array, Array]:
        """The derivative of this order at `q > 0`, and a bound of its error; both of shape (n,)."""
        # in steps: q^p alone may overflow where c q^p does not
        p = self.exponents
        falling = np.prod([p - k for k in range(order)], axis=0) if order else np.ones_like(p)
        used = falling != 0
        powers = q[:, None] ** (p[used] - order)
        terms = self.coefficients[used] * falling[used] * powers
        size = np.abs(terms).sum(1)
        stray = self.exponent_error * np.abs(np.log(q / self.anchor)) + 8 * EPS
        error = np.abs(self.errors[used] * falling[used] * powers).sum(1) + stray * size
        return terms.sum(1), error

    def limit(self, order: int) -> float:
        """The derivative of this order in the limit `q = 0`: may be infinite."""
        p, c = self.exponents, self.coefficients
        falling = np.prod([p - k for k in range(order)], axis=0) if order else np.ones_like(p)
        c = np.where(np.abs(c) > self.errors, c, 0.0) * falling
        steep = (p < order) & (c != 0)
        if np.any(steep):
            return float(np.inf * np.sign(c[steep][np.argmin(p[steep])]))
        return float(np.sum(c[p == order]))


@np.errstate(all="ignore")
def near_zero(activation: Activation) -> dict[str, Powers]:
    """`E[phi^2]`, `E[phi'^2]`, `E[phi^4]`, `E[phi'^4]` at variances up to `NEAREST`, by name.

    Where `phi` has a series, `E[phi^2 phi'^2]` too, as `"mixed"`.
    """
    samples = activation.columns(LEAST_REACH).samples
    box = activation.box
    assert not isinstance(box, TracedFunction)  # nor could it have been sampled
    rounding = box.eps * float(np.max(np.abs(samples.value[np.abs(samples.x) < 1])))
    limits = _limits(box, samples, 16 * rounding)
    left = right = None
    # values near zero may be good to their own last digit, or else only to that of others nearby
    for floor in (0.0, rounding):
        if left is not None and right is not None:
            break
        # one series through zero, or else one on each side of a kink, in |x|
        both = _fit(samples, (1, -1), limits[0], floor) if limits[0] == limits[1] else None
        if both is not None:
            left, right = (both[0] * (-1.0) ** np.arange(_DEGREE + 1), both[1]), both
        else:
            left, right = (_fit(samples, (side,), limits[side > 0], floor) for side in (-1, 1))
    if left is not None and right is not None:
        k = np.arange(1, _DEGREE + 1)
        values, slopes = (left, right), tuple((c[1:] * k, e[1:] * k) for c, e in (left, right))
        squares, of_slopes = (tuple(_times(f, f) for f in pair) for pair in (values, slopes))
        laws = {
            "phi2": _mean(*squares), "dphi2": _mean(*of_slopes),
            "phi4": _mean(*(_times(f, f) for f in squares)),
            "dphi4": _mean(*(_times(f, f) for f in of_slopes)),
            "mixed": _mean(*(_times(f, g) for f, g in zip(squares, of_slopes, strict=True))),
        }  # fmt: skip
        if len(samples.jumps):
            infinite = Powers(np.zeros(1), np.array([np.inf]), np.zeros(1))
            laws.update(dphi2=infinite, dphi4=infinite, mixed=infinite)
        return laws
    starts = {n: 0.5 * (abs(limits[0]) ** n + abs(limits[1]) ** n) for n in (2, 4)}
    least = {"phi2": starts[2], "dphi2": 0.0, "phi4": starts[4], "dphi4": 0.0}
    return {
        name: _power_law(activation, name, NEAREST, 4 * NEAREST, start)
        for name, start in least.items()
    }


def far_out(activation: Activation, name: str) -> Powers:
    """`E[phi^2]` or `E[phi'^2]` at variances from `FARTHEST` on."""
    return _power_law(activation, name, FARTHEST, FARTHEST / 16, 0.0)


def _limits(box: Box, samples: Samples, rounding: float) -> tuple[float, float]:
    """`phi` just left and right of zero; what is rounding is zero, as of log(1 + e^x) - log(2)."""
    at_zero = float(box(np.zeros(1)).value[0])
    if np.isfinite(at_zero) and 0 not in samples.jumps:
        return (at_zero, at_zero) if abs(at_zero) > rounding else (0.0, 0.0)
    # a jump, or a removable hole as of sin(x)/x: the line through the two nodes next to it
    middle = int(np.searchsorted(samples.x, 0.0))
    ends = []
    for i, j in ((middle - 1, middle - 2), (middle, middle + 1)):
        (x, v), (y, w) = ((samples.x[n], samples.value[n]) for n in (i, j))
        limit = v - x * (w - v) / (y - x)
        ends.append(float(limit) if abs(limit) > 0.1 * abs(v) else 0.0)
    return ends[0], ends[1]


def _fit(
    samples: Samples, sides: tuple[int, ...], start: float, floor: float
) -> tuple[Array, Array] | None:
    """Coefficients of `phi` in `side * x` with their errors; None where it has no such series."""
    k = np.arange(1, _DEGREE + 1)
    for width in _WIDTHS:
        near = (np.abs(samples.x) < width) & np.isin(np.sign(samples.x), sides)
        y = sides[0] * samples.x[near] / width
        value, slope = samples.value[near] - start, samples.slope[near] * sides[0] * width
        noise = samples.noise[near] + floor + _ULPS * (np.abs(value) + abs(start))
        slope_noise = width * samples.slope_noise[near] + _ULPS * np.abs(slope)
        wanted = np.concatenate([value, slope])
        scale = np.max(np.abs(wanted))
        if scale == 0:
            return start * (np.arange(_DEGREE + 1) == 0), np.zeros(_DEGREE + 1)
        weight = 1 / np.maximum(np.concatenate([noise, slope_noise]), EPS**2 * scale)
        rows = np.concatenate([y[:, None] ** k, k * y[:, None] ** (k - 1)]) * weight[:, None]
        inverse = np.linalg.pinv(rows)
        found = np.zeros(_DEGREE)
        for _ in range(3):  # the inverse itself is good to fewer digits than the samples
            found += inverse @ (wanted * weight - rows @ found)
        if np.max(np.abs(wanted * weight - rows @ found)) < _ROUNDING:
            doubt = np.abs(inverse).sum(1)
            unit = width ** -np.arange(_DEGREE + 1.0)
            error = np.concatenate([[EPS * abs(start)], doubt])
            return np.concatenate([[start], found]) * unit, error * unit
    return None


def _times(f: Series, g: Series) -> Series:
    """The product of two series, and its errors."""
    (a, doubt), (b, more) = f, g
    error = np.convolve(np.abs(a), more) + np.convolve(doubt, np.abs(b))
    return np.convolve(a, b), error


def _mean(left: Series, right: Series) -> Powers:
    """`E[f]` of a function with the series `left` and `right` in `|x|`."""
    h = np.array(_HALF[: len(left[0])])
    coefficients = h * (right[0] + left[0])
    errors = h * (right[1] + left[1]) + EPS * np.abs(coefficients)
    return Powers(0.5 * np.arange(float(len(h))), coefficients, errors)


def _power_law(activation: Activation, name: str, anchor: float, other: float, start: float):
    """`start + c q^p` through the moment and its derivative at `anchor`."""
    column = MOMENTS.index(name)
    m = activation.moments(np.array([anchor, other]), derivatives=True)
    assert m.first is not None and m.first_error is not None
    value = m.value[:, column] - start
    error = m.error[:, column] + EPS * start
    if not np.isfinite(value[0]):
        return Powers(np.zeros(1), np.array([np.inf]), np.zeros(1))
    q = np.array([anchor, other])
    p = np.where(value > 0, q * m.first[:, column] / value, 0.0)
    doubt = np.where(value > 0, (q * m.first_error[:, column] + np.abs(p) * error) / value, 0.0)
    stray = float(abs(p[0] - p[1]) + doubt[0])
    # limits of derivatives depend on whether an exponent is 1 or almost
    power = 0.5 * round(2 * p[0])
    power = power if abs(power - p[0]) <= stray else float(p[0])
    scale = anchor**-power
    return Powers(
        np.array([0.0, power]), np.array([start, value[0] * scale]),
        np.array([EPS * start, error[0] * scale]), stray, anchor,
    )  # fmt: skip
