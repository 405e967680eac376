r"""Two inputs at once: the four-point vertices and kernel corrections of a pair.

With indices a, b, c, d over the two inputs, and `F_ab = C_W <phi_a phi_b> + C_b`,

    V'_(ab)(cd) = C_W^2 (<phi_a phi_b phi_c phi_d> - <phi_a phi_b><phi_c phi_d>
                  + vertex/2 (<phi_a phi_c><phi_b phi_d> + <phi_a phi_d><phi_b phi_c>))
                  + (n'/n) sum dF_ab/dK_ef dF_cd/dK_gh V_(ef)(gh)
    G1'_ab = (n'/n) (sum dF_ab/dK_ef G1_ef + sum d^2 F_ab/dK_ef dK_gh V_(ef)(gh) / 2)

where sums are over K11, K12 = K21, K22 once each. `vertex` is 0 for Gaussian weights and -2 for
square orthogonal ones, which start at `-(K_ac - C_b)(K_bd - C_b) - (K_ad - C_b)(K_bc - C_b)`.

Source: Roberts, Yaida & Hanin 2022, arXiv 2106.10165, chapter 4; orthogonal weights: Day, Kahn &
Roberts 2023, arXiv 2310.07765.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.errors import MeanFieldError
from meanfield.gaussian import MOMENTS
from meanfield.keywords import spelt
from meanfield.maps.correlation import correlation_map
from meanfield.maps.variance import network_of
from meanfield.network import FixedPoint, Network
from meanfield.width.layered import Layered
from meanfield.width.pair_averages import PairAverages, pair_averages
from meanfield.width.sizes import depth_of, widths_of
from meanfield.width.validity import EXPANSION_LIMIT, beyond_validity
from meanfield.width.vertices import checked_vertices

__all__ = ["FiniteWidthPair", "finite_width_pair"]

Array = NDArray[np.float64]

_KEPT = np.array([[0, 1], [1, 2]])  # which of (11, 12, 22) a pair of indices is
_SAME = 1e-13  # kernels that differ by less, relatively, have the same averages
_NEAREST = 1e-9  # of correlations to -1 and 1, where second derivatives have lost all digits


@dataclass(frozen=True, eq=False, repr=False)
class FiniteWidthPair(Layered):
    """A network of finite width, seen by two inputs; arrays have the first layer's at index 0.

    Attributes:
        network, ensemble, width, fan_in: as of a `FiniteWidth`.
        kernel: `K_ab` at infinite width, shape (depth, 2, 2).
        four_point: `V_(ab)(cd)/n`, the connected part of `E[z_i;a z_i;b z_j;c z_j;d]`, `i != j`;
            shape (depth, 2, 2, 2, 2).
        kernel_correction: `G1_ab/n`, shape (depth, 2, 2).
        tangent_kernel: the neural tangent kernel at infinite width with rates 1 and 1, shape
            (depth, 2, 2); infinite on its diagonal where `phi` jumps.
    """

    four_point: Array
    kernel_correction: Array
    tangent_kernel: Array

    @property
    def correlation(self) -> Array:
        """`K_12 / sqrt(K_11 K_22)` at infinite width."""
        return self.kernel[:, 0, 1] / np.sqrt(self.kernel[:, 0, 0] * self.kernel[:, 1, 1])

    @property
    def correlation_std(self) -> Array:
        """Standard deviation over networks of the correlation, as one of means over neurons.

        Of `mean(z_1 z_2) / sqrt(mean(z_1^2) mean(z_2^2))`; to order 1/n by the chain rule from the
        vertices and from what `n` neurons sample, which adds `(K_ac K_bd + K_ad K_bc)/n`.
        """
        K = self.kernel
        sampled = np.einsum("lac,lbd->labcd", K, K) + np.einsum("lad,lbc->labcd", K, K)
        total = self.four_point + sampled / self.width[:, None, None, None, None]
        c, root = self.correlation, np.sqrt(K[:, 0, 0] * K[:, 1, 1])
        by = np.stack([-c / (2 * K[:, 0, 0]), 1 / root, -c / (2 * K[:, 1, 1])], axis=1)
        index = [(0, 0), (0, 1), (1, 1)]
        pairs = np.stack([[total[:, *a, *b] for b in index] for a in index])
        return np.sqrt(np.maximum(np.einsum("la,abl,lb->l", by, pairs, by), 0.0))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes these numbers unreliable, in sentences; empty if nothing does."""
        K = self.kernel
        size = np.sqrt(K[:, [0, 1], [0, 1]])
        pair = size[:, :, None] * size[:, None, :]
        vertex = np.abs(self.four_point) / (pair[:, :, :, None, None] * pair[:, None, None])
        shift = np.abs(self.kernel_correction) / pair
        largest = np.maximum(np.max(vertex, axis=(1, 2, 3, 4)), np.max(shift, axis=(1, 2)))
        beyond = largest > EXPANSION_LIMIT
        return (beyond_validity(int(np.argmax(beyond))),) if np.any(beyond) else ()

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name; arrays as nested lists."""
        names = ("width", "fan_in", "kernel", "correlation", "correlation_std", "four_point",
                 "kernel_correction", "tangent_kernel")  # fmt: skip
        numbers = {name: getattr(self, name).tolist() for name in names}
        return self._setting() | numbers | {"warnings": list(self.warnings)}

    def __repr__(self) -> str:
        ends = f"c = {self.correlation[0]:.6g} to {self.correlation[-1]:.6g}"
        line = (
            f"FiniteWidthPair of {self.network!r}: {self.depth} layers, {self.ensemble} weights, "
            f"{ends} within {self.correlation_std[-1]:.2g} from network to network"
        )
        return "\n".join([line, *(f"  warning: {text}" for text in self.warnings)])


@spelt
def finite_width_pair(
    network: Network | FixedPoint,
    depth: int,
    width: int | Sequence[int],
    correlation: float,
    q: Any = None,
    weights: "str | Ensemble | None" = None,
) -> FiniteWidthPair:
    r"""What a finite width changes for a pair of inputs: vertices, corrections and kernels.

    Takes some 20 ms a layer while kernels move, and nothing once they stay.

    Args:
        network: a `Network` or a `FixedPoint`.
        depth: number of layers, at least 1.
        width: number of neurons, as for `finite_width`.
        correlation: of the pre-activations of the first layer, between -1 and 1 exclusively.
        q: their variance, or a pair of two; as for `finite_width` if not given.
        weights: the ensemble, as for `finite_width`.

    Returns:
        A `FiniteWidthPair`.

    Raises:
        TypeError, ValueError, UnresolvedError: as for `finite_width`; or correlations come so near
            to -1 or 1 that the pair is one input, or `phi` jumps.

    Source: Roberts, Yaida & Hanin 2022, arXiv 2106.10165, chapter 4.

    Example:
        >>> import meanfield as mf
        >>> net = mf.Network("relu", weight_var=2.0)
        >>> pair = mf.finite_width_pair(net, depth=2, width=100, correlation=0.0)
        >>> round(float(pair.kernel[1, 0, 1] * 3.14159265), 6)
        1.0
        >>> round(float(pair.four_point[1, 0, 0, 0, 0]), 12)  # 5/n
        0.05
    """
    net, depth = network_of(network), depth_of(depth)
    fan = widths_of(width, depth)
    ensemble = ensemble_of(net.weights if weights is None else weights)
    if len(net.activation.jumps):
        raise MeanFieldError(
            f"network: {net.activation.name} jumps, so that vertices of a pair have no derivatives "
            "to be made of; take a single input, or a steep ramp instead of the jump"
        )
    C = correlation_map(network, q)
    if not isinstance(correlation, int | float | np.number):
        raise TypeError(f"correlation: must be one number, got {correlation!r}")
    if not -1 < correlation < 1:
        raise ValueError(f"correlation: must be a number in (-1, 1), got {correlation!r}")
    way = C.iterate(float(correlation), depth - 1)
    if not np.all(np.isfinite(way.one_minus)):
        raise MeanFieldError(
            "depth: the variance overflows or vanishes, and correlations with it, in layer "
            f"{int(np.argmin(np.isfinite(way.one_minus))) + 1}; take less depth"
        )
    if np.min(np.minimum(way.one_minus, 2 - way.one_minus)) < _NEAREST:
        raise MeanFieldError(
            "depth: the two inputs become one, or opposite, to nine digits; take less depth, or a "
            "single input with finite_width"
        )
    variances = np.broadcast_to(way.variance.reshape(depth, -1), (depth, 2))
    vertex = checked_vertices(ensemble, fan, float(np.min(variances[0])), float(net.bias_var))
    return _carried(net, ensemble, fan, vertex, variances, way.one_minus)


def _carried(
    network: Network,
    ensemble: Ensemble,
    fan: NDArray[np.int64],
    vertex: Array,
    q: Array,
    gap: Array,
) -> FiniteWidthPair:
    """The recursions, in the basis (11, 12, 22), along variances `q` and `1 - c = gap`."""
    depth = len(gap)
    weight_var, bias_var = float(network.weight_var), float(network.bias_var)
    K12 = (1 - gap) * np.sqrt(q[:, 0] * q[:, 1])
    K = np.stack([q[:, 0], K12, q[:, 1]], axis=1)
    V, G, theta = np.zeros((depth, 3, 3)), np.zeros((depth, 3)), np.empty((depth, 3))
    V[0] = vertex[0] / 2 * _crossed(K[0] - bias_var) / fan[0]
    theta[0] = 1 + (K[0] - bias_var) / weight_var
    column = MOMENTS.index("phi2"), MOMENTS.index("dphi2")
    at: PairAverages | None = None
    single: Any = None
    before = np.full(3, np.nan)
    for layer in range(depth - 1):
        if not np.all(np.abs(K[layer] - before) <= _SAME * np.abs(before)):
            before = K[layer]
            q1, q2 = map(float, q[layer])
            g = float(gap[layer])
            at = pair_averages(network.activation, q1, q2, g, 2 - g)
            single = network.activation.moments(q[layer].copy(), derivatives=True)
        assert at is not None
        first, bend = np.zeros((3, 3)), np.zeros((3, 3, 3))
        first[1], bend[1] = at.first, at.bend
        for side, a in ((0, 0), (1, 2)):
            first[a, a] = single.first[side, column[0]]
            bend[a, a, a] = single.second[side, column[0]]
        chi = weight_var * np.array(
            [single.value[0, column[1]], at.slope, single.value[1, column[1]]]
        )
        source = at.fourth - np.outer(at.second, at.second)
        source = source + vertex[layer + 1] / 2 * _crossed(at.second)
        T = weight_var * first
        after = weight_var**2 * source / fan[layer + 1] + T @ V[layer] @ T.T
        V[layer + 1] = 0.5 * (after + after.T)  # up to rounding it is symmetric
        shift = weight_var * np.einsum("abc,bc->a", bend, V[layer])
        G[layer + 1] = T @ G[layer] + 0.5 * shift
        theta[layer + 1] = 1 + at.second + chi * theta[layer]
    return FiniteWidthPair(
        network=network,
        ensemble=ensemble,
        width=fan[1:],
        fan_in=fan[:-1],
        kernel=K[:, _KEPT],
        four_point=V[:, _KEPT[:, :, None, None], _KEPT],
        kernel_correction=G[:, _KEPT],
        tangent_kernel=theta[:, _KEPT],
    )


def _crossed(second: Array) -> Array:
    """`<ac><bd> + <ad><bc>` from `<ab>`, in the basis (11, 12, 22)."""
    full = second[_KEPT]
    pairs = [(0, 0), (0, 1), (1, 1)]
    return np.array(
        [[full[a, c] * full[b, d] + full[a, d] * full[b, c] for c, d in pairs] for a, b in pairs]
    )
