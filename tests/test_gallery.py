"""The gallery: pictures drawn anew show what was looked at, and the command draws them."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from meanfield import plot
from meanfield.cli import main
from meanfield.gallery import PICTURES, Picture, differences, draw_into, known_numbers, numbers

FOLDER = Path(__file__).parents[1] / "figures"
KNOWN = known_numbers(FOLDER)


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(picture, id=picture.name, marks=[pytest.mark.slow] * picture.slow)
        for picture in PICTURES
    ],
)
def test_a_picture_shows_what_the_committed_one_shows(picture: Picture) -> None:
    assert differences(numbers(picture.figure()), KNOWN[picture.name], picture.tolerance) == []


def test_all_pictures_are_committed_and_light() -> None:
    names = [picture.name for picture in PICTURES]
    assert list(KNOWN) == names
    sizes = [(FOLDER / f"{name}.png").stat().st_size for name in names]
    assert max(sizes) < 120_000
    assert sum(sizes) < 1_500_000


def test_the_page_shows_each_with_its_source() -> None:
    page = (FOLDER / "README.md").read_text("utf-8")
    for picture in PICTURES:
        for part in (f"({picture.name}.png)", picture.caption, f"Source: {picture.source}."):
            assert part in page
    assert page.count("Source: ") == len(PICTURES)


def drawn() -> Figure:
    """Every kind of thing that has numbers."""
    figure = Figure()
    left, right = figure.subplots(1, 2)
    x = np.linspace(0.0, 2.0, 40)
    left.plot(x, np.where(x > 1, np.nan, x**2), label="a line")
    left.fill_between(x, x, 2 * x + 1, label="a band")
    left.stairs(x, label="bars")
    mesh = right.pcolormesh(x.reshape(8, 5) + 1)
    figure.colorbar(mesh, ax=right)
    right.semilogy(x, np.exp(-20 * x), label="small numbers")
    return figure


def test_what_is_shown_is_seen() -> None:
    shown = numbers(drawn())
    assert [(s["axes"], s["kind"], s["label"]) for s in shown] == [
        (0, "line", "a line"), (0, "band", "a band"), (0, "histogram", "bars"),
        (1, "line", "small numbers"), (1, "field", ""),
    ]  # fmt: skip
    assert shown[0]["x"][0] == 0 and shown[0]["x"][-1] == 2
    assert shown[0]["y"][0] == 0 and shown[0]["y"][-1] is None
    assert shown[3]["y"][-1] == pytest.approx(math.exp(-40), rel=1e-5)
    assert np.shape(shown[4]["values"]) == (8, 5)
    assert [s["log"] for s in shown] == [[], [], [], ["y"], []]
    assert differences(shown, shown, 0.0) == []


@pytest.mark.parametrize("index, part", [(0, "y"), (1, "x"), (2, "y"), (3, "y"), (4, "values")])
def test_what_has_moved_is_told(index: int, part: str) -> None:
    """By 1 % of the largest; on a logarithmic axis of itself, the least too."""
    shown = numbers(drawn())
    moved = copy.deepcopy(shown)
    values = np.array(moved[index][part], float)
    spot = np.unravel_index(np.nanargmin(np.where(values > 0, values, np.nan)), values.shape)
    values[spot] += 0.01 * (values[spot] if index == 3 else np.nanmax(values))
    moved[index][part] = values.tolist()
    (sentence,) = differences(moved, shown, 1e-3)
    assert f"{part} is" in sentence
    assert differences(moved, shown, 2e-2) == []


def test_what_is_missing_is_told() -> None:
    shown = numbers(drawn())
    assert differences(shown[1:], shown, 1.0)
    known_elsewhere = copy.deepcopy(shown)
    known_elsewhere[0]["y"][0] = None
    assert "known elsewhere" in differences(known_elsewhere, shown, 1.0)[0]


def test_a_folder_is_filled_picture_by_picture(tmp_path: Path) -> None:
    by_name = {picture.name: picture for picture in PICTURES}
    folder = tmp_path / "new" / "folder"
    fan, fluctuations = by_name["gradient_fan"], by_name["fluctuations"]
    assert list(draw_into(folder, [fan])) == [folder / "gradient_fan.png"]
    list(draw_into(folder, [fluctuations]))
    known = known_numbers(folder)
    assert list(known) == ["fluctuations", "gradient_fan"]  # in the order of the gallery
    assert (folder / "gradient_fan.png").read_bytes()[:4] == b"\x89PNG"
    page = (folder / "README.md").read_text("utf-8")
    assert page.index(fluctuations.title) < page.index(fan.title)
    assert "spectrum" not in page


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    import matplotlib
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    next(picture for picture in PICTURES if picture.name == "gradient_fan").figure()
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def test_the_command_draws_and_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "gradient_fan", "-o", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'gradient_fan.png'}\n"
    assert main(["gallery", "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == [picture.name for picture in PICTURES]
    assert all("arXiv" in line or line.startswith("report") for line in listed)


def test_an_unknown_picture_is_refused_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "phases_of_thanh"]) == 1
    message = capsys.readouterr().err
    assert "phases_of_thanh" in message and "phases_of_tanh" in message


def test_pictures_are_in_the_style_of_the_package() -> None:
    picture = next(picture for picture in PICTURES if picture.name == "gradient_fan")
    with plot.style():
        size = Figure().subplots().xaxis.label.get_fontsize()
    assert picture.figure().axes[0].xaxis.label.get_fontsize() == size
