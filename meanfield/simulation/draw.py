r"""One network, drawn layer by layer and measured on the way.

Through the layers `z^(l+1) = W phi(z^l) + b` go one input or two, and a direction `v`: a random
unit vector at the first layer that the derivative carries on, `v^(l+1) = W (phi'(z^l) v^l)`. It is
kept at length 1 with its logarithm apart, so it cannot overflow. Where the whole Jacobian or the
tangent kernel is wanted, matrices go through as well:

    J^(l+1) = W D J^l,    T^(l+1) = (1 + |phi|^2 / n) I + W D T^l D W^T,    D = diag(phi'(z^l)).
"""

from itertools import groupby, pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from meanfield.ensembles import Ensemble
from meanfield.simulation.elementwise import Elementwise
from meanfield.simulation.products import has_shortcut, normals_for, product

__all__ = ["Law", "Plan", "measured"]

Array = jax.Array
Record = dict[str, Array]

_MATRIX = (1 << 32) - 1  # folded into a layer's key: the key of its matrix


class Plan(NamedTuple):
    """What the compiled program depends on."""

    ensemble: Ensemble
    widths: tuple[int, ...]  # that of the inputs, then of each layer
    jacobian: bool  # whether its singular values are wanted
    tangent_kernel: bool

    @property
    def draws_matrices(self) -> bool:
        """Whether more than a few vectors meet each weight matrix, or its law asks for it."""
        return self.jacobian or self.tangent_kernel or not has_shortcut(self.ensemble)


class Law(NamedTuple):
    """What can change without another compilation."""

    weight_var: Any
    bias_var: Any
    inputs: Any  # one or two, shape (1 or 2, width of the inputs)


class _State(NamedTuple):
    """A layer behind its activation."""

    z: Array  # activations for the inputs, shape (1 or 2, width)
    direction: Array
    log_size: Array  # log |J u|^2, of which the direction has lost its length
    jacobian: Any  # up to its scale; None where it is not wanted
    log_scale: Array
    kernel: Any  # tangent kernel of all pairs of neurons; None where it is not wanted


def measured(phi: Elementwise, plan: Plan, law: Law, key: Array) -> Record:
    """Draw one network; what is measured has the layer on its first axis."""

    def step(state: _State, layer: Any, fan_out: int) -> tuple[_State, Record]:
        own = jax.random.fold_in(key, layer)
        return _activated(phi, _linear(plan, law, own, state, fan_out, layer == 0))

    fan_in = plan.widths[0]
    state = _State(
        z=law.inputs,
        direction=jnp.zeros(fan_in),
        log_size=jnp.zeros(()),
        jacobian=jnp.eye(fan_in) if plan.jacobian else None,
        log_scale=jnp.zeros(()),
        kernel=jnp.zeros((fan_in, fan_in)) if plan.tangent_kernel else None,
    )
    records, layer = [], 0
    for (fan_in, fan_out), run in groupby(pairwise(plan.widths)):
        layers = jnp.arange(layer, layer + len(list(run)))
        if fan_in == fan_out:  # one program for all layers of a width
            state, some = jax.lax.scan(lambda s, k, n=fan_out: step(s, k, n), state, layers)
            records.append(some)
        else:
            for k in layers:
                state, one = step(state, k, fan_out)
                records.append({name: value[None] for name, value in one.items()})
        layer += len(layers)
    result = {name: jnp.concatenate([some[name] for some in records]) for name in records[0]}
    if plan.jacobian:
        singular_values = jnp.linalg.svd(state.jacobian, compute_uv=False)
        result["jacobian_singular_values"] = singular_values * jnp.exp(state.log_scale)
    return result


def _linear(
    plan: Plan, law: Law, key: Array, state: _State, fan_out: int, is_first: Array
) -> _State:
    """Through weights and biases: pre-activations, and the direction at length 1."""
    count, fan_in = state.z.shape
    vectors = jnp.concatenate([state.z, state.direction[None]])
    jacobian, kernel = state.jacobian, state.kernel
    rows = 1 if plan.draws_matrices else normals_for(plan.ensemble, len(vectors))
    normal = _normal(key, rows + 1, max(fan_in, fan_out), vectors.dtype)
    bias = jnp.sqrt(law.bias_var) * normal[-1, :fan_out]
    if plan.draws_matrices:
        # XLA would factorise the matrices of all layers at once, and on CPU batched factorisations
        # may wait for each other's threads for ever: no matrix is drawn before a layer is there
        late = jnp.isnan(vectors[0, 0]).astype(jnp.uint32)  # 0, or it does not matter
        weights = jax.random.fold_in(key, _MATRIX - late)
        w = plan.ensemble.draw(weights, fan_out, fan_in, law.weight_var, vectors.dtype)
        moved, fresh = vectors @ w.T, normal[0]
        jacobian = None if jacobian is None else w @ jacobian
        kernel = None if kernel is None else w @ kernel @ w.T
    else:
        moved = product(plan.ensemble, normal[:-1], vectors, fan_out, law.weight_var)
        fresh = normal[len(vectors) - 1]  # meets no vector in the first layer
    if kernel is not None:
        kernel = kernel + (1 + jnp.mean(state.z[0] ** 2)) * jnp.eye(fan_out)
    # the random direction in which the first layer's pre-activations are moved
    direction = jnp.where(is_first, fresh[:fan_out], moved[-1])
    square = jnp.sum(direction**2)
    return state._replace(
        z=moved[:count] + bias,
        direction=direction / jnp.sqrt(jnp.where(square > 0, square, 1.0)),
        log_size=jnp.where(is_first, 0.0, state.log_size + jnp.log(square)),
        jacobian=jacobian,
        kernel=kernel,
    )


def _normal(key: Array, rows: int, columns: int, dtype: Any) -> Array:
    """Independent Gaussian numbers, made once.

    XLA would make the numbers again for each sum over them, three times and more; what a loop
    has made is not made again.
    """
    return jax.lax.map(
        lambda row: jax.random.normal(jax.random.fold_in(key, row), (columns,), dtype),
        jnp.arange(rows),
    )


def _activated(phi: Elementwise, state: _State) -> tuple[_State, Record]:
    """The state behind the activation, and what is measured at the layer."""
    z = state.z
    value, slope = phi.value_and_slope(z[0])
    square = z[0] ** 2
    record = {
        "mean_square": jnp.mean(square),
        "mean_fourth": jnp.mean(square**2),
        "sparsity": jnp.mean(value == 0, dtype=value.dtype),
        "log_gradient": state.log_size,
    }
    values = value[None]
    if len(z) == 2:
        first, second = (x / jnp.sqrt(jnp.sum(x**2)) for x in z)
        # 1 - cos, without cancellation between near inputs
        record["one_minus_correlation"] = 0.5 * jnp.sum((first - second) ** 2)
        record["overlap"] = jnp.mean(z[0] * z[1])
        values = jnp.stack([value, phi.value(z[1])])
    jacobian, kernel, log_scale = state.jacobian, state.kernel, state.log_scale
    if jacobian is not None:
        jacobian = slope[:, None] * jacobian
        size = jnp.max(jnp.abs(jacobian))
        size = jnp.where(size > 0, size, 1.0)
        jacobian, log_scale = jacobian / size, log_scale + jnp.log(size)
    if kernel is not None:
        diagonal = jnp.diagonal(kernel)
        record["tangent_kernel"] = jnp.mean(diagonal)
        record["tangent_kernel_square"] = jnp.mean(diagonal**2)
        kernel = slope[:, None] * kernel * slope
    after = _State(values, slope * state.direction, state.log_size, jacobian, log_scale, kernel)
    return after, record
