r"""Aggregation over the neighbours of a node: `y_a = sum_b A_ab x_b`.

The map of kernels is `K' = A K A^T`. With the standard deviations `r`, and rows `w_a` of
`A diag(r)` divided by those of the result, `r'_a = sqrt(sum_bc A_ab A_ac r_b r_c c_bc)`,

    1 - c'_ab = (sum d)^2 / 2 - d H d / 2,        d = w_a - w_b,  H = 1 - c,

where `sum d` is of the order of `H` itself: whatever the variances of the nodes, what is left of
their differences is computed beside those differences, not beside 1.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.errors import MeanFieldError
from meanfield.keywords import spelt
from meanfield.layers.graph.adjacency import compact, matrix_of, normalised
from meanfield.layers.layer import Layer
from meanfield.layers.state import State, row_blocks
from meanfield.precision import EPS

__all__ = ["Aggregate", "aggregate"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Aggregate(Layer):
    """See `aggregate`."""

    matrix: Any  # dense, or a scipy.sparse array

    def __call__(self, state: State) -> State:
        n = self.matrix.shape[1]
        if len(state.variance) != n:
            raise MeanFieldError(
                f"aggregate: the graph has {n} nodes, but there are {len(state.variance)} signals; "
                "give propagate a variance q for each node, or a correlation matrix"
            )
        root = np.sqrt(state.variance)
        largest = np.max(root) or 1.0
        weights = self.matrix * (root / largest)  # columns scaled
        total = np.asarray(weights.sum(axis=1)).ravel()
        heard = _times(weights, state.one_minus)
        variance = np.maximum(total**2 - _row_products(heard, weights), 0.0)
        one_minus = _times_rows(heard, weights)
        size = _to_complements(one_minus, np.sqrt(variance), total)
        left = float(np.max(one_minus))
        lost = 4 * EPS * size + 8 * EPS**2  # the square of what sums of rows are off by
        return replace(
            state,
            variance=variance * largest**2,
            one_minus=one_minus,
            mean=self.matrix @ state.mean,
            tangent=_times_rows(_times(self.matrix, state.tangent), self.matrix),
            error=state.error + 4 * EPS,
            one_minus_error=state.one_minus_error + (lost / left if left > 0 else _unknown(size)),
        )

    def sample(self, x: Array, rng: np.random.Generator) -> Array:
        return self.matrix @ x


def _unknown(size: float) -> float:
    """The error beside a `1 - c` of 0: none if it was 0 before."""
    return np.inf if size > 0 else 0.0


def _to_complements(kernel: Array, scale: Array, total: Array) -> float:
    """`1 - c'` in place of `w H w^T`, from `r'` and the sums of `w`; the largest entry of that.

    Of `w H w^T` only the symmetric part is taken: what rounding leaves of the other decays by
    `lambda_1 lambda_2` in a layer, more slowly than the signal.
    """
    heard = scale > 0
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=heard)
    share, half = total * inverse, 0.5 * np.diagonal(kernel) * inverse**2
    size = 0.0
    for rows in row_blocks(len(scale)):
        past = slice(rows.start, None)  # what is below is done with
        part = 0.5 * (kernel[rows, past] + kernel[past, rows].T)
        part *= inverse[rows, None] * inverse[past]
        size = max(size, float(np.max(part)))
        part -= half[rows, None] + half[past]
        part += 0.5 * (share[rows, None] - share[past]) ** 2
        part = np.where(heard[rows, None] & heard[past], np.clip(part, 0.0, 2.0), 1.0)
        kernel[rows, past] = part
        kernel[past, rows] = part.T
    np.fill_diagonal(kernel, 0.0)
    return size


@spelt
def aggregate(
    adjacency: Any,
    residual: float = 1.0,
    normalisation: str | None = None,
    self_loops: bool = False,
) -> Layer:
    r"""Every node sums over its neighbours: `y = ((1 - e) I + e A) x` over nodes.

    `K' = A_e K A_e^T` of the kernel of nodes, and the same for the tangents of gradients. Between
    ReLU layers `weight_var = 2 / lambda_1^2` is critical, with the largest eigenvalue of `A_e`.

    Args:
        adjacency: a square matrix (dense or of scipy.sparse) whose row `a` has the weights with
            which node `a` hears the others, a networkx graph (an edge u -> v of a directed one
            lets v hear u), or the path of an edge list.
        residual: `e`; 1 is the graph alone, 0 none.
        normalisation: `"row"` (`D^-1 A`: means over neighbours), `"symmetric"`
            (`D^-1/2 A D^-1/2`), `"sum"` or None (the matrix as it is).
        self_loops: add the identity to `A` first, so that every node is its own neighbour.

    Returns:
        A `Layer` for as many signals as there are nodes.

    Raises:
        ValueError: the matrix is not square or not real, or normalised with negative weights.

    Source: DeZoort & Hanin 2023, arXiv 2306.11668.

    Example:
        >>> import meanfield.layers as ml
        >>> ring = ml.aggregate([[0, 1, 1], [1, 0, 1], [1, 1, 0]], normalisation="row")
        >>> ml.propagate(ring, q=[1.0, 2.0, 3.0]).variance[-1]  # means of two neighbours
        array([1.25, 1.  , 0.75])
    """
    matrix, _ = matrix_of(adjacency)
    return Aggregate(compact(mixed(normalised(matrix, normalisation, self_loops), residual)))


def mixed(matrix: Any, residual: float) -> Any:
    """`(1 - e) I + e A`."""
    from scipy import sparse

    if not 0 <= residual <= 1:
        raise MeanFieldError(
            f"residual: the share of the neighbours must be from 0 to 1, got {residual!r}"
        )
    if residual == 1:
        return matrix
    rest = (1 - residual) * sparse.eye_array(matrix.shape[0])
    return sparse.csr_array(rest + residual * matrix)


def _times(left: Any, right: Array) -> Array:
    return np.asarray(left @ right)


def _times_rows(left: Array, matrix: Any) -> Array:
    """`left @ matrix.T`, in the place of `left` if it has that shape, a block of rows at a time."""
    shape = len(left), matrix.shape[0]
    result = left if left.shape == shape else np.empty(shape)
    for rows in row_blocks(max(left.shape)):
        if rows.start < len(left):
            result[rows] = (matrix @ left[rows].T).T
    return result


def _row_products(dense: Array, matrix: Any) -> Array:
    """`sum_b dense_ab matrix_ab`."""
    if isinstance(matrix, np.ndarray):
        return np.einsum("ab,ab->a", dense, matrix)
    return np.asarray(matrix.multiply(dense).sum(axis=1)).ravel()
