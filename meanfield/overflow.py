"""Beyond the largest float64: exponential growth continued.

`E[exp(z)^2] = exp(2q)` is a normal number up to `q = 354`, though its mass lies around `x = 2q`
and `exp(x)` overflows at 709. Where `log |phi|` is linear to rounding on the outer half of the
samples it is taken to stay so, and `phi` is sampled as a number of size 1 times `exp(log_scale)`.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from meanfield.legendre import ORDER, WEIGHTS, nodes
from meanfield.precision import EPS
from meanfield.samples import Samples

__all__ = ["continued"]

Array = NDArray[np.float64]

_LARGE = 1e250  # from here on the end is an overflow
_FARTHEST = 4.25  # times the place of overflow: beyond, even E[phi] overflows at every variance
_PANELS = 128  # up to the place of overflow


def continued(samples: Samples, reach: float) -> Samples:
    """The samples, continued up to `reach` at each end where `phi` overflows exponentially."""
    for end in (0, 1):
        samples = _continued_at(samples, reach, end)
    return samples


def _continued_at(samples: Samples, reach: float, end: int) -> Samples:
    last, sign = abs(samples.reach[end]), (-1.0, 1.0)[end]
    outer = sign * samples.x > 0.5 * last
    x, value, slope = samples.x[outer], samples.value[outer], samples.slope[outer]
    one_sign = np.all(value > 0) or np.all(value < 0)
    if samples.broken[end] is None or not one_sign or np.max(np.abs(value)) < _LARGE:
        return samples
    log = np.log(np.abs(value))
    start, rate = np.polynomial.polynomial.polyfit(x, log, 1)
    doubt = 4 * EPS * np.max(np.abs(log))
    linear = np.abs(start + rate * x - log) <= doubt
    if not np.all(linear & (np.abs(slope / value - rate) <= 1e-6 * abs(rate))):
        return samples
    farthest = min(reach, _FARTHEST * last)
    edges = np.linspace(last, farthest, int(np.ceil(_PANELS * (farthest / last - 1))) + 1)
    x = nodes(edges[:-1], edges[1:]).ravel()
    width = np.repeat(np.diff(edges), ORDER)
    size = np.copysign(np.ones_like(x), value[0])
    doubts = doubt * x / last
    added = {
        "x": sign * x,
        "dx": 0.5 * width * np.tile(WEIGHTS, len(edges) - 1),
        "width": width,
        "value": size,
        "slope": rate * size,
        "noise": doubts,
        "slope_noise": abs(rate) * doubts,
        "silent": np.zeros(len(x), bool),
        "log_scale": start + rate * sign * x,
    }
    joined = {}
    for name, array in added.items():
        before = getattr(samples, name)
        joined[name] = np.concatenate([before, array] if end else [array[::-1], before])
    ends, broken = list(samples.reach), list(samples.broken)
    ends[end] = sign * farthest
    if farthest == reach:
        broken[end] = None
    return replace(samples, **joined, reach=tuple(ends), broken=tuple(broken))
