"""Maps and trajectories as pictures: what is drawn is what the result holds."""

from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.figure import Figure

import meanfield as mf
from commands import python
from meanfield import plot
from meanfield.plot.variance import cobweb
from pictures import forbid_side_effects, labelled

TANH = mf.Network("tanh", weight_var=2.25, bias_var=0.0025)
# sparsity 0.9 and V' = 0.9 at q = 1: stable at 1, unstable at 1.398, stable at 3.474
CRELU = mf.Activation("crelu", tau=1.2815515655446004, m=1.6106)
BISTABLE = mf.Network(CRELU, weight_var=10.195, bias_var=0.6204)


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


def markers(ax: Any) -> dict[float, Any]:
    """The fixed points drawn, by where they are."""
    lines = [line for line in ax.lines if line.get_linestyle() == "None"]
    for line in lines:
        assert line.get_xdata()[0] == line.get_ydata()[0]
    return {float(line.get_xdata()[0]): line for line in lines}


def is_filled(line: Any) -> bool:
    return line.get_fillstyle() == "full" and line.get_markerfacecolor() == "black"


# -- the variance map -----------------------------------------------------------------------------


def test_the_curve_is_the_map(ax: Any) -> None:
    V = mf.variance_map(TANH)
    assert plot.variance_map(V, ax) is ax
    lines = labelled(ax)
    q = lines["$V(q)$"].get_xdata()
    assert (q[0], len(q)) == (0, 401)
    np.testing.assert_array_equal(lines["$V(q)$"].get_ydata(), V(q))
    np.testing.assert_array_equal(lines["$q$ unchanged"].get_ydata(), q)
    assert "variance $q$" in ax.get_xlabel()


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_all_fixed_points_are_marked(scale: str, ax: Any) -> None:
    points = mf.fixed_points(BISTABLE)
    assert len(points) == 3
    plot.variance_map(points, ax, scale=scale)
    drawn = markers(ax)
    assert list(drawn) == [point.q for point in points]
    assert [is_filled(line) for line in drawn.values()] == [True, False, True]
    assert set(labelled(ax)) >= {"stable", "unstable"}
    assert ax.get_xscale() == ax.get_yscale() == scale


def test_a_map_or_its_fixed_points_give_the_same_picture() -> None:
    one = plot.variance_map(mf.variance_map(BISTABLE), Figure().subplots())
    other = plot.variance_map(mf.fixed_points(BISTABLE), Figure().subplots())
    for a, b in zip(one.lines, other.lines, strict=True):
        np.testing.assert_array_equal(a.get_xydata(), b.get_xydata())


def test_zero_is_named_where_it_has_no_place(ax: Any) -> None:
    points = mf.fixed_points(mf.Network("tanh", weight_var=2.25))
    assert points[0].q == 0
    plot.variance_map(points, ax, scale="log")
    assert [text.get_text() for text in ax.texts] == ["$q$ = 0 is unstable"]
    linear = plot.variance_map(points, Figure().subplots())
    assert 0 in markers(linear)


def test_half_stable_points_are_filled_on_the_side_that_attracts(ax: Any) -> None:
    (half,) = [p for p in mf.critical_points("gelu") if p.universality_class == "half-stable"]
    points = mf.fixed_points(half.network)
    (point,) = [p for p in points if p.stability == "half-stable"]
    plot.variance_map(points, ax)
    # the curve touches the diagonal from above where q grows towards the point from below
    below = mf.variance_map(half.network)(0.9 * point.q) > 0.9 * point.q
    assert markers(ax)[point.q].get_fillstyle() == ("left" if below else "right")


def test_a_continuum_is_marked(ax: Any) -> None:
    plot.variance_map(mf.fixed_points(mf.Network("relu", weight_var=2.0)), ax)
    band = labelled(ax)["every $q$ is a fixed point"]
    np.testing.assert_array_equal(band.get_xdata(), band.get_ydata())
    np.testing.assert_array_equal(band.get_xdata(), ax.get_xlim())


def test_the_ground_is_hatched_where_the_variance_explodes(ax: Any) -> None:
    points = mf.fixed_points(mf.Network("gelu", weight_var=2.3, bias_var=0.03))
    plot.variance_map(points, ax)
    (span,) = ax.patches
    assert span.get_hatch()
    assert span.get_extents().x0 == pytest.approx(
        ax.transData.transform((points.explodes[-1][0], 0))[0]
    )


def test_the_cobweb_is_the_trajectory(ax: Any) -> None:
    V = mf.variance_map(TANH)
    plot.variance_map(V, ax, q0=0.1, depth=7)
    x, y = labelled(ax)["from $q_0$ = 0.1"].get_xydata().T
    way = np.asarray(V.iterate(0.1, 7))
    np.testing.assert_array_equal(x[::2], way)  # on the diagonal, ...
    np.testing.assert_array_equal(y[::2], way)
    np.testing.assert_array_equal(x[1::2], way[:-1])  # ... then up to the curve
    np.testing.assert_array_equal(y[1::2], way[1:])


