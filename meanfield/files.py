"""Results in files whose suffix says how: whole in `.npz` and `.json`, line by line in `.csv`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from meanfield.strict_json import strict_json

__all__ = ["by_name", "read", "save", "text", "write"]

Form = Callable[[Path], Any]
Numbers = Callable[[], Mapping[str, Any]]


def save(path: str | PathLike[str], forms: Mapping[str, Form]) -> Path:
    """Write it in the form of its suffix.

    Raises:
        ValueError: the suffix is another one.
    """
    path = Path(path)
    form = forms.get(path.suffix.lower())
    if form is None:
        *most, last = forms
        raise ValueError(f"path: must end in {', '.join(most)} or {last}, got {str(path)!r}")
    form(path)
    return path


def write(path: str | PathLike[str], arrays: Numbers, record: Numbers, columns: Numbers) -> Path:
    """Write `arrays` as .npz, `record` as .json or `columns`, of one length each, as .csv."""
    return save(
        path,
        {
            ".npz": lambda path: np.savez_compressed(path, **arrays()),
            ".json": text(lambda: strict_json(record(), indent=None)),
            ".csv": lambda path: _table(path, columns()),
        },
    )


def text(of: Callable[[], str]) -> Form:
    """A file that holds this text."""
    return lambda path: path.write_text(f"{of()}\n", encoding="utf-8")


def _table(path: Path, columns: Mapping[str, Any]) -> None:
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*map(_plain, columns.values()), strict=True))


def _plain(column: Any) -> Iterable[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else column


def by_name(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The columns of a table of rows that have the same names."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def read(path: str | PathLike[str]) -> dict[str, Any]:
    """The arrays of an `.npz` file, by name."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
