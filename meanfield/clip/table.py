"""Tables of clip levels over sparsity and slope, with finite networks beside the theory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.clip.chain import EXPLODED
from meanfield.clip.choice import ClipChoice
from meanfield.clip.rules import STRAYED
from meanfield.clip.threshold import clip_threshold

if TYPE_CHECKING:
    from meanfield.simulation.result import Simulation
from meanfield.whole import whole_number

__all__ = ["SLOPES", "SPARSITIES", "ClipTable", "clip_table"]

Array = NDArray[np.float64]

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9)
SLOPES = (0.5, 0.7, 0.9, 1.0)

_COLUMNS = {
    "sparsity": "{:.2f}",
    "tau": "{:.4f}",
    "slope": "{:.2f}",
    "m": "{:.4f}",
    "curvature": "{:+.3f}",
    "weight_var": "{:.3f}",
    "bias_var": "{:.4f}",
    "margin": "{:.2f}",
    "risk": "{:.3f}",
}


@dataclass(frozen=True, eq=False, repr=False)
class ClipTable:
    """Choices over sparsity and slope, a row to each; `clip_table` makes them.

    Attributes:
        choices: the rows.
        simulations: finite networks of each row, if any were drawn.
    """

    choices: tuple[ClipChoice, ...]
    simulations: tuple["Simulation", ...] = ()

    def __len__(self) -> int:
        return len(self.choices)

    def rows(self) -> list[dict[str, float]]:
        """The numbers, a dictionary to a row, with those measured where networks were drawn."""
        rows = []
        for k, choice in enumerate(self.choices):
            row = {
                name: getattr(choice, name) for name in _COLUMNS if name not in ("margin", "risk")
            }
            row.update(margin=choice.margin(), risk=choice.risk())
            if self.simulations:
                row.update(_compared(choice, self.simulations[k]))
            rows.append(row)
        return rows

    def __str__(self) -> str:
        first = self.choices[0]
        lines = [
            f"{first.subject.unclipped.name.partition('(')[0]} at q = {first.q:.6g}, "
            f"{first.point.network.weights} weights, width {first.width}, depth {first.depth}",
            "  ".join(f"{name:>10}" for name in _COLUMNS),
        ]
        rows = self.rows()
        lines += [
            "  ".join(f"{form.format(row[name]):>10}" for name, form in _COLUMNS.items())
            for row in rows
        ]
        if self.simulations:
            lines += ["", *_measured(rows, self.simulations[0].draws, first.depth, first.q)]
        return "\n".join(lines)

    __repr__ = __str__


def clip_table(
    phi: Callable | str | Activation,
    sparsity: Sequence[float] = SPARSITIES,
    slope: Sequence[float] = SLOPES,
    *,
    networks: int = 0,
    key: int = 0,
    **options: Any,
) -> ClipTable:
    """Clip levels over sparsity and slope; slope 1 stands for no clip.

    Args:
        phi: `"shifted_relu"` or `"soft_threshold"`.
        sparsity: shares of silent neurons.
        slope: wanted slopes `V'(q)`.
        networks: finite networks to draw for each row, and to measure beside the theory.
        key: of their random numbers.
        **options: `q`, `width`, `depth`, `weights` and `clip`, as for `clip_threshold`.

    Returns:
        A `ClipTable`; print it.

    Raises:
        ValueError: as for `clip_threshold`.

    Source: Price et al. 2024, arXiv 2402.16184, section 3.

    Example:
        >>> import meanfield as mf
        >>> print(mf.clip_table("shifted_relu", [0.7, 0.9], [0.7, 1.0]))
        shifted_relu at q = 1, gaussian weights, width 300, depth 100
          sparsity         tau       slope           m   curvature  weight_var    bias_var ...
              0.70      0.5244        0.70      1.4469      -0.307       3.628      0.3928 ...
              0.70      0.5244        1.00         inf      +0.304       3.333      0.3328 ...
              0.90      1.2816        0.70      1.0632      +0.237      11.052      0.6628 ...
              0.90      1.2816        1.00         inf      +1.125      10.000      0.6067 ...
    """
    networks = whole_number("networks", networks, least=0)
    choices = tuple(
        clip_threshold(phi, s, **({"m": inf} if v == 1 else {"slope": v}), **options)
        for s in sparsity
        for v in slope
    )
    if not networks:
        return ClipTable(choices)
    from meanfield.simulation.run import simulate

    drawn = tuple(
        simulate(c.point, width=c.width, depth=c.depth, draws=networks, key=key) for c in choices
    )
    return ClipTable(choices, drawn)


def _compared(choice: ClipChoice, simulation: "Simulation") -> dict[str, float]:
    """What was measured, and what the law of the variance says of it."""
    squares = simulation.samples["mean_square"]
    late = squares[:, squares.shape[1] // 2 :]
    theory = choice.trajectory(choice.depth - 1)
    with np.errstate(all="ignore"):
        last = np.quantile(np.nan_to_num(squares[:, -1], nan=inf), (0.05, 0.5, 0.95))
        spread = float(np.std(late)) if np.all(np.isfinite(late)) else nan
    gradients = simulation.samples["log_gradient"][:, -1]
    return {
        "last_low": last[0], "last_median": last[1], "last_high": last[2],
        "last_low_theory": theory.low[-1], "last_median_theory": theory.median[-1],
        "last_high_theory": theory.high[-1],
        "late_std": spread, "late_std_theory": _late_std(choice),
        "escaped": simulation.escaped(STRAYED * choice.q),
        "escaped_error": simulation.escaped_error(STRAYED * choice.q),
        "measured_sparsity": float(np.nanmean(simulation.samples["sparsity"])),
        "sparsity_theory": float(np.mean(theory.sparsity)),
        "log_gradient": float(np.nanmean(gradients)),
        "log_gradient_std": float(np.nanstd(gradients)),
    }  # fmt: skip


def _late_std(choice: ClipChoice) -> float:
    """Standard deviation of the mean square over networks and the second half of the layers."""
    chain = choice.chain(choice.depth - 1)
    if chain.left[-1] > 1e-9:
        return inf
    share = np.mean(chain.probability[choice.depth // 2 :], axis=0)
    mean = share @ chain.variance
    return float(np.sqrt(share @ (chain.variance**2 + chain.sampling) - mean**2))


def _shown(value: float, q: float) -> str:
    """A mean square; the theory does not follow what explodes."""
    return f"{value:.3g}" if np.isfinite(value) else f">{EXPLODED * q:.0e}"


def _measured(rows: list[dict[str, float]], networks: int, depth: int, q: float) -> list[str]:
    """The second table: theory and networks side by side."""
    lines = [
        f"{networks} networks a row, theory / measured: mean square of layer {depth}: median, "
        "5 to 95 %, its standard deviation in the second half; share above "
        f"{STRAYED:g} q in any layer; sparsity; measured: log of the gradient's square",
    ]
    for row in rows:
        cells = [
            f"{row['sparsity']:.2f} {row['slope']:.2f}",
            f"{_shown(row['last_median_theory'], q)} / {row['last_median']:.3g}",
            f"[{row['last_low_theory']:.3g}, {_shown(row['last_high_theory'], q)}] / "
            f"[{row['last_low']:.3g}, {row['last_high']:.3g}]",
            f"{row['late_std_theory']:.3g} / {row['late_std']:.3g}",
            f"{row['risk']:.3f} / {row['escaped']:.3f} +- {row['escaped_error']:.3f}",
            f"{row['sparsity_theory']:.3f} / {row['measured_sparsity']:.3f}",
            f"{row['log_gradient']:+.1f} +- {row['log_gradient_std']:.1f}",
        ]
        lines.append("  ".join(f"{cell:>16}" for cell in cells))
    return lines
