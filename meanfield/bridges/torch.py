# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""torch: initialise a `torch.nn.Module` in place, and audit one.

As in::

    report = mf.bridges.torch.init_(model, activation="gelu")
    mf.bridges.torch.audit(model, batch).plot()

torch stores the weights of a dense layer as `(out, in)`, those of a convolution as
`(out, in / groups, *field)`, and those of a transposed one as `(in, out / groups, *field)`.
"""

from collections.abc import Iterator
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.bridges.framework import framework
from meanfield.bridges.hand_over import (
    HandOver,
    Initialised,
    Left,
    Slot,
    hand_over,
    placed,
    recipe,
)
from meanfield.bridges.torch_audit import audit, checked
from meanfield.ensembles import (
    DeltaOrthogonal,
    Ensemble,
    Gaussian,
    Orthogonal,
    TruncatedNormal,
    Uniform,
)
from meanfield.keywords import spelt

if TYPE_CHECKING:
    import torch

__all__ = ["audit", "calculate_gain", "init_"]


def calculate_gain(activation: Any, q: float | None = None) -> float:
    r"""`sqrt(weight_var)` of the critical point, in the place of `torch.nn.init.calculate_gain`.

    Weights of standard deviation `gain / sqrt(fan_in)` are critical, beside biases of variance
    `bias_var`: `torch.nn.init.orthogonal_(square_weight, gain)`.

    Args:
        activation: the activation, as for `meanfield.critical`, or a `FixedPoint`.
        q: variance of the pre-activations; 1 if not given.

    Returns:
        The gain.

    Example:
        >>> import meanfield as mf
        >>> round(mf.bridges.torch.calculate_gain("relu"), 12) == round(2**0.5, 12)
        True
    """
    return sqrt(recipe(activation, q, None, None, "hidden").point.weight_var)


@spelt
def init_(
    model: "torch.nn.Module",
    activation: Any,
    *,
    q: float | None = None,
    weights: str | Ensemble | None = None,
    input_second_moment: float | None = 1.0,
    output: str | float = "hidden",
    generator: "torch.Generator | None" = None,
) -> HandOver:
    r"""Initialise a model in place: every pre-activation gets the variance `q` of the point.

    Dense layers, convolutions (grouped and transposed ones too) and embeddings are drawn;
    everything else with parameters is left as it is, and the result says what and why. Layers
    that see data and layers that make outputs are found by `torch.fx`; where the model cannot be
    traced, they are the first and the last that were registered.

    Args:
        model: the model, or a part of it.
        activation: its activation, as for `meanfield.critical` (a torch function or module too),
            or the `FixedPoint` at which to initialise.
        q: variance of the pre-activations; 1 if neither it nor a point is given.
        weights: the ensemble: `"gaussian"`, `"uniform"`, `"truncated-normal"`, `"orthogonal"`,
            `"delta-orthogonal"` or one of `meanfield.ensembles`, all of one variance of the
            entries; that of the point if not given.
        input_second_moment: mean square of the data, to which the first layer's weights are
            scaled; 1 fits standardised data. None for data that has what the point expects,
            `point.input_second_moment`.
        output: what to do with the layers that make the outputs: `"hidden"` draws them as the
            others, so that outputs have variance `q`; a number is the variance that they get,
            without biases; `"zero"` makes them 0, `"keep"` leaves them.
        generator: of the random numbers; torch's own if not given, so that `torch.manual_seed`
            makes the result reproducible.

    Returns:
        A `HandOver`, which prints as a table.

    Raises:
        ValueError: the model has lazy or meta tensors or NaN in what would be left, nothing in it
            can be initialised, or an argument is outside its range. The model is then unchanged.
        TypeError: `model` is no `torch.nn.Module`.
        ImportError: torch is not installed.

    Example:
        >>> import torch, meanfield as mf
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(64, 512), torch.nn.GELU(), torch.nn.Linear(512, 10)
        ... )
        >>> report = mf.bridges.torch.init_(net, activation="gelu")
        >>> [(layer.name, layer.place, layer.fan_in) for layer in report.initialised]
        [('0', 'first', 64.0), ('2', 'output', 512.0)]
    """
    torch = framework("torch")
    how = recipe(activation, q, weights, input_second_moment, output)
    checked(torch, model)
    slots, left = [], []
    for found in _walk(torch, model):
        (slots if isinstance(found, Slot) else left).append(found)
    if not slots:
        raise ValueError(
            "model: it has no dense layer, convolution or embedding that could be initialised; "
            "its modules are " + ", ".join(sorted({type(m).__name__ for m in model.modules()}))
        )
    for one in left:
        parameters = dict(model.get_submodule(one.name).named_parameters(recurse=False))
        broken = [k for k, p in parameters.items() if not bool(torch.isfinite(p).all())]
        if broken:
            raise ValueError(
                f"model: {one.name}.{broken[0]} is not finite, and {one.kind} is left as it is; "
                "initialise it first"
            )
    first, outputs, notes = _ends(torch, model, slots)

    def draw(slot: Slot, made: Initialised) -> None:
        with torch.no_grad():
            _draw(torch, slot, made, how.weights, generator)

    return hand_over(how, placed(slots, first, outputs), left, notes, draw)


# -- which modules can be drawn, and what is said of the others ------------------------------------


def _walk(torch: Any, model: Any) -> Iterator[Slot | Left]:
    nn = torch.nn
    done: dict[int, str] = {}
    inside = ""  # of a module that is left as a whole
    for name, module in model.named_modules():
        if inside and name.startswith(inside):
            continue
        kind, own = type(module).__name__, dict(module.named_parameters(recurse=False))
        weight = own.get("weight")
        known = isinstance(module, nn.Linear | nn.modules.conv._ConvNd | nn.Embedding)
        if known and weight is not None and weight.is_floating_point():
            if id(weight) in done:
                yield Left(name, kind, f"shares its weights with {done[id(weight)]}, drawn there")
                continue
            done[id(weight)] = name
            yield _slot(torch, name, module)
        elif known:
            inside = f"{name}." if name else ""
            yield Left(name, kind, "its weight is no plain real parameter (parametrized, quantized "
                       "or normalised): initialise it before that")  # fmt: skip
        elif isinstance(module, _norms(nn)):
            yield Left(name, kind, "normalisation: the signal behind it has variance 1 whatever "
                       "the weights before it; take a point at q = 1")  # fmt: skip
        elif isinstance(module, nn.MultiheadAttention | nn.RNNBase):
            inside = f"{name}." if name else ""
            yield Left(name, kind, "no theory of variances here; its parameters stay")
            if not name:
                return
        elif own:
            yield Left(name, kind, f"parameters {', '.join(own)} of a kind that is not known; "
                       "they stay")  # fmt: skip


def _norms(nn: Any) -> tuple[type, ...]:
    return (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm,
            nn.LocalResponseNorm)  # fmt: skip


def _slot(torch: Any, name: str, module: Any) -> Slot:
    kind, weight = type(module).__name__, module.weight
    dtype = np.float64 if weight.dtype == torch.float64 else np.float32
    outputs, inputs, *field = weight.shape
    if isinstance(module, torch.nn.Embedding):
        return Slot(name, kind, inputs, outputs, module, has_bias=False, place="embedding",
                    dtype=dtype)  # fmt: skip
    groups, reached = getattr(module, "groups", 1), 1.0
    if isinstance(module, torch.nn.modules.conv._ConvTransposeNd):
        inputs, outputs, reached = outputs // groups, inputs * groups, 1 / prod(module.stride)
    return Slot(name, kind, inputs, outputs // groups, module, tuple(field), groups, reached,
                has_bias=module.bias is not None, dtype=dtype)  # fmt: skip


# -- drawing ---------------------------------------------------------------------------------------


def _draw(torch: Any, slot: Slot, made: Initialised, weights: Ensemble, generator: Any) -> None:
    """Weights and biases of one layer, by torch itself."""
    module, normal = slot.layer, {"mean": 0.0, "generator": generator}
    weight = module.weight
    if slot.place == "embedding":
        weight.normal_(std=sqrt(made.weight_var), **normal)
        if module.padding_idx is not None:
            weight[module.padding_idx] = 0.0
    elif made.weight_var == 0:
        weight.zero_()
    else:
        wide = weight.dtype if slot.dtype == np.float64 else torch.float32
        groups = torch.zeros(
            slot.groups, slot.units, slot.channels, *slot.field, dtype=wide, device=weight.device
        )
        for kernel in groups:
            _fill(torch, kernel, made.weight_var / slot.reached, weights, generator)
        if isinstance(module, torch.nn.modules.conv._ConvTransposeNd):
            groups = groups.swapaxes(1, 2)
        weight.copy_(groups.reshape(weight.shape))
    if slot.has_bias:
        module.bias.normal_(std=sqrt(made.bias_var), **normal)


def _fill(torch: Any, kernel: Any, variance: float, weights: Ensemble, generator: Any) -> None:
    """One kernel, of shape `(units, channels, *field)` and zero so far."""
    init, law = torch.nn.init, type(weights)
    if law is DeltaOrthogonal:  # the centre of the field is a dense layer
        kernel = kernel[(..., *(size // 2 for size in kernel.shape[2:]))]
    units, fan_in = len(kernel), kernel[0].numel()
    std = sqrt(variance / fan_in)
    if law is Gaussian:
        kernel.normal_(0.0, std, generator=generator)
    elif law is Uniform:
        kernel.uniform_(-sqrt(3) * std, sqrt(3) * std, generator=generator)
    elif law is TruncatedNormal:
        std /= sqrt(TruncatedNormal.LEFT)
        init.trunc_normal_(kernel, 0.0, std, -2 * std, 2 * std, generator=generator)
    elif law in (Orthogonal, DeltaOrthogonal):
        matrix = torch.empty(units, fan_in, dtype=kernel.dtype, device=kernel.device)
        init.orthogonal_(matrix, std * sqrt(max(units, fan_in)), generator=generator)
        kernel.copy_(matrix.reshape(kernel.shape))
    else:
        import jax

        device = "cpu" if generator is None else generator.device
        seed = int(torch.randint(2**31, (), generator=generator, device=device))
        matrix = weights.draw(jax.random.key(seed), units, fan_in, variance, np.float32)
        kernel.copy_(torch.tensor(np.asarray(matrix)).reshape(kernel.shape))


# -- where in the model they stand -----------------------------------------------------------------


def _ends(torch: Any, model: Any, slots: list[Slot]) -> tuple[set[str], set[str], list[str]]:
    """Names of the layers that see data, of those that make outputs, and notes on the rest."""
    names = {slot.name for slot in slots}
    notes = _on_the_way(torch, model)
    if names == {""}:
        return names, names, notes
    try:
        nodes = list(torch.fx.symbolic_trace(model).graph.nodes)
    except Exception as error:  # whatever the model does with what is no number yet
        notes.append(
            f"torch.fx cannot trace the model ({type(error).__name__}), so {slots[0].name} counts "
            f"as its first layer and {slots[-1].name} as its output; residual sums are not seen"
        )
        first = set() if slots[0].place == "embedding" else {slots[0].name}
        return first, {slots[-1].name}, notes
    behind, before = set(), set()  # nodes with a layer somewhere before them, or behind them
    first, output = set(), set()
    for node in nodes:
        mine = node.op == "call_module" and node.target in names
        fed = any(source in behind for source in node.all_input_nodes)
        if mine and not fed:
            first.add(node.target)
        if mine or fed:
            behind.add(node)
    for node in reversed(nodes):
        mine = node.op == "call_module" and node.target in names
        feeds = any(user in before for user in node.users)
        if mine and not feeds:
            output.add(node.target)
        if mine or feeds:
            before.add(node)
    sums = [node for node in nodes if _is_sum(node) and all(s in behind for s in node.args)]
    if sums:
        where = next(reversed(sums[0].meta.get("nn_module_stack", {})), "") or "the model itself"
        notes.append(
            f"{len(sums)} residual sum{'s' * (len(sums) > 1)} (the first in {where}): variances "
            "add up, so that the signal grows beyond q; scale the branches, as "
            "meanfield.layers.critical(block) tells"
        )
    return first, output, notes


def _is_sum(node: Any) -> bool:
    name = getattr(node.target, "__name__", node.target)
    nodes = [a for a in node.args if isinstance(a, type(node)) and a.op != "get_attr"]
    return (
        node.op in ("call_function", "call_method")
        and name in ("add", "iadd", "add_", "__add__")
        and len(nodes) == 2 == len(node.args)
    )


def _on_the_way(torch: Any, model: Any) -> list[str]:
    """Notes on modules without parameters that change variances."""
    nn, notes = torch.nn, []
    modules = list(model.modules())
    pools = sorted({type(m).__name__ for m in modules if "Pool" in type(m).__name__})
    if pools:
        notes.append(
            f"{', '.join(pools)}: pooling changes the mean square of what it hands on, and so the "
            "variance of the next layer; audit(model, batch) tells by how much"
        )
    rates = [m.p for m in modules if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]
    if rates:
        notes.append(
            f"dropout of {max(rates):g} divides mean squares by {1 - max(rates):g} in training: "
            "meanfield.layers.dropout has its maps"
        )
    return notes
