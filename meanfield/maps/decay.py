r"""How correlations approach their fixed point when there are many layers.

Off the edge of chaos exponentially, `c_l - c* ~ exp(-l / depth_scale_c)`. On it the slope at 1 is 1
and the next term of `C` decides. Kinks give `1 - C(1 - g) = g - s g^(3/2) + ...`, with

    s = (2/3) sum_i J_i^2 n(b_i / sqrt(q)) / (sqrt(pi) E[phi'^2]),

`J_i` the jump of `phi'` at `b_i` and `n` the normal density, so that `1 - c_l ~ 4 / (s l)^2`. For a
smooth activation `1 - C(1 - g) = g - C''(1) g^2 / 2 + ...`, so that `1 - c_l ~ 2 / (C''(1) l)`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from meanfield.errors import MeanFieldError
from meanfield.sides import slope_jumps

if TYPE_CHECKING:
    from meanfield.maps.correlation import CorrelationMap

__all__ = ["Decay", "decay_of"]


@dataclass(frozen=True)
class Decay:
    """The law by which the distance to the fixed point falls with depth.

    Attributes:
        kind: `"exponential"`; on the edge of chaos `"kink"` or `"smooth"`, which the activation
            is; `"none"` for a map that changes no correlation.
        limit: the correlation that is approached.
        depth_scale: layers in which the distance falls by 1/e, if exponential; else inf.
        coefficient: `a` in `1 - c_l ~ a / l^power` on the edge of chaos; else nan.
        power: 2 for kinks, 1 for a smooth activation; else nan.
    """

    kind: Literal["exponential", "kink", "smooth", "none"]
    limit: float
    depth_scale: float = float("inf")
    coefficient: float = float("nan")
    power: float = float("nan")

    def __str__(self) -> str:
        if self.kind == "exponential":
            limit = f"|c_l - c*| with c* = {self.limit:.6g}"
            return f"{limit} falls like exp(-l / {self.depth_scale:.6g})"
        if self.kind == "none":
            return "correlations do not change with depth"
        return f"1 - c_l falls like {self.coefficient:.6g} / l" + "^2" * (self.power == 2)


def decay_of(C: "CorrelationMap") -> Decay:
    """The law of a correlation map whose variance is a fixed point.

    Raises:
        ValueError: the slope of `phi` is unbounded, and the network on the edge of chaos.
    """
    point = C.fixed_point()
    if point.slope != 1:
        return Decay("exponential", point.correlation, point.depth_scale)
    half, error = (float(part[0]) for part in C._complement(np.array([0.5]))[::2])
    if abs(half - 0.5) <= error:
        return Decay("none", point.correlation)
    if C.network.activation.is_steep:
        raise MeanFieldError(
            f"C.decay: the slope of {C.network.activation.name} is unbounded, for which no law of "
            "the approach to 1 is known on the edge of chaos; look at C.iterate"
        )
    positions, jumps = slope_jumps(C.network.activation, C.q)
    density = np.exp(-0.5 * positions**2 / C.q) / np.sqrt(2 * np.pi)
    kinks = float(np.sum(jumps**2 * density))
    if kinks > 0:
        s = 2 / 3 * kinks / (np.sqrt(np.pi) * C._of_slopes.second_moment)
        return Decay("kink", 1.0, coefficient=4 / s**2, power=2)
    return Decay("smooth", 1.0, coefficient=2 / C.curvature(1.0), power=1)
