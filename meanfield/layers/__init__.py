"""Architectures made of layers, each a map of the same mean-field state.

    import meanfield.layers as ml

    block = ml.residual(ml.serial(ml.dense(2.0), ml.activation("gelu"), ml.dense(1.0)), scale=0.1)
    trace = ml.propagate(ml.repeat(block, 100), q=1.0, correlation=0.3)

A new layer takes one file: a `Layer` with the map of the `State` that it makes.
"""

from meanfield.layers.composition import identity, parallel, repeat, residual, serial
from meanfield.layers.critical import CriticalScale, critical, fixup_scale
from meanfield.layers.dense import activation, dense
from meanfield.layers.layer import Layer
from meanfield.layers.propagate import Trace, TraceVerdict, propagate
from meanfield.layers.state import State

__all__ = [
    "CriticalScale",
    "Layer",
    "State",
    "Trace",
    "TraceVerdict",
    "activation",
    "critical",
    "dense",
    "fixup_scale",
    "identity",
    "parallel",
    "propagate",
    "repeat",
    "residual",
    "serial",
]
