r"""Choosing where to clip: `clip_threshold`."""

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, as_activation
from meanfield.clip.choice import ClipChoice
from meanfield.clip.clipping import CLIPS, Clip, clip_named, refuse_bounded
from meanfield.clip.families import FAMILIES, Family, Thresholded, family_named
from meanfield.clip.margin import highest_of
from meanfield.clip.moments import Clippable
from meanfield.clip.noise import checked_variance, checked_width
from meanfield.clip.rules import Noisy, largest_by_margin, largest_by_risk
from meanfield.clip.sampled import ClippedSamples
from meanfield.clip.search import edge_at, levels_of, scan_of
from meanfield.criticality import checked_numbers, critical
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.errors import NoCriticalPointError, UnresolvedError
from meanfield.maps.variance_trajectory import checked_depth
from meanfield.precision import EPS

__all__ = ["choice_at", "clip_threshold", "clippable_of", "resolved"]

Array = NDArray[np.float64]

_AGREE = 1e-8  # between the slope that was solved for and that of the sampled clipped activation


def clip_threshold(
    phi: Callable | str | Activation,
    sparsity: float | None = None,
    slope: float | None = None,
    q: float = 1.0,
    *,
    margin: float | None = None,
    risk: float | None = None,
    m: float | None = None,
    tau: float | None = None,
    clip: str = "two-sided",
    width: int = 300,
    depth: int = 100,
    weights: str | Ensemble = "gaussian",
    sampling: bool = True,
) -> ClipChoice:
    r"""Where to clip an activation so that networks of it can be deep.

    An activation that is zero up to a threshold makes hidden layers sparse, but on the edge of
    chaos its variance map touches the diagonal and is convex there, so that every fluctuation
    grows. Clipped at `m` the slope of the map falls below 1: `V'(q) = 1 - (m/s) n(b) / I_0`.
    Choose `m` by that slope, or by the margin: the largest `m` at which the nearest unstable fixed
    point is `margin` standard deviations of the finite-width noise of the variance away. Or by the
    risk: the largest `m` at which no more than that share of networks of `width` strays, its
    variance exceeding `3 q` within `depth` layers. The margin takes the noise for linear and
    Gaussian, which where the map is convex understates it; the risk does not.

    Args:
        phi: `"shifted_relu"` (`max(x - tau, 0)`), `"soft_threshold"`
            (`sign(x) max(|x| - tau, 0)`), or any unbounded activation.
        sparsity: share of silent neurons, in (0, 1), for the first two, which gives `tau`.
        slope: the wanted `V'(q)`, below 1; 0.7 if nothing else is given.
        q: variance of the pre-activations.
        margin: instead of `slope`: standard deviations that the noise is to be kept away.
        risk: instead of `slope`: share of networks that may stray.
        m: instead of `slope`: the clip level itself; inf for no clip.
        tau: instead of `sparsity`: the threshold itself.
        clip: how values are clipped: `"two-sided"` (`clip(phi, -m, m)`), `"upper"` (`min(phi, m)`),
            `"lower"` (`max(phi, -m)`) or `"smooth"` (`m tanh(phi/m)`).
        width: neurons a layer, for `margin`, `risk` and the verdict.
        depth: layers, for `risk` and the verdict.
        weights: the ensemble; variances are the same, the noise is not.
        sampling: whether `margin` counts the noise of a layer's mean square, `2 q^2 / width`
            included, or only that of the variance.

    Returns:
        A `ClipChoice`: `tau`, `m`, the `point` on the edge of chaos, and what to expect of it.
        Where several `m` have the slope, the largest; `other_thresholds` lists the others.

    Raises:
        NoCriticalPointError: there is no edge of chaos at this `q`.
        UnresolvedError: the activation cannot be sampled to useful accuracy.
        ValueError: no `m` is as wanted, the activation is bounded already, or an argument is
            outside its range.

    Source: Price et al. 2024, arXiv 2402.16184 (clipping, by the slope); larger `q`: Dent &
        Tanner 2026, arXiv 2602.05779. The rules by margin and by risk are this package's.

    Example:
        >>> import meanfield as mf
        >>> choice = mf.clip_threshold("shifted_relu", sparsity=0.85, slope=0.7)
        >>> round(choice.tau, 4), round(choice.m, 4)
        (1.0364, 1.1704)
        >>> round(choice.point.weight_var, 3), round(choice.point.bias_var, 4)
        (7.335, 0.5953)
        >>> import jax.numpy as jnp
        >>> mine = mf.clip_threshold(lambda x: x * jnp.abs(x) + x, slope=0.7)
        >>> round(mine.m, 4), round(mine.slope, 12)
        (2.5, 0.7)
        >>> safe = mf.clip_threshold("shifted_relu", sparsity=0.85, risk=0.01, width=300)
        >>> round(safe.slope, 2)
        0.89
    """
    q = checked_variance("q", q)
    width, depth = checked_width(width), checked_depth(depth)
    ensemble_of(weights)
    how = clip_named(clip)
    family, phi, tau = resolved(phi, sparsity, tau, q)
    given = {"slope": slope, "margin": margin, "risk": risk, "m": m}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ValueError(f"{', '.join(named)}: give one of them, the others follow")
    if m is not None:
        m = _positive("m", m, infinite=True)
        return choice_at(family, phi, tau, how, m, q, weights, width, depth)
    if phi is not None:
        refuse_bounded(phi, how)
        if len(phi.jumps):
            raise NoCriticalPointError(
                f"phi: {phi.name} jumps at x = {phi.jumps[0]:.6g}, so chi1 is infinite and there "
                "is no edge of chaos whatever the clip level; take a continuous approximation of it"
            )
    name = phi.name if phi is not None else f"{family.name}(tau={tau:.6g})"
    clippable = clippable_of(family, phi, tau, how, q)
    scan = scan_of(clippable, q, name)
    if margin is not None or risk is not None:
        highest = highest_of(scan.edge, scan.m, q, how.below and how.above)
        clippable = clippable_of(family, phi, tau, how, highest)
        of = Noisy(clippable, q, width, depth, weights, name)
        if margin is not None:
            margin = _positive("margin", margin)
            level = largest_by_margin(of, scan, margin, sampling, highest)
        else:
            level = largest_by_risk(of, scan, _share("risk", risk, "networks"))
        return choice_at(family, phi, tau, how, level, q, weights, width, depth)
    slope = _checked_slope(0.7 if slope is None else slope)
    *others, level = levels_of(clippable, scan, q, slope, name).tolist()
    choice = choice_at(family, phi, tau, how, level, q, weights, width, depth, tuple(others))
    off = abs(choice.slope - slope)
    if not off <= _AGREE + 4 * choice.point.errors["variance_slope"]:
        raise UnresolvedError(
            f"{name}: clipped at m = {level:.6g} its V' is {choice.slope:.12g}, not {slope:.12g}: "
            "its samples are too coarse or too noisy (float32?); give `kinks=` if it has narrow "
            "features"
        )
    step = 1e-4 * level
    rate = np.diff(edge_at(clippable, np.array([level - step, level + step]), q).slope)[0]
    moved = (off + choice.point.errors["variance_slope"]) / max(abs(rate) * 0.5 / 1e-4, EPS)
    return _with_error(choice, max(float(moved), choice.error))


