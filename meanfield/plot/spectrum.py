"""The density of the singular values of a Jacobian, with its atoms and edges."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.plot.style import CYCLE, axes, legend, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["spectra", "spectrum"]

Array = NDArray[np.float64]

_POINTS = 500
_LEFT_OUT = 1e-3  # probability beyond the lower end of a logarithmic axis
_LOW = 5e-3  # of the highest density: a logarithmic axis begins where there is more
_NEAR_ZERO = 0.04  # of the axis: a density that grows towards 0 is cut at what it is there
_SHOWN = 0.98  # of the axis: nor shall a density that grows towards an edge flatten the rest
_NARROW = 50.0  # a logarithmic axis, so that ticks between powers of ten are named
_BINS = 60
_LEAST = 1e-300


def spectrum(
    result: Any,
    ax: "Axes | None" = None,
    *,
    log: bool = False,
    sampled: ArrayLike | None = None,
    **line: Any,
) -> "Axes":
    r"""Draw the density of singular values `s`, atoms as stems, and the edges of the support.

    A stem is as high as its mass: a mass of 1 has the height of the axes. Carets on the axis are
    the edges.

    Args:
        result: a `Spectrum`, or what has its methods: `UniversalSpectrum`, `ResidualSpectrum`.
        ax: axes to draw on; new ones if not given.
        log: a logarithmic axis for `s`, with the density of `ln s`: areas are probabilities again.
        sampled: singular values of sampled Jacobians, any shape: a histogram behind the curve.
        **line: keywords of the density, as for `Axes.plot`.

    Returns:
        The axes.

    Source: Pennington, Schoenholz & Ganguli 2017, arXiv 1711.04735, and 2018, arXiv 1802.09979.

    Example:
        >>> import meanfield as mf
        >>> limit = mf.universal_spectrum(0.25, "bernoulli")
        >>> mf.plot.spectrum(limit, log=True).get_ylabel()
        'density of $\\ln s$'
    """
    with axes(ax, "singular values of the Jacobian") as ax:
        view = _draw(ax, result, log, merged(line, label="density"))
        if sampled is not None:
            _histogram(ax, np.asarray(sampled, np.float64).ravel(), *view[:2], log)
        _finish(ax, [view], log)
    return ax


def spectra(
    results: Mapping[str, Any], ax: "Axes | None" = None, *, log: bool = False, **line: Any
) -> "Axes":
    r"""Draw several spectra on one pair of axes, as of several activations, depths or ensembles.

    Args:
        results: what `spectrum` takes, by name.
        ax: axes to draw on; new ones if not given.
        log: as for `spectrum`.
        **line: keywords of all densities.

    Returns:
        The axes.

    Example:
        >>> import meanfield as mf
        >>> limits = {f"variance {v}": mf.universal_spectrum(v, "smooth") for v in (0.1, 1.0)}
        >>> ax = mf.plot.spectra(limits)
        >>> [text.get_text() for text in ax.get_legend().get_texts()][:1]
        ['variance 0.1']
    """
    with axes(ax, "singular values of Jacobians") as ax:
        views = []
        for index, (name, result) in enumerate(results.items()):
            color, dashes = CYCLE[index % len(CYCLE)]
            look = merged(line, color=color, linestyle=dashes, label=name)
            views.append(_draw(ax, result, log, look, "atom, as high as its mass"))
        _finish(ax, views, log)
    return ax


def _draw(
    ax: "Axes", result: Any, log: bool, line: dict[str, Any], atom: str = "atom of mass {:.3g}"
) -> tuple[float, float, float]:
    """Density, edges and atoms; returns the ends of the axis and the height that they need."""
    s, density, low, high, top = _curve(result, log)
    at_zero = sum(mass for place, mass in result.atoms if place == 0)
    if at_zero and log:
        line["label"] += f", {at_zero:.3g} at $s$ = 0"
    (curve,) = ax.plot(s, density, **{"zorder": 2.5, **line})
    color, share = curve.get_color(), ax.get_xaxis_transform()
    ends = np.unique(result.support)
    ends = ends[(ends >= 0.999 * low) & (ends <= 1.001 * high)]
    if len(ends):
        ax.plot(ends, 0 * ends, "^", color=color, markersize=6, transform=share, clip_on=False,
                zorder=3, label="edge of the support")  # fmt: skip
    for place, mass in result.atoms:
        if place > 0 or not log:
            ax.plot([place, place], [0, mass], color=color, linewidth=2.5, transform=share,
                    zorder=2.6)  # fmt: skip
            ax.plot([place], [mass], "o", color=color, transform=share, clip_on=False, zorder=3,
                    label=atom.format(mass))  # fmt: skip
    return low, high, top


def _curve(result: Any, log: bool) -> tuple[Array, Array, float, float, float]:
    """Points of the density; where the axis begins and ends, and how high it should be."""
    places = result.atoms[:, 0]
    places = places[places > 0] if log else places
    s, density, starts = [np.zeros(0)], [np.zeros(0)], []
    bend = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, _POINTS))  # dense where edges are
    for low, high in result.support:
        if not np.isfinite(high):  # a slope without bound: what is hardly ever met is left out
            high = float(result.quantile(1 - _LEFT_OUT))
        if log:
            y, f = _logarithms(result, low, high, bend)
            s.append(np.exp(y))
        else:
            s.append(low + (high - low) * bend)
            f = result.density(s[-1])
        density.append(f)
        starts.append(s[-1][0])
    x, f = np.concatenate(s), np.concatenate(density)
    low = float(np.min([*starts, *places]))
    high = float(np.max([*x, *places]))
    # a density that is infinite at 0, or nearly, would flatten all else
    if not log and len(x):
        even = np.linspace(low + _NEAR_ZERO * (high - low), high, _POINTS)
        return x, f, low, high, 1.2 * float(np.quantile(np.interp(even, x, f), _SHOWN)) or 1.0
    return x, f, low, high, 1.15 * float(np.max(f, initial=0.0)) or 1.0


def _logarithms(result: Any, low: float, high: float, bend: Array) -> tuple[Array, Array]:
    """`ln s` and its density on an interval, without a tail that goes on for ever."""
    at_zero = sum(mass for place, mass in result.atoms if place == 0)
    least = result.quantile(at_zero + _LEFT_OUT * (1 - at_zero))
    whole = low > 0 and least * least < low * high  # the tail takes less than half
    ends = np.log([low if whole else max(low, least, _LEAST), high])
    y = ends[0] + (ends[1] - ends[0]) * bend
    f = result.log_density(y)
    start = 0 if whole else int(np.argmax(f > _LOW * np.max(f)))
    return y[start:], f[start:]


def _histogram(ax: "Axes", s: Array, low: float, high: float, log: bool) -> None:
    """A density as the curve's: what is outside the axis is counted, not drawn."""
    if log:
        edges = np.linspace(np.log(low), np.log(1.05 * high), _BINS + 1)
        counts = np.histogram(np.log(s[s > 0]), edges)[0]
    else:
        edges = np.linspace(low, 1.05 * high, _BINS + 1)
        counts = np.histogram(s[s > 0], edges)[0]
    height = counts / (len(s) * np.diff(edges))
    ax.stairs(height, np.exp(edges) if log else edges, fill=True, color="0.8", zorder=1.5,
              label="sampled")  # fmt: skip


def _finish(ax: "Axes", views: list[tuple[float, float, float]], log: bool) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    lows, highs, tops = zip(*views, strict=True)
    low, high, top = min(lows), max(highs), max(tops)
    if log:
        margin = (high / low) ** 0.04 if high > low else 1.5
        ax.set(xscale="log", xlim=(low / margin, high * margin))
        if high < _NARROW * low:  # powers of ten would be one or none, and the others overlap
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_locator(NullLocator())
    else:
        margin = 0.04 * (high - low) or 0.1 * high
        ax.set_xlim(low - margin, high + margin)
    ax.set(ylim=(0, top), xlabel="singular value $s$",
           ylabel=r"density of $\ln s$" if log else "density of $s$")  # fmt: skip
    legend(ax)
