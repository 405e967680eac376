"""`ClipChoice`: a clipped activation on the edge of chaos, and what to expect of it."""

from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.clip.chain import Chain, chain_of
from meanfield.clip.margin import distance
from meanfield.clip.moments import ClippedMoments
from meanfield.clip.noise import Noise, noise_of, vertex_of_weights
from meanfield.clip.numbers import variance, width_of
from meanfield.clip.rules import STRAYED, Size
from meanfield.clip.subject import Subject
from meanfield.clip.trajectory import ClipTrajectory, trajectory_of
from meanfield.clip.verdict import ClipVerdict
from meanfield.ensembles import Ensemble
from meanfield.errors import NoCriticalPointError
from meanfield.fixedpoints import FixedPoints, fixed_points
from meanfield.gaussian import MOMENTS
from meanfield.network import FixedPoint
from meanfield.whole import whole_number

if TYPE_CHECKING:
    from meanfield.maps.decay import Decay

__all__ = ["ClipChoice"]

Array = NDArray[np.float64]

_PHI2, _PHI4 = MOMENTS.index("phi2"), MOMENTS.index("phi4")
_RISK = 0.01  # more than this share of networks gone is no initialisation


@dataclass(frozen=True, eq=False, repr=False)
class ClipChoice:
    r"""A clipped activation on the edge of chaos; `clip_threshold` makes them.

    Attributes:
        subject: the activation before it is clipped, and how it is.
        m: the clip level, largest magnitude of the activation; inf if it is not clipped.
        point: the `FixedPoint` of the clipped activation on the edge of chaos.
        other_thresholds: the other `m` that have the wanted slope, increasing.
        width: neurons a layer, and
        depth: layers, for the verdict.
        error: bound of the relative error of `m`, and of that of `point`.
    """

    subject: Subject
    m: float
    point: FixedPoint
    other_thresholds: tuple[float, ...]
    width: int
    depth: int
    error: float

    @property
    def tau(self) -> float | None:
        """The threshold below which the activation is zero; None for one of your own."""
        return self.subject.tau

    @property
    def activation(self) -> Activation:
        """The clipped activation."""
        return self.point.activation

    @property
    def weight_var(self) -> float:
        """`sigma_w^2` on the edge of chaos."""
        return self.point.weight_var

    @property
    def bias_var(self) -> float:
        """`sigma_b^2` on the edge of chaos."""
        return self.point.bias_var

    @property
    def q(self) -> float:
        """The variance of the pre-activations."""
        return self.point.q

    @property
    def slope(self) -> float:
        """`V'(q)`: what is left of a small change of the variance after one layer."""
        return self.point.variance_slope

    @property
    def curvature(self) -> float:
        """`V''(q)`."""
        return self.point.variance_curvature

    @property
    def dimensionless_curvature(self) -> float:
        """`q V''(q)`, which does not change when `q`, `tau^2` and `m^2` grow alike."""
        return self.q * self.curvature

    @property
    def gradient_sensitivity(self) -> float:
        """`q dchi1/dq`: by how much `chi1` leaves 1 as the variance leaves `q`, relatively."""
        m = self.activation.moments(np.array([self.q]), derivatives=True)
        assert m.first is not None
        return float(self.q * self.weight_var * m.first[0, MOMENTS.index("dphi2")])

    @property
    def sparsity(self) -> float:
        """`P(phi = 0)` at `q`: the share of neurons that are silent."""
        return self.point.sparsity

    @cached_property
    def fixed_points(self) -> FixedPoints:
        """All fixed points of the clipped map, the chosen one among them."""
        return fixed_points(self.point)

    @property
    def _chosen(self) -> FixedPoint | None:
        """The chosen point among them, which knows its basin."""
        near = [p for p in self.fixed_points if abs(p.q - self.q) <= 1e-6 * self.q]
        return min(near, key=lambda p: abs(p.q - self.q), default=None)

    @property
    def other_fixed_points(self) -> tuple[FixedPoint, ...]:
        """The other fixed points of the clipped map, in order of `q`."""
        return tuple(p for p in self.fixed_points if p is not self._chosen)

    @property
    def basin(self) -> tuple[tuple[float, float], ...]:
        """Intervals of the variances from which depth leads to `q`; empty if it is not stable."""
        chosen = self._chosen
        return (chosen.basin or ()) if chosen is not None else ()

    @property
    def edges(self) -> tuple[float, float]:
        """The ends of the basin around `q`: the nearest unstable fixed points, or 0 and inf."""
        for low, high in self.basin:
            if low <= self.q <= high:
                return low, high
        return self.q, self.q

    @cached_property
    def unclipped(self) -> FixedPoint | None:
        """The edge of chaos of the unclipped activation at the same `q`; None if there is none."""
        from meanfield.criticality import critical

        try:
            return critical(self.subject.unclipped, self.q, weights=self.point.network.weights)
        except NoCriticalPointError:
            return None

    @cached_property
    def decay(self) -> "Decay":
        """The law by which two inputs become alike: `1 - c_l ~ coefficient / l^power`."""
        from meanfield.maps.correlation import correlation_map

        return correlation_map(self.point).decay

    def noise(self, width: int | None = None, weights: str | Ensemble | None = None) -> Noise:
        r"""How far the variance of networks of finite width strays from `q`.

        `kernel^2 = S / ((1 - V'^2) width)` with `S = weight_var^2 (E[phi^4] - E[phi^2]^2)` for
        Gaussian weights, and `sampled^2 = kernel^2 + 2 q^2 / width`; for orthogonal weights see
        `meanfield.clip.noise`. Leading order in 1/width, after many layers, linear in the distance.

        Args:
            width: neurons a layer; that of the choice if not given.
            weights: the ensemble; that of the point if not given.

        Returns:
            `Noise`: the standard deviations `kernel`, of the variance itself, and `sampled`, of the
            mean square of the pre-activations that one measures in a layer.

        Raises:
            ValueError: `width` is not positive, or the ensemble has no known vertex.

        Example:
            >>> import meanfield as mf
            >>> choice = mf.clip_threshold("shifted_relu", sparsity=0.7, slope=0.5)
            >>> noise = choice.noise(width=300)
            >>> round(noise.kernel, 4), round(noise.sampled, 4)
            (0.0835, 0.1168)
        """
        width = self.width if width is None else width_of(width)
        weights = self.point.network.weights if weights is None else weights
        value = self.activation.moments(np.array([self.q])).value[0]
        source = self.weight_var**2 * (value[_PHI4] - value[_PHI2] ** 2)
        noise = noise_of(self.q, self.bias_var, self.slope, source, width, weights)
        return Noise(float(noise.kernel), float(noise.sampled))

    def margin(
        self,
        width: int | None = None,
        weights: str | Ensemble | None = None,
        sampling: bool = True,
    ) -> float:
        """Standard deviations of the noise between `q` and the nearer end of its basin.

        Args:
            width: neurons a layer; that of the choice if not given.
            weights: the ensemble; that of the point if not given.
            sampling: count the noise of the mean square of a layer (`Noise.sampled`), else only
                that of the variance (`Noise.kernel`).

        Returns:
            The margin; inf where no unstable fixed point bounds the basin, 0 where `q` is not
            stable.

        Raises:
            ValueError: as for `noise`.
        """
        kernel, sampled = self.noise(width, weights)
        low, high = self.edges
        if not self.point.stable or low == high:
            return 0.0
        return self._distance / (sampled if sampling else kernel)

    @property
    def _distance(self) -> float:
        low, high = self.edges
        return float(distance(self.q, low if low > 0 else -inf, high))

    def chain(
        self, depth: int | None = None, width: int | None = None, q0: float | None = None,
        leaves: tuple[float, float] = (0.0, inf),
    ) -> Chain:  # fmt: skip
        """The law of the variance in networks of finite width; see `meanfield.clip.chain`.

        Args:
            depth: layers after the first; the depth of the choice if not given.
            width: neurons a layer; that of the choice if not given.
            q0: variance of the first layer; `q` if not given.
            leaves: below the first and above the second variance a network counts as gone.
        """
        closed = self.subject.closed

        def moments(K: Array) -> ClippedMoments:
            if closed is not None:
                return closed.moments(self.m, K)
            m = self.activation.moments(K, derivatives=True)
            assert m.first is not None and m.second is not None
            of = m.value[:, MOMENTS.index("dphi2")]
            return ClippedMoments(m.value[:, _PHI2], of, m.first[:, _PHI2], m.second[:, _PHI2],
                                  m.value[:, _PHI4])  # fmt: skip

        width = self.width if width is None else width_of(width)
        return chain_of(
            moments, self.weight_var, self.bias_var, self.q if q0 is None else q0,
            self.depth if depth is None else whole_number("depth", depth, least=0),
            width, leaves, vertex_of_weights(self.point.network.weights, width),
        )  # fmt: skip

    def risk(
        self, depth: int | None = None, width: int | None = None, beyond: float = STRAYED
    ) -> float:
        """Share of finite networks whose variance exceeds `beyond * q` in some layer.

        Or falls out of the basin of `q` below, where that has such an end.

        Args:
            depth: layers after the first, which starts at `q`; that of the choice if not given.
            width: neurons a layer; that of the choice if not given.
            beyond: how many times `q` is too far, above 1.

        Returns:
            A probability, to about a tenth of itself at widths from 100 to 100,000.

        Raises:
            ValueError: an argument is outside its range.

        Example:
            >>> import meanfield as mf
            >>> choice = mf.clip_threshold("shifted_relu", sparsity=0.9, slope=0.9)
            >>> round(choice.risk(width=300), 2), round(choice.risk(width=10_000), 2)
            (0.53, 0.00)
        """
        if not 1 < beyond < inf:
            raise ValueError(f"beyond: must be a finite factor above 1, got {beyond!r}")
        low = self.edges[0] if self.edges[0] < self.q else 0.0
        return float(self.chain(depth, width, leaves=(low, beyond * self.q)).left[-1])

    @cached_property
    def verdict(self) -> ClipVerdict:
        """What depth does to the variance at this width; printing it prints a sentence."""
        if not self.point.stable:
            return ClipVerdict.UNSTABLE
        if not self.basin:
            return ClipVerdict.UNRESOLVED
        alone = not isfinite(self._distance)
        if self.risk() > _RISK * (1 + 1e-6):  # one chosen for this very risk has it
            return ClipVerdict.STRAYS if alone else ClipVerdict.ESCAPES
        return ClipVerdict.HOLDS if alone else ClipVerdict.HOLDS_IN_ITS_BASIN

    @property
    def escape(self) -> str:
        """What happens to a network that leaves the basin; empty where none can."""
        from meanfield.clip.text import escape

        return escape(self)

    def at(self, q: float, hold: str | tuple[str, ...] = ()) -> "ClipChoice":
        r"""The same thresholds at another variance.

        Those not held grow like `sqrt(q)`. With both growing, `weight_var`, `slope`, `sparsity`,
        `dimensionless_curvature` and the noise beside `q` stay what they are, because
        `phi_(r tau, r m)(r x) = r phi_(tau, m)(x)`: only the units have changed. Holding `m`
        changes the map.

        Args:
            q: the variance.
            hold: which of `"tau"` and `"m"` keep their value, one or several.

        Returns:
            A `ClipChoice`.

        Raises:
            ValueError: `hold` names something else, or there is no edge of chaos at this `q`.

        Source: larger `q` is studied in Dent & Tanner 2026, arXiv 2602.05779.

        Example:
            >>> import meanfield as mf
            >>> choice = mf.clip_threshold("shifted_relu", sparsity=0.85, slope=0.7)
            >>> scaled, held = choice.at(q=3.0), choice.at(q=3.0, hold="m")
            >>> [round(c.slope, 3) for c in (choice, scaled, held)]
            [0.7, 0.7, 0.416]
            >>> [round(c.dimensionless_curvature, 3) for c in (choice, scaled, held)]
            [0.023, 0.023, -0.170]
        """
        from meanfield.clip.threshold import choice_at

        held = (hold,) if isinstance(hold, str) else tuple(hold)
        if not set(held) <= {"tau", "m"}:
            raise ValueError(f"hold: must name 'tau' or 'm' or both, got {hold!r}")
        q = variance("q", q)
        factor = float(np.sqrt(q / self.q))
        tau = self.tau if self.tau is None or "tau" in held else factor * self.tau
        m = self.m if "m" in held else factor * self.m
        size = Size(self.width, self.depth, self.point.network.weights)
        return choice_at(self.subject.at(tau), m, q, size)

    def trajectory(self, depth: int | None = None, q0: float | None = None) -> ClipTrajectory:
        """The variance and the sparsity layer by layer, in networks of `width` and without noise.

        Args:
            depth: layers after the first; that of the choice if not given.
            q0: variance of the first layer; `q` if not given.

        Returns:
            A `ClipTrajectory`.

        Raises:
            ValueError: `q0` is not positive and finite, or `depth` negative.
        """
        q0 = self.q if q0 is None else variance("q0", q0)
        return trajectory_of(self.point, self.width, self.chain(depth, q0=q0), q0)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw the map, clipped and not, with its basin; see `meanfield.plot.clip_choice`."""
        from meanfield import plot

        return plot.clip_choice(self, ax=ax, **options)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name."""
        from meanfield.clip.text import record

        return record(self)

    def __str__(self) -> str:
        from meanfield.clip.text import summary

        return summary(self)

    __repr__ = __str__
