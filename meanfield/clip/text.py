"""A `ClipChoice` as text for a person, and as numbers for a file."""

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from meanfield.clip.rules import STRAYED
from meanfield.errors import MeanFieldError
from meanfield.network import digits, intervals

if TYPE_CHECKING:
    from meanfield.clip.choice import ClipChoice

__all__ = ["escape", "record", "summary"]


def record(choice: "ClipChoice") -> dict[str, Any]:
    """All numbers of a choice, by name."""
    noise = choice.noise()
    return {
        "activation": choice.subject.unclipped.name,
        "clip": choice.subject.clip.name,
        "tau": choice.tau,
        "m": choice.m,
        "q": choice.q,
        "slope": choice.slope,
        "curvature": choice.curvature,
        "dimensionless_curvature": choice.dimensionless_curvature,
        "gradient_sensitivity": choice.gradient_sensitivity,
        "sparsity": choice.sparsity,
        "other_thresholds": list(choice.other_thresholds),
        "basin": [list(piece) for piece in choice.basin],
        "width": choice.width,
        "depth": choice.depth,
        "noise": noise._asdict(),
        "margin": choice.margin(),
        "risk": choice.risk(),
        "decay": _decay(choice),
        "verdict": str(choice.verdict),
        "escape": choice.escape,
        "error": choice.error,
        "point": choice.point.to_dict(),
        "other_fixed_points": [p.to_dict() for p in choice.other_fixed_points],
    }


def _decay(choice: "ClipChoice") -> str:
    try:
        return str(choice.decay)
    except MeanFieldError:  # phi' is unbounded
        return "1 - c_l falls by a law that is not known"


def summary(choice: "ClipChoice") -> str:
    """What a person reads: each number with the digits that its error supports."""
    errors: Mapping[str, Any] = choice.point.errors
    lines = [f"ClipChoice of {choice.activation.name}"]

    def line(name: str, text: str) -> None:
        lines.append(f"  {name:20} {text}")

    if choice.tau is not None:
        line("tau", digits(choice.tau, 4e-16 * max(abs(choice.tau), choice.q**0.5)))
    line("m", digits(choice.m, choice.error * choice.m))
    if choice.other_thresholds:
        line("other thresholds", ", ".join(f"{m:.6g}" for m in choice.other_thresholds))
    for name in ("weight_var", "bias_var"):
        line(name, digits(getattr(choice, name), errors.get(name)))
    line("q", f"{choice.q:.6g}")
    line("sparsity", f"{choice.sparsity:.6g}")
    line("slope V'", digits(choice.slope, errors.get("variance_slope")))
    line("curvature V''", digits(choice.curvature, errors.get("variance_curvature")))
    line("q V''", f"{choice.dimensionless_curvature:.6g}")
    line("correlations", _decay(choice))
    line("basin", intervals(choice.basin))
    for p in choice.other_fixed_points:
        line("other fixed point", f"q = {digits(p.q, p.errors.get('q'))}, {p.stability}, "
             f"V' = {p.variance_slope:.6g}, chi1 = {p.chi1:.6g}")  # fmt: skip
    noise = choice.noise()
    line(f"noise at width {choice.width}", f"{noise.kernel:.4g} of the variance, "
         f"{noise.sampled:.4g} of a layer's mean square")  # fmt: skip
    margin = choice.margin()
    far = f"{margin:.4g} standard deviations to the end of the basin"
    line("margin", far if margin < inf else "inf: nothing ends the basin")
    risk = choice.risk()
    share = f"{risk:.2g}" if risk > 1e-4 else "fewer than 0.0001"
    line(f"risk in {choice.depth} layers", f"{share} of the networks exceed {STRAYED:g} q")
    lines.append(f"  {choice.verdict}")
    if choice.escape:
        lines.append(f"  {choice.escape}")
    return "\n".join(lines)


def escape(choice: "ClipChoice") -> str:
    """What happens to a network that leaves the basin of `q`; empty where none can."""
    q, (low, high) = choice.q, choice.edges
    up = high - q <= (q - low if low > 0 else inf)
    if not choice.point.stable or (up and high == inf):
        return ""
    if up and choice.fixed_points.explodes_above <= high * (1 + 1e-9):
        return "a network that escapes explodes: its variance grows without bound"
    stable = [p for p in choice.other_fixed_points if p.stable]
    beyond = [p for p in stable if (p.q > high if up else p.q < low)]
    if not beyond:
        return "where a network goes that escapes could not be computed"
    to = beyond[0] if up else beyond[-1]
    what = "explode" if to.chi1 > 1 else "vanish"
    return (
        f"a network that escapes settles at q = {to.q:.6g}, where chi1 = {to.chi1:.6g}: its "
        f"gradients {what}, by that factor in each layer"
    )