def _with_error(choice: ClipChoice, error: float) -> ClipChoice:
    from dataclasses import replace

    return replace(choice, error=error)


def resolved(
    phi: Callable | str | Activation, sparsity: Any, tau: Any, q: float
) -> tuple[Family | None, Activation | None, float | None]:
    """A family and its threshold, or an activation."""
    family = family_named(phi)
    if family is None:
        for name, value in (("sparsity", sparsity), ("tau", tau)):
            if value is not None:
                raise ValueError(
                    f"{name}: only of {' and '.join(FAMILIES)} is the threshold chosen here, got "
                    f"{value!r}; bring an activation of your own with its threshold inside"
                )
        return None, as_activation(phi), None
    if (sparsity is None) == (tau is None):
        raise ValueError(
            f"sparsity, tau: {family.name} needs one of them, the share of silent neurons or the "
            f"threshold; got sparsity={sparsity!r}, tau={tau!r}"
        )
    if tau is None:
        tau = float(family.threshold(_share("sparsity", sparsity, "silent neurons"), q))
    else:
        tau = float(_number("tau", tau))
        if not isfinite(tau) or (family.sides == 2 and tau < 0):
            least = ", not negative" if family.sides == 2 else ""
            raise ValueError(f"tau: must be a finite number{least}; got {tau!r}")
    return family, None, tau


def clippable_of(
    family: Family | None, phi: Activation | None, tau: float | None, clip: Clip, largest: float
) -> Clippable:
    """Closed forms where there are any, else samples up to the largest variance."""
    if family is not None:
        assert tau is not None
        if clip is CLIPS["two-sided"] or (clip is CLIPS["upper"] and family.sides == 1):
            return Thresholded(family, tau)
        phi = family.activation(tau)
    assert phi is not None
    return ClippedSamples(phi, clip, largest)


def choice_at(
    family: Family | None,
    phi: Activation | None,
    tau: float | None,
    clip: Clip,
    m: float,
    q: float,
    weights: str | Ensemble,
    width: int,
    depth: int,
    others: tuple[float, ...] = (),
) -> ClipChoice:
    """The choice of a given clip level, by sampling the clipped activation itself."""
    if family is not None and isinstance(clippable_of(family, None, tau, clip, q), Thresholded):
        assert tau is not None
        clipped = family.activation(tau, m)
    else:
        unclipped = phi if family is None else family.activation(tau or 0.0)
        assert unclipped is not None
        clipped = clip.activation(unclipped, m)
    point = critical(clipped, q, weights=weights)
    return ClipChoice(family, phi, clip, tau, m, point, others, width, depth, float(point.error))


def _share(name: str, share: Any, of: str) -> float:
    """A share of something, or an error."""
    number = _number(name, share)
    if not 0 < number < 1:
        raise ValueError(f"{name}: must be a share of {of}, above 0 and below 1; got {share!r}")
    return number


def _checked_slope(slope: Any) -> float:
    number = _number("slope", slope)
    if not abs(number) < 1:
        raise ValueError(
            f"slope: must be below 1 in magnitude, or the variance is not held at q; got {slope!r}"
        )
    return number


def _positive(name: str, value: Any, infinite: bool = False) -> float:
    number = _number(name, value)
    if not (number > 0 and (infinite or isfinite(number))):
        raise ValueError(
            f"{name}: must be positive{'' if infinite else ' and finite'}; got {value!r}"
        )
    return number


def _number(name: str, value: Any) -> float:
    array = checked_numbers(name, value)
    if array.ndim:
        raise TypeError(f"{name}: must be one number, got {value!r}")
    return float(array)
