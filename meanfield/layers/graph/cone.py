"""What the kernel of a few nodes depends on: the nodes within as many hops as there are layers.

`K'_ab = sum_cd A_ac A_bd F(K)_cd` needs the kernel of all neighbours of `a` and `b`, those of their
neighbours one layer before, and so on. On a lattice that is a small part of the graph, and the
kernel of the nodes asked for is exact at its cost; where every node is within a few hops, as in
most networks of people, it is all of the graph.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.layers.composition import parallel, repeat, serial
from meanfield.layers.dense import activation, dense
from meanfield.layers.graph.adjacency import compact
from meanfield.layers.graph.aggregate import Aggregate
from meanfield.layers.graph.setup import Setup
from meanfield.layers.layer import Layer
from meanfield.layers.state import State
from meanfield.whole import whole_number

__all__ = ["chosen_pairs", "cone", "network_on", "random_pairs"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


def chosen_pairs(pairs: int | ArrayLike, n: int, seed: int) -> Indices:
    """Pairs of different nodes, shape (k, 2), as given or drawn at random."""
    if np.ndim(pairs) == 0:
        if n < 2:
            raise ValueError(f"pairs: must be of a graph of at least 2 nodes, got one of {n}")
        return random_pairs(whole_number("pairs", pairs), n, seed)
    given = np.asarray(pairs)
    if given.dtype.kind not in "iu" or given.ndim != 2 or given.shape[1] != 2 or not len(given):
        raise TypeError(
            "pairs: must be a number of pairs, or places of nodes in an array of whole numbers of "
            f"shape (k, 2), got {pairs!r}"
        )
    if np.any((given < 0) | (given >= n)) or np.any(given[:, 0] == given[:, 1]):
        raise ValueError(f"pairs: must be of different nodes, of places from 0 to {n - 1}")
    return given.astype(np.intp)


def random_pairs(count: int, n: int, seed: int) -> Indices:
    """Uniform over pairs of different nodes, with replacement."""
    rng = np.random.default_rng(seed)
    first, step = rng.integers(n, size=count), rng.integers(1, n, size=count)
    return np.stack([first, (first + step) % n], axis=1)


def cone(matrix: Any, targets: Indices, depth: int) -> list[Indices]:
    """The nodes needed before layer 1, 2, ..., `depth`, and the targets; each holds the next."""
    from scipy import sparse

    matrix, found = sparse.csr_array(matrix), [targets]
    for _ in range(depth):
        here = found[-1]
        heard = np.unique(matrix[here].indices)
        found.append(np.union1d(here, heard))
    return found[::-1]


@dataclass(frozen=True, eq=False)
class Select(Layer):
    """Some of the signals."""

    which: Indices

    def __call__(self, state: State) -> State:
        square = np.ix_(self.which, self.which)
        return replace(
            state,
            variance=state.variance[self.which],
            one_minus=state.one_minus[square],
            mean=state.mean[self.which],
            tangent=state.tangent[square],
        )

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        return x[self.which]


def network_on(setup: Setup, nodes: list[Indices]) -> Layer:
    """The layers of a graph network, each for the nodes that are needed behind it."""
    from scipy import sparse

    matrix = sparse.csr_array(setup.matrix)

    def block(place: int) -> Layer:
        before, after = nodes[place - 1], nodes[place]
        part = compact(matrix[after][:, before])
        weights = dense(setup.weight_var[place - 1], setup.bias_var)
        branch = serial(activation(setup.activation), Aggregate(part), weights)
        if setup.residual_scale is None:
            return branch
        skip = Select(np.searchsorted(before, after))
        return parallel(skip, branch, scales=(1.0, setup.residual_scale))

    return repeat(block, setup.depth)
