"""Networks of finite width: the expansion in 1/n, and exact laws where they exist."""

from meanfield.finite_width.expansion import finite_width
from meanfield.finite_width.pairs import FiniteWidthPair, finite_width_pair
from meanfield.finite_width.result import FiniteWidth

__all__ = ["FiniteWidth", "FiniteWidthPair", "finite_width", "finite_width_pair"]
