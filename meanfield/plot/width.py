"""Finite width: fluctuations against depth, laws of outputs and gradients, and where they hold."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.plot.style import BLUE, CYCLE, GREEN, GREY, VERMILION, axes, legend, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meanfield.width import FiniteWidth

__all__ = ["finite_width", "gradient_fan", "output_density", "valid_region"]

_QUANTITIES = {
    "fluctuation": "fluctuation $V_4/(n K^2)$",
    "four_point": "four-point vertex $V_4/n$",
    "kernel": "kernel $K$",
    "kernel_correction": "kernel correction $G_1/n$",
    "variance_std": "standard deviation of the kernel",
    "sampled_variance_std": "standard deviation of the mean of $z^2$",
    "relative_std": "std of the mean square / mean",
    "excess_kurtosis": "excess kurtosis of a pre-activation",
    "tangent_kernel": r"tangent kernel $\Theta$",
}
_NORMAL_QUANTILES = (0.6744897501960817, 1.6448536269514722)  # of 75 % and of 95 %


def finite_width(
    results: "FiniteWidth | Sequence[FiniteWidth]", ax: "Axes | None" = None, *,
    quantity: str = "fluctuation", scaled: bool = False, exact: bool = True, **line: Any,
) -> "Axes":  # fmt: skip
    r"""Draw a quantity against depth, for one network or for several to be compared.

    Args:
        results: a `FiniteWidth`, or several; labels tell in what they differ.
        ax: axes to draw on; new ones if not given.
        quantity: a name of an array of `FiniteWidth`: `"fluctuation"`, `"four_point"`, `"kernel"`,
            `"kernel_correction"`, `"variance_std"`, `"sampled_variance_std"`, `"relative_std"`,
            `"excess_kurtosis"` or `"tangent_kernel"`.
        scaled: multiply by the width, so that results of different widths fall together.
        exact: draw the law that holds at any width too, where there is one (dotted; of the
            fluctuation only).
        **line: keywords of the lines, as for `Axes.plot`.

    Returns:
        The axes.

    Raises:
        ValueError: `quantity` is another word, or there are no results.

    Example:
        >>> import meanfield as mf
        >>> net = mf.Network("tanh", weight_var=1.0)
        >>> widths = [mf.finite_width(net, depth=50, width=n, q=0.5) for n in (100, 300)]
        >>> mf.plot.finite_width(widths).get_xlabel()
        'depth (layers)'
    """
    several = _several(results)
    if quantity not in _QUANTITIES:
        raise ValueError(f"quantity: must be one of {', '.join(_QUANTITIES)}, got {quantity!r}")
    with axes(ax, f"finite width, {several[0].network.activation.name}") as ax:
        low = high = 0.0
        for i, (fw, label) in enumerate(zip(several, _labels(several), strict=True)):
            color, dashes = CYCLE[i % len(CYCLE)]
            layers = np.arange(1, fw.depth + 1)
            factor = fw.width if scaled else 1.0
            given = merged(line, color=color, linestyle=dashes, label=label)
            values = getattr(fw, quantity) * factor
            ax.plot(layers, values, **given)
            low, high = min(low, float(np.nanmin(values))), max(high, float(np.nanmax(values)))
            if exact and quantity == "fluctuation" and fw.exact is not None:
                top = ax.plot(layers, fw.exact.fluctuation * factor, color=given["color"],
                              linestyle=":", linewidth=1.2)[0]  # fmt: skip
                top.set_label("exact law" if i == 0 else "_")
        if ax.get_ylim()[1] > 2.5 * high > 0:  # exact laws part from lines: let them leave
            ax.set_ylim(low - 0.1 * high, 2.5 * high)
        times = "width times " if scaled else ""
        ax.set(xlabel="depth (layers)", ylabel=times + _QUANTITIES[quantity])
        ax.locator_params(axis="x", integer=True)
        legend(ax)
    return ax


def output_density(
    fw: "FiniteWidth", ax: "Axes | None" = None, *, layer: int = -1, log: bool = False,
    **line: Any,
) -> "Axes":  # fmt: skip
    r"""Draw the density of one pre-activation of a layer over networks.

    Args:
        fw: a `FiniteWidth`.
        ax: axes to draw on; new ones if not given.
        layer: index of the layer; the last if not given.
        log: logarithmic densities, which show the tails.
        **line: keywords of the line of the corrected density, as for `Axes.plot`.

    Returns:
        The axes: the Gaussian of infinite width, its first correction (grey where it is no density,
        because negative), and the exact law where there is one.

    Example:
        >>> import meanfield as mf
        >>> fw = mf.finite_width(mf.Network("relu", weight_var=2.0), depth=2, width=10)
        >>> mf.plot.output_density(fw).get_xlabel()
        'pre-activation $z$'
    """
    law = fw.output_law(layer)
    number = range(fw.depth)[layer] + 1
    spread = np.sqrt(float(fw.kernel[layer]))
    z = np.linspace(-5, 5, 801) * spread
    with axes(ax, f"output of layer {number}, width {_width(fw)}") as ax:
        gaussian = np.exp(-0.5 * (z / spread) ** 2) / (np.sqrt(2 * np.pi) * spread)
        top = float(np.max(gaussian))
        ax.plot(z, gaussian, color=GREY, linestyle="--", label="infinite width")
        if fw.exact is not None:
            exact = fw.exact.output_density(z, layer)
            ax.plot(z, exact, color=GREEN, linestyle="-.", label="exact law")
            top = max(top, min(float(np.max(exact)), 5 * top))
        value = law(z)
        top = max(top, float(np.max(value)))
        ax.plot(z, np.where(value > 0, value, np.nan), **merged(
            line, color=BLUE, linestyle="-", label="with first correction"))  # fmt: skip
        if not log and np.any(value < 0):
            ax.plot(z, np.where(value < 0, value, np.nan), color=VERMILION, linestyle=":",
                    label="negative: no density")  # fmt: skip
        ax.set(xlabel="pre-activation $z$", ylabel="density over networks")
        if not log:
            ax.set_ylim(min(0.0, float(np.min(value))) - 0.05 * top, 1.1 * top)
        else:
            ax.set(yscale="log", ylim=(1e-6, 2 * top))
        legend(ax, "lower center" if log else "upper left")
    return ax


def gradient_fan(fw: "FiniteWidth", ax: "Axes | None" = None, **line: Any) -> "Axes":
    r"""Draw how the length of a gradient spreads with depth: bands that hold 50 % and 90 %.

    Args:
        fw: a `FiniteWidth`.
        ax: axes to draw on; new ones if not given.
        **line: keywords of the line of the median, as for `Axes.plot`.

    Returns:
        The axes, with `ln |J u|^2` against depth, and the logarithm of its mean dashed.

    Example:
        >>> import meanfield as mf
        >>> fw = mf.finite_width(mf.critical("relu"), depth=50, width=100)
        >>> mf.plot.gradient_fan(fw).get_xlabel()
        'depth (layers)'
    """
    law, layers = fw.gradient_log_norm, np.arange(1, fw.depth + 1)
    with axes(ax, f"gradients, width {_width(fw)}") as ax:
        color = merged(line, color=BLUE)["color"]
        for times, share, alpha in zip(_NORMAL_QUANTILES, (50, 90), (0.35, 0.18), strict=True):
            ax.fill_between(layers, law.mean - times * law.std, law.mean + times * law.std,
                            color=color, alpha=alpha, linewidth=0,
                            label=f"{share} % of networks")  # fmt: skip
        ax.plot(layers, law.mean, **merged(line, color=BLUE, label="median"))
        ax.plot(layers, law.log_of_mean, color=VERMILION, linestyle="--",
                label="log of the mean")  # fmt: skip
        ax.set(xlabel="depth (layers)", ylabel=r"$\ln\,|J u|^2$ from the first layer")
        ax.locator_params(axis="x", integer=True)
        legend(ax, "lower left")
    return ax


def valid_region(fw: "FiniteWidth", ax: "Axes | None" = None, **line: Any) -> "Axes":
    r"""Draw, in the plane of depth and width, where the expansion in 1/n is valid.

    Args:
        fw: a `FiniteWidth`, as deep as the plane is to reach.
        ax: axes to draw on; new ones if not given.
        **line: keywords of the boundary, as for `Axes.plot`.

    Returns:
        The axes: above the line widths are large enough for the depth; above the dashed one
        gradients spread by less than a factor e. The network itself is a dot.

    Example:
        >>> import meanfield as mf
        >>> fw = mf.finite_width(mf.critical("relu"), depth=100, width=300)
        >>> mf.plot.valid_region(fw).get_ylabel()
        'width (neurons)'
    """
    layers = np.arange(1, fw.depth + 1)
    least, even = fw.least_width, fw.least_width_for_gradients
    with axes(ax, f"where 1/n is small, {fw.network.activation.name}") as ax:
        top = 10.0 ** np.ceil(np.log10(4 * max(np.nanmax(least), np.nanmax(even, initial=1.0),
                                               float(fw.width[-1]))))  # fmt: skip
        shown = np.maximum(least, 1.0)
        ax.fill_between(layers, shown, top, color=BLUE, alpha=0.12, linewidth=0)
        ax.plot(layers, shown, **merged(line, color=BLUE, label="the expansion is valid above"))
        ax.plot(layers, np.where(even >= 1, even, np.nan), color=VERMILION, linestyle="--",
                label="gradients even above")  # fmt: skip
        ax.plot([fw.depth], [float(fw.width[-1])], "o", color="black", label="this network")
        ax.set(xscale="log", yscale="log", ylim=(1.0, top), xlabel="depth (layers)",
               ylabel="width (neurons)")  # fmt: skip
        legend(ax, "upper left")
    return ax


def _several(results: Any) -> list[Any]:
    several = list(results) if isinstance(results, Sequence) else [results]
    if not several:
        raise ValueError("results: there is none to draw")
    return several


def _width(fw: "FiniteWidth") -> str:
    ends = int(np.min(fw.width)), int(np.max(fw.width))
    return f"{ends[0]}" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _labels(several: "list[FiniteWidth]") -> list[str]:
    """What tells results apart; the width if there is but one."""
    parts = {
        "activation": [fw.network.activation.name for fw in several],
        "weights": [str(fw.ensemble) for fw in several],
        "width": [f"$n$ = {_width(fw)}" for fw in several],
        "variances": [
            rf"$\sigma_w^2$ = {float(fw.network.weight_var):.4g}, "
            rf"$\sigma_b^2$ = {float(fw.network.bias_var):.4g}"
            for fw in several
        ],
    }
    used = [part for part in parts.values() if len(set(part)) > 1] or [parts["width"]]
    return [", ".join(words) for words in zip(*used, strict=True)]
