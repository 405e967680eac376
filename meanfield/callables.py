"""Anybody's function, made into one thing that can be sampled: a `Box`.

A box takes float64 arrays and gives `phi`, its derivative where the function can tell it, and
the branches on which its candidate kinks can be seen. Three kinds of function are understood,
tried in this order: JAX (traced and compiled once), NumPy and torch (called), and Python
functions of one number (called number by number).
"""

import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from meanfield.errors import NotElementwiseError
from meanfield.precision import EPS, concrete, double
from meanfield.switching import ELEMENTWISE, inner_jaxprs, primitives
from meanfield.tracing import BLOCK, TracedFunction, check_output, trace

__all__ = ["Box", "Sampled", "open_box"]

Array = NDArray[np.float64]

_MANY = 16  # blocks in one call, where only values are wanted


class Sampled(NamedTuple):
    """Values at an array of inputs; `slope` is None and `branches` is empty for a black box."""

    value: Array
    slope: Array | None
    branches: Array  # (number of switches, number of inputs)


class Box(Protocol):
    """A function that has passed the tests of being an activation."""

    eps: float  # relative spacing of the numbers in which it computes

    def __call__(self, x: Array) -> Sampled:
        """Sample it at inputs of shape (n,), n at least 1."""
        ...

    def values(self, x: Array) -> Array:
        """Values alone, at many inputs; shape (n,)."""
        ...

    def slopes(self, x: Array) -> Array | None:
        """Slopes alone; None for a black box."""
        ...


class _JaxBox:
    def __init__(self, function: TracedFunction) -> None:
        self._function = function
        self.eps = _eps(*_dtypes(function.closed.jaxpr))

        # one array comes out: XLA compiles a loop for each output, and 10 ms for each loop
        def branches(x):
            return [s.branch.astype(jnp.float64) for s in function.switches(x)]

        def probe(x):
            return jnp.stack([*function.value_and_slope(x), *branches(x)])

        def without_slope(x):
            return jnp.stack([function.value(x), *branches(x)])

        # compiled ahead: under `concrete` the constants of the function would be computed one by
        # one, with a compilation each
        with double(), jax.disable_jit(False):
            shape = jax.ShapeDtypeStruct((BLOCK,), jnp.float64)
            try:
                self._probe = jax.jit(probe).lower(shape).compile()
                self._has_slope = True
            except TypeError:  # a custom_vjp has no forward derivative: then as for a black box
                self._probe = jax.jit(without_slope).lower(shape).compile()
                self._has_slope = False
        constant_arrays = any(np.ndim(c) for c in function.closed.consts)
        if constant_arrays or not primitives(function.closed.jaxpr) <= ELEMENTWISE:
            _check_elementwise(lambda x: self(x).value)

    @cached_property
    def _values(self) -> Callable:
        return self._compiled(self._function.value)

    @cached_property
    def _slopes(self) -> Callable:
        return self._compiled(lambda x: self._function.value_and_slope(x)[1])

    def _compiled(self, function: Callable) -> Callable:
        with double(), jax.disable_jit(False):
            shape = jax.ShapeDtypeStruct((_MANY, BLOCK), jnp.float64)
            return jax.jit(jax.vmap(function)).lower(shape).compile()

    def values(self, x: Array) -> Array:
        return _in_blocks(self._values, x)

    def slopes(self, x: Array) -> Array | None:
        return _in_blocks(self._slopes, x) if self._has_slope else None

    def __call__(self, x: Array) -> Sampled:
        blocks = _padded(x, BLOCK).reshape(-1, BLOCK)
        with concrete():
            rows = np.concatenate([np.asarray(self._probe(b)) for b in blocks], axis=1)[:, : len(x)]
        return Sampled(rows[0], rows[1] if self._has_slope else None, rows[1 + self._has_slope :])


def _in_blocks(compiled: Callable, x: Array) -> Array:
    """What a compiled function gives at any number of inputs."""
    blocks = _padded(x, _MANY * BLOCK).reshape(-1, _MANY, BLOCK)
    with concrete():
        return np.concatenate([np.ravel(compiled(b)) for b in blocks])[: len(x)]


def _padded(x: Array, block: int) -> Array:
    """Whole blocks of inputs; the padding must be a valid input too."""
    return np.concatenate([x, np.full(-len(x) % block, x[-1])])


class _CalledBox:
    def __init__(self, call: Callable[[Array], np.ndarray]) -> None:
        with np.errstate(all="ignore"):
            result = call(_PROBE.copy())
            check_output([(np.shape(result), result.dtype)], _PROBE.shape)
            again = call(_PROBE.copy())
            self.eps = max(_eps(result.dtype), _seen_eps(call))
        self._call = call
        if not np.array_equal(result, again, equal_nan=True):
            raise NotElementwiseError(
                "activation: it gave two results for the same input; it must not be random. "
                "Put a module into evaluation mode, or pass its deterministic form"
            )
        _check_elementwise(lambda x: self(x).value)

    def __call__(self, x: Array) -> Sampled:
        with np.errstate(all="ignore"):
            value = np.asarray(self._call(x.copy()), np.float64)
        return Sampled(value, None, np.zeros((0, len(x))))

    def values(self, x: Array) -> Array:
        return self(x).value

    def slopes(self, x: Array) -> None:
        return None


