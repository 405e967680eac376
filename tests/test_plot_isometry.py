"""Spectra and isometry as pictures and on the command line: what is drawn is what results hold."""

import csv
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import meanfield as mf
from commands import run, strict_json
from meanfield import plot
from meanfield.cli import main
from pictures import forbid_side_effects, labelled


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


LIMIT = mf.UniversalSpectrum(0.25, 0.0)


def test_the_curve_is_the_density(ax: Any) -> None:
    assert plot.spectrum(LIMIT, ax) is ax
    s, density = labelled(ax)["density"].get_data()
    inside = slice(1, -1)
    np.testing.assert_allclose(density[inside], LIMIT.density(s[inside]))
    assert ax.get_ylabel() == "density of $s$"


def test_areas_on_a_logarithmic_axis_are_probabilities(ax: Any) -> None:
    plot.spectrum(mf.universal_spectrum(0.5), ax, log=True)
    s, density = labelled(ax)["density"].get_data()
    assert np.trapezoid(density, np.log(s)) == pytest.approx(1, abs=1e-3)
    assert ax.get_xscale() == "log"


@pytest.mark.parametrize("log", [False, True])
def test_atoms_are_stems_and_edges_are_marked(ax: Any, log: bool) -> None:
    plot.spectrum(LIMIT, ax, log=log)
    lines = labelled(ax)
    (s,), (mass,) = lines["atom of mass 0.75"].get_data()
    assert (s, mass) == pytest.approx(tuple(LIMIT.atoms[0]))
    edges = lines["edge of the support"].get_xdata()
    expected = LIMIT.support[0, 1:] if log else LIMIT.support[0]
    np.testing.assert_allclose(edges, expected)


def test_an_atom_at_zero(ax: Any) -> None:
    spectrum = mf.jacobian_spectrum(mf.critical("relu", weights="orthogonal"), 4)
    plot.spectrum(spectrum, ax, log=True)  # which has no place for it
    assert "density, 0.5 at $s$ = 0" in labelled(ax)
    linear = Figure().subplots()
    plot.spectrum(spectrum, linear)
    assert labelled(linear)["atom of mass 0.5"].get_xdata() == [0]


def test_a_narrow_logarithmic_axis_has_plain_numbers(ax: Any) -> None:
    """Where powers of ten are one or none, and what matplotlib writes between them overlaps."""
    plot.spectrum(mf.jacobian_spectrum(mf.critical("tanh", q=0.05, weights="orthogonal"), 64), ax,
                  log=True)  # fmt: skip
    low, high = ax.get_xlim()
    shown = [t for t in ax.xaxis.get_majorticklocs() if low < t < high]
    assert shown == pytest.approx([0.2, 0.5, 1.0, 2.0])
    assert ax.xaxis.get_major_formatter()(0.5) == "0.5" and not len(ax.xaxis.get_minorticklocs())


def test_a_support_without_end() -> None:
    """Slopes of exp(x^2/8) have no bound: drawn is all but a thousandth."""
    point = mf.critical(lambda x: jnp.exp(x**2 / 8), q=1.75, weights="orthogonal")
    spectrum = mf.jacobian_spectrum(point, 2)
    assert spectrum.s_max == np.inf
    for log in (False, True):
        ax = plot.spectrum(spectrum, Figure().subplots(), log=log)
        drawn = labelled(ax)["density"].get_xdata()
        assert drawn[-1] == pytest.approx(spectrum.quantile(0.999))


def test_a_histogram_has_the_area_of_what_is_sampled(ax: Any) -> None:
    p = (np.arange(4000) + 0.5) / 4000
    limit = mf.universal_spectrum(0.3)
    plot.spectrum(limit, ax, sampled=limit.quantile(p).reshape(8, -1))
    (steps,) = ax.patches
    height, edges, _ = steps.get_data()
    assert np.sum(height * np.diff(edges)) == pytest.approx(1)
    middle = 0.5 * (edges[:-1] + edges[1:])
    inside = (middle > 1.1 * limit.support[0, 0]) & (middle < 0.9 * limit.s_max)
    np.testing.assert_allclose(height[inside], limit.density(middle[inside]), rtol=0.05)


