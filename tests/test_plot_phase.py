"""Phase diagrams and edges of chaos as pictures: what is drawn is what the result holds."""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

import meanfield as mf
from meanfield import plot
from meanfield.criticality import CriticalLine
from meanfield.network import Phase
from meanfield.plot.phase import COLOURS
from pictures import forbid_side_effects, labelled

W, B = np.linspace(0.5, 4.0, 36), np.linspace(0.0, 0.5, 21)


@dataclass(frozen=True, eq=False)
class Diagram:
    """What a phase diagram holds, as far as a picture needs it."""

    weight_var: np.ndarray
    bias_var: np.ndarray
    q: np.ndarray
    chi1: np.ndarray
    correlation: np.ndarray
    variance_slope: np.ndarray
    depth_scale_q: np.ndarray
    depth_scale_c: np.ndarray
    phase: np.ndarray
    n_stable: np.ndarray
    edge: CriticalLine
    edge_reached: np.ndarray
    activation: Any = field(default_factory=lambda: SimpleNamespace(name="erf"))


def erf_edge(q: np.ndarray) -> CriticalLine:
    """Of erf, in closed form."""
    weight_var = np.pi / 4 * np.sqrt(1 + 4 * q)
    bias_var = q - weight_var * 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q))
    return CriticalLine(q, weight_var, bias_var, 1 / (1 + 2 * q), q > 0, 0 * q)


def erf_diagram(weight_var: np.ndarray = W, bias_var: np.ndarray = B) -> Diagram:
    """Of erf, in closed form up to the iteration of its variance and correlation maps."""
    w, b = np.meshgrid(weight_var, bias_var)
    q = np.ones_like(w)
    for _ in range(500):
        q = w * 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)) + b
    chi1 = w * 4 / np.pi / np.sqrt(1 + 4 * q)
    c = np.zeros_like(w)
    for _ in range(500):
        c = (w * 2 / np.pi * np.arcsin(2 * q * c / (1 + 2 * q)) + b) / np.maximum(q, 1e-9)
    c[chi1 <= 1] = 1.0
    slope = w * 4 / np.pi / np.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2)
    depth = -1 / np.log(slope)
    phase = np.where(chi1 < 1, Phase.ORDERED, Phase.CHAOTIC)
    edge = erf_edge(np.geomspace(1e-3, 10, 200))
    return Diagram(weight_var, bias_var, q, chi1, c, chi1 / (1 + 2 * q), depth, depth, phase,
                   np.ones(w.shape, int), edge, edge.valid)  # fmt: skip


def draw(diagram: Diagram, ax: Any = None, **options: Any) -> Any:
    """The picture of a stand-in, on new axes if none are given."""
    result: Any = diagram
    return plot.phase_diagram(result, ax or Figure().subplots(), **options)


def difficult(diagram: Diagram) -> Diagram:
    """With a corner in which the variance explodes, and a bistable one."""
    w, b = np.meshgrid(diagram.weight_var, diagram.bias_var)
    gone = (w > 2.5) & (b > 0.2)
    fields = {name: np.where(gone, np.nan, getattr(diagram, name)) for name in COLOURS}
    fields["q"] = np.where(gone, np.inf, diagram.q)
    fields["phase"] = np.where(gone, Phase.EXPLODES, diagram.phase)
    fields["phase"][-1, 0] = Phase.UNRESOLVED
    fields["n_stable"] = np.where((w < 1.5) & (b > 0.2), 2, 1)
    return replace(diagram, **fields)


@pytest.fixture(scope="module")
def erf() -> Diagram:
    return erf_diagram()


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


def mesh_of(ax: Any) -> Any:
    (mesh,) = (artist for artist in ax.collections if isinstance(artist, QuadMesh))
    return mesh


def values_of(ax: Any) -> np.ndarray:
    return np.ma.filled(np.ma.asarray(mesh_of(ax).get_array(), float), np.nan)


def hatched(ax: Any, label: str, diagram: Diagram) -> np.ndarray:
    """The grid points that lie inside a hatched patch."""
    w, b = np.meshgrid(diagram.weight_var, diagram.bias_var)
    for patch in ax.patches:
        if patch.get_label() == label:
            assert patch.get_hatch()
            inside = patch.get_path().contains_points(np.stack([w, b], -1).reshape(-1, 2))
            return inside.reshape(w.shape)
    return np.zeros(w.shape, bool)


# -- the edge of chaos ----------------------------------------------------------------------------


