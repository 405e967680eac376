"""`meanfield graph`: the nodes of a graph network over depth, from a list of edges."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meanfield.cli.arguments import add_command, add_json, load
from meanfield.cli.output import add_output, new_figure, print_json, write_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from meanfield.layers import GraphNetwork


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "graph",
        run,
        "initialise a graph network, and show how its nodes become one with depth",
        example="meanfield graph edges.csv --activation elu --alpha 0.5 -o oversmoothing.png",
    )
    parser.set_defaults(parameters={})
    parser.add_argument(
        "edges",
        metavar="EDGES",
        type=Path,
        help="a file with a line `first second [weight]` for each edge; commas, tabs or blanks",
    )
    parser.add_argument(
        "--activation", default="relu", metavar="PHI", help="its name (default: %(default)s)"
    )
    parser.add_argument(
        "--depth", type=int, default=50, metavar="L", help="layers (default: %(default)s)"
    )
    parser.add_argument(
        "--normalisation",
        choices=("row", "symmetric", "sum"),
        default="row",
        help="of the aggregation: means, D^-1/2 A D^-1/2, or sums (default: %(default)s)",
    )
    parser.add_argument(
        "--residual-aggregation",
        type=float,
        default=1.0,
        metavar="E",
        help="aggregate with (1 - E) I + E A (default: 1, the graph alone)",
    )
    parser.add_argument(
        "--residual-scale",
        type=_scale,
        metavar="S",
        help="scale of residual branches, or `depth` for L^(-1/2) (default: no skip connection)",
    )
    parser.add_argument("--self-loops", action="store_true", help="every node hears itself as well")
    parser.add_argument("--directed", action="store_true", help="edges go from first to second")
    parser.add_argument(
        "--weight-var", type=float, metavar="W", help="weight variance (default: the critical one)"
    )
    parser.add_argument("--bias-var", type=float, metavar="B", help="bias variance")
    parser.add_argument(
        "--correlation",
        type=float,
        default=0.0,
        metavar="C",
        help="of different nodes in the first layer (default: 0)",
    )
    parser.add_argument(
        "--pairs",
        type=int,
        metavar="K",
        help="of so many pairs of nodes drawn at random alone, from what they depend on",
    )
    add_output(parser)
    add_json(parser, "the result as one JSON object")


def _scale(text: str) -> float | str:
    return text if text == "depth" else float(text)


def run(args: argparse.Namespace) -> None:
    """Print the network, and draw it."""
    from meanfield.layers import graph_network

    network = graph_network(
        args.edges,
        load(args.activation, args.parameters),
        args.depth,
        args.residual_aggregation,
        args.normalisation,
        args.residual_scale,
        args.weight_var,
        args.bias_var,
        correlation=args.correlation,
        self_loops=args.self_loops,
        directed=args.directed,
        pairs=args.pairs,
    )
    if args.json:
        print_json(network.to_dict())
    else:
        print(network)
    write_output(args, lambda path: _save(path, network), lambda: _drawn(network))


def _drawn(network: "GraphNetwork") -> "Figure":
    """Oversmoothing, and the signal's size."""
    from meanfield import plot

    figure = new_figure(10, 4.4)
    left, right = figure.subplots(1, 2)
    plot.oversmoothing(network, left)
    plot.graph_scale(network, right)
    figure.suptitle(
        f"{network.activation.name} on {network.size} nodes, "
        f"{network.normalisation} aggregation: weight_var = {network.weight_var[0]:.6g}"
    )
    return figure


def _save(path: Path, network: "GraphNetwork") -> None:
    from meanfield import files

    layers = ("scale", "one_minus", "closest", "farthest", "gradient", "error", "one_minus_error")
    columns = {name: getattr(network, name) for name in layers}
    others = {"variance": network.variance, "weight_var": network.weight_var,
              "last_one_minus": network.state.one_minus}  # fmt: skip
    files.write(
        path,
        lambda: columns | others,
        network.to_dict,
        lambda: {"layer": range(network.depth + 1), **columns},
    )
