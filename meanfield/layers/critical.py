r"""The scale of residual branches that keeps the signal of a deep stack O(1).

A block `x + s f(x)` multiplies mean squares by `1 + s^2 chi` at most, `chi` of the branch, so that
`L` blocks keep them within `e^growth` for `s^2 = O(1/L)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import e, exp, inf, log

import numpy as np

from meanfield.errors import NoCriticalPointError
from meanfield.keywords import spelt
from meanfield.layers.composition import repeat
from meanfield.layers.layer import Layer
from meanfield.layers.propagate import propagate
from meanfield.network import digits
from meanfield.whole import whole_number

__all__ = ["CriticalScale", "critical", "fixup_scale"]

_SMALLEST, _LARGEST = 1e-12, 1e12
_FAR = 1e3  # powers of e, for what has overflown


@dataclass(frozen=True, repr=False)
class CriticalScale:
    """The scale of branches at which the signal grows by a given factor.

    Attributes:
        scale: of the branches.
        depth: number of blocks.
        variance_growth: of the mean square of the signal, over all blocks.
        gradient_growth: of the mean squared gradient; the larger of both is what was asked for.
        exponent: `d log scale / d log depth`, between `depth` and twice as many; -1/2 for branches
            without biases.
        error: estimate of the relative error of `scale`.
    """

    scale: float
    depth: int
    variance_growth: float
    gradient_growth: float
    exponent: float
    error: float

    def __float__(self) -> float:
        return self.scale

    def __repr__(self) -> str:
        return (
            f"CriticalScale {digits(self.scale, self.scale * self.error)} of {self.depth} blocks, "
            f"like depth^{self.exponent:.4g}: the signal grows {self.variance_growth:.4g} times, "
            f"gradients {self.gradient_growth:.4g}"
        )


@spelt
def critical(
    block: "Layer | Callable[[float], Layer]",
    over: str = "scale",
    depth: int = 100,
    q: float = 1.0,
    growth: float = e,
) -> CriticalScale:
    r"""The branch scale at which `depth` blocks let signal and gradient grow by a factor.

    Args:
        block: a layer with residual branches, whose scales are replaced; or a function that makes
            the block of a scale (or of anything else that is sought).
        over: `"scale"`.
        depth: number of blocks.
        q: mean square of the input.
        growth: the factor, above 1, of the mean square of signal or gradient, whichever is larger.

    Returns:
        `CriticalScale`; converts with `float()`.

    Raises:
        ValueError: no scale does it: the block has no branch, or does not reach that growth.

    Source: Yang & Schoenholz 2017, arXiv 1712.08969; depth-scaled branches: Hayou et al. 2021,
    arXiv 2010.12859.

    Example:
        >>> import meanfield.layers as ml
        >>> block = ml.residual(ml.serial(ml.dense(2.0), ml.activation("relu"), ml.dense(1.0)))
        >>> round(float(ml.critical(block, over="scale", depth=100)), 6)  # sqrt(e^(1/100) - 1)
        0.100251
    """
    if over != "scale":
        raise ValueError(
            f"over: must be 'scale', got {over!r}; for another parameter give block as a function "
            "of it"
        )
    if not growth > 1 or growth == inf:
        raise ValueError(f"growth: must be a factor above 1, got {growth!r}")
    depth = whole_number("depth", depth)
    if not q > 0:
        raise ValueError(f"q: must be above 0, or there is nothing that grows, got {q!r}")
    make = block.rescaled if isinstance(block, Layer) else block

    def at(scale: float, times: int) -> tuple[float, float, float]:
        trace = propagate(repeat(make(scale), times), q)
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes = trace.variance[-1] / trace.variance[0], trace.gradient[-1]
        return float(sizes[0]), float(sizes[1]), float(trace.error[-1])

    def solved(times: int) -> float:
        from scipy.optimize import brentq

        def excess(t: float) -> float:
            larger = max(at(exp(t), times)[:2])
            return (log(larger) if 0 < larger < inf else _FAR) - log(growth)

        low = high = log(times) * -0.5
        while excess(low) >= 0:
            low -= 2
            if low < log(_SMALLEST):
                raise NoCriticalPointError(
                    f"block: whatever the scale of its branches, {times} blocks let the signal "
                    f"grow by more than {growth:.6g}; has it a residual branch?"
                )
        while excess(high) <= 0:
            high += 2
            if high > log(_LARGEST):
                raise NoCriticalPointError(
                    f"block: no scale of its branches lets the signal of {times} blocks grow by "
                    f"{growth:.6g}; has it a residual branch?"
                )
        return exp(float(brentq(excess, low, high, xtol=1e-15, rtol=1e-14)))  # pyright: ignore

    scale = solved(depth)
    variance, gradient, error = at(scale, depth)
    return CriticalScale(
        scale, depth, variance, gradient, log(solved(2 * depth) / scale) / log(2),
        error / (2 * log(growth)) + 1e-14,
    )  # fmt: skip


@spelt
def fixup_scale(depth: int, layers: int = 2) -> float:
    r"""Fixup's factor `L^(-1/(2m-2))` of the weights in a branch of `m` layers, of `L` branches.

    All but the last layer of a branch take it, on top of their usual initialisation; the last one
    starts at 0, `dense(weight_var=0)`. Variances take its square. The signal of the initial
    network is then that of the skip connections; the factor keeps its first update O(1).

    Args:
        depth: number `L` of branches.
        layers: number `m` of layers in a branch, at least 2.

    Returns:
        The factor, in (0, 1].

    Raises:
        ValueError: a number is too small.
        TypeError: one is not whole.

    Source: Zhang, Dauphin & Ma 2019, arXiv 1901.09321.

    Example:
        >>> import meanfield.layers as ml
        >>> ml.fixup_scale(depth=16, layers=3)
        0.5
    """
    return whole_number("depth", depth) ** (-1 / (2 * whole_number("layers", layers, 2) - 2))
