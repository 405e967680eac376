"""What results of one input and of a pair have in common: a network of some widths."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.ensembles import Ensemble
from meanfield.network import Network

__all__ = ["Layered"]


@dataclass(frozen=True, eq=False, repr=False)
class Layered:
    """A network of finite width; arrays have the first layer's at index 0."""

    network: Network
    ensemble: Ensemble
    width: NDArray[np.int64]
    fan_in: NDArray[np.int64]
    kernel: NDArray[np.float64]

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.kernel)

    def _setting(self) -> dict[str, Any]:
        """What was chosen, by name."""
        return {
            "activation": self.network.activation.name,
            "weight_var": float(self.network.weight_var),
            "bias_var": float(self.network.bias_var),
            "weights": str(self.ensemble),
            "depth": self.depth,
        }
