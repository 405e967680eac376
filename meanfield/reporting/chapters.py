"""What a report says: findings as named values, each with a sentence on what to do with it."""

from collections.abc import Callable
from math import inf, isfinite
from typing import NamedTuple

import numpy as np

from meanfield.dynamical_isometry.verdict import IsometryVerdict
from meanfield.network import digits, intervals
from meanfield.reporting.findings import Findings, width_needed
from meanfield.reporting.paste import Block, blocks_of
from meanfield.search import valid_spans
from meanfield.width import FiniteWidth

__all__ = ["Entry", "Section", "headline_of", "references_of", "sections_of"]


_CLASSES = {
    "scale-invariant": "Every variance is kept: it is the inputs that set it.",
    "K*=0": "As q goes to 0 neither the size of a signal nor the angle of two changes, to first "
    "order: small signals get through the deepest networks.",
    "half-stable": "Neither size nor angle changes there, to first order, but the variance comes "
    "back from one side only: noise carries it away on the other.",
}


class Entry(NamedTuple):
    """A named value, and what to do with it."""

    name: str
    value: str
    advice: str = ""


class Section(NamedTuple):
    """A chapter: entries, and blocks of code to paste."""

    title: str
    entries: tuple[Entry, ...]
    code: tuple[Block, ...] = ()


def sections_of(found: Findings) -> tuple[Section, ...]:
    """All chapters; those without anything to tell are left out."""
    raw = "" if found.clip is None else ", unclipped"
    chapters = (
        Section("The activation", _activation(found)),
        Section("Clipping", _clip(found)),
        Section(f"Critical initialisation{raw}", _critical(found)),
        Section(f"Depth{raw}", _depth(found)),
        Section(f"Gradients{raw}", _gradients(found)),
        Section(f"Finite width{raw}, with Gaussian weights", _width(found)),
        Section("To paste", (), _blocks(found)),
    )
    return tuple(chapter for chapter in chapters if chapter.entries or chapter.code)


def headline_of(found: Findings) -> tuple[tuple[str, str], ...]:
    """Names and short values of what a person came for."""
    if found.point is None:
        return (("edge of chaos", "none here"),)
    clip = found.clip
    chosen = found.point if clip is None else clip.point
    values = [
        *([("clip at", f"{clip.m:.6g}")] if clip else []),
        ("weight_var", f"{float(chosen.weight_var):.6g}"),
        ("bias_var", f"{float(chosen.bias_var):.6g}"),
        ("variance q", f"{float(chosen.q):.6g}, {'held' if clip or found.holds else 'not held'}"),
    ]
    if "gaussian" in found.finite and clip is None:
        most = found.finite["gaussian"].recommended_depth
        layers = "any" if most == inf else f"{most:.0f} layers"
        values.append((f"deepest at width {found.width}", layers))
    return tuple(values)


def _activation(found: Findings) -> tuple[Entry, ...]:
    phi = found.activation
    kinks = ", ".join(f"{x:.6g}" for x in phi.kinks[:6]) + ", ..." * (len(phi.kinks) > 6)
    entries = [Entry("kinks", kinks or "none", _of_kinks(found, bool(kinks)))]
    if len(phi.jumps):
        entries.append(
            Entry(
                "jumps",
                ", ".join(f"{x:.6g}" for x in phi.jumps[:6]),
                "Where the function itself jumps gradients are infinite; replace it by a steep "
                "continuous one.",
            )
        )
    for point in found.special:
        where = "every q" if point.universality_class == "scale-invariant" else f"q = {point.q:.6g}"
        entries.append(
            Entry(
                f"class {point.universality_class}",
                where,
                _CLASSES[str(point.universality_class)],
            )
        )
    if not found.special:
        entries.append(
            Entry(
                "class",
                "none",
                "No point has both susceptibilities at 1, so nothing singles out a q.",
            )
        )
    return tuple(entries)


def _of_kinks(found: Findings, has_kinks: bool) -> str:
    kind = None if found.correlations is None else found.correlations.decay.kind
    if kind == "kink":
        return (
            "At a kink the slope jumps: correlations then approach 1 as 1/depth^2, without kinks "
            "as 1/depth."
        )
    if kind == "none":
        return "Linear: depth changes no correlation."
    if not has_kinks:
        return "Smooth: on the edge of chaos correlations approach 1 as 1/depth."
    if kind == "smooth":
        return (
            "Too slight, or too far out, to count here: on the edge of chaos correlations approach "
            "1 as 1/depth, as without kinks."
        )
    return "Integrals are split there; give kinks= if one is missing."


