"""`phi'` on panels: as the function tells it, or by differentiating its values.

Two series are at hand at each node: that of the panel, and that of the piece around it, the
widest panel on which the function is resolved. Noise `e` of the values becomes noise `e / width`
of the derivative, so where values have one size the piece is better (`cos(x)` near 0), and where
they fall with the panels the panel is (`x^3` near 0).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.errors import UnresolvedError
from meanfield.legendre import NODES, ORDER, coefficients, slope_series, tail
from meanfield.panels import Panels
from meanfield.precision import EPS

__all__ = ["FromValues", "from_values", "slopes"]

Array = NDArray[np.float64]

_TORN = 1e-7  # values that rounding moves by sqrt(EPS) and a little more

_vandermonde = np.polynomial.legendre.legvander
_N = np.arange(ORDER)
_STEEPEST = 0.5 * _N * (_N + 1)  # |dP_n/du| at the ends
# Independent noise of one size at the nodes has standard deviation sqrt((2n + 1)/16) in c_n, and
# this at the ends of the derivative of the series up to n.
_NOISE_OF_SLOPE = np.sqrt(np.cumsum(_STEEPEST**2 * (2 * _N + 1) / ORDER))


class FromValues(NamedTuple):
    """What the values say at the nodes of panels, shape (panels, 16)."""

    slope: Array
    doubt: Array  # of the slope, one number a panel
    trusted: NDArray[np.bool_]  # whether the panel and the piece are resolved
    missed: Array  # edges of panels whose values are not those of the pieces around


def from_values(panels: Panels, pieces: Panels, eps: float) -> FromValues:
    """Differentiate values at the nodes of `panels`, on each by the better of its two series."""
    shape, x = panels.x.shape, panels.x.ravel()
    width = pieces.right - pieces.left
    which, u = pieces.places(x)
    powers = _vandermonde(u, 15)
    series, derivative, doubt, noise = _derivatives(pieces, eps)
    value = np.sum(powers * series[which], axis=1).reshape(shape)
    slope = np.sum(powers[:, :-1] * derivative[which], axis=1).reshape(shape)
    trusted = panels.finished[:, None] & pieces.finished[which].reshape(shape)
    miss = np.abs(value - panels.value)
    noise = np.maximum(panels.noise[:, None], noise[which].reshape(shape))
    far = miss > max(1e-9, 10 * eps) * np.max(np.abs(panels.value)) + 100 * noise
    bad = np.any(far & trusted, axis=1)
    excess = np.where(trusted, 100 * np.maximum(miss - 4 * noise, 0.0), np.inf)
    beside = np.max((doubt[which] + excess.ravel() / width[which]).reshape(shape), axis=1)
    _, own, own_doubt, _ = _derivatives(panels, eps)
    better = own_doubt < beside
    # where a panel is torn by rounding alone, as arcsin(sin(x)) is beside its kinks, the piece
    # around it has the slope, give or take as much
    torn = ~panels.finished & np.all(pieces.finished[which].reshape(shape), axis=1)
    torn &= np.max(miss, axis=1) <= _TORN * np.max(np.abs(panels.value), axis=1)
    better &= ~torn
    beside = np.where(torn, np.max(np.abs(slope), axis=1), beside)
    slope[better] = own[better] @ _vandermonde(NODES, ORDER - 2).T
    edges = np.union1d(panels.left[bad], panels.right[bad])
    return FromValues(slope, np.where(better, own_doubt, beside), trusted, edges)


def _derivatives(panels: Panels, eps: float) -> tuple[Array, Array, Array, Array]:
    """Series, their derivatives without the noise at their ends, doubt of these; noise of values.

    A smooth function's coefficients fall until they are noise. Left in, noise in the last of them
    is 120 times as much in the derivative: `relu` in float32 needs only the first two.
    """
    width = panels.right - panels.left
    value = np.where(np.isfinite(panels.value), panels.value, 0.0)
    series = coefficients(value)
    noise = np.maximum(panels.noise, EPS * np.max(np.abs(value), axis=1))
    clear = np.abs(series) > 1.5 * noise[:, None]
    last = np.where(np.any(clear, axis=1), ORDER - 1 - np.argmax(clear[:, ::-1], axis=1), 0)
    beyond = _N - last[:, None]
    left_out = np.abs(series) * ((beyond > 0) & (beyond <= 2)) @ _STEEPEST
    doubt = 4 / width * (_NOISE_OF_SLOPE[last] * noise + left_out)
    # where a panel is not resolved beside a cusp |x - b|^a, or only beside larger values, the mean
    # square of phi' is that of its mean slope times a^2 / (2a - 1)
    range_, size = np.ptp(value, axis=1), np.max(np.abs(value), axis=1)
    rough = ~panels.finished | (tail(series) > 1e-5 * range_ + 4 * eps * size)
    doubt = np.where(rough, np.maximum(panels.finished * doubt, 3 * range_ / width), doubt)
    kept = np.where(beyond <= 0, series, 0.0)
    return series, slope_series(kept, width), doubt, noise


def slopes(panels: Panels, seen: FromValues) -> tuple[Array, Array]:
    """`phi'` at the nodes of the panels, and what it may be wrong by, one number a panel.

    Raises:
        UnresolvedError: the function's own derivative is not that of its values; or it has none,
            and its values cannot be differentiated.
    """
    if panels.slope is None:
        if len(seen.missed):
            raise UnresolvedError(
                f"activation: it has a feature near x = {seen.missed[0]:.6g} too narrow to be "
                "differentiated from values alone; write it in JAX, or give `kinks=`"
            )
        return seen.slope, seen.doubt
    gap, size = np.abs(panels.slope - seen.slope), np.abs(panels.slope)
    wrong = seen.trusted & (gap > 1e-4 * size + 1e6 * seen.doubt[:, None])
    wrong &= gap > 1e-4 * np.max(np.abs(seen.slope))
    if np.mean(wrong) > 0.02:
        raise UnresolvedError(
            f"activation: its derivative by jax.jvp is {panels.slope[wrong][0]:.6g} at x = "
            f"{panels.x[wrong][0]:.6g}, but its values have slope {seen.slope[wrong][0]:.6g}. A "
            "custom derivative (straight-through estimator, stop_gradient) has no single "
            "mean-field theory: pass the function without it"
        )
    return panels.slope, panels.slope_noise
