r"""Gaussian moments of a sampled activation, at any number of variances.

With `z ~ N(0, q)`, `u = z / sqrt(q)` and the probabilists' Hermite polynomials `He_k`,

    E[f]          = sum_n f(x_n) exp(-x_n^2 / 2q) dx_n / sqrt(2 pi q)
    dE[f]/dq      = E[He_1(u) f'] / (2 sqrt(q))      = E[He_2(u) f] / (2q)
    d^2 E[f]/dq^2 = E[He_3(u) f'] / (4 q^(3/2))      = E[He_4(u) f] / (4q^2)

by Stein's lemma, where a jump `J` of `f` at `b` adds `J` times the density at `b` to `f'`. For
powers of `phi` the forms with `f'` are used: those with `f` lose 1/q to rounding, these 1/sqrt(q).
For powers of `phi'` only the others are free of `phi''`, so that kinks and jumps stay harmless.

The sums are matrix products of weights with columns of samples, in blocks of one size: they
compile once, whatever the activation.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from meanfield.precision import EPS, concrete
from meanfield.samples import Samples
from meanfield.unseen import POWERS, Unseen, add_jumps, beyond, doubt_kinks, is_deep, unseen_of

__all__ = ["MOMENTS", "Columns", "Moments", "columns_of", "lost_share", "moments_of"]

Array = NDArray[np.float64]

MOMENTS = ("phi", "phi2", "phi4", "dphi2", "dphi4", "sparsity")
_UNDERFLOW = 750.0  # exp(-750) is 0
_NODES = 1024  # samples a block
_VARIANCES = 64  # variances a block, where there are several


@dataclass(frozen=True)
class Moments:
    """`E[phi], E[phi^2], E[phi^4], E[phi'^2], E[phi'^4], P(phi = 0)` along the last axis.

    `first` and `second` are derivatives in `q` (None if they were not asked for). Each array has
    beside it a bound of its absolute error, `inf` where the moment could not be computed.
    """

    value: Array
    error: Array
    first: Array | None = None
    first_error: Array | None = None
    second: Array | None = None
    second_error: Array | None = None


@dataclass(frozen=True)
class Columns:
    """Samples as blocks of columns to be weighted, and what their sums cannot see."""

    samples: Samples
    host_blocks: tuple[tuple[Array, ...], ...]  # x, width, log scale, columns
    nearest: Array  # of each block to zero; 0 where its samples are scaled
    powers: tuple[NDArray[np.bool_], ...]  # which sums each block is for; empty: for all
    unseen: Unseen

    @cached_property
    def blocks(self) -> tuple[tuple[jax.Array, ...], ...]:
        """The blocks on JAX's default device."""
        with concrete():
            return tuple(tuple(map(jax.device_put, block)) for block in self.host_blocks)


@np.errstate(all="ignore")  # what overflows comes out as inf
def columns_of(samples: Samples) -> Columns:
    """Arrange samples for `moments_of`; powers that would overflow are scaled panel by panel."""
    size = np.maximum(np.abs(samples.value), np.abs(samples.slope))
    largest = np.inf if np.any(samples.log_scale) else float(np.max(size, initial=0.0))
    exponent = np.where(size > 1e60, np.floor(np.log2(np.maximum(size, 1.0))), 0.0)
    blocks: list[tuple[Array, ...]] = []
    powers: list[NDArray[np.bool_]] = []
    for power in (0, 1, 2, 4) if largest > 1e70 else (1,):
        parts = _parts(samples, exponent, power, _HEADROOM * (largest > 1e70))
        cuts = range(0, len(parts[0]), _NODES)
        blocks.extend(tuple(part[i : i + _NODES] for part in parts) for i in cuts)
        powers.extend([np.tile(power == POWERS, 6)] * len(cuts))
    scaled = tuple(powers) if largest > 1e70 else ()
    nearest = np.array([np.min(np.abs(x)) * (not np.any(log)) for x, _, log, _ in blocks])
    return Columns(samples, tuple(blocks), nearest, scaled, unseen_of(samples))


