"""One page on an activation: what the rest of the package computes, with what to do about it."""

from meanfield.reporting.citations import citation
from meanfield.reporting.report import Entry, Report, Section, report

__all__ = ["Entry", "Report", "Section", "citation", "report"]
