"""Signals through an architecture, layer by layer, and what has become of them at its end."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.keywords import spelt
from meanfield.layers.composition import serial
from meanfield.layers.layer import Layer
from meanfield.layers.state import start
from meanfield.network import span

__all__ = ["Trace", "TraceVerdict", "propagate"]

Array = NDArray[np.float64]

_KEPT = 2.0  # powers of e by which a signal may change and count as kept
_STEADY = 0.75  # of its rate half way: a power law has half of it, an exponential all
_ONE = 1e-2  # inputs whose 1 - c is below are one input
_LEAST = 8  # steps that tell a law


class TraceVerdict(StrEnum):
    """What an architecture does to signals and gradients, in a sentence with the next step."""

    EXPLODES = (
        "explodes: the signal or its gradient grows exponentially with depth; lower the weight "
        "variances, or the scale of the branches to what critical(block) gives"
    )
    VANISHES = (
        "vanishes: the signal or its gradient falls exponentially with depth; raise the weight "
        "variances, or put a skip connection beside the block"
    )
    GROWS = (
        "grows as a power of depth: trainable to large depth with care; branches scaled by "
        "depth^(-1/2) keep the size of the signal"
    )
    COLLAPSES = (
        "collapses: the signal keeps its size, but inputs become one (correlation above 0.99); "
        "scale the branches down, or take an activation closer to linear"
    )
    KEPT = "kept: signal and gradient keep their size, and inputs their difference; use it"


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """Second moments layer by layer; index 0 is the input, shapes begin with `steps + 1`.

    For one `q` and one `correlation` each entry is a number, for `n` signals `(n,)` or `(n, n)`.

    Attributes:
        layer: the architecture.
        variance: mean squares.
        one_minus: `1 - c`, to full relative precision; None for one input.
        gradient: growth of the mean squared gradient from the input: the averaged partial
            Jacobian `E|dx_l/dx_0|^2 / n`.
        error: estimate of the relative errors of all of them, shape `(steps + 1,)`.
    """

    layer: Layer
    variance: Array
    one_minus: Any
    gradient: Array
    error: Array

    @property
    def correlation(self) -> Any:
        """Correlations `c`; None for one input."""
        return None if self.one_minus is None else 1 - self.one_minus

    def __len__(self) -> int:
        return len(self.variance)

    def partial_jacobian(self, first: int, last: int) -> Any:
        """`E|dx_last / dx_first|^2 / n`, the growth between two steps."""
        return self.gradient[last] / self.gradient[first]

    @property
    def exponent(self) -> float:
        """The power `zeta` of depth with which the gradient grows: `partial_jacobian ~ l^zeta`.

        Taken between half of the depth and all of it; for an exponential it has no meaning, and
        grows with depth. Doshi, He & Gromov 2023, arXiv 2111.12143.
        """
        last = len(self) - 1
        if last < 2:
            raise ValueError(f"exponent: takes two steps at least, got {last}")
        ratio = np.max(np.atleast_1d(self.partial_jacobian(last // 2, last)))
        return float(np.log(ratio) / np.log(last / (last // 2)))

    @property
    def verdict(self) -> TraceVerdict:
        """What becomes of signals and gradients."""
        variance, gradient = (
            np.reshape(part, (len(self), -1)) for part in (self.variance, self.gradient)
        )
        # of inputs that are 0 there is no growth, and some gradients are not known
        sizes = np.concatenate([
            variance[:, variance[0] > 0],
            gradient[:, ~(np.any(np.isnan(gradient), axis=0) & np.all(np.isfinite(variance)))],
        ], axis=1)  # fmt: skip
        if not sizes.shape[1]:
            sizes = np.ones((len(self), 1))
        with np.errstate(all="ignore"):
            logs = np.log(sizes) - np.log(sizes[0])
        if not np.all(np.isfinite(logs)):
            up = np.any(np.isposinf(logs)) or np.any(np.isnan(logs))
            return TraceVerdict.EXPLODES if up else TraceVerdict.VANISHES
        most = logs[:, int(np.argmax(np.abs(logs[-1])))]
        if abs(most[-1]) > _KEPT:
            last = len(most) - 1
            late, early = most[last] - most[last - last // 4], most[last // 2] - most[last // 4]
            rates = late / max(last // 4, 1), early / max(last // 2 - last // 4, 1)
            if last < _LEAST or abs(rates[0]) > _STEADY * abs(rates[1]):
                return TraceVerdict.EXPLODES if most[-1] > 0 else TraceVerdict.VANISHES
            return TraceVerdict.GROWS if most[-1] > 0 else TraceVerdict.VANISHES
        gaps = None if self.one_minus is None else [self._largest_gap(step) for step in (0, -1)]
        if gaps is not None and gaps[1] < _ONE <= gaps[0]:
            return TraceVerdict.COLLAPSES
        return TraceVerdict.KEPT

    def _largest_gap(self, step: int) -> float:
        gap = np.asarray(self.one_minus)[step]
        if gap.ndim == 2:
            gap = gap[~np.eye(len(gap), dtype=bool)]
        return float(np.max(gap, initial=0.0))

    def __repr__(self) -> str:
        lines = [f"Trace of {len(self) - 1} steps"]
        parts = {"variance": self.variance, "gradient": self.gradient, "1 - c": self.one_minus}
        for name, part in parts.items():
            if part is not None:
                texts = (span(_distinct(part[k]), float(self.error[k])) for k in (0, -1))
                lines.append(f"  {name:10} {' to '.join(texts)}")
        return "\n".join([*lines, f"  {self.verdict}"])

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw it with `meanfield.plot.trace`; returns the Axes."""
        from meanfield import plot

        return plot.trace(self, ax=ax, **options)


