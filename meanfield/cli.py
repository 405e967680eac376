"""The command `meanfield`: a subcommand for each job.

Only argparse is imported here; a subcommand imports the engine when it runs, so `--help` answers at
once. Exit status: 0, or 1 when the library refuses what was asked (one line on stderr), 2 for a
command line that is not understood, 130 when interrupted.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from meanfield import __version__

if TYPE_CHECKING:
    from meanfield.activation import Activation
    from meanfield.catalogue import Entry

# A pipe's reader went away: what a shell reports for a command killed by SIGPIPE (128 + 13).
_BROKEN_PIPE = 141


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; a subcommand sets `run`, its function, and `parser`, itself."""
    parser = argparse.ArgumentParser(
        prog="meanfield",
        description="Where depth takes a wide random network, for any activation function.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    critical = _add_command(
        commands,
        "critical",
        _critical,
        "the critical initialisation (edge of chaos) of an activation",
        epilog="Other options are the activation's parameters, and for module:function its keyword "
        "arguments:  meanfield critical crelu --tau 1.0 --m 1.5",
    )
    _add_activation_arguments(critical)
    where = critical.add_mutually_exclusive_group()
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
    _add_json(
        critical, "one JSON object, or a list of them for several values of --q or --bias-var"
    )

    activations = _add_command(
        commands, "activations", _activations, "the catalogue of named activations, with kinks"
    )
    activations.add_argument("name", metavar="NAME", nargs="?", help="show this one only")
    _add_json(activations, "a JSON list, or one object for NAME")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of this process) and return its exit status."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if hasattr(args, "parameters"):
        args.parameters = _parameters(args.parser, rest)
    elif rest:
        args.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        args.run(args)
        sys.stdout.flush()  # here, so that a broken pipe is met inside this block
    except (ValueError, TypeError) as error:
        print(f"meanfield: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The interpreter flushes stdout once more on its way out: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return 130
    return 0


# -- meanfield critical ---------------------------------------------------------------------------


def _critical(args: argparse.Namespace) -> None:
    from meanfield.criticality import critical

    activation = _load(args.activation, args.parameters)
    keyword, values = ("bias_var", args.bias_var) if args.bias_var else ("q", args.q or [1.0])
    points = [critical(activation, **{keyword: v}, weights=args.weights) for v in values]
    if args.json:
        records = [point.to_dict() for point in points]
        _print_json(records if len(records) > 1 else records[0])
        return
    for point in points:
        print(point)
        print()
    last = f"{keyword}={values[-1]!r}"
    if args.weights != "gaussian":
        last += f", weights={args.weights!r}"
    print(_usage(args, last))


def _usage(args: argparse.Namespace, arguments: str) -> str:
    """What to do with the numbers: lines to paste, in JAX and in any other framework."""
    phi, imports = repr(args.activation), ["import meanfield as mf"]
    module, colon, path = args.activation.partition(":")
    if colon:
        phi = path
        imports.append(f"from {module} import {path.partition('.')[0]}")
    if args.parameters:
        given = ", ".join(f"{name}={value!r}" for name, value in args.parameters.items())
        phi = f"mf.Activation({phi}, {given})"
    weights = {
        "gaussian": "W ~ N(0, weight_var / fan_in), that is std = sqrt(weight_var / fan_in)",
        "orthogonal": "W = sqrt(weight_var) Q with Q a random orthogonal matrix",
    }[args.weights]
    return "\n".join(
        [
            "In JAX, as in jax.nn.initializers:",
            *(f"    {line}" for line in imports),
            f"    point = mf.critical({phi}, {arguments})",
            "    init_weights, init_biases = mf.initializer(point), mf.bias_initializer(point)",
            "Anywhere else:",
            f"    {weights}",
            "    b ~ N(0, bias_var), that is std = sqrt(bias_var)",
        ]
    )


# -- meanfield activations ------------------------------------------------------------------------


def _activations(args: argparse.Namespace) -> None:
    from meanfield.catalogue import CATALOGUE, lookup

    entries = [lookup(args.name)] if args.name else list(CATALOGUE.values())
    records = [_describe(entry) for entry in entries]
    if args.json:
        _print_json(records[0] if args.name else records)
    else:
        _print_table(records)


def _describe(entry: "Entry") -> dict[str, Any]:
    from meanfield.activation import Activation

    activation = Activation(entry.name)
    return {
        "name": entry.name,
        "aliases": list(entry.aliases),
        "formula": entry.formula,
        "parameters": [
            {"name": p.name, "default": p.default, "domain": list(p.domain)}
            for p in entry.parameters
        ],
        "kinks": [float(x) for x in activation.kinks],
        "jumps": [float(x) for x in activation.jumps],
    }


def _print_table(records: list[dict[str, Any]]) -> None:
    rows = [("name", "parameters", "kinks", "also called", "formula")]
    for record in records:
        parameters = ", ".join(f"{p['name']}={p['default']:g}" for p in record["parameters"])
        kinks = ", ".join(
            f"{x:.6g} (jump)" if x in record["jumps"] else f"{x:.6g}" for x in record["kinks"]
        )
        aliases = ", ".join(record["aliases"])
        rows.append((record["name"], parameters, kinks, aliases, record["formula"]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


# -- what the subcommands share -------------------------------------------------------------------


def _add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], None],
    summary: str,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=f"Print {summary}.", epilog=epilog, allow_abbrev=False
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def _add_activation_arguments(parser: argparse.ArgumentParser) -> None:
    """ACTIVATION, --weights, and every unknown option as a parameter of the activation."""
    parser.add_argument(
        "activation",
        metavar="ACTIVATION",
        help="a name from `meanfield activations`, or package.module:function for your own",
    )
    parser.add_argument(
        "--weights",
        choices=("gaussian", "orthogonal"),
        default="gaussian",
        help="ensemble of the weight matrices (default: %(default)s)",
    )
    parser.set_defaults(parameters={})


def _add_json(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=f"print {what}")


def _parameters(parser: argparse.ArgumentParser, rest: list[str]) -> dict[str, float]:
    """`["--tau", "1", "--m=1.5"]` as `{"tau": 1.0, "m": 1.5}`; a usage error for anything else."""
    parameters: dict[str, float] = {}
    words = iter(rest)
    for word in words:
        option, equals, text = word.partition("=")
        name = option[2:].replace("-", "_")
        if not (option.startswith("--") and name.isidentifier()):
            parser.error(f"unrecognized argument: {word}")
        if not equals:
            text = next(words, "")
        try:
            value = float(text)
        except ValueError:
            parser.error(f"argument {option}: expected a number, got {text!r}")
        if name in parameters:
            parser.error(f"argument {option}: given twice")
        parameters[name] = value
    return parameters


def _load(spec: str, parameters: dict[str, Any]) -> "Activation":
    """The activation of a catalogue name or of `package.module:attribute.attribute`."""
    from meanfield.activation import Activation

    module, colon, path = spec.partition(":")
    if not colon:
        return Activation(spec, **parameters)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does
    try:
        phi: Any = import_module(module)
        for name in path.split("."):
            phi = getattr(phi, name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot load {spec!r}: {error}") from error
    return Activation(phi, **parameters)


def _print_json(value: Any) -> None:
    print(json.dumps(_strict(value), indent=2, allow_nan=False))


def _strict(value: Any) -> Any:
    """`value` for strict JSON, which has no numbers for infinity and not-a-number: as strings."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "inf", "-inf" or "nan"
    return value
