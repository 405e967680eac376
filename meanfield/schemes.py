r"""Named initialisation schemes, placed on the phase diagram of an activation.

A scheme (`meanfield.scheme_rules` lists them) is a weight variance, a bias variance and an
ensemble, as a function of the activation and of the shape of the layer. Where that lies, and how
far signals get, follows from the fixed points of the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import inf, log, nan, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.activation import Activation, as_activation
from meanfield.aligned import aligned
from meanfield.criticality import critical
from meanfield.errors import MeanFieldError
from meanfield.fixedpoints import FixedPoints, fixed_points
from meanfield.keywords import spelt
from meanfield.network import REACH, FixedPoint, Network, Phase
from meanfield.scheme_rules import SCHEMES, Shape, spectral_norm
from meanfield.whole import whole_number

if TYPE_CHECKING:
    from meanfield.phase import PhaseDiagram

__all__ = ["NAMES", "SchemeTable", "Placement", "compare", "place"]

_START = 1.0  # variance of the pre-activations of the first layer
_UNIFORM = 1 / 3  # mean square of coordinates on [-1, 1]
_LOW = 0.1  # of the window: its height over its width, at least
_SAME = 1e-9  # fixed points so near are where a scheme wanted them to be

NAMES = tuple(SCHEMES)


@dataclass(frozen=True, eq=False, repr=False)
class Placement:
    """Where a scheme puts a network, and how far its signals get.

    Attributes:
        scheme: its name, and
        source: the paper.
        network: the `Network` that it makes of plain layers: its place on the phase diagram.
        acts_as: the plain network that does to signals what the scheme does; `network` itself
            but for `dag` (in_degree layers add up), `looks-linear` (mirrored weights) and `fixup`
            (silent branches beside skip connections).
        first_weight_var: of the first layer, where the scheme sets it apart, as SIREN does; else
            None.
        start: variance of the pre-activations of the first layer.
        point: the fixed point of `acts_as` that these go to; None if they go to none.
        points: all of them, with the verdict of the network.
        reach: layers until two inputs, or a signal that grows or dies, have lost themselves: six
            depth scales (Schoenholz et al. 2017), inf if they never do.
        spectral_norm: largest singular value of the weights, for large layers.
        norm_ratio: that over the `sqrt(fan_out/fan_in)` of the spectral condition (Yang, Simon &
            Bernstein 2023), which asks for O(1) at any shape.
    """

    scheme: str
    source: str
    network: Network
    acts_as: Network
    first_weight_var: float | None
    start: float
    point: FixedPoint | None
    points: FixedPoints
    reach: float
    spectral_norm: float
    norm_ratio: float

    @property
    def verdict(self) -> Any:
        """What depth does to the network, in a sentence."""
        return self.points.verdict

    def __repr__(self) -> str:
        where = "no fixed point" if self.point is None else f"q = {self.point.q:.6g}"
        lines = [f"{self.scheme} ({self.source})", f"  {self.network!r}, {where}"]
        if self.acts_as is not self.network:
            lines.append(f"  acts as {self.acts_as!r}")
        if self.first_weight_var is not None:
            lines.append(
                f"  first layer weight_var {self.first_weight_var:.6g}: coordinates on [-1, 1] "
                f"make q = {self.start:.6g}"
            )
        reach = f"about {self.reach:.3g} layers far" if self.reach < inf else "through at any depth"
        return "\n".join(
            [
                *lines,
                f"  largest singular value {self.spectral_norm:.4g}, {self.norm_ratio:.4g} times "
                "sqrt(fan_out/fan_in)",
                f"  signals get {reach}",
                f"  {self.verdict}",
            ]
        )


@spelt
def place(
    scheme: str,
    phi: Callable | str | Activation,
    fan_in: int = 1024,
    fan_out: int = 1024,
    in_degree: int = 1,
    *,
    blocks: int = 50,
    branch_layers: int = 2,
    coordinates: int = 2,
    omega: float = 30.0,
) -> Placement:
    r"""Where a named scheme puts a network with this activation on its phase diagram.

    Args:
        scheme: one of `meanfield.schemes.NAMES`.
        phi: the activation, as for `meanfield.critical`.
        fan_in: inputs of a layer, and
        fan_out: outputs, of which some schemes ask.
        in_degree: for `dag`: how many layers feed into it.
        blocks: for `fixup`: number of residual branches, and
        branch_layers: how many layers each has, at least 2.
        coordinates: for `siren`: inputs of its first layer, uniform on [-1, 1], and
        omega: the frequency scale `omega_0` by which it multiplies them.

    Returns:
        A `Placement`.

    Raises:
        ValueError: no scheme has this name, or it has no variance for this activation; or a number
            is too small.
        TypeError: a number is not whole.

    Source: of each scheme in its `source`; six depth scales: Schoenholz et al. 2017,
    arXiv 1611.01232.

    Example:
        >>> import meanfield as mf
        >>> he = mf.schemes.place("he", "relu")
        >>> he.network, he.reach
        (Network(relu, weight_var=2, bias_var=0), inf)
        >>> mf.schemes.place("siren", "sin", coordinates=2)
        siren (Sitzmann et al. 2020, arXiv 2006.09661: ...)
          Network(sin, weight_var=2, bias_var=0), q = 0.796812
          first layer weight_var 150: coordinates on [-1, 1] make q = 50
          largest singular value 2.828, 2.828 times sqrt(fan_out/fan_in)
          signals get about 57.9 layers far
          chaotic: ...
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme: must be one of {', '.join(NAMES)}; got {scheme!r}")
    counts = {"fan_in": fan_in, "fan_out": fan_out, "in_degree": in_degree, "blocks": blocks,
              "branch_layers": branch_layers, "coordinates": coordinates}  # fmt: skip
    for name, value in counts.items():
        whole_number(name, value, least=2 if name == "branch_layers" else 1)
    if not 0 < omega < inf:
        raise ValueError(f"omega: must be a positive number, got {omega!r}")
    found = SCHEMES[scheme]
    shape = Shape(as_activation(phi), fan_in, fan_out, in_degree, blocks, branch_layers)
    weight_var, bias_var = found.rule(shape)
    network = Network(shape.activation, weight_var, bias_var, weights=found.weights)
    acts_as = network if found.acts_as is None else found.acts_as(shape)
    first = None if found.first is None else found.first(omega, coordinates)
    start = _START if first is None else first * _UNIFORM
    points = fixed_points(acts_as)
    point = _reached(points, start)
    norm = spectral_norm(weight_var, found.weights, fan_in, fan_out)
    return Placement(
        scheme, found.source, network, acts_as, first, start, point, points,
        _reach(points, point), norm, norm / sqrt(fan_out / fan_in),
    )  # fmt: skip


