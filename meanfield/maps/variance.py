r"""The variance map: what one layer does to the variance of the pre-activations.

    V(q) = weight_var E[phi(sqrt(q) z)^2] + bias_var,    z ~ N(0, 1)

Its slope is taken by Stein's lemma, never from `phi''`, so kinks and jumps do no harm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import Activation
from meanfield.criticality import checked_variances
from meanfield.errors import UnresolvedError
from meanfield.keywords import spelt
from meanfield.maps.moment import SecondMoment, second_moment
from meanfield.network import FixedPoint, Network
from meanfield.precision import EPS, is_traced

if TYPE_CHECKING:
    from meanfield.maps.variance_trajectory import VarianceTrajectory

__all__ = ["VarianceMap", "network_of", "variance_map"]

Array = NDArray[np.float64]


def network_of(network: Network | FixedPoint, name: str = "network") -> Network:
    """The one network that the argument is or belongs to, or an error that says what it must be."""
    if isinstance(network, FixedPoint):
        network = network.network
    if not isinstance(network, Network):
        raise TypeError(
            f"{name}: must be a Network or a FixedPoint, got {network!r}; make one with "
            "Network(phi, weight_var, bias_var), or with critical(phi)"
        )
    parts = (network.weight_var, network.bias_var)
    if network.activation.is_traced or is_traced(*parts):
        raise TypeError(
            f"{name}: it depends on a value that a JAX transformation is tracing; take this "
            "outside the transformation"
        )
    if any(np.ndim(part) for part in parts):
        raise ValueError(
            f"{name}: must have one weight_var and one bias_var, got arrays of shapes "
            f"{np.shape(parts[0])} and {np.shape(parts[1])}; take them one by one, or call "
            "phase_diagram for a grid"
        )
    return network


@dataclass(frozen=True, eq=False)
class VarianceMap:
    """`V(q)` of a network; see `variance_map`.

    Attributes:
        network: the `Network`.
    """

    network: Network

    @property
    def activation(self) -> Activation:
        """The activation of the network."""
        return self.network.activation

    @property
    def weight_var(self) -> float:
        """`sigma_w^2` as a float."""
        return float(self.network.weight_var)

    @property
    def bias_var(self) -> float:
        """`sigma_b^2` as a float."""
        return float(self.network.bias_var)

    def __call__(self, q: ArrayLike) -> Any:
        """`V(q)`, the variance after one layer.

        Args:
            q: variances of the pre-activations, not negative; any shape.

        Returns:
            A float for a number, else an array of the shape of `q`; `inf` where it overflows, and
            the limit from above at 0.

        Raises:
            UnresolvedError: the activation cannot be computed as far out as this `q` needs.
            ValueError: an entry is negative or not finite.
        """
        return self._each(q, lambda q, m: self.weight_var * m.value + self.bias_var)

    def slope(self, q: ArrayLike) -> Any:
        """`V'(q)`; arguments and result as those of a call. It can be infinite at 0."""
        return self._each(q, lambda q, m: self.weight_var * m.first, derivatives=True)

    def curvature(self, q: ArrayLike) -> Any:
        """`V''(q)`; arguments and result as those of a call. It can be infinite at 0."""
        return self._each(q, lambda q, m: self.weight_var * m.second, derivatives=True)

    def error(self, q: ArrayLike) -> Any:
        """A bound of the absolute error of `V(q)`; arguments and result as those of a call."""
        return self._each(q, lambda q, m: self.error_of(m))

    def error_of(self, m: SecondMoment) -> Array:
        """A bound of the error of `V`, that of rounding the variances to float64 included."""
        return self.weight_var * (m.error + 2 * EPS * m.value) + EPS * self.bias_var

    @np.errstate(all="ignore")
    def _each(
        self, q: ArrayLike, of: Callable[[Array, SecondMoment], Array], derivatives: bool = False
    ) -> Any:
        variances = checked_variances("q", q, ">= 0")
        flat = variances.ravel()
        moment = second_moment(self.activation, flat, derivatives=derivatives)
        unknown = np.isinf(moment.error) & (moment.value != np.inf)
        if np.any(unknown):
            raise UnresolvedError(
                self.activation.why_not(float(flat[np.argmax(unknown)]), "E[phi^2]")
            )
        result = of(flat, moment)
        return float(result[0]) if variances.ndim == 0 else result.reshape(variances.shape)

    def iterate(self, q0: ArrayLike, depth: int) -> "VarianceTrajectory":
        """The variances through `depth` layers.

        They are taken from a table of `E[phi^2]`, so that a million layers take seconds.

        Args:
            q0: variances at the start; any shape.
            depth: number of layers, not negative.

        Returns:
            A `VarianceTrajectory`, whose first entry is `q0`.

        Raises:
            UnresolvedError: the trajectory goes where the activation cannot be computed.
            ValueError: `q0` or `depth` is negative or not finite.

        Example:
            >>> import meanfield as mf
            >>> V = mf.variance_map(mf.Network("relu", weight_var=1.0))
            >>> V.iterate(q0=1.0, depth=3).variance
            array([1.   , 0.5  , 0.25 , 0.125])
        """
        from meanfield.maps.variance_trajectory import variance_trajectory

        return variance_trajectory(self, checked_variances("q0", q0, ">= 0"), depth)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw `V(q)` with its fixed points; see `meanfield.plot.variance_map`."""
        from meanfield import plot

        return plot.variance_map(self, ax=ax, **options)

    def __repr__(self) -> str:
        return f"VarianceMap of {self.network!r}: call it with q, or iterate(q0, depth)"


@spelt
def variance_map(network: Network | FixedPoint) -> VarianceMap:
    r"""The variance map `V(q) = weight_var E[phi(sqrt(q) z)^2] + bias_var` of a network.

    Args:
        network: a `Network` or a `FixedPoint`, with one weight and one bias variance.

    Returns:
        A `VarianceMap`: `V(q)`, `V.slope(q)`, `V.curvature(q)`, `V.error(q)` take any shape of
        `q`, and `V.iterate(q0, depth)` takes variances through many layers.

    Raises:
        TypeError: `network` is none, or depends on a value that JAX traces.
        ValueError: its variances are arrays.

    Source: Poole et al. 2016, arXiv 1606.05340, equation 3.

    Example:
        >>> import meanfield as mf
        >>> V = mf.variance_map(mf.Network("relu", weight_var=1.5, bias_var=0.1))
        >>> V(0.4), V.slope(0.4)
        (0.4, 0.75)
    """
    return VarianceMap(network_of(network))
