"""Singular values of Jacobians, by free probability."""

from meanfield.spectrum.spectrum import Spectrum, jacobian_spectrum

__all__ = ["Spectrum", "jacobian_spectrum"]
