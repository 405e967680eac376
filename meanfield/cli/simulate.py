"""`meanfield simulate`: an ensemble of finite networks, against theory."""

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
    from matplotlib.figure import Figure

    from meanfield.simulation.compare import Comparison
    from meanfield.simulation.result import Simulation


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "simulate",
        run,
        "draw finite networks at random and measure them layer by layer",
        example="meanfield simulate crelu --tau 1.04 --m 1.17 --width 300 --depth 100 -o sim.png",
    )
    add_activation(parser)
    add_weights(parser)
    for option, what, default in (
        ("--width", "neurons in each layer", 300),
        ("--depth", "layers", 50),
        ("--draws", "networks", 1000),
        ("--key", "seed of the random numbers", 0),
    ):
        parser.add_argument(
            option, type=int, default=default, metavar="N", help=f"{what} (default: %(default)s)"
        )
    add_variances(parser)
    parser.add_argument(
        "--q",
        type=float,
        metavar="Q",
        help="variance of the first layer (default: 1 at the critical point, else where the "
        "network settles)",
    )
    parser.add_argument(
        "--correlation",
        type=float,
        metavar="C",
        help="of two inputs, in the first layer (default: of inputs at an angle of 60 degrees)",
    )
    parser.add_argument(
        "--escaped",
        type=float,
        metavar="Q",
        help="also say how many networks exceed this variance in any layer",
    )
    parser.add_argument(
        "--jacobian",
        action="store_true",
        help="also measure the singular values of each Jacobian, which takes longer",
    )
    parser.add_argument(
        "--tangent-kernel",
        action="store_true",
        help="also measure the diagonal of each tangent kernel, which takes longer",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="print theory against ensemble, layer by layer: of infinite width, and to order 1/N",
    )
    add_output(parser)
    add_json(parser, "all estimates as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Draw the networks, print what they measure, and write it."""
    from meanfield.simulation.run import simulate
    from meanfield.width import finite_width

    network = network_of(args, args.q)
    sim = simulate(
        network, args.width, args.depth, args.draws, q=args.q, correlation=args.correlation,
        key=args.key, jacobian=args.jacobian, tangent_kernel=args.tangent_kernel,
    )  # fmt: skip
    comparisons = {}
    if args.compare:
        finite = finite_width(network, args.depth, args.width, q=sim.q)
        comparisons = {
            "comparison": sim.compare(network), "finite_width_comparison": sim.compare(finite)
        }  # fmt: skip
    if args.json:
        record = sim.to_dict()
        if args.escaped is not None:
            record |= {"escaped": sim.escaped(args.escaped), "escape_threshold": args.escaped}
        print_json(record | {name: each.to_dict() for name, each in comparisons.items()})
    else:
        print(sim)
        if args.escaped is not None:
            share, error = sim.escaped(args.escaped), sim.escaped_error(args.escaped)
            print(f"  above variance {args.escaped:g} in some layer: {share:.1%} +- {error:.1%}")
        for comparison in comparisons.values():
            print(comparison)
    write_output(args, sim.save, lambda: _drawn(sim, sim.compare(network)))


def _drawn(sim: "Simulation", comparison: "Comparison") -> "Figure":
    """The fans of variance and gradient, with theory, and the correlation."""
    import numpy as np

    from meanfield import plot

    figure = new_figure(13, 4.4)
    left, middle, right = figure.subplots(1, 3)
    plot.simulation(sim, left)
    layers = np.arange(1, sim.depth + 1)
    theory = comparison["variance"].theory
    left.plot(layers, theory, color="black", linewidth=1, label="infinite width")
    left.legend()
    plot.simulation(sim, middle, quantity="one_minus_correlation")
    theory = 1 - comparison["correlation"].theory
    middle.plot(layers, theory, color="black", linewidth=1, label="infinite width")
    plot.simulation(sim, right, quantity="gradient_log_norm")
    for ax in (middle, right):
        legend = ax.get_legend()
        if legend is not None:
            legend.remove()
    figure.suptitle(f"{sim.draws} networks: {sim.title}")
    return figure
