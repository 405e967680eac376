"""Networks of finite width: the expansion in 1/n, and exact laws where they exist."""

from meanfield.width.expansion import finite_width
from meanfield.width.pairs import FiniteWidthPair, finite_width_pair
from meanfield.width.result import FiniteWidth
from meanfield.width.tangent_kernel import tangent_kernel

__all__ = [
    "FiniteWidth",
    "FiniteWidthPair",
    "finite_width",
    "finite_width_pair",
    "tangent_kernel",
]
