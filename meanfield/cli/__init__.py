"""The command `meanfield`: a subcommand for each job, in a file of its name.

Only argparse is imported here; a subcommand imports the engine when it runs, so `--help` answers at
once. Exit status: 0, or 1 when the library refuses what was asked (one line on stderr), 2 for a
command line that is not understood, 130 when interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from meanfield import __version__
from meanfield.cli import (
    activations,
    clip,
    critical,
    gallery,
    graph,
    isometry,
    maps,
    phase,
    report,
    schemes,
    simulate,
    width,
)
from meanfield.cli.arguments import parameters

# in the order of the help: the whole page, then its parts
_COMMANDS = (
    report, critical, maps, phase, clip, isometry, width, simulate, graph, schemes, gallery,
    activations,
)  # fmt: skip

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
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of this process) and return its exit status."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if hasattr(args, "parameters"):
        args.parameters = parameters(args.parser, rest)
    elif rest:
        args.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        args.run(args)
        sys.stdout.flush()  # here, so that a broken pipe is met inside this block
    except BrokenPipeError:
        # The interpreter flushes stdout once more on its way out: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except (ValueError, TypeError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.filename:
            text = f"{error.filename}: {error.strerror}"
        print(f"meanfield: error: {' '.join(text.split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
