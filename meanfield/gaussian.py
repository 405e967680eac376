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

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from meanfield.precision import EPS, concrete
from meanfield.samples import Samples

__all__ = ["MOMENTS", "Columns", "Moments", "columns_of", "SUMS_TO_MOMENTS", "moments_of",
           "weighted_sums"]  # fmt: skip

Array = NDArray[np.float64]

MOMENTS = ("phi", "phi2", "phi4", "dphi2", "dphi4", "sparsity")
_POWERS = np.array([1, 2, 4, 2, 4, 0])
_NODES = 1024  # samples a block
_VARIANCES = 128  # variances a block, where there are several


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
    """Samples as blocks of columns to be weighted, and what the sums cannot see."""

    samples: Samples
    blocks: tuple[tuple[jax.Array, ...], ...]  # for each power set: x, width, scale, columns
    powers: tuple[NDArray[np.bool_], ...]  # which sums each block is for; empty: for all
    growth: float  # log of the largest |phi^4| or |phi'^4| at the ends, at least 0
    edge_log: Array  # log of |phi| and |phi'| at both ends, shape (2 ends, 2)
    edge_rate: Array  # and how fast it grows outwards


def columns_of(samples: Samples) -> Columns:
    """Arrange samples for `moments_of`; powers that would overflow are scaled panel by panel."""
    size = np.maximum(np.abs(samples.value), np.abs(samples.slope))
    largest = float(np.max(size, initial=0.0))
    exponent = np.where(size > 1e60, np.floor(np.log2(np.maximum(size, 1.0))), 0.0)
    blocks, powers = [], []
    for power in (0, 1, 2, 4) if largest > 1e70 else (1,):
        parts = _parts(samples, exponent, power)
        with concrete():
            blocks.extend(
                tuple(jax.device_put(part[i : i + _NODES]) for part in parts)
                for i in range(0, len(parts[0]), _NODES)
            )
        powers.extend([np.tile(_POWERS == power, 6)] * (len(blocks) - len(powers)))
    log, rate = _edges(samples)
    growth = 4 * max(float(np.max(log)), 0.0)
    scaled = tuple(powers) if largest > 1e70 else ()
    return Columns(samples, tuple(blocks), scaled, growth, log, rate)


def _parts(samples: Samples, exponent: Array, power: int) -> list[Array]:
    """`x, width, log scale, even, odd`, padded to whole blocks.

    The columns are functions, their doubts (noise of the samples, and rounding of a sum of them)
    and their sizes. Doubts and sizes of odd columns change sign with `x`: so they add up.
    """
    unscale = np.exp2(-exponent)
    v, d = samples.value * unscale, samples.slope * unscale
    n, m = samples.noise * unscale, samples.slope_noise * unscale
    silent = samples.silent.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        even = np.stack([v, v**2, v**4, d**2, d**4, silent], axis=1)
        odd = np.stack([d, 2 * v * d, 4 * v**3 * d], axis=1)
        above, steeper = np.abs(v) + n, np.abs(d) + m
        most_even = [above, above**2, above**4, steeper**2, steeper**4, silent]
        most_odd = [steeper, 2 * above * steeper, 4 * above**3 * steeper]
    parts = [samples.x, samples.width, power * exponent * np.log(2.0)]
    sign = np.sign(samples.x)[:, None]
    for functions, most, side in ((even, most_even, 1.0), (odd, most_odd, sign)):
        bad = ~np.isfinite(functions)  # at a singularity: anything may be missing
        functions = np.where(bad, 0.0, functions)
        size = np.abs(functions)
        doubt = np.where(bad, np.inf, np.stack(most, axis=1) - size + 12 * EPS * size)
        columns = np.concatenate([functions, side * doubt, side * size], axis=1)
        parts.append(columns * samples.dx[:, None])
    missing = -len(samples.x) % _NODES
    return [np.pad(p, ((0, missing),) + ((0, 0),) * (p.ndim - 1)) for p in parts]


