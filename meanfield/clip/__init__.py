"""Choosing where to clip activations that make hidden layers sparse, so that they can be deep."""

from meanfield.clip.choice import ClipChoice, ClipTrajectory, ClipVerdict
from meanfield.clip.diagram import ClipDiagram, ClipRegion, clip_diagram
from meanfield.clip.noise import Noise
from meanfield.clip.threshold import clip_threshold

__all__ = [
    "ClipChoice",
    "ClipDiagram",
    "ClipRegion",
    "ClipTrajectory",
    "ClipVerdict",
    "Noise",
    "clip_diagram",
    "clip_threshold",
]
