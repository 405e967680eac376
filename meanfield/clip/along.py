"""The theory of a clipped network layer by layer: variance, noise of the width, sparsity."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from meanfield.clip.choice import ClipTrajectory
from meanfield.ensembles import Orthogonal, ensemble_of
from meanfield.gaussian import MOMENTS
from meanfield.maps.variance import variance_map

if TYPE_CHECKING:
    from meanfield.clip.choice import ClipChoice

__all__ = ["trajectory"]

_PHI2, _PHI4, _SPARSITY = (MOMENTS.index(name) for name in ("phi2", "phi4", "sparsity"))


def trajectory(choice: "ClipChoice", depth: int, q0: ArrayLike) -> ClipTrajectory:
    """`ClipChoice.trajectory`."""
    from meanfield.criticality import checked_variances

    start = checked_variances("q0", q0)
    if start.ndim:
        raise ValueError(f"q0: must be one variance, got {q0!r}")
    q = np.asarray(variance_map(choice.point).iterate(float(start), depth), np.float64)
    moments = choice.activation.moments(q, derivatives=True)
    assert moments.first is not None
    value, w = moments.value, choice.weight_var
    spread = w * w * (value[:, _PHI4] - value[:, _PHI2] ** 2)
    slope = w * moments.first[:, _PHI2]
    is_orthogonal = isinstance(ensemble_of(choice.point.network.weights), Orthogonal)
    lost = 2 * (q - choice.bias_var) ** 2 * is_orthogonal
    vertex = np.empty(len(q))
    vertex[0] = -lost[0]
    for layer in range(depth):
        vertex[layer + 1] = spread[layer] + slope[layer] ** 2 * vertex[layer] - lost[layer + 1]
    kernel, sampled = (
        np.sqrt(np.maximum(vertex + extra, 0.0) / choice.width) for extra in (lost, 2 * q * q)
    )
    return ClipTrajectory(q, value[:, _SPARSITY], kernel, sampled)
