"""`meanfield isometry`: can deep networks of an activation be isometric?"""

import argparse
from typing import TYPE_CHECKING, Any

from meanfield.cli.arguments import add_activation, add_command, add_json, load
from meanfield.cli.output import add_output, new_figure, print_json, write_output

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from meanfield.dynamical_isometry.isometry import Isometry


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "isometry",
        run,
        "say whether deep networks of an activation can keep all singular values of their "
        "Jacobian at 1",
        example="meanfield isometry elu --alpha 1.5 --depth 128 -o isometry.png",
    )
    add_activation(parser)
    parser.add_argument(
        "--depth", type=int, default=64, metavar="L", help="number of layers (default: %(default)d)"
    )
    parser.add_argument(
        "--q",
        type=float,
        nargs="+",
        metavar="Q",
        help="variances of the pre-activations on the edge of chaos (default: the best and others)",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        choices=("gaussian", "orthogonal", "mirrored"),
        help="ensembles of the weight matrices (default: all that tell something)",
    )
    add_output(parser)
    add_json(parser, "the verdict and all numbers as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print the verdict and the table, and draw them."""
    from meanfield.dynamical_isometry.isometry import isometry

    activation = load(args.activation, args.parameters)
    result = isometry(activation, args.depth, args.q, args.weights)
    if args.json:
        print_json(result.to_dict())
    else:
        print(result)
    write_output(args, lambda path: _save(path, result), lambda: _drawn(result))


def _drawn(result: "Isometry") -> "Figure":
    from meanfield import plot

    growing = result.growth() if result.table else None
    panels = 3 if growing else 2
    figure = new_figure(4.8 * panels, 4.2)
    plot.isometry(result, figure.subplots(1, panels), growing=growing)
    figure.suptitle(f"isometry of {result.activation.name} at depth {result.depth}")
    return figure


def _save(path: "Path", result: "Isometry") -> None:
    """The numbers: of the table only where it is a .csv."""
    from meanfield import files

    def table() -> dict[str, Any]:
        return files.by_name([row.to_dict() for row in result.table])

    def arrays() -> dict[str, Any]:
        scan = result.scan
        if not result.table:
            return {"q": scan.q, "valid": scan.valid}
        return {
            "q": scan.q, "valid": scan.valid, "weight_var": scan.weight_var,
            "bias_var": scan.bias_var, "variance_slope": scan.variance_slope,
            "spread": scan.spread.value, "spread_error": scan.spread.error,
            "off": scan.spread.off,
            **{f"table_{name}": column for name, column in table().items()},
        }  # fmt: skip

    files.write(path, arrays, result.to_dict, table)
