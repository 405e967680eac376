"""A misspelt keyword is told what there is, and that standard deviations are not taken."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

__all__ = ["spelt"]

P = ParamSpec("P")
T = TypeVar("T")


def spelt(function: Callable[P, T]) -> Callable[P, T]:
    """The function, with a `TypeError` for unknown keywords that says which are known."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        unknown = [name for name in kwargs if name not in names]
        if not unknown:
            return function(*args, **kwargs)
        spread = any(word in unknown[0].lower() for word in ("std", "sigma"))
        variances = "; variances are taken, not standard deviations: std**2, weights times fan-in"
        raise TypeError(
            f"{function.__qualname__.removesuffix('.__init__')}: there is no argument "
            f"{unknown[0]!r}, it takes {', '.join(name for name in names if name != 'self')}"
            f"{variances if spread else ''}"
        )

    return called
