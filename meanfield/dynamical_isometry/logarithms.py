r"""Mean and variance of `log s` of a Jacobian, on the real axis alone.

At `z = -y` the transform `m = -E[x / (y + x)]`, `x = s^2`, rises from minus the probability of
`x > 0` to 0, and exchanging the integrals over `y` and `x`

    int log(y) dm = E[log x],        int log(y)^2 dm = E[log(x)^2] + (pi^2/3) P(x > 0)

over all `x > 0`. With `u = -e^t` below all `X = phi'^2` everything is real and smooth in `t`,

    m = -E[X / (e^t + X)],    log y = L (log weight_var + t + log(-m/n)) - log(-m/n) - L log S_W(m),

with `n = 1 + m`: no curve, no edges, no poles, at any depth.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meanfield.activation import Activation
from meanfield.dynamical_isometry.residual_curve import slopes
from meanfield.ensembles import Ensemble

__all__ = ["log_moments"]

Array = NDArray[np.float64]

_BEYOND = 45.0  # powers of e beyond all X: exp(-45) is rounding
_STEP = 0.3  # of the trapezoidal rule, which errs by exp(-2 pi^2 / step)
_NEAR = 28.0  # powers of e before the rank of the weights, which is found to 1e-14
_OCTAVES = 40  # towards zeros of phi', where log X is singular
_AT_ONCE = 1 << 20


def log_moments(
    activation: Activation, q: float, weight_var: float, depth: int, weights: Ensemble
) -> tuple[float, float]:
    """Mean and variance of `log s` over the singular values that are not 0.

    Raises:
        UnresolvedError: the activation cannot be sampled.
    """
    x, p, zero = slopes(activation, q, 2, _OCTAVES)
    share = min(1 - zero, getattr(weights, "ratio", 1.0))
    ends = np.log(x[0]) - _BEYOND, np.log(x[-1]) + _BEYOND
    if share < 1 - zero:  # the weights have the lower rank: m = -rank at a finite t
        low = _root(x, p, share, *ends) + 1e-13
        tau = np.arange(-_NEAR, np.log(ends[1] - low), 0.5 * _STEP)
        t, width = low + np.exp(tau), 0.5 * _STEP * np.exp(tau)
    else:
        t = np.arange(*ends, _STEP)
        width = np.full(len(t), _STEP)
    m, n, rise = np.empty((3, len(t)))
    for i in range(0, len(t), step := max(1, _AT_ONCE // len(x))):
        some = slice(i, i + step)
        y = np.exp(t[some, None])
        below, above = x / (y + x), y / (y + x)
        m[some], n[some], rise[some] = -below @ p, zero + above @ p, (below * above) @ p
    log_y = depth * (np.log(weight_var) + t) + (depth - 1) * (np.log(-m) - np.log(n))
    log_y -= depth * weights.log_s(m, n)
    weight = rise * width / share
    mean = float(weight @ log_y)
    return 0.5 * mean, 0.25 * (float(weight @ (log_y - mean) ** 2) - np.pi**2 / 3)


def _root(x: Array, p: Array, share: float, low: float, high: float) -> float:
    from scipy.optimize import brentq

    root: Any = brentq(lambda t: (x / (np.exp(t) + x)) @ p - share, low, high, xtol=1e-14)
    return float(root)
