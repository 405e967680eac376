"""A graph from whatever holds it, as a matrix whose row `a` has the weights node `a` hears with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.errors import MeanFieldError

__all__ = ["matrix_of", "normalised", "read_edges"]

Array = NDArray[np.float64]

NORMALISATIONS = ("row", "symmetric", "sum")
_DENSE = 0.1  # share of entries that are not 0 from which on a dense matrix is faster


def matrix_of(adjacency: Any, directed: bool = False) -> tuple[Any, list[Any]]:
    """`(A, names)`: a square scipy.sparse CSR array of float64, and what the nodes are called.

    Args:
        adjacency: a square matrix (dense or of scipy.sparse), a networkx graph, or the path of an
            edge list.
        directed: for an edge list: its edges go one way, from the first node to the second.
    """
    from scipy import sparse

    if isinstance(adjacency, str | Path):
        return read_edges(adjacency, directed)
    if hasattr(adjacency, "adj") and hasattr(adjacency, "is_directed"):
        return _from_networkx(adjacency)
    if not sparse.issparse(adjacency):
        try:
            adjacency = np.asarray(adjacency)
        except ValueError as error:
            raise TypeError(f"adjacency: is no matrix: {error}") from error
        if adjacency.dtype.kind not in "biufc":
            raise TypeError(
                "adjacency: must be a square matrix, dense or of scipy.sparse, a networkx graph, "
                f"or the path of an edge list, got {type(adjacency).__name__} of {adjacency.dtype}"
            )
    if adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1]:
        raise MeanFieldError(
            f"adjacency: must be a square matrix, one row for each node, got shape "
            f"{adjacency.shape}"
        )
    if adjacency.shape[0] == 0:
        raise MeanFieldError("adjacency: must have at least one node, got none")
    if np.iscomplexobj(adjacency):
        raise MeanFieldError("adjacency: weights must be real, got complex ones; take their moduli")
    matrix: Any = sparse.csr_array(adjacency, dtype=np.float64)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if not np.all(np.isfinite(matrix.data)):
        raise MeanFieldError("adjacency: weights must be finite, got nan or infinity")
    return matrix, list(range(adjacency.shape[0]))


def _from_networkx(graph: Any) -> tuple[Any, list[Any]]:
    """A networkx graph; an edge u -> v of a directed one lets v hear u."""
    import networkx as nx

    names = list(graph)
    if not names:
        raise MeanFieldError("adjacency: the graph has no nodes")
    try:
        matrix = nx.to_scipy_sparse_array(graph, names, format="csr")
    except TypeError as error:
        raise TypeError(
            f"adjacency: weights of the graph's edges must be numbers: {error}"
        ) from None
    matrix, _ = matrix_of(matrix.T.tocsr() if graph.is_directed() else matrix)
    return matrix, names


def read_edges(path: str | Path, directed: bool = False) -> tuple[Any, list[str]]:
    """An edge list: a line for each edge, `first second [weight]`.

    Columns are separated by commas, semicolons, tabs or blanks; lines that are empty or begin with
    `#` or `%` are left out, and a first line of names of columns too. Nodes may have any names. An
    edge that is not directed may stand in both directions, if its weights agree.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is no edge; the message has its number.
    """
    from scipy import sparse

    edges: dict[tuple[str, str], float] = {}
    for number, words in _lines(Path(path)):
        where = f"{path}, line {number}"
        if len(words) not in (2, 3) or not all(words):
            raise MeanFieldError(
                f"{where}: an edge is 'first second' or 'first second weight', got {len(words)} "
                f"columns: {' '.join(words)!r}"
            )
        try:
            weight = float(words[2]) if len(words) == 3 else 1.0
        except ValueError:
            raise MeanFieldError(
                f"{where}: the weight must be a number, got {words[2]!r}"
            ) from None
        if not np.isfinite(weight):
            raise MeanFieldError(f"{where}: the weight must be finite, got {words[2]!r}")
        key = words[0], words[1]
        same = key if directed or key in edges else (words[1], words[0])
        if edges.get(same, weight) != weight:
            raise MeanFieldError(
                f"{where}: the edge {words[0]} {words[1]} has weight {weight:g} here and "
                f"{edges[same]:g} before"
            )
        if same not in edges:
            edges[key] = weight
    if not edges:
        raise MeanFieldError(f"{path}: has no edges")
    names = list(dict.fromkeys(name for key in edges for name in key))
    place = {name: k for k, name in enumerate(names)}
    ends = np.array([[place[b], place[a]] for a, b in edges])  # b hears a
    weights = np.array(list(edges.values()))
    if not directed:
        twice = ends[:, 0] != ends[:, 1]
        ends = np.concatenate([ends, ends[twice][:, ::-1]])
        weights = np.concatenate([weights, weights[twice]])
    matrix = sparse.csr_array((weights, (ends[:, 0], ends[:, 1])), shape=(len(names),) * 2)
    return matrix_of(matrix)[0], names


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The edges of a file as words, numbered from 1; without what names its columns."""
    with path.open(encoding="utf-8-sig") as file:
        first = True
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line or line[0] in "#%":
                continue
            for separator in ",;\t":
                if separator in line:
                    words = [word.strip().strip("\"'") for word in line.split(separator)]
                    break
            else:
                words = line.split()
            if not (first and _is_heading(words)):
                yield number, words
            first = False


