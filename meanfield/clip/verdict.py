"""`ClipVerdict`: what a clip level comes to, in a word and in a sentence."""

from enum import StrEnum

__all__ = ["ClipVerdict"]


class ClipVerdict(StrEnum):
    """What depth does to the variance in networks of finite width, in a sentence."""

    HOLDS = (
        "holds: every variance comes to q, and in networks of this width and depth it stays near; "
        "use it: initializer(choice.point) draws weights for it"
    )
    HOLDS_IN_ITS_BASIN = (
        "holds in its basin: other variances are stable too, but the noise of networks of this "
        "width and depth does not carry them there; scale the inputs into the basin"
    )
    STRAYS = (
        "strays: q is the only stable variance, but the noise of this width carries networks of "
        "this depth far above it; lower slope or sparsity, or take a larger width"
    )
    ESCAPES = (
        "escapes: the noise of this width carries networks of this depth out of the basin of q; "
        "lower slope or sparsity, or take a larger width"
    )
    UNSTABLE = (
        "unstable: |V'(q)| is not below 1, so that no layer brings the variance back to q; lower m"
    )
    UNRESOLVED = (
        "unresolved: the basin of q could not be computed; look at other_fixed_points, or scale "
        "the activation"
    )
