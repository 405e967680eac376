"""The panels of a report, that a person can read at a glance."""

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.plot.correlation import correlation_map
from meanfield.plot.edges import edges_of_chaos
from meanfield.plot.isometry import slope_spread
from meanfield.plot.spectrum import spectrum
from meanfield.plot.style import legend, style
from meanfield.plot.variance import variance_map
from meanfield.plot.width import finite_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from meanfield.reporting import Report
    from meanfield.spectrum import Spectrum
    from meanfield.width import FiniteWidth

__all__ = ["figure", "figures", "report"]

_COLUMNS = 3
_SHOWN = 1e-4  # singular values from here on, relative to the largest
_POINTS = 400


def _panels(report: "Report") -> list[tuple[str, Any]]:
    """Titles, and functions of axes; only of what was found."""
    found = report.findings
    panels: list[tuple[str, Any]] = []
    if found.edge is not None and found.edge.valid.any():
        edge = {"critical": found.edge}
        panels.append(("edge of chaos", lambda ax: edges_of_chaos(edge, ax)))
    if found.points is not None:
        points = found.points
        panels.append(("variance through a layer", lambda ax: variance_map(points, ax)))
    if found.correlations is not None:
        correlations = found.correlations
        panels.append(("correlation through a layer", lambda ax: correlation_map(correlations, ax)))
    if found.spectrum is not None:
        spread = found.spectrum
        title = f"Jacobian of {found.depth} layers, orthogonal"
        panels.append((title, lambda ax: _bulk(spread, ax)))
    judged = found.isometry
    if judged is not None and found.point is not None:
        panels.append(("spread of slopes along the edge", lambda ax: slope_spread(judged, ax)))
    widths = [fw for fw in found.finite.values() if np.all(np.isfinite(fw.relative_std))]
    if widths:
        title = f"std of the mean square, width {found.width}"
        panels.append((title, lambda ax: _spread(widths, ax)))
    return panels


def _spread(widths: "list[FiniteWidth]", ax: "Axes") -> "Axes":
    """That of the text, from 0 on: else a thousandth looks like a tenth."""
    finite_width(widths, ax, quantity="relative_std")
    ax.set_ylim(0, 1.15 * max(float(np.max(fw.relative_std)) for fw in widths))
    return ax


def _bulk(spread: "Spectrum", ax: "Axes") -> "Axes":
    """Four decades of singular values, in a deep network the least part of what there is.

    The others are counted and not drawn: a direction that shrinks by 1e-60 is as lost as one that
    shrinks by 1e-4.
    """
    spectrum(spread, ax, log=True)
    low, _ = ax.get_xlim()
    curve = ax.lines[0]
    top = float(np.max(np.asarray(curve.get_xdata()), initial=0.0))
    power = int(np.floor(np.log10(_SHOWN * top))) if top > 0 else 0  # there may be atoms alone
    least = 10.0**power
    if not low < least < top:
        return ax
    s = np.geomspace(least, top, _POINTS)
    density = spread.log_density(np.log(s))
    curve.set_data(s, density)
    for line in ax.lines[1:]:  # what is not clipped, such as markers, would be drawn outside
        x, y = (np.asarray(part) for part in line.get_data())
        line.set_data(x[x >= least], y[x >= least])
    ax.set_xlim(least, 3 * top)
    ax.set_ylim(0, 1.3 * float(np.max(density)))
    share = 100 * float(spread.cdf(least))
    ax.plot([], [], " ", label=f"below $10^{{{power}}}$: {share:.0f} %")
    legend(ax)
    return ax


def report(report: "Report", ax: "list[Axes] | None" = None) -> "list[Axes]":
    """Draw the panels of a report, one on each axes.

    Args:
        report: a `Report`.
        ax: axes, as many as there are panels; a new figure of them if not given.

    Returns:
        The axes, in order.

    Raises:
        ValueError: there are fewer axes than panels.

    Example:
        >>> import meanfield as mf
        >>> axes = mf.report("tanh", depth=20).plot()
        >>> axes[0].get_title()
        'edge of chaos'
    """
    panels = _panels(report)
    if ax is None:
        import matplotlib.pyplot as plt

        with style():
            return _drawn(plt.figure(figsize=_size(panels), layout="constrained"), report)
    if len(ax) < len(panels):
        raise ValueError(f"ax: the report has {len(panels)} panels, got {len(ax)} axes")
    for one, (title, draw) in zip(ax, panels, strict=False):
        draw(one)
        one.set_title(title)
    return list(ax[: len(panels)])


def figure(report: "Report") -> "Figure":
    """A figure of the panels that no window and no pyplot knows of."""
    from matplotlib.figure import Figure

    with style():
        made = Figure(figsize=_size(_panels(report)), layout="constrained")
        _drawn(made, report)
    return made


def figures(report: "Report") -> "list[tuple[str, Figure]]":
    """The panels, each a figure of its own, with their titles."""
    from matplotlib.figure import Figure

    made = []
    with style():
        for title, draw in _panels(report):
            alone = Figure(figsize=(4.2, 3.4), layout="constrained")
            ax = alone.subplots()
            draw(ax)
            ax.set_title(title)
            made.append((title, alone))
    return made


def _size(panels: list) -> tuple[float, float]:
    return 4.2 * min(_COLUMNS, len(panels) or 1), 3.6 * max(1, -(-len(panels) // _COLUMNS))


def _drawn(made: "Figure", whole: "Report") -> "list[Axes]":
    count = len(_panels(whole))
    rows = max(1, -(-count // _COLUMNS))
    grid = made.subplots(rows, min(_COLUMNS, count or 1), squeeze=False).ravel().tolist()
    for empty in grid[count:]:
        empty.remove()
    made.suptitle(f"{whole.activation.name}")
    if not count:  # nothing to draw: the reason instead
        name, reason = whole.headline[0]
        why = next((e.advice for s in whole.sections for e in s.entries if e.name == name), "")
        made.text(0.5, 0.5, f"{name}: {reason}\n\n{fill(why, 44)}", ha="center", va="center")
    return report(whole, grid[:count])
