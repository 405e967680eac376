"""`meanfield activations`: the catalogue."""

import argparse
from typing import TYPE_CHECKING, Any

from meanfield.aligned import aligned
from meanfield.cli.arguments import add_command, add_json
from meanfield.cli.output import print_json

if TYPE_CHECKING:
    from meanfield.catalogue import Entry


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands, "activations", run, "print the catalogue of named activations, with kinks"
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="show this one only")
    add_json(parser, "a JSON list, or one object for NAME")


def run(args: argparse.Namespace) -> None:
    """Print the whole catalogue, or one entry."""
    from meanfield.catalogue import CATALOGUE, lookup

    entries = [lookup(args.name)] if args.name else list(CATALOGUE.values())
    records = [_describe(entry) for entry in entries]
    if args.json:
        print_json(records[0] if args.name else records)
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
    print("\n".join(aligned(rows)))
