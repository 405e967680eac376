# pyright: reportMissingImports=false
"""flax, linen and nnx alike: `initializer(point)` is an initializer of theirs as it is.

As in::

    nnx.Linear(64, 512, **mf.bridges.flax.initializers(point), rngs=rngs)
    linen.Dense(512, **mf.bridges.flax.initializers(point))

flax stores kernels as `(*field, in / groups, out)`, with fan-in where `jax.nn.initializers` has it.
"""

from collections.abc import Callable
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

from meanfield.bridges.audit import Audit
from meanfield.bridges.framework import framework
from meanfield.bridges.hand_over import recipe
from meanfield.bridges.jax_audit import Layer, Watch, audit_of
from meanfield.initializers import bias_initializer, initializer
from meanfield.network import FixedPoint

if TYPE_CHECKING:
    import jax

    from meanfield.initializers import Initializer

__all__ = ["audit", "embedding_initializer", "initializers"]

_FIX = "give its layers **meanfield.bridges.flax.initializers(meanfield.critical({}))"


def initializers(
    point: FixedPoint, input_second_moment: float | None = None
) -> "dict[str, Initializer]":
    """`kernel_init` and `bias_init` of a `Dense`, `Linear` or `Conv` layer, linen or nnx.

    Args:
        point: where to initialise, as from `critical`.
        input_second_moment: for the first layer: the mean square of the data.

    Returns:
        Keyword arguments of the layer.

    A `ConvTranspose` of stride `s` sums only `1/s` of its field in each direction: it takes the
    `weight_var` of its point times that many.

    Example:
        >>> import meanfield as mf
        >>> sorted(mf.bridges.flax.initializers(mf.critical("gelu")))
        ['bias_init', 'kernel_init']
    """
    return {
        "kernel_init": initializer(point, input_second_moment),
        "bias_init": bias_initializer(point),
    }


def embedding_initializer(point: FixedPoint) -> "Initializer":
    """Entries of variance `point.input_second_moment`: the layer behind is a hidden one.

    Args:
        point: where to initialise, as from `critical`.

    Returns:
        The `embedding_init` of an `Embed` layer, linen or nnx.

    Raises:
        ValueError: the point has `q = 0`, at which an embedding has no size.
    """
    import jax

    variance, _ = recipe(point, None, None, None, "hidden").variances("embedding")
    return jax.nn.initializers.normal(sqrt(variance))


def audit(
    model: Any, batch: Any, activation: Any = None, *, variables: Any = None,
    key: "jax.Array | None" = None,
) -> Audit:  # fmt: skip
    r"""Variance, correlation, sparsity and gradient in a model, layer by layer, beside theory.

    The layers that are looked at are `Dense` or `Linear`, and `Conv`.

    Args:
        model: an nnx model; or a linen one, with its variables.
        batch: its inputs along the first axis. Of the first 32 all pairs are looked at; take 12
            at least.
        activation: the activation of the model, as for `meanfield.critical`; those of the
            catalogue are recognised.
        variables: of a linen model, as `model.init` gives them.
        key: of a random direction at the output, whose gradient is taken.

    Returns:
        An `Audit`, which prints as a table, has findings, each with its fix, and a `plot`.

    Raises:
        ValueError: the batch has NaN, or meets no layer with weights.
        ImportError: flax is not installed.
    """
    import jax

    layers: dict[str, Layer] = {}
    watched = _nnx(model) if variables is None else _linen(model, variables)

    def run(moves: Any) -> Any:
        watch = Watch(moves)
        return watched(watch, layers, batch), watch.seen, watch.names

    key = jax.random.key(0) if key is None else key
    return audit_of(run, layers.__getitem__, batch, activation, key, _FIX)


Watched = Callable[[Watch, dict[str, Layer], Any], Any]


def _linen(model: Any, variables: Any) -> Watched:
    """By an interceptor of calls."""
    linen = framework("flax.linen")

    def watched(watch: Watch, layers: dict[str, Layer], batch: Any) -> Any:
        def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            module, out = context.module, call(*args, **kwargs)
            if context.method_name != "__call__" or not isinstance(
                module, linen.Dense | linen.Conv
            ):
                return out
            name, own = "/".join(module.path), module.variables["params"]
            alone = module.clone(parent=None, use_bias=False)
            layers[name] = _layer(
                name, module, own["kernel"], own.get("bias"),
                lambda kernel, x: alone.apply({"params": {"kernel": kernel}}, x),
            )  # fmt: skip
            return watch(name, args[0], out)

        with linen.intercept_methods(intercept):
            return model.apply(variables, batch)

    return watched


def _nnx(model: Any) -> Watched:
    """By a copy of the model whose layers are of a class that tells of its calls."""
    nnx = framework("flax.nnx")

    def watched(watch: Watch, layers: dict[str, Layer], batch: Any) -> Any:
        copy = nnx.clone(model)
        for path, module in nnx.iter_modules(copy):
            if isinstance(module, nnx.Linear | nnx.Conv):
                name, kind = ".".join(map(str, path)), type(module)
                if name not in layers:  # in the pass of which no gradient is taken
                    bias = None if module.bias is None else module.bias[...]
                    even = _even(nnx, module)
                    layers[name] = _layer(name, module, module.kernel[...], bias, even)

                def call(self: Any, x: Any, name: str = name, kind: type = kind) -> Any:
                    return watch(name, x, kind.__call__(self, x))

                module.__class__ = type(kind.__name__, (kind,), {"__call__": call})
        return copy(batch)

    return watched


def _even(nnx: Any, module: Any) -> Callable[[Any, Any], Any]:
    alone = nnx.clone(module)

    def made(kernel: Any, x: Any) -> Any:
        alone.kernel[...] = kernel
        if alone.bias is not None:
            alone.bias[...] = 0 * alone.bias[...]
        return alone(x)

    return made


def _layer(
    name: str, module: Any, kernel: Any, bias: Any, made: Callable[[Any, Any], Any]
) -> Layer:
    """What `made` of an image of ones, by weights that sum to one, is the share of the field."""
    import jax.numpy as jnp

    fan_in = prod(kernel.shape[:-1])

    def reached(shape: tuple[int, ...]) -> float:
        if kernel.ndim == 2:
            return 1.0
        return float(jnp.mean(made(jnp.full_like(kernel, 1 / fan_in), jnp.ones((1, *shape)))))

    return Layer(name, type(module).__name__, kernel, bias, fan_in, -1, reached)
