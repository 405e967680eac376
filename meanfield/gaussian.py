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
from numpy.typing import NDArray

from meanfield.precision import EPS, concrete
from meanfield.samples import Samples

__all__ = ["MOMENTS", "Columns", "Moments", "columns_of", "moments_of", "weighted_sums"]

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
    beyond: Array  # what lies beyond the samples, not yet part of `error`; inf: does not converge
    first: Array | None = None
    first_error: Array | None = None
    second: Array | None = None
    second_error: Array | None = None


@dataclass(frozen=True)
class Columns:
    """Samples as blocks of columns to be weighted, and what the sums cannot see."""

    samples: Samples
    blocks: tuple[tuple[jax.Array, ...], ...]  # for each power set: x, width, scale, columns
    powers: tuple[NDArray[np.bool_], ...]  # which moments each run through the blocks is for
    edge_log: Array  # log of |phi| and |phi'| at both ends, shape (2 ends, 2)
    edge_rate: Array  # and how fast it grows outwards


def columns_of(samples: Samples) -> Columns:
    """Arrange samples for `moments_of`; powers that would overflow are scaled panel by panel."""
    size = np.maximum(np.abs(samples.value), np.abs(samples.slope))
    largest = float(np.max(size, initial=0.0))
    runs: list[tuple[NDArray[np.bool_], Array]] = [(_POWERS >= 0, np.zeros_like(size))]
    if largest > 1e70:
        exponent = np.where(size > 1e60, np.floor(np.log2(np.maximum(size, 1.0))), 0.0)
        runs = [(_POWERS == p, p * exponent) for p in (0, 1, 2, 4)]
    blocks, powers = [], []
    for chosen, exponent in runs:
        power = _POWERS[chosen].max()
        parts = _parts(samples, exponent / power if power else exponent)
        with concrete():
            blocks.extend(
                tuple(jnp.asarray(part[i : i + _NODES]) for part in parts)
                for i in range(0, len(parts[0]), _NODES)
            )
        powers.extend([chosen] * (len(blocks) - len(powers)))
    edge_log, edge_rate = _edges(samples)
    return Columns(samples, tuple(blocks), tuple(powers), edge_log, edge_rate)


def _parts(samples: Samples, exponent: Array) -> list[Array]:
    """`x, width, log scale, even, even noise, odd, odd noise`, padded to whole blocks."""
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
        parts = [
            samples.x, samples.width, exponent, even, np.stack(most_even, axis=1) - np.abs(even),
            odd, np.stack(most_odd, axis=1) - np.abs(odd),
        ]  # fmt: skip
    for values, noise in ((3, 4), (5, 6)):  # not finite at a singularity: anything may be missing
        bad = ~np.isfinite(parts[values])
        parts[values] = np.where(bad, 0.0, parts[values])
        parts[noise] = np.where(bad | np.isnan(parts[noise]), np.inf, parts[noise])
    parts[3:] = [part * samples.dx[:, None] for part in parts[3:]]
    parts[2] = exponent * np.log(2.0)
    missing = -len(samples.x) % _NODES
    return [np.pad(p, ((0, missing),) + ((0, 0),) * (p.ndim - 1)) for p in parts]