def test_several_spectra(ax: Any) -> None:
    plot.spectra({"a": LIMIT, "b": mf.universal_spectrum(1.0)}, ax, linewidth=3)
    lines = labelled(ax)
    assert lines["a"].get_linestyle() != lines["b"].get_linestyle()
    assert lines["a"].get_linewidth() == 3
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names.count("edge of the support") == 1


def test_growth_is_drawn_as_it_is(ax: Any) -> None:
    growth = mf.isometry("relu", depth=8).growth(depths=[2, 4, 8])
    plot.growth(growth, ax, quantity="s_max")
    for name, values in zip(growth.weights, growth.s_max, strict=True):
        np.testing.assert_array_equal(labelled(ax)[name].get_ydata(), values)
    with pytest.raises(ValueError, match="quantity: must be one of log_std"):
        plot.growth(growth, ax, quantity="mean")


def test_the_panels_of_isometry(monkeypatch: pytest.MonkeyPatch) -> None:
    result = mf.isometry("hard_tanh", depth=8, q=0.5)
    axes = Figure().subplots(1, 3)
    growth = result.growth(0.5, depths=[2, 8])
    forbid_side_effects(monkeypatch)
    assert list(plot.isometry(result, axes, growing=growth)) == list(axes)
    lines = labelled(axes[0])
    assert lines["1 / depth = 1 / 8"].get_ydata() == [1 / 8, 1 / 8]
    off = lines[r"share off, $\phi' = 0$"]
    np.testing.assert_array_equal(off.get_xdata(), result.scan.q)
    names = [label.split(",")[0] for label in labelled(axes[1])]
    assert {"orthogonal", "gaussian"} <= set(names)
    # Gaussian weights spread over decades; what lies within one is on a linear axis
    assert axes[1].get_xscale() == "log"
    near, ax = mf.isometry("hard_tanh", depth=8, q=0.1, weights="orthogonal"), Figure()
    assert near.plot(ax.subplots(1, 2))[1].get_xscale() == "linear"
    assert axes[1].get_title() == "at $q$ = 0.5"
    with pytest.raises(ValueError, match="ax: must be 2 axes"):
        plot.isometry(result, ax=axes)


def test_no_edge_of_chaos_is_drawn_as_none() -> None:
    result = mf.isometry("softplus", depth=8, weights="mirrored")
    left, _ = result.plot(Figure().subplots(1, 2))
    assert np.all(np.isnan(labelled(left)[r"$\mathrm{Var}(\phi'^2)\,/\,\mathrm{E}[\phi'^2]^2$"]
                           .get_ydata()))  # fmt: skip
    assert "no edge of chaos here" in labelled(left)


def test_results_draw_themselves() -> None:
    for result in (LIMIT, mf.residual_spectrum(mf.critical("tanh"), 4)):
        ax = Figure().subplots()
        assert result.plot(ax, log=True) is ax
        assert ax.lines


# -- meanfield isometry ---------------------------------------------------------------------------


def test_the_verdict_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    out = run("isometry relu --depth 8", capsys)
    assert out.strip() == str(mf.isometry("relu", depth=8))


def test_json_and_anybodys_function(capsys: pytest.CaptureFixture[str]) -> None:
    record = strict_json(run("isometry jax.numpy:abs --depth 8 --json", capsys))
    assert record["verdict"] == "EXACT"
    record = strict_json(
        run("isometry elu --alpha 0.5 --depth 4 --q 1 --weights orthogonal --json", capsys)
    )
    (row,) = record["table"]
    elu = mf.Activation("elu", alpha=0.5)
    assert row["s_max"] == mf.isometry(elu, 4, 1.0, "orthogonal").table[0].s_max


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [tmp_path / f"isometry{suffix}" for suffix in (".png", ".csv", ".npz", ".json")]
    run("isometry relu --depth 8 " + " ".join(f"-o {name}" for name in names), capsys)
    picture, table, arrays, record = names
    assert picture.read_bytes().startswith(b"\x89PNG")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["weights"] for row in rows] == ["orthogonal", "gaussian", "mirrored"]
    with np.load(arrays) as scan:
        assert scan["q"].shape == scan["spread"].shape
    assert strict_json(record.read_text())["depth"] == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("isometry sign", "jumps at x = 0"),
        ("isometry tanh --depth 0", "depth: must be at least 1"),
        ("isometry sigmoid --q 1", "no critical point at q = 1"),
    ],
)
def test_what_is_refused(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments.split()) == 1
    assert message in capsys.readouterr().err
