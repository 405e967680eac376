r"""Which layer of a model gets which variances, and the drawing of them, for every framework.

A layer whose inputs have the mean square `m` gets pre-activations of variance `v` with biases of
variance `b` from weights of variance `(v - b) / m` over fan-in. What differs is where it stands:

    hidden     m = E[phi^2] = (q - bias_var) / weight_var, v = q, b = bias_var: those of the point
    first      m = the mean square of the data
    output     `output="hidden"` as any other, `"zero"`, or a number: v is that, b = 0
    embedding  entries of variance E[phi^2]: the layer behind it is a hidden one

`m` is unknown where q = 0; the hidden layers take `weight_var` all the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.aligned import aligned
from meanfield.criticality import critical
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.network import FixedPoint, Network

if TYPE_CHECKING:
    import jax

__all__ = ["HandOver", "Initialised", "Left", "Recipe", "Slot", "hand_over", "placed", "recipe",
           "weights_of"]  # fmt: skip

_OUTPUTS = ("hidden", "zero", "keep")


@dataclass(frozen=True)
class Slot:
    """A layer of somebody's model whose weights can be drawn.

    Attributes:
        name: its path in the model.
        kind: its class.
        channels: inputs of an output unit at one position of its field, and
        units: outputs, both of one group.
        layer: the layer itself.
        field: the sizes of the kernel; empty for a dense layer.
        groups: of a grouped convolution.
        reached: the share of the field that meets an output: below 1 where a transposed
            convolution has a stride.
        has_bias: whether it has biases.
        place: `"hidden"`, `"first"`, `"output"`, `"first and output"` or `"embedding"`.
        dtype: of its weights.
    """

    name: str
    kind: str
    channels: int
    units: int
    layer: Any
    field: tuple[int, ...] = ()
    groups: int = 1
    reached: float = 1.0
    has_bias: bool = True
    place: str = "hidden"
    dtype: Any = np.float32

    @property
    def fan_in(self) -> float:
        """How many inputs an output unit sums up."""
        return self.channels * prod(self.field) * self.reached


@dataclass(frozen=True)
class Initialised:
    """A layer that was initialised: `W ~ weight_var / fan_in`, `b ~ N(0, bias_var)`."""

    name: str
    kind: str
    place: str
    fan_in: float
    weight_var: float
    bias_var: float

    def __str__(self) -> str:
        if self.place == "embedding":
            return f"entries of variance {self.weight_var:.6g}"
        if self.weight_var == 0:
            return "zero"
        return (
            f"weights of variance {self.weight_var:.6g} / {self.fan_in:g}, "
            f"biases of variance {self.bias_var:.6g}"
        )


@dataclass(frozen=True)
class Left:
    """A layer that was left as it is, and why."""

    name: str
    kind: str
    why: str


@dataclass(frozen=True, eq=False, repr=False)
class HandOver:
    """What was initialised how, and what was left.

    Attributes:
        point: the `FixedPoint` whose variances were used.
        weights: the weight ensemble.
        initialised: an `Initialised` for each layer that was drawn.
        left: a `Left` for each layer with parameters that was not.
        notes: sentences on what else keeps the signal from `point.q`.
    """

    point: FixedPoint
    weights: Ensemble
    initialised: tuple[Initialised, ...]
    left: tuple[Left, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it, in lists and dictionaries."""
        return {
            "point": self.point.to_dict(),
            "weights": str(self.weights),
            "initialised": [dict(vars(one)) for one in self.initialised],
            "left": [dict(vars(one)) for one in self.left],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        net = self.point.network
        lines = [
            f"Initialised for {net.activation.name} at q = {self.point.q:.6g}: weight_var "
            f"{net.weight_var:.6g}, bias_var {net.bias_var:.6g}, {self.weights} weights"
        ]
        rows = [(one.name, one.kind, one.place, str(one)) for one in self.initialised]
        rows += [(one.name, one.kind, "left", one.why) for one in self.left]
        lines += [f"  {line}" for line in (*aligned(rows), *(f"note: {n}" for n in self.notes))]
        return "\n".join(lines)


@dataclass(frozen=True)
class Recipe:
    """The variances of every place in a model; see the module."""

    point: FixedPoint
    weights: Ensemble
    input_second_moment: float | None
    output: str | float

    def keeps(self, place: str) -> bool:
        """Whether layers of this place are left as they are."""
        return "output" in place and self.output == "keep"

    def variances(self, place: str) -> tuple[float, float]:
        """Those of weights, times fan-in, and of biases."""
        q, bias_var, hidden = self.point.q, self.point.bias_var, self.point.input_second_moment
        if place == "embedding":
            if not hidden > 0:
                raise ValueError(
                    "activation: the point has q = 0, at which an embedding has no size; take a "
                    "critical point at the q that signals should have"
                )
            return hidden, 0.0
        seen, made = hidden, None
        if "first" in place and self.input_second_moment is not None:
            seen = self.input_second_moment
            if hidden == 0:
                raise ValueError(
                    "input_second_moment: the point has q = 0, at which inputs have no size; take "
                    "a critical point at the q that the data should have, or give None"
                )
        if "output" in place:
            if self.output == "zero":
                return 0.0, 0.0
            if self.output not in _OUTPUTS:
                made = float(self.output)
        if made is not None:
            if not seen > 0:
                raise ValueError("output: the point has q = 0, so that outputs have no variance")
            return made / seen, 0.0
        return (self.point.weight_var if seen == hidden else (q - bias_var) / seen), bias_var


def recipe(
    activation: Any, q: float | None, weights: str | Ensemble | None,
    input_second_moment: float | None, output: str | float,
) -> Recipe:  # fmt: skip
    """The recipe that the arguments of an `init` mean, checked.

    Raises:
        ValueError: an argument is outside its range.
        TypeError: or of the wrong type.
    """
    if isinstance(activation, Network):
        raise TypeError(
            "activation: a Network may have several fixed points; give one of them, as "
            "fixed_points(network)[0], or the activation itself"
        )
    if isinstance(activation, FixedPoint):
        if q is not None:
            raise ValueError(f"q: the point has its own, {activation.q}; got q={q!r} as well")
        point = activation
    else:
        point = critical(activation, q)
    if np.ndim(point.weight_var):
        raise ValueError("activation: the point holds several points; give one, from a scalar q")
    if input_second_moment is not None and not 0 < input_second_moment < inf:
        raise ValueError(
            f"input_second_moment: must be > 0, got {input_second_moment!r}; it is the mean square "
            "of the inputs of the model, 1 for standardised data"
        )
    if isinstance(output, str) and output not in _OUTPUTS:
        raise ValueError(f"output: must be one of {_OUTPUTS} or a variance, got {output!r}")
    if not isinstance(output, str) and not 0 < output < inf:
        raise ValueError(f"output: a variance must be finite and > 0, got {output!r}")
    ensemble = ensemble_of(point.network.weights if weights is None else weights)
    return Recipe(point, ensemble, input_second_moment, output)


def hand_over(
    how: Recipe, slots: Sequence[Slot], left: Sequence[Left], notes: Sequence[str],
    draw: Callable[[Slot, Initialised], None],
) -> HandOver:  # fmt: skip
    """Give every slot its variances; `draw` then puts such weights and biases into the model.

    Raises:
        ValueError: a layer cannot be drawn so; then nothing was.
    """
    plan, kept = [], list(left)
    for slot in slots:
        if how.keeps(slot.place):
            kept.append(Left(slot.name, slot.kind, "the output layer, kept as asked"))
            continue
        weight_var, bias_var = how.variances(slot.place)
        bias_var = bias_var if slot.has_bias else 0.0
        made = Initialised(slot.name, slot.kind, slot.place, slot.fan_in, weight_var, bias_var)
        try:
            _check(how.weights, slot.field, slot.units, slot.channels)
        except ValueError as error:
            raise ValueError(f"{slot.name} ({slot.kind}): {error}") from error
        plan.append((slot, made))
    for slot, made in plan:
        draw(slot, made)
    done = tuple(made for _, made in plan)
    return HandOver(how.point, how.weights, done, tuple(kept), (*notes, *_notes(how, slots)))


@lru_cache(maxsize=1024)
def _check(weights: Ensemble, field: tuple[int, ...], units: int, channels: int) -> None:
    """Raise if the ensemble has no kernel of these sizes; nothing is drawn."""
    import jax

    def drawn():
        return weights.draw_kernel(jax.random.key(0), field, units, channels, 1.0, np.float32)

    jax.eval_shape(drawn)


def weights_of(key: "jax.Array", weights: Ensemble, slot: Slot, made: Initialised) -> "jax.Array":
    """Drawn weights, of shape `(groups units, channels, *field)`."""
    import jax
    import jax.numpy as jnp

    shape = (slot.groups * slot.units, slot.channels, *slot.field)
    if made.weight_var == 0:
        return jnp.zeros(shape, slot.dtype)
    if slot.place == "embedding":  # a row is one signal: there is no sum, and no fan-in
        return made.weight_var**0.5 * jax.random.normal(key, shape, slot.dtype)
    variance = made.weight_var / slot.reached
    groups = [
        weights.draw_kernel(one, slot.field, slot.units, slot.channels, variance, slot.dtype)
        for one in jax.random.split(key, slot.groups)
    ]
    return jnp.moveaxis(jnp.concatenate(groups), -1, 1)


def _notes(how: Recipe, slots: Sequence[Slot]) -> list[str]:
    """What about the point, or missing biases, keeps the variance from `q`."""
    point, notes = how.point, []
    bare = [s.name for s in slots if not s.has_bias and s.place not in ("embedding", "output")]
    if bare and point.bias_var > 0:
        notes.append(
            f"{_few(bare)} without biases: their pre-activations lack bias_var = "
            f"{point.bias_var:.3g}, so that their variance falls short of q; give them biases, or "
            "take a point without, as critical(phi, bias_var=0)"
        )
    if point.variance_slope > 1 + 1e-9:
        notes.append(
            f"V' = {point.variance_slope:.4g} > 1: departures from q grow by that in every layer; "
            "in a deep network take a q at which V' <= 1"
        )
    return notes


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more are"


def placed(slots: Sequence[Slot], first: set[str], output: set[str]) -> list[Slot]:
    """The slots with their places, by the names of those that see data and that make outputs."""
    result = []
    for slot in slots:
        ends = [end for end, names in (("first", first), ("output", output)) if slot.name in names]
        if slot.place != "embedding" and ends:
            slot = replace(slot, place=" and ".join(ends))
        result.append(slot)
    return result
