"""`meanfield clip`: where to clip an activation so that networks of it can be deep."""

import argparse
from typing import TYPE_CHECKING, Any

from meanfield.cli.arguments import add_activation, add_command, add_json, add_weights, load
from meanfield.cli.output import add_output, print_json

if TYPE_CHECKING:
    from meanfield.clip import ClipChoice


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "clip",
        run,
        "choose where to clip an activation, so that deep networks of it hold their variance",
        example="meanfield clip shifted_relu --sparsity 0.85 --slope 0.7 --width 300 -o clip.png",
    )
    add_activation(parser)
    add_weights(parser)
    parser.add_argument(
        "--sparsity",
        type=float,
        metavar="P",
        help="share of silent neurons, for shifted_relu and soft_threshold (or --tau)",
    )
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        "--slope", type=float, metavar="S", help="wanted slope V'(q), below 1 (default: 0.7)"
    )
    rule.add_argument(
        "--margin",
        type=float,
        metavar="K",
        help="instead: standard deviations between q and the end of its basin",
    )
    rule.add_argument(
        "--risk", type=float, metavar="R", help="instead: share of networks that may stray"
    )
    rule.add_argument("--level", type=float, metavar="M", help="instead: the clip level itself")
    parser.add_argument(
        "--q",
        type=float,
        default=1.0,
        metavar="Q",
        help="variance of the pre-activations (default: %(default)g)",
    )
    parser.add_argument(
        "--clip",
        default="two-sided",
        metavar="HOW",
        help="two-sided, upper, lower or smooth (default: %(default)s)",
    )
    for name, default, what in (("width", 300, "neurons a layer"), ("depth", 100, "layers")):
        parser.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    add_output(parser)
    add_json(parser, "all numbers as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print the choice, and draw it."""
    choice = _choice(args)
    if args.json:
        print_json(choice.to_dict())
    else:
        print(choice)


def _choice(args: argparse.Namespace) -> "ClipChoice":
    from meanfield.clip import clip_threshold
    from meanfield.clip.families import family_named

    rule = {"slope": args.slope, "margin": args.margin, "risk": args.risk, "m": args.level}
    tau = None
    if family_named(args.activation) is not None:
        tau = args.parameters.pop("tau", None)
        if args.parameters:
            names = ", ".join(f"--{name}" for name in args.parameters)
            args.parser.error(f"unrecognized arguments: {names}")
        phi = args.activation
    else:
        phi = load(args.activation, args.parameters)
    return clip_threshold(
        phi, args.sparsity, q=args.q, tau=tau, clip=args.clip, width=args.width, depth=args.depth,
        weights=args.weights, **rule,
    )  # fmt: skip
