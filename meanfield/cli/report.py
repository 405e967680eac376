"""`meanfield report`: everything about an activation on one page."""

import argparse
from typing import Any

from meanfield.cli.arguments import add_activation, add_command, add_json, load
from meanfield.cli.output import print_json, writable, write_output

_SUFFIXES = (".html", ".txt", ".json", ".png", ".pdf", ".svg")


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "report",
        run,
        "print one page on an activation: how to initialise it, how deep, what to watch",
        example="meanfield report crelu --tau 1.0 --m 1.5 -o report.html",
    )
    add_activation(parser)
    parser.add_argument(
        "--q", type=float, metavar="Q", help="variance to recommend (default: a stable one near 1)"
    )
    parser.add_argument(
        "--depth", type=int, default=64, metavar="L", help="layers (default: %(default)s)"
    )
    parser.add_argument(
        "--width", type=int, default=300, metavar="N", help="of the layers (default: %(default)s)"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=writable(_SUFFIXES), action="append", default=[],
        help=f"write it as {', '.join(_SUFFIXES)}; may be repeated",
    )  # fmt: skip
    add_json(parser, "the report as JSON")


def run(args: argparse.Namespace) -> None:
    """Print the page, or write it."""
    from meanfield.reporting import report

    page = report(load(args.activation, args.parameters), args.q, args.depth, args.width)
    if args.json:
        print_json(page.to_dict())
    elif not args.output:
        print(page)
    write_output(args, page.save)
