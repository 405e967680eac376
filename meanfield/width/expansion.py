"""`finite_width`: from a network to kernel, four-point vertex and kernel correction, by layer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.keywords import spelt
from meanfield.maps.variance import network_of
from meanfield.network import FixedPoint, Network
from meanfield.width.averages import averages
from meanfield.width.kernels import iterated, kernels
from meanfield.width.recursion import layers_of, vertices
from meanfield.width.result import FiniteWidth
from meanfield.width.sizes import depth_of, widths_of
from meanfield.width.vertices import checked_vertices

__all__ = ["continued", "expanded", "finite_width"]

Array = NDArray[np.float64]


@spelt
def finite_width(
    network: Network | FixedPoint,
    depth: int,
    width: int | Sequence[int],
    q: float | None = None,
    weights: "str | Ensemble | None" = None,
) -> FiniteWidth:
    r"""What a finite width changes: kernel, four-point vertex and their consequences, by layer.

    To order 1/n, for any activation, kinks included (see `meanfield.width.recursion`)::

        K'  = C_W <phi^2> + C_b
        V4' = C_W^2 (<phi^4> - <phi^2>^2) + (n'/n) V'(K)^2 V4,   V4 = 0 in the first layer
        G1' = (n'/n) (V'(K) G1 + V''(K) V4 / 2),                 G1 = 0 in the first layer

    where `E[z_i^2 z_j^2]` has connected part `V4/n`, and `E[z_i^2] = K + G1/n`, with `n` the fan-in
    of the layer. Orthogonal weights have `<phi^4> - 3 <phi^2>^2`, and start at `-2 (K - C_b)^2`.

    Args:
        network: a `Network` or a `FixedPoint`.
        depth: number of layers, at least 1.
        width: number of neurons of every layer; or of each, `depth` numbers, or `depth + 1` with
            the number of inputs first (else as many as the first layer has neurons).
        q: kernel (variance of the pre-activations) of the first layer. If not given: that of the
            `FixedPoint`, where it stays; or the stable fixed point of the `Network`.
        weights: `"gaussian"`, `"orthogonal"`, or an `Ensemble` that is invariant under rotations;
            those of the network if not given.

    Returns:
        A `FiniteWidth`, whose arrays have length `depth`, with the first layer at index 0.

    Raises:
        TypeError: `network` is none, or `depth` or `width` is no whole number.
        ValueError: `depth`, `width` or `q` is outside its range; `q` is not given and the network
            has not exactly one stable fixed point; orthogonal weights cannot give the first layer
            a `q` below `bias_var`; the theory of the ensemble is not known.
        UnresolvedError: the activation cannot be sampled to useful accuracy.

    Source: Roberts, Yaida & Hanin 2022, arXiv 2106.10165, chapter 4; orthogonal weights: Day, Kahn
    & Roberts 2023, arXiv 2310.07765.

    Example:
        >>> import meanfield as mf
        >>> fw = mf.finite_width(mf.critical("tanh", q=1.0), depth=50, width=300)
        >>> round(float(fw.four_point[-1]) * 300, 10), round(float(fw.kernel_correction[-1]), 10)
        (0.5340265118, -0.0005394760)
        >>> fw = mf.finite_width(mf.Network("relu", weight_var=2.0), depth=4, width=100)
        >>> fw.fluctuation * 100  # V4/K^2
        array([ 0.,  5., 10., 15.])
    """
    net = network_of(network)
    depth = depth_of(depth)
    fan = widths_of(width, depth)
    ensemble = ensemble_of(net.weights if weights is None else weights)
    kernel, doubt = kernels(network, depth, q)
    return expanded(net, kernel, doubt, fan, ensemble)


def expanded(
    network: Network, kernel: Array, doubt: Array, fan: NDArray[np.int64], ensemble: Ensemble
) -> FiniteWidth:
    """The result, from kernels with their relative errors and the numbers of neurons."""
    weight_var, bias_var = float(network.weight_var), float(network.bias_var)
    start, depth = float(kernel[0]), len(kernel)
    count = int(np.sum(np.isfinite(kernel)))  # of layers that do not overflow
    vertex = checked_vertices(ensemble, fan, start, bias_var)
    at = averages(network.activation, kernel[: count - 1])
    steps = layers_of(at, vertex[1:count], weight_var, bias_var, doubt[: count - 1])
    first = (start - bias_var) / start if start > 0 else float(bias_var == 0)
    fan_in = fan[:-1].astype(np.float64)
    found = vertices(steps, vertex[0] * first**2 / fan_in[0], fan_in[:count])
    return FiniteWidth(
        network=network,
        ensemble=ensemble,
        width=fan[1:],
        fan_in=fan[:-1],
        kernel=kernel,
        fluctuation=_whole(found.fluctuation, depth),
        shift=_whole(found.shift, depth),
        vertex=vertex,
        kernel_error=_whole(doubt[:count], depth) * kernel,
        fluctuation_error=_whole(found.fluctuation_error, depth),
        shift_error=_whole(found.shift_error, depth),
    )


def continued(fw: FiniteWidth, depth: int) -> FiniteWidth:
    """The same for a deeper network, whose layers to come are as wide as the last."""
    relative = fw.kernel_error / np.where(fw.kernel > 0, fw.kernel, 1.0)
    if np.all(fw.kernel == fw.kernel[0]):
        kernel, doubt = np.full(depth, fw.kernel[0]), np.full(depth, relative[0])
    else:
        kernel, doubt = iterated(fw.network, float(fw.kernel[0]), depth)
    more = np.full(depth - fw.depth, fw.width[-1])
    fan = np.concatenate([fw.fan_in[:1], fw.width, more])
    return expanded(fw.network, kernel, doubt, fan, fw.ensemble)


def _whole(part: Array, depth: int) -> Array:
    """With NaN for the layers in which the kernel has overflowed."""
    return np.concatenate([part, np.full(depth - len(part), np.nan)])