def _reached(points: FixedPoints, start: float) -> FixedPoint | None:
    """The fixed point in whose basin inputs of this variance are."""
    if points.continuum:
        return critical(points.network.activation, q=start)
    for point in points:
        if abs(point.q / start - 1) < _SAME:  # stable or not: inputs of this size stay
            return point
    for point in points:
        if any(low < start < high for low, high in point.basin or ()):
            return point
    return None


def _reach(points: FixedPoints, point: FixedPoint | None) -> float:
    if point is None:  # the size of the signal itself grows by that much in every layer
        growth = points.asymptotic_slope
        if growth == inf:
            return 0.0
        return REACH / log(growth) if growth > 1 + _SAME else inf  # it grows by a power of depth
    scales = [point.depth_scale_c]
    if point.q == 0:  # the signal dies as fast as its variance
        scales.append(point.depth_scale_q)
    known = [float(scale) for scale in scales if not np.isnan(scale)]
    return REACH * min(known) if known else nan


@dataclass(frozen=True, eq=False, repr=False)
class SchemeTable:
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
        """The table, a record for each scheme; None where inputs of variance 1 go to no `q`.

        `weight_var` and `bias_var` are those of the layers; `q`, `chi1`, `phase` and `reach` of
        what they make together (`Placement.acts_as`); `norm` is `norm_ratio`.
        """
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
                "norm": p.norm_ratio,
                "deep_enough": bool(p.reach >= self.depth),
                "source": p.source,
            }
            for p in self.placements
        ]

    def __repr__(self) -> str:
        shown = "scheme weight_var bias_var q chi1 phase reach norm deep_enough".split()
        table = [shown] + [[_cell(row[name]) for name in shown] for row in self.rows()]
        lines = [f"Schemes for {self.activation.name}, {self.depth} layers"]
        lines += [f"  {row}" for row in aligned(table)]
        for p in self.placements:
            if p.acts_as is not p.network:
                lines.append(f"  {p.scheme}: acts as {p.acts_as!r}")
            if p.first_weight_var is not None:
                lines.append(f"  {p.scheme}: first layer weight_var {p.first_weight_var:.4g}")
        for name, why in self.missing.items():
            lines.append(f"  {name}: {why}")
        lines.append("  reach: layers, six depth scales; deep_enough: reaches all of them")
        lines.append("  norm: largest singular value over sqrt(fan_out / fan_in)")
        return "\n".join(line.rstrip() for line in lines)

    @cached_property
    def diagram(self) -> "PhaseDiagram":
        """The phase diagram of a window that holds all placements."""
        from meanfield.phase import phase_diagram

        variances = [float(p.network.weight_var) for p in self.placements]
        right = max(variances)
        top = max(p.network.bias_var for p in self.placements)
        return phase_diagram(
            self.activation,
            weight_var=np.linspace(min(0.02 * right, 0.5 * min(variances)), 1.15 * right, 200),
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


@spelt
def compare(
    phi: Callable | str | Activation, depth: int = 50, fan_in: int = 1024, fan_out: int = 1024
) -> SchemeTable:
    """Every named scheme for an activation: where it lies, and whether it reaches a depth.

    Args:
        phi: the activation, as for `meanfield.critical`.
        depth: number of layers that signals should get through; for Fixup, of branches.
        fan_in: inputs of a layer, and
        fan_out: outputs, of which some schemes ask.

    Returns:
        A `SchemeTable`, which prints as a table and has a `plot`.

    Raises:
        ValueError: `depth` is no whole number above 0.

    Source: of each scheme in its row.

    Example:
        >>> import meanfield as mf
        >>> table = mf.schemes.compare("tanh", depth=50)
        >>> [p.scheme for p in table.placements if p.reach >= 50]
        ['lecun', 'glorot', 'he', 'orthogonal', 'dag', 'eoi', ...]
    """
    depth, activation = whole_number("depth", depth), as_activation(phi)
    placements, missing = [], {}
    for name in NAMES:
        try:
            placements.append(place(name, activation, fan_in, fan_out, blocks=depth))
        except MeanFieldError as error:
            missing[name] = str(error)
    return SchemeTable(activation, depth, tuple(placements), missing)
