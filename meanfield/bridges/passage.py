"""What was seen of a batch on its way through a model: one `Passage` for each layer with weights.

Numbers alone, whatever the framework: it hands over arrays with the inputs of the batch on the
first axis, and says which axis counts the units.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation, as_activation
from meanfield.catalogue import CATALOGUE
from meanfield.layers.state import State
from meanfield.precision import double

__all__ = ["INPUTS", "Feeds", "Passage", "Signal", "passage", "sources"]

Array = NDArray[np.float64]
Feeds = list[tuple[int, Activation] | None]  # for each layer, from where and through what

INPUTS = 32  # of the batch that are looked at, all pairs of them
_SAMPLE = 4096  # entries by which an activation is recognised
_ROUNDINGS = 100  # of the model's own numbers, by which two ways to compute phi may differ
_ROUGH = 0.02


@dataclass(frozen=True, eq=False)
class Signal:
    """Second moments of the inputs of a batch at one place of a model.

    Attributes:
        variance: mean square over units and positions, shape (n,).
        one_minus: `1 - c` of each pair, shape (n, n).
        error: standard error of the mean of `variance`, from the spread over units.
        zeros: share of the entries that are exactly 0.
        sample: some entries, always at the same places of an array of `size` entries.
        size: how many entries there are.
    """

    variance: Array
    one_minus: Array
    error: float
    zeros: float
    sample: Array
    size: int

    @property
    def state(self) -> State:
        """The same for `meanfield.layers`, as Gaussian pre-activations."""
        n = len(self.variance)
        return State(self.variance, self.one_minus, np.zeros(n), np.eye(n), gaussian=True)

    @property
    def correlation(self) -> float:
        """The mean over distinct pairs; nan if there is one input."""
        return mean_correlation(self.one_minus)


@dataclass(frozen=True, eq=False)
class Passage:
    """A layer with weights, and the batch before and behind it.

    Attributes:
        name: its path in the model.
        kind: its class.
        fan_in: inputs that an output sums up.
        weight_var: `fan_in` times the mean square of its weights.
        weight_mean: `fan_in` times their squared mean.
        bias_var: mean square of its biases.
        reached: share of the field that was inside of the image.
        before: the signal that it saw.
        after: its pre-activations.
        gradient: mean over the inputs of the squared norm of the gradient at `after`.
        eps: relative spacing of the model's numbers.
    """

    name: str
    kind: str
    fan_in: float
    weight_var: float
    weight_mean: float
    bias_var: float
    reached: float
    before: Signal
    after: Signal
    gradient: float
    eps: float


def mean_correlation(one_minus: Array) -> float:
    """Of all pairs of distinct inputs; nan if there is none."""
    pairs = one_minus[np.triu_indices(len(one_minus), 1)]
    return float(1 - np.mean(pairs)) if len(pairs) else nan


def signal(values: Any, axis: int) -> Signal:
    """Moments of an array whose first axis counts inputs, and `axis` units."""
    values = np.asarray(values)[:INPUTS]
    size, flat = values.size, values.reshape(-1)
    places = np.linspace(0, size - 1, min(size, _SAMPLE)).astype(np.int64)
    sample = flat[places].astype(np.float64)
    units = np.moveaxis(values, axis, -1).reshape(len(values), -1, values.shape[axis])
    units = units.astype(np.float64)
    with np.errstate(all="ignore"):
        variance = np.mean(units**2, axis=(1, 2))
        each = np.mean(units**2, axis=(0, 1))
        few = np.sqrt(2) * np.mean(each)  # of Gaussian units, where they are too few to tell
        spread = np.std(each, ddof=1) if len(each) >= 8 else few
        rows = units.reshape(len(units), -1) / np.sqrt(variance * units[0].size)[:, None]
        one_minus = np.clip(1 - rows @ rows.T, 0.0, 2.0)
    silent = variance == 0  # it has no correlation
    one_minus[silent] = one_minus[:, silent] = 1.0
    np.fill_diagonal(one_minus, 0.0)
    broken = ~np.isfinite(variance)
    one_minus[broken] = one_minus[:, broken] = nan
    error = float(spread / np.sqrt(len(each)))
    return Signal(variance, one_minus, error, float(np.mean(units == 0)), sample, size)


def passage(
    name: str, kind: str, weight: Any, bias: Any, fan_in: float, reached: float, before: Any,
    after: Any, axis: int, gradient: Any, eps: float,
) -> Passage:  # fmt: skip
    """Make one of arrays; `gradient` has the shape of `after`."""
    weight, gradient = np.asarray(weight, np.float64), np.asarray(gradient, np.float64)[:INPUTS]
    return Passage(
        name=name,
        kind=kind,
        fan_in=fan_in,
        weight_var=float(fan_in * np.mean(weight**2)),
        weight_mean=float(fan_in * np.mean(weight) ** 2),
        bias_var=0.0 if bias is None else float(np.mean(np.asarray(bias, np.float64) ** 2)),
        reached=reached,
        before=signal(before, axis),
        after=signal(after, axis),
        gradient=float(np.sum(gradient**2) / len(gradient)),
        eps=eps,
    )


def sources(passages: Sequence[Passage], activation: Activation | None) -> Feeds:
    """For each layer, which layer before it feeds it, through which activation; else None.

    Told by the numbers: its inputs are `phi` of the other's outputs, entry by entry.
    """
    found: Feeds = []
    known: dict[str, Activation] = {}
    for k, here in enumerate(passages):
        match = None
        for j in range(k - 1, -1, -1):
            z, h = passages[j].after, here.before
            if z.size == h.size and np.all(np.isfinite(z.sample)):
                phi = _recognised(z.sample, h.sample, here.eps, activation, known)
                if phi is not None:
                    match = (j, phi)
                    break
        found.append(match)
    return found


def _recognised(
    z: Array, h: Array, eps: float, given: Activation | None, known: dict[str, Activation]
) -> Activation | None:
    """The activation with `phi(z) = h`: the given one, one met before, or of the catalogue."""
    tolerance = min(_ROUNDINGS * eps, _ROUGH) * np.max(np.abs(h))

    def fits(phi: Callable[[Array], Any]) -> bool:
        return bool(np.max(np.abs(np.asarray(phi(z), np.float64) - h)) <= tolerance)

    if not np.any(z):  # any function that is 0 there
        return None
    for phi in ([] if given is None else [given]) + list(known.values()):
        if fits(phi.sampled.values):
            return phi
    with double():
        for name, entry in CATALOGUE.items():
            if fits(lambda x, e=entry: e.function(jnp.asarray(x), **e.complete({}))):
                return known.setdefault(name, as_activation(name))
    return None
