r"""Choosing where to clip: `clip_threshold`."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from meanfield.activation import Activation
from meanfield.clip.choice import ClipChoice
from meanfield.clip.clipping import clip_named
from meanfield.clip.margin import highest_of
from meanfield.clip.moments import Clippable
from meanfield.clip.numbers import positive, share, slope_of, variance, width_of
from meanfield.clip.rules import Noisy, Size, largest_by_margin, largest_by_risk
from meanfield.clip.search import edge_at, levels_of, scan_of
from meanfield.clip.subject import Subject, subject_of
from meanfield.criticality import critical
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.errors import UnresolvedError
from meanfield.keywords import spelt
from meanfield.precision import EPS
from meanfield.whole import whole_number

__all__ = ["choice_at", "clip_threshold"]

_AGREE = 1e-8  # between the slope that was solved for and that of the sampled clipped activation
_STEP = 1e-4  # of m, for the change of the slope with it


@spelt
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
        (4.2228, 0.7)
        >>> safe = mf.clip_threshold("shifted_relu", sparsity=0.85, risk=0.01, width=300)
        >>> round(safe.slope, 2)
        0.89
    """
    q = variance("q", q)
    width, depth = width_of(width), whole_number("depth", depth, least=0)
    ensemble_of(weights)
    subject = subject_of(phi, sparsity, tau, q, clip_named(clip))
    given = {"slope": slope, "margin": margin, "risk": risk, "m": m}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ValueError(f"{', '.join(named)}: give one of them, the others follow")
    size = Size(width, depth, weights)
    if m is not None:
        return choice_at(subject, positive("m", m, infinite=True), q, size)
    subject.refuse()
    clippable = subject.clippable(q)
    scan = scan_of(clippable, q, subject.name)
    if margin is not None or risk is not None:
        highest = highest_of(scan.edge, scan.m, q, subject.is_bounded)
        noisy = Noisy(subject.clippable(highest), q, size, subject.name)
        if margin is not None:
            level = largest_by_margin(noisy, scan, positive("margin", margin), sampling, highest)
        else:
            level = largest_by_risk(noisy, scan, share("risk", risk, "networks"), highest)
        choice = choice_at(subject, level, q, size)
        if margin is not None and choice.margin(sampling=sampling) < margin * (1 - 1e-6):
            raise UnresolvedError(
                f"margin: the basin of q = {q:.6g} of {choice.activation.name} ends nearer than "
                "its samples say: its fixed points are too close to be told apart; ask for another "
                "margin, or choose by `slope`"
            )
        return choice
    wanted = slope_of(0.7 if slope is None else slope)
    *others, level = levels_of(clippable, scan, q, wanted, subject.name).tolist()
    choice = choice_at(subject, level, q, size, tuple(others))
    return replace(choice, error=max(choice.error, _error_of(choice, clippable, wanted)))


def _error_of(choice: ClipChoice, clippable: Clippable, slope: float) -> float:
    """Relative error of `m`, from how far the slope of the clipped activation itself is off."""
    doubt = choice.point.errors["variance_slope"]
    off = abs(choice.slope - slope)
    if not off <= _AGREE + 4 * doubt:
        raise UnresolvedError(
            f"{choice.subject.name}: clipped at m = {choice.m:.6g} its V' is {choice.slope:.12g}, "
            f"not {slope:.12g}: its samples are too coarse or too noisy (float32?); give `kinks=` "
            "if it has narrow features"
        )
    nearby = choice.m * np.array([1 - _STEP, 1 + _STEP])
    rate = np.diff(edge_at(clippable, nearby, choice.q).slope)[0] / (2 * _STEP)
    return float((off + doubt) / max(abs(rate), EPS))


def choice_at(
    subject: Subject, m: float, q: float, size: Size, others: tuple[float, ...] = ()
) -> ClipChoice:
    """The choice of a given clip level, by sampling the clipped activation itself."""
    point = critical(subject.clipped(m), q, weights=size.weights)
    return ClipChoice(subject, m, point, others, size.width, size.depth, float(point.error))
