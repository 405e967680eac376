"""What of a graph decides over depth: the Perron root, what mixes beside it, and its components."""

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.precision import EPS

__all__ = ["Spectrum", "components", "is_symmetric", "period", "spectrum_of"]

Array = NDArray[np.float64]

_DENSE = 600  # nodes up to which all eigenvalues are computed


@dataclass(frozen=True)
class Spectrum:
    """The largest eigenvalues of a matrix without negative entries.

    Attributes:
        root: `lambda_1`, the largest, which is real (Perron & Frobenius); 0 without a cycle.
        second: the largest modulus of all others, `|lambda_2|`; `root` again where a graph falls
            apart or is bipartite.
        error: estimate of the absolute error of `root`.
    """

    root: float
    second: float
    error: float


def is_symmetric(matrix: Any) -> bool:
    """Whether edges go both ways, with the same weights."""
    return abs(matrix - matrix.T).nnz == 0


def components(matrix: Any, connection: str) -> list[NDArray[np.intp]]:
    """Nodes of each `"weak"` or `"strong"` component, the largest first."""
    from scipy.sparse.csgraph import connected_components

    count, label = connected_components(matrix, directed=True, connection=connection)
    order = np.argsort(label, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1])
    return sorted(parts, key=len, reverse=True)


def period(matrix: Any) -> int:
    """The greatest common divisor of the lengths of all cycles of a strongly connected graph.

    2 of a bipartite one, 1 of one whose aggregation converges; 0 of a node without a loop.
    """
    from scipy.sparse.csgraph import breadth_first_order

    graph = matrix.tocsr()
    order, before = breadth_first_order(graph, 0, directed=True)
    level = np.zeros(graph.shape[0], int)
    for node in order[1:]:
        level[node] = level[before[node]] + 1
    found = 0
    edges = graph.tocoo()
    for step in np.unique(level[edges.row] + 1 - level[edges.col]):
        found = gcd(found, int(step))
    return found


def spectrum_of(matrix: Any) -> Spectrum:
    """The Perron root and what comes next, over all strongly connected components."""
    symmetric = is_symmetric(matrix)
    values, error = [0.0, 0.0], 0.0
    for nodes in components(matrix, "strong"):
        block = matrix[nodes][:, nodes]
        if block.nnz == 0:
            continue
        found, doubt = _largest(block, symmetric)
        if found[0] >= max(values):
            error = doubt
        values.extend(found)
    root, second = sorted(values, reverse=True)[:2]
    return Spectrum(root, second, error)


def _largest(block: Any, symmetric: bool) -> tuple[list[float], float]:
    """The two largest moduli of an irreducible block, and the error of the first."""
    n = block.shape[0]
    if n == 1:
        return [float(block.sum())], 0.0
    sums = np.asarray(block.sum(axis=1)).ravel()
    if n <= _DENSE:
        dense = block.toarray()
        values = np.linalg.eigvalsh(dense) if symmetric else np.linalg.eigvals(dense)
    else:
        from scipy.sparse.linalg import eigs, eigsh

        solve, which = (eigsh, "LM") if symmetric else (eigs, "LM")
        start = np.random.default_rng(0).random(n) + 0.5
        values = solve(block, k=2, which=which, v0=start, return_eigenvectors=False)
    moduli = np.sort(np.abs(values))[::-1][:2]
    error = 4 * EPS * float(moduli[0]) * (1 if symmetric else np.sqrt(n))
    if np.ptp(sums) <= 8 * EPS * sums[0]:  # then the root is the sum of a row
        moduli[0], error = np.mean(sums), float(np.ptp(sums)) + EPS * sums[0]
    return [float(x) for x in moduli], error
