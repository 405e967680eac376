"""What a figure shows, as numbers: the same picture, whatever the version of matplotlib."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["differences", "numbers"]

_POINTS = 9  # of each line, and in each direction of a field: enough to see that it has moved
_DIGITS = 6

Series = dict[str, Any]


def numbers(figure: "Figure") -> list[Series]:
    """Lines, bands, histograms and fields as far as axes show them, thinned and rounded.

    Returns:
        A dictionary for each: `axes` (the number of its axes in the figure), `kind`, `label`,
        `log` (which of its numbers are on a logarithmic scale), and `x` and `y`, or `values` of a
        field. Values that are not finite are None.
    """
    shown = []
    for index, ax in enumerate(figure.axes):
        if ax.get_label() == "<colorbar>":
            continue
        drawn = [*ax.lines, *ax.collections, *ax.patches]
        for artist in drawn:
            kind, data = _data(artist)
            if data:
                # what is outside is not shown: where a density is infinite it is rounding
                for part, ends in (("x", ax.get_xlim()), ("y", ax.get_ylim())):
                    if part in data:
                        data[part] = np.clip(data[part], min(ends), max(ends))
                label = str(artist.get_label())
                label = "" if label.startswith("_") else label
                scales = {"x": ax.get_xscale(), "y": ax.get_yscale(), "values": _of_colour(artist)}
                log = [part for part in data if scales[part] == "log"]
                head = {"axes": index, "kind": kind, "label": label, "log": log}
                shown.append(head | {name: _rounded(part) for name, part in data.items()})
    return shown


def _data(artist: Any) -> tuple[str, dict[str, Any]]:
    """What an artist shows; nothing of text, hatching and what else has no numbers."""
    from matplotlib.collections import PolyCollection, QuadMesh
    from matplotlib.lines import Line2D
    from matplotlib.patches import StepPatch

    match artist:
        case Line2D():
            x, y = (np.asarray(part, float) for part in artist.get_data())
            at = _spread(len(x))
            return "line", {"x": x[at], "y": y[at]} if len(x) else {}
        case QuadMesh():
            field = np.ma.filled(np.ma.asarray(artist.get_array(), float), np.nan)
            return "field", {"values": field[np.ix_(*map(_spread, field.shape))]}
        case StepPatch():
            heights = np.asarray(artist.get_data()[0])
            return "histogram", {"y": heights[_spread(len(heights))]}
        case PolyCollection():
            corners = np.concatenate([path.vertices for path in artist.get_paths()])
            x, y = corners[_spread(len(corners))].T
            return "band", {"x": x, "y": y}
    return "", {}


def _of_colour(artist: Any) -> str:
    from matplotlib.colors import LogNorm

    return "log" if isinstance(getattr(artist, "norm", None), LogNorm) else "linear"


def _spread(count: int) -> Any:
    """Indices of a few, evenly, the ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).round().astype(int))


def _rounded(values: Any) -> list[Any]:
    return [
        _rounded(value) if np.ndim(value)
        else float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
        for value in values
    ]  # fmt: skip


def differences(seen: list[Series], known: list[Series], tolerance: float) -> list[str]:
    """In what two figures differ, in sentences; none if they show the same.

    Args:
        seen: `numbers` of the one.
        known: of the other.
        tolerance: the difference of two numbers that is allowed, relative to the largest of the
            series; on a logarithmic scale relative to each.
    """
    names = [[(s["axes"], s["kind"], s["label"]) for s in series] for series in (seen, known)]
    if names[0] != names[1]:
        return [f"shown is {names[0]}, known {names[1]}"]
    found = []
    for one, other in zip(seen, known, strict=True):
        for part in ("x", "y", "values"):
            if part not in one and part not in other:
                continue
            a, b = (np.array(series[part], float) for series in (one, other))
            if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
                found.append(f"{one['label'] or one['kind']}: {part} is known elsewhere")
                continue
            a, b = a[~np.isnan(a)], b[~np.isnan(b)]
            size = np.abs(b) if part in other["log"] else np.max(np.abs(b), initial=0.0)
            off = np.abs(a - b) - tolerance * size
            if np.any(off > 0):
                worst = np.argmax(off)
                found.append(
                    f"{one['label'] or one['kind']}: {part} is {a[worst]:.6g}, known {b[worst]:.6g}"
                )
    return found
