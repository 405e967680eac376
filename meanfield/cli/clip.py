"""`meanfield clip`: where to clip an activation so that networks of it can be deep."""

import argparse
from typing import TYPE_CHECKING, Any

from meanfield.cli.arguments import add_activation, add_command, add_json, add_weights, load
from meanfield.cli.output import add_output, is_picture, new_figure, print_json, write_output

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from meanfield.clip import ClipChoice, ClipDiagram
    from meanfield.clip.trajectory import ClipTrajectory


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
        nargs="+",
        metavar="P",
        help="share of silent neurons, for shifted_relu and soft_threshold (or --tau); several "
        "make a table",
    )
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        "--slope",
        type=float,
        nargs="+",
        metavar="S",
        help="wanted slope V'(q), below 1 (default: 0.7); several make a table",
    )
    for name, letter, what in (
        ("margin", "K", "standard deviations between q and the end of its basin"),
        ("risk", "R", "share of networks whose variance may stray"),
        ("level", "M", "the clip level itself, or inf"),
    ):
        rule.add_argument(f"--{name}", type=float, metavar=letter, help=f"instead: {what}")
    parser.add_argument(
        "--table",
        action="store_true",
        help="a table of several sparsities and slopes, the usual ones where none are given",
    )
    parser.add_argument(
        "--networks",
        type=int,
        default=0,
        metavar="N",
        help="draw so many finite networks and show them beside the theory",
    )
    parser.add_argument(
        "--key", type=int, default=0, metavar="K", help="of their random numbers (default: 0)"
    )
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
    add_json(parser, "all numbers as one JSON object, of a table as a list of rows")


def run(args: argparse.Namespace) -> None:
    """Print the choice or the table, and write it."""
    from meanfield.clip.families import family_named

    options = {name: getattr(args, name) for name in ("q", "clip", "width", "depth", "weights")}
    phi: Any = args.activation
    tau = None
    if family_named(phi) is None:
        phi = load(phi, args.parameters)
    else:
        tau = args.parameters.pop("tau", None)
        if args.parameters:
            names = ", ".join(f"--{name}" for name in args.parameters)
            args.parser.error(f"unrecognized arguments: {names}")
    if args.networks < 0:
        args.parser.error(f"argument --networks: must be 0 or more, got {args.networks}")
    if args.table or len(args.sparsity or ()) > 1 or len(args.slope or ()) > 1:
        _table(args, phi, options)
    else:
        _choice(args, phi, tau, options)


def _table(args: argparse.Namespace, phi: Any, options: dict[str, Any]) -> None:
    """A row to each sparsity and slope."""
    from meanfield import files
    from meanfield.clip.table import SLOPES, SPARSITIES, clip_table

    if args.margin is not None or args.risk is not None or args.level is not None:
        args.parser.error("argument --table: goes with --slope alone")
    if any(map(is_picture, args.output)):
        args.parser.error("argument -o: a table is written as .csv, .json or .npz")
    table = clip_table(
        phi, args.sparsity or SPARSITIES, args.slope or SLOPES,
        networks=args.networks, key=args.key, **options,
    )  # fmt: skip
    if args.json:
        print_json(table.rows())
    else:
        print(table)

    def columns() -> dict[str, Any]:
        return files.by_name(table.rows())

    write_output(
        args, lambda path: files.write(path, columns, lambda: {"rows": table.rows()}, columns)
    )


def _choice(args: argparse.Namespace, phi: Any, tau: Any, options: dict[str, Any]) -> None:
    """One clip level."""
    from meanfield.clip import clip_threshold
    from meanfield.clip.diagram import diagrams_around
    from meanfield.simulation.run import simulate

    sparsity, slope = (values and values[0] for values in (args.sparsity, args.slope))
    choice = clip_threshold(
        phi, sparsity, slope, tau=tau, margin=args.margin, risk=args.risk, m=args.level, **options
    )
    drawn = None
    if args.networks:
        drawn = simulate(
            choice.point, width=args.width, depth=args.depth, draws=args.networks, key=args.key
        )
    if args.json:
        print_json(choice.to_dict())
    else:
        print(choice)
        if drawn is not None:
            share, error = drawn.escaped(3 * choice.q), drawn.escaped_error(3 * choice.q)
            print(f"  of {drawn.draws} networks drawn {share:.3f} +- {error:.3f} exceed 3 q")
    if args.output:
        around, trajectory = diagrams_around(choice), choice.trajectory(choice.depth - 1)
        write_output(
            args,
            lambda path: _save(path, choice, around[0], trajectory),
            lambda: _drawn(choice, *around, trajectory, drawn),
        )


def _save(
    path: "Path", choice: "ClipChoice", curves: "ClipDiagram", trajectory: "ClipTrajectory"
) -> None:
    """The numbers of the picture: of the choice only where it is a .csv."""
    from meanfield import files

    record = choice.to_dict()
    scalars = {k: v for k, v in record.items() if isinstance(v, int | float | str)}
    numbers = {"curves": curves.to_dict(), "trajectory": vars(trajectory)}
    arrays = {
        f"{group}_{name}": value
        for group, values in numbers.items()
        for name, value in values.items()
    }
    files.write(
        path, lambda: scalars | arrays, lambda: record | numbers, lambda: files.by_name([scalars])
    )


def _drawn(choice: "ClipChoice", curves: Any, field: Any, way: Any, drawn: Any) -> "Figure":
    """Five diagrams, or four where there is no map over sparsities."""
    from meanfield import plot

    risks = {} if field is None else {0.01: field.risk_levels(0.01, rows=9)}
    figure = new_figure(15 if field is not None else 10, 8.4)
    panels = figure.subplots(2, 3 if field is not None else 2)
    plot.clip_curves(curves, panels[0, :2], choice=choice)
    plot.clip_choice(choice, panels[1, 0])
    plot.clip_trajectory(way, panels[1, 1], simulation=drawn)
    if field is not None:
        plot.clip_map(field, panels[0, 2], choice=choice, risks=risks)
        plot.clip_map(field, panels[1, 2], choice=choice, colour="curvature")
    figure.suptitle(
        f"{choice.activation.name}: weight_var {choice.weight_var:.5g}, bias_var "
        f"{choice.bias_var:.5g}, {choice.verdict.name.lower().replace('_', ' ')}"
    )
    return figure
