r"""What an edge of chaos needs to know of a clipped activation, at many clip levels at once.

With `phi_m` the activation clipped at `m` and `z ~ N(0, q)`, the edge at `q` is

    weight_var = 1 / E[phi_m'^2],    bias_var = q - weight_var E[phi_m^2],
    V'(q) = weight_var dE[phi_m^2]/dq,    V''(q) = weight_var d^2 E[phi_m^2]/dq^2,

and the noise of its variance at finite width takes `E[phi_m^4]` besides.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Clippable", "ClippedEdge", "ClippedMoments", "edge_of"]

Array = NDArray[np.float64]


class ClippedMoments(NamedTuple):
    """Moments at clip levels and variances, arrays of one shape."""

    second: Any  # E[phi_m^2]
    gradient: Any  # E[phi_m'^2]
    first: Any  # dE[phi_m^2]/dq
    bend: Any  # d^2 E[phi_m^2]/dq^2
    fourth: Any  # E[phi_m^4]


class Clippable(Protocol):
    """An activation whose moments are had for many clip levels at once."""

    def moments(self, m: Any, q: Any) -> ClippedMoments:
        """Moments for levels and variances that broadcast."""
        ...

    def second(self, m: Any, q: Any) -> tuple[Any, Any]:
        """`E[phi_m^2]` and its derivative in `q` alone: all that the variance map takes."""
        ...

    def levels(self, q: float) -> Array:
        """Clip levels between which all that depends on `m` is smooth, increasing; shape (n,).

        Below the first one and above the last one nothing changes that a float64 could show.
        """
        ...


class ClippedEdge(NamedTuple):
    """The edge of chaos at one `q` along clip levels, arrays of their shape, valid or not."""

    weight_var: Array
    bias_var: Array
    slope: Array
    curvature: Array
    source: Array  # weight_var^2 (E[phi^4] - E[phi^2]^2), what a layer adds to n Var(q)


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # where nothing is left: nan
def edge_of(moments: ClippedMoments, q: Array | float) -> ClippedEdge:
    """The edge at `q` from the moments there."""
    w = 1 / moments.gradient
    return ClippedEdge(
        weight_var=w,
        bias_var=q - w * moments.second,
        slope=w * moments.first,
        curvature=w * moments.bend,
        source=w * w * (moments.fourth - moments.second**2),
    )
