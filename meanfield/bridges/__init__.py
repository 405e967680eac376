"""Hand-over to the frameworks: initialise somebody's model, and audit it.

    mf.bridges.torch.init_(model, activation="gelu")
    mf.bridges.torch.audit(model, batch).plot()

One thin file for each framework, which only it imports; what they share is framework-free:
`hand_over` (which layer gets which variances), `audit` (measured against predicted).
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meanfield.bridges import equinox as equinox
    from meanfield.bridges import flax as flax
    from meanfield.bridges import haiku as haiku
    from meanfield.bridges import keras as keras
    from meanfield.bridges import torch as torch

__all__ = ["equinox", "flax", "haiku", "keras", "torch"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
