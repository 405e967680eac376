"""`meanfield critical`: the critical initialisation of an activation."""

import argparse
from typing import TYPE_CHECKING, Any

from meanfield.cli.arguments import (
    add_activation,
    add_command,
    add_json,
    add_weights,
    load,
)
from meanfield.cli.output import print_json

if TYPE_CHECKING:
    from meanfield.activation import Activation


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "critical",
        run,
        "print the critical initialisation (edge of chaos) of an activation",
        example="meanfield critical crelu --tau 1.0 --m 1.5",
    )
    add_activation(parser)
    add_weights(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--q",
        type=float,
        nargs="+",
        metavar="Q",
        help="variance of the pre-activations, kept from layer to layer (default: 1)",
    )
    where.add_argument(
        "--bias-var", type=float, nargs="+", metavar="B", help="bias variance, instead of --q"
    )
    add_json(parser, "one JSON object, or a list of them for several values of --q or --bias-var")


def run(args: argparse.Namespace) -> None:
    """Print the points, and how to use the last."""
    from meanfield.criticality import critical

    activation = load(args.activation, args.parameters)
    keyword, values = ("bias_var", args.bias_var) if args.bias_var else ("q", args.q or [1.0])
    points = [critical(activation, **{keyword: v}, weights=args.weights) for v in values]
    if args.json:
        records = [point.to_dict() for point in points]
        print_json(records if len(records) > 1 else records[0])
        return
    for point in points:
        print(point)
        if point.variance_slope > 1 + 1e-9:
            slope = f"V' = {point.variance_slope:.4g}"
            print(f"  {slope} > 1: the variance does not come back to this q; `meanfield report`")
            print("  looks for one to which it does, or for a level to clip at")
        print()
    last = f"{keyword}={values[-1]!r}"
    if args.weights != "gaussian":
        last += f", weights={args.weights!r}"
    print(_usage(activation, args.weights, last))


def _usage(activation: "Activation", ensemble: str, arguments: str) -> str:
    """What to do with the numbers: lines to paste, in JAX and in any other framework."""
    from meanfield.reporting.paste import definition

    weights = {
        "gaussian": "W ~ N(0, weight_var / fan_in), that is std = sqrt(weight_var / fan_in)",
        "orthogonal": "W = sqrt(weight_var) Q with Q a random orthogonal matrix",
    }[ensemble]
    return "\n".join(
        [
            "In JAX, as in jax.nn.initializers:",
            "    import meanfield as mf",
            *(f"    {line}" for line in definition(activation)),
            f"    point = mf.critical(phi, {arguments})",
            "    init_weights, init_biases = mf.initializer(point), mf.bias_initializer(point)",
            "Anywhere else:",
            f"    {weights}",
            "    b ~ N(0, bias_var), that is std = sqrt(bias_var)",
        ]
    )
