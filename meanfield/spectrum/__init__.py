"""Singular values of Jacobians, by free probability."""

from meanfield.spectrum.layered import layered_spectrum
from meanfield.spectrum.spectrum import Spectrum, jacobian_spectrum

__all__ = ["Spectrum", "jacobian_spectrum", "layered_spectrum"]
