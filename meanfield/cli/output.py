"""What the subcommands share on the way out: JSON, and files whose suffix says what they hold."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meanfield.strict_json import strict_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES, NUMBERS = (".png", ".pdf", ".svg"), (".npz", ".csv", ".json")


def add_output(parser: argparse.ArgumentParser) -> None:
    """`-o FILE`, as often as one likes."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=writable(PICTURES + NUMBERS),
        action="append",
        default=[],
        help=f"write a picture ({', '.join(PICTURES)}) or the numbers ({', '.join(NUMBERS)}); "
        "may be repeated",
    )


def writable(suffixes: tuple[str, ...]) -> Callable[[str], Path]:
    """Paths, refused before anything is computed if they could not be written afterwards."""

    def checked(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() not in suffixes:
            reason = f"the suffix must be one of {', '.join(suffixes)}"
        elif not path.parent.is_dir():
            reason = f"there is no folder {str(path.parent)!r}; make it first"
        elif not os.access(path if path.exists() else path.parent, os.W_OK) or path.is_dir():
            reason = "it cannot be written; take another name or folder"
        else:
            return path
        raise argparse.ArgumentTypeError(f"{text!r}: {reason}")

    return checked


def is_picture(path: Path) -> bool:
    """Whether the suffix is that of a picture, and not of numbers."""
    return path.suffix.lower() in PICTURES


def write_output(
    args: argparse.Namespace,
    save: Callable[[Path], Any],
    draw: "Callable[[], Figure] | None" = None,
) -> None:
    """Write every file of `-o`, what `draw` draws where it is a picture, and say so."""
    for path in args.output:
        if draw is not None and is_picture(path):
            from meanfield import plot

            with plot.style():
                draw().savefig(path)
        else:
            save(path)
        if not args.json:
            print(f"wrote {path}")


def new_figure(width: float, height: float) -> "Figure":
    """A figure that no window and no pyplot knows of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def print_json(value: Any) -> None:
    """Print `value` as strict JSON."""
    print(strict_json(value))
