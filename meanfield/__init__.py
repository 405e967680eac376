"""Mean-field signal propagation: where depth takes a wide random network.

Give any activation `phi`; get the initialisation at which signals and gradients survive depth::

    import meanfield as mf

    point = mf.critical("gelu", q=1.0)  # or any elementwise function: JAX, NumPy, torch
    point.weight_var, point.bias_var

Conventions, everywhere:

- Randomness is given by variances, never by standard deviations: `W_ij ~ N(0, weight_var / fan_in)`
  and `b_i ~ N(0, bias_var)`.
- `q` is the variance of the pre-activations, `V(q) = weight_var E[phi(sqrt(q) z)^2] + bias_var`
  with `z ~ N(0, 1)` takes it through one layer, and `chi1 = weight_var E[phi'(sqrt(q) z)^2]` is
  the factor by which a layer multiplies the mean squared gradient. Critical means `chi1 = 1`.
- Results are float64 whatever `jax_enable_x64` says; importing changes no setting of JAX.

Names load on first use, so `import meanfield` itself imports nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meanfield import bridges as bridges
    from meanfield import ensembles as ensembles
    from meanfield import layers as layers
    from meanfield import plot as plot
    from meanfield import schemes as schemes
    from meanfield.activation import Activation
    from meanfield.clip import (
        ClipChoice,
        ClipDiagram,
        ClipRegion,
        ClipTable,
        ClipVerdict,
        clip_diagram,
        clip_table,
        clip_threshold,
    )
    from meanfield.criticality import critical, critical_line
    from meanfield.dynamical_isometry.classes import (
        Universality,
        q_for_depth,
        universality,
    )
    from meanfield.dynamical_isometry.isometry import Isometry, isometry
    from meanfield.dynamical_isometry.limit_depth import depth_of_limit
    from meanfield.dynamical_isometry.mirrored import mirrored, mirrored_weights
    from meanfield.dynamical_isometry.residual import ResidualSpectrum, residual_spectrum
    from meanfield.dynamical_isometry.universal import UniversalSpectrum, universal_spectrum
    from meanfield.dynamical_isometry.verdict import IsometryVerdict
    from meanfield.errors import (
        MeanFieldError,
        NoCriticalPointError,
        NotElementwiseError,
        UnresolvedError,
    )
    from meanfield.fixedpoints import FixedPoints, Verdict, fixed_points
    from meanfield.guessing import GuessingBias, guessing_bias
    from meanfield.hermite import HermiteCoefficients, hermite_coefficients
    from meanfield.initializers import bias_initializer, initializer
    from meanfield.maps.correlation import CorrelationFixedPoint, CorrelationMap, correlation_map
    from meanfield.maps.correlation_trajectory import CorrelationTrajectory
    from meanfield.maps.variance import VarianceMap, variance_map
    from meanfield.maps.variance_trajectory import VarianceTrajectory
    from meanfield.network import FixedPoint, Network, Phase
    from meanfield.phase import PhaseDiagram, phase_diagram
    from meanfield.reporting import Report, citation, report
    from meanfield.search import critical_points
    from meanfield.simulation.compare import Comparison
    from meanfield.simulation.result import Simulation
    from meanfield.simulation.run import simulate
    from meanfield.spectrum import Spectrum, jacobian_spectrum, layered_spectrum
    from meanfield.width import (
        FiniteWidth,
        FiniteWidthPair,
        finite_width,
        finite_width_pair,
        tangent_kernel,
    )

__version__ = "0.1.0"

_MODULE_OF = {
    "Activation": "activation",
    "ClipChoice": "clip",
    "ClipDiagram": "clip",
    "ClipRegion": "clip",
    "ClipTable": "clip",
    "ClipVerdict": "clip",
    "Comparison": "simulation.compare",
    "CorrelationFixedPoint": "maps.correlation",
    "CorrelationMap": "maps.correlation",
    "CorrelationTrajectory": "maps.correlation_trajectory",
    "FiniteWidth": "width",
    "FiniteWidthPair": "width",
    "FixedPoint": "network",
    "FixedPoints": "fixedpoints",
    "GuessingBias": "guessing",
    "HermiteCoefficients": "hermite",
    "Isometry": "dynamical_isometry.isometry",
    "IsometryVerdict": "dynamical_isometry.verdict",
    "MeanFieldError": "errors",
    "Network": "network",
    "NoCriticalPointError": "errors",
    "NotElementwiseError": "errors",
    "Phase": "network",
    "PhaseDiagram": "phase",
    "ResidualSpectrum": "dynamical_isometry.residual",
    "Simulation": "simulation.result",
    "Spectrum": "spectrum",
    "UniversalSpectrum": "dynamical_isometry.universal",
    "Universality": "dynamical_isometry.classes",
    "UnresolvedError": "errors",
    "VarianceMap": "maps.variance",
    "VarianceTrajectory": "maps.variance_trajectory",
    "Verdict": "fixedpoints",
    "bias_initializer": "initializers",
    "clip_diagram": "clip",
    "clip_table": "clip",
    "clip_threshold": "clip",
    "correlation_map": "maps.correlation",
    "critical": "criticality",
    "critical_line": "criticality",
    "critical_points": "search",
    "depth_of_limit": "dynamical_isometry.limit_depth",
    "finite_width": "width",
    "finite_width_pair": "width",
    "fixed_points": "fixedpoints",
    "guessing_bias": "guessing",
    "hermite_coefficients": "hermite",
    "initializer": "initializers",
    "isometry": "dynamical_isometry.isometry",
    "jacobian_spectrum": "spectrum",
    "layered_spectrum": "spectrum",
    "mirrored": "dynamical_isometry.mirrored",
    "mirrored_weights": "dynamical_isometry.mirrored",
    "phase_diagram": "phase",
    "report": "reporting",
    "citation": "reporting",
    "Report": "reporting",
    "q_for_depth": "dynamical_isometry.classes",
    "residual_spectrum": "dynamical_isometry.residual",
    "simulate": "simulation.run",
    "tangent_kernel": "width",
    "universal_spectrum": "dynamical_isometry.universal",
    "universality": "dynamical_isometry.classes",
    "variance_map": "maps.variance",
}

__all__ = [
    "Activation",
    "ClipChoice",
    "ClipDiagram",
    "ClipRegion",
    "ClipTable",
    "ClipVerdict",
    "Comparison",
    "CorrelationFixedPoint",
    "CorrelationMap",
    "CorrelationTrajectory",
    "FiniteWidth",
    "FiniteWidthPair",
    "FixedPoint",
    "FixedPoints",
    "GuessingBias",
    "HermiteCoefficients",
    "Isometry",
    "IsometryVerdict",
    "MeanFieldError",
    "Network",
    "NoCriticalPointError",
    "NotElementwiseError",
    "Phase",
    "PhaseDiagram",
    "ResidualSpectrum",
    "Simulation",
    "Spectrum",
    "UniversalSpectrum",
    "Universality",
    "UnresolvedError",
    "VarianceMap",
    "VarianceTrajectory",
    "Verdict",
    "bias_initializer",
    "clip_diagram",
    "clip_table",
    "clip_threshold",
    "correlation_map",
    "critical",
    "critical_line",
    "critical_points",
    "depth_of_limit",
    "finite_width",
    "finite_width_pair",
    "fixed_points",
    "guessing_bias",
    "hermite_coefficients",
    "initializer",
    "isometry",
    "jacobian_spectrum",
    "layered_spectrum",
    "mirrored",
    "mirrored_weights",
    "phase_diagram",
    "report",
    "citation",
    "Report",
    "q_for_depth",
    "residual_spectrum",
    "simulate",
    "tangent_kernel",
    "universal_spectrum",
    "universality",
    "variance_map",
]


# not in need of an import of their own
_SUBMODULES = ("bridges", "ensembles", "layers", "plot", "schemes")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULE_OF:
        from difflib import get_close_matches

        close = get_close_matches(name, (*__all__, *_SUBMODULES))
        nearest = f"; the nearest names are {', '.join(close)}" if close else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{nearest}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # the next access is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBMODULES, *(n for n in globals() if n.startswith("__"))})
