"""From which depth on the largest singular value is that of the universality class."""

from collections.abc import Callable
from math import inf, log, nan

import numpy as np

from meanfield.activation import Activation, as_activation
from meanfield.criticality import critical
from meanfield.dynamical_isometry.classes import q_for_depth, universality
from meanfield.ensembles import Orthogonal
from meanfield.errors import UnresolvedError
from meanfield.keywords import spelt
from meanfield.spectrum.curve import image
from meanfield.spectrum.edges import arcs
from meanfield.spectrum.law import slope_law
from meanfield.spectrum.transform import Transform

__all__ = ["depth_of_limit", "log_largest"]

_DEEPEST = 1 << 30
_STEP = 2**0.5
_SURE = 12  # steps on which the difference must have fallen, all within the tolerance
_FEW = 4
_ROUNDS = 8
_ROUNDING = 1e-3


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
        ValueError: the activation has no limit (see `universality`).
        UnresolvedError: it is not reached, as where the slope is unbounded.

    Example:
        >>> import meanfield as mf
        >>> mf.depth_of_limit("hard_tanh")
        50
    """
    activation = as_activation(phi)
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: must be between 0 and 1, got {tolerance!r}")
    limit = 2 * log(universality(activation).spectrum(variance).s_max)

    def off(depth: int) -> float:
        """The relative difference; nan where no q keeps the variance, inf if it is not known."""
        try:
            q = q_for_depth(activation, depth, variance)
        except ValueError:
            return nan
        try:
            return abs(np.expm1(log_largest(activation, q, depth) - limit))
        except UnresolvedError:
            return inf

    # the difference may change its sign: it must be small from there on, and falling
    depths, offs = [1], [off(1)]
    while not _settled(offs[-_SURE:], tolerance):
        deeper = max(depths[-1] + 1, round(_STEP * depths[-1]))
        further = off(deeper)
        if np.isnan(further) and _settled(offs[-_FEW:], tolerance, _FEW):
            break  # as far as the edge of chaos is known
        depths.append(deeper)
        offs.append(further)
        if deeper > _DEEPEST or np.isnan(further):
            raise UnresolvedError(_why_not(activation, limit, depths, offs, tolerance))
    bad = np.flatnonzero(np.array(offs) > tolerance)
    if not len(bad):
        return 1
    low, high = depths[bad[-1]], depths[bad[-1] + 1]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if off(middle) <= tolerance else (middle, high)
    return high


def _settled(offs: list[float], tolerance: float, steps: int = _SURE) -> bool:
    """Whether the last differences are all small, and fall but for rounding."""
    if len(offs) < steps or not max(offs) <= tolerance:
        return False
    return bool(np.all(np.diff(offs) <= _ROUNDING * tolerance))


def log_largest(activation: Activation, q: float, depth: int) -> float:
    """`log s^2` at the top of the spectrum, critical with orthogonal weights; inf if it has none.

    Without the rest of the spectrum, of which it does not depend on how it is resolved.
    """
    weight_var = float(critical(activation, q, weights="orthogonal").weight_var)
    law = slope_law(activation, q)
    if law.bands[-1, 1] == inf:
        return inf
    transform = Transform(law, Orthogonal(), depth, log(weight_var))
    if transform.on_axis:
        return log(weight_var * float(law.bands[-1, 1]))
    tops = [y for _, y, _ in transform.atoms()]
    for _ in range(_ROUNDS):
        top = arcs(transform, law.bands)[0].high
        finer = law.refined(np.array([top + 0j]))
        if finer is law:
            break
        law, transform = finer, Transform(finer, Orthogonal(), depth, log(weight_var))
    return max([*tops, image(transform, log(top), -1)])


def _why_not(
    activation: Activation, limit: float, depths: list[int], offs: list[float], tolerance: float
) -> str:
    name = activation.name
    if np.all(np.isinf(offs)):
        return (
            f"{name}: its slope is unbounded, so the largest singular value is infinite at every "
            f"depth, and not {np.exp(0.5 * limit):.4g} as in the limit; compare quantiles instead"
        )
    last = offs[-1]
    if np.isnan(last):
        return (
            f"{name}: no q on the edge of chaos keeps the variance at {depths[-1]} layers, before "
            "which the limit is not reached; allow a larger variance or tolerance"
        )
    return (
        f"{name}: at {depths[-1]} layers the largest s^2 is off by {last:.2g}, more than "
        f"{tolerance:g} or not falling yet; allow a larger tolerance"
    )