def weighted_sums(q, x, width, power_log, even, odd, derivatives):
    """Sums over nodes of the columns times the weight times powers of `u`; shape `(len(q), k)`.

    One product of stacked rows with stacked columns each: XLA would compute the exponential
    again for every product. `SUMS_TO_MOMENTS` says what the sums mean.
    """
    x, width, power_log = x[None, :], width[None, :], power_log[None, :]
    u = x / jnp.sqrt(q)[:, None]
    u2 = u * u
    weight = jnp.exp(power_log - 0.5 * u2) / jnp.sqrt(2 * jnp.pi * q)[:, None]
    # Sixteen nodes integrate a weight that changes by exp(T) across the panel, times t^8, to better
    # than (T / 88)^16; on graded panels T is large only where the weight is negligible.
    change = jnp.minimum((jnp.abs(x) * width / 88.0) / q[:, None], 1.0)
    lost = weight * lax.integer_pow(change, 16)
    even_size, odd_size = even[:, 12:], jnp.abs(odd[:, 6:])
    if not derivatives:
        rows = jnp.stack([weight, weight * u2]) @ even
        return jnp.concatenate([rows[0], rows[1], lost @ even_size], axis=1)
    weight2, first = weight * u2, weight * u
    weight4, third = weight2 * u2, first * u2
    evens = jnp.stack([weight, weight2, weight4, weight4 * u2]) @ even
    odds = jnp.stack([first, third, third * u2]) @ odd
    lost_by_order = jnp.stack([lost, lost * (u2 + 1), lost * (u2 + 3) ** 2])
    losses = lost_by_order @ jnp.concatenate([even_size, odd_size], axis=1)
    return jnp.concatenate([*evens, *odds, *losses], axis=1)


