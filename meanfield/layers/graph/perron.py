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
_SECOND, _SPACE = 1e-7, 48  # tolerance of the second eigenvalue, and vectors to look for it in


@dataclass(frozen=True)
class Spectrum:
    """The largest eigenvalues of a matrix without negative entries.

    Attributes:
        root: `lambda_1`, the largest, which is real (Perron & Frobenius); 0 without a cycle.
        second: the largest modulus of all others, `|lambda_2|`; `root` again where a graph falls
            apart or is bipartite.
        error: estimate of the absolute error of `root`; `second` of large graphs is good to 1e-7.
    """

    root: float
    second: float
    error: float


def is_symmetric(matrix: Any) -> bool:
    """Whether edges go both ways, with the same weights."""
    return bool(abs(matrix - matrix.T).nnz == 0)


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


def spectrum_of(matrix: Any, root: float | None = None) -> Spectrum:
    """The Perron root and what comes next, over all strongly connected components.

    Args:
        matrix: without negative entries.
        root: that of every component, where it is known.
    """
    symmetric = is_symmetric(matrix)
    values, error = [0.0, 0.0], 0.0
    for nodes in components(matrix, "strong"):
        block = matrix[nodes][:, nodes]
        if block.nnz == 0:
            continue
        found, doubt = _largest(block, symmetric, root)
        if found[0] >= max(values):
            error = doubt
        values.extend(found)
    first, second = sorted(values, reverse=True)[:2]
    return Spectrum(first, second, error)


def _largest(block: Any, symmetric: bool, root: float | None) -> tuple[list[float], float]:
    """The two largest moduli of an irreducible block, and the error of the first."""
    n = block.shape[0]
    if n == 1:
        return [float(block.sum())], 0.0
    sums = np.asarray(block.sum(axis=1)).ravel()
    if np.ptp(sums) <= 8 * EPS * sums[0]:  # then the root is the sum of a row
        root = float(np.mean(sums)) if root is None else root
    if n <= _DENSE:
        dense = block.toarray()
        values = np.linalg.eigvalsh(dense) if symmetric else np.linalg.eigvals(dense)
    else:
        from scipy.sparse.linalg import eigs, eigsh

        solve = eigsh if symmetric else eigs
        start = np.random.default_rng(0).random(n) + 0.5
        # of a root that is known, what comes next is not needed to the last digit
        options = {"tol": _SECOND, "ncv": _SPACE} if root is not None else {}
        values = solve(block, k=2, which="LM", v0=start, return_eigenvectors=False, **options)
    moduli = np.sort(np.abs(values))[::-1][:2]
    error = 4 * EPS * float(moduli[0]) * (1 if symmetric else np.sqrt(n))
    if root is not None:
        moduli[0], error = root, 8 * EPS * root
    return [float(x) for x in moduli], error
