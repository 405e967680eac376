"""Pictures of result objects, one file for each diagram.

Each function takes a result and `ax=None`, draws on those axes or on new ones, and returns the
axes. None shows or saves anything, changes a setting of matplotlib, or computes: what is drawn is
what the result holds. Further keywords go to the main line. matplotlib is imported when drawing.
"""

from meanfield.plot.correlation import correlation_map
from meanfield.plot.edges import edges_of_chaos
from meanfield.plot.graph import oversmoothing
from meanfield.plot.layers import trace
from meanfield.plot.phase import phase_diagram
from meanfield.plot.style import CYCLE, style
from meanfield.plot.trajectories import correlation_trajectory, variance_trajectory
from meanfield.plot.variance import variance_map, variances_in_view

__all__ = [
    "CYCLE",
    "correlation_map",
    "correlation_trajectory",
    "edges_of_chaos",
    "oversmoothing",
    "phase_diagram",
    "style",
    "trace",
    "variance_map",
    "variance_trajectory",
    "variances_in_view",
]
