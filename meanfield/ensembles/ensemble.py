"""`Ensemble`: what a law of weight matrices must be able to tell and draw."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import jax

__all__ = ["Array", "Ensemble"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Ensemble(ABC):
    """A law of weight matrices, up to the variance of their entries.

    Functions of `m` take `n = 1 + m` beside it, because the sum may have lost its digits.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for share in fields(self):
            value = getattr(self, share.name)
            if not (isinstance(value, (int, float)) and 0 < value <= 1):
                raise ValueError(
                    f"{share.name}: must be in (0, 1] for {self.name} weights, got {value!r}"
                )

    def __str__(self) -> str:
        shares = ", ".join(f"{f.name}={getattr(self, f.name):g}" for f in fields(self))
        return f"{self.name}({shares})" if shares else self.name

    @property
    def spread(self) -> float:
        """`Var(s^2) / E[s^2]^2` over the singular values `s` of a square matrix; `-S'(0)`."""
        return -float(self.log_s_slope(np.zeros(()), np.ones(())))

    @property
    def projected(self) -> "tuple[float, Ensemble]":
        """`W^T W` as a projection of relative rank `r` times another, of full rank, over `r`."""
        return 1.0, self

    @abstractmethod
    def log_s(self, m: Array, n: Array) -> Array:
        """`log S(m)`."""

    @abstractmethod
    def log_s_slope(self, m: Array, n: Array) -> Array:
        """The derivative of `log S(m)`."""

    @abstractmethod
    def draw(
        self, key: "jax.Array", fan_out: int, fan_in: int, weight_var: Any, dtype: Any = float
    ) -> "jax.Array":
        """A matrix of shape `(fan_out, fan_in)` with entries of variance `weight_var / fan_in`.

        Sizes are static, all else may be traced: it can be jitted and vmapped.

        Raises:
            ValueError: the ensemble has no matrix of these sizes.
        """

    def draw_kernel(self, key, field: tuple[int, ...], fan_out: int, channels: int, weight_var: Any,
                    dtype: Any = float) -> "jax.Array":  # fmt: skip
        """A kernel of shape `(fan_out, *field, channels)`, of fan-in `prod(field) channels`."""
        fan_in = channels * int(np.prod(field))
        return self.draw(key, fan_out, fan_in, weight_var, dtype).reshape(fan_out, *field, channels)
