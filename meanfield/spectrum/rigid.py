"""One layer among others that turn directions and scale them, no more: the law is that of its `X`.

Then the solution runs along the axis of `u`, where the general method has nothing to hold on to.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.spectrum.coupled import Kind
from meanfield.spectrum.single import Image, single_layer

__all__ = ["rigid_but_one"]

Array = NDArray[np.float64]

_WHOLE = 1e-14


@dataclass(frozen=True, eq=False)
class Share:
    """A part of the law of one layer, of which the others pass on a share; like a `Component`."""

    part: Image
    share: float

    low = property(lambda self: self.part.low)
    high = property(lambda self: self.part.high)
    bottom = property(lambda self: self.part.bottom)
    top = property(lambda self: self.part.top)
    inner = property(lambda self: self.part.inner)
    whole = property(lambda self: self.share * self.part.whole)
    error = 0.0

    def density(self, y: Array) -> Array:
        """Of `y`, strictly inside."""
        return self.share * self.part.density(y)

    def tail(self, y: Array) -> Array:
        """`P(log s^2 > y)`, from `bottom` to `top`."""
        return self.share * self.part.tail(y)

    def where(self, above: Array) -> Array:
        """`y` with `tail(y) = above`."""
        return self.part.where(above / self.share)

    @property
    def nodes(self) -> tuple[Array, Array]:
        """Values of `y` and their probabilities, for means over the part."""
        y, mass = self.part.nodes
        return y, self.share * mass


def rigid_but_one(kinds: list[Kind]) -> list[Any] | None:
    """The parts that have a density, if all layers but one are rigid; else None."""
    others = [kind for kind in kinds if not _rigid(kind)]
    if len(others) != 1 or others[0].count != 1:
        return None
    bent, rigid = others[0], [kind for kind in kinds if kind is not others[0]]
    if bent.ratio > 1 or bent.kept < bent.ratio or any(kind.ratio != 1 for kind in rigid):
        return None
    scale = sum(kind.count * (kind.log_weight_var + np.log(kind.law.atoms[0, 0])) for kind in rigid)
    parts = single_layer(bent.law, float(scale) + bent.log_weight_var)
    return [Share(part, 1 / bent.share) for part in parts]


def _rigid(kind: Kind) -> bool:
    return bool(kind.kept == 1 and np.any(kind.law.atoms[:, 1] > 1 - _WHOLE))
