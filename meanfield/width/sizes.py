"""Depth and widths, checked before anything is allocated."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.network import short

__all__ = ["checked_depth", "widths_of"]

_MOST_LAYERS = 10**7
_BYTES = 400  # a layer, in all arrays that are alive at once


def checked_depth(depth: Any) -> int:
    """A number of layers, or an error that says what is one."""
    if isinstance(depth, bool) or not isinstance(depth, int | np.integer):
        raise TypeError(f"depth: must be a whole number of layers, got {depth!r}")
    if depth < 1:
        raise ValueError(f"depth: must be a number of layers, 1 or more, got {depth!r}")
    if depth > _MOST_LAYERS:
        raise ValueError(
            f"depth: {depth} layers would take {depth * _BYTES / 2**30:.3g} GiB; it must be at "
            f"most {_MOST_LAYERS}"
        )
    return int(depth)


def widths_of(width: Any, depth: int) -> NDArray[np.int64]:
    """The number of inputs, and of neurons of each layer: shape `(depth + 1,)`."""
    array = np.asarray(width)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise TypeError(
            f"width: must be a whole number of neurons, or {depth} of them, got {width!r}"
        )
    if np.any(array < 1):
        raise ValueError(f"width: a layer has at least 1 neuron, got {short(array)}")
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
