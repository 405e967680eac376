"""`meanfield gallery`: every kind of picture that the package draws, each with its source."""

import argparse
from pathlib import Path
from typing import Any

from meanfield.cli.arguments import add_command


def add_to(commands: Any) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "gallery",
        run,
        "draw all pictures of the gallery into a folder, with their numbers and sources",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="pictures to draw (default: all; see --list)"
    )
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, default=Path("figures"),
        help="where to draw them; made if it is not there (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print names and sources, draw nothing")


def run(args: argparse.Namespace) -> None:
    """Draw the pictures, or list them."""
    from meanfield.gallery import PICTURES, draw_into

    known = {picture.name: picture for picture in PICTURES}
    unknown = [name for name in args.names if name not in known]
    if unknown:
        raise ValueError(f"no picture {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[name] for name in args.names] or list(PICTURES)
    if args.list:
        for picture in chosen:
            print(f"{picture.name:24} {picture.title} ({picture.source})")
        return
    for path in draw_into(args.output, chosen):
        print(f"wrote {path}", flush=True)
