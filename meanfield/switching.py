"""Where a JAX function is not smooth, read off its jaxpr.

A function is smooth except where one of its primitives switches: `max(a, b)` where `a - b`
changes sign, `abs(a)` and `sign(a)` where `a` does, `a < b` where `a - b` does, `floor(a)` where
its value changes. `walk` evaluates a jaxpr and records each of these as a `Switch`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal, Primitive

from meanfield.sharp import SHARP

__all__ = ["ELEMENTWISE", "MIXING", "RANDOM", "Switch", "inner_jaxprs", "primitives", "walk"]


class Switch(NamedTuple):
    """One non-smooth step of a function, at an array of inputs.

    `branch` says which smooth branch each input takes: candidate kinks lie where it changes.
    `margin` crosses zero there, where such a function is known, and is None elsewhere.
    """

    branch: jax.Array
    margin: jax.Array | None


def _crossing(margin: jax.Array) -> Switch:
    return Switch(jnp.sign(margin), margin)


def _difference(a: jax.Array, b: jax.Array, **_: object) -> list[Switch]:
    return [_crossing(a - b)] if jnp.issubdtype(jnp.result_type(a), jnp.floating) else []


def _itself(a: jax.Array, **_: object) -> list[Switch]:
    return [_crossing(a)]


def _step_of(rounding: Callable[[jax.Array], jax.Array], shift: float):
    # between two of its jumps the argument minus the nearest place of a jump crosses zero once
    def switch(a: jax.Array, **_: object) -> list[Switch]:
        return [Switch(rounding(a), a + shift - jnp.round(lax.stop_gradient(a + shift)))]

    return switch


def _remainder(a: jax.Array, b: jax.Array, **_: object) -> list[Switch]:
    quotient = a / b
    return [
        Switch(jnp.trunc(quotient), quotient - jnp.round(lax.stop_gradient(quotient))),
        _crossing(a),
    ]


def _clamp(low: jax.Array, a: jax.Array, high: jax.Array) -> list[Switch]:
    return [_crossing(a - low), _crossing(a - high)]


_SWITCHES: dict[str, Callable[..., list[Switch]]] = {
    **dict.fromkeys(("max", "min", "lt", "le", "gt", "ge", "eq", "ne"), _difference),
    **dict.fromkeys(("abs", "sign", "sqrt", "rsqrt", "cbrt", "log"), _itself),
    "floor": _step_of(jnp.floor, 0.0),
    "ceil": _step_of(jnp.ceil, 0.0),
    "round": _step_of(jnp.round, 0.5),
    "rem": _remainder,
    "clamp": _clamp,
}

# A jaxpr made of these alone maps each input to its own output, so no test of that is needed.
ELEMENTWISE = frozenset(
    """abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e
    broadcast_in_dim cbrt ceil clamp convert_element_type copy copy_p cos cosh custom_jvp_call
    custom_vjp_call digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow
    is_finite jit le lgamma log log1p logistic lt max min mul ne neg nextafter not or pjit pow
    reduce_precision rem remat round rsqrt select_n sign sin sinh sqrt square squeeze stop_gradient
    sub tan tanh xor closed_call core_call checkpoint""".split()
)
# On an array of inputs these combine them.
MIXING = frozenset(
    """reduce_sum reduce_max reduce_min reduce_prod cumsum cumprod cummax cummin cumlogsumexp sort
    rev dot_general split argmax argmin""".split()
)
RANDOM = frozenset({"random_bits", "random_wrap", "random_seed", "threefry2x32", "random_unwrap"})

# Calls whose body is walked rather than bound. The jaxpr sits under one of these names; the
# derivative rules of custom_jvp_call and custom_vjp_call stay, because those are bound too.
_INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
            "remat": "jaxpr", "checkpoint": "jaxpr"}  # fmt: skip
_CUSTOM = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


def _body(eqn, where: dict[str, str]) -> tuple[object, Sequence[object]]:
    inner = eqn.params[where[eqn.primitive.name]]
    return (inner.jaxpr, inner.consts) if isinstance(inner, ClosedJaxpr) else (inner, ())


def walk(jaxpr, consts, args, record: Callable[[Switch], None] | None = None) -> list[jax.Array]:
    """Evaluate a jaxpr, with its `jit` bodies inlined, and `record` each `Switch` on the way.

    Derivatives of what comes out lose no digits where those of primitives need not.

    Inlining matters to a caller who differentiates in float32: the inner jaxpr was traced for
    his float32 values, and bound as a whole it would refuse the float64 ones it is given here.
    """
    values: dict[object, jax.Array] = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def read(atom):
        return atom.val if isinstance(atom, Literal) else values[atom]

    for eqn in jaxpr.eqns:
        name, inputs = eqn.primitive.name, [read(atom) for atom in eqn.invars]
        if name in _INLINED:
            outputs = walk(*_body(eqn, _INLINED), inputs, record)
        else:
            if record is not None and name in _CUSTOM:
                walk(*_body(eqn, _CUSTOM), inputs, record)
            if name in SHARP:
                outputs = [SHARP[name](*inputs)]
            else:
                outputs = _bind(eqn.primitive, inputs, eqn.params)
            if record is not None:
                _record(name, inputs, outputs, eqn.params, record)
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _bind(primitive: Primitive, inputs: list, params: dict) -> list[jax.Array]:
    bound = primitive.get_bind_params(params)
    # older versions of jax return the functions of a custom derivative apart from the rest
    functions, rest = bound if isinstance(bound, tuple) else ((), bound)
    outputs = primitive.bind(*functions, *inputs, **rest)
    return outputs if primitive.multiple_results else [outputs]


def _record(name: str, inputs, outputs, params, record: Callable[[Switch], None]) -> None:
    if name in _SWITCHES:
        for switch in _SWITCHES[name](*inputs, **({} if name == "clamp" else params)):
            record(switch)
    else:
        # whatever else comes out as whole numbers (argmax, a while loop's index) chooses a branch
        for output in outputs:
            if not jnp.issubdtype(jnp.result_type(output), jnp.inexact):
                record(Switch(output, None))


def inner_jaxprs(eqn) -> Iterator:
    """The jaxprs among an equation's parameters (bodies of calls, branches, loops)."""
    for leaf in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
        if hasattr(leaf, "eqns"):
            yield getattr(leaf, "jaxpr", leaf)


def primitives(jaxpr) -> set[str]:
    """Names of all primitives in a jaxpr and the jaxprs within."""
    names = {eqn.primitive.name for eqn in jaxpr.eqns}
    return names.union(*(primitives(inner) for eqn in jaxpr.eqns for inner in inner_jaxprs(eqn)))
