"""The ways to clip: what each makes of any activation, as a function and as an `Activation`."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.errors import MeanFieldError

__all__ = ["CLIPS", "Clip", "clip_named", "refuse_bounded"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Clip:
    """A way to keep values within reach of `m`.

    Attributes:
        name: what it is called in arguments.
        formula: the clipped activation in words.
        below: whether values are bounded below, by `-m`.
        above: whether they are bounded above, by `m`.
        smooth: `m tanh(phi / m)` instead of two kinks.
    """

    name: str
    formula: str
    below: bool
    above: bool
    smooth: bool = False

    def limits(self, m: float) -> tuple[float | None, float | None]:
        """Between which values lie; None for no limit."""
        return (-m if self.below else None), (m if self.above else None)

    def activation(self, phi: Activation, m: float) -> Activation:
        """`phi` clipped at `m`, with its kinks: those of `phi` and where it is cut."""
        if m == inf:
            return phi
        kinks = phi.given_kinks
        if kinks is not None and not self.smooth:
            from meanfield.clip.sampled import crossings

            kinks = np.union1d(kinks, crossings(phi, self, m))
        return Activation(partial(_clipped, phi.function, self, m), kinks,
                          f"{self.formula.format(phi=phi.name, m=f'{m:.6g}')}")  # fmt: skip


CLIPS = {
    clip.name: clip
    for clip in (
        Clip("two-sided", "clip({phi}, -{m}, {m})", below=True, above=True),
        Clip("upper", "min({phi}, {m})", below=False, above=True),
        Clip("lower", "max({phi}, -{m})", below=True, above=False),
        Clip("smooth", "{m} tanh({phi}/{m})", below=True, above=True, smooth=True),
    )
}


def clip_named(name: str) -> Clip:
    """The way to clip of this name, or an error that lists them."""
    if not isinstance(name, str):
        raise TypeError(f"clip: must be one of {', '.join(CLIPS)}; got {name!r}")
    if name not in CLIPS:
        raise ValueError(f"clip: must be one of {', '.join(CLIPS)}; got {name!r}")
    return CLIPS[name]


def _clipped(phi: Callable, clip: Clip, m: float, x: Any) -> Any:
    """`phi(x)` clipped, by the functions of the library to which the values belong."""
    y = phi(x)
    numbers = _library_of(y)
    if clip.smooth:
        return m * numbers.tanh(y / m)
    return numbers.clip(y, *clip.limits(m))


def _library_of(y: Any) -> Any:
    if isinstance(y, jax.Array):
        return jnp
    if type(y).__module__.partition(".")[0] == "torch":
        return sys.modules["torch"]
    return np


_NEAR, _FAR = 4, 14  # octaves of x between which growth is looked at
_SETTLED = 0.8  # a bound is approached: each octave adds less than this share of what the last did
_NOTHING = 1e-6  # of the size that is added in all of them


def refuse_bounded(phi: Activation, clip: Clip) -> None:
    """Raise if `phi` is bounded where it would be clipped.

    It is where `|phi|` stops growing between `|x| = 2^4` and `2^14`, or grows by shares that
    shrink geometrically from octave to octave, as those of `arctan` and unlike those of `log`.
    """
    ends = 2.0 ** np.arange(_NEAR, _FAR + 1)
    # so many places an octave that what oscillates shows its extrema to the share that counts
    x = np.concatenate([np.geomspace(2.0**-10, ends[0], 4096), *(
        np.linspace(low, high, 4096) for low, high in zip(ends[:-1], ends[1:], strict=True)
    )])  # fmt: skip
    with np.errstate(all="ignore"):
        values = phi.sampled.values(np.concatenate([-x, x]))
    size = np.where(clip.above, values, 0.0), np.where(clip.below, -values, 0.0)
    size = np.maximum(*size).reshape(2, len(x)).max(axis=0)
    if not np.all(np.isfinite(size)):  # it overflows: that is growth
        return
    largest = np.maximum.accumulate(size)[np.searchsorted(x, ends, side="right") - 1]
    steps = np.diff(largest)
    grows = steps[-1] > _NOTHING * largest[-1] and steps[-1] > _SETTLED**3 * steps[-4]
    if not grows:
        sides = {(True, True): "|phi|", (False, True): "phi", (True, False): "-phi"}
        raise MeanFieldError(
            f"phi: {phi.name} is bounded already, {sides[clip.below, clip.above]} stays below "
            f"about {largest[-1]:.4g}, so there is nothing to clip; pass the activation without "
            "its bound (for crelu and cst: shifted_relu and soft_threshold), or call critical(phi) "
            "for what it does as it is"
        )
