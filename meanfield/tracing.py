"""A JAX activation as a jaxpr: one function of an array, and none that only looks like one."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from meanfield.errors import NotElementwiseError
from meanfield.precision import double, is_traced
from meanfield.switching import MIXING, RANDOM, Switch, inner_jaxprs, primitives, walk

__all__ = ["BLOCK", "TracedFunction", "check_output", "trace"]

BLOCK = 1024  # inputs per call of a compiled function, so that each function compiles once


class TracedFunction(NamedTuple):
    """A JAX activation as a jaxpr; its constants may be tracers of a transformation."""

    closed: ClosedJaxpr

    @property
    def is_traced(self) -> bool:
        """Whether the function depends on values that a transformation has not fixed yet."""
        return is_traced(*self.closed.consts)

    def value(self, x: jax.Array) -> jax.Array:
        """`phi(x)` for `x` of shape `(BLOCK,)`, the shape with which it was traced."""
        (y,) = walk(self.closed.jaxpr, self._consts(), [x])
        return y.astype(jnp.float64)

    def value_and_slope(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`phi(x)` and `phi'(x)`, by forward differentiation."""
        return jax.jvp(self.value, (x,), (np.ones(np.shape(x)),))

    def switches(self, x: jax.Array) -> list[Switch]:
        """The switches that are met on the way to `phi(x)`, those that see each input alone."""
        seen: list[Switch] = []
        walk(self.closed.jaxpr, self._consts(), [x], seen.append)
        return [s for s in seen if jnp.shape(s.branch) == jnp.shape(x)]

    def _consts(self) -> list:
        # a tracer from float32 code is exact in float64, and float64 code then sees one dtype
        return [
            c.astype(jnp.float64) if is_traced(c) and c.dtype == jnp.float32 else c
            for c in self.closed.consts
        ]


def trace(phi: Callable) -> TracedFunction:
    """Trace a JAX activation for inputs of shape `(BLOCK,)`; raises what tracing it raises."""
    with double():
        x = jax.ShapeDtypeStruct((BLOCK,), jnp.float64)
        try:
            closed = jax.make_jaxpr(phi)(x)
        except (TypeError, ValueError, IndexError):  # written for one number, such as lax.cond
            phi = jax.vmap(phi)
            closed = jax.make_jaxpr(phi)(x)
        # what NumPy draws while JAX traces is a constant, but not the same one in another function
        again = jax.make_jaxpr(lambda x: phi(x))(x)
    check_output([(aval.shape, aval.dtype) for aval in closed.out_avals])
    if RANDOM & primitives(closed.jaxpr) or _constants_differ(closed, again):
        raise NotElementwiseError(
            "activation: it draws random numbers; an activation has one value at each input. "
            "Pass its deterministic form (for example the evaluation mode of a dropout)"
        )
    if is_traced(*closed.consts) and _mixes(closed.jaxpr):
        raise NotElementwiseError(
            "activation: it is not elementwise (it sums, sorts or accumulates over its inputs); "
            "pass a function that acts on each number alone"
        )
    return TracedFunction(closed)


def _constants_differ(one: ClosedJaxpr, other: ClosedJaxpr) -> bool:
    """Whether two traces of a function found different numbers in it."""
    pairs = [
        [*filter(lambda c: not is_traced(c), closed.consts), *_literals(closed.jaxpr)]
        for closed in (one, other)
    ]
    return len(pairs[0]) != len(pairs[1]) or not all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(*pairs, strict=True)
    )


def _literals(jaxpr) -> Iterator:
    """The numbers written in a jaxpr, inner ones included."""
    for eqn in jaxpr.eqns:
        yield from (atom.val for atom in eqn.invars if isinstance(atom, Literal))
        for inner in inner_jaxprs(eqn):
            yield from _literals(inner)


def _mixes(jaxpr) -> bool:
    """Whether a jaxpr combines the inputs with one another; cannot be tried out on tracers."""
    for eqn in jaxpr.eqns:
        whole = any(np.shape(getattr(atom, "aval", 0.0)) == (BLOCK,) for atom in eqn.invars)
        if whole and eqn.primitive.name in MIXING:
            return True
        if any(_mixes(inner) for inner in inner_jaxprs(eqn)):
            return True
    return False


def check_output(outputs, shape: tuple[int, ...] = (BLOCK,)) -> None:
    """Raise unless a function returns one real array of this shape; `outputs`: shapes and types."""
    if len(outputs) != 1:
        raise NotElementwiseError(
            f"activation: it returned {len(outputs)} arrays; it must return one, of its input's "
            "shape"
        )
    ((got, dtype),) = outputs
    if tuple(got) != shape:
        raise NotElementwiseError(
            f"activation: it changed the shape {shape} of its input to {tuple(got)}; it must act "
            "on each number alone (a constant is `c + 0 * x`)"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise NotElementwiseError(
            f"activation: it returned {dtype}; it must return real floating-point numbers "
            "(convert whole numbers and booleans with `.astype(x.dtype)`)"
        )
