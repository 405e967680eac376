# pyright: reportMissingImports=false
"""equinox: a model like another, with weights and biases of a `FixedPoint`.

As in::

    model = mf.bridges.equinox.init(eqx.nn.MLP(...), "gelu", key=jax.random.key(0))

equinox stores the weights of a dense layer as `(out, in)`, and those of a convolution, transposed
or not, as `(out, in / groups, *field)`; biases of convolutions have the axes of an image.
"""

from collections.abc import Iterator
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.bridges.audit import Audit
from meanfield.bridges.framework import framework
from meanfield.bridges.hand_over import (
    HandOver,
    Initialised,
    Left,
    Slot,
    hand_over,
    placed,
    recipe,
    weights_of,
)
from meanfield.bridges.jax_audit import Layer, Watch, audit_of
from meanfield.ensembles import Ensemble
from meanfield.keywords import spelt

if TYPE_CHECKING:
    import jax

__all__ = ["audit", "describe", "init"]

_FIX = "meanfield.bridges.equinox.init(model, {}, key)"


@spelt
def init(
    model: Any,
    activation: Any,
    key: "jax.Array",
    *,
    q: float | None = None,
    weights: str | Ensemble | None = None,
    input_second_moment: float | None = 1.0,
    output: str | float = "hidden",
) -> Any:
    r"""A model like this one, in which every pre-activation has the variance `q` of the point.

    `Linear`, `Conv`, `ConvTranspose` and `Embedding` layers are drawn, shared ones
    (`equinox.nn.Shared`) once; all else stays. `describe` says what becomes of each. The first
    layer and the output are the first and the last in the order of the model's fields.

    Args:
        model: an equinox model, or a part of it.
        activation: its activation, as for `meanfield.critical`, or the `FixedPoint` at which to
            initialise.
        key: of the random numbers.
        q: variance of the pre-activations; 1 if neither it nor a point is given.
        weights: the ensemble; that of the point if not given.
        input_second_moment: mean square of the data, to which the first layer's weights are
            scaled; 1 fits standardised data. None for data that has what the point expects.
        output: what to do with the output layer: `"hidden"` draws it as the others, a number is
            the variance that outputs get, without biases; `"zero"` and `"keep"`.

    Returns:
        The new model, made by `equinox.tree_at`.

    Raises:
        ValueError: nothing in the model can be initialised, or an argument is outside its range.
        ImportError: equinox is not installed.

    Example:
        >>> import equinox as eqx, jax, meanfield as mf
        >>> net = eqx.nn.MLP(64, 10, width_size=512, depth=2, activation=jax.nn.gelu,
        ...                  key=jax.random.key(0))
        >>> net = mf.bridges.equinox.init(net, "gelu_tanh", jax.random.key(1))
        >>> net.layers[1].weight.shape
        (512, 512)
    """
    eqx, jax = framework("equinox"), framework("jax")
    drawn: dict[tuple[str, str], Any] = {}

    def draw(slot: Slot, made: Initialised) -> None:
        weight_key, bias_key = jax.random.split(jax.random.fold_in(key, len(drawn)))
        weight = weights_of(weight_key, how.weights, slot, made)
        drawn[slot.name, "weight"] = weight.astype(slot.layer.weight.dtype)
        if slot.has_bias:
            bias = slot.layer.bias
            normal = sqrt(made.bias_var) * jax.random.normal(bias_key, bias.shape, slot.dtype)
            drawn[slot.name, "bias"] = normal.astype(bias.dtype)

    how = recipe(activation, q, weights, input_second_moment, output)
    _hand_over(eqx, model, how, draw)

    def drawn_parts(model: Any) -> list[Any]:
        nodes = dict(_nodes(eqx, model, ""))
        return [getattr(nodes[name], part) for name, part in drawn]

    return eqx.tree_at(drawn_parts, model, [*drawn.values()])


def describe(
    model: Any,
    activation: Any,
    *,
    q: float | None = None,
    weights: str | Ensemble | None = None,
    input_second_moment: float | None = 1.0,
    output: str | float = "hidden",
) -> HandOver:
    """What `init` would do to each layer, and what it would leave; arguments as there.

    Returns:
        A `HandOver`, which prints as a table.
    """
    how = recipe(activation, q, weights, input_second_moment, output)
    return _hand_over(framework("equinox"), model, how, lambda *_: None)


