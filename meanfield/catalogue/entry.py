"""What an activation of the catalogue declares: its name, formula, function and parameters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import jax
from jax.core import Tracer


@dataclass(frozen=True)
class Parameter:
    """A real, finite parameter: declared once, and checks, help, sweeps and tests follow from it.

    The default and the `usual` range lie in `domain`, an open interval unless `closed`.
    """

    name: str  # the keyword
    default: float
    domain: tuple[float, float] = (-inf, inf)
    closed: bool = False  # whether the finite ends of the domain belong to it
    usual: tuple[float, float] = (-1.0, 1.0)  # where tests and sweeps draw values

    @property
    def allowed(self) -> str:
        """The domain in words, for help pages and error messages."""
        low, high = self.domain
        above, below = ("at least", "at most") if self.closed else ("above", "below")
        bounds = [f"{above} {low:g}"] * isfinite(low) + [f"{below} {high:g}"] * isfinite(high)
        return " and ".join(["a finite number", *bounds])

    def check(self, activation: str, value: Any) -> None:
        """Raise unless `value` may be this parameter of `activation`; a tracer has no value yet."""
        if isinstance(value, Tracer):
            return
        expected = f"{activation}: {self.name} must be {self.allowed}, got {value!r}"
        if isinstance(value, str):  # float() would read it
            raise TypeError(expected)
        try:
            number = float(value)
        except TypeError as error:
            raise TypeError(expected) from error
        low, high = self.domain
        inside = low <= number <= high if self.closed else low < number < high
        if not (inside and isfinite(number)):
            raise ValueError(expected)


@dataclass(frozen=True)
class Entry:
    """A named activation.

    `function(x, **parameters)` is elementwise, in JAX, and keeps the dtype of `x`.
    """

    name: str
    formula: str  # plain text, in the letters of the parameters
    function: Callable[..., jax.Array]
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters of `function`: those `given`, checked, and the defaults of the others."""
        names = [parameter.name for parameter in self.parameters]
        for name in given:
            if name not in names:
                known = f"it has {', '.join(names)}" if names else "it has none"
                raise TypeError(f"{self.name} has no parameter {name!r}; {known}")
        for parameter in self.parameters:
            if parameter.name in given:
                parameter.check(self.name, given[parameter.name])
        return {p.name: given.get(p.name, p.default) for p in self.parameters}