def test_the_edge_is_the_curve_of_the_diagram(erf: Diagram, ax: Any) -> None:
    draw(erf, ax)
    edge = labelled(ax)["edge of chaos"]
    np.testing.assert_array_equal(edge.get_xdata(), erf.edge.weight_var)
    np.testing.assert_array_equal(edge.get_ydata(), erf.edge.bias_var)


def test_what_is_not_reached_of_the_edge_is_dashed(erf: Diagram, ax: Any) -> None:
    draw(replace(erf, edge_reached=erf.edge.q <= 1), ax)
    lines = labelled(ax)
    reached, other = lines["edge of chaos"], lines["edge, not reached"]
    assert (reached.get_linestyle(), other.get_linestyle()) == ("-", "--")
    np.testing.assert_array_equal(np.isfinite(other.get_ydata()), erf.edge.q > 1)
    assert np.all(np.isfinite(reached.get_ydata()) | np.isfinite(other.get_ydata()))


def test_a_point_alone_is_not_dashed(erf: Diagram, ax: Any) -> None:
    draw(replace(erf, edge_reached=erf.edge.q > erf.edge.q[0]), ax)
    np.testing.assert_array_equal(labelled(ax)["edge of chaos"].get_xdata(), erf.edge.weight_var)
    assert "edge, not reached" not in labelled(ax)


def test_an_edge_without_extent_is_a_dot(erf: Diagram, ax: Any) -> None:
    edge = mf.critical_line("relu", erf.edge.q)
    draw(replace(erf, edge=edge), ax)
    assert labelled(ax)["edge of chaos"].get_marker() == "o"


def test_without_an_edge_there_is_no_legend(erf: Diagram, ax: Any) -> None:
    none = erf_edge(np.empty(0))
    draw(replace(erf, edge=none, edge_reached=none.valid), ax)
    assert not ax.lines
    assert ax.get_legend() is None


@pytest.mark.parametrize("place", [1.0, 3.5])
def test_the_legend_leaves_the_edge_free(place: float, erf: Any, ax: Any) -> None:
    edge = erf.edge._replace(weight_var=np.full_like(erf.edge.q, place))
    plot.phase_diagram(replace(erf, edge=edge), ax)
    ax.figure.draw_without_rendering()
    box = ax.get_legend().get_window_extent()
    line = ax.transData.transform(labelled(ax)["edge of chaos"].get_xydata())
    assert not np.any([box.contains(*point) for point in line])


def test_invalid_parts_of_the_edge_are_not_drawn(erf: Diagram, ax: Any) -> None:
    edge = mf.critical_line("gaussian", np.geomspace(0.1, 10, 50))
    assert not np.all(edge.valid)
    draw(replace(erf, edge=edge, edge_reached=edge.valid), ax)
    for line in ax.lines:
        assert not np.any(np.isfinite(line.get_ydata()) & ~edge.valid)


# -- cells, hatching, names -----------------------------------------------------------------------


@pytest.mark.parametrize("colour", COLOURS)
def test_cells_hold_the_field(colour: str, erf: Diagram, ax: Any) -> None:
    draw(erf, ax, colour=colour)
    expected, shown = getattr(erf, colour), values_of(ax)
    low, high = mesh_of(ax).get_clim()
    inside = (expected >= low) & (expected <= high)
    assert np.mean(inside) > 0.95
    np.testing.assert_array_equal(shown[inside], expected[inside])
    assert np.all((shown >= low) & (shown <= high))  # the rest has the colour of the ends
    corners = mesh_of(ax).get_coordinates()
    assert corners.shape == (len(B) + 1, len(W) + 1, 2)
    assert np.all((corners[0, :-1, 0] < W) & (corners[0, 1:, 0] > W))
    assert np.all((corners[:-1, 0, 1] <= B) & (corners[1:, 0, 1] > B))


def test_an_explosion_has_no_value_and_is_hatched(erf: Diagram, ax: Any) -> None:
    diagram = difficult(erf)
    draw(diagram, ax, colour="q")
    gone = diagram.phase == Phase.EXPLODES
    np.testing.assert_array_equal(np.isnan(values_of(ax)), gone)
    np.testing.assert_array_equal(hatched(ax, "variance explodes", diagram), gone)
    unknown = hatched(ax, "not resolved", diagram)
    np.testing.assert_array_equal(unknown, diagram.phase == Phase.UNRESOLVED)


def test_bistable_cells_are_hatched(erf: Diagram, ax: Any) -> None:
    diagram = difficult(erf)
    draw(diagram, ax)
    several = hatched(ax, "several stable $q$", diagram)
    np.testing.assert_array_equal(several, diagram.n_stable > 1)


