r"""Initial guessing bias: how unevenly an untrained network predicts its classes.

Outputs of one network over many inputs are Gaussian around a centre that differs from unit to unit.
With the correlation `c` of two inputs, centre and spread have the ratio of variances

    gamma = c / (1 - c),

so of two classes the first is predicted for a share `Phi(sqrt(gamma) xi)` of the inputs, with one
normal `xi` for each network: even at `gamma = 0`, uniform at 1, all or nothing as `c -> 1`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.arrays import ArrayResult
from meanfield.criticality import checked_numbers
from meanfield.keywords import spelt
from meanfield.maps.correlation import correlation_map
from meanfield.network import FixedPoint, Network

__all__ = ["GuessingBias", "guessing_bias"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class GuessingBias(ArrayResult):
    """Layer by layer; `np.asarray` gives `gamma`.

    Attributes:
        network: the `Network`.
        gamma: centre over spread of the outputs after so many layers, shape `(depth + 1,)`.
    """

    _main = "gamma"

    network: Network
    gamma: Array

    def share_quantile(self, p: ArrayLike) -> Array:
        """The share of inputs guessed as the first of two classes, by its quantile `p`.

        `Phi(sqrt(gamma) Phi^-1(p))` with the last layer as the output.
        """
        from scipy.special import ndtr, ndtri

        x = ndtri(_share("p", p))
        with np.errstate(invalid="ignore"):
            return ndtr(np.where(x == 0, 0.0, np.sqrt(self.gamma[-1]) * x))[()]

    def share_density(self, share: ArrayLike) -> Array:
        """Density over networks of that share, in [0, 1].

        All of it is at 1/2 if `gamma` is 0, and at 0 and 1 if it is inf.
        """
        from scipy.special import ndtri

        x, gamma = ndtri(_share("share", share)), self.gamma[-1]
        if gamma == 0:
            return np.where(x == 0, np.inf, 0.0)
        if gamma == np.inf:
            return np.where(np.abs(x) == np.inf, np.inf, 0.0)
        if gamma == 1:
            return np.ones_like(x)
        return np.exp(0.5 * x**2 * (1 - 1 / gamma)) / np.sqrt(gamma)

    def __repr__(self) -> str:
        low, high = self.share_quantile([0.25, 0.75])
        return (
            f"GuessingBias of {self.network!r} after {len(self) - 1} layers: gamma = "
            f"{self.gamma[-1]:.6g}; half of all networks guess the first of two classes for "
            f"{100 * low:.3g} % to {100 * high:.3g} % of the inputs"
        )


def _share(name: str, values: ArrayLike) -> Array:
    checked = checked_numbers(name, values)
    if not np.all((checked >= 0) & (checked <= 1)):
        raise ValueError(f"{name}: must be from 0 to 1, got {values!r}")
    return checked


@spelt
def guessing_bias(
    network: Network | FixedPoint, depth: int, correlation: float = 0.0, q: float | None = None
) -> GuessingBias:
    r"""How unevenly a network of random weights predicts its classes, before it has seen any data.

    `gamma_l = c_l / (1 - c_l)` with the correlation of two inputs after `l` layers.

    Args:
        network: a `Network` or a `FixedPoint`.
        depth: number of layers.
        correlation: of the pre-activations that two random inputs make in the first layer.
        q: their variance, as for `correlation_map`.

    Returns:
        `GuessingBias`.

    Raises:
        ValueError: the correlation is outside [0, 1).

    Source: Francazi, Lucchi & Baity-Jesi 2024, arXiv 2306.00809; the equivalence to mean-field
    theory: Bassi et al. 2025, arXiv 2505.12096.

    Example:
        >>> import meanfield as mf
        >>> mf.guessing_bias(mf.Network("relu", weight_var=2.0), depth=5).gamma.round(5)
        array([0.     , 0.46694, 0.97523, 1.53053, 2.13434, 2.78711])
    """
    if not 0 <= correlation < 1:
        raise ValueError(f"correlation: must be in [0, 1), got {correlation!r}")
    way = correlation_map(network, q).iterate(correlation, depth)
    with np.errstate(divide="ignore"):
        return GuessingBias(way.network, np.clip(way.correlation, 0.0, 1.0) / way.one_minus)
