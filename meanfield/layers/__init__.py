"""Architectures made of layers, each a map of the same mean-field state.

As in::

    import meanfield.layers as ml

    block = ml.residual(ml.serial(ml.dense(2.0), ml.activation("gelu"), ml.dense(1.0)), scale=0.1)
    trace = ml.propagate(ml.repeat(block, 100), q=1.0, correlation=0.3)

A new layer is one class, with the map of the `State` and the same with finite width. Inverted
dropout, which draws a mask for each input:

    >>> import numpy as np, meanfield.layers as ml
    >>> from dataclasses import dataclass, replace
    >>> @dataclass(frozen=True)
    ... class Dropout(ml.Layer):
    ...     keep: float
    ...     def __call__(self, state):
    ...         drawn_apart = (1 - self.keep) * (1 - np.eye(len(state.variance)))
    ...         return replace(state, variance=state.variance / self.keep, gaussian=False,
    ...                        one_minus=self.keep * state.one_minus + drawn_apart)
    ...     def sample(self, x, rng):
    ...         return x * (rng.random(x.shape) < self.keep) / self.keep
    >>> block = ml.serial(ml.activation("relu"), Dropout(0.9), ml.dense(2 * 0.9))
    >>> trace = ml.propagate(ml.repeat(block, 100), q=1.0, correlation=0.5)
    >>> [round(float(x), 4) for x in (trace.variance[-1], trace.correlation[-1])]
    [1.0, 0.6271]
"""

from meanfield.layers.architecture import dag
from meanfield.layers.attention import attention, critical_beta
from meanfield.layers.composition import identity, parallel, repeat, residual, serial
from meanfield.layers.convolution import convolution, fourier_modes, mode_depth_scales
from meanfield.layers.critical import CriticalScale, critical, fixup_scale
from meanfield.layers.dag import Dag, DagTrace
from meanfield.layers.dense import activation, dense
from meanfield.layers.graph.aggregate import aggregate
from meanfield.layers.graph.network import graph_network
from meanfield.layers.graph.result import GraphNetwork, GraphVerdict
from meanfield.layers.graph.sample import GraphSample, sample_graph_network
from meanfield.layers.graph.virgo import Virgo, virgo
from meanfield.layers.layer import Layer
from meanfield.layers.maxout import gated, maxout, maxout_moments
from meanfield.layers.mirrored import both_signs, looks_linear
from meanfield.layers.noise import averaged, dropout, kept_variance
from meanfield.layers.normalisation import batch_norm, layer_norm, rms_norm
from meanfield.layers.propagate import Trace, TraceVerdict, propagate
from meanfield.layers.state import State

__all__ = [
    "CriticalScale",
    "Dag",
    "DagTrace",
    "GraphNetwork",
    "GraphSample",
    "GraphVerdict",
    "Layer",
    "State",
    "Trace",
    "TraceVerdict",
    "Virgo",
    "activation",
    "aggregate",
    "attention",
    "averaged",
    "batch_norm",
    "both_signs",
    "convolution",
    "critical",
    "critical_beta",
    "dag",
    "dense",
    "dropout",
    "fixup_scale",
    "fourier_modes",
    "gated",
    "graph_network",
    "identity",
    "kept_variance",
    "layer_norm",
    "looks_linear",
    "maxout",
    "maxout_moments",
    "mode_depth_scales",
    "parallel",
    "propagate",
    "repeat",
    "residual",
    "rms_norm",
    "sample_graph_network",
    "serial",
    "virgo",
]