def test_no_hatching_where_there_is_nothing_to_mark(erf: Diagram, ax: Any) -> None:
    draw(erf, ax)
    assert not ax.patches


def test_phases_are_named_where_they_are(erf: Diagram, ax: Any) -> None:
    draw(erf, ax)
    assert {text.get_text() for text in ax.texts} == {"ordered", "chaotic"}
    for text in ax.texts:
        w, b = text.get_position()
        j, i = np.argmin(np.abs(W - w)), np.argmin(np.abs(B - b))
        assert str(Phase(erf.phase[i, j])) == text.get_text()


def test_phases_differ_in_grey(erf: Diagram, ax: Any) -> None:
    draw(difficult(erf), ax, colour="phase")
    mesh = mesh_of(ax)
    colours = mesh.cmap(mesh.norm([Phase.ORDERED, Phase.CHAOTIC, Phase.CRITICAL]))[:, :3]
    grey = np.sort(colours @ [0.299, 0.587, 0.114])
    assert np.all(np.diff(grey) > 0.2)


@settings(max_examples=15)
@given(where=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)))
def test_hatching_covers_exactly_its_cells(where: np.ndarray) -> None:
    """Also without overlap: the areas add up."""
    m, n = where.shape
    diagram = erf_diagram(np.linspace(1, 2, n), np.linspace(0.1, 0.5, m))
    diagram = replace(diagram, n_stable=1 + where)
    ax = draw(diagram)
    np.testing.assert_array_equal(hatched(ax, "several stable $q$", diagram), where)
    if np.any(where):
        corners = mesh_of(ax).get_coordinates()
        areas = np.outer(np.diff(corners[:, 0, 1]), np.diff(corners[0, :, 0]))
        quads = ax.patches[0].get_path().vertices.reshape(-1, 5, 2)
        sides = quads[:, 2] - quads[:, 0]
        assert np.sum(np.prod(sides, axis=1)) == pytest.approx(np.sum(areas[where]), rel=1e-9)


NUMBERS = st.floats(-1e3, 1e16) | st.floats(1e-16, 10) | st.sampled_from([0, np.inf, np.nan])


@settings(max_examples=15)
@given(
    values=hnp.arrays(float, (4, 5), elements=NUMBERS),
    colour=st.sampled_from([name for name in COLOURS if name != "phase"]),
)
def test_any_values_can_be_drawn(values: np.ndarray, colour: str) -> None:
    diagram = replace(erf_diagram(W[:5], B[:4]), **{colour: values})
    ax = draw(diagram, colour=colour)
    low, high = mesh_of(ax).get_clim()
    assert low < high
    np.testing.assert_array_equal(np.isnan(values_of(ax)), np.isnan(values))
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("weight_var", "bias_var"),
    [(W, B[:1]), (W[:1], B), (W[:1], B[3:4]), (1 + 1e-9 * W, 0.1 + 1e-9 * B)],
    ids=["one row", "one column", "one cell", "narrow"],
)
def test_small_grids_are_drawn(weight_var: np.ndarray, bias_var: np.ndarray, ax: Any) -> None:
    draw(erf_diagram(weight_var, bias_var), ax)
    assert values_of(ax).shape == (len(bias_var), len(weight_var))
    assert np.all(np.diff(mesh_of(ax).get_coordinates()[0, :, 0]) > 0)
    assert np.all(np.diff(mesh_of(ax).get_coordinates()[:, 0, 1]) > 0)
    ax.figure.canvas.draw()


# -- contours, units, arguments -------------------------------------------------------------------


def test_contours_are_where_the_depth_scale_is(ax: Any) -> None:
    """Linear interpolation in `ln slope = -1/xi` between the rows and columns of a fine grid."""
    diagram = erf_diagram(np.linspace(0.5, 4, 200), np.linspace(0.05, 0.5, 100))
    draw(diagram, ax, contours=[10, 5])
    contours = [artist for artist in ax.collections if hasattr(artist, "levels")]
    assert len(contours) == 1
    levels, paths = contours[0].levels, contours[0].get_paths()
    np.testing.assert_allclose(1 / levels, [10, 5])
    assert {text.get_text() for text in ax.texts} >= {"5", "10"}
    for level, path in zip(levels, paths, strict=True):
        w, b = path.vertices[::20].T
        nearest = (np.abs(diagram.weight_var - x).argmin() for x in w)
        rows = (np.abs(diagram.bias_var - y).argmin() for y in b)
        rates = [1 / diagram.depth_scale_c[i, j] for i, j in zip(rows, nearest, strict=True)]
        np.testing.assert_allclose(rates, level, rtol=0.15)


