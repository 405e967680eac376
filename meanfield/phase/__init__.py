"""Phase diagrams: from one-variable tables to every quantity on a grid of variances."""

from meanfield.phase.diagram import PhaseDiagram, phase_diagram

__all__ = ["PhaseDiagram", "phase_diagram"]