def _critical(found: Findings) -> tuple[Entry, ...]:
    point = found.point
    if point is None:
        why = found.missing.get("point") or found.missing.get("edge", "")
        return (Entry("edge of chaos", "none here", f"{why}." if why else ""),)
    e = point.errors
    entries = [
        Entry(
            "weight_var",
            digits(float(point.weight_var), e.get("weight_var")),
            "Draw weights with this variance over fan-in: std = sqrt(weight_var / fan_in)."
            if found.clip is None
            else "Rather clip, and take the variances above: with this one the variance runs away.",
        ),
        Entry(
            "bias_var",
            digits(float(point.bias_var), e.get("bias_var")),
            "Draw biases with this variance."
            if point.bias_var > 0
            else "Start biases at 0.",
        ),
        Entry(
            "q",
            digits(float(point.q), e.get("q")),
            "The variance of the pre-activations, in every layer. In the first it takes inputs of "
            f"mean square {float(point.input_second_moment):.6g}: tell initializer(point, "
            "input_second_moment=...) what yours have (init_ of torch takes them to have 1).",
        ),
        Entry("slope V'(q)", digits(float(point.variance_slope), e.get("variance_slope")),
              _stability(found)),
        Entry("curvature V''(q)", digits(float(point.variance_curvature),
              e.get("variance_curvature")), _curvature(found)),
    ]  # fmt: skip
    if found.edge is not None and np.any(found.edge.valid):
        q = found.edge.q[found.edge.valid]
        whole = len(q) == len(found.edge.q)
        entries.append(
            Entry(
                "edge of chaos",
                "for every q looked at, 0.001 to 1000"
                if whole
                else " and ".join(
                    f"q from {a:.4g} to {b:.4g}" for a, b in valid_spans(point.activation)
                ),
                "Any other q on it is critical too: critical(phi, q=...).",
            )
        )
    return tuple(entries)


def _stability(found: Findings) -> str:
    point = found.point
    assert point is not None
    if found.points is not None and found.points.continuum:
        return "Every variance is kept as it is, so the inputs set it."
    if point.stable:
        basin = _basin(found)
        where = f" ({intervals(basin)})" if basin else ""
        return f"Below 1: stable, a variance that is off comes back{where}, by this factor a layer."
    elsewhere = found.best_stable
    if found.clip is not None:
        instead = "" if elsewhere is None else f", or take a q that holds, such as {elsewhere:.4g}"
        return f"Not below 1: the variance runs away; clip the activation as above{instead}."
    return "Not below 1: the variance does not come back to q. " + (
        f"Take another q on the edge of chaos, such as {elsewhere:.4g}, or normalise layers."
        if elsewhere is not None
        else "Nor does it at any other q of this edge of chaos: normalise layers."
    )


def _basin(found: Findings) -> tuple[tuple[float, float], ...]:
    """The variances that come to the recommended one; empty if none do, or nobody knows."""
    point, points = found.point, found.points or ()
    assert point is not None
    near = (p.basin for p in points if p.stable and abs(p.q - point.q) <= 1e-6 * point.q)
    return next(near, None) or ()


def _curvature(found: Findings) -> str:
    point = found.point
    assert point is not None
    if abs(float(point.q * point.variance_curvature)) < 1e-6:
        return "Straight around q: far from it a variance moves by the same factor."
    basin = _basin(found)
    ends = [end for end in (basin[0][0], basin[-1][1]) if 0 < end < inf] if basin else []
    beyond = " or ".join(f"{end:.4g}" for end in ends)
    return "How the slope changes with the variance" + (
        f": what noise takes beyond q = {beyond} does not come back."
        if ends
        else ", which comes back from wherever noise takes it."
        if basin
        else "."
    )


def _depth(found: Findings) -> tuple[Entry, ...]:
    if found.point is None:
        return ()
    if found.correlations is None:
        return (Entry("correlations", "unknown", f"{found.missing['correlations']}."),)
    decay = found.correlations.decay
    trainable = float(found.point.trainable_depth)
    if decay.kind == "none":
        advice = "Two inputs stay as different as they are, at any depth."
    elif isfinite(trainable):
        advice = f"Signals get about {trainable:.0f} layers far (six depth scales)."
    else:
        advice = (
            "A power of depth and no exponential: there is no depth at which signals die, but "
            f"two independent inputs differ by 1 % after {_layers(found.layers_to_alike)}."
        )
    return (Entry("correlations", str(decay), advice),)


def _layers(count: int | None) -> str:
    return "one layer" if count == 1 else f"about {count} layers"


