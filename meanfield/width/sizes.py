"""Depth and widths, checked before anything is allocated."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.network import short
from meanfield.whole import whole_number

__all__ = ["depth_of", "widths_of"]

_MOST_LAYERS = 10**7  # all arrays that are alive at once take 400 bytes a layer: 4 GB


def depth_of(depth: Any) -> int:
    """The number of layers."""
    return whole_number("depth", depth, most=_MOST_LAYERS)


def widths_of(width: Any, depth: int) -> NDArray[np.int64]:
    """The number of inputs, and of neurons of each layer: shape `(depth + 1,)`."""
    array = np.asarray(width)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise TypeError(f"width: must be a whole number, or {depth} of them, got {width!r}")
    if np.any(array < 1):
        raise ValueError(f"width: must be at least 1, got {short(array)}")
    if array.ndim == 0:
        return np.full(depth + 1, int(array), np.int64)
    if len(array) == depth:
        return np.concatenate([array[:1], array]).astype(np.int64)
    if len(array) == depth + 1:
        return array.astype(np.int64)
    raise ValueError(
        f"width: must be one number, or one for each of {depth} layers (or {depth + 1} with the "
        f"number of inputs first), got {len(array)}"
    )