def _parts(samples: Samples, exponent: Array, power: int, headroom: float) -> list[Array]:
    """`x, width, log scale, columns`, padded to whole blocks."""
    unscale = np.exp2(-exponent)
    v, d = samples.value * unscale, samples.slope * unscale
    n, m = samples.noise * unscale, samples.slope_noise * unscale
    silent = samples.silent.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        above, steeper = np.abs(v) + n, np.abs(d) + m
        even = [v, v**2, v**4, d**2, d**4, silent]
        odd = [d, 2 * v * d, 4 * v**3 * d]
        most_even = [above, above**2, above**4, steeper**2, steeper**4, silent]
        most_odd = [steeper, 2 * above * steeper, 4 * above**3 * steeper]
    tables = []
    for functions, most in ((even, most_even), (odd, most_odd)):
        f = np.stack(functions)
        bad = ~np.isfinite(f)  # at a singularity: anything may be missing
        f[bad] = 0.0
        size = np.abs(f)
        doubt = np.stack(most) - size + 12 * EPS * size
        doubt[bad] = np.inf
        tables.append({"f": f, "doubt": doubt, "size": size})
    length = _NODES * -(-len(samples.x) // _NODES)
    columns = np.zeros((length, len(_POWER_OF_X)))
    x, start = samples.x, 0
    for parity, kind, k in _LAYOUT:
        weight = samples.dx * (x if kind == "f" else np.abs(x)) ** k
        table = tables[parity][kind]
        columns[: len(x), start : start + len(table)] = (table * weight).T
        start += len(table)
    log = (power * exponent - headroom) * np.log(2.0) + power * samples.log_scale
    vectors = [samples.x, samples.width, log]
    return [*(np.pad(part, (0, length - len(x)), "edge") for part in vectors), columns]


# Groups of columns: parity of the functions, the functions themselves or the doubt about them
# (noise of the samples, and rounding of a sum of them) or their sizes, and a power of x. The first
# groups are all that moments need, the others are for derivatives.
_LAYOUT = (
    (0, "f", 0), (0, "doubt", 0), (0, "size", 0), (0, "size", 2),
    (0, "f", 2), (0, "f", 4), (0, "doubt", 2), (0, "doubt", 4), (0, "size", 4), (0, "size", 6),
    (1, "f", 1), (1, "f", 3), (1, "doubt", 1), (1, "doubt", 3),
    (1, "size", 1), (1, "size", 3), (1, "size", 5),
)  # fmt: skip
_POWER_OF_X = np.concatenate([np.full((6, 3)[parity], k) for parity, _, k in _LAYOUT])
_FOR_VALUES = 24
# Sums of x^6 |phi|^4, of which errors are made, exceed float64 before the moments do. Where samples
# are scaled they are summed this many binades lower.
_HEADROOM = 64


def _sums(q, x, width, power_log, columns, count, xp: Any = jnp):
    """Sums over nodes of `count` columns, weighted, and of what the panels lose: `(n, 2 count)`.

    Powers of `u = x / sqrt(q)` are in the columns, as powers of `x`: one exponential, one product.
    """
    x, width, power_log, q = x[None, :], width[None, :], power_log[None, :], q[:, None]
    weight = xp.exp(power_log - 0.5 * x * x / q) / xp.sqrt(2 * np.pi * q)
    rows = xp.stack([weight, weight * lost_share(x, width, q, xp)])
    return xp.concatenate([*(rows @ columns[:, :count])], axis=1)


_compiled_sums = jax.jit(_sums, static_argnums=5)


def lost_share(x, width, q, xp: Any = jnp):
    """Share of an integral over the panel at `x` that sixteen nodes may miss.

    They integrate a weight that changes by `exp(T)` across the panel, times `t^8`, to better than
    `(T / 88)^16`. On graded panels `T` is large only where the weight is negligible.
    """
    share = xp.minimum(xp.abs(x) * width / (88.0 * q), 1.0)
    for _ in range(4):
        share = share * share
    return share


def _meaning() -> Array:
    """The matrix from sums to moments and errors, for q = 1.

    The columns of the result are six moments and their six errors, then the same for first and
    second derivatives: from odd powers of `u` for powers of `phi`, from even ones for the
    others. An error is the doubt of the columns, the rounding `EPS u^2` of the exponent, and
    what the panels lose.
    """
    start = dict(zip(_LAYOUT, np.cumsum([0] + [(6, 3)[g[0]] for g in _LAYOUT]), strict=False))
    count = len(_POWER_OF_X)
    matrix = np.zeros((2 * count, 36))
    hermite = {0: {0: 1}, 1: {1: 1}, 2: {2: 1, 0: -1}, 3: {3: 1, 1: -3}, 4: {4: 1, 2: -6, 0: 3}}
    for order in range(3):
        for moment in range(6):
            odd = int(order > 0 and moment < 3)
            result = 12 * order + moment
            for k, factor in hermite[2 * order - odd].items():
                matrix[start[odd, "f", k] + moment, result] = factor
                matrix[start[odd, "doubt", k] + moment, result + 6] = abs(factor)
                matrix[start[odd, "size", k + 2] + moment, result + 6] += EPS * abs(factor)
                matrix[count + start[odd, "size", k] + moment, result + 6] += abs(factor)
    return matrix


_ALL = _meaning()
_VALUES = np.vstack([_ALL[:_FOR_VALUES, :12], _ALL[len(_POWER_OF_X) :][:_FOR_VALUES, :12]])


_EXPONENTS = {n: -0.5 * np.tile(_POWER_OF_X[:n], 2) for n in (len(_POWER_OF_X), _FOR_VALUES)}


def _moments_from(sums: Array, q: Array, derivatives: bool) -> Array:
    """Moments and errors from sums; what rests on a sum that is not finite is inf."""
    matrix, count = (_ALL, len(_POWER_OF_X)) if derivatives else (_VALUES, _FOR_VALUES)
    sums = sums * q[:, None] ** _EXPONENTS[count]
    bad = ~np.isfinite(sums)
    if not bad.any():
        return sums @ matrix
    result = np.where(bad, 0.0, sums) @ matrix
    result[bad @ (matrix != 0)] = np.inf
    return result


@np.errstate(all="ignore")
def moments_of(
    columns: Columns, q: Array, derivatives: bool = False
) -> tuple[Moments, Array | None]:
    """Moments at the variances `q`, shape `(n,)`; arrays of the result have shape `(n, 6)`.

    Beside them a bound of what lies beyond each end of the samples, shape (2, n, 6) (inf: does not
    converge), not yet part of the error; None where it is negligible throughout.
    """
    total = _total(columns, q, derivatives)
    value, error = total[:, :6], total[:, 6:12]
    first = first_error = second = second_error = None
    if derivatives:
        root = np.sqrt(q)[:, None]
        scale = np.concatenate([np.repeat(0.5 / root, 3, 1), np.repeat(0.5 / root**2, 3, 1)], 1)
        first, first_error = total[:, 12:18] * scale, total[:, 18:24] * scale
        scale *= 0.5 / root**2
        second, second_error = total[:, 24:30] * scale, total[:, 30:36] * scale
        if len(columns.samples.jumps):
            add_jumps(columns.samples, q, first, second, first_error, second_error)
    if len(columns.samples.kinks):
        doubt_kinks(columns.unseen, q, error, first_error, second_error)
    outside = None
    if not is_deep(columns.unseen, q):
        outside, overflows = beyond(columns.unseen, q)
        value[overflows], error[overflows], outside[:, overflows] = np.inf, 0.0, 0.0
        if columns.samples.value[0] * columns.samples.value[-1] < 0:  # inf - inf, as for sinh
            value[overflows[:, 0], 0], error[overflows[:, 0], 0] = np.nan, np.inf
    if columns.samples.is_infinite(4):
        infinite = [3, 4] if columns.samples.is_infinite(2) else [4]
        value[:, infinite], error[:, infinite] = np.inf, 0.0
        if outside is not None:
            outside[..., infinite] = 0.0
        if first is not None and second is not None:
            first[:, infinite] = second[:, infinite] = np.nan
    return Moments(value, error, first, first_error, second, second_error), outside


def _total(columns: Columns, q: Array, derivatives: bool) -> Array:
    """Moments and errors by summing over all blocks of samples."""
    step = 1 if len(q) == 1 else _VARIANCES
    count = len(_POWER_OF_X) if derivatives else _FOR_VALUES
    parts = []
    for start in range(0, len(q), step):
        part = q[start : start + step]
        if len(part) < step:
            part = np.concatenate([part, np.full(step - len(part), part[-1])])
        seen = np.flatnonzero(columns.nearest**2 < 2 * _UNDERFLOW * part.max())
        if len(q) == 1:  # the same lines in NumPy: less work than calling a compiled function
            sums = [_sums(part, *columns.host_blocks[i], count=count, xp=np) for i in seen]
        else:
            with concrete():
                sums = [np.asarray(_compiled_sums(part, *columns.blocks[i], count)) for i in seen]
        if columns.powers:  # each block counts for the moments of its power alone
            parts.append(sum(
                np.where(columns.powers[i][: 36 if derivatives else 12],
                         _moments_from(s, part, derivatives) * 2.0**_HEADROOM, 0.0)
                for i, s in zip(seen, sums, strict=True)
            ))  # fmt: skip
        else:
            total = sums[0] if len(sums) == 1 else np.sum(sums, axis=0)
            parts.append(_moments_from(total, part, derivatives))
    return np.concatenate(parts)[: len(q)] if len(parts) > 1 else parts[0][: len(q)]
