r"""What a weight matrix adds to the four-point vertex: how far it is from independent rows.

For `z = W x` and `i != j`, `Cov(z_i^2, z_j^2) = vertex / fan_in` in units of `E[z_i^2]^2`. A matrix
that is Haar distributed on the left leaves `|z|` random and the direction of `z` uniform, so

    vertex = fan_in (Var(|z|^2) / E[|z|^2]^2 - 2 / fan_out)

to leading order: 0 for Gaussian weights, -2 for square orthogonal ones, whose `|z|` is fixed. For
square matrices it is `2 (spread - 1)`, with the spread of the squared singular values.

Source: Day, Kahn & Roberts 2023, arXiv 2310.07765, for orthogonal weights.
"""

from meanfield.ensembles import Ensemble, Gaussian, LowRank, Orthogonal, OrthogonalLowRank

__all__ = ["vertex_of"]


def vertex_of(weights: Ensemble, fan_out: int, fan_in: int) -> float:
    """The vertex of a matrix of this shape.

    Raises:
        ValueError: the ensemble is not invariant under rotations, so that a single neuron has
            cumulants of its own; or there is no such matrix of these sizes.
    """
    if type(weights) is Gaussian:
        return 0.0
    if type(weights) is Orthogonal:
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