def weighted_sums(q, x, width, power_log, even, even_noise, odd, odd_noise, derivatives):
    """The sums of the module's docstring over nodes, `(len(q), 12)` or with derivatives `(.., 36)`.

    Columns: six moments and their six errors; then the same for first and second derivatives,
    from the odd columns for powers of `phi` and from the even ones for the others.
    """
    u = x / jnp.sqrt(q)[:, None]
    u2 = u * u
    weight = jnp.exp(power_log - 0.5 * u2) / jnp.sqrt(2 * jnp.pi * q)[:, None]
    # Sixteen nodes integrate a weight that changes by exp(T) across the panel, times t^8, to better
    # than (T / 88)^16; on graded panels T is large only where the weight is negligible. The rest is
    # rounding, of the exponent above all.
    change = jnp.minimum((jnp.abs(x) * width / 88.0) / q[:, None], 1.0)
    for _ in range(4):
        change = change * change
    doubt = EPS * (12 + u2) + change
    size = jnp.abs(even)
    out = [weight @ even, (weight * doubt) @ size + weight @ even_noise]
    if derivatives:
        odd_size = jnp.abs(odd)
        u4 = u2 * u2
        for with_odd, with_even, least, odd_least in (
            (u, u2 - 1, u2 + 1, jnp.abs(u)),
            (u * (u2 - 3), u4 - 6 * u2 + 3, u4 + 6 * u2 + 3, jnp.abs(u) * (u2 + 3)),
        ):
            out += [(weight * with_odd) @ odd, (weight * with_even) @ even[:, 3:]]
            weight_odd, weight_even = weight * odd_least, weight * least
            out += [
                (weight_odd * doubt) @ odd_size + weight_odd @ odd_noise,
                (weight_even * doubt) @ size[:, 3:] + weight_even @ even_noise[:, 3:],
            ]
    return jnp.concatenate(out, axis=1)


_sums = jax.jit(weighted_sums, static_argnums=8)


def moments_of(columns: Columns, q: Array, derivatives: bool = False) -> Moments:
    """Moments at the variances `q`, shape `(n,)`; arrays of the result have shape `(n, 6)`."""
    total = np.zeros((len(q), 36 if derivatives else 12))
    step = 1 if len(q) == 1 else _VARIANCES
    with concrete():
        for start in range(0, len(q), step):
            part = q[start : start + step]
            padded = np.concatenate([part, np.full(step - len(part), part[-1])])
            for block, chosen in zip(columns.blocks, columns.powers, strict=True):
                sums = np.asarray(_sums(padded, *block, derivatives))[: len(part)]
                if not chosen.all():
                    sums = np.where(np.resize(chosen, total.shape[1]), sums, 0.0)
                total[start : start + step] += sums
    value, error = total[:, :6], total[:, 6:12]
    first = first_error = second = second_error = None
    if derivatives:
        root = np.sqrt(q)[:, None]
        first, first_error, second, second_error = (total[:, k : k + 6] for k in (12, 18, 24, 30))
        scale = [0.5 / root, 0.5 / root**2]
        first, first_error = (_scaled(a, *scale) for a in (first, first_error))
        scale = [0.25 / root**3, 0.25 / root**4]
        second, second_error = (_scaled(a, *scale) for a in (second, second_error))
        _add_jumps(columns.samples, q, first, second)
    beyond, overflows = _beyond(columns, q)
    infinite = [bool(len(columns.samples.jumps)) or steep for steep in columns.samples.steep]
    overflows[:, 3:5] |= infinite
    value[overflows], error[overflows], beyond[overflows] = np.inf, 0.0, 0.0
    if first is not None and second is not None:
        first[overflows] = second[overflows] = np.nan
    error[np.isnan(error)] = np.inf
    return Moments(value, error, beyond, first, first_error, second, second_error)


def _scaled(array: Array, of_odd: Array, of_even: Array) -> Array:
    return np.concatenate([array[:, :3] * of_odd, array[:, 3:] * of_even], axis=1)


def _add_jumps(samples: Samples, q: Array, first: Array, second: Array) -> None:
    """A jump of `phi` at `b` is `J delta(x - b)` in `phi'`: add it to the derivatives of moments."""
    if not len(samples.jumps):
        return
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


def _beyond(columns: Columns, q: Array) -> tuple[Array, NDArray[np.bool_]]:
    """A bound of what lies beyond the ends of the samples, and which moments overflow there."""
    shape = (len(q), len(MOMENTS))
    reach = np.abs(np.array(columns.samples.reach))
    depth = 0.5 * np.min(reach) ** 2 / np.max(q)
    if depth - 4 * max(np.max(columns.edge_log), 0.0) > 80:
        return np.zeros(shape), np.zeros(shape, bool)
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
