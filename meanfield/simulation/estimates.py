r"""Estimates from the draws, each with its standard error.

Smooth functions of means are taken with the jackknife: leaving out one draw at a time gives the
standard error, and takes away the bias of order `1 / draws`; of a square of a mean, as in the
four-point vertex, all of it. The error of a median is half the distance of the two order statistics
between which the median of the law lies with probability 68 %.

The four-point vertex is `E[z_i^2 z_j^2] - E[z_i^2] E[z_j^2]` of two neurons of a layer, `i != j`.
With `a = mean_i z_i^2` and `m = mean_i z_i^4` of a network, the mean over all pairs is
`(n a^2 - m)/(n - 1)`, whatever the law. (`Var(a) - 2 K^2 / n`, which assumes Gaussian neurons, is
`1 + 2/n` times that.)
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "estimates"]

Array = NDArray[np.float64]


class Estimate(NamedTuple):
    """Numbers by layer, and their standard errors; NaN where one draw tells none."""

    value: Array
    error: Array


def pseudo_values(function: Callable[..., Array], *samples: Array) -> Array:
    """`m f(all) - (m - 1) f(all but one)` for each of `m > 1` draws, `f` of means of samples.

    Their mean is the jackknife's estimate, and they are as good as independent measurements of it:
    their covariance over `m` is its own.
    """
    draws = len(samples[0])
    means = [np.mean(s, axis=0) for s in samples]
    whole = function(*means)
    without = function(*(m + (m - s) / (draws - 1) for m, s in zip(means, samples, strict=True)))
    return whole + (draws - 1) * (whole - without)


@np.errstate(all="ignore")
def jackknife(function: Callable[..., Array], *samples: Array) -> Estimate:
    """`function` of the means of samples, shape (draws, layers); infinite where a sample is."""
    draws = len(samples[0])
    means = [np.mean(s, axis=0) for s in samples]
    whole = function(*means)
    if draws == 1:
        return Estimate(whole, np.full_like(whole, np.nan))
    single = pseudo_values(function, *samples)
    error = np.std(single, axis=0, ddof=1) / np.sqrt(draws)
    lost = ~np.all([np.isfinite(m) for m in means], axis=0)
    return Estimate(np.where(lost, whole, np.mean(single, axis=0)), np.where(lost, np.inf, error))


def median(samples: Array) -> Estimate:
    """The median of each layer, NaN samples left out."""
    values, errors = [], []
    for column in np.sort(samples, axis=0).T:  # NaN last
        known = column[: np.count_nonzero(~np.isnan(column))]
        count = len(known)
        half = 0.5 * np.sqrt(count)
        low, high = int(np.floor(0.5 * count - half)), int(np.ceil(0.5 * count + half)) - 1
        values.append(np.median(known) if count else np.nan)
        tells = 0 <= low < high < count
        errors.append(0.5 * (known[high] - known[low]) if tells else np.nan)
    return Estimate(np.array(values), np.array(errors))


def _mean(samples: Array) -> Estimate:
    return jackknife(lambda mean: mean, samples)


def _variance(samples: Array) -> Estimate:
    centred = samples - np.mean(samples, axis=0)  # no cancellation
    return jackknife(lambda mean, square: square - mean**2, centred, centred**2)


def _root(variance: Estimate) -> Estimate:
    """The standard deviation, from an estimate of the variance."""
    deviation = np.sqrt(np.maximum(variance.value, 0))
    error = np.where(variance.error > 0, 0.5 * variance.error / deviation, 0 * variance.error)
    return Estimate(deviation, error)


def _living(function: Callable[[Array], Estimate], samples: Array) -> Estimate:
    """An estimate over the draws in which a logarithm is finite, layer by layer."""
    columns = [
        function(column[np.isfinite(column)][:, None])
        if np.any(np.isfinite(column))
        else Estimate(np.full(1, np.nan), np.full(1, np.nan))
        for column in samples.T
    ]
    return Estimate(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))


@np.errstate(all="ignore")
def estimates(samples: Mapping[str, Array], width: Array) -> dict[str, Estimate]:
    """All that is estimated, by name.

    Args:
        samples: what was measured, by name; shape (draws, layers).
        width: of each layer.
    """
    a, m = samples["mean_square"], samples["mean_fourth"]
    one_minus = samples["one_minus_correlation"]
    found = {
        "variance": _mean(a),
        "variance_median": median(a),
        "log_variance": _living(_mean, np.log(a)),
        "log_variance_var": _living(_variance, np.log(a)),
        "sampled_variance_std": _root(_variance(a)),
        "correlation": _mean(1 - one_minus),
        "one_minus_correlation": _mean(one_minus),
        "one_minus_correlation_median": median(one_minus),
        "covariance": _mean(samples["overlap"]),
        "sparsity": _mean(samples["sparsity"]),
        "four_point": jackknife(lambda pair, k: pair - k * k, (width * a * a - m) / (width - 1), a),
        "excess_kurtosis": jackknife(lambda m, k: m / (k * k) - 3, m, a),
        "gradient_log_norm": _living(_mean, samples["log_gradient"]),
        "gradient_log_norm_var": _living(_variance, samples["log_gradient"]),
        "gradient_log_norm_median": median(samples["log_gradient"]),
    }
    if "tangent_kernel" in samples:
        kernel, square = samples["tangent_kernel"], samples["tangent_kernel_square"]
        found["tangent_kernel"] = _mean(kernel)
        found["tangent_kernel_median"] = median(kernel)
        found["tangent_kernel_std"] = _root(
            jackknife(lambda square, mean: square - mean**2, square, kernel)
        )
    return found


@np.errstate(all="ignore")
def of_jacobians(singular_values: Array) -> dict[str, Estimate]:
    """The mean of their squares, and the median of the largest; shape (draws, values)."""
    found = {
        "mean_square": _mean(np.mean(singular_values**2, axis=1, keepdims=True)),
        "largest": median(np.max(singular_values, axis=1, keepdims=True)),
    }
    return {name: Estimate(e.value[0], e.error[0]) for name, e in found.items()}
