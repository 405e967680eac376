"""What the rows of the clipping study say: two tables in Markdown, and a picture."""

from collections.abc import Iterable
from math import isfinite
from statistics import fmean, stdev
from typing import Any

import matplotlib.pyplot as plt
from deep_networks import CHANCE, TUNING_SEED, UNCLIPPED
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import meanfield as mf
from meanfield.plot.style import CYCLE, GREY, legend

Row = dict[str, Any]

NAMES = {
    "relu": "ReLU",
    "shifted_relu": "shifted ReLU, unclipped",
    "soft_threshold": "soft threshold, unclipped",
    "crelu": "clipped shifted ReLU",
    "cst": "clipped soft threshold",
}
CELL = ("optimizer", "steps", "activation", "slope", "sparsity")
OPTIMIZER_NAMES = {"sgd": "SGD with momentum", "adam": "Adam, gradient norm clipped"}


def name(activation: str, slope: float | None) -> str:
    """What a reader calls it."""
    return NAMES[activation] + ("" if slope is None else f", V' = {slope:g}")


def reported(rows: Iterable[Row]) -> list[Row]:
    """A row for each network: of the learning rates that it tried, the one that trained it."""
    networks: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        if row["seed"] != TUNING_SEED:
            network = tuple(row[name] for name in (*CELL, "seed"))
            networks[network] = min(networks.get(network, row), row, key=lambda r: r["failed"])
    return list(networks.values())


def such(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows that are as wanted."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _spread(values: list[float], digits: int = 2) -> str:
    """Mean and standard deviation over the repeats, as far as there are any."""
    finite = [value for value in values if isfinite(value)]
    if not finite:
        return "-"
    error = f" ± {stdev(finite):.{digits}f}" if len(finite) > 1 else ""
    return f"{fmean(finite):.{digits}f}{error}"


def _accuracy(runs: list[Row]) -> str:
    if not runs:
        return ""
    failed = sum(run["failed"] for run in runs)
    if failed == len(runs):
        return f"fails ({failed}/{failed})"
    trained = [run["test_accuracy"] for run in runs if not run["failed"]]
    return _spread(trained) + (f", {failed}/{len(runs)} fail" if failed else "")


def _markdown(header: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] * len(header)
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *lines])


def _series(rows: list[Row]) -> list[tuple[str, float | None]]:
    """The activations with their slopes, in the order of the study."""
    order = list(NAMES)
    return sorted(
        {(row["activation"], row["slope"]) for row in rows},
        key=lambda series: (order.index(series[0]), series[1] or 0.0),
    )


def short_table(rows: list[Row], optimizer: str, steps: int) -> str:
    """Test accuracy by activation and sparsity, and how many of the repeats fail."""
    runs = such(reported(rows), optimizer=optimizer, steps=steps)
    relu = such(runs, activation="relu")
    sparse = [row for row in runs if row["activation"] != "relu"]
    sparsities = sorted({row["sparsity"] for row in sparse})
    lines = [
        [name(*series)]
        + [
            _accuracy(such(sparse, activation=series[0], slope=series[1], sparsity=sparsity))
            for sparsity in sparsities
        ]
        for series in _series(sparse)
    ]
    title = f"{OPTIMIZER_NAMES[optimizer]}, {steps} steps"
    if relu:
        title += f" (ReLU: {_accuracy(relu)})"
    return _markdown([title, *(f"sparsity {sparsity:g}" for sparsity in sparsities)], lines)


def long_table(rows: list[Row]) -> str:
    """Every cell: learning rates, accuracies, sparsities, failures."""
    runs = reported(rows)
    order = {series: index for index, series in enumerate(_series(runs))}
    cells = sorted(
        {tuple(row[name] for name in CELL) for row in runs},
        key=lambda cell: (order[cell[2:4]], cell[0] != "sgd", cell[1], cell[4]),
    )
    lines = []
    for cell in cells:
        optimizer, steps, activation, slope, sparsity = cell
        same = such(runs, **dict(zip(CELL, cell, strict=True)))
        rates = sorted({row["rate"] for row in same if not row["failed"]}, reverse=True)
        accuracies = [_spread([row[column] for row in same]) for column in
                      ("test_accuracy", "train_accuracy")]  # fmt: skip
        sparsities = [_spread([row[column] for row in same], 3) for column in
                      ("sparsity_training", "sparsity_test")]  # fmt: skip
        lines.append(
            [name(activation, slope), f"{sparsity:g}", f"{optimizer}, {steps}",
             ", ".join(f"{rate:g}" for rate in rates) or "all tried", *accuracies, *sparsities,
             f"{sum(row['failed'] for row in same)}/{len(same)}"]
        )  # fmt: skip
    header = ["activation", "sparsity", "steps", "learning rates", "test accuracy",
              "training accuracy", "sparsity in training", "sparsity on test", "fail"]  # fmt: skip
    return _markdown(header, lines)


