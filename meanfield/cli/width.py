"""`meanfield width`: what a finite width changes, printed, written and drawn."""

import argparse
from typing import TYPE_CHECKING, Any

from meanfield.cli.arguments import (
    add_activation,
    add_command,
    add_json,
    add_variances,
    add_weights,
    network_of,
)
from meanfield.cli.output import add_output, new_figure, print_json, write_output

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from meanfield.width import FiniteWidth


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "width",
        run,
        "print and draw what a finite width changes, layer by layer, to order 1/width",
        example="meanfield width crelu --tau 1.0 --m 1.5 --depth 100 --width 300 -o width.png",
    )
    add_activation(parser)
    parser.add_argument(
        "--depth", type=int, default=100, metavar="L", help="number of layers (default: 100)"
    )
    parser.add_argument(
        "--width",
        type=int,
        nargs="+",
        default=[300],
        metavar="N",
        help="neurons in each layer; several to compare them (default: 300)",
    )
    parser.add_argument(
        "--q",
        type=float,
        metavar="Q",
        help="variance in the first layer (default: that of the stable fixed point; without "
        "--weight-var the critical point has this variance, or 1)",
    )
    add_variances(parser)
    add_weights(parser)
    add_output(parser)
    add_json(parser, "the numbers as one JSON object, or a list of them for several widths")


def run(args: argparse.Namespace) -> None:
    """Print a table for each width, and write what was asked for."""
    from meanfield.width import finite_width

    network = network_of(args, args.q)
    results = [finite_width(network, args.depth, width, q=args.q) for width in args.width]
    if args.json:
        records = [fw.to_dict() for fw in results]
        print_json(records if len(records) > 1 else records[0])
    else:
        print("\n\n".join(f"{fw}\n  deep networks: {fw.asymptote}" for fw in results))
    write_output(args, lambda path: _save(path, results), lambda: _drawn(results))


def _drawn(results: "list[FiniteWidth]") -> "Figure":
    from meanfield import plot

    figure = new_figure(10.4, 7.6)
    (first, second), (third, fourth) = figure.subplots(2, 2)
    plot.finite_width(results, first)
    plot.output_density(results[0], second, log=True)
    plot.gradient_fan(results[0], third)
    plot.valid_region(results[0], fourth)
    width = int(results[0].width[0])
    for ax, title in (
        (first, "fluctuation of the kernel"), (second, f"output at width {width}"),
        (third, f"gradient at width {width}"), (fourth, "depth and width"),
    ):  # fmt: skip
        ax.set_title(title)
    figure.suptitle(f"{results[0].network!r}")
    return figure


def _save(path: "Path", results: "list[FiniteWidth]") -> None:
    """The numbers of all widths: of the first only where it is a .csv."""
    from meanfield import files

    records = [fw.to_dict() for fw in results]
    columns = {k: v for k, v in records[0].items() if isinstance(v, list) and k != "warnings"}
    files.write(
        path,
        lambda: {name: [record[name] for record in records] for name in columns},
        lambda: records[0] if len(records) == 1 else {"results": records},
        lambda: {"layer": range(1, results[0].depth + 1), **columns},
    )
