"""What is to be clipped, and how: one of the two families at a threshold, or any activation."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from typing import Any

from meanfield.activation import Activation, as_activation
from meanfield.clip.clipping import CLIPS, Clip, refuse_bounded
from meanfield.clip.families import FAMILIES, Family, Thresholded, family_named
from meanfield.clip.moments import Clippable
from meanfield.clip.numbers import number, share
from meanfield.clip.sampled import ClippedSamples
from meanfield.errors import NoCriticalPointError

__all__ = ["Subject", "subject_of"]


@dataclass(frozen=True, eq=False)
class Subject:
    """An activation to be clipped at levels yet to be chosen.

    Attributes:
        clip: how it is clipped.
        family: the family it is of, and
        tau: its threshold; both None for an activation of one's own, which is
        own.
    """

    clip: Clip
    family: Family | None = None
    tau: float | None = None
    own: Activation | None = None

    @property
    def name(self) -> str:
        """What to call it in messages."""
        if self.family is not None:
            return f"{self.family.name}(tau={self.tau:.6g})"
        return self.unclipped.name

    @property
    def is_bounded(self) -> bool:
        """Whether it is bounded on both sides once it is clipped."""
        return self.clip.below and self.clip.above

    @cached_property
    def unclipped(self) -> Activation:
        """The activation before it is clipped."""
        if self.family is not None and self.tau is not None:
            return self.family.activation(self.tau)
        assert self.own is not None
        return self.own

    def clipped(self, m: float) -> Activation:
        """The activation clipped at `m`."""
        closed = self.closed
        if closed is not None:
            return closed.family.activation(closed.tau, m)
        return self.clip.activation(self.unclipped, m)

    def clippable(self, largest: float) -> Clippable:
        """Its moments at many clip levels, for variances up to the largest."""
        return self.closed or ClippedSamples(self.unclipped, self.clip, largest)

    @property
    def closed(self) -> Thresholded | None:
        """Closed forms, where there are any."""
        if self.family is None or self.tau is None:
            return None
        sharp = self.clip is CLIPS["two-sided"]
        sharp |= self.clip is CLIPS["upper"] and self.family.sides == 1
        return Thresholded(self.family, self.tau) if sharp else None

    def refuse(self) -> None:
        """Raise if there is nothing that a clip could do: it is bounded already, or it jumps."""
        if self.family is not None:
            return
        refuse_bounded(self.unclipped, self.clip)
        jumps = self.unclipped.jumps
        if len(jumps):
            raise NoCriticalPointError(
                f"phi: {self.name} jumps at x = {jumps[0]:.6g}, so chi1 is infinite and there is "
                "no edge of chaos whatever the clip level; take a continuous approximation of it"
            )

    def at(self, tau: float | None) -> "Subject":
        """The same with another threshold."""
        return replace(self, tau=tau)


def subject_of(phi: Any, sparsity: Any, tau: Any, q: float, clip: Clip) -> Subject:
    """The subject that arguments name, or an error that says what is missing or too much."""
    family = family_named(phi)
    if family is None:
        for name, value in (("sparsity", sparsity), ("tau", tau)):
            if value is not None:
                raise ValueError(
                    f"{name}: only of {' and '.join(FAMILIES)} is the threshold chosen here, got "
                    f"{value!r}; bring an activation of your own with its threshold inside"
                )
        return Subject(clip, own=as_activation(phi))
    if (sparsity is None) == (tau is None):
        raise ValueError(
            f"sparsity, tau: {family.name} needs one of them, the share of silent neurons or the "
            f"threshold; got sparsity={sparsity!r}, tau={tau!r}"
        )
    if tau is None:
        wanted = share("sparsity", sparsity, "silent neurons")
        return Subject(clip, family, float(family.threshold(wanted, q)))
    threshold = number("tau", tau)
    if not isfinite(threshold) or (family.sides == 2 and threshold < 0):
        least = ", not negative" if family.sides == 2 else ""
        raise ValueError(f"tau: must be a finite number{least}; got {tau!r}")
    return Subject(clip, family, threshold)
