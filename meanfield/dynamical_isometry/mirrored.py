r"""Mirrored weights: a network of any activation that acts as one of its odd part.

With `W = [[W0, -W0], [-W0, W0]]` in every layer, and `[W0; -W0]` in the first, the pre-activations
are `(u, -u)` and what the next layer sees is

    W0 phi(u) - W0 phi(-u) = W0 psi(u),        psi(x) = phi(x) - phi(-x).

On the half of the space in which signals live, the network is one of the activation `psi` with the
weights `W0`. For ReLU, and for GELU, SiLU and softplus as well, `psi(x) = x`: with an orthogonal
`W0` all singular values are 1 at any depth and any `q`. The other half is lost: there they are 0.
(Looks-linear initialisation, Balduzzi et al. 2017, arXiv 1702.08591; Gaussian submatrices, Burkholz
& Dubatovka 2019, arXiv 1806.06362, who have ReLU.)
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.activation import Activation, as_activation, remembered
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.keywords import spelt

if TYPE_CHECKING:
    import jax

__all__ = ["mirrored", "mirrored_weights"]


@spelt
def mirrored(phi: "Callable | str | Activation") -> Activation:
    r"""What an activation becomes under mirrored weights: `psi(x) = phi(x) - phi(-x)`.

    Give it to any function that takes an activation. `critical(mirrored(phi), q, weights=...)` is
    for the blocks `W0`, of which the fan-in is half the width: entries of the whole `W` have
    variance `2 weight_var / fan_in`. Biases must be mirrored too: `b` and `-b`.

    Args:
        phi: the activation.

    Returns:
        An `Activation`.

    Source: Balduzzi et al. 2017, arXiv 1702.08591; Burkholz & Dubatovka 2019, arXiv 1806.06362.

    Example:
        >>> import meanfield as mf
        >>> mf.critical(mf.mirrored("relu"), q=3.0, weights="orthogonal").weight_var
        1.0
        >>> mf.isometry(mf.mirrored("gelu")).verdict.name
        'EXACT'
    """
    return _mirrored(as_activation(phi))


@remembered
def _mirrored(activation: Activation) -> Activation:
    function = activation.function

    def odd_part(x):
        return function(x) - function(-x)

    kinks = activation.given_kinks
    if kinks is not None:
        kinks = np.union1d(kinks, -kinks)
    return Activation(odd_part, kinks, f"mirrored {activation.name}")


@spelt
def mirrored_weights(
    key: "jax.Array",
    fan_out: int,
    fan_in: int,
    weight_var: Any = 1.0,
    weights: "str | Ensemble" = "orthogonal",
    *,
    first: bool = False,
    dtype: Any = float,
) -> "jax.Array":
    """Draw mirrored weights, of shape `(fan_out, fan_in)`.

    Args:
        key: a JAX random key.
        fan_out: rows, an even number.
        fan_in: columns, an even number; any for the first layer.
        weight_var: that of `critical(mirrored(phi))`: of the entries of `W0`, times its fan-in.
        weights: the ensemble of `W0`.
        first: whether it is the first layer, `[W0; -W0]`, which sees data.
        dtype: of the result.

    Raises:
        ValueError: a size cannot be halved.

    Example:
        >>> import jax, jax.numpy as jnp, meanfield as mf
        >>> W = mf.mirrored_weights(jax.random.key(0), 6, 6, dtype=jnp.float32)
        >>> bool(jnp.all(W[:3, :3] == -W[3:, :3]) & jnp.all(W[:, :3] == -W[:, 3:]))
        True
    """
    import jax.numpy as jnp

    halved = {"fan_out": fan_out} if first else {"fan_out": fan_out, "fan_in": fan_in}
    for name, size in halved.items():
        if size % 2 or size < 2:
            raise ValueError(f"{name}: must be even to be mirrored, got {size}")
    columns = fan_in if first else fan_in // 2
    block = ensemble_of(weights).draw(key, fan_out // 2, columns, weight_var, dtype)
    if not first:
        block = jnp.concatenate([block, -block], axis=1)
    return jnp.concatenate([block, -block])