def _meanings() -> tuple[Array, Array]:
    """Matrices from the sums, with derivatives and without, to moments and their errors.

    The columns of the result are six moments and their six errors, then the same for the first
    and for the second derivatives (up to powers of q): from odd powers of `u` for the powers of
    `phi`, from even ones for the others. An error is the doubt of the columns, the rounding
    `EPS u^2` of the exponent and what the panels lose.
    """
    every = np.zeros((126, 36))

    def term(result: int, power: int, column: int, factor: float) -> None:
        start = 18 * (power // 2) if power % 2 == 0 else 72 + 9 * (power // 2)
        every[start + column, result] += factor

    hermite = {0: {0: 1}, 1: {1: 1}, 2: {2: 1, 0: -1}, 3: {3: 1, 1: -3}, 4: {4: 1, 2: -6, 0: 3}}
    for order in range(3):
        for moment in range(6):
            odd = order > 0 and moment < 3
            columns = 3 if odd else 6
            for power, factor in hermite[2 * order - odd].items():
                term(12 * order + moment, power, moment, factor)
                term(12 * order + 6 + moment, power, columns + moment, abs(factor))
                term(12 * order + 6 + moment, power + 2, 2 * columns + moment, EPS * abs(factor))
            every[99 + 9 * order + moment + 6 * odd, 12 * order + 6 + moment] = 1
    values = np.vstack([every[:36, :12], every[99:105, :12]])
    return every, values


SUMS_TO_MOMENTS, _VALUES = _meanings()
_sums = jax.jit(weighted_sums, static_argnums=6)


def _meaning_of(sums: Array, derivatives: bool) -> Array:
    """Moments and errors from sums; what rests on a sum that is not finite is inf."""
    matrix = SUMS_TO_MOMENTS if derivatives else _VALUES
    bad = ~np.isfinite(sums)
    if not bad.any():
        return sums @ matrix
    result = np.where(bad, 0.0, sums) @ matrix
    result[bad @ (matrix != 0)] = np.inf
    return result


def moments_of(
    columns: Columns, q: Array, derivatives: bool = False
) -> tuple[Moments, Array | None]:
    """Moments at the variances `q`, shape `(n,)`; arrays of the result have shape `(n, 6)`.

    Beside them a bound of what lies beyond the samples (inf: does not converge), not yet part of
    the error; None where it is negligible throughout.
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
            _add_jumps(columns.samples, q, first, second)
    beyond = None
    if not _is_deep(columns, q):
        beyond, overflows = _beyond(columns, q)
        value[overflows], error[overflows], beyond[overflows] = np.inf, 0.0, 0.0
    if len(columns.samples.jumps) or columns.samples.steep[1]:
        infinite = [3, 4] if len(columns.samples.jumps) or columns.samples.steep[0] else [4]
        value[:, infinite], error[:, infinite] = np.inf, 0.0
        if beyond is not None:
            beyond[:, infinite] = 0.0
        if first is not None and second is not None:
            first[:, infinite] = second[:, infinite] = np.nan
    return Moments(value, error, first, first_error, second, second_error), beyond


def _total(columns: Columns, q: Array, derivatives: bool) -> Array:
    """Moments and errors by summing over all blocks of samples."""
    step = 1 if len(q) == 1 else _VARIANCES
    parts = []
    for start in range(0, len(q), step):
        part = q[start : start + step]
        if len(part) < step:
            part = np.concatenate([part, np.full(step - len(part), part[-1])])
        with concrete():
            sums = [np.asarray(_sums(part, *block, derivatives)) for block in columns.blocks]
        if columns.powers:  # each block counts for the moments of its power alone
            parts.append(sum(
                np.where(chosen[: 36 if derivatives else 12], _meaning_of(s, derivatives), 0.0)
                for s, chosen in zip(sums, columns.powers, strict=True)
            ))  # fmt: skip
        else:
            parts.append(_meaning_of(sum(sums[1:], sums[0]), derivatives))
    return np.concatenate(parts)[: len(q)] if len(parts) > 1 else parts[0][: len(q)]


def _add_jumps(samples: Samples, q: Array, first: Array, second: Array) -> None:
    """A jump of `phi` at `b` is `J delta(x - b)` in `phi'`: add it to the derivatives of moments."""
    # values on the two sides: the nodes next to the jump are within 1e-2 of a panel of it, so the
    # value itself is taken from the nearest node and the other side from the measured jump
    after = np.searchsorted(samples.x, samples.jumps)
    right = samples.value[np.minimum(after, len(samples.x) - 1)]
    left = right - samples.jump_sizes
    u = samples.jumps / np.sqrt(q)[:, None]
    density = np.exp(-0.5 * u * u) / np.sqrt(2 * np.pi * q)[:, None]
    steps = np.stack([right**p - left**p for p in (1, 2, 4)], axis=1)
    root = np.sqrt(q)[:, None]
    first[:, :3] += (density * u) @ steps / (2 * root)
    second[:, :3] += (density * u * (u * u - 3)) @ steps / (4 * root**3)


def _edges(samples: Samples) -> tuple[Array, Array]:
    """Logarithm and logarithmic slope of |phi| and |phi'| at the two ends of the samples."""
    log, rate = np.full((2, 2), -np.inf), np.zeros((2, 2))
    for i, (end, inner) in enumerate(((0, 15), (-1, -16))):
        distance = abs(samples.x[end] - samples.x[inner])
        for j, f in enumerate((samples.value, samples.slope)):
            if f[end] != 0:
                log[i, j] = np.log(abs(f[end]))
                rate[i, j] = (log[i, j] - np.log(abs(f[inner]) or 1e-300)) / distance
    return log, rate


def _is_deep(columns: Columns, q: Array) -> bool:
    """Whether nothing beyond the samples can matter at any `q`."""
    reach = min(-columns.samples.reach[0], columns.samples.reach[1])
    return 0.5 * reach * reach / q.max() - columns.growth > 80


def _beyond(columns: Columns, q: Array) -> tuple[Array, NDArray[np.bool_]]:
    """A bound of what lies beyond the ends of the samples, and which moments overflow there."""
    reach = np.abs(np.array(columns.samples.reach))
    which = np.array([0, 0, 0, 1, 1, 0])
    with np.errstate(all="ignore"):
        height = np.where(_POWERS > 0, _POWERS * columns.edge_log[:, which], 0.0)  # (2, 6)
        growth = np.maximum(_POWERS * columns.edge_rate[:, which], 0.0)
        decay = (reach / q[:, None])[..., None] - growth  # (n, 2, 6)
        log = height - (0.5 * reach**2 / q[:, None])[..., None]
        log = log - 0.5 * np.log(2 * np.pi * q)[:, None, None]
        tail = np.where(decay > 0, np.exp(log) / decay, np.where(np.isneginf(log), 0.0, np.inf))
    # an integrand that still grows at e^690 integrates to more than float64 holds
    return np.sum(tail, axis=1), np.any((log > 690) & (decay <= 0), axis=1)
