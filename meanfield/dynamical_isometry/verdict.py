"""Whether an activation can be isometric, and how: decided by numbers alone."""

from enum import StrEnum

import numpy as np

from meanfield.activation import Activation
from meanfield.dynamical_isometry.mirrored import mirrored
from meanfield.dynamical_isometry.scan import EdgeScan, edge_scan
from meanfield.errors import MeanFieldError

__all__ = ["IsometryVerdict", "judge"]

_HALF_OF_IT = 0.5  # the share of the spread that units which are off must explain to be the reason


class IsometryVerdict(StrEnum):
    """Whether all singular values of a deep Jacobian can be near 1; the way to it in a sentence."""

    EXACT = (
        "exactly isometric: phi'^2 is the same everywhere, so with orthogonal weights all singular "
        "values are equal at any depth and any q"
    )
    AT_ZERO = (
        "isometric in the limit q -> 0: with orthogonal weights the singular values come as close "
        "to each other as one likes; q_for_depth(depth) is the q that a depth can afford"
    )
    AT_INFINITY = (
        "isometric in the limit q -> infinity: with orthogonal weights the singular values come as "
        "close to each other as one likes; q_for_depth(depth) is the q that a depth needs"
    )
    MIRRORED = (
        "never as it stands, but exactly isometric with mirrored orthogonal weights: they make "
        "it act as mirrored(phi), which is linear"
    )
    CENTRED = (
        "never as it stands: at small q, where all units have one slope, there is no edge of "
        "chaos, because phi(0) is not 0; subtract phi(0), and it is isometric in the limit q -> 0"
    )
    MIRRORED_LIMIT = (
        "never as it stands, but with mirrored orthogonal weights isometric in a limit: they make "
        "it act as mirrored(phi); isometry(mirrored(phi)) says at which q"
    )
    OFF = (
        "never: at every q on the edge of chaos a share of the units is off, and each layer takes "
        "their part of all directions away; the singular values spread in proportion to the depth"
    )
    NEVER = (
        "never: at every q on the edge of chaos the slopes of units differ, and each layer spreads "
        "the singular values by as much again; best_q has the least spread"
    )
    NO_EDGE = (
        "no edge of chaos: at no q is there a critical initialisation, so singular values grow or "
        "shrink with depth on the mean; subtract its mean from the activation, or choose another"
    )

    @property
    def is_possible(self) -> bool:
        """Whether the activation is isometric as it stands, exactly or in a limit."""
        return self in (type(self).EXACT, type(self).AT_ZERO, type(self).AT_INFINITY)

    @property
    def weights(self) -> str:
        """The ensemble with which the singular values come nearest to each other."""
        in_mirror = self in (type(self).MIRRORED, type(self).MIRRORED_LIMIT)
        return "mirrored" if in_mirror else "orthogonal"


def judge(scan: EdgeScan) -> IsometryVerdict:
    """The verdict on an activation from its scan, and from those of what it can be made into.

    | the edge of chaos                               | its spread of phi'^2      | verdict     |
    | ----------------------------------------------- | ------------------------- | ----------- |
    | is nowhere                                      |                           | NO_EDGE     |
    | is somewhere                                    | 0 everywhere              | EXACT       |
    | reaches q -> 0                                  | vanishes there            | AT_ZERO     |
    | reaches q -> infinity                           | vanishes there            | AT_INFINITY |
    | none of these, but that of mirrored(phi)        | is EXACT                  | MIRRORED    |
    | ... does not reach q -> 0, but for phi - phi(0) | is EXACT or AT_ZERO       | CENTRED     |
    | ... that of mirrored(phi)                       | AT_ZERO or AT_INFINITY    | MIRRORED_LIMIT |
    | else: P(phi' = 0) > 0 everywhere                | at least half due to that | OFF         |
    | else                                            |                           | NEVER       |
    """
    as_it_stands = _as_it_stands(scan)
    if as_it_stands is not None:
        return as_it_stands
    V = IsometryVerdict
    in_mirror = of_mirrored(scan.activation)
    if in_mirror is V.EXACT:
        return V.MIRRORED
    if scan.at_zero == 0 and _of(_centred(scan.activation)) in (V.EXACT, V.AT_ZERO):
        return V.CENTRED
    if in_mirror is not None:
        return V.MIRRORED_LIMIT
    if not np.any(scan.valid):
        return V.NO_EDGE
    off, least = float(np.min(scan.spread.off[scan.valid])), scan.best()[1]
    # if a share is off and all others have one slope, the spread is off / (1 - off)
    return V.OFF if 0 < _HALF_OF_IT * least * (1 - off) <= off else V.NEVER


def of_mirrored(activation: Activation) -> IsometryVerdict | None:
    """The verdict on `mirrored(phi)`, if it is isometric, exactly or in a limit."""
    return _of(mirrored(activation))


def _centred(activation: Activation) -> Activation:
    function = activation.function
    at_zero = float(activation.sampled.values(np.zeros(1))[0])
    return Activation(lambda x: function(x) - at_zero, activation.given_kinks)


def _of(activation: Activation) -> IsometryVerdict | None:
    """The verdict, if it is isometric as it stands."""
    try:
        verdict = _as_it_stands(edge_scan(activation))
    except MeanFieldError:  # an even function has no odd part
        return None
    return verdict if verdict is not None and verdict.is_possible else None


def _as_it_stands(scan: EdgeScan) -> IsometryVerdict | None:
    if not np.any(scan.valid):
        return None
    if scan.exact:
        return IsometryVerdict.EXACT
    if scan.vanishes_at(0):
        return IsometryVerdict.AT_ZERO
    return IsometryVerdict.AT_INFINITY if scan.vanishes_at(-1) else None
