"""`meanfield phase`: the phase diagram of an activation."""

import argparse
from typing import TYPE_CHECKING, Any

from meanfield.cli.arguments import add_activation, add_command, add_json, load
from meanfield.cli.output import add_output, new_figure, print_json, write_output

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from meanfield.phase import PhaseDiagram

_POINTS = 256


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "phase",
        run,
        "compute and draw the phase diagram of an activation",
        example="meanfield phase crelu --tau 1.0 --m 1.5 -o crelu.png",
    )
    add_activation(parser)
    for option, what in (("--weight-var", "weight"), ("--bias-var", "bias")):
        parser.add_argument(
            option,
            type=float,
            nargs="+",
            metavar="V",
            help=f"{what} variances: LOW HIGH, or LOW HIGH N for N of them (default: around the "
            f"edge of chaos, {_POINTS})",
        )
    parser.add_argument(
        "--q0",
        type=float,
        default=1.0,
        metavar="Q",
        help="variance of the first layer, where several are stable (default: %(default)g)",
    )
    parser.add_argument(
        "--axes",
        choices=("variance", "std"),
        default="variance",
        help="units of the axes of the picture; ranges are variances always (default: %(default)s)",
    )
    parser.add_argument(
        "--colour",
        "--color",
        default="depth_scale_c",
        help="what is in colour: phase, depth_scale_c, depth_scale_q, chi1, correlation, q or "
        "variance_slope (default: %(default)s)",
    )
    add_output(parser)
    add_json(parser, "all numbers as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Compute the diagram, print what is in it, and write it."""
    from meanfield.phase.window import around_the_edge, diagram_in_bands
    from meanfield.plot.phase import COLOURS

    if args.colour not in COLOURS:
        args.parser.error(f"argument --colour: must be one of {', '.join(COLOURS)}")
    weight_var = _grid(args.parser, "--weight-var", args.weight_var)
    bias_var = _grid(args.parser, "--bias-var", args.bias_var)
    activation = load(args.activation, args.parameters)
    if weight_var is None or bias_var is None:
        around = around_the_edge(activation, _POINTS)
        weight_var = around[0] if weight_var is None else weight_var
        bias_var = around[1] if bias_var is None else bias_var
    diagram = diagram_in_bands(activation, weight_var, bias_var, args.q0)
    if args.json:
        print_json(diagram.to_dict())
    else:
        print(diagram)
    units = {"variance": "variance", "std": "standard deviation"}[args.axes]
    write_output(args, diagram.save, lambda: _drawn(diagram, args.colour, units))


def _grid(
    parser: argparse.ArgumentParser, option: str, values: list[float] | None
) -> "np.ndarray | None":
    """`[LOW, HIGH]` or `[LOW, HIGH, N]` as evenly spaced variances."""
    import numpy as np

    if values is None:
        return None
    low, high, points = [*values, _POINTS, _POINTS][:3]
    if len(values) not in (2, 3) or not (low < high and points > 1 and points % 1 == 0):
        parser.error(f"argument {option}: expected LOW HIGH or LOW HIGH N, with LOW < HIGH, N > 1")
    return np.linspace(low, high, int(points))


def _drawn(diagram: "PhaseDiagram", colour: str, units: str) -> "Figure":
    from meanfield import plot

    figure = new_figure(6.4, 4.8)
    ax = plot.phase_diagram(diagram, figure.subplots(), colour=colour, units=units)
    ax.set_title(f"phases of {diagram.activation.name}")
    return figure
