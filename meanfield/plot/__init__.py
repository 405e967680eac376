"""Pictures of result objects, one file for each diagram.

Each function takes a result and `ax=None`, draws on those axes or on new ones, and returns the
axes: an array of them where a diagram has several panels. None shows or saves anything, changes a
setting of matplotlib, or computes: what is drawn is what the result holds. Further keywords go to
the main line. matplotlib is imported when drawing.
"""

from meanfield.plot.audit import audit
from meanfield.plot.clip import MOST_CURVES, clip_choice, clip_curves, clip_trajectory
from meanfield.plot.clip_map import clip_map
from meanfield.plot.correlation import correlation_map
from meanfield.plot.edges import edges_of_chaos
from meanfield.plot.graph import graph_scale, oversmoothing
from meanfield.plot.isometry import growth, isometry, slope_spread
from meanfield.plot.layers import dag_trace, trace
from meanfield.plot.phase import phase_diagram
from meanfield.plot.report import report
from meanfield.plot.schemes import schemes
from meanfield.plot.simulation import comparison, simulation
from meanfield.plot.spectrum import spectra, spectrum
from meanfield.plot.style import CYCLE, style
from meanfield.plot.trajectories import correlation_trajectory, variance_trajectory
from meanfield.plot.variance import variance_map, variances_in_view
from meanfield.plot.width import finite_width, gradient_fan, output_density, valid_region

__all__ = [
    "CYCLE",
    "audit",
    "MOST_CURVES",
    "clip_choice",
    "clip_curves",
    "clip_map",
    "clip_trajectory",
    "comparison",
    "correlation_map",
    "correlation_trajectory",
    "dag_trace",
    "edges_of_chaos",
    "finite_width",
    "gradient_fan",
    "graph_scale",
    "growth",
    "isometry",
    "output_density",
    "oversmoothing",
    "phase_diagram",
    "report",
    "schemes",
    "simulation",
    "slope_spread",
    "spectra",
    "spectrum",
    "style",
    "trace",
    "valid_region",
    "variance_map",
    "variance_trajectory",
    "variances_in_view",
]
