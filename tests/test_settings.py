"""Nobody's settings matter, and none are changed."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import meanfield as mf


def numbers() -> list[float]:
    """Results of newly made activations: one with kinks, one smooth, and a critical point."""
    kinked = mf.critical(lambda x: jnp.clip(jax.nn.gelu(x), 0.0, 1.2))
    smooth = mf.critical(lambda x: x * jnp.tanh(jnp.logaddexp(x, 0.0)), bias_var=0.1)
    (point,) = mf.critical_points(lambda x: x * jax.nn.sigmoid(x))
    return [x for p in (kinked, smooth, point) for x in (p.q, p.weight_var, p.bias_var, p.error)]


SETTINGS: dict[str, Any] = {
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "allow",  # the tests raise
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_disable_jit": True,
    "jax_enable_x64": True,
    "jax_default_matmul_precision": "bfloat16",
    "jax_check_tracer_leaks": True,
    "jax_explicit_x64_dtypes": "allow",
    "jax_default_dtype_bits": "32",
}


@pytest.fixture(scope="module")
def usual() -> list[float]:
    return numbers()


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_do_not_matter(name: str, usual: list[float]) -> None:
    if name not in jax.config.values:
        pytest.skip("this version of jax has no such setting")
    before = jax.config.values[name]
    try:
        jax.config.update(name, SETTINGS[name])
    except ValueError as error:
        pytest.skip(str(error))
    try:
        assert numbers() == usual
        assert jax.config.values[name] == SETTINGS[name] or name == "jax_explicit_x64_dtypes"
    finally:
        jax.config.update(name, before)


def test_inside_a_jitted_function(x64: bool) -> None:
    outside = numbers()
    inside: list[float] = []

    @jax.jit
    def user(x):
        inside[:] = numbers()  # concrete: these activations depend on no tracer
        return x * inside[1]

    result = user(jnp.float32(2.0))
    assert inside == outside
    assert result.dtype == jnp.float32
    assert result == pytest.approx(2 * outside[1], rel=1e-6)


def test_inside_other_transformations(x64: bool) -> None:
    phi = mf.Activation(lambda x: jnp.tanh(1.25 * x))
    outside = mf.critical(phi).weight_var
    seen = []

    def user(x):
        seen.append(mf.critical(lambda x: jnp.tanh(1.25 * x)).weight_var)
        return x * seen[-1]

    assert jax.grad(user)(1.0) == pytest.approx(outside, rel=1e-6)
    jax.vmap(user)(jnp.ones(3))
    lax.scan(lambda carry, x: (carry, user(x)), 0.0, jnp.ones(2))
    assert set(seen) == {outside} and len(seen) >= 3


def test_no_setting_is_changed() -> None:
    before = dict(jax.config.values)
    numbers()
    with pytest.raises(mf.MeanFieldError):
        mf.critical(jnp.sqrt)
    assert dict(jax.config.values) == before
    assert jnp.zeros(()).dtype == jnp.float32