def test_an_exploding_cobweb_leaves_the_picture(ax: Any) -> None:
    V = mf.variance_map(mf.Network("relu", weight_var=8.0, bias_var=0.1))
    plot.variance_map(V, ax, q0=0.5, depth=15)
    (cobweb,) = (line for label, line in labelled(ax).items() if "q_0" in label)
    assert cobweb.get_xdata().max() > ax.get_xlim()[1] < 10
    ax.figure.canvas.draw()


def test_matplotlib_is_spared_infinity(ax: Any) -> None:
    cobweb(ax, np.array([1.0, 1e300, np.inf, np.inf]), high=2.0)
    assert np.all(np.isfinite(ax.lines[0].get_xydata()))


@settings(max_examples=10)
@given(
    q=hnp.arrays(float, st.integers(2, 20), elements=st.floats(1e-6, 1e6), unique=True),
    q0=st.none() | st.floats(1e-6, 1e6),
    scale=st.sampled_from(["linear", "log"]),
)
def test_any_range_can_be_drawn(q: np.ndarray, q0: float | None, scale: str) -> None:
    q = np.sort(q)
    V = mf.variance_map(TANH)
    ax = plot.variance_map(V, Figure().subplots(), q=q, q0=q0, depth=3, scale=scale)
    np.testing.assert_array_equal(labelled(ax)["$V(q)$"].get_xydata(), np.stack([q, V(q)], 1))
    np.testing.assert_allclose(ax.get_xlim(), (q[0], q[-1]))


def test_scale_is_checked(ax: Any) -> None:
    with pytest.raises(ValueError, match="scale: must be 'linear' or 'log'"):
        plot.variance_map(mf.variance_map(TANH), ax, scale="symlog")
    with pytest.raises(ValueError, match="scale: must be 'linear' or 'log'"):
        plot.variance_trajectory(mf.variance_map(TANH).iterate(1.0, 3), ax, scale="symlog")


# -- the correlation map --------------------------------------------------------------------------


@pytest.mark.parametrize("network", [TANH, mf.Network("relu", weight_var=2.0)], ids=str)
def test_the_correlation_map(network: mf.Network, ax: Any) -> None:
    C = mf.correlation_map(network)
    assert plot.correlation_map(C, ax) is ax
    lines = labelled(ax)
    c = lines["$C(c)$"].get_xdata()
    np.testing.assert_allclose([c[0], c[-1]], [-1, 1])
    np.testing.assert_array_equal(lines["$C(c)$"].get_ydata(), C(c))
    star = float(C.fixed_point())
    assert list(markers(ax)) == [star]
    (tangent,) = (line for label, line in lines.items() if "slope at 1" in label)
    (x0, y0), (x1, y1) = tangent.get_xydata()
    assert (x1, y1) == pytest.approx((1, 1))
    assert (y1 - y0) / (x1 - x0) == pytest.approx(float(C.slope(1.0)))


def test_an_infinite_slope_is_upright(ax: Any) -> None:
    C = mf.correlation_map(mf.Network("sign", weight_var=1.0, bias_var=0.1))
    plot.correlation_map(C, ax)
    (tangent,) = (line for label, line in labelled(ax).items() if "slope at 1" in label)
    np.testing.assert_array_equal(tangent.get_xdata(), 1.0)
    assert np.diff(tangent.get_ydata()) > 0


def test_two_variances_have_a_curve_only(ax: Any) -> None:
    C = mf.correlation_map(TANH, q=(0.5, 2.0))
    plot.correlation_map(C, ax)
    lines = labelled(ax)
    assert set(lines) == {"$c$ unchanged", "$C(c)$"}
    np.testing.assert_array_equal(lines["$C(c)$"].get_ydata(), C(lines["$C(c)$"].get_xdata()))


def test_a_part_of_the_correlations(ax: Any) -> None:
    c = np.linspace(0.5, 1.0, 11)
    plot.correlation_map(mf.correlation_map(TANH), ax, correlation=c)
    np.testing.assert_array_equal(labelled(ax)["$C(c)$"].get_xdata(), c)


def test_maps_that_share_axes_differ_in_colour(ax: Any) -> None:
    for network in (TANH, BISTABLE):
        mf.variance_map(network).plot(ax)
    curves = [line for line in ax.lines if line.get_label() == "$V(q)$"]
    assert len({line.get_color() for line in curves}) == 2


# -- trajectories ---------------------------------------------------------------------------------


