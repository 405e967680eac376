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


def new_figure(width: float, height: float) -> "Figure":
    """A figure that no window and no pyplot knows of; use it inside `meanfield.plot.style()`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def save_numbers(path: Path, numbers: dict[str, Any], table: list[dict[str, Any]]) -> None:
    """`numbers` as .json, or as .npz where they are arrays; `table`, row by row, as .csv."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        write_json(path, numbers)
    elif suffix == ".csv":
        import csv

        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(table[0]) if table else [])
            writer.writeheader()
            writer.writerows(table)
    else:
        import numpy as np

        np.savez_compressed(path, **numbers)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as strict JSON."""
    path.write_text(strict_json(value) + "\n", encoding="utf-8")


def print_json(value: Any) -> None:
    """Print `value` as strict JSON."""
    print(strict_json(value))
