r"""How much the squared slope `X = phi'(z)^2` of an activation varies, `z ~ N(0, q)`.

With orthogonal weights on the edge of chaos each layer adds the spread

    Var(X) / E[X]^2 = E[phi'^4] / E[phi'^2]^2 - 1

to the variance of the squared singular values of a Jacobian, with Gaussian ones 1 more. Where it
is small the formula on the right has no digits left: it is summed as `E[(X - E[X])^2]`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import LEAST_REACH, Activation, reach_of
from meanfield.errors import UnresolvedError
from meanfield.gaussian import MOMENTS
from meanfield.precision import EPS
from meanfield.spectrum.slope import slope_pieces

__all__ = ["SlopeSpread", "slope_spread"]

Array = NDArray[np.float64]

_DPHI2, _DPHI4 = MOMENTS.index("dphi2"), MOMENTS.index("dphi4")
_SMALL = 1e-3  # below, the difference of moments loses more than the sum around the mean
_TELLING = 0.1  # a spread above tells nothing of the limit in which there is none
_SIGMAS = 13.0
_FARTHEST = 2.0**10  # slopes are looked at piece by piece no farther out


class SlopeSpread(NamedTuple):
    """Arrays of the shape of `q`."""

    q: Array
    value: Array  # Var(X) / E[X]^2
    error: Array  # a bound of its absolute error
    off: Array  # P(phi' = 0), of the intervals on which the slope is 0
    kappa: Array  # mean of k = 1 - X/E[X] under the weight k^2; nan where the spread is not small
    kappa_spread: Array  # its standard deviation

    @property
    def is_zero(self) -> NDArray[np.bool_]:
        """Where the slope is the same everywhere, as far as can be told."""
        return (self.value <= self.error) & np.isfinite(self.error)


@np.errstate(all="ignore")
def slope_spread(activation: Activation, q: Array) -> SlopeSpread:
    """The spread at variances of shape (n,); infinite, or unknown with an infinite error."""
    moments = activation.moments(q)
    mean, mean_error = moments.value[:, _DPHI2], moments.error[:, _DPHI2]
    square, square_error = moments.value[:, _DPHI4], moments.error[:, _DPHI4]
    ratio = square / mean**2
    value = np.where(np.isnan(ratio), np.inf, np.maximum(ratio - 1, 0.0))
    error = ratio * (square_error / square + 2 * mean_error / mean + 4 * EPS)
    error[~np.isfinite(error)] = np.inf
    kappa, kappa_spread = np.full((2, len(q)), np.nan)
    for i in np.flatnonzero(value < _TELLING):
        *centred, kappa[i], kappa_spread[i] = _centred(activation, float(q[i]))
        if value[i] < _SMALL:
            value[i], error[i] = centred
    return SlopeSpread(q, value, error, _off(activation, q), kappa, kappa_spread)


def _centred(activation: Activation, q: float) -> tuple[float, float, float, float]:
    """Spread, its error, and mean and standard deviation of `kappa`, by sums around the mean."""
    samples = activation.columns(reach_of(q)).samples
    near = np.abs(samples.x) < _SIGMAS * np.sqrt(q)
    x, slope = samples.x[near], samples.slope[near]
    weight = np.exp(-0.5 * x * x / q) * samples.dx[near]
    weight /= np.sum(weight)
    X = slope**2
    mean = weight @ X
    k = 1 - X / mean
    value = weight @ k**2
    noise = 2 * np.abs(slope) * samples.slope_noise[near] / mean
    rounding = np.sqrt(weight @ noise**2) + 4 * EPS
    first, second = weight @ k**3 / value, weight @ k**4 / value
    return (
        float(value),
        float(2 * np.sqrt(value) * rounding + rounding**2),
        float(first),
        float(np.sqrt(max(second - first**2, 0.0))),
    )


def _off(activation: Activation, q: Array) -> Array:
    """The probability of the intervals on which `phi' = 0`."""
    from scipy.special import ndtr

    reach = min(reach_of(float(q.max())), _FARTHEST)
    try:
        pieces = slope_pieces(activation, reach)
    except UnresolvedError:  # it overflows far out
        pieces = slope_pieces(activation, LEAST_REACH)
    off = np.zeros(len(q))
    ends = pieces.left[0], pieces.right[-1]
    for low, high in pieces.flat:
        middle = 0.5 * (max(low, ends[0]) + min(high, ends[1]))
        if pieces.squared(np.array([middle]))[0] == 0:
            a, b = (low, high) if low < 0 else (-high, -low)  # in the tail where nothing cancels
            off += ndtr(b / np.sqrt(q)) - ndtr(a / np.sqrt(q))
    return off
