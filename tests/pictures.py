"""What the tests of pictures share."""

from typing import Any

import pytest


def labelled(ax: Any) -> dict[str, Any]:
    """The lines on the axes, by their labels."""
    return {str(line.get_label()): line for line in ax.lines}


def forbid_side_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise when anything is shown or saved, or a figure made."""
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    def forbidden(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a plot of a result shows, saves and makes nothing")

    for name in ("show", "figure", "savefig", "subplots"):
        monkeypatch.setattr(plt, name, forbidden)
    monkeypatch.setattr(Figure, "savefig", forbidden)
