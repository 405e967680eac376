"""Diagrams over sparsity and clip level: fields, regions, pictures."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import meanfield as mf
from meanfield import plot
from meanfield.clip import ClipRegion
from meanfield.clip.families import FAMILIES
from pictures import forbid_side_effects, labelled

SHARES = np.linspace(0.3, 0.97, 12)
LEVELS = np.linspace(0.1, 3.0, 15)


@pytest.fixture(scope="module")
def diagram() -> mf.ClipDiagram:
    return mf.clip_diagram("shifted_relu", SHARES, LEVELS)


@pytest.fixture(scope="module")
def curves() -> mf.ClipDiagram:
    return mf.clip_diagram("shifted_relu", [0.7, 0.85, 0.9])


@pytest.fixture(scope="module")
def risky() -> mf.ClipChoice:
    return mf.clip_threshold("shifted_relu", 0.9, 0.9)


# -- the fields -----------------------------------------------------------------------------------


def test_fields_are_those_of_single_choices(diagram: mf.ClipDiagram) -> None:
    rng = np.random.default_rng(1)
    rows, columns = np.nonzero(diagram.region <= ClipRegion.BISTABLE)
    for k in rng.choice(len(rows), 4, replace=False):
        i, j = int(rows[k]), int(columns[k])
        choice = mf.clip_threshold("shifted_relu", float(SHARES[i]), m=float(LEVELS[j]))
        for name in ("weight_var", "bias_var", "slope", "curvature"):
            assert getattr(diagram, name)[i, j] == pytest.approx(getattr(choice, name), abs=1e-12)
        assert diagram.margin[i, j] == pytest.approx(choice.margin(), rel=1e-8)
        ends = [end if 0 < end < np.inf else np.nan for end in choice.edges]
        got = [diagram.below[i, j], diagram.above[i, j]]
        assert got == pytest.approx(ends, rel=1e-10, nan_ok=True)


def test_regions(diagram: mf.ClipDiagram) -> None:
    """Where tau < 0 a clip that is large leaves no edge; where tau > 0 it makes a second basin."""
    valid = diagram.region != ClipRegion.NO_EDGE
    assert np.array_equal(valid, np.isfinite(diagram.slope))
    assert not np.any(valid[SHARES < 0.48][:, LEVELS > 2])
    assert np.all(valid[SHARES > 0.5])
    bistable = diagram.region == ClipRegion.BISTABLE
    assert np.array_equal(bistable, np.isfinite(diagram.above))
    # once bistable, for all larger levels
    assert np.all(np.diff(bistable.astype(int), axis=1) >= 0)
    assert np.all(bistable[-1, LEVELS > 1.2])
    tau = FAMILIES["shifted_relu"].threshold(SHARES, 1.0)
    assert not np.any(bistable[tau <= 0])


def test_the_edge_of_the_bistable_region_is_where_the_map_touches_the_diagonal() -> None:
    """There `V(q) = q` and `V'(q) = 1` at one place."""
    levels = np.linspace(1.51, 1.53, 41)
    diagram = mf.clip_diagram("shifted_relu", [0.9], levels)
    first = int(np.argmax(diagram.region[0] == ClipRegion.BISTABLE))
    assert 0 < first < len(levels) - 1
    before, after = (
        mf.clip_threshold("shifted_relu", 0.9, m=m) for m in levels[first - 1 : first + 1]
    )
    assert before.other_fixed_points == ()
    low, high = after.other_fixed_points
    assert high.q - low.q < 0.2
    assert low.variance_slope > 1 > high.variance_slope


def test_thresholds(curves: mf.ClipDiagram) -> None:
    assert curves.threshold == pytest.approx([1.44693298314, 1.17036734009, 1.06320751675])
    assert curves.slope.shape == (3, 200)
    assert curves.m[0] > 0
    assert np.all(curves.slope[:, -1] > 0.97)


def test_larger_variances_change_units_alone(curves: mf.ClipDiagram) -> None:
    large = mf.clip_diagram("shifted_relu", [0.7, 0.85, 0.9], 2 * curves.m, q=4.0)
    assert large.slope == pytest.approx(curves.slope, abs=1e-12)
    assert 4 * large.curvature == pytest.approx(curves.curvature, abs=1e-11)
    assert large.threshold == pytest.approx(2 * curves.threshold)
    assert np.array_equal(large.region, curves.region)


@pytest.mark.parametrize("clip", ["two-sided", "smooth"])
def test_any_activation(clip: str) -> None:
    levels = np.array([0.5, 1.7])
    diagram = mf.clip_diagram("gelu", m=levels, clip=clip)
    assert diagram.slope.shape == (1, 2)
    for j, m in enumerate(levels):
        choice = mf.clip_threshold("gelu", m=m, clip=clip)
        assert diagram.slope[0, j] == pytest.approx(choice.slope, abs=1e-12)


def test_families_by_their_samples_have_the_same_regions() -> None:
    levels = np.linspace(1.0, 2.6, 9)
    closed = mf.clip_diagram("shifted_relu", [0.9], levels)
    tau = closed.subjects[0].tau
    sampled = mf.clip_diagram(mf.Activation("shifted_relu", tau=tau), m=levels)
    assert np.array_equal(sampled.region, closed.region)
    assert sampled.above == pytest.approx(closed.above, rel=1e-9, nan_ok=True)
    assert sampled.margin == pytest.approx(closed.margin, rel=1e-8)


def test_levels_of_a_risk() -> None:
    diagram = mf.clip_diagram("shifted_relu", [0.8, 0.9], LEVELS, width=300)
    levels = diagram.risk_levels(0.05)
    for share, m in zip([0.8, 0.9], levels, strict=True):
        choice = mf.clip_threshold("shifted_relu", share, m=m)
        assert choice.risk() == pytest.approx(0.05, rel=1e-6)
    few = mf.clip_diagram("shifted_relu", [0.8, 0.85, 0.9], LEVELS, width=300)
    assert few.risk_levels(0.05, rows=2) == pytest.approx([levels[0], levels.mean(), levels[1]])


def test_a_risk_that_no_level_or_every_level_keeps() -> None:
    diagram = mf.clip_diagram("shifted_relu", [0.3, 0.9], LEVELS, depth=20)
    low, high = diagram.risk_levels(0.05)
    assert low == np.inf and np.isfinite(high)
    # less than the chain can tell: promised nowhere
    assert np.isnan(mf.clip_diagram("shifted_relu", [0.9], LEVELS).risk_levels(1e-13)).all()
    for risk, rows in ((1.5, None), (0.05, 1)):
        with pytest.raises(ValueError, match="risk: must be a share|rows: must be at least 2"):
            diagram.risk_levels(risk, rows)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sparsity": [0.9, 0.5]}, "sparsity"), ({"sparsity": [0.5, 1.0]}, "sparsity"),
        ({"sparsity": [0.5], "m": [0.0, 1.0]}, "m: must be positive"),
        ({"sparsity": [0.5], "m": [2.0, 1.0]}, "m: must be increasing"),
        ({"sparsity": [0.5], "q": -1.0}, "q"), ({}, "sparsity, tau"),
        ({"phi": "tanh"}, "bounded"), ({"phi": "gelu", "sparsity": [0.5]}, "sparsity"),
        ({"sparsity": [0.5], "weights": "nothing"}, "weights"),
        ({"sparsity": [0.5], "slope": 1.5}, "slope: must be below 1"),
        ({"phi": lambda x: x + np.sign(x)}, "jumps at x = 0"),
    ],
)  # fmt: skip
def test_bad_input(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mf.clip_diagram(**{"phi": "shifted_relu", **arguments})


def test_it_prints(curves: mf.ClipDiagram) -> None:
    text = str(curves)
    assert "3 by 200 points" in text
    assert "sparsity 0.85: V' = 0.7 at m = 1.17037" in text
    assert curves.to_dict()["wanted_slope"] == 0.7


# -- pictures -------------------------------------------------------------------------------------


def two() -> Any:
    return Figure().subplots(1, 2)


def test_curves(curves: mf.ClipDiagram, risky: mf.ClipChoice) -> None:
    ax = two()
    assert all(a is b for a, b in zip(plot.clip_curves(curves, ax, choice=risky), ax, strict=True))
    for at, values in zip(ax, (curves.slope, curves.curvature), strict=True):
        lines = labelled(at)
        for row, share in enumerate((0.7, 0.85, 0.9)):
            np.testing.assert_array_equal(lines[f"sparsity {share}"].get_ydata(), values[row])
        assert lines["chosen"].get_xdata()[0] == risky.m
    marks = [line for line in ax[0].lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in marks] == list(curves.threshold)
    assert [line.get_ydata()[0] for line in marks] == pytest.approx([0.7] * 3, abs=1e-3)
    with pytest.raises(ValueError, match="ax"):
        plot.clip_curves(curves, ax[0])


def test_map(diagram: mf.ClipDiagram, risky: mf.ClipChoice) -> None:
    for colour in ("slope", "curvature", "margin"):
        ax = Figure().subplots()
        assert plot.clip_map(diagram, ax, choice=risky, colour=colour) is ax
        field = getattr(diagram, colour).copy()
        field[np.isinf(field)] = np.nan
        shown: Any = ax.collections[0].get_array()
        shown = np.ma.filled(shown, np.nan)
        np.testing.assert_array_equal(shown.reshape(field.shape), field)
        hatched = {patch.get_label(): patch.get_hatch() for patch in ax.patches}
        assert {"bistable", "no edge of chaos"} <= set(hatched)
        assert all(hatched.values())
        star = labelled(ax)["chosen"]
        assert (star.get_xdata()[0], star.get_ydata()[0]) == (risky.m, risky.sparsity)
        ax.figure.canvas.draw()
    with pytest.raises(ValueError, match="colour"):
        plot.clip_map(diagram, colour="red")
    with pytest.raises(ValueError, match="at least 2"):
        plot.clip_map(mf.clip_diagram("gelu", m=[0.5, 1.0]), Figure().subplots())


def test_few_sparsities_are_curves_many_are_a_map(
    diagram: mf.ClipDiagram, curves: mf.ClipDiagram
) -> None:
    assert len(curves.plot()) == 2
    assert diagram.plot().get_ylabel() == "sparsity, share of zeros"
    with pytest.raises(ValueError, match="told apart"):
        plot.clip_curves(diagram)


def test_the_chosen_map(risky: mf.ClipChoice) -> None:
    ax: Any = Figure().subplots()
    assert risky.plot(ax) is ax
    lines = labelled(ax)
    q = lines["clipped at $m$ = 1.611"].get_xdata()
    np.testing.assert_array_equal(
        lines["clipped at $m$ = 1.611"].get_ydata(), mf.variance_map(risky.point)(q)
    )
    assert risky.unclipped is not None
    np.testing.assert_array_equal(
        lines["unclipped"].get_ydata(), mf.variance_map(risky.unclipped)(q)
    )
    end = lines["end of the basin"].get_xdata()
    assert end[0] == risky.other_fixed_points[0].q
    band: Any = ax.patches[0]
    low, high = band.get_x(), band.get_x() + band.get_width()
    assert (low, high) == pytest.approx(
        (1 - 2 * risky.noise().kernel, 1 + 2 * risky.noise().kernel)
    )
    points = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert [line.get_xdata()[0] for line in points] == [p.q for p in risky.fixed_points]


def test_trajectories(risky: mf.ClipChoice) -> None:
    sim = mf.simulate(risky.point, width=300, depth=11, draws=20, progress=False)
    way = risky.trajectory(depth=10)
    ax = Figure().subplots()
    assert way.plot(ax, simulation=sim) is ax
    lines = labelled(ax)
    np.testing.assert_array_equal(lines["infinite width"].get_ydata(), way.variance)
    np.testing.assert_array_equal(lines["infinite width"].get_xdata(), np.arange(1, 12))
    np.testing.assert_array_equal(lines["median network, theory"].get_ydata(), way.median)
    thin = [line for line in ax.lines if line.get_linewidth() == 0.5]
    assert len(thin) == 12
    np.testing.assert_array_equal(thin[3].get_ydata(), sim.samples["mean_square"][3])
    unclipped = mf.clip_threshold("shifted_relu", 0.9, m=np.inf).trajectory(depth=60)
    both = plot.clip_trajectory([way, unclipped], Figure().subplots())
    assert both.get_yscale() == "log"
    assert np.isfinite(both.get_ylim()).all()
    both.figure.canvas.draw()


def test_pictures_have_no_side_effects(
    diagram: mf.ClipDiagram, curves: mf.ClipDiagram, risky: mf.ClipChoice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    way = risky.trajectory(depth=5)
    axes = two(), Figure().subplots(), Figure().subplots(), Figure().subplots()
    forbid_side_effects(monkeypatch)
    plot.clip_curves(curves, axes[0])
    plot.clip_map(diagram, axes[1])
    plot.clip_choice(risky, axes[2])
    plot.clip_trajectory(way, axes[3])
