"""How `simulate` is asked: reproducible, interrupted, kept in files, and what is refused."""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import meanfield as mf
from meanfield import ensembles
from meanfield.simulation import run as running

RELU = mf.Network("relu", weight_var=2.0)
TANH = mf.critical("tanh")


# -- reproducible -------------------------------------------------------------------------------


def test_a_key_makes_the_numbers(x64: bool) -> None:
    first = mf.simulate(TANH, 8, 3, 16, key=5)
    assert np.array_equal(first.variance, mf.simulate(TANH, 8, 3, 16, key=5).variance)
    assert not np.array_equal(first.variance, mf.simulate(TANH, 8, 3, 16, key=6).variance)
    for key in (jax.random.key(5), jax.random.PRNGKey(5)):
        again = mf.simulate(TANH, 8, 3, 16, key=key)
        assert np.array_equal(first.samples["mean_square"], again.samples["mean_square"])
    other = mf.simulate(TANH, 8, 3, 16, key=jax.random.key(5, impl="rbg"))
    assert other.variance.shape == (3,)


def test_draws_do_not_depend_on_their_block(monkeypatch: Any) -> None:
    whole = mf.simulate(TANH, 8, 3, 16)
    monkeypatch.setattr(running, "block_of", lambda *args: 7)
    parts = mf.simulate(TANH, 8, 3, 16)
    for name, sample in whole.samples.items():
        assert sample.shape == (16, 3)
        np.testing.assert_allclose(sample, parts.samples[name], rtol=1e-11, atol=1e-14)


def test_more_draws_begin_with_the_fewer() -> None:
    few, many = (mf.simulate(TANH, 8, 3, n).samples["mean_square"] for n in (5, 16))
    np.testing.assert_allclose(few, many[:5], rtol=1e-11)


