r"""How far the variance of a finite network strays from its fixed point.

A layer of width `n` takes the variance `K` to `weight_var mean(phi(z)^2) + bias_var`, the mean over
`n` neurons instead of all. The source of its noise, and what a fixed point makes of it by pulling
back, are (Roberts, Yaida & Hanin 2022, arXiv 2106.10165, chapter 4; orthogonal weights: Day, Kahn
& Roberts 2023, arXiv 2310.07765)

    S = weight_var^2 (E[phi^4] - E[phi^2]^2),        n Var(K) = S + V'^2 V4,
    V4 = (S + vertex (q - bias_var)^2) / (1 - V'^2)

with `V4/n` the covariance of the squares of two neurons and the vertex of the weights 0 if their
entries are independent, -2 if they are orthogonal (`meanfield.width.vertices`). The mean square
that one sees in a layer strays more, its `n` neurons being a sample:
`n Var(mean z^2) = V4 + 2 q^2`. Leading order in `1/n`, and linear in the distance from `q`.
"""

from math import inf
from typing import Any, NamedTuple

import numpy as np

from meanfield.ensembles import Ensemble, Gaussian, ensemble_of
from meanfield.network import short
from meanfield.width.vertices import vertex_of

__all__ = ["Noise", "noise_of", "vertex_of_weights"]


class Noise(NamedTuple):
    """Standard deviations, after many layers, at one width.

    Attributes:
        kernel: of the variance that a layer hands on, given all weights.
        sampled: of the mean square of the pre-activations of a layer.
    """

    kernel: Any
    sampled: Any

    def __repr__(self) -> str:
        return f"Noise(kernel={short(self.kernel)}, sampled={short(self.sampled)})"


def noise_of(
    q: Any, bias_var: Any, slope: Any, source: Any, width: int, weights: str | Ensemble
) -> Noise:
    """The noise at a fixed point, from its slope `V'` and source `S`, numbers or arrays.

    Raises:
        ValueError: the vertex of the weights is not known.
    """
    lost = -vertex_of_weights(weights, width) * (q - bias_var) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = np.where(np.abs(slope) < 1, (source - lost) / (1 - np.square(slope)), inf)
        kernel = np.sqrt(np.maximum(vertex + lost, 0.0) / width)
        sampled = np.sqrt(np.maximum(vertex + 2 * np.square(q), 0.0) / width)
    return Noise(kernel[()], sampled[()])


def vertex_of_weights(weights: str | Ensemble, width: int) -> float:
    """The vertex of a square matrix; rows of independent entries are independent themselves.

    Raises:
        ValueError: it is not known.
    """
    ensemble = ensemble_of(weights)
    return 0.0 if isinstance(ensemble, Gaussian) else vertex_of(ensemble, width, width)
