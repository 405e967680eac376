"""The strict session every test runs in."""

import os
from collections.abc import Iterator

# The numbers are the same on every device; a CPU is on every machine. Set before jax is imported.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Processes share the cores, and threads of BLAS that wait for a busy one cost 20 times the work.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"  # pictures are looked at as objects, no window opens

import jax
import pytest
from hypothesis import settings

jax.config.update("jax_numpy_rank_promotion", "raise")

settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(params=[False, True], ids=["x32", "x64"])
def x64(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Run the test under both settings of `jax_enable_x64`: results may not depend on it."""
    with jax.enable_x64(request.param):
        yield request.param
