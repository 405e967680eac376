"""The two nouns: `Network`, what a person chooses, and `FixedPoint`, where depth takes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from math import floor, isfinite, log10
from typing import Any

import numpy as np

from meanfield.activation import Activation, as_activation
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.keywords import spelt
from meanfield.precision import is_traced

__all__ = ["REACH", "FixedPoint", "Network", "Phase"]

REACH = 6  # depth scales: networks deeper than that many do not train


class Phase(IntEnum):
    """What depth does to two inputs that are almost the same."""

    ORDERED = 0  # chi1 < 1: they become one
    CRITICAL = 1  # chi1 = 1: the edge of chaos
    CHAOTIC = 2  # chi1 > 1: they part
    EXPLODES = 3  # no fixed point is reached: their variance grows without bound
    UNRESOLVED = -1  # where depth leads cannot be computed

    def __str__(self) -> str:
        return self.name.lower()


def _check_variance(name: str, value: Any, positive: bool) -> None:
    """Raise unless the value is a variance, or an array of them; a tracer has no value yet."""
    if is_traced(value):
        return
    least = "> 0" if positive else ">= 0"
    try:
        if np.asarray(value).dtype.kind in "SUb":  # the text of a number, or true
            raise TypeError(value)
        array = value if isinstance(value, float) else np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: must be a finite variance {least}, got {value!r}") from error
    good = (array < np.inf) & ((array > 0) if positive else (array >= 0))
    if not np.all(good):
        raise ValueError(f"{name}: must be a finite variance {least}, got {value!r}")


@dataclass(frozen=True, eq=False)
class Network:
    r"""A wide fully connected network with random weights and biases.

    `z_i = sum_j W_ij phi(z'_j) + b_i` with independent `W_ij` of mean 0 and variance
    `weight_var / fan_in` and `b_i ~ N(0, bias_var)`.

    Args:
        phi: the activation: a callable, the name of a catalogued one, or an `Activation`.
        weight_var: `sigma_w^2`, positive; a number or an array.
        bias_var: `sigma_b^2`, not negative.
        weights: the ensemble: `"gaussian"`, `"orthogonal"` (Haar, scaled to the same variance of
            the entries) or one of `meanfield.ensembles`. At infinite width all have the same maps.

    Raises:
        ValueError: a variance is negative or not finite, or the ensemble is unknown.

    Example:
        >>> import meanfield as mf
        >>> mf.Network("tanh", weight_var=2.25, bias_var=0.0025)
        Network(tanh, weight_var=2.25, bias_var=0.0025)
    """

    activation: Activation
    weight_var: Any
    bias_var: Any
    weights: str | Ensemble

    @spelt
    def __init__(
        self, phi, weight_var: Any, bias_var: Any = 0.0, weights: str | Ensemble = "gaussian"
    ) -> None:
        _check_variance("weight_var", weight_var, positive=True)
        _check_variance("bias_var", bias_var, positive=False)
        object.__setattr__(self, "activation", as_activation(phi))
        object.__setattr__(self, "weight_var", weight_var)
        object.__setattr__(self, "bias_var", bias_var)
        ensemble_of(weights)
        object.__setattr__(self, "weights", weights)

    def __repr__(self) -> str:
        parts = [self.activation.name, f"weight_var={short(self.weight_var)}"]
        parts.append(f"bias_var={short(self.bias_var)}")
        if self.weights != "gaussian":
            parts.append(f"weights={str(self.weights)!r}")
        return f"Network({', '.join(parts)})"


@dataclass(frozen=True, repr=False, eq=False)
class FixedPoint:
    """A variance `q` that one layer of `network` reproduces, and what happens around it.

    Fields are numbers, or arrays where several points were asked for at once.

    Attributes:
        network: the `Network`; `weight_var` and `bias_var` are passed through.
        q: variance of the pre-activations.
        chi1: `weight_var E[phi'^2]`, slope of the correlation map at 1.
        variance_slope: `V'(q)`.
        variance_curvature: `V''(q)`.
        correlation: the correlation `c*` to which two inputs go.
        depth_scale_q: `-1 / ln |V'|` layers; inf at slope 1, nan above.
        depth_scale_c: the same for correlations; `trainable_depth` is six times as much.
        sparsity: `P(phi = 0)`.
        phase: a `Phase`.
        stable: whether variances near `q` return to it as fast as `V'^depth` (`|V'| < 1`); where
            `V' = 1` the point is marginal and not stable: see `variance_power_law`.
        error: bound of the relative error of `weight_var`, and of that of `bias_var` beside `q`;
            of that of `q` where the variances were given.
        errors: bounds of the absolute errors by field; what is printed stops at these digits.
        universality_class: `"scale-invariant"`, `"K*=0"` or `"half-stable"` where both
            susceptibilities are 1, else None.
        correlation_slope: slope of the correlation map at `correlation`; `chi1` where that is 1.
        stability: `"stable"`, `"unstable"`, `"half-stable"` (attracts from one side) or
            `"marginal"`; None if `critical` made the point, which looks at the slope alone.
        basin: intervals of the variances that go to the point, open at their ends and empty where
            there are none; None if `critical` made the point.
        verdict: a `Verdict` of what depth does to inputs at the point, whether it is reached or
            not; None if `critical` made the point.
    """

    network: Network
    q: Any
    chi1: Any
    variance_slope: Any
    variance_curvature: Any
    correlation: Any
    depth_scale_q: Any
    depth_scale_c: Any
    sparsity: Any
    phase: Any
    stable: Any
    error: Any
    errors: Mapping[str, Any] = field(default_factory=dict)
    universality_class: str | None = None
    correlation_slope: Any = 1.0
    stability: str | None = None
    basin: tuple[tuple[float, float], ...] | None = None
    verdict: Any = None

    @property
    def activation(self) -> Activation:
        """The activation of the network."""
        return self.network.activation

    @property
    def weight_var(self):
        """`sigma_w^2`; a weight has this over fan-in as its variance."""
        return self.network.weight_var

    @property
    def bias_var(self):
        """`sigma_b^2`."""
        return self.network.bias_var

    @property
    def input_second_moment(self):
        """`(q - bias_var) / weight_var`: what the mean square of the inputs of a layer is.

        The first layer sees data: scale them to this mean square and its pre-activations have
        variance `q` as well.
        """
        return (self.q - self.bias_var) / self.weight_var

    @property
    def trainable_depth(self):
        """`6 depth_scale_c`: networks deeper than about this many layers do not train.

        Seen with stochastic gradient descent by Schoenholz et al. 2017, arXiv 1611.01232.
        """
        return REACH * self.depth_scale_c

    @property
    def variance_power_law(self) -> Any:
        """`a = 2 / |V''(q)|` where `V'(q) = 1`: on the side that comes back, `|q_l - q| ~ a / l`.

        From above where `V'' < 0`, as for tanh at `q = 0`, and from below where `V'' > 0`. nan
        where `V'` is not 1, which is exponential, and where `V''` is 0 or infinite.
        """
        bend = np.abs(self.variance_curvature)
        known = (self.variance_slope == 1) & (bend > 0) & (bend < np.inf)
        with np.errstate(divide="ignore"):
            law = np.where(known, 2 / bend, np.nan)
        return law if law.ndim else float(law)

    @property
    def marginality(self) -> str:
        """What becomes of a deviation where `V'(q) = 1`, in words; empty elsewhere."""
        if self.variance_slope != 1:
            return ""
        law = float(self.variance_power_law)
        if np.isnan(law):
            return "marginal, V' = 1"
        bend = self.variance_curvature
        shown = digits(law, law * self.errors.get("variance_curvature", 0.0) / abs(bend))
        side = "above" if bend < 0 else "below"
        return f"marginal, V' = 1: from {side}, |q_l - q| falls like {shown} / l"

    def to_dict(self) -> dict[str, Any]:
        """All numbers, by name; arrays as lists, the activation and phase by their names."""
        numbers = {"activation": self.activation.name, "weights": str(self.network.weights)}
        for name in _SHOWN:
            value = getattr(self, name)
            if name == "phase":
                numbers[name] = (
                    str(value) if isinstance(value, Phase) else np.asarray(value).tolist()
                )
            else:
                numbers[name] = value.tolist() if hasattr(value, "tolist") else value
        numbers["input_second_moment"] = np.asarray(self.input_second_moment).tolist()
        numbers["trainable_depth"] = np.asarray(self.trainable_depth).tolist()
        numbers["universality_class"] = self.universality_class
        if self.basin is not None:
            numbers["correlation_slope"] = self.correlation_slope
            numbers["stability"] = self.stability
            numbers["basin"] = [list(interval) for interval in self.basin]
        return numbers

    def __str__(self) -> str:
        if is_traced(self.q, self.weight_var) or np.ndim(self.weight_var):
            lines = [f"FixedPoint of {self.activation.name}"]
            return "\n".join(lines + [f"  {n:20} {short(getattr(self, n))}" for n in _SHOWN])
        kind = f" ({self.universality_class})" if self.universality_class else ""
        lines = [f"FixedPoint of {self.activation.name}, {self.network.weights} weights{kind}"]
        for name in _SHOWN:
            value = getattr(self, name)
            text = digits(value, self.errors.get(name)) if isinstance(value, float) else str(value)
            if name == "stable" and self.marginality:
                text += f" ({self.marginality})"
            if text == "nan" and name.startswith("depth_scale"):
                text = "nan (its slope is above 1: distances grow)"
            lines.append(f"  {name:20} {text}")
        if self.universality_class == "scale-invariant":
            lines.append("  any q is a fixed point: the variances do not depend on it")
        if self.basin is not None:
            lines.append(f"  {'stability':20} {self.stability}")
            lines.append(f"  {'basin':20} {intervals(self.basin)}")
        return "\n".join(lines)

    __repr__ = __str__


_SHOWN = ("q", "weight_var", "bias_var", *(f.name for f in fields(FixedPoint)[2:12]))


def digits(value: float, error: float | None) -> str:
    """A number with the digits that its absolute error supports, at most 15."""
    if error is None or not isfinite(value) or value == 0:
        return f"{value:.6g}"
    if not isfinite(error) or error >= abs(value):
        if not isfinite(error):
            return f"unknown, perhaps {value:.0e}"
        return f"0 within {1.5 * (abs(value) + error):.0e}"  # one digit, which is not rounded down
    certain = 15 if error <= 0 else floor(log10(abs(value))) - floor(log10(2 * error))
    return f"{value:.{max(1, min(15, certain))}g}"


def span(values: Any, relative_error: float) -> str:
    """The least and the largest of some numbers, with digits that are known, at most six."""
    ends = (float(x) for x in ([np.min(values), np.max(values)] if np.size(values) else []))
    texts = [digits(x, max(relative_error, 5e-7) * abs(x)) for x in ends]
    return " ... ".join(dict.fromkeys(texts)) or "none"


def intervals(pieces: tuple[tuple[float, float], ...]) -> str:
    """Intervals of variances, as words."""
    if not pieces:
        return "none"
    return " and ".join(f"q from {low:.6g} to {high:.6g}" for low, high in pieces)


def short(value: Any) -> str:
    """A number, or the ends of an array, to six digits."""
    if is_traced(value):
        return "traced"
    array = np.asarray(value, np.float64) if not isinstance(value, np.ndarray) else value
    if array.ndim == 0:
        return f"{float(array):.6g}"
    return np.array2string(array, precision=6, threshold=6, edgeitems=2)
