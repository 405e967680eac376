"""`meanfield maps`: the variance and correlation maps of a network, with all fixed points."""

import argparse
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from meanfield.cli.arguments import (
    add_activation,
    add_command,
    add_json,
    add_variances,
    add_weights,
    network_of,
)
from meanfield.cli.output import add_output, is_picture, new_figure, print_json, write_output

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from meanfield.fixedpoints import FixedPoints
    from meanfield.maps.correlation import CorrelationMap
    from meanfield.network import FixedPoint, Network


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "maps",
        run,
        "print the fixed points of a network and draw its variance and correlation maps",
        example="meanfield maps crelu --tau 1.0 --m 1.5 --weight-var 7 --bias-var 0.6 -o maps.png",
    )
    add_activation(parser)
    add_weights(parser)
    add_variances(parser)
    parser.add_argument(
        "--q0", type=float, metavar="Q", help="draw the trajectory of this variance, a cobweb"
    )
    parser.add_argument("--log", action="store_true", help="logarithmic axes of the variance map")
    add_output(parser)
    add_json(parser, "the fixed points as one JSON object")


def run(args: argparse.Namespace) -> None:
    """Print the fixed points, and write the maps."""
    from meanfield.fixedpoints import fixed_points
    from meanfield.maps.correlation import correlation_map
    from meanfield.network import REACH

    if args.q0 is not None and not 0 < args.q0 < inf:
        args.parser.error(f"argument --q0: a variance must be finite and > 0, got {args.q0:g}")
    if (args.q0 is not None or args.log) and not any(map(is_picture, args.output)):
        args.parser.error("arguments --q0 and --log are for a picture: give -o FILE.png as well")
    chosen = network_of(args)
    points = fixed_points(chosen)
    maps = [correlation_map(point) for point in _where(points, chosen)]
    if args.json:
        print_json(_record(points))
    else:
        print(points)
        for C in maps:
            print(f"correlations at q = {C.q:.6g}: {C.decay}")
            if C.decay.kind == "exponential":
                depth = REACH * C.decay.depth_scale
                print(f"trainable depth there: about {depth:.3g} layers ({REACH} depth_scale_c)")
    view = args.q0, "log" if args.log else "linear"
    write_output(
        args, lambda path: _save(path, points, maps, *view), lambda: _drawn(points, maps, *view)
    )


def _where(
    points: "FixedPoints", chosen: "Network | FixedPoint"
) -> "Sequence[Network | FixedPoint]":
    """Where correlations are looked at: the chosen point, else stable ones, else any, but not 0."""
    from meanfield.network import FixedPoint

    if isinstance(chosen, FixedPoint) or points.continuum is not None:
        return [chosen]
    positive = [point for point in points if point.q > 0]
    return [point for point in positive if point.stable] or positive


def _record(points: "FixedPoints") -> dict[str, Any]:
    network = points.network
    return {
        "activation": network.activation.name,
        "weights": str(network.weights),
        "weight_var": network.weight_var,
        "bias_var": network.bias_var,
        "verdict": str(points.verdict),
        "fixed_points": [point.to_dict() for point in points],
    }


def _drawn(
    points: "FixedPoints", maps: "list[CorrelationMap]", q0: float | None, scale: str
) -> "Figure":
    from meanfield import plot

    figure = new_figure(10 if maps else 5.2, 4.6)
    left, *right = figure.subplots(1, 2 if maps else 1, squeeze=False)[0]
    plot.variance_map(points, left, q0=q0, scale=scale)
    for C, (color, dashes) in zip(maps, plot.CYCLE, strict=False):
        name = f"$C(c)$ at $q$ = {C.q:.4g}"
        plot.correlation_map(C, right[0], color=color, linestyle=dashes, label=name)
    figure.suptitle(str(points.network))
    return figure


def _save(
    path: "Path", points: "FixedPoints", maps: "list[CorrelationMap]", q0: float | None, scale: str
) -> None:
    """The numbers of the picture: of the fixed points only where it is a .csv."""
    import numpy as np

    from meanfield import files, plot
    from meanfield.maps.variance import variance_map

    def curves() -> dict[str, Any]:
        q, c = plot.variances_in_view(points, q0, scale), np.linspace(-1.0, 1.0, 401)
        return {
            "q": q,
            "variance": variance_map(points.network)(q),
            "c": c,
            "correlation_at": np.array([C.q for C in maps]),
            "correlation": np.array([C(c) for C in maps]).reshape(len(maps), len(c)),
        }

    def table() -> dict[str, Any]:
        return files.by_name([point.to_dict() for point in points])

    def arrays() -> dict[str, Any]:
        named = ("q", "chi1", "variance_slope", "correlation", "stable")
        found = {f"fixed_point_{name}": table().get(name, []) for name in named}
        return curves() | found

    files.write(path, arrays, lambda: {**_record(points), "curves": curves()}, table)
