"""`Simulation`: an ensemble of finite networks, measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.network import Network
from meanfield.simulation.estimates import Estimate, estimates

if TYPE_CHECKING:
    pass

__all__ = ["Simulation"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Simulation:
    r"""An ensemble of finite networks, measured layer by layer; made by `simulate`.

    Arrays have length `depth`; index 0 is the first layer's pre-activation. Each estimate `x` comes
    with its standard error `x_error`. Means of what has heavy tails (variances of deep networks)
    are dominated by draws that are rarely drawn: there look at medians and logarithms.

    Attributes:
        network: the `Network`, with the weight ensemble that was drawn.
        q: the variance of the first layer's pre-activations.
        start_correlation: that of the first layer's pre-activations of the two inputs.
        width: of each layer, shape (depth,).
        draws: networks that were drawn.
        requested: networks that were asked for: more, if the run was interrupted.
        key: what made the random numbers.
        samples: what was measured in each network, by name, shape (draws, depth): `mean_square`
            and `mean_fourth` (of the pre-activations of the first input), `sparsity` (share of
            its activations that are 0), `overlap` (mean product of the two inputs'
            pre-activations), `one_minus_correlation` (1 minus their cosine), `log_gradient`
            (`log |J u|^2` for the Jacobian `J` from the first layer's pre-activations and a
            random unit `u`; 0 at the first layer), and if asked for `tangent_kernel` (mean of
            its diagonal).
        jacobian_singular_values: if asked for, of the derivative of the last layer's activations
            in the inputs, a product of as many layers as `depth`; shape (draws, width),
            descending. Else None.
        seconds: what it took.
    """

    network: Network
    q: float
    start_correlation: float
    width: NDArray[np.int64]
    draws: int
    requested: int
    key: Any
    samples: Mapping[str, Array]
    jacobian_singular_values: Array | None = None
    seconds: float = 0.0

    @cached_property
    def estimates(self) -> dict[str, Estimate]:
        """All estimates with their standard errors, by name."""
        return estimates(self.samples, self.width.astype(float))

    def __getattr__(self, name: str) -> Array:
        """An estimate, or with `_error` its standard error."""
        if name.startswith("__") or "samples" not in self.__dict__:
            raise AttributeError(name)
        found = self.estimates
        if name in found:
            return found[name].value
        if name.endswith("_error") and name[:-6] in found:
            return found[name[:-6]].error
        raise AttributeError(
            f"a Simulation has no {name!r}; its estimates, each also with _error, are "
            f"{', '.join(found)}"
        )

    def __dir__(self) -> list[str]:
        names = [name + end for name in self.estimates for end in ("", "_error")]
        return sorted({*super().__dir__(), *names})

    @property
    def activation(self) -> Activation:
        """The activation of the network."""
        return self.network.activation

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.width)

    def escaped(self, threshold: float) -> float:
        """The share of draws whose mean square is above `threshold` in any layer.

        What grew beyond float64, or beyond where the activation is known, is above it.
        """
        return float(np.mean(self._escaping(threshold)))

    def escaped_error(self, threshold: float) -> float:
        """The standard error of `escaped`: of a share with one success and one failure more."""
        share = (np.sum(self._escaping(threshold)) + 1) / (self.draws + 2)
        return float(np.sqrt(share * (1 - share) / (self.draws + 3)))

    def _escaping(self, threshold: float) -> NDArray[np.bool_]:
        return ~np.all(self.samples["mean_square"] <= threshold, axis=1)
