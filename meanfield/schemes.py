r"""Named initialisation schemes, placed on the phase diagram of an activation.

A scheme is a weight variance, a bias variance and an ensemble, as a function of the activation and
of the shape of the layer::

    LeCun 1                       Glorot 2 fan_in/(fan_in + fan_out)     He 2 (or 2/(1 + slope^2))
    Kumar 1/(phi'(0)^2 (1 + phi(0)^2))             LSUV 1/E[phi(z)^2], orthogonal
    VI3NR q/E[phi(sqrt(q) z)^2] at the q where chi1 = 1 without biases
    SIREN 2        spectral min(1, fan_out/fan_in)        PyTorch 1/3, biases 1/(3 fan_in)
    DAG 2/in_degree               looks-linear 2, mirrored orthogonal blocks

Where that lies, and how far signals get, follows from the fixed points of the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import inf, log, nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from meanfield.activation import Activation, as_activation
from meanfield.criticality import critical
from meanfield.errors import MeanFieldError, NoCriticalPointError
from meanfield.fixedpoints import FixedPoints, fixed_points
from meanfield.gaussian import MOMENTS
from meanfield.network import FixedPoint, Network, Phase

if TYPE_CHECKING:
    from meanfield.phase import PhaseDiagram

__all__ = ["NAMES", "Comparison", "Placement", "compare", "place"]

_START = 1.0  # variance of the pre-activations of the first layer
_LOW = 0.1  # of the window: its height over its width, at least
_SAME = 1e-9  # fixed points so near are where a scheme wanted them to be


class Layer(NamedTuple):
    """What a scheme looks at."""

    activation: Activation
    fan_in: int
    fan_out: int
    in_degree: int


class Scheme(NamedTuple):
    """A rule, and where it comes from."""

    rule: Callable[[Layer], tuple[float, float]]  # weight_var, bias_var
    weights: str
    source: str


def _moment(activation: Activation, q: float, name: str) -> float:
    return float(activation.moments(np.array([q])).value[0, MOMENTS.index(name)])


def _kumar(layer: Layer) -> tuple[float, float]:
    box = layer.activation.sampled
    at = box(np.array([-1e-9, 1e-9]))
    value, slope = float(np.mean(at.value)), float(np.diff(at.value)[0] / 2e-9)
    if np.min(np.abs(layer.activation.kinks), initial=inf) < 1e-9 or not slope:
        raise NoCriticalPointError(
            f"kumar: {layer.activation.name} has no slope at 0 to linearise by; take he, or "
            "critical(phi)"
        )
    return 1 / (slope**2 * (1 + value**2)), 0.0


def _vi3nr(layer: Layer) -> tuple[float, float]:
    point = critical(layer.activation, bias_var=0.0)
    return float(point.weight_var), 0.0


def _critical(layer: Layer) -> tuple[float, float]:
    point = critical(layer.activation, q=_START)
    return float(point.weight_var), float(point.bias_var)


_SCHEMES = {
    "lecun": Scheme(lambda _: (1.0, 0.0), "gaussian", "LeCun et al. 1998, Efficient BackProp"),
    "glorot": Scheme(
        lambda layer: (2 * layer.fan_in / (layer.fan_in + layer.fan_out), 0.0), "gaussian",
        "Glorot & Bengio 2010",
    ),
    "he": Scheme(lambda _: (2.0, 0.0), "gaussian", "He et al. 2015, arXiv 1502.01852"),
    "pytorch": Scheme(
        lambda layer: (1 / 3, 1 / (3 * layer.fan_in)), "gaussian",
        "torch.nn.Linear.reset_parameters: uniform on +-1/sqrt(fan_in), biases too",
    ),
    "orthogonal": Scheme(lambda _: (1.0, 0.0), "orthogonal", "Saxe et al. 2014, arXiv 1312.6120"),
    "dag": Scheme(
        lambda layer: (2 / layer.in_degree, 0.0), "gaussian",
        "Chen, Wang & Hanin 2024: architectures as graphs, layers with several inputs",
    ),
    "looks-linear": Scheme(
        lambda _: (2.0, 0.0), "orthogonal",
        "Balduzzi et al. 2017, arXiv 1702.08591; GSM, Burkholz & Dubatovka 2019: mirrored blocks",
    ),
    "eoi": Scheme(
        lambda _: (1.0, 0.0), "orthogonal", "Nowak et al. 2024, arXiv 2406.01755: sparse, exactly "
        "orthogonal",
    ),
    "lsuv": Scheme(
        lambda layer: (1 / _moment(layer.activation, 1.0, "phi2"), 0.0), "orthogonal",
        "Mishkin & Matas 2016, arXiv 1511.06422: the fixed point of its unit variance",
    ),
    "kumar": Scheme(_kumar, "gaussian", "Kumar 2017, arXiv 1704.08863"),
    "vi3nr": Scheme(_vi3nr, "gaussian", "VI3NR, CVPR 2025, arXiv 2504.19270"),
    "siren": Scheme(
        lambda _: (2.0, 0.0), "gaussian",
        "Sitzmann et al. 2020, arXiv 2006.09661: for phi = sin(x), frequencies in the weights",
    ),
    "spectral": Scheme(
        lambda layer: (min(1.0, layer.fan_out / layer.fan_in), 0.0), "gaussian",
        "Yang, Simon & Bernstein 2023, arXiv 2310.17813",
    ),
    "edge of chaos": Scheme(_critical, "gaussian", "critical(phi, q=1)"),
}  # fmt: skip

NAMES = tuple(_SCHEMES)


@dataclass(frozen=True, eq=False, repr=False)
class Placement:
    """Where a scheme puts a network, and how far its signals get.

    Attributes:
        scheme: its name, and
        source: the paper.
        network: the `Network` that it makes.
        point: the fixed point that inputs of variance 1 go to; None if they go to none.
        points: all of them, with the verdict of the network.
        reach: layers until two inputs, or a signal that grows or dies, have lost themselves: six
            depth scales (Schoenholz et al. 2017), inf if they never do.
    """

    scheme: str
    source: str
    network: Network
    point: FixedPoint | None
    points: FixedPoints
    reach: float

    @property
    def verdict(self) -> Any:
        """What depth does to the network, in a sentence."""
        return self.points.verdict

    def __repr__(self) -> str:
        where = "no fixed point" if self.point is None else f"q = {self.point.q:.6g}"
        return (
            f"{self.scheme} ({self.source})\n  {self.network!r}, {where}\n"
            f"  signals get about {self.reach:.3g} layers far\n  {self.verdict}"
        )


def place(
    scheme: str,
    phi: Callable | str | Activation,
    fan_in: int = 1024,
    fan_out: int = 1024,
    in_degree: int = 1,
) -> Placement:
    r"""Where a named scheme puts a network with this activation on its phase diagram.

    Args:
        scheme: one of `meanfield.schemes.NAMES`.
        phi: the activation, as for `meanfield.critical`.
        fan_in: inputs of a layer, and
        fan_out: outputs, of which some schemes ask.
        in_degree: how many layers feed into it.

    Returns:
        A `Placement`.

    Raises:
        ValueError: no scheme has this name, or it has no variance for this activation.

    Example:
        >>> import meanfield as mf
        >>> he = mf.schemes.place("he", "relu")
        >>> he.network, he.reach
        (Network(relu, weight_var=2, bias_var=0), inf)
    """
    if scheme not in _SCHEMES:
        raise ValueError(f"scheme: must be one of {', '.join(NAMES)}; got {scheme!r}")
    rule, weights, source = _SCHEMES[scheme]
    network = Network(
        phi, *rule(Layer(as_activation(phi), fan_in, fan_out, in_degree)), weights=weights
    )
    points = fixed_points(network)
    point = _reached(points)
    return Placement(scheme, source, network, point, points, _reach(points, point))


def _reached(points: FixedPoints) -> FixedPoint | None:
    """The fixed point in whose basin inputs of variance 1 are."""
    if points.continuum:
        return critical(points.network.activation, q=_START)
    for point in points:
        if abs(point.q / _START - 1) < _SAME:  # stable or not: inputs of this size stay
            return point
    for point in points:
        if any(low < _START < high for low, high in point.basin or ()):
            return point
    return None


def _reach(points: FixedPoints, point: FixedPoint | None) -> float:
    if point is None:  # the size of the signal itself grows by that much in every layer
        growth = points.asymptotic_slope
        return 6 / log(growth) if 1 < growth < inf else 0.0 if growth > 1 else nan
    scales = [point.depth_scale_c]
    if point.q == 0:  # the signal dies as fast as its variance
        scales.append(point.depth_scale_q)
    known = [float(scale) for scale in scales if not np.isnan(scale)]
    return 6 * min(known) if known else nan


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """All schemes that exist for an activation, as a table.

    Attributes:
        activation: the `Activation`.
        depth: the depth that is asked for.
        placements: a `Placement` each.
        missing: names of schemes that have no variance for it, with the reason.
    """

    activation: Activation
    depth: int
    placements: tuple[Placement, ...]
    missing: dict[str, str]

    def rows(self) -> list[dict[str, Any]]:
        """The table, a record for each scheme; None where inputs of variance 1 go to no `q`."""
        return [
            {
                "scheme": p.scheme,
                "weight_var": float(p.network.weight_var),
                "bias_var": float(p.network.bias_var),
                "weights": str(p.network.weights),
                "q": None if p.point is None else float(p.point.q),
                "chi1": None if p.point is None else float(p.point.chi1),
                "phase": str(Phase.EXPLODES if p.point is None else p.point.phase),
                "reach": p.reach,
                "deep enough": bool(p.reach >= self.depth),
                "source": p.source,
            }
            for p in self.placements
        ]

    def __repr__(self) -> str:
        shown = "scheme weight_var bias_var q chi1 phase reach".split() + ["deep enough"]
        table = [shown] + [[_cell(row[name]) for name in shown] for row in self.rows()]
        widths = [max(len(cells[k]) for cells in table) for k in range(len(shown))]
        lines = [f"Schemes for {self.activation.name}, {self.depth} layers"]
        for cells in table:
            lines.append("  " + "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)))
        for name, why in self.missing.items():
            lines.append(f"  {name}: {why}")
        return "\n".join(line.rstrip() for line in lines)

    @cached_property
    def diagram(self) -> "PhaseDiagram":
        """The phase diagram of a window that holds all placements."""
        from meanfield.phase import phase_diagram

        right = max(p.network.weight_var for p in self.placements)
        top = max(p.network.bias_var for p in self.placements)
        return phase_diagram(
            self.activation,
            weight_var=np.linspace(0.02, 1.15, 200) * right,
            bias_var=np.linspace(0, 1.3, 150) * (top if top > _LOW * right else _LOW * right),
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw it with `meanfield.plot.schemes`; returns the Axes."""
        from meanfield import plot

        return plot.schemes(self, ax=ax)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def compare(
    phi: Callable | str | Activation, depth: int = 50, fan_in: int = 1024, fan_out: int = 1024
) -> Comparison:
    """Every named scheme for an activation: where it lies, and whether it reaches a depth.

    Args:
        phi: the activation, as for `meanfield.critical`.
        depth: number of layers that signals should get through.
        fan_in: inputs of a layer, and
        fan_out: outputs, of which some schemes ask.

    Returns:
        A `Comparison`, which prints as a table and has a `plot`.

    Example:
        >>> import meanfield as mf
        >>> table = mf.schemes.compare("tanh", depth=50)
        >>> [p.scheme for p in table.placements if p.reach >= 50]
        ['lecun', 'glorot', 'he', 'orthogonal', 'dag', 'looks-linear', 'eoi', ...]
    """
    if isinstance(depth, bool) or not isinstance(depth, int | np.integer) or depth < 1:
        raise ValueError(f"depth: must be a whole number of layers, at least 1, got {depth!r}")
    activation = as_activation(phi)
    placements, missing = [], {}
    for name in NAMES:
        try:
            placements.append(place(name, activation, fan_in, fan_out))
        except MeanFieldError as error:
            missing[name] = str(error)
    return Comparison(activation, int(depth), tuple(placements), missing)
