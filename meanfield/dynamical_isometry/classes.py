"""Which universality class an activation falls in, and from which depth on the limit is good."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, as_activation
from meanfield.criticality import checked_variances
from meanfield.dynamical_isometry.scan import edge_scan
from meanfield.dynamical_isometry.spread import slope_spread
from meanfield.dynamical_isometry.universal import UniversalSpectrum, universal_spectrum
from meanfield.errors import UnresolvedError
from meanfield.keywords import spelt
from meanfield.whole import whole_number

__all__ = ["Universality", "depth_of_limit", "q_for_depth", "universality"]

Array = NDArray[np.float64]

_CERTAIN = 1e3  # times the error: a spread that is known well enough to tell more of
_PURE = 0.02  # a kappa this near to 0 or 1 is taken for it, and this much of a mixture for none
_DEEPEST = 1 << 24


@dataclass(frozen=True)
class Universality:
    """How the spectrum of a deep Jacobian looks when its variance is kept by the choice of `q`.

    Attributes:
        kind: `"smooth"`, `"bernoulli"`, `"jump"` (a second slope) or `"mixed"` (several).
        jump: `y`: what `phi'^2` is where it differs, over what it usually is; a mean if mixed.
        mixture: standard deviation of `y`.
        q: 0 or inf, the limit; or where on the edge of chaos, if a depth was given.
    """

    kind: str
    jump: float
    mixture: float
    q: float

    def spectrum(self, variance: float = 1.0) -> UniversalSpectrum:
        """The limit of infinite depth at a variance of `s^2`.

        Raises:
            UnresolvedError: it is mixed, and in neither class.
        """
        if self.kind == "mixed":
            raise UnresolvedError(
                f"universality: squared slopes differ by factors {self.jump:.3g} +- "
                f"{self.mixture:.2g}, a mixture of classes without a closed form; use "
                "jacobian_spectrum at a depth"
            )
        return universal_spectrum(variance, self.jump)


@spelt
def universality(
    phi: Callable | str | Activation, depth: int | None = None, variance: float = 1.0
) -> Universality:
    r"""The universality class of an activation that is isometric in a limit.

    Of `k = 1 - X/E[X]`, `X = phi'^2`, under the weight `k^2` the mean and the standard deviation
    are taken in the limit: 0 and 0 are the smooth class, 1 and 0 the Bernoulli class, any other
    mean and 0 that of a second slope, with `y = 1 - k`.

    Args:
        phi: the activation.
        depth: if given, not in the limit but at `q_for_depth(phi, depth, variance)`: a steep but
            smooth function looks like one with kinks there.
        variance: of `s^2`, with `depth`.

    Raises:
        NoCriticalPointError: `phi` jumps.
        ValueError: the activation is isometric nowhere, or everywhere, so that it has no limit; or
            the variance at that depth is too large to say.

    Source: Pennington, Schoenholz & Ganguli 2018, arXiv 1802.09979, section 4.

    Example:
        >>> import meanfield as mf
        >>> [mf.universality(phi).kind for phi in ("tanh", "gelu", "hard_tanh")]
        ['smooth', 'smooth', 'bernoulli']
        >>> import jax.numpy as jnp
        >>> mf.universality(lambda x: x + 0.5 * jnp.clip(x, -1, 1)).jump  # slopes 1.5 and 1
        0.444444444...
    """
    activation = as_activation(phi)
    scan = edge_scan(activation)
    if depth is not None:
        q = q_for_depth(activation, depth, variance)
        at_q = slope_spread(activation, np.array([q]))
        kappa, width = float(at_q.kappa[0]), float(at_q.kappa_spread[0])
        if not np.isfinite(kappa):
            raise ValueError(
                f"variance: {variance:g} at depth {depth} is a spread of {at_q.value[0]:.3g} a "
                "layer, too much for the perturbation theory of universality; take a larger "
                "depth or a smaller variance"
            )
        return _classified(kappa, width, q)
    end = 0 if scan.vanishes_at(0) else -1
    if scan.exact or not scan.vanishes_at(end):
        why = "slope is the same everywhere" if scan.exact else "spread vanishes nowhere"
        raise ValueError(
            f"{activation.name}: its {why}, so there is no limit in which its Jacobians become "
            "isometric while the depth grows; see isometry(phi)"
        )
    spread = scan.spread
    known = np.isfinite(spread.kappa) & (spread.value > _CERTAIN * spread.error) & scan.valid
    places = np.flatnonzero(known)
    if not len(places):
        raise UnresolvedError(
            f"{activation.name}: its spread jumps from 0 to more than a tenth along the edge of "
            "chaos, too fast to see its class"
        )
    last = places[0] if end == 0 else places[-1]
    return _classified(
        float(spread.kappa[last]), float(spread.kappa_spread[last]), 0.0 if end == 0 else np.inf
    )


def _classified(kappa: float, width: float, q: float) -> Universality:
    if width > _PURE:
        return Universality("mixed", 1 - kappa, width, q)
    for kind, k in (("smooth", 0.0), ("bernoulli", 1.0)):
        if abs(kappa - k) < _PURE:
            return Universality(kind, 1 - k, width, q)
    return Universality("jump", 1 - kappa, width, q)


@spelt
def q_for_depth(phi: Callable | str | Activation, depth: int, variance: float = 1.0) -> float:
    r"""The `q` on the edge of chaos that keeps the variance of `s^2` while the depth grows.

    `depth (E[phi'^4] / E[phi'^2]^2 - 1) = variance`, with orthogonal weights: all singular values
    of deep networks are as near to 1 then as those of shallow ones.

    Args:
        phi: the activation.
        depth: the number of layers.
        variance: what the variance of the squared singular values is to be.

    Returns:
        The `q` at the end of the range that will do: the largest if the spread vanishes as
        `q -> 0`, the smallest if it does as `q -> infinity`. Where all `q` will do, the one
        nearest to 1.

    Raises:
        NoCriticalPointError: `phi` jumps.
        ValueError: no `q` on the edge of chaos has so little spread; says which comes closest.

    Source: Pennington, Schoenholz & Ganguli 2018, arXiv 1802.09979, section 4.

    Example:
        >>> import meanfield as mf
        >>> [round(mf.q_for_depth("hard_tanh", depth), 5) for depth in (128, 1024)]
        [0.14105, 0.09197]
    """
    activation, depth = as_activation(phi), whole_number("depth", depth)
    most = float(checked_variances("variance", variance)) / depth
    scan = edge_scan(activation)
    q = scan.farthest(most) if np.any(scan.valid) else None
    if q is not None:
        return q
    if not np.any(scan.valid):
        raise ValueError(f"{activation.name}: it has no edge of chaos; see isometry(phi)")
    best, least = scan.best()
    raise ValueError(
        f"depth: at {depth} layers the variance of s^2 of {activation.name} is at least "
        f"{least * depth:.4g}, at q = {best:.4g}, even with orthogonal weights; got "
        f"variance={variance:g}, which lasts {int(most * depth / least)} layers; see isometry(phi)"
    )


@spelt
def depth_of_limit(
    phi: Callable | str | Activation, variance: float = 1.0, tolerance: float = 0.01
) -> int:
    r"""The depth from which on the largest `s^2` is that of the universality class.

    `q` follows the depth by `q_for_depth`. Bernoulli classes converge like `1/L`, smooth ones like
    `1/sqrt(L)`.

    Args:
        phi: the activation.
        variance: of `s^2`, kept.
        tolerance: the relative difference that is allowed.

    Returns:
        The depth.

    Raises:
        ValueError: the activation has no limit (see `universality`), or does not reach it.

    Example:
        >>> import meanfield as mf
        >>> mf.depth_of_limit("hard_tanh")
        50
    """
    from meanfield.criticality import critical
    from meanfield.spectrum import jacobian_spectrum

    activation = as_activation(phi)
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: must be between 0 and 1, got {tolerance!r}")
    limit = universality(activation).spectrum(variance).s_max ** 2

    def good(depth: int) -> bool:
        point = critical(activation, q_for_depth(activation, depth, variance), weights="orthogonal")
        return abs(jacobian_spectrum(point, depth).s_max ** 2 / limit - 1) <= tolerance

    high = 1
    while not good(high):
        high *= 2
        if high > _DEEPEST:
            raise UnresolvedError(
                f"{activation.name}: the limit is not reached within {tolerance:g} at {_DEEPEST} "
                "layers; allow a larger tolerance"
            )
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high
