"""`Simulation.compare`: theory against ensemble, layer by layer, in standard errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.ensembles import ensemble_of
from meanfield.errors import MeanFieldError
from meanfield.gaussian import MOMENTS
from meanfield.maps.correlation import correlation_map
from meanfield.maps.variance import variance_map
from meanfield.network import FixedPoint, Network, short
from meanfield.simulation.text import shown_layers, with_error
from meanfield.width.exact import ExactLaw
from meanfield.width.expansion import finite_width
from meanfield.width.result import FiniteWidth
from meanfield.width.validity import EXPANSION_LIMIT

if TYPE_CHECKING:
    from meanfield.simulation.result import Simulation

__all__ = ["Compared", "Comparison", "compare"]

Array = NDArray[np.float64]

_ROUNDING = 1e-12  # relative; what is the same in every network has no other error
# what few draws of a heavy tail decide
_MEANS = ("variance", "sampled_variance_std", "four_point", "excess_kurtosis", "tangent_kernel",
          "tangent_kernel_std")  # fmt: skip
_SAME = 1e-9  # relative difference of parameters that are to be the same


class Compared(NamedTuple):
    """One quantity by layer; NaN in layers where it is not compared."""

    theory: Array
    measured: Array
    error: Array

    @property
    def deviation(self) -> Array:
        """Ensemble minus theory, in standard errors."""
        return (self.measured - self.theory) / self.error


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Theory against ensemble; made by `Simulation.compare`.

    Attributes:
        simulation: the `Simulation`.
        theory: what was compared with.
        quantities: by name, each a `Compared` with `theory`, `measured`, `error` and `deviation`
            (in standard errors), arrays by layer.
        notes: what was left out, and why.
    """

    simulation: "Simulation"
    theory: Any
    quantities: Mapping[str, Compared]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Compared:
        return self.quantities[name]

    def share_within(self, deviation: float) -> float:
        """The share of all compared numbers that are within so many standard errors."""
        parts = [q.deviation[np.isfinite(q.deviation)] for q in self.quantities.values()]
        return float(np.mean(np.abs(np.concatenate(parts)) <= deviation))

    def to_dict(self) -> dict[str, Any]:
        """All numbers, arrays as lists."""
        return {
            name: {
                part: getattr(q, part).tolist()
                for part in ("theory", "measured", "error", "deviation")
            }
            for name, q in self.quantities.items()
        }

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw it; see `meanfield.plot.comparison`. Returns a grid of `Axes`."""
        from meanfield import plot

        return plot.comparison(self, ax, **options)

    def __str__(self) -> str:
        sim = self.simulation
        kind = type(self.theory).__name__
        lines = [f"{kind} against {sim.draws} networks: {sim.title}"]
        header = f"{'':24}{'layer':>6}  {'theory':>12}  {'ensemble':>22}  deviation"
        for name, q in self.quantities.items():
            known = np.flatnonzero(np.isfinite(q.deviation))
            if not len(known):
                continue
            lines.append(header)
            header = ""
            for layer in known[shown_layers(len(known), 6)]:
                lines.append(
                    f"  {name:22}{layer + 1:6}  {q.theory[layer]:12.6g}  "
                    f"{with_error(float(q.measured[layer]), float(q.error[layer])):>22}  "
                    f"{q.deviation[layer]:+9.1f}"
                )
            size = np.abs(q.deviation[known])
            lines.append(
                f"  {'':22}{'all':>6}  {np.mean(size <= 1):.0%}, {np.mean(size <= 2):.0%}, "
                f"{np.mean(size <= 3):.0%} of layers within 1, 2, 3 standard errors; largest "
                f"{size.max():.1f} in layer {known[np.argmax(size)] + 1}"
            )
        return "\n".join([line for line in lines if line] + [f"  {note}" for note in self.notes])

    __repr__ = __str__


def compare(sim: "Simulation", theory: Any) -> Comparison:
    """`Simulation.compare`."""
    theory = getattr(theory, "point", theory)  # of a result that has one
    if isinstance(theory, Network | FixedPoint):
        expected, notes = _infinite(sim, theory)
    elif isinstance(theory, FiniteWidth):
        expected, notes = _finite(sim, theory)
    else:
        raise TypeError(f"theory: must be a FiniteWidth, a Network or a FixedPoint, got {theory!r}")
    quantities = {}
    for name, values in expected.items():
        if name not in sim.estimates:
            continue
        measured, error = sim.estimates[name]
        error = np.maximum(error, _ROUNDING * np.abs(measured))
        values = np.where(np.isfinite(error) & (error > 0), values, np.nan)
        quantities[name] = Compared(values, measured, error)
    return Comparison(sim, theory, quantities, notes)


@np.errstate(all="ignore")
def _infinite(
    sim: "Simulation", theory: Network | FixedPoint
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """What the maps of infinite width say, layer by layer, and the noise of a finite one."""
    net = theory.network if isinstance(theory, FixedPoint) else theory
    _check_same(sim, net)
    K = variance_map(net).iterate(sim.q, sim.depth - 1).variance
    way = correlation_map(net, sim.q).iterate(sim.start_correlation, sim.depth - 1)
    sparsity = np.full(sim.depth, np.nan)
    known = np.isfinite(K) & (K > 0)
    moments = net.activation.moments(K[known])
    sparsity[known] = moments.value[:, MOMENTS.index("sparsity")]
    expected = {"variance": K, "correlation": way.correlation, "sparsity": sparsity}
    notes = "at infinite width: deviations of order 1/width are to be expected"
    try:
        finite = finite_width(net, sim.depth, sim.width.tolist(), sim.q, sim.network.weights)
    except ValueError:  # not known of these weights
        return expected, (notes,)
    return expected | {"sampled_variance_std": finite.sampled_variance_std}, (notes,)


@np.errstate(all="ignore")
def _finite(sim: "Simulation", theory: FiniteWidth) -> tuple[dict[str, Array], tuple[str, ...]]:
    """What the expansion in 1/width says, and the exact law where there is one."""
    _check_same(sim, theory.network)
    if not np.array_equal(theory.width, sim.width):
        raise MeanFieldError(
            f"theory: it is of widths {short(theory.width)}, the ensemble of {short(sim.width)}"
        )
    if theory.ensemble != ensemble_of(sim.network.weights):
        raise MeanFieldError(
            f"theory: it is of {theory.ensemble} weights, the ensemble of {sim.network.weights}"
        )
    if abs(theory.kernel[0] - sim.q) > _SAME * sim.q:
        raise MeanFieldError(
            f"theory: its first layer has variance {theory.kernel[0]:.6g}, that of the ensemble "
            f"{sim.q:.6g}; give both the same q"
        )
    gradient, exact = theory.gradient_log_norm, theory.exact
    expected = _expanded(theory) if exact is None else _exact(exact, theory.width)
    expected |= {
        "gradient_log_norm": gradient.mean,
        "gradient_log_norm_var": gradient.variance,
        "tangent_kernel": theory.tangent_kernel,
    }
    if "tangent_kernel" in sim.samples:
        expected["tangent_kernel_std"] = theory.tangent_kernel_std
    notes = []
    if "tangent_kernel" in sim.samples:
        notes.append("the tangent kernel itself is that of infinite width, without its order 1/n")
    heavy = theory.fluctuation > EXPANSION_LIMIT
    if np.any(heavy):
        for name in _MEANS:
            expected[name] = np.where(heavy, np.nan, expected.get(name, np.nan))
        notes.append(
            f"from layer {np.argmax(heavy) + 1} on the variance has heavy tails, V4/(n K^2) > "
            f"{EXPANSION_LIMIT:g}, and its means are those of few networks: logarithms are compared"
        )
    return expected, tuple(notes)


def _expanded(theory: FiniteWidth) -> dict[str, Array]:
    """To first order in 1/width; `log a` is `log K` and half the relative variance of `a` less."""
    relative = theory.fluctuation + 2 / theory.width
    return {
        "variance": theory.kernel + theory.kernel_correction,
        "log_variance": np.log(theory.kernel) + theory.shift - 0.5 * relative,
        "sampled_variance_std": theory.sampled_variance_std,
        "four_point": theory.four_point,
        "excess_kurtosis": theory.excess_kurtosis,
    }


def _exact(law: ExactLaw, width: NDArray[np.int64]) -> dict[str, Array]:
    """At any width: the mean of `z^2` over neurons is the kernel times `chi^2_n / n`."""
    from scipy.special import digamma, polygamma

    mean, square = law.moment(1.0), law.moment(2.0)
    return {
        "variance": mean,
        "log_variance": law.log_mean + digamma(width / 2) - np.log(width / 2),
        "log_variance_var": law.log_variance + polygamma(1, width / 2),
        "sampled_variance_std": np.sqrt(square * (1 + 2 / width) - mean**2),
        "four_point": square - mean**2,
        "excess_kurtosis": 3 * (square / mean**2 - 1),
    }


def _check_same(sim: "Simulation", net: Network) -> None:
    """Raise unless the theory is of the network that was drawn."""
    drawn = sim.network
    for name in ("weight_var", "bias_var"):
        one, other = float(getattr(drawn, name)), float(getattr(net, name))
        if abs(one - other) > _SAME * max(one, other):
            raise MeanFieldError(
                f"theory: it is of {name} = {other:.6g}, the ensemble of {one:.6g}"
            )
    if drawn.activation is not net.activation and drawn.activation.name != net.activation.name:
        raise MeanFieldError(
            f"theory: it is of {net.activation.name}, the ensemble of {drawn.activation.name}"
        )
