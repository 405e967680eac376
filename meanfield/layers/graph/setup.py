"""A graph network before anything goes through it: its aggregation, its variances, its warnings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.activation import Activation, as_activation
from meanfield.criticality import checked_variances, critical
from meanfield.errors import MeanFieldError
from meanfield.layers.composition import Scale, repeat, residual, serial
from meanfield.layers.dense import activation, dense
from meanfield.layers.graph.adjacency import compact, matrix_of, normalised
from meanfield.layers.graph.aggregate import Aggregate, mixed
from meanfield.layers.graph.perron import Spectrum, components, is_symmetric, period, spectrum_of
from meanfield.layers.layer import Layer
from meanfield.whole import whole_number

__all__ = ["Setup", "set_up"]

Array = NDArray[np.float64]

_EVEN = 1e-12  # relative differences of row sums that are none


@dataclass(frozen=True, eq=False)
class Setup:
    """What `graph_network` and its samples have in common; see there."""

    activation: Activation
    names: list[Any]
    edges: int
    matrix: Any
    layer: Layer
    depth: int
    normalisation: str | None
    residual_aggregation: float
    residual_scale: float | None
    weight_var: Array
    bias_var: float
    spectrum: Spectrum
    warnings: tuple[str, ...]


def set_up(
    adjacency: Any,
    phi: Callable | str | Activation,
    depth: int,
    residual_aggregation: float = 1.0,
    normalisation: str | None = "row",
    residual_scale: Scale | str | None = None,
    weight_var: ArrayLike | None = None,
    bias_var: float | None = None,
    *,
    q: float,
    self_loops: bool = False,
    directed: bool = False,
) -> Setup:
    """Check all that a person may give, and choose what was not given."""
    depth, chosen = whole_number("depth", depth), as_activation(phi)
    graph, names = matrix_of(adjacency, directed)
    if graph.nnz and graph.data.min() < 0:
        raise MeanFieldError(
            f"adjacency: weights must not be negative, got {graph.data.min():g}: the Perron root, "
            "by which a graph network is initialised, needs that; aggregate(matrix) takes any"
        )
    weighted = normalised(graph, normalisation, self_loops)
    matrix = mixed(weighted, residual_aggregation)
    # of the same eigenvalues, and symmetric where edges go both ways
    both_ways = is_symmetric(graph)
    similar = normalised(graph, "symmetric", self_loops) if normalisation == "row" else weighted
    stochastic = both_ways and normalisation in ("row", "symmetric")
    spectrum = spectrum_of(
        mixed(similar, residual_aggregation) if both_ways else matrix,
        root=1.0 if stochastic and not _has_deaf(similar) else None,
    )
    weights, bias = _variances(chosen, spectrum, q, weight_var, bias_var, depth)
    scale = _scale(residual_scale, depth)
    aggregated = Aggregate(compact(matrix))

    def block(place: int) -> Layer:
        inner = serial(activation(chosen), aggregated, dense(weights[place - 1], bias))
        return inner if scale is None else residual(inner, scale)

    return Setup(
        activation=chosen,
        names=names,
        edges=graph.nnz if not both_ways else (graph.nnz + np.count_nonzero(graph.diagonal())) // 2,
        matrix=aggregated.matrix,
        layer=repeat(block, depth),
        depth=depth,
        normalisation=normalisation,
        residual_aggregation=float(residual_aggregation),
        residual_scale=scale,
        weight_var=weights,
        bias_var=bias,
        spectrum=spectrum,
        warnings=_warnings(graph, matrix, names, both_ways, chosen, spectrum),
    )


def _scale(given: Scale | str | None, depth: int) -> float | None:
    """Of residual branches, as a number."""
    if isinstance(given, str):
        if given != "depth":
            raise ValueError(
                "residual_scale: must be a number, a function of the depth, 'depth' (its power "
                f"-1/2) or None, got {given!r}"
            )
        return depth**-0.5
    return float(given(depth)) if callable(given) else given


def _variances(
    phi: Activation,
    spectrum: Spectrum,
    q: float,
    weight_var: ArrayLike | None,
    bias_var: float | None,
    depth: int,
) -> tuple[Array, float]:
    """`weight_var` of each layer and `bias_var`; critical ones where not given."""
    point = None
    if weight_var is None:
        if spectrum.root <= 0:
            raise MeanFieldError(
                "adjacency: the graph has no cycle, so no weight variance keeps a signal: after as "
                "many layers as its longest path all nodes are silent; give self_loops=True, "
                "residual_aggregation below 1, or a residual_scale with a weight_var"
            )
        point = critical(phi, q) if bias_var is None else critical(phi, bias_var=bias_var)
        weight_var = float(point.weight_var) / spectrum.root / spectrum.root
        if not np.finfo(float).tiny <= weight_var < np.inf:
            raise MeanFieldError(
                f"adjacency: its Perron root {spectrum.root:.3g} is so far from 1 that float64 "
                "holds no variance for it; rescale the weights"
            )
    weights = checked_variances("weight_var", weight_var, ">= 0")
    if weights.shape not in ((), (depth,)):
        raise ValueError(
            f"weight_var: must be one variance or one for each of {depth} layers, got shape "
            f"{weights.shape}"
        )
    bias = (float(point.bias_var) if point else 0.0) if bias_var is None else bias_var
    return np.broadcast_to(weights, depth), float(checked_variances("bias_var", bias, ">= 0"))


def _has_deaf(matrix: Any) -> bool:
    """Whether some nodes hear nobody, not even themselves."""
    return bool(np.any(np.diff(matrix.indptr) == 0))


def _named(names: list[Any], nodes: Any) -> str:
    shown = ", ".join(str(names[node]) for node in nodes[:5])
    return shown + (f", ... ({len(nodes)} in all)" if len(nodes) > 5 else "")


def _warnings(
    graph: Any, matrix: Any, names: list[Any], both_ways: bool, phi: Activation, spectrum: Spectrum
) -> tuple[str, ...]:
    """What about the graph makes it behave otherwise than a connected one."""
    found = []
    alone = graph - _diagonal(graph)
    lonely = np.flatnonzero(
        (np.asarray(alone.sum(axis=1)).ravel() == 0) & (np.asarray(alone.sum(axis=0)).ravel() == 0)
    )
    parts = components(graph, "weak")
    if len(lonely) and graph.shape[0] > 1:
        deaf = np.asarray(matrix.sum(axis=1)).ravel()[lonely] == 0
        what = (
            "their signals are 0 after one layer" if np.any(deaf) else "they hear only themselves"
        )
        found.append(
            f"isolated nodes: {_named(names, lonely)} have no neighbours, {what}; drop them, or "
            "give self_loops=True"
        )
    if len(parts) > 1:
        sizes = ", ".join(str(len(part)) for part in parts[:5]) + ", ..." * (len(parts) > 5)
        found.append(
            f"disconnected: {len(parts)} components, of {sizes} nodes, which do not mix: between "
            "them the correlation grows by the activation alone"
        )
    strong = components(matrix, "strong")
    if not both_ways:
        text = "directed: row a has what node a hears"
        if len(strong) > len(parts):
            text += (
                f"; {len(strong)} strongly connected components, so that some nodes hear others "
                "that never hear them, and the largest Perron root of them decides"
            )
        found.append(text)
    beats = [
        p for p in (period(matrix[part][:, part]) for part in strong if len(part) > 1) if p > 1
    ]
    if beats and beats[0] == 2 and both_ways:
        found.append(
            "bipartite: two sides hear each other only, with an eigenvalue -lambda_1, so that "
            "aggregation does not mix them; residual_aggregation below 1 or self_loops=True does"
        )
    elif beats:
        found.append(
            f"periodic: all cycles have lengths that are multiples of {max(beats)}, so that "
            "aggregation does not mix; residual_aggregation below 1 or self_loops=True does"
        )
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    if not phi.is_homogeneous and np.ptp(sums) > _EVEN * np.max(sums):
        found.append(
            f"{phi.name} is not homogeneous and the rows of the matrix have different sums, so "
            "that nodes have different variances: weight_var is critical for those of variance q"
        )
    return tuple(found)


def _diagonal(graph: Any) -> Any:
    from scipy import sparse

    return sparse.diags_array(graph.diagonal())
