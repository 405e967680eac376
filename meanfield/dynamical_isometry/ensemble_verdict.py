"""What an ensemble of weights leaves of the isometry of an activation: decided by numbers alone."""

from collections.abc import Sequence
from enum import Enum
from typing import Any

from meanfield.dynamical_isometry.row import MIRRORED
from meanfield.ensembles import Ensemble, LowRank, OrthogonalLowRank, ensemble_of

__all__ = ["EnsembleVerdict", "judge_ensemble", "listed", "sentence"]


class EnsembleVerdict(Enum):
    """Whether an ensemble can be part of an isometric network."""

    ROTATIONS = (
        "matrices are orthogonal but for a factor: the verdict on the activation is that on these "
        "weights, and their singular values are those of dense orthogonal ones"
    )
    SPREAD = (
        "never, with any activation at any q: the singular values of the matrices differ, and that "
        "alone adds {spread:.4g} a layer to the variance of s^2"
    )
    DEFICIENT = (
        "never, with any activation at any q: a share {lost:.4g} of all directions is lost in each "
        "layer, which alone adds {spread:.4g} a layer to the variance of s^2; s = 0 is an atom"
    )

    def __str__(self) -> str:
        return self.value


def judge_ensemble(ensemble: Ensemble) -> EnsembleVerdict:
    """The verdict on an ensemble, by its rank and the spread of its singular values."""
    if isinstance(ensemble, LowRank | OrthogonalLowRank) and ensemble.ratio < 1:
        return EnsembleVerdict.DEFICIENT
    return EnsembleVerdict.SPREAD if ensemble.spread > 0 else EnsembleVerdict.ROTATIONS


def sentence(weights: "str | Ensemble") -> str:
    """The verdict with its numbers."""
    ensemble = ensemble_of(weights)
    lost = 1 - getattr(ensemble, "ratio", 1.0)
    text = str(judge_ensemble(ensemble)).format(spread=ensemble.spread, lost=lost)
    return f"{ensemble}: {text}"


def listed(weights: Any) -> list[Any]:
    """One ensemble or several, checked, as a list; `"mirrored"` stays."""
    if weights is None:
        return []
    if isinstance(weights, Sequence) and not isinstance(weights, str):
        kinds: list[Any] = list(weights)
    else:
        kinds = [weights]
    if not kinds:
        raise ValueError("weights: must name at least one ensemble, got an empty list")
    for kind in kinds:
        if kind != MIRRORED:
            ensemble_of(kind)
    return kinds
