r"""Weight ensembles: matrices whose entries have one variance, and singular values that differ.

At infinite width the maps of variance and correlation see only the variance of the entries,
`weight_var / fan_in` (Nait Saada, Naderi & Tanner 2024, arXiv 2310.16597). A Jacobian sees more.
An `Ensemble` knows how to draw a matrix, and the S-transform of `W^T W` of a square `W` whose mean
squared singular value is 1::

    Gaussian, Uniform, Sparse, ...  S(m) = 1 / (1 + m)
    Orthogonal, SparseOrthogonal    S(m) = 1
    LowRank                         S(m) = 1 / (1 + m/r)
    OrthogonalLowRank               S(m) = (1 + m) / (1 + m/r)
    MaskedOrthogonal                S(m) = 2 / (1 + 2am + sqrt(1 + 4adm)),  a = 1 - d

with `r` the rank over the width and `d` the density; `BlockSparse` is one of the first. The last is
`sqrt(d)` times an orthogonal matrix plus a free Gaussian one of variance `a`: what the mask takes
away and adds is noise.
"""

from meanfield.ensembles.ensemble import Ensemble
from meanfield.ensembles.independent import (
    BlockSparse,
    Gaussian,
    Sparse,
    TruncatedNormal,
    Uniform,
)
from meanfield.ensembles.low_rank import LowRank, OrthogonalLowRank, rank_of
from meanfield.ensembles.orthogonal import (
    DeltaOrthogonal,
    MaskedOrthogonal,
    Orthogonal,
    SparseOrthogonal,
)

__all__ = [
    "BlockSparse",
    "DeltaOrthogonal",
    "Ensemble",
    "Gaussian",
    "LowRank",
    "MaskedOrthogonal",
    "Orthogonal",
    "OrthogonalLowRank",
    "Sparse",
    "SparseOrthogonal",
    "TruncatedNormal",
    "Uniform",
    "ensemble_of",
    "rank_of",
]

_PLAIN = (Uniform, TruncatedNormal, DeltaOrthogonal, Gaussian, Orthogonal)
_NAMED = {kind.name: kind for kind in _PLAIN}


def ensemble_of(weights: "str | Ensemble") -> Ensemble:
    """The ensemble that a name or an `Ensemble` means.

    Raises:
        ValueError: there is none of this name.
        TypeError: it is neither.
    """
    if isinstance(weights, Ensemble):
        return weights
    if isinstance(weights, str):
        if weights in _NAMED:
            return _NAMED[weights]()
        raise ValueError(
            f"weights: must be one of {', '.join(map(repr, _NAMED))} or made in "
            f"meanfield.ensembles, as ensembles.LowRank(0.25); got {weights!r}"
        )
    raise TypeError(f"weights: must be the name of an ensemble or an Ensemble, got {weights!r}")
