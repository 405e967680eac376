"""How deep a network of some width may be before the expansion in 1/n says nothing."""

from collections.abc import Callable
from math import floor, inf
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from meanfield.width.information import most_telling

if TYPE_CHECKING:
    from meanfield.width.result import FiniteWidth

__all__ = ["EXPANSION_LIMIT", "beyond_validity", "even_depth", "telling_depth", "valid_depth"]

# Of `|V4|/(n K^2)` and of `|G1|/(n K)`. ReLU, whose law is known, has (1 + x/l)^l - 1 where the
# expansion says x: where that is 1/2, a quarter more.
EXPANSION_LIMIT = 0.5
_DEEPEST = 1 << 17  # layers that are computed; beyond, growth is extrapolated
_STEP = 8
_SATURATED = (
    0.01  # where a parameter grows so slowly, relatively, per e-fold of depth, it has a limit
)


def beyond_validity(depth: int) -> str:
    """The warning of a network that is deeper than that."""
    return (
        f"the expansion in 1/n ends at layer {depth}: deeper, V4/(n K^2) or G1/(n K) exceeds "
        f"{EXPANSION_LIMIT:g} in size, and what is left out is no smaller than what is told; take "
        "more width, or less depth"
    )


def valid_depth(fw: "FiniteWidth") -> float:
    """The largest depth up to which both parameters are below the limit in all layers."""
    return _first_beyond(
        fw, lambda fw: np.fmax(abs(fw.fluctuation), abs(fw.shift)), EXPANSION_LIMIT
    )


def even_depth(fw: "FiniteWidth") -> float:
    """The largest depth up to which lengths of gradients spread by less than a factor e."""
    return _first_beyond(fw, lambda fw: fw.gradient_log_norm.std, 1.0)


def telling_depth(fw: "FiniteWidth", outputs: int) -> float:
    """The depth at which so many outputs share most information; `inf` if none is too deep."""
    return _first_beyond(fw, lambda fw: fw.fluctuation, most_telling(outputs))


def _first_beyond(
    fw: "FiniteWidth", measure: Callable[["FiniteWidth"], NDArray[np.float64]], limit: float
) -> float:
    """How many layers there are before the measure exceeds its limit; may be inf."""
    from meanfield.width.expansion import continued

    while True:
        size = measure(fw)
        beyond = np.isnan(size) | (size > limit)
        if np.any(beyond):
            return float(np.argmax(beyond))
        if fw.depth >= _DEEPEST:
            last, growth = float(size[-1]), float(size[-1] - size[-2])
            if growth * fw.depth <= _SATURATED * last:
                return inf
            return float(floor(fw.depth + (limit - last) / growth))
        fw = continued(fw, min(_STEP * max(fw.depth, 128), _DEEPEST))
