"""Weights of finite layers, drawn of any ensemble."""

from functools import lru_cache
from math import prod, sqrt

import numpy as np
from numpy.typing import NDArray

from meanfield.ensembles import Ensemble, Gaussian
from meanfield.precision import double

__all__ = ["drawn_weights"]

Array = NDArray[np.float64]


def drawn_weights(
    weights: Ensemble, width: int, rng: np.random.Generator, field: tuple[int, ...] = ()
) -> Array:
    """A kernel of shape `(*field, width, width)` to multiply signals with from the right.

    Its entries have variance `1 / fan_in`, with fan-in `width` times the places of the field.
    """
    if type(weights) is Gaussian:  # by NumPy: nothing to compile for each width
        return rng.normal(size=(*field, width, width)) / sqrt(width * prod(field))
    import jax

    with double():
        kernel = _compiled(weights, width, field)(jax.random.key(int(rng.integers(1 << 63))))
    return np.moveaxis(np.asarray(kernel), 0, -1)


@lru_cache(maxsize=64)
def _compiled(weights: Ensemble, width: int, field: tuple[int, ...]):
    import jax

    return jax.jit(lambda key: weights.draw_kernel(key, field, width, width, 1.0, np.float64))
