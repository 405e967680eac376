"""The named activations: `CATALOGUE`, and `lookup` to find an entry by any of its names."""

from difflib import get_close_matches

from meanfield.catalogue.entries import ENTRIES
from meanfield.catalogue.entry import Entry, Parameter

__all__ = ["CATALOGUE", "Entry", "Parameter", "lookup"]

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in ENTRIES}


def _key(name: str) -> str:
    """`Hardtanh` (torch), `hard-tanh` and `hard_tanh` (jax) are one name."""
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


_BY_KEY = {_key(name): entry for entry in ENTRIES for name in (entry.name, *entry.aliases)}


def lookup(name: str) -> Entry:
    """The entry called `name`, or with that alias; case, underscores and hyphens do not matter."""
    if not isinstance(name, str):
        raise TypeError(f"an activation's name is a str, got {type(name).__name__}: {name!r}")
    entry = _BY_KEY.get(_key(name))
    if entry is None:
        close = dict.fromkeys(_BY_KEY[key].name for key in get_close_matches(_key(name), _BY_KEY))
        nearest = f"the nearest names are {', '.join(close)}; " if close else ""
        raise ValueError(
            f"there is no activation {name!r}; {nearest}`meanfield activations` lists all, "
            "functions of one number each (so no softmax); one of your own is given as the "
            "function itself, on the command line as package.module:function"
        )
    return entry
