"""`meanfield schemes`: every named initialisation scheme on the phase diagram of an activation."""

import argparse
from typing import Any

from meanfield.cli.arguments import add_activation, add_command, add_json, load
from meanfield.cli.output import add_output, is_picture, new_figure, print_json, save_numbers


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
    from meanfield import plot, schemes

    activation = load(args.activation, args.parameters)
    table = schemes.compare(activation, args.depth, args.fan_in, args.fan_out)
    if args.json:
        print_json(table.rows())
    else:
        print(table)
    for path in args.output:
        if is_picture(path):
            with plot.style():
                figure = new_figure(6.4, 4.8)
                ax = figure.subplots()
                plot.schemes(table, ax)
                ax.set_title(f"initialisation schemes for {activation.name}")
                figure.savefig(path)
        else:
            columns = {name: [row[name] for row in table.rows()] for name in table.rows()[0]}
            save_numbers(path, columns, table.rows())
        if not args.json:
            print(f"wrote {path}")
