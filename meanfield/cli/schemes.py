"""`meanfield schemes`: every named initialisation scheme on the phase diagram of an activation."""

import argparse
from typing import TYPE_CHECKING, Any

from meanfield.cli.arguments import add_activation, add_command, add_json, load
from meanfield.cli.output import add_output, new_figure, print_json, write_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "schemes",
        run,
        "compare named initialisation schemes for an activation, and how far they reach",
        example="meanfield schemes tanh --depth 50 -o schemes.png",
    )
    add_activation(parser)
    parser.add_argument(
        "--depth", type=int, default=50, metavar="L", help="layers to reach (default: %(default)s)"
    )
    parser.add_argument(
        "--fan-in", type=int, default=1024, metavar="N", help="inputs of a layer (%(default)s)"
    )
    parser.add_argument(
        "--fan-out", type=int, default=1024, metavar="N", help="its outputs (%(default)s)"
    )
    add_output(parser)
    add_json(parser, "the table as JSON")


def run(args: argparse.Namespace) -> None:
    """Print the table, and draw it."""
    from meanfield import files, plot, schemes

    activation = load(args.activation, args.parameters)
    table = schemes.compare(activation, args.depth, args.fan_in, args.fan_out)
    if args.json:
        print_json(table.rows())
    else:
        print(table)

    def columns() -> dict[str, Any]:
        return files.by_name(table.rows())

    def draw() -> "Figure":
        figure = new_figure(6.4, 4.8)
        ax = plot.schemes(table, figure.subplots())
        ax.set_title(f"initialisation schemes for {activation.name}")
        return figure

    write_output(args, lambda path: files.write(path, columns, columns, columns), draw)
