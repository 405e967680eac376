r"""What the four-point vertex comes to in deep networks: a law for each universality class.

Of `r = V4/K^2` a layer makes `r' = A + B r`, with `A = (C_W <phi^2>/K')^2 (<phi^4>/<phi^2>^2 - 1 +
vertex)` and `B = (K V'(K)/K')^2`; what counts is where the kernel goes.

| class                 | kernel           | A     | B       | r                                   |
| --------------------- | ---------------- | ----- | ------- | ----------------------------------- |
| scale-invariant       | any              | A     | 1       | A l: 5 l for ReLU, 3 l orthogonal   |
| half-stable           | K*, V' = 1       | A     | 1       | A l: 4.90 l for GELU                |
| stable fixed point    | K*, |V'| < 1     | A     | V'^2    | A / (1 - V'^2)                      |
| unstable fixed point  | K*, |V'| > 1     | A     | V'^2    | V'^(2 l)                            |
| K* = 0, V'(0) = 1     | power of l       | A     | 1 - 2/l | A l/3: 2 l/3 for tanh               |
| the same, A = 0       | power of l       | a K   | 1 - 2/l | a limit: -2 for orthogonal tanh     |
| dies out, V'(0) < 1   | exponential in l | A     | 1       | A l: 2 l, that of a linear network  |

In the fifth row `B = 1 - 2/l` whatever the power: `K' = K - b K^p` has `b K^(p-1) = 1/((p-1) l)`.

Source: Roberts, Yaida & Hanin 2022, arXiv 2106.10165, chapter 5; orthogonal weights: Day, Kahn &
Roberts 2023, arXiv 2310.07765.
"""

from dataclasses import dataclass

import numpy as np

from meanfield.activation import Activation
from meanfield.fixedpoints import fixed_points
from meanfield.network import Network
from meanfield.width.averages import averages
from meanfield.width.recursion import layers_of

__all__ = ["Asymptote", "asymptote"]

_SMALL = 1e-6  # a kernel at which ratios are close to their limits, and differences resolved
_ONE = 1e-9  # how far from 1 a slope may be that is meant to be 1


@dataclass(frozen=True, repr=False)
class Asymptote:
    """The law of `V4/K^2` in deep networks; prints as a sentence.

    Attributes:
        kind: `"linear"` (`rate` a layer), `"saturates"` (at `rate`; NaN if it depends
            on the start), `"exponential"` (by a factor
            `rate` a layer) or `"unknown"` (the kernel explodes, or depends on the start).
        rate: see there; NaN if unknown.
        universality_class: a word of the table in `meanfield.width.limits`.
    """

    kind: str
    rate: float
    universality_class: str

    def __str__(self) -> str:
        laws = {
            "linear": f"V4/K^2 grows by {self.rate:.6g} a layer",
            "saturates": "V4/K^2 goes to "
            + (f"{self.rate:.6g}" if np.isfinite(self.rate) else "a limit that the start decides"),
            "exponential": f"V4/K^2 grows by a factor {self.rate:.6g} a layer",
            "unknown": "there is no law of V4/K^2",
        }
        return f"{laws[self.kind]} ({self.universality_class})"

    __repr__ = __str__


def asymptote(network: Network, kernel: float, settled: bool, vertex: float) -> Asymptote:
    """The law for a first kernel, which stays as it is if `settled`."""
    activation = network.activation
    if activation.is_homogeneous and not float(network.bias_var):
        return Asymptote("linear", _step(network, 1.0, vertex)[0], "scale-invariant")
    end = kernel if settled else _end(network, kernel)
    if end is None:
        return Asymptote("unknown", np.nan, "the kernel explodes")
    if end > 0:
        source, power = _step(network, end, vertex)
        if abs(abs(power) - 1) <= _ONE:
            return Asymptote("linear", source, "half-stable")
        if abs(power) < 1:
            return Asymptote("saturates", source / (1 - power**2), "stable fixed point")
        return Asymptote("exponential", power**2, "unstable fixed point")
    return _dying(network, vertex)


def _dying(network: Network, vertex: float) -> Asymptote:
    """Where the kernel goes to 0, and nothing is left but the slopes of `phi` there."""
    source, _ = _step(network, 0.0, vertex)
    if abs(float(network.weight_var) * _slope_at_zero(network.activation) - 1) > _ONE:
        if source:
            return Asymptote("linear", source, "dies out")
        return Asymptote("saturates", np.nan, "dies out")
    if source:
        return Asymptote("linear", source / 3, "K*=0")

    def fixed(kernel: float) -> float:
        near, power = _step(network, kernel, vertex)
        return near / (1 - power**2)

    # what is left at a small kernel is its square root, or smaller
    return Asymptote("saturates", 2 * fixed(_SMALL / 4) - fixed(_SMALL), "K*=0")


def _step(network: Network, kernel: float, vertex: float) -> tuple[float, float]:
    """`A`, and the root of `B`, at a kernel."""
    at = averages(network.activation, np.array([kernel]))
    steps = layers_of(
        at, np.array([vertex]), float(network.weight_var), float(network.bias_var), np.zeros(1)
    )
    source = float(steps.source[0])
    return source if abs(source) > steps.source_error[0] else 0.0, float(steps.power[0])


def _slope_at_zero(activation: Activation) -> float:
    """`lim E[phi^2]/q` as `q` goes to 0."""
    tiny = 1e-30
    return float(averages(activation, np.array([tiny])).phi2[0]) / tiny


def _end(network: Network, kernel: float) -> float | None:
    """The fixed point to which a kernel goes; None if it grows without bound."""
    for point in fixed_points(network):
        if point.q == kernel or any(low < kernel < high for low, high in point.basin or ()):
            return float(point.q)
    return None
