"""`layered_spectrum`: the singular values of the Jacobian of a network whose layers differ."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from meanfield.criticality import checked_variances
from meanfield.ensembles import Ensemble, Gaussian, Orthogonal, SparseOrthogonal, ensemble_of
from meanfield.errors import MeanFieldError, UnresolvedError
from meanfield.keywords import spelt
from meanfield.maps.settle import settled_variance
from meanfield.network import FixedPoint, Network
from meanfield.precision import EPS
from meanfield.spectrum.coupled import DEFICIENT, Kind
from meanfield.spectrum.equal import equal_layers
from meanfield.spectrum.law import slope_law
from meanfield.spectrum.layers import layered_distribution
from meanfield.spectrum.spectrum import REFUSED, Spectrum
from meanfield.spectrum.transform import Transform

__all__ = ["layered_spectrum"]

Array = NDArray[np.float64]


@spelt
def layered_spectrum(
    layers: Network | FixedPoint | Sequence[Network | FixedPoint],
    q: ArrayLike | None = None,
    *,
    widths: ArrayLike | None = None,
    weights: str | Ensemble | None = None,
) -> Spectrum:
    r"""The singular values of the Jacobian of layers that differ, in the limit of wide layers.

    `J = D_L W_L ... D_1 W_1` with `D_l = diag(phi_l'(z_l))` and `z_l ~ N(0, q_l)`: off the fixed
    point, with several activations, or with layers of different widths.

    Args:
        layers: a `Network` or `FixedPoint` for each layer, from the input on; or one for all.
        q: variances of the pre-activations, one for each layer, as `variance_map(network).iterate`
            gives them. If not given: those of the fixed points.
        widths: numbers of units `n_0, ..., n_L`, one more than layers; only their ratios matter.
            All equal if not given. Where they differ, entries of weights are independent, or
            rows or columns are orthonormal.
        weights: the ensemble; that of each network if not given.

    Returns:
        A `Spectrum`, over the directions of the input: with `n_L < n_0` there is an atom at 0.

    Raises:
        ValueError: numbers of layers, variances and widths do not fit, or an ensemble has no
            rectangular matrices.
        UnresolvedError: the curve could not be followed.

    Source: free multiplicative convolution of Pennington, Schoenholz & Ganguli 2018, arXiv
    1802.09979, with a transform for each layer; that it is found, Belinschi & Bercovici 2007, J.
    Anal. Math. 101.

    Example:
        >>> import meanfield as mf
        >>> network = mf.Network("tanh", weight_var=1.5)
        >>> q = mf.variance_map(network).iterate(2.0, 15).variance
        >>> round(mf.layered_spectrum(network, q, weights="orthogonal").s_max, 6)
        2.294243

        A slope of 0.01 or 1, then nearly linear layers: two intervals and a gap between them.

        >>> bent = mf.Network(mf.Activation(lambda x: x * (0.01 + 0.99 * (x > 0)), [0.0]), 1.0)
        >>> spectrum = mf.layered_spectrum([bent, mf.Network("tanh", 1.0)], [1.0, 0.01])
        >>> spectrum.support.round(4).tolist()
        [[0.0, 0.0129], [0.1668, 2.0797]]
    """
    several = isinstance(layers, Sequence)
    points = list(layers) if isinstance(layers, Sequence) else [layers]
    if not points:
        raise ValueError("layers: there must be one at least, got none")
    for point in points:
        if not isinstance(point, Network | FixedPoint):
            raise TypeError(f"layers: must be Networks or FixedPoints, got {point!r}")
    variances = (
        np.array([settled_variance(point) for point in points])
        if q is None
        else np.atleast_1d(checked_variances("q", q))
    )
    if not several:
        points = points * len(variances)
    if variances.ndim != 1 or len(variances) != len(points):
        raise ValueError(
            f"q: must have one variance for each of {len(points)} layers, got shape "
            f"{variances.shape}"
        )
    n = _widths(widths, len(points))
    networks = [p.network if isinstance(p, FixedPoint) else p for p in points]
    chosen = [network.weights if weights is None else weights for network in networks]
    # the last width of each layer over the first, and what came before
    shares, ratios = n[0] / n[1:], n[1:] / n[:-1]
    counted = Counter(
        zip(
            (network.activation for network in networks), variances.tolist(),
            (float(network.weight_var) for network in networks), map(ensemble_of, chosen),
            shares.tolist(), ratios.tolist(), strict=True,
        )
    )  # fmt: skip
    kinds, log_mean, spread = [], 0.0, 0.0
    for (activation, variance, weight_var, ensemble, share, ratio), count in counted.items():
        if ratio != 1 and (isinstance(ensemble, SparseOrthogonal)
                           or not isinstance(ensemble, Gaussian | Orthogonal)):  # fmt: skip
            raise MeanFieldError(
                f"weights: {ensemble} weights are square; layers of different widths have gaussian "
                "or orthogonal ones"
            )
        law = slope_law(activation, variance)
        if law.at_zero == 1:
            raise MeanFieldError(
                f"layers: phi' of {activation.name} is 0 at q = {variance:.6g}: so is the Jacobian"
            )
        kind = Kind(count, law, ensemble, float(np.log(weight_var)), share, ratio)
        log_mean += count * (np.log(weight_var * ratio) + np.log(law.mean))
        spread += count * kind.spread
        kinds.append(kind)
    kind = kinds[0]
    if len(kinds) == 1 and np.all(n == n[0]) and not isinstance(kind.ensemble, DEFICIENT):
        equal = Transform(kind.law, kind.ensemble, kind.count, kind.log_weight_var)
        distribution, error = equal_layers(equal)
    else:
        distribution, error = layered_distribution(kinds)
    if not error < REFUSED:
        raise UnresolvedError(
            f"layers: the spectrum of {len(points)} layers is known to {error:.1g} only; ask for "
            "fewer layers, or for gaussian weights, which smooth it"
        )
    names = dict.fromkeys(network.activation.name for network in networks)
    same = all(one == chosen[0] for one in chosen)
    return Spectrum(
        activation=", ".join(names),
        depth=len(points),
        weights=chosen[0] if same else ", ".join(dict.fromkeys(map(str, chosen))),
        q=tuple(variances.tolist()),
        weight_var=tuple(float(network.weight_var) for network in networks),
        log_mean=float(log_mean),
        spread=float(spread),
        distribution=distribution,
        error=error + 8 * EPS * len(points),
    )


def _widths(widths: ArrayLike | None, layers: int) -> Array:
    if widths is None:
        return np.ones(layers + 1)
    n: Any = checked_variances("widths", widths)
    if n.shape != (layers + 1,):
        raise ValueError(
            f"widths: must be {layers + 1} numbers of units, one more than layers, got {widths!r}"
        )
    return n