def test_inside_a_transformation_it_is_the_same() -> None:
    expected = mf.simulate(TANH, 8, 3, 8).variance
    found = jax.jit(lambda: jnp.asarray(mf.simulate(TANH, 8, 3, 8).variance))()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_interrupt_keeps_what_was_drawn(monkeypatch: Any) -> None:
    whole = mf.simulate(TANH, 8, 3, 16, progress=False)
    fetched, calls = running._fetched, []

    def interrupted(value):
        calls.append(None)
        if len(calls) > 2 * len(whole.samples) + 1:  # in the middle of the third block
            raise KeyboardInterrupt
        return fetched(value)

    monkeypatch.setattr(running, "_fetched", interrupted)
    sim = mf.simulate(TANH, 8, 3, 16)
    assert sim.interrupted and (sim.draws, sim.requested) == (2, 16)
    np.testing.assert_array_equal(sim.samples["mean_square"], whole.samples["mean_square"][:2])
    assert "interrupted: 16 were asked for" in str(sim)
    assert not whole.interrupted
    monkeypatch.setattr(running, "_fetched", lambda value: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # nothing was drawn
        mf.simulate(TANH, 8, 3, 16)


def test_the_progress_bar_is_for_terminals_or_asked_for(capsys: Any) -> None:
    mf.simulate(TANH, 8, 3, 16)
    assert capsys.readouterr() == ("", "")
    mf.simulate(TANH, 8, 3, 16, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "16/16" in err and "net/s" in err


# -- layers, files ------------------------------------------------------------------------------


def test_layers_of_different_widths() -> None:
    sim = mf.simulate(RELU, [7, 30, 10], 2, draws=3000)  # the inputs first
    assert sim.width.tolist() == [30, 10] and sim.depth == 2
    expected = np.array([0, 5 / 30])  # only fan-in counts
    assert np.all(np.abs(sim.four_point - expected) < 4 * sim.four_point_error)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    net = mf.Network("relu", 2.0, 0.1, weights=ensembles.Sparse(0.5))
    sim = mf.simulate(
        net, 8, 2, draws=200, q=1.0, correlation=0.7, jacobian=True, tangent_kernel=True, key=3
    )
    assert abs(sim.variance[0] - 1.0) < 4 * sim.variance_error[0]
    assert abs(sim.covariance[0] - 0.7) < 4 * sim.covariance_error[0]
    again = mf.Simulation.load(sim.save(tmp_path / "sim.npz"))
    assert again.network.weights == net.weights and again.key == 3
    assert str(again).splitlines() == str(sim).splitlines()
    np.testing.assert_array_equal(again.jacobian_singular_values, sim.jacobian_singular_values)
    for name, (value, error) in sim.estimates.items():
        np.testing.assert_array_equal(again.estimates[name].value, value)
        np.testing.assert_array_equal(again.estimates[name].error, error)
    record = sim.to_dict()
    assert record["variance"] == sim.variance.tolist()
    assert {"variance_error", "tangent_kernel", "key", "weights"} <= set(record)
    table = np.genfromtxt(sim.save(tmp_path / "sim.csv"), delimiter=",", names=True)
    np.testing.assert_array_equal(table["variance"], sim.variance)
    assert sim.save(tmp_path / "sim.json").read_text().startswith("{")
    with pytest.raises(ValueError, match=r"\.npz, \.json or \.csv"):
        sim.save(tmp_path / "sim.txt")


def test_estimates_are_attributes() -> None:
    sim = mf.simulate(TANH, 8, 3, 8)
    assert {"variance", "variance_error", "four_point", "escaped"} <= set(dir(sim))
    with pytest.raises(AttributeError, match="its estimates.*variance_median"):
        _ = sim.nothing
    with pytest.raises(AttributeError):
        sim.q = 2.0  # pyright: ignore[reportAttributeAccessIssue]


# -- what is refused ----------------------------------------------------------------------------

CHAOTIC = mf.Network("tanh", 2.25, 0.1)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((TANH, 1, 3), {}, "width: must be at least 2, got 1"),
        ((TANH, 8, 0), {}, "depth: must be at least 1, got 0"),
        ((TANH, 8, 3, 0), {}, "draws: must be at least 1, got 0"),
        ((TANH, 8), {}, "depth: must be given"),
        ((TANH, [8, 8, 8], 4), {}, "depth: must be the number of widths, 3, or one less .* got 4"),
        ((TANH, [], 0), {}, "depth: must be the number of widths, 0"),
        ((TANH, [8], 0), {}, "depth: must be the number of widths, 1"),
        ((TANH, 8, 3), {"q": 0.01}, "q: the first layer's variance must be above bias_var"),
        ((TANH, 8, 3), {"q": math.inf}, "q: .* finite"),
        ((TANH, 8, 3), {"correlation": 1.5}, "correlation: must be from -0.69"),
        ((TANH, 8, 3), {"correlation": -0.8}, "correlation: must be from -0.69"),
        ((TANH, 8, 3), {"weights": "cauchy"}, "weights: must be one of"),
        ((TANH, 8, 3), {"weights": ensembles.LowRank(0.01)}, "width: .*rank 0"),
        ((TANH, 8, 3), {"weights": ensembles.Sparse(0.01)}, "width: 8 is too small.* at least 100"),
        (
            (TANH, [8, 6]), {"weights": ensembles.SparseOrthogonal(0.5)},
            r"width: .*square, got \(6, 8\)",
        ),
        ((TANH, 8, 3), {"key": 2**70}, "key: must fit into 64 bits"),
        ((TANH, 8, 3), {"devices": []}, "devices: must be at least one"),
        ((TANH, 300, 100, 10**9), {}, "draws, width, depth: 1000000000 draws .* TB"),
        ((TANH, 300, 100, 100), {"max_memory": 1e6}, "and 1 MB can be had"),
        ((TANH, 200_000, 3, 1), {"jacobian": True}, "need about .* TB of memory"),
        ((mf.Network("crelu", 10.195, 0.6204), 8, 3), {}, "stable fixed points"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_bad_values(arguments: tuple, options: dict, message: str) -> None:
    if "stable fixed" in message:
        crelu = mf.Activation("crelu", tau=1.2815515655446004, m=1.6106)
        arguments = (mf.Network(crelu, 10.195, 0.6204), *arguments[1:])
    with pytest.raises(ValueError, match=message):
        mf.simulate(*arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("tanh", 8, 3), {}, "network: must be a Network or a FixedPoint"),
        ((TANH, 8.0, 3), {}, "width: must be a whole number"),
        ((TANH, 8, 3, True), {}, "draws: must be a whole number"),
        ((TANH, 8, 3), {"q": "1"}, "q: must be one variance"),
        ((TANH, 8, 3), {"key": "1"}, "key: must be a whole number or a JAX key"),
        ((TANH, 8, 3), {"weights": 3}, "weights: must be the name"),
        ((TANH, 8, 3), {"max_memory": "1 GB"}, "max_memory: must be a number of bytes"),
        ((TANH, 8, 3), {"correlation": "0.5"}, "correlation: must be one number"),
    ],
)
def test_bad_types(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        mf.simulate(*arguments, **options)


def test_where_a_network_starts() -> None:
    start = running._start
    assert start(RELU, None) == 1.0  # every variance is one
    assert start(CHAOTIC, None) == pytest.approx(mf.fixed_points(CHAOTIC)[0].q)
    assert start(TANH, None) == 1.0
    assert start(TANH, 0.7) == 0.7
    # none above 0: inputs of mean square 1
    assert start(mf.Network("tanh", 0.75), None) == 0.75
    assert start(mf.Network("relu", 3.0, 0.5), None) == 3.5
