# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""torch: audit of a model, by forward hooks on a batch and one backward pass."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

from meanfield.bridges.audit import Audit, audited
from meanfield.bridges.framework import framework
from meanfield.bridges.passage import Passage, passage

if TYPE_CHECKING:
    import torch

__all__ = ["audit", "checked"]


def audit(
    model: "torch.nn.Module",
    batch: Any,
    activation: Any = None,
    *,
    loss: "Callable[[Any], torch.Tensor] | None" = None,
    seed: int = 0,
) -> Audit:
    r"""Variance, correlation, sparsity and gradient in a model, layer by layer, beside theory.

    Every dense layer and convolution is watched by a forward hook while the batch goes through
    the model as it is (`model.eval()` first switches dropout off). Parameters, buffers, gradients
    and random numbers are afterwards what they were.

    Args:
        model: the model.
        batch: its input, inputs along the first axis; a tuple for several arguments, a mapping
            for keywords. Of the first 32 inputs all pairs are looked at; take 12 at least.
        activation: the activation of the model, as for `meanfield.critical`; those of the
            catalogue are recognised.
        loss: of the output of the model, a number, whose gradient is taken; a random
            direction at the output if not given.
        seed: of that direction.

    Returns:
        An `Audit`, which prints as a table, has findings, each with its fix, and a `plot`.

    Raises:
        ValueError: the model has lazy or meta tensors or NaN, the batch has NaN, or it meets no
            layer with weights.
        TypeError: `model` is no `torch.nn.Module`.
        ImportError: torch is not installed.

    Example:
        >>> import torch, meanfield as mf
        >>> layers = [f for k in range(20) for f in (torch.nn.Linear(256, 256), torch.nn.ReLU())]
        >>> net, batch = torch.nn.Sequential(*layers), torch.randn(16, 256)
        >>> mf.bridges.torch.audit(net, batch).findings[0].kind  # torch's own initialisation
        'correlation'
        >>> report = mf.bridges.torch.init_(net, "relu")
        >>> "gradient" in {f.kind for f in mf.bridges.torch.audit(net, batch).findings}
        False
    """
    torch = framework("torch")
    checked(torch, model)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"model: {name} is not finite; initialise it, or look for what broke")
    arguments, keywords = _arguments(batch)
    for tensor in _tensors(torch, (arguments, keywords)):
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError("batch: it has values that are not finite; leave those inputs out")
    seen: list[tuple[str, Any, Any, Any]] = []
    with _watched(torch, model, seen), torch.enable_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        output = model(*arguments, **keywords)
        if loss is None:
            floating = [t for t in _tensors(torch, output) if t.requires_grad]
            scalar: Any = sum((t * torch.randn_like(t)).sum() for t in floating)
        else:
            scalar = loss(output)
        gradients: Any = [None] * len(seen)
        if seen and isinstance(scalar, torch.Tensor) and scalar.requires_grad:
            gradients = torch.autograd.grad(scalar, [s[3] for s in seen], allow_unused=True)
    passages = [
        _passage(torch, *one, torch.zeros_like(one[3]) if gradient is None else gradient)
        for one, gradient in zip(seen, gradients, strict=True)
    ]
    notes = (
        ["the model was in training mode"] if model.training and _has_modes(torch, model) else []
    )
    return audited(passages, activation, "meanfield.bridges.torch.init_(model, {})", notes)


def checked(torch: Any, model: Any) -> None:
    """Raise unless it is a module whose parameters hold numbers."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: must be a torch.nn.Module, got {type(model).__name__}: {model!r}")
    for name, parameter in model.named_parameters():
        if torch.nn.parameter.is_lazy(parameter):
            raise ValueError(
                f"model: {name} is lazy, its shape is not known yet; run a batch through the model "
                "first"
            )
        if parameter.is_meta:
            raise ValueError(
                f"model: {name} is on the meta device and holds no numbers; "
                "model.to_empty(device='cpu') first"
            )


def _arguments(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(batch, Mapping):
        return (), dict(batch)
    return (batch if isinstance(batch, tuple) else (batch,)), {}


def _tensors(torch: Any, tree: Any) -> Iterator[Any]:
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        yield from _tensors(torch, list(tree.values()))
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from _tensors(torch, part)


def _has_modes(torch: Any, model: Any) -> bool:
    nn = torch.nn
    kinds = nn.modules.batchnorm._NormBase | nn.modules.dropout._DropoutNd
    return any(isinstance(module, kinds) for module in model.modules())


@contextmanager
def _watched(torch: Any, model: Any, seen: list[tuple[str, Any, Any, Any]]) -> Iterator[None]:
    """Hooks that note each call of a layer, and the buffers afterwards as they were."""
    nn, calls = torch.nn, Counter()

    def watch(name: str) -> Callable:
        def hook(module: Any, arguments: Any, out: Any) -> Any:
            calls[name] += 1
            shown = f"{name} ({calls[name]})" if calls[name] > 1 else name
            if not out.requires_grad:  # nothing before it is trained
                out = out.clone().requires_grad_()
            seen.append((shown, module, arguments[0].detach().clone(), out))
            return out.clone()  # an activation in place spoils this one

        return hook

    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])


def _passage(torch: Any, name: str, module: Any, before: Any, after: Any, gradient: Any) -> Passage:
    weight = module.weight.detach()
    field, groups = weight.shape[2:], getattr(module, "groups", 1)
    fan_in, reached = weight[0].numel(), 1.0
    if isinstance(module, torch.nn.modules.conv._ConvTransposeNd):  # its border is not looked at
        fan_in = weight.shape[0] // groups * prod(field) / prod(module.stride)
    elif field:
        reached = _reached(torch, module, before, field)
    arrays = (t.detach().to("cpu", torch.float64).numpy() for t in (before, after, gradient))
    first, second, third = arrays
    bias = None if module.bias is None else module.bias.detach().to("cpu", torch.float64).numpy()
    weight = weight.to("cpu", torch.float64).numpy()
    axis = -1 - len(field)
    return passage(name, type(module).__name__, weight, bias, fan_in, reached, first, second, axis,
                   third, torch.finfo(after.dtype).eps)  # fmt: skip


def _reached(torch: Any, module: Any, before: Any, field: Any) -> float:
    """The share of the field that is inside of the image, on average over outputs."""
    if module.padding_mode != "zeros":
        return 1.0
    convolve = getattr(torch.nn.functional, f"conv{len(field)}d")
    inside = convolve(
        torch.ones(1, 1, *before.shape[-len(field) :]), torch.ones(1, 1, *field), None,
        module.stride, module.padding, module.dilation,
    )  # fmt: skip
    return float(inside.mean()) / prod(field)
