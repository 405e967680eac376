"""What audits of JAX models share: two passes, one that sees and one that takes gradients."""

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from meanfield.bridges.audit import Audit, audited
from meanfield.bridges.passage import passage

__all__ = ["Layer", "Watch", "audit_of"]


class Layer(NamedTuple):
    """A layer with weights, as its framework knows it."""

    name: str
    kind: str
    weight: Any
    bias: Any
    fan_in: float
    axis: int  # that counts its units
    reached: Callable[[tuple[int, ...]], float]  # share of its field, by the shape of one input


class Watch:
    """Told of every call of a layer: notes what went in and out, and moves what goes on.

    Attributes:
        names: of the layers called, in order.
        seen: pairs of input and output.
    """

    def __init__(self, moves: Sequence[Any] | None) -> None:
        self.names: list[str] = []
        self.seen: list[tuple[Any, Any]] = []
        self._moves: Iterator[Any] = repeat(None) if moves is None else iter(moves)

    def __call__(self, name: str, before: Any, after: Any) -> Any:
        """What the layer shall have made."""
        self.names.append(name)
        self.seen.append((before, after))
        move = next(self._moves)
        return after if move is None else after + move


def audit_of(
    run: Callable[[Any], tuple[Any, list[tuple[Any, Any]], list[str]]],
    layer_of: Callable[[str], Layer], batch: Any, activation: Any, key: Any, fix: str,
) -> Audit:  # fmt: skip
    """The audit of a model.

    Args:
        run: the model on the batch with `moves` added behind the layers, or None: its output, and
            what a `Watch` has seen, batched, with the names.
        layer_of: the layer of a name.
        batch: inputs along the first axis.
        activation: of the model; None to recognise it.
        key: of the random direction at the output whose gradient is taken.
        fix: how to initialise the model in its framework.
    """
    import jax
    import jax.numpy as jnp

    if not bool(jnp.all(jnp.isfinite(batch))):
        raise ValueError("batch: it has values that are not finite; leave those inputs out")
    output, seen, names = run(None)
    leaves = jax.tree.leaves(output)
    keys = jax.random.split(key, max(len(leaves), 1))
    direction = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=False)]

    def projected(moves: list[Any]) -> Any:
        moved = jax.tree.leaves(run(moves)[0])
        return sum(jnp.sum(a * b) for a, b in zip(moved, direction, strict=True))

    gradients = jax.grad(projected)([jnp.zeros_like(after) for _, after in seen]) if seen else []
    passages = []
    for name, (before, after), gradient in zip(names, seen, gradients, strict=True):
        layer, calls = layer_of(name), sum(p.name.split(" (")[0] == name for p in passages)
        passages.append(passage(
            f"{name} ({calls + 1})" if calls else name, layer.kind, layer.weight, layer.bias,
            layer.fan_in, layer.reached(before.shape[1:]), before, after, layer.axis, gradient,
            float(jnp.finfo(after.dtype).eps),
        ))  # fmt: skip
    return audited(passages, activation, fix)
