r"""Activations seen from near and from afar: `phi(b x) / s`, with powers of 2 for `b` and `s`.

Samples of an activation end somewhere, towards 0 and outwards. A signal of variance `q` is one of
variance `q / b^2` to `phi(b x)`, which is sampled where that signal is. And of two signals whose
sizes differ by many digits, each divided by its own `s`, half the mean squared difference keeps
those digits that `1 - c` has.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, remembered
from meanfield.bivariate import difference
from meanfield.errors import UnresolvedError
from meanfield.gaussian import MOMENTS
from meanfield.maps.moment import second_moment
from meanfield.sides import LEAST_SIGMAS, Side, side_of

__all__ = ["far_apart", "half_of", "size_of", "zoomed"]

Array = NDArray[np.float64]

_NEAR, _FAR = 1e-9, 1e60  # variances between which samples are: features would be lost
_ZOOM = 8  # powers of 2 between two looks


def half_of(q: float) -> int:
    """The power of 2 of `b` at which a variance is 1, or somewhat less; 0 where none is needed."""
    if _NEAR <= q <= _FAR:
        return 0
    return int(np.ceil(0.5 * np.log2(q) / _ZOOM)) * _ZOOM


def size_of(activation: Activation, q: float) -> int:
    """The power of 2 that is next to the root of `E[phi^2]`."""
    second = float(second_moment(activation, np.array([q]), derivatives=False).value[0])
    if not 0 < second < np.inf:
        raise UnresolvedError(activation.why_not(q, "E[phi^2]"))
    return round(0.5 * float(np.log2(second)))


@remembered
def zoomed(activation: Activation, half: int, size: int) -> Activation:
    """`phi(b x) / s` with `b = 2^half`, `s = 2^size`."""
    b, s, phi = 2.0**half, 2.0**size, cast(Callable[[Any], Any], activation)
    return Activation(lambda x: phi(b * x) / s, name=activation.name)


def far_apart(
    activation: Activation, pair: tuple[float, float], g: Array, derivative: bool
) -> tuple[Array, Array]:
    """`1 - c` of `phi` at two variances, or `E[phi' phi']`, at `c = 1 - g`; and its error."""
    near: list[tuple[Activation, float]] = []
    for q in pair:
        half = half_of(q)
        size = half if derivative else size_of(activation, q)
        near.append((zoomed(activation, half, size), q / 4.0**half))
    moments = [of.moments(np.array([q])) for of, q in near]
    column = MOMENTS.index("dphi2" if derivative else "phi2")
    seconds = np.array([m.value[0, column] for m in moments])
    doubt = float(sum(m.error[0, column] for m in moments))

    def sides(mirrored: bool) -> list[Side]:
        """Both reach equally far, as those of `meanfield.bivariate.Covariance`."""
        least = LEAST_SIGMAS
        for _ in range(2):
            found = [
                side_of(of, q, mirror, derivative, least)
                for (of, q), mirror in zip(near, (False, mirrored), strict=True)
            ]
            least = max(side.reach for side in found)
        return found

    value, bound = np.empty_like(g), np.empty_like(g)
    for here, mirrored, gap in ((g <= 1, False, g), (g > 1, True, 2 - g)):
        if np.any(here):
            found = difference(*sides(mirrored))(gap[here])
            value[here], bound[here] = found.value, found.error
    if derivative:
        return 0.5 * np.sum(seconds) - value, bound + doubt
    first, second = np.sqrt(seconds)
    value = (value - 0.5 * (first - second) ** 2) / (first * second)
    return np.clip(value, 0.0, 2.0), (bound + doubt) / (first * second)
