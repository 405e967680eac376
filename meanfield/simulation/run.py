"""`simulate`: draw an ensemble of finite networks, in blocks that devices share.

A block is so many draws as fit a cache, computed by one compiled program on one device; its size
depends on the networks and on nothing else. Draw number i uses the key folded with i. So the
numbers are the same, to the last bit, on one device and on eight.
"""

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from meanfield.activation import Activation, remembered
from meanfield.ensembles import Ensemble, ensemble_of
from meanfield.keywords import spelt
from meanfield.maps.settle import settled_variance, settling
from meanfield.maps.variance import network_of
from meanfield.network import FixedPoint, Network
from meanfield.precision import concrete, double
from meanfield.simulation.draw import Law, Plan, measured
from meanfield.simulation.elementwise import elementwise
from meanfield.simulation.memory import block_of, check_memory
from meanfield.simulation.result import Simulation
from meanfield.whole import whole_number

__all__ = ["simulate"]

Array = NDArray[np.float64]


@spelt
def simulate(
    network: Network | FixedPoint,
    width: int | Sequence[int],
    depth: int | None = None,
    draws: int = 1000,
    *,
    q: float | None = None,
    correlation: float | None = None,
    weights: str | Ensemble | None = None,
    key: Any = 0,
    jacobian: bool = False,
    tangent_kernel: bool = False,
    progress: bool | None = None,
    max_memory: float | None = None,
    devices: Sequence[Any] | None = None,
) -> Simulation:
    r"""Draw finite networks at random and measure them layer by layer.

    `z^1 = W^1 x + b^1`, `z^(l+1) = W phi(z^l) + b`: everything that mean-field theory predicts at
    infinite width, seen at a finite one. The input is fixed, with the mean square at which the
    first layer's variance is `q` exactly.

    Args:
        network: a `Network` or a `FixedPoint`.
        width: of all layers, at least 2; or of each, `depth` numbers, or `depth + 1` with that of
            the inputs first (else as wide as the first layer).
        depth: number of layers; may be left out where `width` lists those of all layers.
        draws: number of networks.
        q: variance of the first layer's pre-activations, above `bias_var`. By default that of the
            `FixedPoint`, or the one stable variance of the network, or, where there is none above
            0, that of inputs of mean square 1.
        correlation: of the first layer's pre-activations of two inputs. By default
            `(1 + bias_var/q)/2`: inputs at an angle of 60 degrees.
        weights: the ensemble; by default that of the network.
        key: a whole number or a JAX key.
        jacobian: also compute the singular values of each network's Jacobian.
        tangent_kernel: also compute the diagonal of each network's neural tangent kernel, with
            learning rate 1 for biases and 1/fan-in for weights.
        progress: show a progress bar with the time left on stderr. By default where that is a
            terminal and the work takes more than a second; of several processes in the first.
        max_memory: bytes that may be used; by default what the system has.
        devices: where to compute; by default all devices of JAX, of all processes.

    Returns:
        A `Simulation`. After an interrupt (Ctrl-C) it holds what was drawn until then.

    Raises:
        ValueError: a size is too small for the ensemble or too large for the memory, `q` is not
            above `bias_var`, no inputs have this `correlation`, or the network does not tell `q`.
        UnresolvedError: the activation cannot be sampled.

    Draws are shared among all devices, by a `jax.sharding.Mesh` over them; the numbers depend on
    the key alone, not on how many devices there are (with devices of one kind, to the last bit).

    - On a node with several GPUs there is nothing to do: `jax.devices()` are all of them.
    - On CPU there is one device, which uses all cores. Eight of them, as the tests have, are made
      by `XLA_FLAGS=--xla_force_host_platform_device_count=8` in the environment.
    - On a cluster, call `jax.distributed.initialize()` first, which finds the others under Slurm
      and the like, and then `simulate` in every process with the same arguments. Each computes
      the share of its devices, and all get the whole result; let process 0 write it.

    Gaussian, orthogonal and low-rank matrices are drawn only as far as the few vectors that
    they multiply can tell, which is exact and takes a fraction of the time; with `jacobian` or
    `tangent_kernel` they are drawn whole.

    Example:
        >>> import meanfield as mf
        >>> sim = mf.simulate(mf.critical("tanh"), width=32, depth=5, draws=64)
        >>> sim.variance.shape, sim.variance_error.shape
        ((5,), (5,))
    """
    net, ensemble = (
        network_of(network),
        ensemble_of(network_of(network).weights if weights is None else weights),
    )
    widths = _widths(width, depth, ensemble)
    draws = whole_number("draws", draws)
    start = _start(network, q)
    c, inputs = _inputs(net, start, correlation, widths[0])
    plan = Plan(ensemble, widths, bool(jacobian), bool(tangent_kernel))
    devices = tuple(jax.devices() if devices is None else devices)
    if not devices:
        raise ValueError("devices: must be at least one of jax.devices(), got none")
    if max_memory is not None and not isinstance(max_memory, int | float | np.number):
        raise TypeError(f"max_memory: must be a number of bytes, got {max_memory!r}")
    block = block_of(plan, draws, devices[0].platform)
    check_memory(plan, draws, block, len(devices), max_memory)
    began = time.perf_counter()
    law = Law(float(net.weight_var), float(net.bias_var), inputs)
    words = _key_data(key)
    drawn = _drawn(net.activation, plan, law, words, draws, block, devices, progress)
    singular_values = drawn.pop("jacobian_singular_values", None)
    count = len(drawn["mean_square"])
    return Simulation(
        network=Network(net.activation, net.weight_var, net.bias_var, weights or net.weights),
        q=start, start_correlation=c, width=np.array(widths[1:]), draws=count, requested=draws,
        key=int(key) if isinstance(key, int | np.integer) else words, samples=drawn,
        jacobian_singular_values=singular_values,
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def _widths(width: Any, depth: int | None, ensemble: Ensemble) -> tuple[int, ...]:
    """Widths of the inputs and of all layers, which the ensemble must have matrices for."""
    if np.ndim(width) == 0:
        if depth is None:
            raise ValueError("depth: must be given where width is one number")
        each = [whole_number("width", width, 2)] * whole_number("depth", depth)
    else:
        each = [whole_number("width", n, 2) for n in width]
        if not each or depth == 0 or depth not in (None, len(each), len(each) - 1):
            raise ValueError(
                f"depth: must be the number of widths, {len(each)}, or one less where that of the "
                f"inputs comes first; got {depth!r}"
            )
    widths = tuple(each) if depth == len(each) - 1 else (each[0], *each)
    for fan_in, fan_out in sorted(set(zip(widths[:-1], widths[1:], strict=True))):
        density = getattr(ensemble, "density", 1.0)
        if density * fan_in < 1:
            raise ValueError(
                f"width: {fan_in} is too small for {ensemble} weights, whose rows would have "
                f"{density * fan_in:.2g} entries; it must be at least {int(np.ceil(1 / density))}"
            )
        try:
            jax.eval_shape(lambda k, m=fan_out, n=fan_in: ensemble.draw(k, m, n, 1.0, jnp.float32),
                           jax.eval_shape(lambda: jax.random.key(0)))  # fmt: skip
        except ValueError as error:
            raise ValueError(f"width: {error}") from error
    return widths


def _start(network: Network | FixedPoint, q: float | None) -> float:
    """The variance of the first layer."""
    net = network_of(network)
    bias_var = float(net.bias_var)
    if q is None and isinstance(network, FixedPoint):
        q = settled_variance(network)
    elif q is None:
        stable = [p for p in settling(net).points if p.stability == "stable" and p.q > 0]
        if len(stable) > 1 or settling(net).continuum is not None:
            q = settled_variance(network)  # or an error that lists the variances
        else:
            q = stable[0].q if stable else float(net.weight_var) + bias_var
    if isinstance(q, bool) or not isinstance(q, int | float | np.number):
        raise TypeError(f"q: must be one variance, got {q!r}")
    if not bias_var < q < np.inf:
        raise ValueError(
            f"q: the first layer's variance must be above bias_var = {bias_var:.6g}, that of an "
            f"input of 0, and finite; got {float(q):.6g}"
        )
    return float(q)


def _inputs(net: Network, q: float, correlation: float | None, width: int) -> tuple[float, Array]:
    """Two inputs with the first layer's variance and correlation, exactly; shape (2, width)."""
    weight_var, bias_var = float(net.weight_var), float(net.bias_var)
    if not isinstance(correlation, int | float | np.number | None):
        raise TypeError(f"correlation: must be one number, got {correlation!r}")
    least = -1 + 2 * bias_var / q
    c = (1 + bias_var / q) / 2 if correlation is None else float(correlation)
    if not least - 1e-12 <= c <= 1:
        raise ValueError(
            f"correlation: must be from {least:.6g} (opposite inputs, with biases of variance "
            f"{bias_var:.6g}) to 1, got {correlation!r}"
        )
    cosine = np.clip((c * q - bias_var) / (q - bias_var), -1, 1)
    first, second = np.random.default_rng(0).standard_normal((2, width))  # any will do
    first /= np.linalg.norm(first)
    second -= (first @ second) * first
    second /= np.linalg.norm(second)
    pair = np.stack([first, cosine * first + np.sqrt(1 - cosine**2) * second])
    return c, np.sqrt(width * (q - bias_var) / weight_var) * pair


def _key_data(key: Any) -> NDArray[np.uint32]:
    """The two words of a key of JAX's default generator, whatever the generator of the user."""
    is_number = isinstance(key, int | np.integer) and not isinstance(key, bool)
    with double(), concrete():
        try:
            found: Any = jax.random.key(int(key), impl="threefry2x32") if is_number else key
            if not jnp.issubdtype(found.dtype, jax.dtypes.prng_key):
                found = jax.random.wrap_key_data(found, impl="threefry2x32")  # of the old kind
            if str(jax.random.key_impl(found)) != "threefry2x32":
                return np.asarray(jax.random.bits(found, (2,), jnp.uint32))
            return np.asarray(jax.random.key_data(found))
        except OverflowError as error:
            raise ValueError(f"key: must fit into 64 bits, got {key!r}") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise TypeError(f"key: must be a whole number or a JAX key, got {key!r}") from error


@remembered
def _program(activation: Activation, plan: Plan, block: int, devices: tuple[Any, ...]):
    """The compiled program: a block of draws on every device."""
    with double(), jax.disable_jit(False):
        phi = elementwise(activation)
    mesh = Mesh(np.array(devices), ("draws",))
    whole, shared = PartitionSpec(), PartitionSpec("draws")

    def blocks(words, indices, law):
        key = jax.random.wrap_key_data(words, impl="threefry2x32")
        return jax.vmap(lambda i: measured(phi, plan, law, jax.random.fold_in(key, i)))(indices)

    shares = jax.shard_map(
        blocks, mesh=mesh, in_specs=(whole, shared, whole), out_specs=shared, check_vma=False
    )
    sharding = tuple(NamedSharding(mesh, spec) for spec in (whole, shared, whole))
    number = jax.ShapeDtypeStruct((), jnp.float64)
    with double(), jax.disable_jit(False):
        shapes = (
            jax.ShapeDtypeStruct((2,), jnp.uint32),
            jax.ShapeDtypeStruct((block * len(devices),), jnp.uint32),
            Law(number, number, jax.ShapeDtypeStruct((2, plan.widths[0]), jnp.float64)),
        )
        program = jax.jit(shares, in_shardings=sharding).lower(*shapes).compile()
    return program, sharding, phi.reach


def _drawn(
    activation: Activation,
    plan: Plan,
    law: Law,
    words: NDArray[np.uint32],
    draws: int,
    block: int,
    devices: tuple[Any, ...],
    progress: bool | None,
) -> dict[str, Array]:
    """What was measured in each network; after an interrupt, in those that there are."""
    from tqdm import tqdm

    program, (whole, shared, _), reach = _program(activation, plan, block, devices)
    at_once = block * len(devices)
    parts: list[dict[str, Array]] = []
    if progress is None:
        hidden = None if jax.process_index() == 0 else True  # None: where there is no terminal
    else:
        hidden = not progress
    bar = tqdm(
        total=draws, desc=f"{activation.name}, {plan.ensemble}", unit="net",
        disable=hidden, delay=1.0 if progress is None else 0.0,
    )  # fmt: skip
    with bar, concrete():
        words_there = jax.device_put(words, whole)
        law_there = jax.device_put(law, whole)
        try:
            for first in range(0, draws, at_once):
                indices = np.arange(first, first + at_once, dtype=np.uint32)
                result = program(words_there, jax.device_put(indices, shared), law_there)
                parts.append({name: _fetched(value) for name, value in result.items()})
                bar.update(min(at_once, draws - first))
        except KeyboardInterrupt:
            if not parts:
                raise
    samples = {name: np.concatenate([p[name] for p in parts])[:draws] for name in parts[0]}
    # from the layer on at which a variance overflows it is infinite, and all else unknown
    square = samples["mean_square"]
    lost = np.logical_or.accumulate(~np.isfinite(square), axis=1)
    square[lost] = np.inf if reach == np.inf else np.nan
    return samples


def _fetched(value: jax.Array) -> Array:
    """The whole array, also where other processes have computed shares of it."""
    if value.is_fully_addressable:
        return np.asarray(value)
    from jax.experimental.multihost_utils import process_allgather

    return np.asarray(process_allgather(value, tiled=True))
