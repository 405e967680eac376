r"""Composition: layers one after another, beside each other, around a skip connection, repeated.

Branches with weights of their own are independent of each other and of the signal that goes past
them, given its second moments. So covariances add, and beside them only means have products:

    K_ab = sum_k s_k^2 K^k_ab + sum_(j != k) s_j s_k m^j_a m^k_b
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.criticality import checked_numbers
from meanfield.errors import MeanFieldError
from meanfield.keywords import spelt
from meanfield.layers.layer import Layer
from meanfield.layers.state import State, complements, joined, row_blocks
from meanfield.whole import whole_number

__all__ = ["identity", "parallel", "repeat", "residual", "serial", "summed"]

Array = NDArray[np.float64]

Scale = float | Callable[[int], float]


@dataclass(frozen=True)
class Serial(Layer):
    """See `serial`."""

    layers: tuple[Layer, ...]

    @property
    def mixes(self) -> bool:
        return any(layer.mixes for layer in self.layers)

    def __call__(self, state: State) -> State:
        for layer in self.layers:
            state = layer(state)
        return state

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        for layer in self.layers:
            x = layer.sample(x, rng)
        return x

    def in_depth(self, depth: int) -> Layer:
        return Serial(tuple(layer.in_depth(depth) for layer in self.layers))

    def rescaled(self, scale: float) -> Layer:
        return Serial(tuple(layer.rescaled(scale) for layer in self.layers))

    def steps(self) -> Iterator[Layer]:
        for layer in self.layers:
            yield from layer.steps()


@spelt
def serial(*layers: Layer) -> Layer:
    """Layers one after another; none at all is the identity.

    Maps follow each other, and growths of gradients are multiplied.

    Args:
        *layers: as made by the functions of `meanfield.layers`.

    Returns:
        A `Layer`; `propagate` takes a record after each part.

    Raises:
        TypeError: one of them is no layer.

    Source: Poole et al. 2016, arXiv 1606.05340, for layers of dense weights and activations.

    Example:
        >>> import meanfield.layers as ml
        >>> layer = ml.serial(ml.activation("relu"), ml.dense(weight_var=2.0))
        >>> ml.propagate(layer, q=1.0).variance  # after each
        array([1. , 0.5, 1. ])
    """
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(f"serial: takes layers, as made by meanfield.layers, got {layer!r}")
    return Serial(layers)


def identity() -> Layer:
    """The signal itself: the skip connection. Nothing happens to signals or gradients.

    Returns:
        A `Layer`.

    Source: He et al. 2016, arXiv 1512.03385.

    Example:
        >>> import meanfield.layers as ml
        >>> block = ml.parallel(ml.identity(), ml.dense(0.5))
        >>> ml.propagate(block, q=2.0).variance
        array([2., 3.])
    """
    return serial()


@dataclass(frozen=True)
class Parallel(Layer):
    """See `parallel`."""

    branches: tuple[Layer, ...]
    scales: tuple[Scale, ...]

    @property
    def mixes(self) -> bool:
        return all(branch.mixes for branch in self.branches)

    def _numbers(self) -> tuple[float, ...]:
        for scale in self.scales:
            if callable(scale):
                raise MeanFieldError(
                    "scale: it is a function of the depth, which only repeat(block, times) knows; "
                    "give a number, or repeat the block"
                )
        return self.scales  # pyright: ignore[reportReturnType]

    def __call__(self, state: State) -> State:
        return summed(self._numbers(), [branch(state) for branch in self.branches])

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        parts = [branch.sample(x, rng) for branch in self.branches]
        return np.tensordot(np.array(self._numbers()), np.array(parts), 1)

    def in_depth(self, depth: int) -> Layer:
        scales = tuple(_number(s(depth)) if callable(s) else s for s in self.scales)
        return Parallel(tuple(branch.in_depth(depth) for branch in self.branches), scales)

    def rescaled(self, scale: float) -> Layer:
        if self.mixes:  # no skip connection
            return self
        scales = (scale if b.mixes else s for b, s in zip(self.branches, self.scales, strict=True))
        return Parallel(self.branches, tuple(scales))


def summed(scales: Sequence[float], parts: Sequence[State]) -> State:
    """The state of `sum_k s_k x_k` of signals that are independent, given their second moments."""
    s = np.array(scales)
    means = s[:, None] * np.array([part.mean for part in parts])
    total = np.sum(means, axis=0)
    if np.count_nonzero(np.any(means != 0, axis=1)) <= 1:  # of independent parts only means
        variance, one_minus = joined(
            [(x**2 * part.variance, part.one_minus) for x, part in zip(s, parts, strict=True)]
        )
    else:
        if np.any(np.isnan(total)):
            raise MeanFieldError(
                "parallel: the mean of an activation is not known at variances so far from 1; "
                "end the branch with a dense layer"
            )
        apart = means[:, :, None] - means[:, None, :]
        apart = np.sum(apart, axis=0) ** 2 - np.sum(apart**2, axis=0)
        both = list(zip(s, parts, strict=True))
        variance = (
            total**2 - np.sum(means**2, axis=0) + sum(x**2 * part.variance for x, part in both)
        )
        one_minus = complements(variance, 0.5 * apart + sum(x**2 * p.gap for x, p in both))
    return State(
        variance=variance,
        one_minus=one_minus,
        mean=total,
        tangent=_sum([(x**2, part.tangent) for x, part in zip(s, parts, strict=True)]),
        # a sum of units that are Gaussian but for their sizes is not
        gaussian=all(
            part.gaussian and (part.batch == inf or not x) for x, part in zip(s, parts, strict=True)
        ),
        error=max(part.error for part in parts),
        one_minus_error=max(part.one_minus_error for part in parts),
        spread=_spread(s, parts, variance) if any(part.spread for part in parts) else 0.0,
        uneven=_uneven(s, parts),
    )


def _spread(s: Array, parts: Sequence[State], variance: Array) -> float:
    """`(sum_k s_k^2 K^k / K spread_k^(1/2))^2` at most, the largest of all signals.

    Sizes of parts depend on each other: those beside a skip connection are of one signal.
    """
    size = np.maximum(variance, np.finfo(float).tiny)
    both = zip(s, parts, strict=True)
    return float(np.max(sum(x**2 * p.variance / size * sqrt(p.spread) for x, p in both))) ** 2


def _uneven(s: Array, parts: Sequence[State]) -> Array:
    """`sum_k w_k uneven_k` at most, of shares `w_k` in gaps and in tangents."""
    each = np.array([part.uneven for part in parts])
    if not np.any(each) or not all(part.is_exchangeable for part in parts):
        return np.max(each, axis=0)
    sizes = s[:, None] ** 2 * np.array([[p.gap[0, 1], p.tangent[0, 0]] for p in parts])
    total = np.sum(sizes, axis=0)
    known = np.all(np.isfinite(each), axis=0) & np.isfinite(total) & (total > 0)
    return np.where(known, np.sum(sizes * each, axis=0) / total, np.max(each, axis=0))


def _sum(parts: list[tuple[float, Array]]) -> Array:
    """Of matrices times numbers, a block of rows at a time."""
    result = np.empty_like(parts[0][1])
    for rows in row_blocks(len(result)):
        result[rows] = sum(factor * matrix[rows] for factor, matrix in parts)
    return result


@spelt
def parallel(*branches: Layer, scales: "tuple[Scale, ...] | None" = None) -> Layer:
    r"""The sum of branches on one signal, `y = sum_k s_k f_k(x)`.

    `K' = sum_k s_k^2 K_k`, but for products of means of branches that end with activations; squared
    gradients are multiplied by `sum_k s_k^2 chi_k`. Critical where that is 1.

    Args:
        branches: layers. All but one must hold a dense layer, by which they are independent of
            the rest.
        scales: `s_k`, numbers or functions of the depth, as for `residual`; all 1 if not given.

    Returns:
        A `Layer`.

    Raises:
        ValueError: two branches hold no dense layer, so that what they add is not independent; or
            there is not one scale for each.
        TypeError: a branch is no layer.

    Source: Yang & Schoenholz 2017, arXiv 1712.08969, of two branches.

    Example:
        >>> import meanfield.layers as ml
        >>> wide = ml.parallel(ml.dense(1.0), ml.dense(2.0), scales=(1.0, 0.5))
        >>> ml.propagate(wide, q=1.0).variance
        array([1. , 1.5])
    """
    scales = (1.0,) * len(branches) if scales is None else tuple(scales)
    if len(scales) != len(branches) or not branches:
        raise ValueError(
            f"scales: must be one for each branch, got {len(scales)} for {len(branches)}"
        )
    serial(*branches)  # of the right types
    if sum(not branch.mixes for branch in branches) > 1:
        raise MeanFieldError(
            "parallel: two branches hold no dense layer, so their sum is of signals that depend "
            "on each other beyond their second moments; put a dense layer into one of them"
        )
    return Parallel(branches, tuple(s if callable(s) else _number(s) for s in scales))


def _number(scale: Any) -> float:
    """A scale that a person gave, checked."""
    number = checked_numbers("scale", scale)
    if number.ndim or not np.isfinite(number):
        raise ValueError(f"scale: must be a finite number, got {scale!r}")
    return float(number)


@spelt
def residual(branch: Layer, scale: Scale = 1.0) -> Layer:
    r"""A branch beside a skip connection: `y = x + scale f(x)`.

    `K' = K + scale^2 K_f` for a branch that ends with a dense layer; squared gradients are
    multiplied by `1 + scale^2 chi_f`: they grow at any scale, and stay O(1) in `depth` blocks where
    `scale^2 = O(1 / depth)`, see `critical`.

    Args:
        branch: the layer `f`; it must hold a dense layer.
        scale: a number, or a function of the depth, as `lambda depth: depth**-0.5`.

    Returns:
        A `Layer`.

    Raises:
        ValueError: the branch has no weights of its own.

    Source: Yang & Schoenholz 2017, arXiv 1712.08969; the skip scale of Taki 2017,
    arXiv 1709.02956.

    Example:
        >>> import meanfield.layers as ml
        >>> block = ml.residual(ml.serial(ml.activation("relu"), ml.dense(2.0)), scale=0.5)
        >>> ml.propagate(block, q=1.0).variance  # 1 + 1/4
        array([1.  , 1.25])
    """
    return parallel(identity(), branch, scales=(1.0, scale))


@dataclass(frozen=True)
class Repeat(Layer):
    """See `repeat`."""

    blocks: tuple[Layer, ...]

    @property
    def mixes(self) -> bool:
        return any(block.mixes for block in self.blocks)

    def __call__(self, state: State) -> State:
        return Serial(self.blocks)(state)

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        return Serial(self.blocks).sample(x, rng)

    def rescaled(self, scale: float) -> Layer:
        return Repeat(tuple(block.rescaled(scale) for block in self.blocks))

    def steps(self) -> Iterator[Layer]:
        yield from self.blocks


@spelt
def repeat(block: "Layer | Callable[[int], Layer]", times: int) -> Layer:
    """A block `times` times, each with weights of its own; `propagate` records each repetition.

    Args:
        block: a layer; or a function that makes the one at place 1, 2, ..., `times`.
        times: how often, at least 1.

    Returns:
        A `Layer`. Scales that are functions of the depth take `times` for it.

    Raises:
        ValueError: `times` is less than 1.
        TypeError: it is no whole number, or what is repeated no layer.

    Source: Poole et al. 2016, arXiv 1606.05340; scales by depth: Hayou et al. 2021,
    arXiv 2010.12859.

    Example:
        >>> import meanfield.layers as ml
        >>> block = ml.residual(ml.dense(1.0), scale=lambda depth: depth**-0.5)
        >>> float(round(ml.propagate(ml.repeat(block, 1000), q=1.0).variance[-1], 3))  # e
        2.717
    """
    times = whole_number("times", times)
    blocks = [block] * times if isinstance(block, Layer) else [block(k + 1) for k in range(times)]
    serial(*blocks)
    return Repeat(tuple(b.in_depth(times) for b in blocks))
