"""Compiling is what takes time: an activation compiles its own probe once, and nothing else."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import meanfield as mf

VARIANCES = np.geomspace(0.5, 4.0, 5)


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """Names of the functions that XLA compiles during the test."""
    names: list[str] = []

    def listen(event: str, duration_secs: float, **about: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(about.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def used(x64: bool) -> mf.Activation:
    """An activation that has been used, at one variance and at several."""
    activation = mf.Activation(lambda x: jnp.tanh(1.5 * x))
    mf.critical(activation)
    mf.critical(activation, q=VARIANCES)
    activation.moments(VARIANCES)
    return activation


def test_the_listener_hears_a_compilation(compilations: list[str]) -> None:
    jax.jit(lambda x: x * 1.25 + 3.5)(np.ones(7)).block_until_ready()
    assert len(compilations) == 1


@pytest.mark.parametrize(
    "phi",
    [
        lambda x: jnp.sin(x) + x,
        lambda x: jnp.clip(x - 0.5, 0.0, 1.2),  # with kinks to be found
        lambda x: jnp.where(x > 0.25, x - 0.25, 0.1 * jnp.expm1(x - 0.25)),
        lambda x: jax.nn.relu(x) ** 2,  # sampled farther out, as it grows
        lambda x: jax.nn.mish(x),  # with constants that JAX would compute one by one
    ],
    ids=["smooth", "clipped", "where", "growing", "mish"],
)
def test_another_activation_compiles_its_own_probe_only(phi, used, compilations) -> None:
    activation = mf.Activation(phi)
    mf.critical(activation)
    mf.critical(activation, q=VARIANCES)
    activation.moments(VARIANCES)
    assert compilations == ["jit(probe)"]


def test_a_reused_activation_compiles_nothing_at_another_variance(used, compilations) -> None:
    mf.critical(used, q=0.3)
    mf.critical(used, q=40.0)  # needs samples farther out
    mf.critical(used, q=VARIANCES * 1.5)
    used.moments(np.geomspace(1e-4, 1e2, 300))
    assert compilations == []


def test_an_activation_that_is_not_jax_compiles_nothing(used, compilations) -> None:
    mf.critical(mf.Activation(lambda x: np.maximum(x - 0.25, 0.0)))
    assert compilations == []


def test_maps_and_diagrams_compile_their_activation_only(compilations) -> None:
    grid = np.linspace(0.6, 3.0, 8), np.linspace(0.01, 0.3, 5)

    def all_of_it(phi) -> None:
        network = mf.Network(phi, weight_var=2.0, bias_var=0.05)
        mf.variance_map(network).iterate(1.0, depth=40)
        mf.correlation_map(network, q=0.8).iterate([0.3, -0.2], depth=30)
        mf.fixed_points(network)
        mf.phase_diagram(network.activation, *grid)

    all_of_it(lambda x: jnp.tanh(1.3 * x))
    compilations.clear()
    all_of_it(lambda x: jnp.clip(x, -1.2, 0.9))
    assert sorted(compilations) == ["jit(<lambda>)", "jit(probe)", "jit(value)"]
