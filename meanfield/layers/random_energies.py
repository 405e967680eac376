r"""Softmax of independent Gaussian scores, at any length: the random energy model, exactly.

Of `T` scores `s_j ~ N(0, sigma^2)` the weights are `A_j = e^(s_j) / Z`. With `1/Z^k = int_0^inf
t^(k-1) e^(-tZ) dt / (k-1)!`, `t = e^a`, and means over one score,

    psi_k(a) = E[e^(k(a+s)) exp(-e^(a+s))],    phi(a) = E[exp(-e^(a+s))] = 1 - u(a),
    E sum_j A_j^k             = T int psi_k phi^(T-1) da / (k-1)!
    E sum_(j != l) A_j^k A_l^k = T (T-1) int psi_k^2 phi^(T-2) da / (2k-1)!

Two rows whose scores have correlation `c` share a part `sigma sqrt(c) w` of each score. Given `w`
they are independent, so that means over both are matrix products, and integrals are over `(a, b)`:

    E sum_j A_j^m B_j^n = T int int m_mn (1 - u_2)^(T-1) da db / ((m-1)! (n-1)!)
    m_mn(a, b) = E_w[psi_m(a + sigma sqrt(c) w) psi_n(b + sigma sqrt(c) w)]

All integrands are analytic in a strip and vanish at both ends: sums over a lattice are integrals to
rounding. That all weights together are 1 is not put in, and says the error.
"""

from functools import lru_cache
from math import factorial, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meanfield.errors import UnresolvedError
from meanfield.normal import normal_rule

__all__ = ["Shares", "shares"]

Array = NDArray[np.float64]

_STEP = 0.28  # Gamma(4 + 2 pi i / h) is 5e-12 of Gamma(4)
_ROUNDING = 1e-11
_LEFT = 30.0  # of the logarithm, where an integral ends
_STRONGEST = 1e3
_PANEL = 2.0  # of the logarithm of the scores: 16 nodes on it leave 3.4^-32
_ALLOWED = 1e-9
_AT_ONCE = 1 << 21
_MOST = 1 << 34  # products, some seconds of them


class Shares(NamedTuple):
    """Means over one row of weights `A`, and over two, `A` and `B`."""

    own: float  # E sum A^2
    spread: float  # the variance of sum A^2
    own_bend: float  # E[sum A^2 - 2 sum A^3 + (sum A^2)^2]
    both: float  # E sum A B
    both_spread: float  # the variance of sum A B
    both_bend: float  # E[sum A B - sum (A^2 B + A B^2) + (sum A B)^2]
    error: float  # of all


@lru_cache(maxsize=256)
def shares(sigma: float, c: float, tokens: float) -> Shares:
    """Of `tokens` scores of standard deviation `sigma`, those of two rows with correlation `c`."""
    if not sigma <= _STRONGEST:
        raise UnresolvedError(
            f"beta: scores of standard deviation {sigma:.3g} are computed up to {_STRONGEST:g}; "
            "attention that strong looks at a single token: take a smaller beta"
        )
    for finer in (1, 2, 4):
        found = _at_step(sigma, c, tokens, _STEP / finer)
        if found.error <= _ALLOWED:
            return found
    raise UnresolvedError(
        f"beta: the weights of {tokens:g} scores of standard deviation {sigma:.3g} are known to "
        f"{found.error:.1g} only; take a smaller beta"
    )


def _at_step(sigma: float, c: float, tokens: float, step: float) -> Shares:
    farthest = sqrt(2 * (log(tokens) + _LEFT))
    step *= _scale(sigma, tokens)
    a = np.arange(-sigma * farthest - log(tokens) - _LEFT, 9 * sigma + 5, step)
    u, *psi = _laplace(a, sigma, farthest, 4)
    rest, last = _powers(u, tokens, step)
    one, two, three, four = (
        float(np.sum(part * rest)) / factorial(k) for k, part in enumerate(psi)
    )
    square = four + float(np.sum(psi[1] ** 2 * last)) / 6  # E (sum A^2)^2
    heard = a[rest > 0]
    both, both_spread, both_bend, of_both = _of_two(heard[0], heard[-1], sigma, c, tokens, farthest)
    return Shares(
        two, max(0.0, square - two**2), two - 2 * three + square,
        both, both_spread, both_bend,
        max(abs(one - 1), abs(of_both - 1), _ROUNDING),
    )  # fmt: skip


