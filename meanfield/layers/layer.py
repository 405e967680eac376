"""What a layer is: a map of the state, and a way to draw a finite one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from meanfield.layers.state import State

__all__ = ["Layer"]


class Layer(ABC):
    """A part of an architecture, seen by what it does to second moments.

    A new layer is one file with a subclass: its map (`__call__`), the same with finite width
    (`sample`), and whether it mixes units with fresh weights (`mixes`).
    """

    #: whether the output is independent of the input, given its second moments
    mixes: bool = False

    @abstractmethod
    def __call__(self, state: State) -> State:
        """The state behind the layer, at infinite width."""

    @abstractmethod
    def sample(self, x: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """The layer of a finite network, weights drawn afresh: signals of shape (n, width)."""

    def in_depth(self, depth: int) -> "Layer":
        """The layer as one of `depth` repetitions: what depends on the depth is then known."""
        return self

    def rescaled(self, scale: float) -> "Layer":
        """The layer with this scale of its residual branches."""
        return self

    def steps(self) -> Iterator["Layer"]:
        """The layers after each of which `propagate` takes a record."""
        yield self
