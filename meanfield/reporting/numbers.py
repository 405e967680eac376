"""A report for programs: its results as numbers, by their kinds."""

from typing import Any

from meanfield.reporting.findings import Findings, width_needed
from meanfield.width import FiniteWidth

__all__ = ["numbers_of"]


def numbers_of(found: Findings) -> dict[str, Any]:
    """All results of a report, a record each; None where there is none, see `missing`.

    Records:
        activation: `kinks`, `jumps`, and `classes`: a list of `name` and `q`.
        edge_of_chaos: the `q` on it that were looked at, with `weight_var`, `bias_var` and
            `variance_slope`, as lists.
        point: the recommended critical point, as of `FixedPoint.to_dict`, and whether it `holds`
            its variance.
        fixed_points: all of that network, and the name of its `verdict`.
        correlations: the law of their decay, and `layers_to_alike`, from `c = 0` to `c = 0.99`.
        isometry: the name of the `verdict`, the best `weights`, and `best_q` for this depth.
        spectrum: of the Jacobian of so many layers at `point` with orthogonal weights; `mean` and
            `variance` are those of `s^2`, `quantiles` of `s` by probability.
        finite_width: by ensemble, for this width and depth.
        clip: as of `ClipChoice.to_dict`, but with the name of its `verdict`.
        missing: reasons for what is None, by name.
    """
    return {
        "activation": {
            "kinks": found.activation.kinks.tolist(),
            "jumps": found.activation.jumps.tolist(),
            "classes": [
                {"name": p.universality_class, "q": float(p.q)} for p in found.special
            ],
        },
        "edge_of_chaos": _edge(found),
        "point": None if found.point is None else found.point.to_dict() | {"holds": found.holds},
        "fixed_points": None if found.points is None else {
            "verdict": found.points.verdict.name,
            "points": [p.to_dict() for p in found.points],
        },
        "correlations": _correlations(found),
        "isometry": None if found.isometry is None else {
            "verdict": found.isometry.verdict.name,
            "weights": found.isometry.verdict.weights,
            "best_q": float(found.isometry.best_q),
        },
        "spectrum": _spectrum(found),
        "finite_width": {weights: _width(fw) for weights, fw in found.finite.items()} or None,
        "clip": None if found.clip is None else (
            found.clip.to_dict() | {"verdict": found.clip.verdict.name}
        ),
        "missing": dict(found.missing),
    }  # fmt: skip


def _edge(found: Findings) -> dict[str, Any] | None:
    line = found.edge
    if line is None:
        return None
    names = ("q", "weight_var", "bias_var", "variance_slope")
    return {name: getattr(line, name)[line.valid].tolist() for name in names}


def _correlations(found: Findings) -> dict[str, Any] | None:
    if found.correlations is None:
        return None
    return vars(found.correlations.decay) | {"layers_to_alike": found.layers_to_alike}


def _spectrum(found: Findings) -> dict[str, Any] | None:
    s = found.spectrum
    if s is None:
        return None
    return {
        "s_max": float(s.s_max),
        "mean": float(s.mean),
        "variance": float(s.variance),
        "support": s.support.tolist(),
        "atoms": s.atoms.tolist(),
        "quantiles": {str(p): float(s.quantile(p)) for p in (0.25, 0.5, 0.75)},
        "error": float(s.error),
    }


def _width(fw: FiniteWidth) -> dict[str, Any]:
    gradient = fw.gradient_log_norm
    return {
        "recommended_depth": float(fw.recommended_depth),
        "valid_depth": float(fw.valid_depth),
        "least_width": width_needed(fw),
        "fluctuation": float(fw.fluctuation[-1]),
        "kernel_shift": float(fw.shift[-1]),
        "std_of_mean_square": float(fw.relative_std[-1]),
        "gradient_log_mean": float(gradient.mean[-1]),
        "gradient_log_variance": float(gradient.variance[-1]),
    }