def _seen_eps(call: Callable[[Array], np.ndarray]) -> float:
    """The precision in which a function computes inside, whatever it returns.

    Rounding of inputs to floating point stops small changes and lets larger ones through, at every
    magnitude: a plateau stops both, and the steps of a quantiser are not proportional to x.
    """
    for dtype in (jnp.bfloat16, np.float16, np.float32):
        eps = float(jnp.finfo(dtype).eps)
        stopped = []
        for low in (1e-3, 0.1):
            x = np.geomspace(low, 10 * low, 32) * np.resize([1.0, -1.0], 32)
            value = call(x.copy())
            moves = call((1 + 4 * eps) * x) != value
            stops = call((1 + eps / 8) * x) == value
            stopped.append(np.sum(moves) >= 8 and np.mean(stops[moves]) > 0.5)
        if all(stopped):
            return eps
    return EPS


# unsorted and without symmetry, so that sorting, reversing and normalising all show
_PROBE = 3.0 * np.sin(np.arange(64.0) * 2.4 + 0.7)


def _check_elementwise(value: Callable[[Array], Array]) -> None:
    """Each output must depend on its own input alone: shuffle the inputs and change some."""
    order = np.argsort(np.cos(np.arange(64.0) * 1.9))
    other = _PROBE[order]
    other[::3] *= 0.5
    other[0], other[3] = 40.0, -40.0  # the largest and the smallest, should only these matter
    with np.errstate(all="ignore"):
        first, second = value(_PROBE)[order], value(other)
    kept = np.arange(64) % 3 != 0
    first, second = first[kept], second[kept]
    # vectorised loops may round their last few elements otherwise, hence not exact equality
    same = np.isclose(first, second, rtol=1e-5, atol=1e-5 * np.nanmax(np.abs(first), initial=0.0))
    if not np.all(same | (np.isnan(first) & np.isnan(second))):
        raise NotElementwiseError(
            "activation: it is not elementwise, its output at one input changes with the other "
            "inputs (as in softmax, normalisers and sorting). Pass a function that acts on each "
            "number alone"
        )


def _dtypes(jaxpr) -> Iterator:
    """The floating-point types through which the input passes, inner jaxprs included."""
    for eqn in jaxpr.eqns:
        for inner in inner_jaxprs(eqn):
            yield from _dtypes(inner)
        for variable in eqn.outvars:
            if np.size(variable.aval) >= BLOCK and jnp.issubdtype(variable.aval.dtype, np.floating):
                yield variable.aval.dtype


def _eps(*dtypes) -> float:
    return max([EPS, *(float(jnp.finfo(dtype).eps) for dtype in dtypes)])


def _numpy(phi: Callable) -> _CalledBox:
    def call(x):
        result = phi(x)
        if isinstance(result, np.ma.MaskedArray):
            result = result.filled(np.nan)
        if not isinstance(result, np.ndarray):
            raise TypeError(f"returned {type(result).__name__}, not an array")
        return result

    return _CalledBox(call)


def _torch(phi: Callable) -> _CalledBox:
    torch = sys.modules["torch"]

    def call(x, dtype=torch.float64):
        with torch.no_grad():
            return phi(torch.from_numpy(x).to(dtype)).detach().cpu().numpy()

    try:
        return _CalledBox(call)
    except RuntimeError:  # a module whose parameters are float32 refuses anything else
        return _CalledBox(lambda x: call(x, torch.float32))


def _scalar(phi: Callable) -> _CalledBox:
    if not isinstance(phi(0.3), (float, np.floating)):
        raise TypeError(f"returned {type(phi(0.3)).__name__} for a float")

    def at(number: float) -> float:
        try:
            return phi(number)
        except OverflowError:
            return np.inf
        except (ValueError, ZeroDivisionError):  # the mathematical functions of Python have no nan
            return np.nan

    return _CalledBox(lambda x: np.array([at(number) for number in x.tolist()], np.float64))


def open_box(phi: Callable) -> TracedFunction | Box:
    """Find out how to call `phi`.

    A function that depends on tracers comes back as a `TracedFunction`, anything else as a box
    that can be called.

    Raises:
        NotElementwiseError: it is no activation.
        TypeError: it could be called in none of the ways tried; says what each one answered.
    """
    torch = sys.modules.get("torch")
    answers: dict[str, list[str]] = {}  # and the ways that got it
    if torch is None or not isinstance(phi, torch.nn.Module):
        try:
            function = trace(phi)
        except NotElementwiseError:
            raise
        except Exception as error:  # whatever an unknown function raises when it is not JAX
            answers.setdefault(_answer(error), []).append("JAX")
        else:
            if function.is_traced:
                return function
            return _JaxBox(function)
    for name, way in {"NumPy": _numpy, "torch": _torch, "a Python float": _scalar}.items():
        if way is _torch and "torch" not in sys.modules:  # now: `phi` may have imported it
            continue
        try:
            return way(phi)
        except NotElementwiseError:
            raise
        except Exception as error:
            answers.setdefault(_answer(error), []).append(name)
    raise TypeError(
        "activation: it could not be called; it must take an array of floats and return one of the "
        "same shape, other arguments being given by name, as in Activation(phi, slope=0.1). "
        + "; ".join(f"With {' and '.join(ways)}: {answer}" for answer, ways in answers.items())
    )


def _answer(error: Exception) -> str:
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first[:120]}"
