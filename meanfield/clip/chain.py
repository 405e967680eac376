r"""The law of the variance in networks of finite width, layer by layer and beyond linear noise.

Given the variance `K_l` of a layer of width `n`, the next one is
`K_(l+1) = weight_var mean(phi(z)^2) + bias_var`: a Markov chain, whose step has, to leading order,

    mean  V(K),      variance  (S(K) - 2 V'(K)^2 (K - bias_var)^2 [orthogonal weights]) / n,

with `S(K) = weight_var^2 (E[phi^4] - E[phi^2]^2)`. Its part above `bias_var` is a positive sum,
here with the gamma distribution of that mean and variance. On a grid in `log K` a layer is one
product with the matrix of transitions, and networks that have left are taken out and counted. For
convex maps linear noise says far too little: drift weakens and noise grows on the way up.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from meanfield.clip.moments import ClippedMoments

__all__ = ["EXPLODED", "Chain", "chain_of"]

Array = NDArray[np.float64]

_CELLS_A_STEP = 4  # grid cells to a standard deviation of one step, at least
_FEWEST, _MOST = 100, 600  # cells
_LOW = 1e-2  # of the start: a lower variance is in the first cell
EXPLODED = 1e6  # times the start: what exceeds it explodes


class Chain(NamedTuple):
    """Probabilities of the variance.

    Attributes:
        edges: of the cells, shape (cells + 1,).
        variance: centres of the cells, shape (cells,).
        probability: of each cell in each layer, the first at index 0, shape (depth + 1, cells);
        left: that the network has left before or in that layer, shape (depth + 1,).
        sampling: variance of the mean square of a layer's pre-activations, given the variance
            of the pre-activations themselves, shape (cells,).
    """

    edges: Array
    variance: Array
    probability: Array
    left: Array
    sampling: Array

    def __repr__(self) -> str:
        layers, cells = self.probability.shape
        left = round(float(self.left[-1]), 12)  # less is rounding
        return (
            f"Chain of {layers} layers: {left:.2g} of the networks have left {cells} "
            f"cells from {self.edges[0]:.6g} to {self.edges[-1]:.6g}"
        )

    def quantiles(self, shares: Sequence[float]) -> Array:
        """Mean squares below which shares of the networks are, inf among those that left.

        Shape (shares, depth + 1).

        Given its variance, the mean square of a layer is that of a sample of `width` neurons.
        """
        below = self.probability @ _below(self.edges, self.variance, self.sampling)
        log = np.log(self.edges)
        # inf: among those that have left
        found = [[np.interp(share, row, log, right=np.inf) for row in below] for share in shares]
        return np.exp(found)


def chain_of(
    moments: Callable[[Array], ClippedMoments],
    weight_var: float,
    bias_var: float,
    start: float,
    depth: int,
    width: int,
    leaves: tuple[float, float],
    vertex: float,
) -> Chain:
    """The chain from one variance, until it leaves an interval.

    Args:
        moments: those of the clipped activation at variances.
        weight_var: `sigma_w^2`.
        bias_var: `sigma_b^2`.
        start: the variance of the first layer.
        depth: layers after it.
        width: neurons a layer.
        leaves: below the first and above the second variance the chain ends; 0 and inf for never.
        vertex: of the weights, see `meanfield.clip.noise`.
    """

    def step(K: Array) -> tuple[Array, Array]:
        at = moments(K)
        mean = weight_var * at.second
        spread = weight_var**2 * (at.fourth - at.second**2)
        spread = spread + vertex * (weight_var * at.first) ** 2 * (K - bias_var) ** 2
        return mean, np.maximum(spread, 1e-12 * mean**2) / width

    low = max(leaves[0], bias_var, _LOW * start)
    high, leaving = leaves[1], True
    if np.isinf(high):
        high, leaving = _top(step, bias_var, start)
    near = np.geomspace(max(low, 0.5 * start), high, 32)
    relative = float(np.min(np.sqrt(step(near)[1]) / near))
    cells = int(np.clip(_CELLS_A_STEP * np.log(high / low) / relative, _FEWEST, _MOST))
    edges = np.geomspace(low, high, cells + 1)
    centre = np.sqrt(edges[1:] * edges[:-1])
    mean, variance = step(centre)
    below = _below(np.maximum(edges - bias_var, 0.0), mean, variance)
    if leaves[0] < low:
        below[:, 0] = 0.0  # what is lower is in the first cell
    if not leaving:
        below[:, -1] = 1.0
    transition = np.diff(below, axis=1)
    probability = np.zeros((depth + 1, cells))
    # the start between two centres, so that its mean is right
    place = np.interp(np.log(start), np.log(centre), np.arange(cells))
    first = min(int(place), cells - 2)
    probability[0, first : first + 2] = 1 - (place - first), place - first
    for layer in range(depth):
        probability[layer + 1] = probability[layer] @ transition
    left = np.clip(1 - np.sum(probability, axis=1), 0.0, 1.0)
    added = 2 * centre**2 + vertex * (centre - bias_var) ** 2
    return Chain(edges, centre, probability, left, added / width)


def _below(x: Array, mean: Array, variance: Array) -> Array:
    """Probabilities of gamma variables to be below `x`: a row to a mean, a column to an `x`.

    By Wilson & Hilferty 1931: the cube root of such a variable is nearly normal.
    """
    ninth = (variance / (9 * mean**2))[:, None]
    return ndtr((np.cbrt(x / mean[:, None]) - (1 - ninth)) / np.sqrt(ninth))


def _top(step: Any, bias_var: float, start: float) -> tuple[float, bool]:
    """A variance that noise does not exceed, ten standard deviations above where the map ends up.

    Where there is none, one that is far away, and True: what exceeds that is gone.
    """
    top = start
    while top < EXPLODED * start:
        mean, variance = step(np.array([top]))
        new = float(mean[0] + bias_var + 10 * np.sqrt(variance[0]))
        if new <= top * (1 + 1e-6):
            return top, False
        top = new
    return EXPLODED * start, True
