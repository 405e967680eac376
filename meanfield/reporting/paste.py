"""Code to paste: blocks that run as they stand, from the activation's name to a model's layers."""

from collections.abc import Callable
from functools import reduce
from importlib import import_module
from itertools import accumulate
from typing import Any, NamedTuple

from meanfield.activation import Activation
from meanfield.network import FixedPoint

__all__ = ["Block", "blocks_of", "definition"]


class Block(NamedTuple):
    """Lines of Python that need nothing but what their title names."""

    title: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def definition(activation: Activation) -> tuple[str, ...]:
    """The lines that make `phi`; for a function without a name, a place to put it."""
    function, parameters = activation.source, dict(activation.parameters)
    if activation.given_kinks is not None:
        parameters["kinks"] = activation.given_kinks.tolist()
    if any(not isinstance(value, int | float | list) for value in parameters.values()):
        return _unnamed(activation)
    options = "".join(f", {name}={value!r}" for name, value in parameters.items())
    if isinstance(function, str):
        return (f'phi = mf.Activation("{function}"{options})',)
    home = _home(function)
    if home is None:
        return _unnamed(activation)
    module, path = home
    made = f"phi = mf.Activation({path}{options})"
    if module == "__main__":
        return (f"{made}  # as you defined it",)
    return (f"from {module} import {path.partition('.')[0]}", made)


def _unnamed(activation: Activation) -> tuple[str, ...]:
    return (
        f"# {activation.name} has no name to import it by: write it here instead of the dots",
        "phi = mf.Activation(...)",
    )


def _home(function: Callable) -> tuple[str, str] | None:
    """The module to import it from, the public one if there is one, and its name in there."""
    defined = getattr(function, "__module__", None)
    if not isinstance(defined, str):
        return None
    public = [part for part in defined.split(".") if not part.startswith("_")]
    for module in [*accumulate(public, "{}.{}".format), defined]:
        for name in ("__qualname__", "__name__"):
            path = str(getattr(function, name, ""))
            if _found(module, path) is function:
                return module, path
    return None


def _found(module: str, path: str) -> Any:
    if not all(map(str.isidentifier, path.split("."))):
        return None
    try:
        return reduce(getattr, path.split("."), import_module(module))
    except (ImportError, AttributeError):
        return None


def blocks_of(point: FixedPoint, activation: Activation, clipped: bool) -> tuple[Block, ...]:
    """A block for each framework, with layers and models as examples.

    Args:
        point: the recommended critical point.
        activation: of the report, unclipped.
        clipped: whether `point` is that of a `clip_threshold`.
    """
    how = (
        f"point = mf.clip_threshold(phi, q={float(point.q):.6g}).point  # and take point.activation"
        if clipped
        else f'point = mf.critical(phi, q={float(point.q):.6g})  # or with weights="orthogonal"'
    )
    made = (*definition(activation), how)

    def block(title: str, imports: str, *lines: str) -> Block:
        return Block(title, (f"import {imports}meanfield as mf", *made, *lines))

    both = "mf.initializer(point), mf.bias_initializer(point)"
    return (
        block(
            "jax", "jax, ",
            f"kernel_init, bias_init = {both}",
            "kernel = kernel_init(jax.random.key(0), (256, 512))  # inputs, outputs",
            "bias = bias_init(jax.random.key(1), (512,))",
        ),
        block(
            "torch", "torch, ",
            "model = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.Linear(512, 10))"
            "  # yours",
            "print(mf.bridges.torch.init_(model, point))  # in place",
        ),
        block(
            "flax", "flax.nnx as nnx, ",
            "options = mf.bridges.flax.initializers(point)  # kernel_init and bias_init",
            "layer = nnx.Linear(256, 512, **options, rngs=nnx.Rngs(0))",
        ),
        block(
            "equinox", "equinox as eqx, jax, ",
            "model = eqx.nn.MLP(64, 10, 512, 3, activation=phi, key=jax.random.key(0))  # yours",
            "model = mf.bridges.equinox.init(model, point, jax.random.key(1))",
        ),
        block(
            "keras", "keras, ",
            "bridge = mf.bridges.keras",
            "layer = keras.layers.Dense(512, kernel_initializer=bridge.initializer(point),",
            "                           bias_initializer=bridge.bias_initializer(point))",
        ),
        block(
            "haiku", "haiku as hk, jax, ",
            "options = mf.bridges.haiku.initializers(point)  # w_init and b_init",
            "net = hk.transform(lambda x: hk.Linear(512, **options)(x))",
            "parameters = net.init(jax.random.key(0), jax.numpy.ones((1, 256)))",
        ),
        Block("anywhere", (
            "import numpy as np",
            f"weight_var, bias_var = {float(point.weight_var):.12g}, {float(point.bias_var):.12g}",
            "fan_in, fan_out = 256, 512",
            "rng = np.random.default_rng(0)",
            "W = rng.normal(0.0, np.sqrt(weight_var / fan_in), (fan_out, fan_in))",
            "b = rng.normal(0.0, np.sqrt(bias_var), fan_out)",
        )),
    )  # fmt: skip