def test_trajectories_share_axes(ax: Any) -> None:
    V = mf.variance_map(TANH)
    for q0 in (0.1, 2.0):
        plot.variance_trajectory(V.iterate(q0, 20), ax, label=f"{q0}")
    for q0 in (0.1, 2.0):
        line = labelled(ax)[f"{q0}"]
        np.testing.assert_array_equal(line.get_xdata(), np.arange(21))
        np.testing.assert_array_equal(line.get_ydata(), np.asarray(V.iterate(q0, 20)))
    assert len({line.get_color() for line in ax.lines}) == 2
    assert ax.get_legend() is not None
    assert (ax.get_xlabel(), ax.get_yscale()) == ("depth (layers)", "linear")


def test_several_starts_are_several_lines(ax: Any) -> None:
    way = mf.variance_map(TANH).iterate(np.array([0.1, 1.0, 2.0]), 5)
    plot.variance_trajectory(way, ax, scale="log")
    np.testing.assert_array_equal([line.get_ydata() for line in ax.lines], np.asarray(way).T)
    assert ax.get_yscale() == "log"


def test_correlations_and_their_complements(ax: Any) -> None:
    way = mf.correlation_map(mf.Network("relu", weight_var=2.0)).iterate(0.3, 50)
    plot.correlation_trajectory(way, ax, label="relu")
    np.testing.assert_array_equal(labelled(ax)["relu"].get_ydata(), way.correlation)
    other = plot.correlation_trajectory(way, Figure().subplots(), complement=True, label="relu")
    line = labelled(other)["relu"]
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 51))
    np.testing.assert_array_equal(line.get_ydata(), way.one_minus[1:])
    assert other.get_xscale() == other.get_yscale() == "log"
    assert "1 - c" in other.get_ylabel()


@settings(max_examples=20)
@given(
    values=hnp.arrays(
        float,
        hnp.array_shapes(min_dims=1, max_dims=2, min_side=2, max_side=6),
        elements=st.floats(0, 1e12) | st.sampled_from([0.0, np.inf, np.nan]),
    ),
    scale=st.sampled_from(["linear", "log"]),
)
def test_what_has_no_place_is_left_out(values: np.ndarray, scale: str) -> None:
    way: Any = SimpleNamespace(network=TANH, variance=values)
    ax = plot.variance_trajectory(way, Figure().subplots(), scale=scale)
    columns = values.reshape(len(values), -1).T
    shown = np.isfinite(columns) & ((columns > 0) | (scale == "linear"))
    drawn = np.array([line.get_ydata() for line in ax.lines])
    np.testing.assert_array_equal(drawn, np.where(shown, columns, np.nan))
    ax.figure.canvas.draw()


# -- manners --------------------------------------------------------------------------------------

DRAWINGS = {
    "variance_map": lambda ax, **line: plot.variance_map(mf.fixed_points(TANH), ax, **line),
    "correlation_map": lambda ax, **line: plot.correlation_map(
        mf.correlation_map(TANH), ax, **line
    ),
    "variance_trajectory": lambda ax, **line: plot.variance_trajectory(
        mf.variance_map(TANH).iterate(1.0, 5), ax, **line
    ),
    "correlation_trajectory": lambda ax, **line: plot.correlation_trajectory(
        mf.correlation_map(TANH).iterate(0.3, 5), ax, **line
    ),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_keywords_reach_the_line_under_any_name(draw: Any, ax: Any) -> None:
    draw(ax, lw=5, c="red", ls=":", label="mine")
    line = labelled(ax)["mine"]
    assert (line.get_linewidth(), line.get_color(), line.get_linestyle()) == (5, "red", ":")


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_axes_are_used_or_made_and_nothing_else_happens(
    draw: Any, ax: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    new = draw(None)
    assert new.get_title()
    assert new.xaxis.label.get_size() == 12
    assert {label.get_size() for label in new.get_xticklabels()} == {11}
    plt.close(new.figure)
    forbid_side_effects(monkeypatch)
    ax.set_title("mine")
    assert draw(ax) is ax
    assert ax.get_title() == "mine"
    assert dict(mpl.rcParams) == before


def test_results_plot_themselves() -> None:
    V, C = mf.variance_map(TANH), mf.correlation_map(TANH)
    for result in (V, C, mf.fixed_points(TANH), V.iterate(1.0, 3), C.iterate(0.3, 3)):
        ax = Figure().subplots()
        assert result.plot(ax) is ax
        assert ax.lines


def test_plots_load_on_first_use_and_matplotlib_later() -> None:
    code = "import sys, meanfield as mf; print('plot' in dir(mf), 'meanfield.plot' in sys.modules)"
    code += "; print(mf.plot is sys.modules['meanfield.plot'], 'matplotlib' in sys.modules)"
    result = python("-c", code)
    assert result.stdout.split() == ["True", "False", "True", "False"], result.stderr
