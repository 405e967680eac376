"""The look that all pictures share: colours, and axes of our own when none are given."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BLUE", "CYCLE", "GREEN", "GREY", "ORANGE", "VERMILION", "axes", "legend", "merged",
           "outlined", "panels", "style"]  # fmt: skip

# Okabe & Ito: told apart with any colour vision.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY, BLACK = "#CC79A7", "#E69F00", "#56B4E9", "#000000"
GREY = "0.5"

# Lines of several categories: the dashes tell them apart in grey too.
CYCLE = tuple(
    zip(
        (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK),
        ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), ":"),
        strict=True,
    )
)


def style() -> AbstractContextManager[None]:
    """The package's matplotlib style as a context: `with mf.plot.style(): ...`.

    Functions of `meanfield.plot` apply it to axes that they make; use it for axes of your own.
    """
    import matplotlib.style

    return matplotlib.style.context(Path(__file__).with_name("meanfield.mplstyle"))


@contextmanager
def axes(ax: "Axes | None", title: str) -> Iterator["Axes"]:
    """The caller's axes as they are, or new ones in our style, with a title."""
    if ax is not None:
        yield ax
        return
    import matplotlib.pyplot as plt

    with style():
        ax = plt.subplots()[1]
        ax.set_title(title)
        yield ax
        for axis in (ax.xaxis, ax.yaxis):  # made on demand, maybe later and in another style
            axis.get_major_ticks()
            axis.get_minor_ticks()


@contextmanager
def panels(ax: Any, shape: tuple[int, ...], title: str, **options: Any) -> Iterator[Any]:
    """The caller's axes in this shape, or new ones in our style with a title above them.

    The `options` are those of `pyplot.subplots`.
    """
    if ax is not None:
        given = np.ravel(np.asarray(ax, object))
        if len(given) != np.prod(shape):
            raise ValueError(f"ax: must be {np.prod(shape)} axes, got {len(given)}")
        yield given.reshape(shape)
        return
    import matplotlib.pyplot as plt

    with style():
        rows, columns = (1, *shape)[-2:]
        options = {"figsize": (4.8 * columns, 4.2 * rows), **options}
        figure, grid = plt.subplots(rows, columns, squeeze=False, **options)
        figure.suptitle(title)
        yield grid.reshape(shape)
        for one in grid.ravel():
            for axis in (one.xaxis, one.yaxis):  # as above
                axis.get_major_ticks()
                axis.get_minor_ticks()


def merged(given: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """Keywords of a line: the given ones, under any of their names (`c`, `lw`), and defaults."""
    from matplotlib import cbook
    from matplotlib.lines import Line2D

    return {**defaults, **cbook.normalize_kwargs(given, Line2D)}


def legend(ax: "Axes", loc: Any = "best") -> int:
    """A legend that names once what several calls draw alike; returns how many entries it has."""
    named: dict[str, Any] = {}
    for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
        named.setdefault(label, handle)
    if named:
        ax.legend(list(named.values()), list(named), loc=loc)
    return len(named)


def outlined(width: float = 3.0) -> list[Any]:
    """Path effects that put a white rim around text or a line, readable on any colour."""
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=width, foreground="white")]
