"""What people give as a graph, as the predecessors of each node."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from meanfield.errors import MeanFieldError

__all__ = ["Node", "predecessors"]

Node = Hashable


def predecessors(graph: Any) -> dict[Node, list[Node]]:
    """Of each node, in an order in which none comes before its predecessors."""
    if isinstance(graph, Mapping):
        into = {node: _listed(node, sources) for node, sources in graph.items()}
        for node, sources in into.items():
            for source in sources:
                if source not in into:
                    raise MeanFieldError(
                        f"graph: node {node!r} has the predecessor {source!r}, which is no node of "
                        f"it; give an input as {source!r}: []"
                    )
    else:
        into = _from_pairs(graph)
    for node, sources in into.items():
        twice = [source for source, times in Counter(sources).items() if times > 1]
        if twice:
            raise MeanFieldError(
                f"graph: the edge {(twice[0], node)!r} is there twice; put a node into one of them"
            )
    if not any(into.values()):
        raise MeanFieldError(f"graph: must have an edge at least, got {graph!r}")
    try:
        return {node: into[node] for node in TopologicalSorter(into).static_order()}
    except CycleError as error:
        circle = " -> ".join(map(repr, error.args[1]))
        raise MeanFieldError(f"graph: must have no cycles, got {circle}") from None


def _listed(node: Node, sources: Any) -> list[Node]:
    if isinstance(sources, str) or not isinstance(sources, Iterable):
        raise TypeError(f"graph: must name a list of predecessors of {node!r}, got {sources!r}")
    return list(sources)


def _from_pairs(graph: Any) -> dict[Node, list[Node]]:
    """From an iterable of edges, or what has `nodes` and `edges`."""
    directed = getattr(graph, "is_directed", None)
    if directed is not None and not directed():
        raise MeanFieldError("graph: must be directed, as networkx.DiGraph")
    pairs = getattr(graph, "edges", graph)
    if isinstance(pairs, str) or not isinstance(pairs, Iterable):
        raise TypeError(
            "graph: must be a dict of predecessors, pairs (source, target), or a networkx.DiGraph; "
            f"got {graph!r}"
        )
    into: dict[Node, list[Node]] = {node: [] for node in getattr(graph, "nodes", ())}
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, Iterable) or len(ends := tuple(pair)) < 2:
            raise TypeError(f"graph: its edges must be pairs (source, target), got {pair!r}")
        source, target, *_ = ends  # a multigraph has a key beside them
        into.setdefault(source, [])
        into.setdefault(target, []).append(source)
    return into
