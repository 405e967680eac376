r"""Convolutions: the signals are the positions of one image, and the kernel mixes their covariance.

With circular padding and variances `v_d` over the positions `d` of the kernel, `sum_d v_d = 1`,

    K'_ab = weight_var sum_d v_d K_(a+d)(b+d) + bias_var,

for positions `a, b` along one axis or several. A Fourier mode of the covariance, `e^(i k a)` at
fixed `a - b`, is multiplied by `lambda_k = sum_d v_d e^(i k d)`; the mean over positions,
`lambda = 1`, obeys the maps of a dense layer. A kernel that is zero but at its centre,
delta-orthogonal, keeps every mode (Xiao et al. 2018, arXiv 1806.05393).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from meanfield.ensembles import DeltaOrthogonal, Ensemble, SparseOrthogonal, ensemble_of
from meanfield.errors import MeanFieldError
from meanfield.keywords import spelt
from meanfield.layers.dense import dense_variance
from meanfield.layers.layer import Layer
from meanfield.layers.state import State, joined
from meanfield.layers.weights import drawn_weights
from meanfield.precision import EPS

__all__ = ["convolution", "fourier_modes", "mode_depth_scales"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Convolution(Layer):
    """See `convolution`."""

    weight_var: float
    bias_var: float
    kernel: tuple[int, ...]
    image: tuple[int, ...] | None  # None: all signals in a row
    weights: Ensemble
    mixes = True

    def shifts(self) -> Iterator[tuple[tuple[int, ...], float]]:
        """By how much the positions are shifted, with the share of the variance."""
        if isinstance(self.weights, DeltaOrthogonal):
            yield (0,) * len(self.kernel), 1.0
            return
        for place in np.ndindex(*self.kernel):
            shift = (size // 2 - d for size, d in zip(self.kernel, place, strict=True))
            yield tuple(shift), 1 / prod(self.kernel)

    def _sizes(self, positions: int) -> tuple[int, ...]:
        sizes = (positions,) if self.image is None else self.image
        if prod(sizes) != positions:
            raise MeanFieldError(
                f"convolution: its image of {' x '.join(map(str, sizes))} has {prod(sizes)} "
                f"positions, but there are {positions} signals; give propagate a variance q for "
                "each, or a correlation matrix"
            )
        return sizes

    def __call__(self, state: State) -> State:
        n = len(state.variance)
        sizes = self._sizes(n)
        axes = tuple(range(len(sizes)))

        def rolled(values: Array, shift: tuple[int, ...]) -> Array:
            """Of one position, or of pairs."""
            often = values.ndim
            of_image = values.reshape(often * sizes)
            every = axes if often == 1 else (*axes, *(axis + len(sizes) for axis in axes))
            return np.roll(of_image, often * shift, every).reshape(values.shape)

        bias = np.full_like(state.variance, self.bias_var), np.zeros_like(state.one_minus)
        shifts = list(self.shifts())
        variance, one_minus = joined(
            [
                *((self.weight_var * share * rolled(state.variance, shift),
                   rolled(state.one_minus, shift)) for shift, share in shifts),
                bias,
            ]
        )  # fmt: skip
        tangent = np.zeros((n, n))
        for shift, share in shifts:
            tangent += self.weight_var * share * rolled(state.tangent, shift)
        return State(
            variance=variance,
            one_minus=one_minus,
            mean=np.zeros(n),
            tangent=tangent,
            gaussian=True,
            error=state.error + EPS * len(shifts),
            one_minus_error=state.one_minus_error + EPS * len(shifts),
            spread=state.spread,
            uneven=state.uneven,
        )

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        positions, width = x.shape
        sizes = self._sizes(positions)
        axes = tuple(range(len(sizes)))
        y = np.tile(rng.normal(size=width) * np.sqrt(self.bias_var), (positions, 1))
        kernel = drawn_weights(self.weights, width, rng, self.kernel) * np.sqrt(self.weight_var)
        for shift, _ in self.shifts():
            place = tuple(size // 2 - d for size, d in zip(self.kernel, shift, strict=True))
            y += np.roll(x.reshape(*sizes, width), shift, axes).reshape(x.shape) @ kernel[place]
        return y


@spelt
def convolution(
    kernel: int | tuple[int, ...],
    weight_var: float,
    bias_var: float = 0.0,
    weights: str | Ensemble = "gaussian",
    image: tuple[int, ...] | None = None,
) -> Layer:
    r"""A convolution along one axis or several, padded around: signals are positions.

    Covariances of shifted positions are averaged, times `weight_var`, and so are tangents: the mean
    squared gradient over positions is multiplied by `weight_var`. Critical is what is critical for
    a dense layer, `weight_var E[phi'^2] = 1` behind `phi`; modes differ in their depth scales.

    Args:
        kernel: number of positions it sees, odd; or one for each axis, as `(3, 3)`.
        weight_var: `W` has variance `weight_var / fan_in`, with fan-in `kernel` times the channels.
        bias_var: of the biases, one a channel.
        weights: the name of an ensemble, or one of `meanfield.ensembles`, of matrices from all
            positions of the kernel to the channels; only `"delta-orthogonal"` has the centre
            alone, an orthogonal matrix of the same total variance.
        image: its height and width (or any number of sizes), where it has several axes; signals
            are its positions row by row. All in one row if not given.

    Returns:
        A `Layer`; a pair of signals is two positions, and both see the same kernel.

    Raises:
        ValueError: an argument is outside its range, or the ensemble has no such kernels.
        TypeError: `weights` is neither a name nor an ensemble.

    Source: Xiao et al. 2018, arXiv 1806.05393, eq. (2.6) and algorithm 1; other ensembles: Nait
    Saada, Naderi & Tanner 2024, arXiv 2310.16597.

    Example:
        >>> import numpy as np, meanfield.layers as ml
        >>> image = np.exp(-0.5 * np.subtract.outer(np.arange(4), np.arange(4)) ** 2)
        >>> layer = ml.convolution(kernel=3, weight_var=1.0, weights="delta-orthogonal")
        >>> trace = ml.propagate(ml.repeat(layer, 10), np.ones(4), image)
        >>> bool(np.allclose(trace.correlation[-1], image))
        True
        >>> plane = ml.convolution(kernel=(3, 3), weight_var=9.0, image=(4, 5))
        >>> bright = np.arange(20) == 0  # one position, which 9 see
        >>> trace = ml.propagate(plane, bright * 1.0, np.eye(20))
        >>> int(np.count_nonzero(trace.variance[-1])), round(float(np.max(trace.variance[-1])), 12)
        (9, 1.0)
    """
    kernel = tuple(kernel) if isinstance(kernel, list) else kernel
    image = tuple(image) if isinstance(image, list) else image
    sizes = (
        kernel if isinstance(kernel, tuple) else (kernel,) * (1 if image is None else len(image))
    )
    if not sizes or not all(_is_count(size) and size % 2 for size in sizes):
        raise ValueError(
            f"kernel: must be an odd number of positions, or one for each axis, got {kernel!r}"
        )
    if image is None and len(sizes) > 1:
        raise ValueError(f"image: a kernel of {len(sizes)} axes needs the sizes of the image")
    if image is not None and (len(image) != len(sizes) or not all(map(_is_count, image))):
        raise ValueError(
            f"image: must have a size for each of {len(sizes)} axes of the kernel, got {image!r}"
        )
    ensemble = ensemble_of(weights)
    if isinstance(ensemble, SparseOrthogonal) and prod(sizes) > 1:
        raise ValueError(
            f"weights: {ensemble} matrices are square, those of kernels of {prod(sizes)} positions "
            "are not; take 'delta-orthogonal' or MaskedOrthogonal weights"
        )
    return Convolution(
        dense_variance("weight_var", weight_var),
        dense_variance("bias_var", bias_var),
        sizes,
        image,
        ensemble,
    )


def _is_count(size: object) -> bool:
    return bool(isinstance(size, int | np.integer) and not isinstance(size, bool) and size > 0)


@spelt
def fourier_modes(layer: Layer, positions: int | tuple[int, ...] | None = None) -> Array:
    r"""`lambda_k = sum_d v_d cos(k d)`, `k = 2 pi j / n`: by what a convolution multiplies a mode.

    Args:
        layer: a `convolution`.
        positions: the sizes of the image; those of the layer if it knows them.

    Returns:
        Shape `positions`: a mode for each wave number `j` along each axis.

    Raises:
        ValueError: `positions` do not fit the kernel.
        TypeError: `layer` is no convolution.

    Source: Xiao et al. 2018, arXiv 1806.05393, section 2.3.

    Example:
        >>> import meanfield.layers as ml
        >>> ml.fourier_modes(ml.convolution(kernel=3, weight_var=1.0), positions=4).round(3)
        array([ 1.   ,  0.333, -0.333,  0.333])
    """
    if not isinstance(layer, Convolution):
        raise TypeError(f"layer: must be a convolution, got {layer!r}")
    sizes = (positions,) if isinstance(positions, int | np.integer) else positions or layer.image
    if sizes is None or len(sizes) != len(layer.kernel) or not all(map(_is_count, sizes)):
        raise ValueError(
            f"positions: must be a size for each of {len(layer.kernel)} axes, got {positions!r}"
        )
    modes = np.zeros(sizes)
    for shift, share in layer.shifts():
        waves = (np.arange(n) * d / n for n, d in zip(sizes, shift, strict=True))
        modes += share * np.cos(2 * np.pi * sum(np.ix_(*waves)))
    return modes


@spelt
def mode_depth_scales(
    layer: Layer, chi1: float = 1.0, positions: int | tuple[int, ...] | None = None
) -> Array:
    r"""In how many layers small differences of each Fourier mode fall to 1/e.

    `xi_k = -1 / log(chi1 |lambda_k|)`: what tells positions apart at fixed `a - b` is multiplied by
    `chi1 lambda_k` in every layer of a ConvNet at its fixed point with `c* = 1`.

    Args:
        layer: a `convolution`.
        chi1: the slope of the correlation map at 1; 1 on the edge of chaos.
        positions: as for `fourier_modes`.

    Returns:
        Shape `positions`; inf where a mode is kept, nan where it grows.

    Raises:
        ValueError: `chi1` is negative, or `positions` do not fit the kernel.

    Source: Xiao et al. 2018, arXiv 1806.05393, section 2.3.

    Example:
        >>> import meanfield.layers as ml
        >>> ml.mode_depth_scales(ml.convolution(kernel=3, weight_var=1.0), positions=4).round(3)
        array([ inf, 0.91, 0.91, 0.91])
    """
    if not chi1 >= 0:
        raise ValueError(f"chi1: must be >= 0, got {chi1!r}")
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.log(chi1 * np.abs(fourier_modes(layer, positions)))
        rate = np.where(np.abs(rate) <= 4 * EPS, 0.0, rate)
        return np.where(rate > 0, np.nan, 1 / np.abs(rate))