def _gradients(found: Findings) -> tuple[Entry, ...]:
    entries = []
    if found.point is not None:
        chi1 = digits(float(found.point.chi1), found.point.errors.get("chi1"))
        entries.append(Entry("chi1", chi1, "The mean squared gradient is multiplied by this in "
                             "each layer; at 1 it is kept."))  # fmt: skip
    judged = found.isometry
    if judged is not None:
        text = str(judged.verdict)
        entries.append(Entry("dynamical isometry", judged.verdict.name.lower().replace("_", " "),
                             text[0].upper() + text[1:] + "."))  # fmt: skip
        entries.append(Entry("best weights", judged.verdict.weights, "Draw matrices so: no other "
                             "ensemble has singular values nearer to each other."))  # fmt: skip
        if judged.verdict in (IsometryVerdict.AT_ZERO, IsometryVerdict.AT_INFINITY):
            entries.append(
                Entry(
                    f"q for {found.depth} layers",
                    f"{judged.best_q:.4g}",
                    "With orthogonal weights and this q the squared singular values of the "
                    "Jacobian have variance 1 at that depth.",
                )
            )
    if found.spectrum is not None and found.point is not None:
        s = found.spectrum
        entries.append(
            Entry(
                "largest singular value",
                digits(s.s_max, s.s_max * s.error),
                f"Of the Jacobian of {found.depth} layers with orthogonal weights at q = "
                f"{float(found.point.q):.4g}: the most by which a small change of the input is "
                "amplified.",
            )
        )
    return tuple(entries)


def _width(found: Findings) -> tuple[Entry, ...]:
    if not found.finite:
        return ()
    if all(width_needed(fw) == inf for fw in found.finite.values()):
        return (
            Entry(
                "width",
                "none is enough",
                "E[phi^4] or E[phi'^4] is infinite at this q: layers of any width fluctuate "
                "without bound.",
            ),
        )

    def each(shown: Callable[[FiniteWidth], str]) -> str:
        """The value with Gaussian weights, and beside it that with others."""
        texts = {weights: shown(fw) for weights, fw in found.finite.items()}
        beside = "".join(f" ({w}: {text})" for w, text in texts.items() if w != "gaussian")
        return texts.get("gaussian", "") + beside

    def depth(fw: FiniteWidth) -> str:
        return "any" if fw.recommended_depth == inf else f"{fw.recommended_depth:.0f}"

    def width(fw: FiniteWidth) -> str:
        least = width_needed(fw)
        return "any" if least <= 1 else "none" if least == inf else f"{least:.0f}"

    def std(fw: FiniteWidth) -> str:
        last = float(fw.relative_std[-1])
        return f"{100 * last:.2g} %" if last < 1 else "more than the mean"

    return (
        Entry(
            f"depth at width {found.width}",
            each(depth),
            "At most: deeper, gradients of two networks drawn alike differ by a factor e, or "
            "the variance fluctuates as much as it is.",
        ),
        Entry(
            f"width for {found.depth} layers",
            each(width),
            "At least. Depth over width is what counts: twice as wide may be twice as deep.",
        ),
        Entry(
            "std of the mean square",
            each(std),
            f"Of the pre-activations of layer {found.depth}, over its mean: how different two "
            "networks drawn alike are. Wider layers make it smaller.",
        ),
    )


def _clip(found: Findings) -> tuple[Entry, ...]:
    if found.clip is None:
        why = found.missing.get("clip")
        return (Entry("clip", "not possible", f"{why}."),) if why else ()
    choice = found.clip
    text = str(choice.verdict)
    return (
        Entry(
            "clip at",
            f"{choice.m:.6g}",
            f"Clipped there, V' is 0.7: {text}.",
        ),
        Entry("weight_var, bias_var", f"{float(choice.weight_var):.6g}, "
              f"{float(choice.bias_var):.6g}", "Of the clipped activation."),
    )  # fmt: skip


def _blocks(found: Findings) -> tuple[Block, ...]:
    if found.point is None:
        return ()
    clip = found.clip
    chosen = found.point if clip is None else clip.point
    return blocks_of(chosen, found.activation, clipped=clip is not None)


def references_of(found: Findings) -> tuple[str, ...]:
    """Keys of the papers that what is told rests on."""
    used = ["poole2016"]
    if found.correlations is not None:
        used += ["schoenholz2017", "hayou2019"]
    if found.special:
        used.append("roberts2022")
    if found.isometry is not None or found.spectrum is not None:
        used.append("pennington2018")
    if found.finite:
        used += ["hanin2018", "day2023"]
    if found.clip is not None:
        used.append("price2024")
    return tuple(used)
