"""What sums over samples cannot see: jumps, rounding of the kinks, and what lies beyond."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meanfield.precision import EPS
from meanfield.samples import Samples

__all__ = ["POWERS", "Unseen", "add_jumps", "beyond", "doubt_kinks", "is_deep", "unseen_of"]

Array = NDArray[np.float64]

POWERS = np.array([1, 2, 4, 2, 4, 0])  # of phi, phi, phi, phi', phi' in the six moments


@dataclass(frozen=True)
class Unseen:
    """What there is to know about it, whatever the variance."""

    samples: Samples
    steps: Array  # by how much even and odd functions jump at the kinks, shape (kinks, 9)
    growth: float  # log of the largest |phi^4| or |phi'^4| at the ends, at least 0
    edge_log: Array  # log of |phi| and |phi'| at both ends, shape (2 ends, 2)
    edge_rate: Array  # and how fast it grows outwards


def unseen_of(samples: Samples) -> Unseen:
    """Measure kinks and ends of the samples."""
    log, rate = _edges(samples)
    return Unseen(samples, _steps(samples), 4 * max(float(np.max(log)), 0.0), log, rate)


def _steps(samples: Samples) -> Array:
    """Sizes of the jumps of the functions at the kinks, from the nodes beside them."""
    after = np.clip(np.searchsorted(samples.x, samples.kinks), 1, len(samples.x) - 1)
    v, d = (np.stack([f[after - 1], f[after]]) for f in (samples.value, samples.slope))
    silent = np.stack([samples.silent[after - 1], samples.silent[after]]).astype(np.float64)
    functions = [v, v**2, v**4, d**2, d**4, silent, d, 2 * v * d, 4 * v**3 * d]
    return np.abs(np.stack([f[1] - f[0] for f in functions], axis=1))


def _edges(samples: Samples) -> tuple[Array, Array]:
    """Logarithm and logarithmic slope of |phi| and |phi'| at the two ends of the samples."""
    log, rate = np.full((2, 2), -np.inf), np.zeros((2, 2))
    for i, (end, inner) in enumerate(((0, 15), (-1, -16))):
        distance = abs(samples.x[end] - samples.x[inner])
        for j, f in enumerate((samples.value, samples.slope)):
            if f[end] != 0:
                log[i, j] = np.log(abs(f[end])) + samples.log_scale[end]
                within = np.log(abs(f[inner]) or 1e-300) + samples.log_scale[inner]
                rate[i, j] = (log[i, j] - within) / distance
    return log, rate


def add_jumps(samples: Samples, q: Array, *derivatives: Array) -> None:
    """Add the jumps of `phi`, each a delta function in `phi'`, to the derivatives of moments.

    The arrays are the first and the second derivatives, and the errors of both.
    """
    first, second, first_error, second_error = derivatives
    left, right = samples.jump_sides.T
    root = np.sqrt(q)[:, None]
    u = samples.jumps / root
    density = np.exp(-0.5 * u * u) / (np.sqrt(2 * np.pi) * root)
    steps = np.stack([right**p - left**p for p in (1, 2, 4)], axis=1)
    sizes = np.stack([np.abs(right) ** p + np.abs(left) ** p for p in (1, 2, 4)], axis=1)
    first[:, :3] += (density * u) @ steps / (2 * root)
    second[:, :3] += (density * u * (u * u - 3)) @ steps / (4 * root**3)
    u = np.abs(u)
    rounding = 16 * EPS * density * u * (1 + u * u)
    first_error[:, :3] += rounding @ sizes / (2 * root)
    second_error[:, :3] += (rounding * (u * u + 3)) @ sizes / (4 * root**3)


def doubt_kinks(
    unseen: Unseen, q: Array, error: Array, first: Array | None, second: Array | None
) -> None:
    """Add to the errors what the rounding of the kinks' positions does, where functions jump."""
    root = np.sqrt(q)[:, None]
    u = unseen.samples.kinks / root
    density = np.exp(-0.5 * u * u) / (np.sqrt(2 * np.pi) * root)
    doubt, even, odd = (
        density * unseen.samples.kink_doubts,
        unseen.steps[:, :6],
        unseen.steps[:, 6:],
    )
    error += doubt @ even
    if first is not None and second is not None:
        u = np.abs(u)
        first[:, :3] += (doubt * u) @ odd / (2 * root)
        first[:, 3:] += (doubt * (u * u + 1)) @ even[:, 3:] / (2 * root**2)
        second[:, :3] += (doubt * u * (u * u + 3)) @ odd / (4 * root**3)
        second[:, 3:] += (doubt * (u**4 + 6 * u * u + 3)) @ even[:, 3:] / (4 * root**4)


def is_deep(unseen: Unseen, q: Array) -> bool:
    """Whether nothing beyond the samples can matter at any `q`."""
    reach = min(-unseen.samples.reach[0], unseen.samples.reach[1])
    return 0.5 * reach * reach / q.max() - unseen.growth > 80


def beyond(unseen: Unseen, q: Array) -> tuple[Array, NDArray[np.bool_]]:
    """A bound of what lies beyond each end of the samples, and which moments overflow there."""
    reach = np.abs(np.array(unseen.samples.reach))
    which = np.array([0, 0, 0, 1, 1, 0])
    with np.errstate(all="ignore"):
        height = np.where(POWERS > 0, POWERS * unseen.edge_log[:, which], 0.0)  # (2, 6)
        growth = np.maximum(POWERS * unseen.edge_rate[:, which], 0.0)
        decay = (reach / q[:, None])[..., None] - growth  # (n, 2, 6)
        log = height - (0.5 * reach**2 / q[:, None])[..., None]
        log = log - 0.5 * np.log(2 * np.pi * q)[:, None, None]
        # a decay that the next increase of the growth would undo is none
        falls = decay > 0.05 * (reach / q[:, None])[..., None]
        tail = np.where(falls, np.exp(log) / decay, np.where(np.isneginf(log), 0.0, np.inf))
    # an integrand that still grows at e^690 integrates to more than float64 holds
    return tail.swapaxes(0, 1), np.any((log > 690) & (decay <= 0), axis=1)