def audit(
    model: Any, batch: Any, activation: Any = None, *, key: "jax.Array | None" = None
) -> Audit:
    r"""Variance, correlation, sparsity and gradient in a model, layer by layer, beside theory.

    Args:
        model: an equinox model that takes one input.
        batch: its inputs along the first axis, over which it is mapped. Of the first 32 all
            pairs are looked at; take 12 at least.
        activation: the activation of the model, as for `meanfield.critical`; those of the
            catalogue are recognised.
        key: of a random direction at the output, whose gradient is taken.

    Returns:
        An `Audit`, which prints as a table, has findings, each with its fix, and a `plot`.

    Raises:
        ValueError: the batch has NaN, or meets no layer with weights.
        ImportError: equinox is not installed.

    Example:
        >>> import equinox as eqx, jax, meanfield as mf
        >>> net = eqx.nn.MLP(64, 64, 64, depth=15, key=jax.random.key(0))
        >>> batch = jax.random.normal(jax.random.key(1), (12, 64))
        >>> mf.bridges.equinox.audit(net, batch).findings[0].kind
        'correlation'
    """
    eqx, jax = framework("equinox"), framework("jax")
    found = {path: _seen(eqx, node, path) for path, node in _nodes(eqx, model, "")}
    slots = {
        path: slot
        for path, slot in found.items()
        if isinstance(slot, Slot) and slot.place != "embedding"
    }

    class Watched(eqx.Module):
        layer: Any
        path: str = eqx.field(static=True)
        watch: Watch = eqx.field(static=True)

        def __call__(self, x: Any, **options: Any) -> Any:
            return self.watch(self.path, x, self.layer(x, **options))

    names: list[str] = []

    def one(moves: Any, x: Any) -> Any:
        watch = Watch(moves)
        watched = eqx.tree_at(
            lambda m: [dict(_nodes(eqx, m, ""))[path] for path in slots], model,
            [Watched(slot.layer, path, watch) for path, slot in slots.items()],
        )  # fmt: skip
        output = watched(x)
        names[:] = watch.names
        return output, watch.seen

    def run(moves: Any) -> Any:
        return *jax.vmap(one, in_axes=(None if moves is None else 0, 0))(moves, batch), [*names]

    def layer_of(path: str) -> Layer:
        slot, layer = slots[path], slots[path].layer
        flat = np.full(layer.weight.shape, 1 / slot.fan_in, layer.weight.dtype)

        def reached(shape: tuple[int, ...]) -> float:
            """What the layer makes of ones by weights that sum to one."""
            even = eqx.tree_at(lambda m: m.weight, layer, jax.numpy.asarray(flat))
            if slot.has_bias:
                even = eqx.tree_at(lambda m: m.bias, even, jax.numpy.zeros_like(layer.bias))
            return float(jax.numpy.mean(even(jax.numpy.ones(shape, flat.dtype))))

        axis = -1 - len(slot.field)
        return Layer(path, slot.kind, layer.weight, layer.bias, slot.fan_in, axis, reached)

    key = jax.random.key(0) if key is None else key
    return audit_of(run, layer_of, batch, activation, key, _FIX)


def _hand_over(eqx: Any, model: Any, how: Any, draw: Any) -> HandOver:
    found = [one for path, node in _nodes(eqx, model, "") if (one := _seen(eqx, node, path))]
    slots = [one for one in found if isinstance(one, Slot)]
    left = [one for one in found if isinstance(one, Left)]
    if not slots:
        raise ValueError(
            "model: it has no Linear, Conv or Embedding layer that could be initialised, got "
            f"{type(model).__name__}"
        )
    first = set() if slots[0].place == "embedding" else {slots[0].name}
    note = f"{slots[0].name} counts as the first layer and {slots[-1].name} as the output"
    return hand_over(how, placed(slots, first, {slots[-1].name}), left, [note], draw)


def _nodes(eqx: Any, node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """All modules with their paths, in the order of fields; layers of equinox are not entered."""
    if isinstance(node, eqx.Module):
        yield path, node
        if type(node).__module__.startswith("equinox.nn._") and not isinstance(node, _parents(eqx)):
            return
        parts = {f"{path}.{name}": value for name, value in vars(node).items()}
    elif isinstance(node, list | tuple):
        parts = {f"{path}[{k}]": value for k, value in enumerate(node)}
    elif isinstance(node, dict):
        parts = {f"{path}[{name!r}]": value for name, value in node.items()}
    else:
        return
    for name, value in parts.items():
        yield from _nodes(eqx, value, name)


def _parents(eqx: Any) -> tuple[type, ...]:
    return eqx.nn.MLP, eqx.nn.Sequential, eqx.nn.Lambda, eqx.nn.Shared


def _seen(eqx: Any, node: Any, path: str) -> Slot | Left | None:
    nn, kind = eqx.nn, type(node).__name__
    if isinstance(node, nn.Linear | nn.Conv | nn.ConvTranspose | nn.Embedding):
        return _slot(eqx, node, path)
    if isinstance(node, nn.LayerNorm | nn.RMSNorm | nn.GroupNorm | nn.BatchNorm):
        return Left(path, kind, "normalisation: the signal behind it has variance 1 whatever the "
                    "weights before it; take a point at q = 1")  # fmt: skip
    if isinstance(node, nn.MultiheadAttention | nn.GRUCell | nn.LSTMCell):
        return Left(path, kind, "no theory of variances here; its parameters stay")
    own = [name for name, value in vars(node).items() if eqx.is_inexact_array(value)]
    if own:
        return Left(path, kind, f"parameters {', '.join(own)} of a kind that is not known; they "
                    "stay")  # fmt: skip
    return None


def _slot(eqx: Any, layer: Any, path: str) -> Slot | Left:
    nn, kind, weight = eqx.nn, type(layer).__name__, layer.weight
    axes = 2 + getattr(layer, "num_spatial_dims", 0)
    if not eqx.is_inexact_array(weight) or weight.ndim != axes:
        shape = getattr(weight, "shape", None)
        return Left(path, kind, f"its weight, of shape {shape}, is no array of {axes} axes: "
                    "initialise layers before they are stacked, by filter_vmap")  # fmt: skip
    dtype = np.float64 if weight.dtype == np.float64 else np.float32
    outputs, inputs, *field = weight.shape
    if isinstance(layer, nn.Embedding):
        return Slot(path, kind, inputs, outputs, layer, has_bias=False, place="embedding",
                    dtype=dtype)  # fmt: skip
    groups = getattr(layer, "groups", 1)
    reached = 1 / prod(layer.stride) if isinstance(layer, nn.ConvTranspose) else 1.0
    return Slot(path, kind, inputs, outputs // groups, layer, tuple(field), groups, reached,
                has_bias=layer.bias is not None, dtype=dtype)  # fmt: skip