def picture(rows: list[Row], steps: int, longer: int) -> Figure:
    """Accuracy against sparsity for both families and both optimizers; the sparsity achieved."""
    rows = reported(rows)
    with mf.plot.style():
        figure, axes = plt.subplots(2, 2, figsize=(14, 8), layout="constrained")
        top, bottom = axes
        for ax, (clipped, unclipped) in zip(top, UNCLIPPED.items(), strict=True):
            family = [row for row in rows if row["activation"] in (clipped, unclipped, "relu")]
            accuracies(ax, such(family, optimizer="sgd"), steps, longer)
            ax.set_title(f"{NAMES[clipped].removeprefix('clipped ')}, {OPTIMIZER_NAMES['sgd']}")
        accuracies(bottom[0], such(rows, optimizer="adam"), steps, longer)
        bottom[0].set_title(OPTIMIZER_NAMES["adam"])
        sparsities(bottom[1], such(rows, optimizer="sgd", steps=steps))
        bottom[1].set_title(f"Sparsity of what trained, {OPTIMIZER_NAMES['sgd']}")
    return figure


def accuracies(ax: Axes, rows: list[Row], steps: int, longer: int) -> None:
    """Every run as a point, the mean of the repeats as a line; stars trained for longer."""
    runs = such(rows, steps=steps)
    relu = [row["test_accuracy"] for row in such(runs, activation="relu")]
    if relu:
        ax.axhline(fmean(relu), color="black", linestyle=":", label="ReLU")
    series = [each for each in _series(runs) if each[0] != "relu"]
    for index, (activation, slope) in enumerate(series):
        shift = 0.004 * (index - (len(series) - 1) / 2)
        own = such(runs, activation=activation, slope=slope)
        look = _look(activation, slope)
        _points(ax, own, "test_accuracy", shift, look, name(activation, slope))
        for row in such(rows, activation=activation, slope=slope, steps=longer):
            label = f"the same, {longer} steps"
            ax.plot(row["sparsity"] + shift, row["test_accuracy"], "*", color=look["color"],
                    markersize=11, label=label)  # fmt: skip
    ax.axhspan(0, CHANCE, color=GREY, alpha=0.15, linewidth=0)
    ax.set(xlabel="sparsity chosen at initialisation", ylabel="test accuracy", ylim=(0, 1.02))
    ax.text(0.99, 0.01, "fails: near chance, or NaN", ha="right", va="bottom",
            transform=ax.get_yaxis_transform())  # fmt: skip
    _finish(ax, runs)


def sparsities(ax: Axes, rows: list[Row]) -> None:
    """The sparsity on the test set against the one that was chosen."""
    clipped = [row for row in such(rows, failed=0) if row["slope"] is not None]
    for index, (activation, slope) in enumerate(_series(clipped)):
        shift = 0.003 * (index - 2.5)
        own = such(clipped, activation=activation, slope=slope)
        _points(ax, own, "sparsity_test", shift, _look(activation, slope), name(activation, slope))
    chosen = sorted(row["sparsity"] for row in clipped)  # empty if nothing trained
    ax.plot(chosen, chosen, color="black", linestyle=":", label="as chosen")
    ax.set(xlabel="sparsity chosen at initialisation", ylabel="fraction of zeros on the test set")
    _finish(ax, clipped)


def _finish(ax: Axes, rows: list[Row]) -> None:
    """Ticks at the sparsities, and a legend next to the axes, where it hides nothing."""
    ax.set_xticks(sorted({row["sparsity"] for row in rows if row["activation"] != "relu"}))
    legend(ax, "upper left")
    if box := ax.get_legend():
        box.set_bbox_to_anchor((1.0, 1.0))


def _points(
    ax: Axes, runs: list[Row], column: str, shift: float, look: dict[str, Any], label: str
) -> None:
    chosen = sorted({run["sparsity"] for run in runs})
    means = [fmean(run[column] for run in such(runs, sparsity=each)) for each in chosen]
    places = [run["sparsity"] + shift for run in runs]
    points: dict[str, Any] = look | {"linestyle": ""}
    ax.plot(places, [run[column] for run in runs], alpha=0.5, markersize=3, **points)
    ax.plot([each + shift for each in chosen], means, label=label, markersize=5, **look)


def _look(activation: str, slope: float | None) -> dict[str, Any]:
    """A colour and dashes for each slope, so that the families look alike; squares: two-sided."""
    color, dashes = CYCLE[{None: 1, 0.5: 2, 0.7: 0, 0.9: 3}[slope]]
    two_sided = activation in ("soft_threshold", "cst")
    return {"color": color, "linestyle": dashes, "marker": "s" if two_sided else "o"}
