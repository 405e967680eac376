r"""Named initialisation schemes: what variance each gives to a layer, and what it acts like.

    LeCun 1                       Glorot 2 fan_in/(fan_in + fan_out)     He 2 (or 2/(1 + slope^2))
    Kumar 1/(phi'(0)^2 (1 + phi(0)^2))             LSUV 1/E[phi(z)^2], orthogonal
    VI3NR q/E[phi(sqrt(q) z)^2] at the q where chi1 = 1 without biases
    SIREN 2, first layer omega^2/(3 fan_in)        spectral min(1, fan_out/fan_in)
    PyTorch 1/3, biases 1/(3 fan_in)               Fixup 2 L^(-1/(m-1)) in L branches of m layers
    DAG 2/in_degree                                looks-linear 2, mirrored orthogonal blocks

A whole graph of layers, each node with its in-degree, is `meanfield.layers.dag`.

Three of them are no plain layers. What they do to a signal is what another network does:

    DAG            in_degree branches of variance 2/in_degree    of one layer of variance 2
    looks-linear   [W, -W] [phi(x), phi(-x)], fan_in 2n          of phi(x) - phi(-x) at half of it
    Fixup          last layers that are 0                        of the skip connections alone
"""

from collections.abc import Callable
from math import inf, sqrt
from typing import NamedTuple

import numpy as np

from meanfield.activation import Activation
from meanfield.criticality import critical
from meanfield.errors import NoCriticalPointError
from meanfield.gaussian import MOMENTS
from meanfield.network import Network

__all__ = ["SCHEMES", "Scheme", "Shape", "spectral_norm"]


class Shape(NamedTuple):
    """What a scheme looks at: the layer, and where it stands."""

    activation: Activation
    fan_in: int
    fan_out: int
    in_degree: int
    blocks: int
    branch_layers: int


class Scheme(NamedTuple):
    """A rule, and where it comes from."""

    rule: Callable[[Shape], tuple[float, float]]  # weight_var, bias_var
    weights: str
    source: str
    acts_as: Callable[[Shape], Network] | None = None
    first: Callable[[float, int], float] | None = None  # weight_var of a first layer set apart


def _moment(activation: Activation, q: float, name: str) -> float:
    return float(activation.moments(np.array([q])).value[0, MOMENTS.index(name)])


def _kumar(shape: Shape) -> tuple[float, float]:
    box = shape.activation.sampled
    at = box(np.array([-1e-9, 1e-9]))
    value, slope = float(np.mean(at.value)), float(np.diff(at.value)[0] / 2e-9)
    if np.min(np.abs(shape.activation.kinks), initial=inf) < 1e-9 or not slope:
        raise NoCriticalPointError(
            f"phi: {shape.activation.name} has no slope at 0 to linearise by; take he, or "
            "critical(phi)"
        )
    return 1 / (slope**2 * (1 + value**2)), 0.0


def _vi3nr(shape: Shape) -> tuple[float, float]:
    return float(critical(shape.activation, bias_var=0.0).weight_var), 0.0


def _critical(shape: Shape) -> tuple[float, float]:
    point = critical(shape.activation, q=1.0)
    return float(point.weight_var), float(point.bias_var)


def _mirrored(shape: Shape) -> Network:
    from meanfield.dynamical_isometry.mirrored import mirrored

    return Network(mirrored(shape.activation), 1.0, weights="orthogonal")


def _fixup(shape: Shape) -> tuple[float, float]:
    from meanfield.layers.critical import fixup_scale

    return 2 * fixup_scale(shape.blocks, shape.branch_layers) ** 2, 0.0


SCHEMES = {
    "lecun": Scheme(lambda _: (1.0, 0.0), "gaussian", "LeCun et al. 1998, Efficient BackProp"),
    "glorot": Scheme(
        lambda shape: (2 * shape.fan_in / (shape.fan_in + shape.fan_out), 0.0), "gaussian",
        "Glorot & Bengio 2010",
    ),
    "he": Scheme(lambda _: (2.0, 0.0), "gaussian", "He et al. 2015, arXiv 1502.01852"),
    "pytorch": Scheme(
        lambda shape: (1 / 3, 1 / (3 * shape.fan_in)), "gaussian",
        "torch.nn.Linear.reset_parameters: uniform on +-1/sqrt(fan_in), biases too",
    ),
    "orthogonal": Scheme(lambda _: (1.0, 0.0), "orthogonal", "Saxe et al. 2014, arXiv 1312.6120"),
    "dag": Scheme(
        lambda shape: (2 / shape.in_degree, 0.0), "gaussian",
        "Chen, Wu, Wang & Hanin 2024, arXiv 2402.17440: nodes that sum in_degree layers",
        acts_as=lambda shape: Network(shape.activation, 2.0),
    ),
    "looks-linear": Scheme(
        lambda _: (2.0, 0.0), "orthogonal",
        "Balduzzi et al. 2017, arXiv 1702.08591; GSM, Burkholz & Dubatovka 2019: mirrored blocks",
        acts_as=_mirrored,
    ),
    "eoi": Scheme(
        lambda _: (1.0, 0.0), "orthogonal", "Nowak et al. 2024, arXiv 2406.01755: sparse, exactly "
        "orthogonal",
    ),
    "lsuv": Scheme(
        lambda shape: (1 / _moment(shape.activation, 1.0, "phi2"), 0.0), "orthogonal",
        "Mishkin & Matas 2016, arXiv 1511.06422: the fixed point of its unit variance",
    ),
    "fixup": Scheme(
        _fixup, "gaussian",
        "Zhang, Dauphin & Ma 2019, arXiv 1901.09321: in branches, whose last layers are 0",
        acts_as=lambda _: Network("identity", 1.0),
    ),
    "kumar": Scheme(_kumar, "gaussian", "Kumar 2017, arXiv 1704.08863"),
    "vi3nr": Scheme(_vi3nr, "gaussian", "VI3NR, CVPR 2025, arXiv 2504.19270"),
    "siren": Scheme(
        lambda _: (2.0, 0.0), "gaussian",
        "Sitzmann et al. 2020, arXiv 2006.09661: for phi = sin(x), frequencies in the weights",
        first=lambda omega, inputs: omega**2 / (3 * inputs),
    ),
    "spectral": Scheme(
        lambda shape: (min(1.0, shape.fan_out / shape.fan_in), 0.0), "gaussian",
        "Yang, Simon & Bernstein 2023, arXiv 2310.17813",
    ),
    "edge of chaos": Scheme(_critical, "gaussian", "critical(phi, q=1)"),
}  # fmt: skip


def spectral_norm(weight_var: float, weights: str, fan_in: int, fan_out: int) -> float:
    """`|W|_2` of large layers: Bai & Yin's `sqrt(weight_var) (1 + sqrt(fan_out/fan_in))`.

    Of orthogonal ones all singular values are one, of the same mean square of entries.
    """
    ratio = fan_out / fan_in
    return sqrt(weight_var) * (1 + sqrt(ratio) if weights == "gaussian" else max(1.0, sqrt(ratio)))
