r"""What a weight matrix adds to the four-point vertex: how far it is from independent rows.

For `z = W x` and `i != j`, `Cov(z_i^2, z_j^2) = vertex / fan_in` in units of `E[z_i^2]^2`. A matrix
that is Haar distributed on the left leaves `|z|` random and the direction of `z` uniform, so

    vertex = fan_in (Var(|z|^2) / E[|z|^2]^2 - 2 / fan_out)

to leading order: 0 for Gaussian weights, -2 for square orthogonal ones, whose `|z|` is fixed. For
square matrices it is `2 (spread - 1)`, with the spread of the squared singular values.

Source: Day, Kahn & Roberts 2023, arXiv 2310.07765, for orthogonal weights.
"""

import numpy as np
from numpy.typing import NDArray

from meanfield.ensembles import (
    DeltaOrthogonal,
    Ensemble,
    Gaussian,
    LowRank,
    Orthogonal,
    OrthogonalLowRank,
)
from meanfield.errors import MeanFieldError

__all__ = ["checked_vertices", "vertex_of"]


def checked_vertices(
    weights: Ensemble, fan: NDArray[np.int64], q: float, bias_var: float
) -> NDArray[np.float64]:
    """The vertex of each layer; an error if inputs cannot give the first one the variance `q`."""
    if np.all(fan == fan[0]):
        vertex = np.full(len(fan) - 1, vertex_of(weights, int(fan[0]), int(fan[0])))
    else:
        shapes = zip(fan[1:].tolist(), fan[:-1].tolist(), strict=True)
        vertex = np.array([vertex_of(weights, out, into) for out, into in shapes])
    if q < bias_var and np.any(vertex != 0):
        raise MeanFieldError(
            f"q: {weights} weights turn the inputs of the first layer, which adds biases of "
            f"variance {bias_var:g}: its q must be at least as much, got {q:g}"
        )
    return vertex


def vertex_of(weights: Ensemble, fan_out: int, fan_in: int) -> float:
    """The vertex of a matrix of this shape.

    Raises:
        ValueError: the ensemble is not invariant under rotations, so that a single neuron has
            cumulants of its own; or there is no such matrix of these sizes.
    """
    if type(weights) is Gaussian:
        return 0.0
    if type(weights) in (Orthogonal, DeltaOrthogonal):
        return -2.0 * min(1.0, fan_in / fan_out)
    if isinstance(weights, LowRank | OrthogonalLowRank):
        rank = round(weights.ratio * min(fan_out, fan_in))
        if rank < 1:
            raise ValueError(
                f"width: {weights} weights of shape ({fan_out}, {fan_in}) have rank 0; take a "
                f"width of at least {1 / weights.ratio:.0f}, or a larger ratio"
            )
        of_length = 2.0 / rank - (0.0 if isinstance(weights, LowRank) else 2.0 / fan_in)
        return fan_in * (of_length - 2.0 / fan_out)
    raise ValueError(
        f"weights: 1/n corrections are for ensembles that are invariant under rotations (gaussian, "
        f"orthogonal, LowRank, OrthogonalLowRank), got {weights}; measure others with simulate"
    )
