"""What the subcommands share on the way in: options, and the activation that they name."""

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meanfield.activation import Activation
    from meanfield.network import FixedPoint, Network


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], None],
    summary: str,
    example: str | None = None,
) -> argparse.ArgumentParser:
    """A subcommand; one with an `example` takes the parameters of its activation as options."""
    epilog = example and (
        "Other options are the activation's parameters, and for module:function its keyword "
        f"arguments:  {example}"
    )
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_activation(parser: argparse.ArgumentParser) -> None:
    """ACTIVATION, and every unknown option as a parameter of it."""
    parser.add_argument(
        "activation",
        metavar="ACTIVATION",
        help="a name from `meanfield activations`, or package.module:function for your own",
    )
    parser.set_defaults(parameters={})


def add_weights(parser: argparse.ArgumentParser) -> None:
    """`--weights`, the ensemble."""
    parser.add_argument(
        "--weights",
        choices=("gaussian", "orthogonal"),
        default="gaussian",
        help="ensemble of the weight matrices (default: %(default)s)",
    )


def add_variances(parser: argparse.ArgumentParser) -> None:
    """`--weight-var` and `--bias-var`, of a network that may be the critical one."""
    parser.add_argument(
        "--weight-var",
        type=float,
        metavar="W",
        help="weight variance (default: that of the critical point at B, or else at q)",
    )
    parser.add_argument(
        "--bias-var",
        type=float,
        metavar="B",
        help="bias variance (default: 0, or without --weight-var that of the critical point)",
    )


def network_of(args: argparse.Namespace, q: float | None = None) -> "Network | FixedPoint":
    """The network of both variances; without a weight variance the critical point, at `q` or 1."""
    from meanfield.criticality import critical
    from meanfield.network import Network

    activation = load(args.activation, args.parameters)
    if args.weight_var is not None:
        return Network(activation, args.weight_var, args.bias_var or 0.0, weights=args.weights)
    if args.bias_var is not None:
        return critical(activation, bias_var=args.bias_var, weights=args.weights)
    return critical(activation, q=q, weights=args.weights)


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """`--json`, instead of text."""
    parser.add_argument("--json", action="store_true", help=f"print {what}")


def parameters(parser: argparse.ArgumentParser, rest: list[str]) -> dict[str, float]:
    """`["--tau", "1", "--m=1.5"]` as `{"tau": 1.0, "m": 1.5}`; a usage error for anything else."""
    found: dict[str, float] = {}
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
        if name in found:
            parser.error(f"argument {option}: given twice")
        found[name] = value
    return found


def load(spec: str, parameters: dict[str, Any]) -> "Activation":
    """The activation of a catalogue name or of `package.module:attribute.attribute`."""
    from meanfield.activation import Activation, as_activation

    if ":" not in spec:
        module, dot, name = spec.rpartition(".")
        if dot:
            raise ValueError(
                f"activation: {spec!r} is no name of the catalogue; one of your own has a colon, "
                f"{module}:{name}, as in package.module:function"
            )
        try:
            return Activation(spec, **parameters) if parameters else as_activation(spec)
        except TypeError as error:
            raise TypeError(
                f"{error}, and this command has no such option (see its --help); it takes "
                "variances, weight_var = std^2 times fan-in"
            ) from error
    return Activation(imported(spec), **parameters)


def imported(spec: str) -> Any:
    """What `package.module:attribute.attribute` names."""
    module, _, path = spec.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does
    try:
        phi: Any = import_module(module)
        for name in path.split("."):
            phi = getattr(phi, name)
    except Exception as error:  # whatever somebody's module raises when it is imported
        raise ValueError(
            f"activation: cannot load {spec!r}: {type(error).__name__}: {error}; it must be "
            "package.module:function, without .py, importable from here"
        ) from error
    return phi