def _distinct(values: Any) -> Array:
    """Numbers of signals, or those of distinct pairs."""
    values = np.asarray(values)
    return values[np.triu_indices(len(values), 1)] if values.ndim == 2 else values


@spelt
def propagate(layer: Layer, q: ArrayLike = 1.0, correlation: ArrayLike | None = None) -> Trace:
    r"""Mean-field state through an architecture: variances, correlations, gradients.

    Args:
        layer: an architecture, as made by `serial`, `repeat`, `residual`, ...; a record is taken
            after each layer of a `serial` and each repetition of a `repeat`.
        q: mean square of the input signal, Gaussian; or `n` of them.
        correlation: of two inputs; or an `n x n` matrix. None for one input.

    Returns:
        A `Trace`, with the input at index 0.

    Raises:
        ValueError: a layer gets what it has no map for, as an activation behind an activation.

    Source: Yang & Schoenholz 2017, arXiv 1712.08969, for residual networks.

    Example:
        >>> import meanfield.layers as ml
        >>> block = ml.residual(
        ...     ml.serial(ml.dense(2.0), ml.activation("gelu"), ml.dense(1.0)), scale=0.1
        ... )
        >>> trace = ml.propagate(ml.repeat(block, 100), q=1.0, correlation=0.3)
        >>> [round(float(x), 4) for x in (trace.variance[-1], trace.correlation[-1])]
        [2.5786, 0.4042]
    """
    serial(layer)  # of the right type
    state = start(q, correlation)
    single = np.ndim(q) == 0 and (correlation is None or np.ndim(correlation) == 0)
    states = [state]
    with np.errstate(over="ignore", invalid="ignore"):  # what has overflown is inf, or unknown
        for step in layer.steps():
            state = step(state)
            states.append(state)
    variance, gradient = (
        np.stack([part(s) for s in states])
        for part in (lambda s: s.variance, lambda s: np.diag(s.tangent))
    )
    one_minus = None if correlation is None and single else np.stack([s.one_minus for s in states])
    if single:
        if np.any(variance != variance[:, :1]):
            raise ValueError(
                "q: the layers treat the inputs differently; give a variance for each, as an array"
            )
        variance, gradient = variance[:, 0], gradient[:, 0]
        one_minus = None if one_minus is None else one_minus[:, 0, 1]
    error = [s.error if one_minus is None else max(s.error, s.one_minus_error) for s in states]
    return Trace(layer, variance, one_minus, gradient, np.array(error))
