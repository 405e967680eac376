"""The one place that imports a framework, and says how to get it where it is missing."""

from importlib import import_module
from types import ModuleType

__all__ = ["framework"]


def framework(name: str) -> ModuleType:
    """The module of this name, a framework or a part of it.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        extra = name.partition(".")[0]
        if error.name != extra:  # installed, but something that it needs is not
            raise
        raise ImportError(
            f"{extra}: meanfield.bridges.{extra} needs it; pip install 'meanfield[{extra}]'"
        ) from error