def _scale(sigma: float, tokens: float) -> float:
    """On which what scores of this deviation make is smooth: larger where they are frozen."""
    return max(1.0, sigma / sqrt(2 * log(tokens)))


def _of_two(
    first: float, last: float, sigma: float, c: float, tokens: float, farthest: float
) -> tuple[float, float, float, float]:
    from scipy.interpolate import make_interp_spline

    shared, own = sigma * sqrt(abs(c)), sigma * sqrt(1 - abs(c))
    smooth = _scale(own, tokens)
    step = _STEP * smooth
    a = np.arange(first, last + step, step)
    w, p = _rule(farthest, shared / smooth)
    if len(a) ** 2 * len(w) > _MOST:
        raise UnresolvedError(
            f"beta: two rows of {tokens:g} scores of deviation {sigma:.3g} and correlation {c:.6g} "
            "take too much work; take a smaller beta"
        )
    ends = shared * farthest + 10 * step
    lattice = np.arange(a[0] - ends, a[-1] + ends, 0.5 * step)
    spline = make_interp_spline(lattice, np.stack(_laplace(lattice, own, farthest, 2), axis=1), 9)
    (u, one, two), (v, other, others) = (
        np.moveaxis(spline(a + sign * shared * w[:, None]), -1, 0)
        for sign in (1.0, np.copysign(1.0, c))
    )

    def mean(x: Array, y: Array) -> Array:
        return (p[:, None] * x).T @ y

    # 1 - phi_2(a, b)
    rest, others_left = _powers((p @ u)[:, None] + p @ v - mean(u, v), tokens, step**2)
    together = mean(one, other)
    both = float(np.sum(together * rest))
    # of all pairs of weights, which are 1
    apart = float(np.sum(mean(one, 1 - v) * mean(1 - u, other) * others_left))
    mixed = float(np.sum((mean(two, other) + mean(one, others)) * rest))
    square = float(np.sum(mean(two, others) * rest) + np.sum(together**2 * others_left))
    return both, max(0.0, square - both**2), both - mixed + square, both + apart


def _powers(u: Array, tokens: float, measure: float) -> tuple[Array, Array]:
    """`T (1 - u)^(T-1)` and `T (T-1) (1 - u)^(T-2)`, times the cell of the lattice."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_phi = np.log1p(-np.minimum(u, 1.0))
        last = np.exp((tokens - 2) * log_phi) if tokens > 2 else np.ones_like(u)
    rest = tokens * np.exp((tokens - 1) * log_phi)
    return measure * rest, measure * tokens * (tokens - 1) * last


def _laplace(a: Array, sigma: float, farthest: float, count: int) -> list[Array]:
    """`u` and `psi_1, ..., psi_count` at `a`."""
    z, p = _rule(farthest, sigma)
    parts = np.empty((count + 1, len(a)))
    rows = max(1, _AT_ONCE // len(z))
    for i in range(0, len(a), rows):
        e = np.exp(np.minimum(a[i : i + rows, None] + sigma * z, 50.0))  # e^-e is 0 by far
        parts[0, i : i + rows] = -np.expm1(-e) @ p
        power = np.exp(-e)
        for k in range(1, count + 1):
            power *= e
            parts[k, i : i + rows] = power @ p
    return list(parts)


def _rule(farthest: float, sigma: float) -> tuple[Array, Array]:
    """For what is smooth in `sigma z`."""
    panels = int(np.ceil(2 * farthest * sigma / _PANEL)) + 6
    return normal_rule(np.linspace(-farthest, farthest, panels + 1))
