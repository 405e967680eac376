"""Public functions tell misspelt keywords which ones there are; plots are called alike."""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from meanfield import plot


def public_functions() -> Iterator[Any]:
    for module in ("meanfield", *(f"meanfield.{name}" for name in ("layers", "schemes"))):
        home = import_module(module)
        for name in home.__all__:
            made = getattr(home, name)
            if inspect.isfunction(made):
                parameters = inspect.signature(made).parameters.values()
                # what takes any keyword hands it on to another
                if len(parameters) > 1 and not any(p.kind is p.VAR_KEYWORD for p in parameters):
                    yield pytest.param(made, id=f"{module}.{name}")


@pytest.mark.parametrize("function", list(public_functions()))
def test_misspelt(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters.values()
    names = ", ".join(p.name for p in parameters if p.kind is not p.VAR_POSITIONAL)
    with pytest.raises(TypeError) as raised:
        function(sigma_w=1.0)
    said = f"{function.__name__}: there is no argument 'sigma_w', it takes {names}; variances are"
    assert str(raised.value).startswith(said)


OTHERS = ("CYCLE", "MOST_CURVES", "style", "variances_in_view")


@pytest.mark.parametrize("name", [name for name in plot.__all__ if name not in OTHERS])
def test_plots_are_called_alike(name: str) -> None:
    """A result, then `ax=None`; what else there is has a name."""
    result, ax, *others = inspect.signature(getattr(plot, name)).parameters.values()
    assert result.default is inspect.Parameter.empty
    assert ax.name == "ax" and ax.default is None
    assert all(other.kind in (other.KEYWORD_ONLY, other.VAR_KEYWORD) for other in others)
