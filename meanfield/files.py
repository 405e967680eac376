"""Results in files: whole in `.npz`, as text in `.json`, line by line in `.csv`."""

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from meanfield.strict_json import strict_json

__all__ = ["read", "write"]


def write(
    path: str | PathLike[str],
    arrays: Callable[[], Mapping[str, Any]],
    record: Callable[[], Mapping[str, Any]],
    columns: Callable[[], Mapping[str, Any]],
) -> Path:
    """Write what the suffix asks for; `columns` are of one length each.

    Raises:
        ValueError: the suffix is another one.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        np.savez_compressed(path, **arrays())
    elif suffix == ".json":
        path.write_text(strict_json(record(), indent=None), encoding="utf-8")
    elif suffix == ".csv":
        named = columns()
        table = np.stack(list(named.values()), axis=1)
        np.savetxt(path, table, "%.17g", ",", header=",".join(named), comments="")
    else:
        raise ValueError(f"path: must end in .npz, .json or .csv, got {str(path)!r}")
    return path


def read(path: str | PathLike[str]) -> dict[str, Any]:
    """The arrays of an `.npz` file, by name."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