def test_standard_deviations_only_when_asked(erf: Diagram) -> None:
    variance, deviation = (draw(erf, units=units) for units in ("variance", "standard deviation"))
    assert variance.get_xlabel() == "weight variance $\\sigma_w^2$"
    assert deviation.get_xlabel() == "weight standard deviation $\\sigma_w$"
    assert deviation.get_ylabel() == "bias standard deviation $\\sigma_b$"
    corners, roots = (mesh_of(ax).get_coordinates() for ax in (variance, deviation))
    np.testing.assert_allclose(roots**2, corners, rtol=1e-14)
    edges = [labelled(ax)["edge of chaos"].get_xdata() for ax in (variance, deviation)]
    np.testing.assert_allclose(edges[1] ** 2, edges[0], rtol=1e-14)


def test_keywords_reach_the_edge(erf: Diagram, ax: Any) -> None:
    draw(erf, ax, lw=5, c="red", label="here")
    edge = labelled(ax)["here"]
    assert (edge.get_linewidth(), edge.get_color()) == (5, "red")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": "blue"}, "colour: must be one of phase, depth_scale_c"),
        ({"color": "q"}, "color: is that of the edge of chaos; the field shown is colour='q'"),
        ({"units": "std"}, "units: must be one of 'variance', 'standard deviation'"),
        ({"contours": [0]}, "contours: must be depth scales"),
    ],
)
def test_wrong_arguments(options: dict, message: str, erf: Diagram, ax: Any) -> None:
    with pytest.raises(ValueError, match=message):
        draw(erf, ax, **options)


def test_contours_need_two_rows(ax: Any) -> None:
    with pytest.raises(ValueError, match="at least 2 by 2"):
        draw(erf_diagram(bias_var=B[:1]), ax, contours=[6])


# -- several edges --------------------------------------------------------------------------------


def test_edges_are_the_lines(ax: Any) -> None:
    lines = {name: mf.critical_line(name, np.geomspace(0.1, 10, 21)) for name in ("tanh", "erf")}
    assert plot.edges_of_chaos(lines, ax) is ax
    drawn = labelled(ax)
    for name, line in lines.items():
        np.testing.assert_array_equal(drawn[name].get_xdata(), line.weight_var)
        np.testing.assert_array_equal(drawn[name].get_ydata(), line.bias_var)
        dots = line.q[drawn[name].get_markevery()]
        np.testing.assert_allclose(dots, [0.1, 1, 10])
    styles = {(line.get_color(), line.get_linestyle()) for line in drawn.values()}
    assert len(styles) == len({line.get_linestyle() for line in drawn.values()}) == 2


def test_edges_of_activations(ax: Any) -> None:
    plot.edges_of_chaos(["tanh", np.sin, "relu"], ax, units="standard deviation")
    drawn = labelled(ax)
    point = mf.critical("tanh", q=1.0)
    assert set(drawn) == {"tanh", "sin", "relu"}
    assert drawn["relu"].get_xdata() == pytest.approx(np.sqrt(2))
    at_one = np.argmin(np.abs(np.geomspace(1e-2, 1e1, 301) - 1))
    middle = drawn["tanh"].get_xydata()[at_one]
    assert middle**2 == pytest.approx([point.weight_var, point.bias_var], rel=1e-12)
    assert "any $q$" in {text.get_text() for text in ax.texts}


def test_one_point_of_an_edge_has_its_q(ax: Any) -> None:
    """The Gaussian is critical at 2 and not at 1: one point is not any."""
    plot.edges_of_chaos({"gaussian": mf.critical_line("gaussian", [1.0, 2.0])}, ax)
    assert [text.get_text() for text in ax.texts] == ["2"]


# -- manners --------------------------------------------------------------------------------------


def test_new_axes_have_our_style_and_settings_stay(erf: Diagram) -> None:
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    result: Any = erf
    ax: Any = plot.phase_diagram(result)
    assert dict(mpl.rcParams) == before
    assert "erf" in ax.get_title()
    assert ax.xaxis.label.get_size() == 12
    assert not ax.spines["top"].get_visible()
    plt.close(ax.figure)


def test_axes_of_the_caller_are_used_and_keep_their_title(
    erf: Diagram, ax: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_side_effects(monkeypatch)
    ax.set_title("mine")
    assert draw(erf, ax) is ax
    assert ax.get_title() == "mine"
