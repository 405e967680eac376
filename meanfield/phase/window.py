"""Windows of the phase diagram: one around the edge of chaos, and one too large to do at once."""

from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.criticality import critical_line
from meanfield.errors import NoCriticalPointError
from meanfield.phase.diagram import PhaseDiagram, phase_diagram

__all__ = ["around_the_edge", "diagram_in_bands"]

Array = NDArray[np.float64]

_BAND = 1 << 20  # points computed at once: about half a second


def around_the_edge(activation: Activation, points: int) -> tuple[Array, Array]:
    """Grids with room on all sides of the critical point whose `q` is nearest to 1.

    Raises:
        NoCriticalPointError: there is none at `q` from 0.1 to 10.
    """
    try:
        line = critical_line(activation, np.geomspace(0.1, 10.0, 41))
    except NoCriticalPointError:
        line = None
    if line is None or not np.any(line.valid):
        raise NoCriticalPointError(
            f"{activation.name}: no edge of chaos at q from 0.1 to 10, around which the diagram "
            "would be centred: give grids of weight_var and bias_var (--weight-var LOW HIGH, ...)"
        )
    nearest = np.argmin(np.where(line.valid, np.abs(np.log(line.q)), np.inf))
    weight_var, bias_var = line.weight_var[nearest], line.bias_var[nearest]
    return (
        np.linspace(weight_var / 4, 2 * weight_var, points),
        np.linspace(0.0, max(3 * bias_var, 0.1), points),
    )


def diagram_in_bands(
    activation: Activation, weight_var: Array, bias_var: Array, q0: float
) -> PhaseDiagram:
    """The diagram by bands of rows, with a progress bar where a person looks on."""
    from tqdm import tqdm

    bands = np.array_split(bias_var, -(-len(bias_var) * len(weight_var) // _BAND))
    parts = [
        phase_diagram(activation, weight_var, band, q0=q0)
        for band in tqdm(bands, desc=activation.name, unit="band", disable=None, delay=1.0)
    ]
    if len(parts) == 1:
        return parts[0]
    shape = parts[0].q.shape
    names = (f.name for f in fields(PhaseDiagram))
    whole = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in names
        if np.shape(getattr(parts[0], name)) == shape
    }
    return replace(parts[0], **whole, bias_var=bias_var)
