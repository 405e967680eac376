"""How near to isometry an activation comes: along the edge of chaos, in its spectra, with depth."""

from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.plot.spectrum import spectra
from meanfield.plot.style import CYCLE, GREY, VERMILION, axes, legend, merged, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.dynamical_isometry.isometry import Growth, Isometry, IsometryRow

__all__ = ["growth", "isometry", "slope_spread"]

_QUANTITIES = {
    "log_std": r"standard deviation of $\ln s$",
    "s_max": "largest singular value",
    "condition_number": "condition number",
    "inner_condition_number": "condition number of the middle 98 %",
}


def isometry(result: "Isometry", ax: Any = None, *, growing: "Growth | None" = None) -> Any:
    r"""Draw what an `Isometry` holds, in panels.

    The spread of `phi'^2` along the edge of chaos; the spectra of its table at the best `q`; and,
    if `growing` is given, how the singular values spread with depth.

    Args:
        result: an `Isometry`.
        ax: as many axes as panels, two or three; new ones if not given.
        growing: its `growth()`.

    Returns:
        The axes, an array.

    Raises:
        ValueError: there are more or fewer axes than panels.

    Example:
        >>> import meanfield as mf
        >>> result = mf.isometry("tanh", depth=16)
        >>> left, right = mf.plot.isometry(result)
        >>> left.get_xlabel()
        'variance $q$ of pre-activations'
    """
    title = f"isometry of {result.activation.name} at depth {result.depth}"
    with panels(ax, (2 if growing is None else 3,), title) as row:
        _drawn(result, row, growing)
    return row


def _drawn(result: "Isometry", row: Any, growing: "Growth | None") -> None:
    slope_spread(result, row[0])
    known = [row for row in result.table if row.spectrum is not None]
    if known:
        # the best of the table: the caller may have asked for other q
        q = min((row.q for row in known), key=lambda q: abs(np.log(q / _asked(result, known))))
        best = {row.weights: row.spectrum for row in known if row.q == q}
        spectra(best, row[1])
        row[1].set_title(f"at $q$ = {q:.4g}")
    if growing is not None:
        growth(growing, row[2])
        row[2].set_title(f"at $q$ = {growing.q:.4g}")


def _asked(result: "Isometry", rows: list["IsometryRow"]) -> float:
    return result.best_q if np.isfinite(result.best_q) else rows[0].q


def slope_spread(result: "Isometry", ax: "Axes | None" = None, **line: Any) -> "Axes":
    r"""Draw how much `phi'^2` varies along the edge of chaos, and what the depth can afford.

    Args:
        result: an `Isometry`.
        ax: axes to draw on; new ones if not given.
        **line: keywords of the curve, as for `Axes.plot`.

    Returns:
        The axes.
    """
    scan = result.scan
    with axes(ax, f"slopes of {result.activation.name}") as ax:
        ax.set(xscale="log", yscale="log")
        value = np.where(scan.spread.value > scan.spread.error, scan.spread.value, np.nan)
        on_edge = np.where(scan.valid, value, np.nan)
        if not np.all(scan.valid):
            ax.plot(scan.q, value, color=GREY, linestyle=":", label="no edge of chaos here")
        look = merged(line, label=r"$\mathrm{Var}(\phi'^2)\,/\,\mathrm{E}[\phi'^2]^2$", zorder=2.5)
        ax.plot(scan.q, on_edge, **look)
        off = np.where(scan.valid & (scan.spread.off > 0), scan.spread.off, np.nan)
        if np.any(off > 0):
            ax.plot(scan.q, off, color=VERMILION, linestyle="--", label=r"share off, $\phi' = 0$")
        ax.axhline(1 / result.depth, color="black", linewidth=1, linestyle="-.",
                   label=f"1 / depth = 1 / {result.depth}")  # fmt: skip
        if np.isfinite(result.best_q):
            ax.axvline(result.best_q, color=GREY, linewidth=1, label=f"$q$ = {result.best_q:.4g}")
        top = max(float(np.nanmax(value[np.isfinite(value)], initial=1e-3)), 1 / result.depth)
        ax.set_ylim(1e-6, 3 * min(top, 1e3))
        ax.set(xlabel="variance $q$ of pre-activations", ylabel="spread that a layer adds")
        legend(ax)
    return ax


def growth(
    result: "Growth", ax: "Axes | None" = None, *, quantity: str = "log_std", **line: Any
) -> "Axes":
    r"""Draw how singular values spread with depth, a line for each ensemble.

    Args:
        result: a `Growth`.
        ax: axes to draw on; new ones if not given.
        quantity: `"log_std"`, `"s_max"`, `"condition_number"` or `"inner_condition_number"`.
        **line: keywords of all lines, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        ValueError: `quantity` is another word.

    Source: Pennington, Schoenholz & Ganguli 2017, arXiv 1711.04735.

    Example:
        >>> import meanfield as mf
        >>> grown = mf.isometry("relu", depth=16).growth()
        >>> mf.plot.growth(grown, quantity="s_max").get_ylabel()
        'largest singular value'
    """
    if quantity not in _QUANTITIES:
        raise ValueError(f"quantity: must be one of {', '.join(_QUANTITIES)}; got {quantity!r}")
    with axes(ax, f"singular values of {result.activation.name}") as ax:
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        for index, (name, values) in enumerate(
            zip(result.weights, getattr(result, quantity), strict=True)
        ):
            color, dashes = CYCLE[index % len(CYCLE)]
            ax.plot(result.depths, np.where(np.isfinite(values) & (values > 0), values, np.nan),
                    **merged(line, color=color, linestyle=dashes, marker="o", markersize=4,
                             label=name))  # fmt: skip
        ax.set(xlabel="depth", ylabel=_QUANTITIES[quantity])
        ax.xaxis.set_major_formatter("{x:.0f}")
        legend(ax)
    return ax