def _is_heading(words: list[str]) -> bool:
    """Whether words name columns: a weight that is no number, or what ends of edges are called."""
    if len(words) == 3:
        return not _is_number(words[2])
    return {word.lower() for word in words} in _HEADINGS


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


_HEADINGS = [
    {"source", "target"}, {"from", "to"}, {"src", "dst"}, {"first", "second"}, {"node1", "node2"},
]  # fmt: skip


def normalised(matrix: Any, normalisation: str | None, self_loops: bool = False) -> Any:
    r"""The matrix that aggregates: `D^-1 A`, `D^-1/2 A D^-1/2` or `A`, with `D = diag(A 1)`.

    Args:
        matrix: a scipy.sparse array with weights that are not negative, or any if not normalised.
        normalisation: `"row"`, `"symmetric"`, or `"sum"` (or None) for the matrix as it is.
        self_loops: add the identity first, so that every node hears itself.
    """
    from scipy import sparse

    if normalisation not in (*NORMALISATIONS, None):
        raise MeanFieldError(
            "normalisation: must be 'row', 'symmetric', 'sum' or None (the matrix as it is), got "
            f"{normalisation!r}"
        )
    if self_loops:
        matrix = sparse.csr_array(matrix + sparse.eye_array(matrix.shape[0]))
    if normalisation in ("sum", None):
        return matrix
    if np.any(matrix.data < 0):
        raise MeanFieldError(
            f"adjacency: normalisation={normalisation!r} takes weights that are not negative, got "
            f"{matrix.data.min():g}; give None to take the matrix as it is"
        )
    degree = np.asarray(matrix.sum(axis=1)).ravel()
    if normalisation == "row":
        return sparse.csr_array(sparse.diags_array(_inverse(degree)) @ matrix)
    other = np.asarray(matrix.sum(axis=0)).ravel()  # the same where edges go both ways
    left, right = (sparse.diags_array(np.sqrt(_inverse(d))) for d in (degree, other))
    return sparse.csr_array(left @ matrix @ right)


def _inverse(degree: Array) -> Array:
    """`1 / degree`; 0 for isolated nodes, which hear nothing."""
    if np.any((degree > 0) & (degree < np.finfo(float).tiny)) or not np.all(np.isfinite(degree)):
        raise MeanFieldError("adjacency: sums of weights are outside float64; rescale the weights")
    return np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0)


def compact(matrix: Any) -> Any:
    """Dense where that multiplies faster."""
    share = matrix.nnz / matrix.shape[0] ** 2
    return matrix.toarray() if share > _DENSE else matrix
