"""Choosing where to clip activations that make hidden layers sparse, so that they can be deep."""

from meanfield.clip.choice import ClipChoice
from meanfield.clip.diagram import ClipDiagram, ClipRegion, clip_diagram
from meanfield.clip.noise import Noise
from meanfield.clip.table import ClipTable, clip_table
from meanfield.clip.threshold import clip_threshold
from meanfield.clip.trajectory import ClipTrajectory
from meanfield.clip.verdict import ClipVerdict

__all__ = [
    "ClipChoice",
    "ClipDiagram",
    "ClipRegion",
    "ClipTable",
    "ClipTrajectory",
    "ClipVerdict",
    "Noise",
    "clip_diagram",
    "clip_table",
    "clip_threshold",
]
