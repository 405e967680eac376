"""On which circles the curve lies: the edges of the spectrum, in the plane of `u`."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.spectrum.gaps import gaps
from meanfield.spectrum.transform import Transform

__all__ = ["Arc", "arcs"]

Array = NDArray[np.float64]

_ON_AXIS = 1e-6  # Im F is 0 or a multiple of pi, and known to rounding


class Arc(NamedTuple):
    """An interval of the radius `r` in which the curve lies, and whether its ends are soft.

    At a soft end, outside of `X`, the curve comes down to the axis like a root. At an atom of `X`
    it may do that, or touch the axis there: such ends are bent too.
    """

    low: float
    high: float
    soft: tuple[bool, bool]
    bent: tuple[bool, bool]


def arcs(transform: Transform, bands: Array) -> list[Arc]:
    """Where the curve lies, from the top down: bands of `X`, and what is not free between them.

    Divided at the atoms of `X` and at their shoulders: an atom of `X` that is all but one of the
    product is a singularity.
    """

    def margin(log_r: Array) -> Array:
        """There `Im F = 0` and `D > 0`."""
        point = transform.at(log_r.astype(complex))
        free = np.isfinite(point.D.real) & (np.abs(point.F.imag) < _ON_AXIS)
        return np.where(free, point.D.real, -1.0)

    ends = np.array([0.0, *np.ravel(gaps(margin, bands)), np.inf])
    walls = np.setdiff1d(bands, transform.law.roots)
    atoms = transform.law.atoms[:, 0]
    at = np.union1d(atoms, transform.law.shoulders)
    found = []
    for low, high in ends.reshape(-1, 2).tolist():
        if high > low:
            inside = at[(at > low) & (at < high)]
            cuts = [low, *inside.tolist(), high]
            for a, b in zip(cuts[:-1], cuts[1:], strict=True):
                hard = [end in at or end in walls or end in (0, np.inf) for end in (a, b)]
                bent = tuple(end in at or not h for end, h in zip((a, b), hard, strict=True))
                found.append(Arc(a, b, (not hard[0], not hard[1]), (bent[0], bent[1])))
    return found[::-1]
