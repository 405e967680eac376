"""`ClipTrajectory`: the variance and the sparsity of clipped networks through the layers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.clip.chain import Chain
from meanfield.gaussian import MOMENTS
from meanfield.maps.variance import variance_map
from meanfield.network import FixedPoint

__all__ = ["ClipTrajectory", "trajectory_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        return (
            f"ClipTrajectory of {self.name}: {len(self.variance)} layers, variance "
            f"{self.variance[0]:.6g} to {self.variance[-1]:.6g}; of networks of width {self.width} "
            f"90 % end between {self.low[-1]:.3g} and {self.high[-1]:.3g}"
        )


def trajectory_of(point: FixedPoint, width: int, chain: Chain, q0: float) -> ClipTrajectory:
    """The trajectory from `q0` at infinite width, beside the chain of the networks of a width."""
    # those that have left for good are at the last variance for all that sparsity tells
    variances = np.append(chain.variance, chain.edges[-1])
    sparsity = point.activation.moments(variances).value[:, MOMENTS.index("sparsity")]
    return ClipTrajectory(
        point.activation.name,
        width,
        np.asarray(variance_map(point).iterate(q0, len(chain.left) - 1), np.float64),
        *chain.quantiles((0.05, 0.5, 0.95)),
        sparsity=np.column_stack([chain.probability, chain.left]) @ sparsity,
    )
