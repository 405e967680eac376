"""`ClipTrajectory`: the variance and the sparsity of clipped networks through the layers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClipTrajectory"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClipTrajectory:
    """The theory of a clipped network layer by layer, the first layer at index 0.

    Attributes:
        name: of the activation.
        width: neurons a layer.
        variance: of the pre-activations at infinite width, shape (depth + 1,), as all others.
        low, median, high: mean squares of the pre-activations below which 5, 50 and 95 % of the
            networks of this width are; inf above 10^6 times the start.
        sparsity: share of silent neurons, the mean over these networks.
    """

    name: str
    width: int
    variance: Array
    low: Array
    median: Array
    high: Array
    sparsity: Array

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw it, with finite networks if wanted; see `meanfield.plot.clip_trajectory`."""
        from meanfield import plot

        return plot.clip_trajectory(self, ax=ax, **options)
