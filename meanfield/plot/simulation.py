"""An ensemble of finite networks: its spread layer by layer, and theory beside it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.plot.style import BLUE, GREY, VERMILION, axes, legend, merged, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.simulation.compare import Comparison
    from meanfield.simulation.result import Simulation

__all__ = ["comparison", "simulation"]

# what is drawn, in which sample it is seen, and the estimates of its mean and its median
_FANS = {
    "variance": ("mean_square", "variance", "variance_median", "mean square of pre-activations"),
    "one_minus_correlation": (
        "one_minus_correlation", "one_minus_correlation", "one_minus_correlation_median",
        "difference $1 - c$ of two inputs",
    ),
    "gradient_log_norm": (
        "log_gradient", "gradient_log_norm", "gradient_log_norm_median",
        "$\\ln\\,|J u|^2$ of the gradient",
    ),
    "sparsity": ("sparsity", "sparsity", None, "share of zero activations"),
    "tangent_kernel": (
        "tangent_kernel", "tangent_kernel", "tangent_kernel_median",
        "tangent kernel $\\Theta(x, x)$",
    ),
}  # fmt: skip
_NAMES = {
    "variance": "variance",
    "log_variance": "mean $\\ln$ of mean square",
    "sampled_variance_std": "std of mean square",
    "four_point": "four-point vertex $V_4/n$",
    "excess_kurtosis": "excess kurtosis",
    "gradient_log_norm": "mean $\\ln\\,|Ju|^2$",
    "gradient_log_norm_var": "variance of $\\ln\\,|Ju|^2$",
    "correlation": "correlation",
    "sparsity": "sparsity",
    "tangent_kernel": "tangent kernel",
}
_WIDE = 30.0  # a ratio of what is drawn from which on the axis is logarithmic
_FARTHEST = 1e280
_BANDS = ((5, 95, 0.18), (25, 75, 0.35))  # percentiles, and how dense the colour is


def simulation(
    result: "Simulation",
    ax: "Axes | None" = None,
    *,
    quantity: str = "variance",
    scale: str | None = None,
    **line: Any,
) -> "Axes":
    r"""Draw how an ensemble spreads, layer by layer: a fan of percentiles, the median, the mean.

    Args:
        result: a `Simulation`.
        ax: axes to draw on; new ones if not given.
        quantity: `"variance"`, `"one_minus_correlation"`, `"gradient_log_norm"`, `"sparsity"`, or
            `"tangent_kernel"` if that was asked for.
        scale: `"linear"` or `"log"`; chosen by the spread if not given.
        **line: keywords of the line of the median, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        ValueError: `quantity` or `scale` is another word.

    Example:
        >>> import meanfield as mf
        >>> sim = mf.simulate(mf.critical("tanh"), width=32, depth=5, draws=64)
        >>> mf.plot.simulation(sim).get_xlabel()
        'layer'
    """
    drawable = [name for name, (sample, *_) in _FANS.items() if sample in result.samples]
    if quantity not in drawable:
        raise ValueError(f"quantity: must be one of {', '.join(drawable)}, got {quantity!r}")
    if scale not in (None, "linear", "log"):
        raise ValueError(f"scale: must be 'linear' or 'log', got {scale!r}")
    sample, mean, median, label = _FANS[quantity]
    layers = np.arange(1, result.depth + 1)
    values = result.samples[sample]
    percentiles = [p for low, high, _ in _BANDS for p in (low, high)]
    with np.errstate(all="ignore"):
        # of all draws, those that are infinite among them
        rows = np.percentile(np.where(np.isnan(values), np.inf, values), percentiles, axis=0)
    rows = _finite(rows)
    if scale is None:
        low, high = np.nanmin(rows, initial=np.inf), np.nanmax(rows, initial=0.0)
        scale = "log" if low > 0 and high > _WIDE * low else "linear"
    with axes(ax, result.activation.name) as ax:
        ax.set(xlabel="layer", ylabel=label, yscale=scale)
        for k, (low, high, alpha) in enumerate(_BANDS):
            ax.fill_between(layers, rows[2 * k], rows[2 * k + 1], color=BLUE, alpha=alpha,
                            linewidth=0, label=f"{high - low} % of networks")  # fmt: skip
        if median is not None:
            known = _finite(result.estimates[median].value)
            ax.plot(layers, known, **merged(line, color=BLUE, label="median"))
        value, error = result.estimates[mean]
        error = np.nan_to_num(_finite(error))
        ax.errorbar(layers, _finite(value), error, color=VERMILION, linestyle="--", linewidth=1.2,
                    elinewidth=0.8, label="mean, with its standard error",
                    errorevery=max(1, result.depth // 40))  # fmt: skip
        ax.locator_params(axis="x", integer=True)
        legend(ax)
    return ax


def _finite(values: Any) -> Any:
    """What has a place on an axis that ends some decades later."""
    return np.where(np.abs(values) < _FARTHEST, values, np.nan)


def comparison(
    result: "Comparison", ax: Any = None, *, quantities: Sequence[str] | None = None
) -> Any:
    r"""Draw theory against ensemble: a column for each quantity, deviations below.

    Args:
        result: a `Comparison`.
        ax: axes to draw on, an array of shape (2, quantities); new ones if not given.
        quantities: which ones; those that are compared anywhere, at most four, if not given.

    Returns:
        The array of axes.

    Raises:
        ValueError: a quantity is not among those compared, or there are more or fewer axes.

    Example:
        >>> import meanfield as mf
        >>> point = mf.critical("tanh")
        >>> sim = mf.simulate(point, width=32, depth=5, draws=64)
        >>> mf.plot.comparison(sim.compare(point), quantities=["variance"]).shape
        (2, 1)
    """
    known = [n for n, q in result.quantities.items() if np.any(np.isfinite(q.deviation))]
    names = known[:4] if quantities is None else list(quantities)
    for name in names:
        if name not in result.quantities:
            raise ValueError(f"quantities: {name!r} is not among {', '.join(known)}")
    size = (3.6 * len(names) + 0.6, 5.2)
    shape, title = (2, len(names)), result.simulation.title
    with panels(ax, shape, title, sharex=True, figsize=size, height_ratios=(2, 1)) as grid:
        _compared(result, grid, names)
    return grid


def _compared(result: "Comparison", grid: Any, names: Sequence[str]) -> None:
    layers = np.arange(1, result.simulation.depth + 1)
    for column, (name, above, below) in enumerate(zip(names, *grid, strict=True)):
        q = result[name]
        measured, error = _finite(q.measured), _finite(q.error)
        above.fill_between(layers, measured - error, measured + error, color=BLUE, alpha=0.3,
                           linewidth=0, label="1 standard error")  # fmt: skip
        above.plot(layers, measured, ".", color=BLUE, markersize=4, label="ensemble")
        above.plot(layers, _finite(q.theory), color=VERMILION, linewidth=1.6, label="theory",
                   zorder=3)  # fmt: skip
        above.set(title=_NAMES.get(name, name))
        below.axhspan(-3, 3, color=GREY, alpha=0.15, linewidth=0)
        below.axhline(0, color=GREY, linewidth=0.8)
        below.plot(layers, _finite(q.deviation), ".", color=BLUE, markersize=4)
        low, high = below.get_ylim()
        below.set(xlabel="layer", ylim=(min(low, -4), max(high, 4)))
        below.locator_params(axis="x", integer=True)
        if column == 0:
            legend(above)
            below.set(ylabel="deviation\n(standard errors)")
