r"""Convolutions: the signals are the positions of one image, and the kernel mixes their covariance.

With circular padding and variances `v_d` over the positions `d` of the kernel, `sum_d v_d = 1`,

    K'_ab = weight_var sum_d v_d K_(a+d)(b+d) + bias_var.

A Fourier mode of the covariance along the diagonal is multiplied by `lambda = sum_d v_d e^(i k d)`;
the mean over positions, `lambda = 1`, obeys the maps of a dense layer. A kernel that is zero but at
its centre, delta-orthogonal, keeps every mode (Xiao et al. 2018, arXiv 1806.05393).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.layers.dense import dense_variance
from meanfield.layers.layer import Layer
from meanfield.layers.state import State, joined
from meanfield.precision import EPS

__all__ = ["convolution", "fourier_modes"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Convolution(Layer):
    """See `convolution`."""

    weight_var: float
    bias_var: float
    kernel: tuple[float, ...]  # the share of the variance at each position
    mixes = True

    def _shifts(self) -> list[tuple[int, float]]:
        """How far the positions are shifted, with the share of the variance."""
        middle = len(self.kernel) // 2
        return [(middle - d, v) for d, v in enumerate(self.kernel) if v]

    def __call__(self, state: State) -> State:
        bias = np.full_like(state.variance, self.bias_var), np.zeros_like(state.one_minus)
        parts = [
            (self.weight_var * v * np.roll(state.variance, d),
             np.roll(state.one_minus, (d, d), (0, 1)))
            for d, v in self._shifts()
        ]  # fmt: skip
        tangents = [v * np.roll(state.tangent, (d, d), (0, 1)) for d, v in self._shifts()]
        variance, one_minus = joined([*parts, bias])
        return State(
            variance=variance,
            one_minus=one_minus,
            mean=np.zeros_like(variance),
            tangent=self.weight_var * np.sum(tangents, axis=0),
            gaussian=True,
            error=state.error + EPS * len(parts),
            one_minus_error=state.one_minus_error + EPS * len(parts),
        )

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        width = x.shape[1]
        y = np.tile(rng.normal(size=width) * np.sqrt(self.bias_var), (len(x), 1))
        for d, v in self._shifts():
            weights = rng.normal(size=(width, width)) * np.sqrt(self.weight_var * v / width)
            y += np.roll(x, d, axis=0) @ weights
        return y


def convolution(
    kernel: int, weight_var: float, bias_var: float = 0.0, weights: str = "gaussian"
) -> Layer:
    r"""A convolution along one axis, padded around: signals are positions.

    Args:
        kernel: number of positions it sees, odd.
        weight_var: `W ~ N(0, weight_var / fan_in)` with fan-in `kernel` times the channels.
        bias_var: of the biases, one a channel.
        weights: `"gaussian"`: all positions alike; `"delta-orthogonal"`: the centre alone, an
            orthogonal matrix of the same total variance.

    Returns:
        A `Layer`; a pair of signals is two positions, and both see the same kernel.

    Raises:
        ValueError: an argument is outside its range.

    Source: Xiao et al. 2018, arXiv 1806.05393, eq. (2.6) and algorithm 1.

    Example:
        >>> import numpy as np, meanfield.layers as ml
        >>> image = np.exp(-0.5 * np.subtract.outer(np.arange(4), np.arange(4)) ** 2)
        >>> layer = ml.convolution(kernel=3, weight_var=1.0, weights="delta-orthogonal")
        >>> trace = ml.propagate(ml.repeat(layer, 10), np.ones(4), image)
        >>> bool(np.allclose(trace.correlation[-1], image))
        True
    """
    if isinstance(kernel, bool) or not isinstance(kernel, int | np.integer) or kernel % 2 != 1:
        raise ValueError(f"kernel: must be an odd number of positions, got {kernel!r}")
    if weights not in ("gaussian", "delta-orthogonal"):
        raise ValueError(f"weights: must be 'gaussian' or 'delta-orthogonal', got {weights!r}")
    share = np.full(kernel, 1 / kernel)
    if weights == "delta-orthogonal":
        share = np.zeros(kernel)
        share[kernel // 2] = 1.0
    return Convolution(
        dense_variance("weight_var", weight_var),
        dense_variance("bias_var", bias_var),
        tuple(share.tolist()),
    )


def fourier_modes(layer: Layer, positions: int) -> Array:
    r"""`lambda_k = sum_d v_d cos(2 pi k d / n)`: by what one convolution multiplies each mode.

    On the edge of chaos mode `k` of small differences falls to 1/e in `-1/log(lambda_k)` layers.

    Args:
        layer: a `convolution`.
        positions: the length `n` of the image.

    Returns:
        Shape `(positions,)`.

    Example:
        >>> import meanfield.layers as ml
        >>> ml.fourier_modes(ml.convolution(kernel=3, weight_var=1.0), positions=4).round(3)
        array([ 1.   ,  0.333, -0.333,  0.333])
    """
    if not isinstance(layer, Convolution):
        raise TypeError(f"layer: must be a convolution, got {layer!r}")
    d = np.arange(len(layer.kernel)) - len(layer.kernel) // 2
    k = np.arange(positions)
    return np.cos(2 * np.pi * np.outer(k, d) / positions) @ np.array(layer.kernel)
